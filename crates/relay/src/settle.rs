//! From findings to what the queue stores: outcomes, and the report that they cause.

use std::time::Duration;

use jiff::Timestamp;
use letterlock_queue::{Due, DueRow, Outcome, QueueError, Verdict};
use letterlock_state::Event;

use crate::attempt::Carried;
use crate::dsn::{Action, Told};
use crate::errand::is_suppressible;
use crate::finding::{Fate, Finding};
use crate::relay::{Relay, random};
use crate::report::{Subject, Terms};
use crate::schedule::{Next, Schedule, later};

/// What was decided for all recipients of a try.
#[derive(Debug, Default)]
struct Decided {
    /// What the queue stores.
    outcomes: Vec<Outcome>,
    /// What the sender is to hear, by the recipients' places.
    told: Vec<(usize, Action)>,
}

/// By what it is decided.
struct Rules<'a> {
    schedule: &'a Schedule,
    /// The age at which senders hear of a delay; zero for never.
    delay_notice: Duration,
    now: Timestamp,
}

/// Decides for each recipient; the findings stand in the order of the rows.
fn decide(
    due: &Due,
    carried: &Carried,
    rules: &Rules<'_>,
    mut random: impl FnMut() -> u32,
) -> Decided {
    let Rules { schedule, delay_notice, now } = *rules;
    let mut decided = Decided::default();
    for (place, (row, finding)) in due.rows.iter().zip(&carried.findings).enumerate() {
        let mut next = || schedule.next(due.since(), row.attempts, now, random());
        let mut tell = |wanted: bool, action| {
            if wanted {
                decided.told.push((place, action));
            }
            wanted
        };
        let (verdict, reply) = match finding.fate {
            Fate::Delivered => {
                // A server with DSN has taken that over (RFC 3461 §5.2.1).
                let silent = carried.silent.contains(&place);
                tell(row.notify.success() && silent, Action::Relayed);
                (Verdict::Delivered, finding.to_string())
            }
            Fate::Failed => {
                tell(row.notify.failure(), Action::Failed);
                (Verdict::Failed, finding.to_string())
            }
            Fate::Deferred if carried.hold => (Verdict::Held, finding.to_string()),
            Fate::Deferred => match next() {
                Next::At(next) => {
                    let late = !delay_notice.is_zero() && now >= later(due.since(), delay_notice);
                    let told = tell(late && !row.delay_told && row.notify.delay(), Action::Delayed);
                    (Verdict::Deferred { next, told }, finding.to_string())
                }
                Next::Expired => {
                    tell(row.notify.failure(), Action::Expired);
                    (Verdict::Failed, format!("4.4.7 expired; at last: {finding}"))
                }
            },
        };
        let security = carried.security.clone();
        decided.outcomes.push(Outcome { row: row.row, verdict, reply, security });
    }
    decided
}

impl Relay {
    /// Stores what became of a try, with the report that it causes.
    pub(crate) async fn settle(
        &self,
        due: &Due,
        message: &[u8],
        carried: Carried,
    ) -> Result<(), QueueError> {
        let now = Timestamp::now();
        self.remember(due, &carried, now).await;
        let delay_notice = self.outbound.delay_notice;
        let rules = Rules { schedule: &self.schedule, delay_notice, now };
        let Decided { outcomes, told } = decide(due, &carried, &rules, random);
        let told: Vec<Told<'_>> = told
            .into_iter()
            .map(|(place, action)| {
                let (row, finding) = (&due.rows[place], &carried.findings[place]); // `decide` counted them
                let orcpt = row.orcpt.as_deref();
                Told { recipient: &row.address, orcpt, finding: Some(finding), action }
            })
            .collect();
        let subject = Subject {
            id: due.id,
            received_at: due.received_at,
            reverse_path: &due.reverse_path,
            envid: due.envid.as_deref(),
            ret: due.ret,
            message,
        };
        let expire = self.schedule.expire();
        let until = later(due.since(), expire);
        let terms = Terms { expire, until, require_tls: due.require_tls };
        let written = self.reporter.write(&subject, &told, now, terms).await;
        let Some(written) = written else {
            self.queue.finish(outcomes.clone(), None).await?;
            self.tell(due, &carried, &outcomes, now);
            return Ok(());
        };
        let (report, action) = (written.entry.id, written.action);
        match self.queue.finish(outcomes.clone(), Some(written.entry)).await {
            Ok(_) => {
                self.reporter.sent(due.id, report, action, now);
                self.tell(due, &carried, &outcomes, now);
                Ok(())
            }
            Err(error) => {
                // What arrived must not be sent again. Who failed stays due, and fails again with a report.
                let rest = outcomes
                    .into_iter()
                    .filter(|outcome| outcome.verdict != Verdict::Failed)
                    .map(untold)
                    .collect();
                self.queue.finish(rest, None).await?;
                Err(error)
            }
        }
    }

