//! One message to one next hop: from the turn that it waits for to the outcome that is stored.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::ReversePath;
use letterlock_config::Outbound;
use letterlock_net::Shutdown;
use letterlock_queue::{
    Attempt, BodyType, Due, DueRow, Notify, Origin, QueueError, RequireTls, Ret, RowId,
};
use letterlock_smtp_wire::command;
use letterlock_smtp_wire::seven_bit::{is_seven_bit, seven_bit};
use letterlock_state::Event;
use tokio::sync::OwnedSemaphorePermit;

use crate::attempt::{Carried, Parcel};
use crate::client::{Content, Job, Recipient};
use crate::destination::Turn;
use crate::finding::{Fate, Finding};
use crate::relay::{KIB, RECOVER, Relay, random};
use crate::route::NextHop;
use crate::schedule::Next;

/// Recipients of one transaction: every server takes as many (RFC 5321 §4.5.3.1.8).
const TOGETHER: usize = 100;

impl Relay {
    /// Carries one message to one next hop.
    pub(crate) async fn errand(self: Arc<Self>, hop: NextHop, mut due: Due, shutdown: Shutdown) {
        let turn = tokio::select! {
            biased;
            () = shutdown.draining() => None,
            turn = self.ready(&hop, due.size) => turn,
        };
        if let Some((turn, _memory)) = turn {
            let tried = self.attempt(&hop, &mut due, &turn, &shutdown).await;
            // Also after a try that came to nothing: a connection that nobody waits for would stay open.
            self.carrier.part(&turn);
            // The next message need not wait until it is stored what became of this one.
            drop(turn);
            if let Err(error) = self.conclude(&due, tried).await {
                tracing::error!(delivery = %due.id, %error, "an attempt could not be made or stored");
                // The rows may still be due. Until they are let go of, nobody takes them again.
                tokio::select! {
                    () = shutdown.draining() => {}
                    () = tokio::time::sleep(RECOVER) => {}
                }
            }
        }
        self.forget(&hop);
    }

    /// Stores what became of a try, if there was one.
    async fn conclude(
        &self,
        due: &Due,
        tried: Result<Option<(Bytes, Carried)>, QueueError>,
    ) -> Result<(), QueueError> {
        match tried? {
            Some((message, carried)) => self.settle(due, &message, carried).await,
            None => Ok(()),
        }
    }

    /// Waits for a turn at the destination, then for room for the body.
    async fn ready(&self, hop: &NextHop, size: u64) -> Option<(Turn, OwnedSemaphorePermit)> {
        let turn = self.destinations.turn(hop).await?;
        let share = u32::try_from(size.div_ceil(KIB)).unwrap_or(u32::MAX);
        let share = share.clamp(1, self.memory_kib);
        // The semaphore is never closed.
        let memory = Arc::clone(&self.memory).acquire_many_owned(share).await.ok()?;
        Some((turn, memory))
    }

