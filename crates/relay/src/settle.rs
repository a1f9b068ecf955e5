//! From findings to what the queue stores: outcomes, and the report that they cause.

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_queue::{
    Due, NewEntry, NewRecipient, Notify, Origin, Outcome, QueueError, Ret, Verdict,
};
use letterlock_vault::DeliveryId;

use crate::dsn::{self, Failure, Notice, Reason, Returned};
use crate::finding::{Fate, Finding};
use crate::relay::{Relay, random};
use crate::schedule::{Next, Schedule};

/// What was decided for all recipients of a try.
#[derive(Debug, Default)]
struct Decided {
    /// What the queue stores.
    outcomes: Vec<Outcome>,
    /// The recipients that are given up, by their places, and why.
    failures: Vec<(usize, Reason)>,
}

/// Decides for each recipient; the findings stand in the order of the rows.
fn decide(
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

impl Relay {
    /// Stores what became of a try, with the report that it causes.
    pub(crate) async fn settle(
        &self,
        due: &Due,
        message: &[u8],
        findings: &[Finding],
    ) -> Result<(), QueueError> {
        let now = Timestamp::now();
        let Decided { outcomes, failures } = decide(due, findings, &self.schedule, now, random);
        let failures: Vec<Failure<'_>> = failures
            .into_iter()
            .filter(|(place, _)| due.rows[*place].notify.failure())
            .map(|(place, reason)| {
                let (row, finding) = (&due.rows[place], &findings[place]);
                let orcpt = row.orcpt.as_deref();
                Failure { recipient: &row.address, orcpt, finding, reason }
            })
            .collect();
        let report = self.report(due, message, &failures, now).await;
        let Some(report) = report else {
            return self.queue.finish(outcomes, None).await.map(drop);
        };
        let (delivery, report_id) = (due.id, report.id);
        match self.queue.finish(outcomes.clone(), Some(report)).await {
            Ok(_) => {
                tracing::info!(%delivery, report = %report_id, "the sender will hear of the failure");
                Ok(())
            }
            Err(error) => {
                // What arrived must not be sent again. Who failed stays due, and fails again with a report.
                let other = |outcome: &Outcome| outcome.verdict != Verdict::Failed;
                let rest = outcomes.into_iter().filter(other).collect();
                self.queue.finish(rest, None).await?;
                Err(error)
            }
        }
    }

    /// The report of these failures, if there is somebody to read it.
    async fn report(
        &self,
        due: &Due,
        message: &[u8],
        failures: &[Failure<'_>],
        now: Timestamp,
    ) -> Option<NewEntry> {
        if failures.is_empty() {
            return None;
        }
        // A report of a report would go round for ever (RFC 5321 §6.1).
        let ReversePath::Mailbox(to) = &due.reverse_path else {
            tracing::info!(delivery = %due.id, failed = failures.len(), "failed; nobody to tell, it has no sender");
            return None;
        };
        let Some(route) = self.addressing.route(to).await else {
            tracing::info!(delivery = %due.id, failed = failures.len(), "failed; its sender cannot be reached");
            return None;
        };
        let id = DeliveryId::generate();
        let composed = dsn::compose(&Notice {
            id,
            hostname: &self.carrier.hostname,
            from: &self.postmaster_domain(to),
            to,
            now,
            received_at: due.received_at,
            expire: self.schedule.expire(),
            envid: due.envid.as_deref(),
            original: message,
            returned: if due.ret == Some(Ret::Full) { Returned::Whole } else { Returned::Header },
            failures,
        });
        let recipient =
            NewRecipient { address: to.clone(), notify: Notify::Never, orcpt: None, route };
        Some(NewEntry {
            id,
            received_at: now,
            origin: Origin::Dsn,
            reverse_path: ReversePath::Null,
            ret: None,
            envid: None,
            smtputf8: composed.smtputf8,
            eight_bit: composed.eight_bit,
            body: composed.bytes.into(),
            recipients: vec![recipient],
        })
    }

    /// Whose postmaster writes to a sender: its own domain's if it is ours, else our first one's.
    fn postmaster_domain(&self, to: &Mailbox) -> Domain {
        let snapshot = self.directory.snapshot();
        if snapshot.is_local(&to.domain) {
            return to.domain.clone();
        }
        snapshot.primary_domain().map_or_else(|| self.own.clone(), |domain| domain.name.clone())
    }
}
