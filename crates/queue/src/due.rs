//! Mail to be carried elsewhere: what is due, the attempt, the outcome.

use std::collections::HashMap;

use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_vault::DeliveryId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::error::QueueError;
use crate::model::{EntryId, NewEntry, Notify, Origin, Ret, RowId};
use crate::operate::Unreadable;
use crate::prepare;
use crate::queue::{Accepted, Queue};
use crate::schema::{self, EIGHT_BIT, Head, SMTPUTF8};
use crate::settle::{self, Left};
use crate::sql::{self, HEAD_COLUMNS};

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
    /// Whether its body is 8-bit.
    pub eight_bit: bool,
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
    },
    /// Never.
    Failed,
}

impl Queue {
    /// What is due at `now`, the most overdue first: up to `limit` recipients, gathered by message. They stay due until
    /// [`Queue::attempt`] is called for them. A row that cannot be read is put on hold, so that it is in nothing's way.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, QueueError> {
        loop {
            let (due, unreadable) = self.due_page(now, limit).await?;
            let again = due.is_empty() && !unreadable.is_empty();
            self.set_aside(unreadable).await?;
            if !again {
                return Ok(due);
            }
        }
    }

    async fn due_page(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<Due>, Vec<Unreadable>), QueueError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::DUE)?;
                let mut rows = statement.query(params![now.as_microsecond(), limit])?;
                let mut places: HashMap<EntryId, usize> = HashMap::new();
                let (mut due, mut unreadable): (Vec<Due>, _) = (Vec::new(), Vec::new());
                while let Some(row) = rows.next()? {
                    let (head, recipient) =
                        match Head::read(row).and_then(|head| Ok((head, DueRow::read(row)?))) {
                            Ok(read) => read,
                            Err(error) => {
                                unreadable.push(Unreadable::new(row, error)?);
                                continue;
                            }
                        };
                    let entry = recipient.row.entry();
                    let place = *places.entry(entry).or_insert(due.len());
                    if place == due.len() {
                        due.push(Due::new(entry, head));
                    }
                    due[place].rows.push(recipient);
                }
                Ok((due, unreadable))
            })
            .await
    }

    /// When the next recipient is due; `None` if none is waiting for its time.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        let next: Option<i64> = self
            .database
            .read(|connection| {
                Ok::<_, QueueError>(
                    connection.prepare_cached(sql::NEXT_DUE)?.query_row([], |row| row.get(0))?,
                )
            })
            .await?;
        next.map(schema::time).transpose()
    }

    /// Counts a try and sets the time of the one after it. To be called before the try, so that a message which makes
    /// the program end is not tried again at once; it survives that, though not a power cut. Gives back the rows that
    /// are still due: others were cancelled or held meanwhile and are not to be tried.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn attempt(
        &self,
        rows: Vec<RowId>,
        next_attempt: Timestamp,
    ) -> Result<Vec<RowId>, QueueError> {
        self.database
            .write(move |transaction| {
                let mut update = transaction.prepare_cached(
                    "UPDATE rows SET next_attempt = ?, attempts = attempts + 1 WHERE row = ? AND state = 'due'",
                )?;
                let mut left = Vec::with_capacity(rows.len());
                for row in rows {
                    if update.execute(params![next_attempt.as_microsecond(), row.0])? > 0 {
                        left.push(row);
                    }
                }
                Ok(left)
            })
            .await
    }

    /// Stores outcomes, and the notification that they cause, in one durable commit. Outcomes of rows that were
    /// cancelled meanwhile are passed over. A row on hold keeps that state when it is deferred. Parked rows may be
    /// given up or done with this way too.
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
        let (accepted, left) = self
            .database
            .commit(move |transaction| {
                let left = store(transaction, &outcomes)?;
                let accepted = prepared
                    .map(|prepared| prepare::insert(transaction, &prepared, &numbers))
                    .transpose()?;
                Ok::<_, QueueError>((accepted, left))
            })
            .await?;
        if let Some(guard) = guard {
            guard.done();
        }
        self.note(left);
        self.ring(remote, local);
        Ok(accepted)
    }
}

impl Due {
    fn new(entry: EntryId, head: Head) -> Self {
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
            eight_bit: head.flags & EIGHT_BIT != 0,
            size: head.size,
            rows: Vec::new(),
        }
    }
}

impl DueRow {
    fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        Ok(Self {
            row: RowId(row.get(HEAD_COLUMNS)?),
            address: schema::mailbox(&row.get::<_, String>(HEAD_COLUMNS + 1)?)?,
            notify: Notify::from_bits(row.get(HEAD_COLUMNS + 2)?),
            orcpt: row.get(HEAD_COLUMNS + 3)?,
            attempts: row.get(HEAD_COLUMNS + 4)?,
            last_reply: row.get(HEAD_COLUMNS + 5)?,
        })
    }
}

fn store(transaction: &Transaction<'_>, outcomes: &[Outcome]) -> Result<Left, QueueError> {
    let mut entries = Vec::new();
    for Outcome { row, verdict, reply } in outcomes {
        let state: Option<String> = transaction
            .prepare_cached("SELECT state FROM rows WHERE row = ?")?
            .query_row([row.0], |found| found.get(0))
            .optional()?;
        let Some(state) = state else { continue };
        if !schema::state(&state)?.is_live() {
            continue;
        }
        let done = |state: &str| {
            let sql = "UPDATE rows SET state = ?, reply = ?, next_attempt = NULL WHERE row = ?";
            transaction.prepare_cached(sql)?.execute(params![state, reply, row.0])
        };
        match verdict {
            Verdict::Deferred { next } => {
                let sql = "UPDATE rows SET reply = ?, next_attempt = iif(state = 'due', ?, NULL) WHERE row = ?";
                transaction.prepare_cached(sql)?.execute(params![
                    reply,
                    next.as_microsecond(),
                    row.0
                ])?;
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
