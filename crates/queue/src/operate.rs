//! What operators do with messages under way.

use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_vault::{AccountId, DeliveryId};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::error::QueueError;
use crate::model::{EntryId, RowId, RowKind, RowState};
use crate::queue::Queue;
use crate::schema;
use crate::settle::{self, Left};
use crate::sql::{self, HEAD_COLUMNS};

/// Rows changed by one job.
pub(crate) const PAGE: u32 = 200;

/// What an operator's word is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All recipients of a message that are under way.
    Message(DeliveryId),
    /// One of them, by its address (compared in canonical form).
    Recipient(DeliveryId, Mailbox),
}

#[derive(Clone, Copy)]
enum Order {
    Hold,
    Release(i64),
    Retry(i64),
    Cancel,
}

impl Queue {
    /// Stops the message for these recipients until it is released. The number of them.
    ///
    /// # Errors
    /// `NoSuchMessage`, `NoSuchRecipient`, `Vault`.
    pub async fn hold(&self, subject: Subject) -> Result<usize, QueueError> {
        self.order(subject, Order::Hold).await
    }

    /// Lets it go on, remote ones at once. The number of recipients that were held.
    ///
    /// # Errors
    /// As [`Queue::hold`].
    pub async fn release(&self, subject: Subject, now: Timestamp) -> Result<usize, QueueError> {
        self.order(subject, Order::Release(now.as_microsecond())).await
    }

    /// Makes what is under way due now; what is parked is offered to delivery again. Held recipients stay held. The
    /// number of recipients that this concerns.
    ///
    /// # Errors
    /// As [`Queue::hold`].
    pub async fn retry(&self, subject: Subject, now: Timestamp) -> Result<usize, QueueError> {
        self.order(subject, Order::Retry(now.as_microsecond())).await
    }

    /// Takes the message out of the queue for these recipients, without a notification. The number of them.
    ///
    /// # Errors
    /// As [`Queue::hold`].
    pub async fn cancel(&self, subject: Subject) -> Result<usize, QueueError> {
        self.order(subject, Order::Cancel).await
    }

    /// Puts everything that is due on hold: after a restore, when it may have been sent long ago. The number of
    /// recipients. Durable.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn hold_outbound(&self) -> Result<usize, QueueError> {
        let mut held = 0;
        // One after the other, since each has an index of its own.
        for crowded in [0, 1] {
            let sql = format!(
                "UPDATE rows SET state = 'held', next_attempt = NULL, crowded = 0
                 WHERE row IN (SELECT row FROM rows WHERE state = 'due' AND crowded = {crowded} LIMIT ?)"
            );
            let page = move |transaction: &Transaction<'_>| {
                Ok((transaction.execute(&sql, [PAGE])?, Left::default()))
            };
            held += self.paged(page).await?;
        }
        Ok(held)
    }

    /// Drops everything that is under way to an account: it is removed, or its keys are. The number of messages.
    /// Durable.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn discard_account(&self, account: AccountId) -> Result<usize, QueueError> {
        self.flush().await?;
        self.paged(move |transaction| {
            let mut rows: Vec<RowId> = Vec::new();
            for which in [
                "state = 'parked'",
                "state = 'held'",
                "state = 'due' AND crowded = 0 AND kind = 'local'",
            ] {
                let sql = format!("SELECT row FROM rows WHERE {which} AND account = ? LIMIT ?");
                let mut statement = transaction.prepare_cached(&sql)?;
                let found =
                    statement.query_map(params![account, PAGE], |row| row.get(0).map(RowId))?;
                rows.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            Ok((rows.len(), settle::delete_filed(transaction, &rows)?))
        })
        .await
    }

    /// Puts rows that cannot be read on hold, where an operator finds them and nobody else stumbles over them again.
    pub(crate) async fn set_aside(&self, rows: Vec<Unreadable>) -> Result<(), QueueError> {
        if rows.is_empty() {
            return Ok(());
        }
        for Unreadable { row, delivery, error } in &rows {
            tracing::error!(%delivery, row = row.0, %error, "a row of the queue cannot be read; it is put on hold");
        }
        self.database
            .write(move |transaction| {
                for Unreadable { row, .. } in &rows {
                    let sql = "UPDATE rows SET state = 'held', next_attempt = NULL WHERE row = ?";
                    transaction.execute(sql, [row.0])?;
                }
                Ok(())
            })
            .await
    }

    async fn order(&self, subject: Subject, order: Order) -> Result<usize, QueueError> {
        self.flush().await?;
        let (changed, remote, local, left) = self
            .database
            .commit(move |transaction| {
                let rows = find(transaction, &subject)?;
                let (mut changed, mut remote, mut local) = (0, false, false);
                for (row, kind, state) in rows {
                    if obey(transaction, row, kind, state, order)? {
                        changed += 1;
                        remote |= kind == RowKind::Remote;
                        local |= kind == RowKind::Local;
                    }
                }
                let (Subject::Message(id) | Subject::Recipient(id, _)) = subject;
                let left = match (order, entry_of(transaction, id)?) {
                    (Order::Cancel, Some(entry)) => settle::settle(transaction, entry)?,
                    _ => Left::default(),
                };
                Ok::<_, QueueError>((changed, remote, local, left))
            })
            .await?;
        self.note(left);
        if matches!(order, Order::Release(_) | Order::Retry(_)) {
            self.ring(remote, local);
        }
        Ok(changed)
    }

    /// Repeats a commit until it changes nothing more.
    async fn paged(
        &self,
        job: impl Fn(&Transaction<'_>) -> Result<(usize, Left), QueueError> + Clone + Send + 'static,
    ) -> Result<usize, QueueError> {
        let mut total = 0;
        loop {
            let (changed, left) = self.database.commit(job.clone()).await?;
            self.note(left);
            if changed == 0 {
                return Ok(total);
            }
            total += changed;
        }
    }
}

