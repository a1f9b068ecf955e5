//! Jobs as they wait in a database's queue: closures with their way back to the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use super::connection::SyncPoint;
use super::copy::CopyStep;
use super::{Slice, VaultError};

/// How a job, or one slice of it, ended. The answer itself stays inside the job until
/// [`Answer::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It is done and went well.
    Done,
    /// It wants to run again after others.
    More,
    /// It ended with an error, or panicked.
    Failed,
}

/// Sends the caller what became of the job.
pub(super) trait Answer: Send {
    /// Answers with the job's own result; with `outcome`'s error if that is one, unless
    /// the job failed by itself.
    fn finish(self: Box<Self>, outcome: Result<(), VaultError>);
    /// Whether nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
}

/// A job that gets the connection: a read, or a slice.
pub(super) trait OnConnection: Answer {
    fn run(&mut self, conn: &mut Connection) -> Ran;
}

/// A job that gets a transaction, which it may share with others.
pub(super) trait InTransaction: Answer {
    fn run(&mut self, tx: &Transaction<'_>) -> Ran;
}

/// What stands in the queue.
pub(super) enum Job {
    /// Needs the connection, may be sliced.
    Access(Box<dyn OnConnection>),
    /// A transaction of its own or of a group.
    Write { job: Box<dyn InTransaction>, durable: bool },
    /// Open now.
    Open(Reply<(), VaultError>),
    /// Everything before is on disk; without an asker it is the background's.
    Sync(Option<Reply<(), VaultError>>),
    /// Copy the log into the main file; without an asker it is the background's.
    Checkpoint { truncate: bool, reply: Option<Reply<(), VaultError>> },
    /// A step of copying into another file.
    Copy(CopyStep),
    /// What would a sync have to make durable?
    SyncPoint(Reply<Option<SyncPoint>, VaultError>),
    /// That was made durable.
    Reached(SyncPoint, Reply<(), VaultError>),
    /// A bulk job began or ended.
    Tune,
    /// Close if nothing happened for the idle time.
    Idle,
    /// Close for good.
    Close(Option<Reply<(), VaultError>>),
}

impl Job {
    /// Answers a job that will not run.
    pub(super) fn refuse(self, error: VaultError) {
        match self {
            Self::Access(job) => job.finish(Err(error)),
            Self::Write { job, .. } => job.finish(Err(error)),
            Self::Open(reply)
            | Self::Sync(Some(reply))
            | Self::Checkpoint { reply: Some(reply), .. }
            | Self::Reached(_, reply)
            | Self::Copy(CopyStep::Begin(_, reply)) => reply.send(Err(error)),
            Self::SyncPoint(reply) => reply.send(Err(error)),
            Self::Copy(CopyStep::Advance(reply)) => reply.send(Err(error)),
            Self::Copy(CopyStep::Complete(reply)) => reply.send(Err(error)),
            // Closing what is closed is done.
            Self::Close(Some(reply)) => reply.send(Ok(())),
            Self::Sync(None)
            | Self::Checkpoint { reply: None, .. }
            | Self::Copy(CopyStep::Cancel(_))
            | Self::Tune
            | Self::Idle
            | Self::Close(None) => {}
        }
    }
}

/// The way back to a caller.
pub(super) struct Reply<R, E>(oneshot::Sender<Result<R, E>>);

impl<R, E> Reply<R, E> {
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<R, E>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    pub(super) fn send(self, answer: Result<R, E>) {
        // A caller that went away does not want to know.
        drop(self.0.send(answer));
    }
}

/// A job's closure, its result once there is one, and its way back.
struct Pending<F, R, E> {
    job: Option<F>,
    result: Option<Result<R, E>>,
    reply: Reply<R, E>,
}

impl<F, R, E: From<VaultError>> Pending<F, R, E> {
    fn new(job: F, reply: Reply<R, E>) -> Self {
        Self { job: Some(job), result: None, reply }
    }

    fn keep(&mut self, result: Result<R, E>) -> Ran {
        let ran = if result.is_ok() { Ran::Done } else { Ran::Failed };
        self.result = Some(result);
        ran
    }

    fn finish(self, outcome: Result<(), VaultError>) {
        let answer = match (self.result, outcome) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(error)) => Err(error.into()),
            (Some(Ok(result)), Ok(())) => Ok(result),
            // Finished without having run: only a closed database does that.
            (None, Ok(())) => Err(VaultError::Closed.into()),
        };
        self.reply.send(answer);
    }
}

/// Runs a job so that its panic stays its own.
fn guarded<R, E: From<VaultError>>(job: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
    // A job owns what it captured, and its writes are rolled back: nothing half-done of
    // it is seen afterwards.
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
        tracing::error!("a database job panicked");
        Err(VaultError::Panicked.into())
    })
}

pub(super) struct Reading<F, R, E>(Pending<F, R, E>);
pub(super) struct Slicing<F, R, E>(Pending<F, R, E>);
pub(super) struct Writing<F, R, E>(Pending<F, R, E>);

impl<F, R, E: From<VaultError>> Reading<F, R, E> {
    pub(super) fn new(job: F, reply: Reply<R, E>) -> Self {
        Self(Pending::new(job, reply))
    }
}

impl<F, R, E: From<VaultError>> Slicing<F, R, E> {
    pub(super) fn new(job: F, reply: Reply<R, E>) -> Self {
        Self(Pending::new(job, reply))
    }
}

impl<F, R, E: From<VaultError>> Writing<F, R, E> {
    pub(super) fn new(job: F, reply: Reply<R, E>) -> Self {
        Self(Pending::new(job, reply))
    }
}

macro_rules! answers_by_pending {
    ($($name:ident),*) => {$(
        impl<F: Send, R: Send, E: From<VaultError> + Send> Answer for $name<F, R, E> {
            fn finish(self: Box<Self>, outcome: Result<(), VaultError>) {
                self.0.finish(outcome);
            }

            fn abandoned(&self) -> bool {
                self.0.reply.0.is_closed()
            }
        }
    )*};
}
answers_by_pending!(Reading, Slicing, Writing);

impl<F, R, E> OnConnection for Reading<F, R, E>
where
    F: FnOnce(&Connection) -> Result<R, E> + Send,
    R: Send,
    E: From<VaultError> + Send,
{
    fn run(&mut self, conn: &mut Connection) -> Ran {
        match self.0.job.take() {
            Some(job) => {
                let result = guarded(|| job(conn));
                self.0.keep(result)
            }
            None => Ran::Done,
        }
    }
}

impl<F, R, E> OnConnection for Slicing<F, R, E>
where
    F: FnMut(&mut Connection) -> Result<Slice<R>, E> + Send,
    R: Send,
    E: From<VaultError> + Send,
{
    fn run(&mut self, conn: &mut Connection) -> Ran {
        let Some(job) = &mut self.0.job else { return Ran::Done };
        match guarded(|| job(conn)) {
            Ok(Slice::More) => Ran::More,
            Ok(Slice::Done(result)) => self.0.keep(Ok(result)),
            Err(error) => self.0.keep(Err(error)),
        }
    }
}

impl<F, R, E> InTransaction for Writing<F, R, E>
where
    F: FnOnce(&Transaction<'_>) -> Result<R, E> + Send,
    R: Send,
    E: From<VaultError> + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> Ran {
        match self.0.job.take() {
            Some(job) => {
                let result = guarded(|| job(tx));
                self.0.keep(result)
            }
            None => Ran::Done,
        }
    }
}