    /// Remembers addresses that are gone.
    async fn remember(&self, due: &Due, carried: &Carried, now: Timestamp) {
        for (row, finding) in due.rows.iter().zip(&carried.findings) {
            if is_suppressible(due, row)
                && is_gone(finding)
                && let Err(error) =
                    self.state.suppress(&row.address, finding.to_string(), now).await
            {
                tracing::warn!(delivery = %due.id, %error, "an address that is gone is not remembered");
            }
        }
    }

    /// Tells the trace.
    fn tell(&self, due: &Due, carried: &Carried, outcomes: &[Outcome], now: Timestamp) {
        if carried.hold && outcomes.iter().any(|outcome| outcome.verdict == Verdict::Held) {
            let why = carried.security.as_deref().unwrap_or_default();
            tracing::error!(delivery = %due.id, %why, "held: an operator is to decide (`letterlock queue release`)");
        }
        let told = due.rows.iter().zip(&carried.findings).zip(outcomes);
        let events: Vec<Event> =
            told.map(|((row, finding), outcome)| event(row, finding, outcome)).collect();
        self.state.record_all(due.id, now, events);
    }
}

/// A server said that there is nobody, and that it will stay so.
fn is_gone(finding: &Finding) -> bool {
    finding.host().is_some() && finding.fate == Fate::Failed && finding.status.is_gone()
}

/// The sender was not told of the delay after all.
fn untold(outcome: Outcome) -> Outcome {
    match outcome.verdict {
        Verdict::Deferred { next, .. } => {
            Outcome { verdict: Verdict::Deferred { next, told: false }, ..outcome }
        }
        _ => outcome,
    }
}

fn event(row: &DueRow, finding: &Finding, outcome: &Outcome) -> Event {
    let recipient = row.address.to_string().into();
    let (status, reason) = (finding.status.to_string().into(), outcome.reply.clone().into());
    match outcome.verdict {
        Verdict::Delivered => {
            let host = finding.host().unwrap_or_default().to_owned().into();
            Event::Delivered { recipient, host }
        }
        Verdict::Deferred { next, .. } => {
            Event::Deferred { recipient, status, reason, next: Some(next) }
        }
        Verdict::Held => Event::Held { reason },
        Verdict::Failed => Event::Failed { recipient, status, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_what_a_server_says_for_good() {
        let said = |code, status: (u8, u16, u16)| {
            let status = letterlock_smtp_wire::EnhancedCode::new(status.0, status.1, status.2);
            let reply = letterlock_smtp_wire::Reply::new(code, status, "x");
            is_gone(&Finding::from_reply("mx.test", &reply))
        };
        assert!(said(550, (5, 1, 1)) && said(550, (5, 2, 1)));
        assert!(!said(552, (5, 2, 2)) && !said(550, (5, 7, 1)) && !said(450, (4, 1, 1)));
        assert!(!is_gone(&Finding::failed(1, 1, "not asked")));
    }
}
