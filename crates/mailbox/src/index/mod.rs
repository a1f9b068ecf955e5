//! The word index: which terms stand in which bodies, kept in the encrypted file.
//!
//! It is a set of *segments*. Each covers some bodies and is never changed: terms in order, in packed blocks,
//! and for each term the list of its bodies. New bodies wait until there are enough of them for a segment of
//! their own; eight segments of about one size become one. So adding costs the same in a large mailbox as in a
//! small one, but for the few times that a word is merged on.
//!
//! - A body with an id up to the *frontier* is in a segment, unless it is among the waiting ones; all others
//!   are not indexed yet, and searches look at them one by one. Ids up to the frontier are not used again.
//! - Bodies that went stay in their segment until it is merged. No message names them, so they are not found.
//! - A text without a separator is looked for in the terms themselves, and what is found is right: IMAP's
//!   SEARCH wants parts of words too. Any other text gives bodies that may hold it, which are then opened.
//!
//! Making segments is done beside the file's executor, on a thread of low priority; the executor reads and
//! writes a few blocks at a time.

mod block;
mod build;
mod check;
mod merge;
mod query;
mod segment;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::MailboxError;
use crate::live::Live;

pub(crate) use self::check::check;
pub(crate) use self::query::{Answers, Knows, Places, Question, look_up};

/// So many new bodies are worth a segment.
pub(crate) const WORTHWHILE: u64 = 64;

/// How far the index has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexState {
    /// Bodies in the index; some may have gone since.
    pub indexed: u64,
    /// Bodies that a search looks at one by one, about.
    pub waiting: u64,
    /// Segments; a search looks at each.
    pub segments: u64,
    /// Octets of the index in the file, packed, before encryption.
    pub bytes: u64,
}

impl IndexState {
    /// All bodies.
    pub fn total(&self) -> u64 {
        self.indexed + self.waiting
    }
}

/// What one account's index needs in memory.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Held by the one who changes the index.
    run: tokio::sync::Mutex<()>,
    /// Held for reading while the segments are looked through, for writing while some are taken away.
    segments: tokio::sync::RwLock<()>,
}

/// CPU time spent on indexing, for all accounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent(Arc<AtomicU64>);

impl Spent {
    fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// How many bodies wait, about; cheap.
pub(crate) fn backlog(conn: &Connection) -> Result<u64, MailboxError> {
    let waiting: i64 = conn
        .prepare_cached(
            "SELECT max(coalesce((SELECT max(id) FROM bodies), 0) - frontier, 0) + \
             (SELECT count(*) FROM search_waiting) FROM search_state",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(waiting.unsigned_abs())
}

/// How far the index has come.
pub(crate) fn state(conn: &Connection) -> Result<IndexState, MailboxError> {
    let (indexed, segments): (i64, i64) = conn.query_row(
        "SELECT coalesce(sum(documents), 0), count(*) FROM search_segments WHERE state = 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let bytes: i64 =
        conn.query_row("SELECT coalesce(sum(bytes), 0) FROM search_segments", [], |row| {
            row.get(0)
        })?;
    Ok(IndexState {
        indexed: indexed.unsigned_abs(),
        waiting: backlog(conn)?,
        segments: segments.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
    })
}

/// One step: a segment of what waits, or a merge. Answers whether there may be more to do; nothing is done
/// for fewer than `least` waiting bodies.
pub(crate) async fn step(
    live: &Arc<Live>,
    spent: &Spent,
    least: u64,
) -> Result<bool, MailboxError> {
    let _alone = live.index.run.lock().await;
    segment::clear(live).await?;
    if build::step(live, spent, least).await? {
        return Ok(true);
    }
    merge::step(live, spent).await
}

/// Takes away the segments that are not valid.
pub(crate) async fn clear(live: &Arc<Live>) -> Result<(), MailboxError> {
    let _alone = live.index.run.lock().await;
    segment::clear(live).await
}

/// Runs on a thread of its own with the lowest priority, so that it takes only what delivery leaves.
async fn aside<R: Send + 'static>(
    spent: &Spent,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, MailboxError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let spent = spent.clone();
    let thread = std::thread::Builder::new().name("index".to_owned()).spawn(move || {
        // Linux knows a priority for each thread; without it the work is only less polite.
        let _ = rustix::process::setpriority_process(None, 19);
        let result = work();
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        spent.add(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ));
        // The one who asked is gone: the account was locked.
        let _ = answer.send(result);
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for the search index");
    }
    answered.await.map_err(|_| MailboxError::Locked)
}
