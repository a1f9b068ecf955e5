//! What goes when a row goes: copies of the body, the server's key to its copy, the sender's address, the entry.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::body::{self, Copy};
use crate::error::QueueError;
use crate::model::{EntryId, RowId};
use crate::schema;

/// A body of more pieces than this (1 MiB) is not deleted at once but swept up later.
const AT_ONCE: u32 = 16;

/// What a deletion leaves to be done later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Bodies to be swept up.
    pub(crate) garbage: bool,
    /// What the server could read and is to forget may still stand in the file's log.
    pub(crate) traces: bool,
}

impl Left {
    const GARBAGE: Self = Self { garbage: true, traces: false };

    pub(crate) fn and(self, other: Self) -> Self {
        Self { garbage: self.garbage || other.garbage, traces: self.traces || other.traces }
    }
}

/// Deletes rows of recipients whose mail is filed.
pub(crate) fn delete_filed(
    transaction: &Transaction<'_>,
    rows: &[RowId],
) -> Result<Left, QueueError> {
    let mut delete =
        transaction.prepare_cached("DELETE FROM rows WHERE row = ? AND kind = 'local'")?;
    let mut entries = BTreeSet::new();
    for row in rows {
        if delete.execute([row.0])? > 0 {
            entries.insert(row.entry());
        }
    }
    settle_all(transaction, entries)
}

/// [`delete_filed`] within another message's commit, which must not fail because of it: `None` if they could not be
/// deleted.
pub(crate) fn delete_riders(
    transaction: &Transaction<'_>,
    rows: &[RowId],
) -> Result<Option<Left>, QueueError> {
    if rows.is_empty() {
        return Ok(Some(Left::default()));
    }
    transaction.execute_batch("SAVEPOINT riders")?;
    match delete_filed(transaction, rows) {
        Ok(left) => {
            transaction.execute_batch("RELEASE riders")?;
            Ok(Some(left))
        }
        Err(error) => {
            tracing::error!(%error, rows = rows.len(), "rows of filed mail could not be deleted");
            transaction.execute_batch("ROLLBACK TO riders; RELEASE riders")?;
            Ok(None)
        }
    }
}

/// [`settle`] for several entries.
pub(crate) fn settle_all(
    transaction: &Transaction<'_>,
    entries: impl IntoIterator<Item = EntryId>,
) -> Result<Left, QueueError> {
    entries
        .into_iter()
        .try_fold(Left::default(), |left, entry| Ok(left.and(settle(transaction, entry)?)))
}

/// What the recipients that are left need of an entry.
#[derive(Default)]
struct Need {
    /// Either of the copies.
    copies: [bool; 2],
    /// That the server can read its copy.
    server_key: bool,
    /// There are rows, if only to be shown.
    rows: bool,
}

/// Removes everything from an entry that none of its recipients needs any more; with the last of them, the entry.
pub(crate) fn settle(transaction: &Transaction<'_>, entry: EntryId) -> Result<Left, QueueError> {
    let need = need(transaction, entry)?;
    if !need.rows {
        return drop_entry(transaction, entry);
    }
    let stored = transaction
        .prepare_cached(
            "SELECT sealed_body, server_body, size, server_key IS NOT NULL FROM entries WHERE entry = ?",
        )?
        .query_row([entry.0], |row| {
            let bodies: [Option<i64>; 2] = [row.get(0)?, row.get(1)?];
            Ok((bodies, row.get::<_, i64>(2)?, row.get::<_, bool>(3)?))
        })
        .optional()?;
    let Some((bodies, size, has_server_key)) = stored else { return Ok(Left::default()) };
    let count = body::chunk_count(schema::size(size));
    let mut left = Left { garbage: false, traces: has_server_key && !need.server_key };
    for copy in [Copy::Sealed, Copy::Server] {
        if let (Some(body), false) = (bodies[copy as usize], need.copies[copy as usize]) {
            left = left.and(drop_body(transaction, body, count)?);
        }
    }
    if need.copies == [false, false] {
        let (first, last) = entry.rows();
        transaction
            .prepare_cached("DELETE FROM rows WHERE row BETWEEN ? AND ?")?
            .execute([first, last])?;
        transaction.prepare_cached("DELETE FROM entries WHERE entry = ?")?.execute([entry.0])?;
        return Ok(left);
    }
    let drops = |copy: Copy| bodies[copy as usize].is_some() && !need.copies[copy as usize];
    if drops(Copy::Sealed) || drops(Copy::Server) {
        transaction.prepare_cached(
            "UPDATE entries SET sealed_body = iif(?, sealed_body, NULL), server_body = iif(?, server_body, NULL)
             WHERE entry = ?",
        )?
        .execute(params![need.copies[0], need.copies[1], entry.0])?;
    }
    if has_server_key && !need.server_key {
        forget(transaction, entry)?;
    }
    Ok(left)
}