    /// Makes a try: the message, and what became of it; `None` if nobody is to have it any more.
    async fn attempt(
        &self,
        hop: &NextHop,
        due: &mut Due,
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Result<Option<(Bytes, Carried)>, QueueError> {
        let now = Timestamp::now();
        let tries = due.rows.iter().map(|row| row.attempts).min().unwrap_or_default();
        let next = match self.schedule.next(due.since(), tries, now, random()) {
            Next::At(next) => next,
            // The last try: should it never end, it is repeated as often as a first one.
            Next::Expired => self.schedule.again(now),
        };
        let rows = due.rows.iter().map(|row| row.row).collect();
        let Attempt { rows, message } = self.queue.begin(due.entry, rows, next).await?;
        let left: HashSet<RowId> = rows.into_iter().collect();
        due.rows.retain(|row| left.contains(&row.row));
        if due.rows.is_empty() {
            return Ok(None);
        }
        let recipients = u32::try_from(due.rows.len()).unwrap_or(u32::MAX);
        let number = tries.saturating_add(1);
        let event = Event::Attempt { hop: hop.to_string().into(), number, recipients };
        self.state.record(due.id, now, event);
        match message {
            Ok(message) => {
                let carried = match turn.found_dead(due.require_tls) {
                    Some(finding) => Carried::all(finding, due.rows.len()),
                    None => self.carry(hop, due, &message, turn, shutdown).await,
                };
                Ok(Some((message, carried)))
            }
            Err(QueueError::Gone) => Ok(None),
            Err(error @ QueueError::Damaged { .. }) => {
                tracing::error!(delivery = %due.id, %error, "the message is given up");
                let finding = Finding::failed(3, 0, "the message was damaged in this server");
                Ok(Some((Bytes::new(), Carried::all(finding, due.rows.len()))))
            }
            Err(error) => Err(error),
        }
    }

    /// Carries a message to all whose addresses are not known to be gone.
    async fn carry(
        &self,
        hop: &NextHop,
        due: &Due,
        message: &[u8],
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Carried {
        let suppressed: Vec<Option<Finding>> =
            due.rows.iter().map(|row| self.suppressed(due, row)).collect();
        let open: Vec<&DueRow> = due
            .rows
            .iter()
            .zip(&suppressed)
            .filter(|(_, found)| found.is_none())
            .map(|(row, _)| row)
            .collect();
        if open.is_empty() {
            let findings = suppressed.into_iter().flatten().collect();
            return Carried { findings, ..Carried::none() };
        }
        let mut carried = self.send(hop, due, &open, message, turn, shutdown).await;
        if is_own(due, &open)
            && carried.findings.iter().all(wants_seven_bit)
            && let Some(converted) = self.seven_bit(due, message).await
        {
            tracing::info!(delivery = %due.id, "converted to 7 bits, which is all that its servers take");
            carried = self.send(hop, due, &open, &converted, turn, shutdown).await;
        }
        self.learn(turn, due.require_tls, &carried);
        carried.spread(suppressed)
    }

    async fn send(
        &self,
        hop: &NextHop,
        due: &Due,
        rows: &[&DueRow],
        message: &[u8],
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Carried {
        let job = self.job(due, rows, message);
        let age = Timestamp::now().duration_since(due.since());
        let age = Duration::try_from(age).unwrap_or_default();
        let parcel = Parcel { id: due.id, job: &job, message, wish: due.require_tls, age };
        self.carrier.carry(&parcel, hop, turn, shutdown).await
    }

    /// The message in 7-bit form, signed anew: what was signed before it was converted does not verify any more.
    async fn seven_bit(&self, due: &Due, message: &[u8]) -> Option<Bytes> {
        let converted = seven_bit(message)?.into_owned();
        let ReversePath::Mailbox(sender) = &due.reverse_path else {
            return Some(Bytes::from(converted));
        };
        Some(self.reporter.signed(converted, &sender.domain, Timestamp::now()).await)
    }

    /// What a try says about the destination.
    fn learn(&self, turn: &Turn, wish: RequireTls, carried: &Carried) {
        if let Some(finding) = &carried.dead {
            turn.is_dead(wish, finding.clone());
        } else if carried.findings.iter().any(Finding::is_strain) {
            turn.strained();
        } else if carried.findings.iter().any(|finding| finding.fate == Fate::Delivered) {
            turn.went_well();
        }
    }

    /// Mail that nobody would miss is not sent to addresses that are known to be gone: reports, and copies that are
    /// passed on. What people write to there is tried: they are told, and the address may have come back.
    fn suppressed(&self, due: &Due, row: &DueRow) -> Option<Finding> {
        if !is_suppressible(due, row) {
            return None;
        }
        let known = self.state.suppressed(&row.address, Timestamp::now())?;
        let reason = known.reason.clone();
        let event = Event::Suppressed {
            recipient: row.address.to_string().into(),
            reason: reason.clone().into(),
        };
        self.state.record(due.id, Timestamp::now(), event);
        Some(Finding::failed(1, 1, format!("not tried, since the address is gone: {reason}")))
    }

    fn job(&self, due: &Due, rows: &[&DueRow], message: &[u8]) -> Job {
        let binary = due.body_type == BodyType::Binary && !is_seven_bit(message);
        // All rows of an errand have the same sender; `divide` sees to it.
        let forward = rows.first().and_then(|row| row.forward.as_ref());
        Job {
            own: self.own.clone().into(),
            reverse_path: sender(due, forward.map(|forward| &forward.reverse_path)),
            ret: due.ret.map(|ret| match ret {
                Ret::Full => command::Ret::Full,
                Ret::Headers => command::Ret::Hdrs,
            }),
            envid: due.envid.clone(),
            recipients: rows.iter().map(|row| recipient(row)).collect(),
            content: Content::of(message, due.smtputf8, binary),
            require_tls: due.require_tls == RequireTls::Required,
        }
    }
}

/// Mail of our own people, and our own reports: what is passed on for others is never converted, as that would break
/// its signatures.
fn is_own(due: &Due, rows: &[&DueRow]) -> bool {
    due.origin != Origin::Inbound && rows.iter().all(|row| row.forward.is_none())
}

/// Nothing but the form of the message kept every server from taking it, as was found here.
fn wants_seven_bit(finding: &Finding) -> bool {
    let status = (finding.status.class, finding.status.subject, finding.status.detail);
    finding.host().is_none() && matches!(status, (5, 6, 0 | 3 | 7))
}

/// Whether mail to an address that is gone need not be tried. What people here send is, whatever its return address:
/// a null one is what their programs' receipts have (RFC 8098 §3).
pub(crate) fn is_suppressible(due: &Due, row: &DueRow) -> bool {
    match due.origin {
        _ if row.forward.is_some() => true,
        Origin::Dsn => true,
        Origin::Inbound => due.reverse_path == ReversePath::Null,
        Origin::Submission { .. } => false,
    }
}

fn sender(due: &Due, forward: Option<&ReversePath>) -> ReversePath {
    forward.unwrap_or(&due.reverse_path).clone()
}

fn recipient(row: &DueRow) -> Recipient {
    let notify = match row.notify {
        Notify::Unspecified => None,
        Notify::Never => Some(command::Notify { never: true, ..Default::default() }),
        Notify::On { success, failure, delay } => {
            Some(command::Notify { never: false, success, failure, delay })
        }
    };
    let orcpt = row.orcpt.as_deref().and_then(|orcpt| orcpt.parse().ok());
    Recipient { address: row.address.clone(), notify, orcpt }
}

/// What recipients of one errand have in common: the next hop, whether they need SMTPUTF8 (they are no reason to
/// refuse the others), and the sender.
type Common<'a> = (NextHop, bool, Option<&'a ReversePath>);

/// Divides the recipients of a message.
pub(crate) fn divide(due: Due, outbound: &Outbound) -> Vec<(NextHop, Due)> {
    let mut groups: Vec<(Common<'_>, Vec<DueRow>)> = Vec::new();
    let Due { rows, .. } = &due;
    for row in rows {
        let hop = NextHop::of(&row.address.domain, outbound);
        let forward = row.forward.as_ref().map(|forward| &forward.reverse_path);
        let common = (hop, row.address.needs_smtputf8(), forward);
        match groups.iter_mut().find(|(other, rows)| *other == common && rows.len() < TOGETHER) {
            Some((_, rows)) => rows.push(row.clone()),
            None => groups.push((common, vec![row.clone()])),
        }
    }
    let part = |rows| Due { rows, ..due.clone() };
    groups.into_iter().map(|((hop, ..), rows)| (hop, part(rows))).collect()
}
