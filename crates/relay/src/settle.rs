//! From findings to what the queue stores: outcomes, and the report that they cause.

use jiff::Timestamp;
use letterlock_queue::{Due, Outcome, Verdict};

use crate::dsn::Reason;
use crate::finding::{Fate, Finding};
use crate::schedule::{Next, Schedule};

/// What was decided for all recipients of a try.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// What the queue stores.
    pub(crate) outcomes: Vec<Outcome>,
    /// The recipients that are given up, by their places, and why.
    pub(crate) failures: Vec<(usize, Reason)>,
}

/// Decides for each recipient; the findings stand in the order of the rows.
pub(crate) fn decide(
    due: &Due,
    findings: &[Finding],
    schedule: &Schedule,
    now: Timestamp,
    mut random: impl FnMut() -> u32,
) -> Decided {
    let mut decided = Decided::default();
    for (place, (row, finding)) in due.rows.iter().zip(findings).enumerate() {
        let mut next = || schedule.next(due.received_at, row.attempts, now, random());
        let (verdict, reply) = match finding.fate {
            Fate::Delivered => (Verdict::Delivered, finding.to_string()),
            Fate::Failed => {
                decided.failures.push((place, Reason::Final));
                (Verdict::Failed, finding.to_string())
            }
            Fate::Deferred => match next() {
                Next::At(next) => (Verdict::Deferred { next }, finding.to_string()),
                Next::Expired => {
                    decided.failures.push((place, Reason::Expired));
                    (Verdict::Failed, format!("4.4.7 expired; at last: {finding}"))
                }
            },
        };
        decided.outcomes.push(Outcome { row: row.row, verdict, reply });
    }
    decided
}
