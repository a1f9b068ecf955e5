//! What stands behind the handles of a database: its queue, and its turns.
//!
//! A turn is one job, one slice, or one group of writes. After each, what it left is
//! looked after: unsynced commits, a log grown large, a sync that failed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Duration, Instant};

use crate::pool::{Alarm, Pool, Runnable, lock};
use crate::vfs::{LogPosition, fault};

use super::connection::Live;
use super::job::{Job, OnConnection, Ran, Reply};
use super::{Spec, VaultError};

/// How long a commit that nobody waits for stays unsynced: with the time that the sync
/// takes, within the second that is promised.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// Frames in the log from which on it is copied into the main file when nobody waits.
const CHECKPOINT_IDLE: u32 = 1_000;
/// Frames in the log from which on it is copied even though jobs wait (16 MiB).
const CHECKPOINT_BUSY: u32 = 4_000;
/// Failed syncs in a row after which a database takes no more writes.
pub(super) const MAX_SYNC_FAILURES: u32 = 2;

pub(super) struct Inner {
    pub(super) me: Weak<Inner>,
    /// Exchanged when the database goes on in another file.
    spec: RwLock<Arc<Spec>>,
    pub(super) access: Access,
    /// How many bulk jobs there are.
    pub(super) bulk_jobs: AtomicUsize,
    /// When a job last had the connection, by the pool's count.
    used: AtomicU64,
    pub(super) pool: Pool,
    pub(super) queue: Mutex<Queue>,
    /// Held during a turn.
    state: Mutex<State>,
}

/// What may be done with a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    /// It is damaged: nothing on the disk is touched.
    ReadOnly,
}

pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    /// In the run queue, or having its turn.
    scheduled: bool,
    pub(super) life: Life,
    pub(super) flow: Flow,
}

/// Whether jobs run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Free,
    /// They wait until somebody decides in which file they are to run.
    Frozen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// The job that closes is queued; no others are taken.
    Closing,
    Closed,
}

pub(super) struct State {
    pub(super) live: Option<Live>,
    /// Failed syncs since the last good one.
    pub(super) sync_failures: u32,
    pub(super) last_used: Instant,
    pub(super) idle_alarm: bool,
    sync_alarm: bool,
    checkpoint_queued: bool,
}

/// Hands the turn on when it ends, also by a panic.
struct Turn(Arc<Inner>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        if queue.jobs.is_empty() || queue.flow == Flow::Frozen {
            queue.scheduled = false;
        } else {
            drop(queue);
            self.0.pool.again(Arc::clone(&self.0) as Arc<dyn Runnable>);
        }
    }
}

impl Runnable for Inner {
    fn turn(self: Arc<Self>) {
        let turn = Turn(self);
        let inner = &turn.0;
        let mut state = lock(&inner.state);
        fault::begin(&inner.spec().path);
        let job = inner.next_job();
        if let Some(job) = job {
            inner.perform(&mut state, job);
        }
        // The lock of the state goes first, then the turn is handed on.
        drop(state);
        drop(turn);
    }

    fn alarm(self: Arc<Self>, alarm: Alarm) {
        self.submit(match alarm {
            Alarm::Sync => Job::Sync(None),
            Alarm::Idle => Job::Idle,
        });
    }

