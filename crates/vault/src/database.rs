//! A database: one encrypted SQLite file, its connection, and the queue of jobs on it.
//!
//! Jobs of one database run one after the other, in the order in which they came, on the
//! threads of its [`Pool`]. So nobody ever waits for a lock of SQLite's, and nothing
//! blocks an async worker. What is promised about durability stands at each method. The
//! connection is opened by the first job that needs it and closed when idle.

mod bulk;
mod check;
mod closing;
mod connection;
mod copy;
mod error;
mod executor;
mod group;
mod job;
mod together;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use crate::key::FileKeys;
use crate::pool::Pool;

pub use self::bulk::Bulk;
pub use self::copy::Frozen;
pub use self::error::VaultError;
use self::executor::{Access, Inner};
use self::job::{Job, Reading, Reply, Slicing, Writing};

/// What a database is and how it is kept.
#[derive(Clone)]
pub struct Spec {
    /// The main file. Its log stands beside it, with `-wal` added to the name.
    pub path: PathBuf,
    /// The keys of this file and no other.
    pub keys: FileKeys,
    /// Migrations: SQL scripts, each run once and in a transaction of its own, in this
    /// order. `PRAGMA user_version` counts those that were run. Only ever append.
    pub schema: &'static [&'static str],
    /// SQLite's page cache for this file, in KiB.
    pub cache_kib: u32,
    /// Close the connection after this time without a job; `None` keeps it open.
    pub idle_close: Option<Duration>,
    /// What to do when the connection opens and closes.
    pub hooks: Hooks,
}

/// Called at each opening.
pub type OpenedHook = Arc<dyn Fn(&mut Connection, Opened) -> rusqlite::Result<()> + Send + Sync>;
/// Called before each clean closing.
pub type ClosingHook = Arc<dyn Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync>;

/// What the owner of a database does when its connection opens and closes.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Runs after the migrations, before the first job; an error fails that job, and the
    /// next one tries to open again. What it writes is durable before any job runs.
    pub opened: Option<OpenedHook>,
    /// Runs before a clean closing; after an error of it the closing is not clean.
    pub closing: Option<ClosingHook>,
}

/// What is known when a connection opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whether everything that any job ever saw in this database is there: true after a
    /// clean closing and for a new file, false after a crash. Unsynced commits may be
    /// missing then.
    pub clean: bool,
}

/// What a sliced job says after each slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice<R> {
    /// There is more to do, after others had their turn.
    More,
    /// This is the result.
    Done(R),
}

/// A handle to a database. Clones are handles to the same.
///
/// When the last handle goes, the database closes cleanly in the background. Until that is
/// done the file counts as open; who wants to open it anew calls [`Database::close`] first.
#[derive(Clone)]
pub struct Database(Arc<Handle>);

struct Handle(Arc<Inner>);

impl Database {
    /// A database on `pool`. Nothing is opened yet; the first job does that, and answers
    /// with the error if it fails.
    pub fn new(pool: &Pool, mut spec: Spec) -> Self {
        // A later change of the working folder must not move the file.
        if let Ok(path) = std::path::absolute(&spec.path) {
            spec.path = path;
        }
        Self(Arc::new(Handle(Inner::new(pool.clone(), spec, Access::ReadWrite))))
    }

    /// Opens a damaged database for what can still be read: what was committed to its main
    /// file and (up to the first damaged frame) to its log. Neither file is written, no
    /// hook and no migration runs, and jobs that write are answered with
    /// [`VaultError::ReadOnly`]. A read that comes to a damaged page answers
    /// [`VaultError::Damaged`], others go on.
    ///
    /// A damaged header of the log is mended in memory if one octet of it is wrong; else
    /// the log is left out, which is logged, and what stands in the main file may then be
    /// of different times.
    ///
    /// # Errors
    /// Why nothing can be read: the file is missing, the key is wrong, or the first page is
    /// damaged, from which everything else is found.
    pub async fn open_read_only(pool: &Pool, mut spec: Spec) -> Result<Self, VaultError> {
        spec.path = std::path::absolute(&spec.path)?;
        let database = Self(Arc::new(Handle(Inner::new(pool.clone(), spec, Access::ReadOnly))));
        database.ask(Job::Open).await?;
        Ok(database)
    }

    /// [`Database::new`], opened at once (and created if it does not exist), so that
    /// errors show.
    ///
    /// # Errors
    /// Why it did not open.
    pub async fn open(pool: &Pool, spec: Spec) -> Result<Self, VaultError> {
        let database = Self::new(pool, spec);
        database.ask(Job::Open).await?;
        Ok(database)
    }

