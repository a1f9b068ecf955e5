//! A try: counted before it is made, together with the reading of the message that it is made with.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_vault::DeliveryId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::body::Copy;
use crate::error::QueueError;
use crate::model::{EntryId, RowId};
use crate::parked::read_pieces;
use crate::queue::Queue;
use crate::schema;

/// A try that may begin.
#[derive(Debug)]
pub struct Attempt {
    /// The rows that are still due: others were cancelled or held meanwhile and are not to be tried.
    pub rows: Vec<RowId>,
    /// The message, as [`Queue::server_body`] gives it.
    pub message: Result<Bytes, QueueError>,
}

/// The server's copy of a body as it is stored, with the first of its pieces.
pub(crate) struct Stored {
    pub(crate) id: DeliveryId,
    pub(crate) size: u64,
    /// Where it is, and its content key under a key of the server's; `None` if only owners have it.
    readable: Option<(i64, Vec<u8>)>,
    pieces: Vec<Vec<u8>>,
}

impl Queue {
    /// Counts a try and sets the time of the one after it. To be called before the try, so that a message which makes
    /// the program end is not tried again at once; it survives that, though not a power cut. Gives back the rows that
    /// are still due.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn attempt(
        &self,
        rows: Vec<RowId>,
        next_attempt: Timestamp,
    ) -> Result<Vec<RowId>, QueueError> {
        self.database.write(move |transaction| count(transaction, &rows, next_attempt)).await
    }

    /// [`Queue::attempt`] and [`Queue::server_body`] in one job: a relay does nothing more often.
    ///
    /// # Errors
    /// `Vault`: nothing was counted. What is wrong with the message alone stands in its place.
    pub async fn begin(
        &self,
        entry: EntryId,
        rows: Vec<RowId>,
        next_attempt: Timestamp,
    ) -> Result<Attempt, QueueError> {
        let (rows, stored) = self
            .database
            .write(move |transaction| {
                let left = count(transaction, &rows, next_attempt)?;
                // What cannot be read is no reason not to count.
                let stored = match left.is_empty() {
                    true => Ok(None),
                    false => stored(transaction, entry),
                };
                Ok::<_, QueueError>((left, stored))
            })
            .await?;
        let message = match stored {
            Ok(stored) => self.open_stored(stored).await,
            Err(error) => Err(error),
        };
        Ok(Attempt { rows, message })
    }

    /// The body of an entry, from the copy that the server may read.
    ///
    /// # Errors
    /// `Gone` if the entry is no more, `Sealed` if only owners can read it, `Damaged` if it does not open, `Vault`.
    pub async fn server_body(&self, entry: EntryId) -> Result<Bytes, QueueError> {
        let stored = self.database.read(move |connection| stored(connection, entry)).await?;
        self.open_stored(stored).await
    }

    async fn open_stored(&self, stored: Option<Stored>) -> Result<Bytes, QueueError> {
        let Stored { id, size, readable, pieces } = stored.ok_or(QueueError::Gone)?;
        let (body, wrapped) = readable.ok_or(QueueError::Sealed(id))?;
        let content = self.unwrap_key(id, &wrapped)?;
        self.read_body((id, size), (body, Copy::Server), content, Some(pieces)).await
    }
}

fn count(
    transaction: &Transaction<'_>,
    rows: &[RowId],
    next_attempt: Timestamp,
) -> Result<Vec<RowId>, QueueError> {
    let mut update = transaction.prepare_cached(
        "UPDATE rows SET next_attempt = ?, attempts = attempts + 1, crowded = 0
         WHERE row = ? AND state = 'due'",
    )?;
    let mut left = Vec::with_capacity(rows.len());
    for row in rows {
        if update.execute(params![next_attempt.as_microsecond(), row.0])? > 0 {
            left.push(*row);
        }
    }
    Ok(left)
}

fn stored(connection: &Connection, entry: EntryId) -> Result<Option<Stored>, QueueError> {
    type Found = (DeliveryId, i64, Option<i64>, Option<Vec<u8>>);
    let found: Option<Found> = connection
        .prepare_cached("SELECT id, size, server_body, server_key FROM entries WHERE entry = ?")?
        .query_row([entry.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((id, size, body, key)) = found else { return Ok(None) };
    let readable = body.zip(key);
    let pieces = match readable {
        Some((body, _)) => read_pieces(connection, body, 0)?,
        None => Vec::new(),
    };
    Ok(Some(Stored { id, size: schema::size(size), readable, pieces }))
}