/// Removes an entry without rows: what nearly every message comes to, so with as few statements as it takes.
fn drop_entry(transaction: &Transaction<'_>, entry: EntryId) -> Result<Left, QueueError> {
    let dropped = transaction
        .prepare_cached(
            "DELETE FROM entries WHERE entry = ?
             RETURNING sealed_body, server_body, size, server_key IS NOT NULL",
        )?
        .query_row([entry.0], |row| {
            let bodies: [Option<i64>; 2] = [row.get(0)?, row.get(1)?];
            Ok((bodies, row.get::<_, i64>(2)?, row.get::<_, bool>(3)?))
        })
        .optional()?;
    let Some((bodies, size, traces)) = dropped else { return Ok(Left::default()) };
    let count = body::chunk_count(schema::size(size));
    bodies.into_iter().flatten().try_fold(Left { garbage: false, traces }, |left, body| {
        Ok(left.and(drop_body(transaction, body, count)?))
    })
}

fn need(transaction: &Transaction<'_>, entry: EntryId) -> Result<Need, QueueError> {
    let (first, last) = entry.rows();
    let mut statement = transaction.prepare_cached(
        "SELECT state, copy, envelope IS NULL FROM rows WHERE row BETWEEN ? AND ?",
    )?;
    let mut rows = statement.query([first, last])?;
    let mut need = Need::default();
    while let Some(row) = rows.next()? {
        need.rows = true;
        if schema::state(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?.is_live() {
            need.copies[Copy::from_number(row.get(1)?) as usize] = true;
            need.server_key |= row.get::<_, bool>(2)?;
        }
    }
    Ok(need)
}

/// From now on only owners can read the message, and nobody else needs to know who sent it or to whom else.
fn forget(transaction: &Transaction<'_>, entry: EntryId) -> Result<(), QueueError> {
    let (first, last) = entry.rows();
    transaction.execute(
        "DELETE FROM rows WHERE row BETWEEN ? AND ? AND state IN ('delivered', 'failed')",
        [first, last],
    )?;
    transaction.execute(
        "UPDATE entries SET server_key = NULL, reverse_path = NULL, ret = NULL, envid = NULL WHERE entry = ?",
        [entry.0],
    )?;
    Ok(())
}

fn drop_body(transaction: &Transaction<'_>, body: i64, count: u64) -> Result<Left, QueueError> {
    if count > u64::from(AT_ONCE) {
        let sql = "INSERT INTO loose (body, chunks, state) VALUES (?, ?, 'garbage')";
        transaction.execute(sql, params![body, crate::prepare::stored(count)])?;
        return Ok(Left::GARBAGE);
    }
    let (first, end) = body::chunk_range(body);
    transaction
        .prepare_cached("DELETE FROM chunks WHERE chunk >= ? AND chunk < ?")?
        .execute([first, end])?;
    Ok(Left::default())
}

/// Deletes some pieces of one body without an entry; whether there is more of that.
pub(crate) fn sweep(transaction: &Transaction<'_>) -> Result<Left, QueueError> {
    let found = transaction
        .query_row("SELECT body FROM loose WHERE state = 'garbage' LIMIT 1", [], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    let Some(body) = found else { return Ok(Left::default()) };
    let (first, end) = body::chunk_range(body);
    let deleted = transaction.execute(
        "DELETE FROM chunks WHERE chunk IN (SELECT chunk FROM chunks WHERE chunk >= ? AND chunk < ? LIMIT ?)",
        params![first, end, AT_ONCE],
    )?;
    if deleted < AT_ONCE as usize {
        transaction.execute("DELETE FROM loose WHERE body = ?", [body])?;
    }
    Ok(Left::GARBAGE)
}