    fn wind_up(self: Arc<Self>) {
        self.submit(Job::Close(None));
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn make_room(&self, busy_too: bool) {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.give_way(&mut state, busy_too);
    }
}

impl Inner {
    pub(super) fn new(pool: Pool, spec: Spec, access: Access) -> Arc<Self> {
        let inner = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            spec: RwLock::new(Arc::new(spec)),
            access,
            bulk_jobs: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            pool,
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                scheduled: false,
                life: Life::Running,
                flow: Flow::Free,
            }),
            state: Mutex::new(State {
                live: None,
                sync_failures: 0,
                last_used: Instant::now(),
                idle_alarm: false,
                sync_alarm: false,
                checkpoint_queued: false,
            }),
        });
        let member: Weak<dyn Runnable> = inner.me.clone();
        inner.pool.join(member);
        inner
    }

    pub(super) fn spec(&self) -> Arc<Spec> {
        Arc::clone(&self.spec.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_spec(&self, spec: Arc<Spec>) {
        *self.spec.write().unwrap_or_else(PoisonError::into_inner) = spec;
    }

    pub(super) fn path(&self) -> PathBuf {
        self.spec().path.clone()
    }

    /// Another reference to this; `None` while the last is being dropped.
    pub(super) fn strong(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        if queue.flow == Flow::Frozen { None } else { queue.jobs.pop_front() }
    }

    /// Ends as a crash would.
    pub(super) fn kill(&self) {
        let jobs = {
            let mut queue = lock(&self.queue);
            queue.life = Life::Closed;
            std::mem::take(&mut queue.jobs)
        };
        for job in jobs {
            job.refuse(VaultError::Closed);
        }
        if let Some(live) = lock(&self.state).live.take() {
            live.abandon();
        }
        self.forget_keys();
    }

    /// Queues `job`, or answers it if the database is closed.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.life = match (queue.life, &job) {
            // A second closing waits for the first.
            (Life::Running | Life::Closing, Job::Close(_)) => Life::Closing,
            (Life::Running, _) => Life::Running,
            (Life::Closing | Life::Closed, _) => {
                drop(queue);
                return job.refuse(VaultError::Closed);
            }
        };
        queue.jobs.push_back(job);
        self.schedule(queue);
    }

    /// Lets jobs run again.
    pub(super) fn thaw(&self) {
        let mut queue = lock(&self.queue);
        queue.flow = Flow::Free;
        self.schedule(queue);
    }

    /// Puts it into the run queue, if there is something to do and it is not there yet.
    fn schedule(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.scheduled || queue.flow == Flow::Frozen || queue.jobs.is_empty() {
            return;
        }
        // Without a strong reference left, this is the drop of the last: nothing waits.
        let Some(me) = self.me.upgrade() else { return };
        queue.scheduled = true;
        drop(queue);
        if self.pool.schedule(me).is_err() {
            self.pool_ended();
        }
    }

    /// The pool's threads are gone: closes here and now, so that nothing is lost.
    fn pool_ended(&self) {
        let jobs = {
            let mut queue = lock(&self.queue);
            queue.life = Life::Closed;
            queue.scheduled = false;
            std::mem::take(&mut queue.jobs)
        };
        let outcome = self.shut(&mut lock(&self.state));
        self.forget_keys();
        if let Err(error) = outcome {
            tracing::error!(file = %self.path().display(), %error, "not closed cleanly");
        }
        for job in jobs {
            job.refuse(VaultError::Closed);
        }
    }

    fn perform(&self, state: &mut State, job: Job) {
        if lock(&self.queue).life == Life::Closed {
            return job.refuse(VaultError::Closed);
        }
        match job {
            Job::Access(job) => self.access(state, job),
            Job::Write { job, durable } => self.group(state, job, durable),
            Job::Open(reply) => reply.send(self.opened(state).map(|_| ())),
            Job::Sync(reply) => {
                if reply.is_none() {
                    state.sync_alarm = false;
                }
                let outcome = self.sync(state);
                match (reply, outcome) {
                    (Some(reply), outcome) => reply.send(outcome),
                    (None, Err(error)) => {
                        tracing::error!(file = %self.path().display(), %error, "sync failed");
                    }
                    (None, Ok(())) => {}
                }
            }
            Job::Checkpoint { truncate, reply } => self.checkpoint(state, truncate, reply),
            Job::Copy(step) => self.copy(state, step),
            Job::SyncPoint(reply) => reply.send(self.sync_point(state)),
            Job::Reached(point, reply) => {
                if let Some(live) = &mut state.live {
                    live.reached(point);
                }
                reply.send(Ok(()));
            }
            Job::Tune => self.tune(state),
            Job::Idle => self.idle(state),
            Job::Close(reply) => self.close(state, reply),
        }
    }

    /// The connection, opened if need be.
    pub(super) fn opened<'a>(&self, state: &'a mut State) -> Result<&'a mut Live, VaultError> {
        state.last_used = Instant::now();
        self.used.store(self.pool.stamp(), Ordering::Relaxed);
        if state.live.is_none() {
            let (spec, storage) = (self.spec(), self.pool.storage());
            let seat = spec.idle_close.map(|_| self.pool.take_seat(self.me.clone()));
            let mut live = match self.access {
                Access::ReadWrite => Live::open(&spec, storage)?,
                Access::ReadOnly => Live::open_read_only(&spec, storage)?,
            };
            live.seat = seat;
            state.live = Some(live);
            if self.bulk_jobs.load(Ordering::Relaxed) > 0 {
                self.tune(state);
            }
        }
        if let (Some(after), false) = (self.spec().idle_close, state.idle_alarm) {
            state.idle_alarm = true;
            self.pool.set_alarm(Instant::now() + after, Alarm::Idle, self.me.clone());
        }
        state.live.as_mut().ok_or(VaultError::Closed)
    }

    fn access(&self, state: &mut State, mut job: Box<dyn OnConnection>) {
        if job.abandoned() {
            return;
        }
        let ran = match self.opened(state) {
            Ok(live) => job.run(&mut live.conn),
            Err(error) => return job.finish(Err(error)),
        };
        let outcome = self.settle(state);
        state.last_used = Instant::now();
        match (ran, outcome) {
            (Ran::More, Ok(())) => lock(&self.queue).jobs.push_back(Job::Access(job)),
            (_, outcome) => job.finish(outcome),
        }
    }

    /// Looks after a job that had the connection for itself: what did it leave?
    fn settle(&self, state: &mut State) -> Result<(), VaultError> {
        let Some(live) = &mut state.live else { return Ok(()) };
        live.end_stray_transaction();
        if live.file.sync_failures() > 0 {
            return Err(self.recover(state, None));
        }
        if live.marked_clean() && live.unseen_commits() {
            // It wrote, and the next job might see it: so the mark has to go before.
            if let Err(error) = live.clear_mark() {
                tracing::error!(file = %self.path().display(), %error, "mark not cleared");
                return Err(self.recover(state, None));
            }
        }
        self.look_ahead(state);
        Ok(())
    }

    /// Sees to it that unsynced commits are synced in time, and a large log is copied.
    pub(super) fn look_ahead(&self, state: &mut State) {
        let Some(live) = &mut state.live else { return };
        if live.unsynced() && !state.sync_alarm {
            state.sync_alarm = true;
            self.pool.set_alarm(Instant::now() + SYNC_AFTER, Alarm::Sync, self.me.clone());
        }
        let frames = live.file.position().frames;
        if state.checkpoint_queued || frames < CHECKPOINT_IDLE || live.copied() {
            return;
        }
        let mut queue = lock(&self.queue);
        if queue.jobs.is_empty() || frames >= CHECKPOINT_BUSY {
            state.checkpoint_queued = true;
            // This runs within a turn, which goes on to the next job by itself.
            queue.jobs.push_back(Job::Checkpoint { truncate: false, reply: None });
        }
    }

    fn sync(&self, state: &mut State) -> Result<(), VaultError> {
        if state.sync_failures >= MAX_SYNC_FAILURES {
            return Err(VaultError::SyncFailed);
        }
        // Closed cleanly: everything is on disk.
        let Some(live) = &mut state.live else { return Ok(()) };
        match live.sync() {
            Ok(()) => {
                state.sync_failures = 0;
                Ok(())
            }
            Err(error) => {
                tracing::error!(file = %self.path().display(), %error, "sync failed");
                Err(self.recover(state, None))
            }
        }
    }

    fn checkpoint(&self, state: &mut State, truncate: bool, reply: Option<Reply<(), VaultError>>) {
        let outcome = match (&mut state.live, &reply) {
            _ if self.access == Access::ReadOnly => Err(VaultError::ReadOnly),
            (Some(live), _) => live.checkpoint(truncate),
            // Closed cleanly means copied, but the last closing may have been a crash.
            (None, Some(_)) => self.opened(state).and_then(|live| live.checkpoint(truncate)),
            (None, None) => Ok(()),
        };
        if reply.is_none() {
            state.checkpoint_queued = false;
        }
        if state.live.as_ref().is_some_and(|live| live.file.sync_failures() > 0) {
            self.recover(state, None);
        }
        match (reply, outcome) {
            (Some(reply), outcome) => reply.send(outcome),
            (None, Err(error)) => {
                tracing::warn!(file = %self.path().display(), %error, "checkpoint failed");
            }
            (None, Ok(())) => {}
        }
    }

    /// After a failed sync: nothing is known about what was written since the last good
    /// one, so the connection is dropped and the log written anew, up to `cut` if a
    /// failed group is to vanish from it. The error is what to answer.
    pub(super) fn recover(&self, state: &mut State, cut: Option<LogPosition>) -> VaultError {
        state.sync_failures += 1;
        let cause = VaultError::from_fault().unwrap_or(VaultError::SyncFailed);
        if let Some(live) = state.live.take()
            && let Err(error) = live.recover(&self.spec(), self.pool.storage(), cut)
        {
            tracing::error!(file = %self.path().display(), %error, "log not recovered");
            state.sync_failures = MAX_SYNC_FAILURES;
        }
        if state.sync_failures >= MAX_SYNC_FAILURES {
            tracing::error!(
                file = %self.path().display(),
                "syncing failed twice in a row: the database takes no more writes"
            );
        }
        cause
    }
}
