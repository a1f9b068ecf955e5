//! Mail to be carried elsewhere: what is due, the attempt, the outcome.

use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_vault::DeliveryId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::error::QueueError;
use crate::lanes::{self, Share};
use crate::model::{BodyType, EntryId, Forward, NewEntry, Notify, Origin, RequireTls, Ret, RowId};
use crate::prepare;
use crate::queue::{Accepted, Queue};
use crate::schema::{self, Head, SMTPUTF8};
use crate::settle::{self, Left};
use crate::sql::HEAD_COLUMNS;

/// A message that is to be carried to at least one recipient now.
#[derive(Clone, Debug)]
pub struct Due {
    /// The entry, for [`Queue::server_body`].
    pub entry: EntryId,
    /// The message.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// The envelope's sender.
    pub reverse_path: ReversePath,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID.
    pub envid: Option<String>,
    /// Whether it needs SMTPUTF8.
    pub smtputf8: bool,
    /// How its body is encoded.
    pub body_type: BodyType,
    /// What its sender wants of transport security.
    pub require_tls: RequireTls,
    /// When it was released, if it was held back at its sender's wish: its age counts from there.
    pub hold_until: Option<Timestamp>,
    /// Octets of its body.
    pub size: u64,
    /// The recipients that are due; others of the same message may be in another page, or in another state.
    pub rows: Vec<DueRow>,
}

/// A recipient that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// Its row.
    pub row: RowId,
    /// Its address.
    pub address: Mailbox,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// RFC 3461's ORCPT.
    pub orcpt: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// What was said at the last try.
    pub last_reply: Option<String>,
    /// Set if this is a copy that is passed on.
    pub forward: Option<Forward>,
    /// Whether the sender was told of its delay.
    pub delay_told: bool,
}

/// What became of a try, for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose row.
    pub row: RowId,
    /// What is to happen.
    pub verdict: Verdict,
    /// What was said, for people to read.
    pub reply: String,
    /// What was decided about transport security, in words; `None` if it did not come to that.
    pub security: Option<String>,
}

/// What is to happen with a recipient after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived.
    Delivered,
    /// Once more, then.
    Deferred {
        /// When.
        next: Timestamp,
        /// Whether the notification of the same commit tells the sender of the delay.
        told: bool,
    },
    /// Not before an operator says so.
    Held,
    /// Never.
    Failed,
}

impl Queue {
    /// [`Queue::due_page`] without regard to lanes.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, QueueError> {
        Ok(self.due_page(now, Share::all(limit)).await?.due)
    }

    /// When the next recipient is due; `None` if none is waiting for its time. Those whose lanes were full when they
    /// were looked at are not counted: they are due already.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        self.database.read(lanes::next).await
    }

    /// Stores outcomes, and the notification that they cause, in one transaction. Outcomes of rows that were
    /// cancelled meanwhile are passed over. A row on hold keeps that state when it is deferred. Parked rows may be
    /// given up or done with this way too.
    ///
    /// With a notification it is durable on return, as whatever is accepted. Without one it survives a crash of the
    /// process at once, a power cut from a second later on: one that comes before makes the try again, and loses
    /// nothing.
    ///
    /// # Errors
    /// As [`Queue::accept`]; nothing of it stays then.
    pub async fn finish(
        &self,
        outcomes: Vec<Outcome>,
        dsn: Option<NewEntry>,
    ) -> Result<Option<Accepted>, QueueError> {
        let (prepared, guard) = match dsn {
            Some(entry) => {
                let (prepared, guard) = self.prepare(entry).await?;
                (Some(prepared), Some(guard))
            }
            None => (None, None),
        };
        let (remote, local) = prepared
            .as_ref()
            .map_or((false, false), |prepared| (prepared.has_remote(), prepared.has_local()));
        let numbers = self.numbers();
        let durable = prepared.is_some();
        let job = move |transaction: &Transaction<'_>| {
            let left = store(transaction, &outcomes)?;
            let accepted = prepared
                .map(|prepared| prepare::insert(transaction, &prepared, &numbers))
                .transpose()?;
            Ok::<_, QueueError>((accepted, left))
        };
        let (accepted, left) = match durable {
            true => self.database.commit(job).await?,
            false => self.database.write(job).await?,
        };
        if let Some(guard) = guard {
            guard.done();
        }
        self.note(left);
        self.ring(remote, local);
        Ok(accepted)
    }
}

impl Due {
    /// When it began to be under way: when it was received, or released.
    pub fn since(&self) -> Timestamp {
        self.hold_until.map_or(self.received_at, |release| release.max(self.received_at))
    }

    pub(crate) fn new(entry: EntryId, head: Head) -> Self {
        let (body_type, require_tls) = (head.body_type(), head.require_tls());
        Self {
            entry,
            id: head.id,
            received_at: head.received_at,
            origin: head.origin,
            // A recipient that is due keeps the sender readable; without one no report could be sent anyway.
            reverse_path: head.reverse_path.unwrap_or(ReversePath::Null),
            ret: head.ret,
            envid: head.envid,
            smtputf8: head.flags & SMTPUTF8 != 0,
            body_type,
            require_tls,
            hold_until: head.hold_until,
            size: head.size,
            rows: Vec::new(),
        }
    }
}

impl DueRow {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        Ok(Self {
            row: RowId(row.get(HEAD_COLUMNS)?),
            address: schema::mailbox(&row.get::<_, String>(HEAD_COLUMNS + 1)?)?,
            notify: Notify::from_bits(row.get(HEAD_COLUMNS + 2)?),
            orcpt: row.get(HEAD_COLUMNS + 3)?,
            attempts: row.get(HEAD_COLUMNS + 4)?,
            last_reply: row.get(HEAD_COLUMNS + 5)?,
            forward: row
                .get::<_, Option<String>>(HEAD_COLUMNS + 6)?
                .map(|sender| schema::reverse_path(&sender))
                .transpose()?
                .map(|reverse_path| Forward { reverse_path }),
            delay_told: row.get(HEAD_COLUMNS + 7)?,
        })
    }
}

fn store(transaction: &Transaction<'_>, outcomes: &[Outcome]) -> Result<Left, QueueError> {
    let mut entries = Vec::new();
    for Outcome { row, verdict, reply, security } in outcomes {
        let state: Option<String> = transaction
            .prepare_cached("SELECT state FROM rows WHERE row = ?")?
            .query_row([row.0], |found| found.get(0))
            .optional()?;
        let Some(state) = state else { continue };
        if !schema::state(&state)?.is_live() {
            continue;
        }
        let done = |state: &str| {
            let sql = "UPDATE rows SET state = ?, reply = ?, security = ifnull(?, security), next_attempt = NULL
                       WHERE row = ?";
            transaction.prepare_cached(sql)?.execute(params![state, reply, security, row.0])
        };
        match verdict {
            Verdict::Deferred { next, told } => {
                let sql = "UPDATE rows SET reply = ?, security = ifnull(?, security),
                           next_attempt = iif(state = 'due', ?, NULL), delay_told = max(delay_told, ?), crowded = 0
                           WHERE row = ?";
                transaction.prepare_cached(sql)?.execute(params![
                    reply,
                    security,
                    next.as_microsecond(),
                    told,
                    row.0
                ])?;
            }
            Verdict::Held => {
                done("held")?;
            }
            Verdict::Delivered => {
                done("delivered")?;
                entries.push(row.entry());
            }
            Verdict::Failed => {
                done("failed")?;
                entries.push(row.entry());
            }
        }
    }
    entries.sort_unstable();
    entries.dedup();
    settle::settle_all(transaction, entries)
}