    /// The main file.
    pub fn path(&self) -> PathBuf {
        self.0.0.path()
    }

    /// Runs `job` with nothing else running beside it, so that all it reads is of one
    /// moment. It should take at most 10 ms; longer work is [`Database::sliced`]. It is
    /// skipped if nobody waits for its answer any more.
    ///
    /// # Errors
    /// The job's own, or why it did not run.
    pub async fn read<R, E>(
        &self,
        job: impl FnOnce(&Connection) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<VaultError> + Send + 'static,
    {
        self.run(|reply| Job::Access(Box::new(Reading::new(job, reply)))).await
    }

    /// Runs `job` in a transaction, and commits it if the job answers `Ok`. On return it
    /// survives a crash of the process; a power cut, from a second later or the next
    /// [`Database::sync`] or [`Database::commit`] on.
    ///
    /// Once called and polled, the job runs even if the future is dropped.
    ///
    /// # Errors
    /// The job's own, or why it was not committed; nothing of it stays then.
    pub async fn write<R, E>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<VaultError> + Send + 'static,
    {
        self.run(|reply| Job::Write { job: Box::new(Writing::new(job, reply)), durable: false })
            .await
    }

    /// As [`Database::write`], but returns only when it is on stable storage, with all
    /// that was written before. Commits that wait at the same time share one transaction
    /// and one sync; a job that fails takes none of the others with it.
    ///
    /// # Errors
    /// The job's own, or why it was not committed; nothing of it stays then, except when
    /// the file could not be recovered after a failed sync ([`VaultError::SyncFailed`]
    /// from then on): then it may be there after the next opening.
    pub async fn commit<R, E>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<VaultError> + Send + 'static,
    {
        self.run(|reply| Job::Write { job: Box::new(Writing::new(job, reply)), durable: true })
            .await
    }

    /// Runs `job` again and again, with the jobs of others in between, until it says
    /// [`Slice::Done`]. Each call should take at most 10 ms or 1,000 rows, and commit its
    /// own transactions: one left open is rolled back. What it commits is as durable as
    /// [`Database::write`]. It ends early if nobody waits for its answer any more.
    ///
    /// # Errors
    /// The job's own, or why it did not run to its end; earlier slices stay.
    pub async fn sliced<R, E>(
        &self,
        job: impl FnMut(&mut Connection) -> Result<Slice<R>, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<VaultError> + Send + 'static,
    {
        self.run(|reply| Job::Access(Box::new(Slicing::new(job, reply)))).await
    }

    /// Returns when everything that was committed before this call is on stable storage.
    ///
    /// # Errors
    /// The sync failed, or the database is closed.
    pub async fn sync(&self) -> Result<(), VaultError> {
        self.ask(|reply| Job::Sync(Some(reply))).await
    }

    /// Copies the log into the main file; with `truncate`, empties the log as well, so
    /// that nothing of deleted rows is left in it. Large logs are copied in the
    /// background without this call.
    ///
    /// # Errors
    /// It failed; what is committed stays as durable as it was.
    pub async fn checkpoint(&self, truncate: bool) -> Result<(), VaultError> {
        self.ask(|reply| Job::Checkpoint { truncate, reply: Some(reply) }).await
    }

    /// Runs the jobs that wait, copies the log into the main file, marks the closing as
    /// clean and closes. Later jobs answer [`VaultError::Closed`]; closing twice is fine.
    ///
    /// # Errors
    /// What was in the way of a clean closing. It is closed all the same.
    pub async fn close(&self) -> Result<(), VaultError> {
        self.ask(|reply| Job::Close(Some(reply))).await
    }

    /// Ends it as a crash would: no sync, no checkpoint, no clean mark; jobs that wait
    /// answer [`VaultError::Closed`]. Returns when the files are closed, after the job
    /// that runs at the moment (so not from within one). For tests of what a crash leaves.
    pub fn kill(&self) {
        self.0.0.kill();
    }

    async fn run<R, E>(&self, job: impl FnOnce(Reply<R, E>) -> Job) -> Result<R, E>
    where
        E: From<VaultError>,
    {
        let (reply, answer) = Reply::new();
        self.0.0.submit(job(reply));
        // A dropped reply means that the turn ended by a panic outside of any job.
        answer.await.unwrap_or_else(|_| Err(VaultError::Closed.into()))
    }

    async fn ask(&self, job: impl FnOnce(Reply<(), VaultError>) -> Job) -> Result<(), VaultError> {
        self.run(job).await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.submit(Job::Close(None));
    }
}
