//! Opens the file, accepts messages, and looks after what may be done a little later.
//!
//! Three things wait for others. The deletion of filed rows rides on the next accept: a transaction of its own for
//! each would cost as much as the accept. Bodies too large to delete in one go are cut up in small jobs. And when
//! something was deleted that the server could read, the file's log is emptied as soon as it is quiet.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use letterlock_vault::{Database, Hooks, Key, Pool, ServerKey, Spec};
use rusqlite::{Connection, params};
use tokio::sync::Notify as Wake;
use tokio::task::AbortHandle;

use crate::body;
use crate::error::QueueError;
use crate::filed::{Filed, Leaving};
use crate::model::{EntryId, NewEntry, RowId};
use crate::prepare::{self, Bodies, Content, Prepared, STAGE_ABOVE};
use crate::schema::SCHEMA;
use crate::settle::{self, Left};

/// How long filed rows wait for an accept to ride on.
const TIDY_AFTER: Duration = Duration::from_millis(200);
/// How long nothing is to be tidied up before the log is emptied.
const QUIET: Duration = Duration::from_secs(2);
/// Filed rows that one accept takes along.
const RIDERS: usize = 32;
/// Filed rows deleted by one job of their own.
const FLUSH_ROWS: usize = 200;
/// Pieces of 64 KiB of one staged write: with two copies half a MiB, a few milliseconds.
const STAGE_PIECES: u64 = 4;

/// The owner of `queue.db`.
pub struct Queue {
    pub(crate) database: Database,
    /// Wraps the content keys of copies that the server may read.
    pub(crate) wrap: Key,
    numbers: Arc<Numbers>,
    /// Rows whose mail is filed, to be deleted.
    filed: Filed,
    house: Arc<House>,
    keeper: AbortHandle,
}

/// Bells.
#[derive(Default)]
struct House {
    /// Something is to be tidied up.
    work: Wake,
    /// The log may hold what the server is to forget.
    traces: AtomicBool,
    relay: Wake,
    delivery: Wake,
}

/// The next free numbers. Taken within database jobs or with no order needed; never given twice in one run.
pub(crate) struct Numbers {
    entry: AtomicI64,
    body: AtomicI64,
}

impl Numbers {
    pub(crate) fn take_entry(&self) -> i64 {
        self.entry.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn take_body(&self) -> i64 {
        self.body.fetch_add(1, Ordering::Relaxed)
    }
}

/// Where an accepted message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The entry.
    pub entry: EntryId,
    /// Its rows, in the order of the recipients.
    pub rows: Vec<RowId>,
}