/// A row that makes no sense, in a question that begins with a [`Head`] and goes on with the row's number.
pub(crate) struct Unreadable {
    row: RowId,
    /// As it is stored.
    delivery: String,
    error: QueueError,
}

impl Unreadable {
    pub(crate) fn new(row: &Row<'_>, error: QueueError) -> Result<Self, QueueError> {
        Ok(Self { row: RowId(row.get(HEAD_COLUMNS)?), delivery: row.get(0)?, error })
    }
}

pub(crate) fn entry_of(
    connection: &rusqlite::Connection,
    id: DeliveryId,
) -> Result<Option<EntryId>, QueueError> {
    let found = connection.query_row(sql::ENTRY_OF, [id], |row| row.get(0).map(EntryId));
    Ok(found.optional()?)
}

/// The live rows that are meant.
fn find(
    transaction: &Transaction<'_>,
    subject: &Subject,
) -> Result<Vec<(RowId, RowKind, RowState)>, QueueError> {
    let (id, recipient) = match subject {
        Subject::Message(id) => (*id, None),
        Subject::Recipient(id, recipient) => (*id, Some(recipient)),
    };
    let (first, last) = entry_of(transaction, id)?.ok_or(QueueError::NoSuchMessage(id))?.rows();
    let mut statement = transaction
        .prepare_cached("SELECT row, kind, state, address FROM rows WHERE row BETWEEN ? AND ?")?;
    let mut rows = statement.query([first, last])?;
    let wanted = recipient.map(Mailbox::canonical);
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let state = schema::state(&row.get::<_, String>(2)?)?;
        // An order for the whole message is for recipients too whose address cannot be read.
        let meant = match &wanted {
            Some(wanted) => schema::mailbox(&row.get::<_, String>(3)?)
                .is_ok_and(|address| *wanted == address.canonical()),
            None => true,
        };
        if state.is_live() && meant {
            found.push((RowId(row.get(0)?), schema::kind(&row.get::<_, String>(1)?)?, state));
        }
    }
    match recipient {
        Some(recipient) if found.is_empty() => {
            Err(QueueError::NoSuchRecipient { id, recipient: recipient.clone() })
        }
        _ => Ok(found),
    }
}

/// Carries out an order for one row; whether it concerned it.
fn obey(
    transaction: &Transaction<'_>,
    row: RowId,
    kind: RowKind,
    state: RowState,
    order: Order,
) -> Result<bool, QueueError> {
    let set = |state: RowState, next: Option<i64>| {
        let sql = "UPDATE rows SET state = ?, next_attempt = ?, crowded = 0 WHERE row = ?";
        transaction.execute(sql, params![state.as_str(), next, row.0])
    };
    let due = |now: i64| (kind == RowKind::Remote).then_some(now);
    match (order, state) {
        // What is held back for an account here is not to wait any longer.
        (Order::Retry(_), RowState::Due) if kind == RowKind::Local => set(RowState::Parked, None)?,
        (Order::Hold, RowState::Held) => return Ok(false),
        (Order::Hold, _) => set(RowState::Held, None)?,
        (Order::Release(now), RowState::Held) => set(kind.first_state(), due(now))?,
        (Order::Release(_), _) | (Order::Retry(_), RowState::Held | RowState::Waiting) => {
            return Ok(false);
        }
        (Order::Retry(now), _) => set(state, due(now))?,
        (Order::Cancel, _) => transaction.execute("DELETE FROM rows WHERE row = ?", [row.0])?,
    };
    Ok(true)
}
