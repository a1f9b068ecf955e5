//! Clearing away, in slices: messages of deleted folders, bodies that many messages left at once, large bodies that
//! nobody has any more, and what a crash left of a COPY.
//!
//! What is to be cleared stands in the file, written with what made it so: a crash or a lock only ends the work until
//! the next unlock.

use rusqlite::{OptionalExtension, params};

use crate::body::{self, CHUNKS_PER_JOB};
use crate::change_jobs::{Moved, Which, expunge};
use crate::error::MailboxError;
use crate::live::Live;
use crate::messages::SLICE;
use crate::types::{FolderId, UidRanges};
use crate::work::{Attempt, Work};

/// How many released bodies one job takes away, and about how many octets of them: some milliseconds.
const RELEASED: usize = 64;
const RELEASED_OCTETS: i64 = 1 << 20;

/// Clears everything that is to be cleared.
pub(crate) async fn run(live: &Live) -> Result<(), MailboxError> {
    while live.loose(|work| Ok(Attempt::Done(step(work)?))).await? {}
    Ok(())
}

/// One slice; answers whether there may be more.
fn step(work: &Work<'_>) -> Result<bool, MailboxError> {
    let doomed: Option<i64> = work
        .tx
        .prepare_cached("SELECT id FROM folders WHERE name IS NULL LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if let Some(folder) = doomed {
        clear_folder(work, folder)?;
        return Ok(true);
    }
    if clear_released(work)? {
        return Ok(true);
    }
    let mut garbage =
        work.tx.prepare_cached("SELECT id FROM bodies WHERE refs < 1 AND refs = 0")?;
    let mut garbage = garbage.query_map([], |row| row.get::<_, i64>(0))?;
    // Who reads a body has it to the end; then it is cleared away.
    let body = garbage
        .find(|body| body.as_ref().map_or(true, |body| !work.memory.is_pinned(*body)))
        .transpose()?;
    let Some(body) = body else { return Ok(false) };
    if body::remove_pieces(work.tx, body, CHUNKS_PER_JOB)? < CHUNKS_PER_JOB {
        body::remove_entry(work.tx, body)?;
    }
    Ok(true)
}