impl Queue {
    /// Opens or creates `queue.db` in `data_dir`. What a crash left of messages that were never accepted goes.
    /// To be called within a tokio runtime, which then runs a small task of the queue's.
    ///
    /// # Errors
    /// [`QueueError::Vault`] if the file cannot be opened.
    pub async fn open(
        data_dir: &Path,
        server_key: &ServerKey,
        pool: &Pool,
    ) -> Result<Arc<Self>, QueueError> {
        let spec = Spec {
            path: data_dir.join("queue.db"),
            keys: server_key.file_keys("queue"),
            schema: SCHEMA,
            cache_kib: 4096,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let database = Database::open(pool, spec).await?;
        let numbers = database
            .write(|transaction| {
                // Staged bodies of before the start have nobody who would complete them.
                transaction.execute("UPDATE loose SET state = 'garbage'", [])?;
                highest_numbers(transaction)
            })
            .await?;
        let house = Arc::new(House::default());
        let queue = Arc::new_cyclic(|me| Self {
            database,
            wrap: server_key.derive("queue content keys", b""),
            numbers: Arc::new(numbers),
            filed: Filed::default(),
            house: Arc::clone(&house),
            keeper: tokio::spawn(keep_house(Weak::clone(me), Arc::clone(&house))).abort_handle(),
        });
        queue.house.work.notify_one();
        Ok(queue)
    }

    /// Makes a message durable, together with all others that are being accepted: on return it survives a power
    /// cut, and the caller may promise delivery. On an error nothing of it stays.
    ///
    /// Remote recipients are due at once and [`Queue::relay_bell`] rings. For parked ones nothing rings: the caller
    /// has the message in hand and files it, or leaves it to the next unlock.
    ///
    /// # Errors
    /// `Full`, `Vault` and the like: answer 451. `NoRecipients`, `TooLarge`, `Exists`, `Seal` for what is wrong
    /// with the entry itself.
    pub async fn accept(&self, entry: NewEntry) -> Result<Accepted, QueueError> {
        let mut accepted = self.accept_all(vec![entry]).await?;
        accepted.pop().ok_or(QueueError::CutOff)
    }

    /// Makes several entries durable, all or none of them: the copies of one message that are not alike. Where they
    /// stand, in their order.
    ///
    /// # Errors
    /// As [`Queue::accept`], for the first entry that is at fault.
    pub async fn accept_all(&self, entries: Vec<NewEntry>) -> Result<Vec<Accepted>, QueueError> {
        let together = entries.len();
        let (mut all, mut guards) = (Vec::with_capacity(together), Vec::with_capacity(together));
        for entry in entries {
            let (prepared, guard) = self.prepare_one_of(entry, together).await?;
            all.push(prepared);
            guards.push(guard);
        }
        let remote = all.iter().any(Prepared::has_remote);
        let riders = self.filed.take(RIDERS);
        let (numbers, passengers) = (Arc::clone(&self.numbers), riders.rows().to_vec());
        let committed = self
            .database
            .commit(move |transaction| {
                let accepted = all.iter().map(|one| prepare::insert(transaction, one, &numbers));
                let accepted = accepted.collect::<Result<Vec<_>, QueueError>>()?;
                let left = settle::delete_riders(transaction, &passengers)?;
                Ok::<_, QueueError>((accepted, left))
            })
            .await;
        match committed {
            Ok((accepted, left)) => {
                guards.into_iter().for_each(StageGuard::done);
                match left {
                    Some(left) => {
                        riders.gone();
                        self.note(left);
                    }
                    None => self.house.work.notify_one(),
                }
                if remote {
                    self.house.relay.notify_one();
                }
                Ok(accepted)
            }
            Err(error) => {
                self.house.work.notify_one();
                Err(error)
            }
        }
    }

    /// Tells that the mail of these rows is in its mailboxes, durably: the rows go, and bodies that nobody needs any
    /// more. Not synced: a power cut may bring rows back, which then are found filed already. After
    /// [`Queue::sync`] they are gone for good.
    pub fn filed(&self, rows: &[RowId]) {
        if !rows.is_empty() {
            self.filed.add(rows);
            self.house.work.notify_one();
        }
    }

    /// Returns when everything that was told before is on disk: after it, what [`Queue::filed`] was told need not be
    /// remembered any longer.
    ///
    /// # Errors
    /// [`QueueError::Vault`].
    pub async fn sync(&self) -> Result<(), QueueError> {
        // With those that accepts are taking along at the moment: they may yet fail.
        self.delete(self.filed.take_all()).await?;
        Ok(self.database.sync().await?)
    }

    /// Closes the file cleanly.
    ///
    /// # Errors
    /// [`QueueError::Vault`].
    pub async fn close(&self) -> Result<(), QueueError> {
        self.keeper.abort();
        let flushed = self.flush().await;
        self.database.close().await?;
        flushed
    }

    /// Rings when something may have become due for the relay. One waiter; a ring while nobody waits is kept.
    pub fn relay_bell(&self) -> &Wake {
        &self.house.relay
    }

    /// Rings when rows were parked by other ways than [`Queue::accept`]: a notification, a release, an adoption.
    /// One waiter; a ring while nobody waits is kept.
    pub fn delivery_bell(&self) -> &Wake {
        &self.house.delivery
    }

    pub(crate) fn ring(&self, relay: bool, delivery: bool) {
        if relay {
            self.house.relay.notify_one();
        }
        if delivery {
            self.house.delivery.notify_one();
        }
    }

    pub(crate) fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.numbers)
    }

    /// Sees to it that what is left is done later.
    pub(crate) fn note(&self, left: Left) {
        if left.traces {
            self.house.traces.store(true, Ordering::Relaxed);
        }
        if left != Left::default() {
            self.house.work.notify_one();
        }
    }

    /// Deletes the rows whose mail is filed, except those that ride on an accept at the moment.
    pub(crate) async fn flush(&self) -> Result<(), QueueError> {
        self.delete(self.filed.take(usize::MAX)).await
    }

    async fn delete(&self, filed: Leaving) -> Result<(), QueueError> {
        for rows in filed.rows().chunks(FLUSH_ROWS) {
            let job = rows.to_vec();
            match self
                .database
                .write(move |transaction| settle::delete_filed(transaction, &job))
                .await
            {
                Ok(left) => self.note(left),
                // Trying again would not help, and must not be in the way of all others.
                Err(error @ QueueError::Row(_)) => {
                    tracing::error!(%error, rows = rows.len(), "rows of filed mail could not be deleted");
                }
                Err(error) => return Err(error),
            }
        }
        filed.gone();
        Ok(())
    }

    /// Keys, envelopes and pieces of a message; a large body goes into the file on the way.
    pub(crate) async fn prepare(
        &self,
        entry: NewEntry,
    ) -> Result<(Prepared, StageGuard), QueueError> {
        self.prepare_one_of(entry, 1).await
    }

    /// Of several that one commit writes: it is to be no longer than for one.
    async fn prepare_one_of(
        &self,
        entry: NewEntry,
        together: usize,
    ) -> Result<(Prepared, StageGuard), QueueError> {
        let wrap = self.wrap.clone();
        let inline = STAGE_ABOVE / together.max(1);
        let mut prepared = match entry.is_heavy() {
            // Small messages are prepared here: handing them to another thread costs as much.
            false => prepare::prepare(entry, &wrap, inline)?,
            true => blocking(move || prepare::prepare(entry, &wrap, inline)).await??,
        };
        let mut guard = StageGuard {
            bodies: Vec::new(),
            database: self.database.clone(),
            house: Arc::clone(&self.house),
        };
        if matches!(prepared.bodies.content, Content::Staged(_)) {
            let numbers = prepared.bodies.keys.iter().map(|_| self.numbers.take_body()).collect();
            guard.bodies = numbers;
            prepared.bodies = self.stage(prepared.bodies, &guard.bodies).await?;
        }
        Ok((prepared, guard))
    }

    /// Writes a large body in several small transactions, under numbers that no entry has yet.
    async fn stage(&self, mut bodies: Bodies, numbers: &[i64]) -> Result<Bodies, QueueError> {
        let count = body::chunk_count(bodies.plain.len() as u64);
        let mut first = 0;
        while first < count {
            let range = first..count.min(first + STAGE_PIECES);
            let pieces;
            (bodies, pieces) = blocking(move || {
                let pieces = prepare::seal_pieces(&bodies.plain, range, bodies.id, &bodies.keys);
                (bodies, pieces)
            })
            .await?;
            let staged = numbers.to_vec();
            self.database
                .write(move |transaction| {
                    for (body, pieces) in staged.into_iter().zip(&pieces) {
                        if first == 0 {
                            let sql =
                                "INSERT INTO loose (body, chunks, state) VALUES (?, ?, 'staged')";
                            transaction.execute(sql, params![body, prepare::stored(count)])?;
                        }
                        prepare::insert_pieces(transaction, body, first, pieces)?;
                    }
                    Ok::<_, QueueError>(())
                })
                .await?;
            first += STAGE_PIECES;
        }
        bodies.content = Content::Staged(numbers.to_vec());
        Ok(bodies)
    }

    async fn tidy(&self) -> Result<(), QueueError> {
        self.flush().await?;
        self.sweep().await
    }

    /// Leaves nothing of deleted rows in the file's log.
    async fn forget_traces(&self) -> Result<(), QueueError> {
        self.house.traces.store(false, Ordering::Relaxed);
        Ok(self.database.checkpoint(true).await?)
    }

    /// Deletes garbage, in small jobs.
    async fn sweep(&self) -> Result<(), QueueError> {
        while self.database.write(settle::sweep).await?.garbage {}
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Does what may be done later, once it has waited for a moment; and empties the log in a quiet hour.
async fn keep_house(queue: Weak<Queue>, house: Arc<House>) {
    loop {
        let work = house.work.notified();
        let quiet = match house.traces.load(Ordering::Relaxed) {
            true => tokio::time::timeout(QUIET, work).await.is_err(),
            false => {
                work.await;
                false
            }
        };
        if !quiet {
            tokio::time::sleep(TIDY_AFTER).await;
        }
        let Some(queue) = queue.upgrade() else { return };
        let done = if quiet { queue.forget_traces().await } else { queue.tidy().await };
        if let Err(error) = done {
            tracing::warn!(%error, "the queue could not be tidied up; it will be tried again with the next mail");
        }
    }
}

/// Turns a staged body into garbage when its message is not accepted after all, also if the future was dropped.
pub(crate) struct StageGuard {
    bodies: Vec<i64>,
    database: Database,
    house: Arc<House>,
}

impl StageGuard {
    /// The commit took the bodies over.
    pub(crate) fn done(mut self) {
        self.bodies.clear();
    }
}

impl Drop for StageGuard {
    fn drop(&mut self) {
        if self.bodies.is_empty() {
            return;
        }
        let (bodies, database, house) =
            (std::mem::take(&mut self.bodies), self.database.clone(), Arc::clone(&self.house));
        // Without a runtime the program ends, and the next start does it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let discarded = database
                .write(move |transaction| {
                    for body in bodies {
                        // If the commit was under way after all, the body has its entry and is not here any more.
                        transaction
                            .execute("UPDATE loose SET state = 'garbage' WHERE body = ?", [body])?;
                    }
                    Ok::<_, QueueError>(())
                })
                .await;
            match discarded {
                Ok(()) => house.work.notify_one(),
                Err(error) => tracing::debug!(%error, "a staged body is left to the next start"),
            }
        });
    }
}

/// Runs CPU work on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, QueueError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| QueueError::CutOff)
}

fn highest_numbers(connection: &Connection) -> Result<Numbers, QueueError> {
    let highest = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let entry = highest("SELECT max(entry) FROM entries")?.unwrap_or(0) + 1;
    let chunk = highest("SELECT max(chunk) FROM chunks")?.unwrap_or(0);
    let loose = highest("SELECT max(body) FROM loose")?.unwrap_or(0);
    let body = body::body_of(chunk).max(loose) + 1;
    Ok(Numbers { entry: AtomicI64::new(entry), body: AtomicI64::new(body) })
}