fn clear_folder(work: &Work<'_>, folder: i64) -> Result<(), MailboxError> {
    let slice: Vec<(u32, i64, i64)> = work
        .tx
        .prepare_cached(
            "SELECT uid, body, size FROM messages WHERE folder = ?1 ORDER BY uid LIMIT ?2",
        )?
        .query_map(params![folder, SLICE as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut delete =
        work.tx.prepare_cached("DELETE FROM messages WHERE folder = ?1 AND uid = ?2")?;
    for (uid, body, size) in &slice {
        delete.execute(params![folder, uid])?;
        body::release_later(work.tx, *body, size.unsigned_abs())?;
    }
    if slice.len() < SLICE {
        work.tx.execute("DELETE FROM expunged WHERE folder = ?1", [folder])?;
        work.tx.execute("DELETE FROM keywords WHERE folder = ?1", [folder])?;
        work.tx.execute("DELETE FROM folders WHERE id = ?1", [folder])?;
    }
    Ok(())
}

/// Releases the next bodies; answers whether there were any.
fn clear_released(work: &Work<'_>) -> Result<bool, MailboxError> {
    let mut query = work
        .tx
        .prepare_cached("SELECT body, messages, size FROM released ORDER BY body LIMIT ?1")?;
    let mut rows = query.query([RELEASED as i64])?;
    let (mut slice, mut octets): (Vec<(i64, i64)>, i64) = (Vec::new(), 0);
    while octets < RELEASED_OCTETS
        && let Some(row) = rows.next()?
    {
        slice.push((row.get(0)?, row.get(1)?));
        octets = octets.saturating_add(row.get(2)?);
    }
    drop(rows);
    let mut forget = work.tx.prepare_cached("DELETE FROM released WHERE body = ?1")?;
    for (body, messages) in &slice {
        body::release(work, *body, *messages)?;
        forget.execute([body])?;
    }
    Ok(!slice.is_empty())
}

/// Gives up uploads that a lock cut short; a crash's are given up when the file is opened. Only before anybody has
/// the handle.
pub(crate) async fn drop_uploads(live: &Live) -> Result<(), MailboxError> {
    const ANY: &str = "SELECT EXISTS (SELECT 1 FROM bodies WHERE refs < 1 AND refs < 0)";
    if live.read(|conn, _| Ok(conn.query_row(ANY, [], |row| row.get(0))?)).await? {
        live.loose(|work| {
            work.tx.execute("UPDATE bodies SET refs = 0 WHERE refs < 1 AND refs < 0", [])?;
            Ok(Attempt::Done(()))
        })
        .await?;
    }
    Ok(())
}

/// Takes back copies that were noted and never finished: all of them, or those of one COPY.
pub(crate) async fn undo_copies(
    live: &Live,
    only: Option<(FolderId, Vec<(u32, u32)>)>,
) -> Result<Vec<Moved>, MailboxError> {
    let noted = match only {
        Some((folder, ranges)) => {
            ranges.into_iter().map(|(first, last)| (folder.0, first, last)).collect()
        }
        None => {
            live.read(|conn, _| {
                let mut query = conn.prepare("SELECT folder, first, last FROM copying")?;
                let rows =
                    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                Ok(rows.collect::<Result<Vec<(i64, u32, u32)>, _>>()?)
            })
            .await?
        }
    };
    let mut moved = Vec::new();
    for (folder, first, last) in noted {
        let ranges = UidRanges::from_ranges([(first, last)]);
        let undone = live.loose(move |work| undo(work, folder, &ranges, first)).await?;
        moved.extend(undone);
    }
    Ok(moved)
}

/// Takes back one slice: no more than a job may do.
fn undo(
    work: &Work<'_>,
    folder: i64,
    ranges: &UidRanges,
    first: u32,
) -> Result<Attempt<Option<Moved>>, MailboxError> {
    let moved = match expunge(work, FolderId(folder), ranges, 0, Which::Any) {
        Ok(Attempt::Done(removed)) => removed.moved,
        Ok(Attempt::Reserve(shortage)) => return Ok(Attempt::Reserve(shortage)),
        // Deleted meanwhile: its messages go with it.
        Err(MailboxError::NoSuchFolder) => None,
        Err(error) => return Err(error),
    };
    forget(work, folder, first)?;
    Ok(Attempt::Done(moved))
}

/// A noted slice is finished with.
pub(crate) fn forget(work: &Work<'_>, folder: i64, first: u32) -> Result<(), MailboxError> {
    work.tx
        .prepare_cached("DELETE FROM copying WHERE folder = ?1 AND first = ?2")?
        .execute(params![folder, first])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey};

    use crate::body::Prepared;
    use crate::handle::Handle;
    use crate::{Mailboxes, Options};

    async fn bodies(handle: &Handle) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM bodies), (SELECT count(*) FROM chunks)";
        let live = handle.live().unwrap();
        live.read(move |conn, _| Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn an_upload_that_a_lock_cut_short_takes_no_room_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let account = AccountId::generate();
        let (secrets, _) = AccountSecrets::generate(account, &AccountKey::random(), &server);
        let mailboxes = Mailboxes::new(dir.path(), Pool::new("test", 1), Options::default());
        mailboxes.create(&secrets).await.unwrap();
        let handle = mailboxes.unlock(secrets.clone(), false).await.unwrap();
        let live = handle.live().unwrap();
        let message =
            Prepared::new(format!("\r\n{}", "x".repeat(600_000)).into(), &live.hash_key).await;
        message.upload(&live.db).await.unwrap();
        drop(live);
        assert_eq!(bodies(&handle).await, (1, 10));
        mailboxes.lock(account).await.unwrap();
        let handle = mailboxes.unlock(secrets, false).await.unwrap();
        handle.sweep().await.unwrap();
        assert_eq!(bodies(&handle).await, (0, 0));
    }

    #[tokio::test]
    async fn a_reader_that_nobody_waited_for_keeps_no_body_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let account = AccountId::generate();
        let (secrets, _) = AccountSecrets::generate(account, &AccountKey::random(), &server);
        let mailboxes = Mailboxes::new(dir.path(), Pool::new("test", 1), Options::default());
        mailboxes.create(&secrets).await.unwrap();
        let handle = mailboxes.unlock(secrets, false).await.unwrap();
        let new = crate::NewMessage {
            bytes: "Subject: x\r\n\r\ntext".into(),
            flags: crate::Flags::default(),
            internal_date: crate::InternalDate::utc(jiff::Timestamp::UNIX_EPOCH),
        };
        let appended = handle.append("INBOX", vec![new]).await.unwrap();
        {
            let mut reading = Box::pin(handle.reader(appended.folder, appended.uids[0]));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            // Where the job was quicker than this, its answer is dropped here.
            drop(reading.as_mut().poll(&mut context));
            // This job runs after that of the reader, whose answer is never taken.
            handle.usage().await.unwrap();
        }
        handle.remove(appended.folder, &crate::all_uids()).await.unwrap();
        handle.sweep().await.unwrap();
        assert_eq!(bodies(&handle).await, (0, 0));
    }
}
