//! The threads on which SQLite runs.
//!
//! A pool has a fixed number of threads, however many databases there are. A database
//! with waiting jobs stands in the run queue; a thread takes it, lets it have one turn
//! (one job, one slice, one group of commits), and puts it back at the end if more jobs
//! wait, so that no database keeps the others from theirs. One more thread keeps the
//! timers: background syncs and idle closes. What a turn does is `database`'s affair.

use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::storage::{Disk, Storage};

mod seats;

pub(crate) use self::seats::Seat;
use self::seats::Seats;

/// Something that takes turns on a pool's threads.
pub(crate) trait Runnable: Send + Sync {
    /// One turn. It schedules itself again if it wants another.
    fn turn(self: Arc<Self>);
    /// A timer that it set has come.
    fn alarm(self: Arc<Self>, alarm: Alarm);
    /// The pool shuts down: queue what is needed for a clean end.
    fn wind_up(self: Arc<Self>);
    /// When it was last used, by [`Pool::stamp`].
    fn used(&self) -> u64;
    /// Too many files are open: closes its own, unless it has a turn or, but for `busy_too`, waits for one.
    fn make_room(&self, busy_too: bool);
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Unsynced commits have waited long enough.
    Sync,
    /// It may be time to close an idle file.
    Idle,
}

/// A fixed set of threads for any number of databases. Clones are handles to the same.
///
/// When the last handle goes, the threads end after the turns that wait.
#[derive(Clone)]
pub struct Pool(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    run: Mutex<RunQueue>,
    work: Condvar,
    timers: Mutex<Timers>,
    tick: Condvar,
    storage: Arc<dyn Storage>,
    members: Mutex<Vec<Weak<dyn Runnable>>>,
    seats: Arc<Seats>,
}

#[derive(Default)]
struct RunQueue {
    ready: VecDeque<Arc<dyn Runnable>>,
    running: usize,
    ending: bool,
}

#[derive(Default)]
struct Timers {
    heap: BinaryHeap<Timer>,
    ending: bool,
}

struct Timer {
    at: Instant,
    alarm: Alarm,
    who: Weak<dyn Runnable>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    /// The earliest is the greatest, as `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

/// Locks, also after a panic: every use here leaves the data whole before it can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of `threads` threads (at least one), named after `name`, over the
    /// operating system's files.
    ///
    /// # Panics
    /// If the system cannot start a thread, as [`std::thread::spawn`] does.
    pub fn new(name: &str, threads: usize) -> Self {
        Self::with_storage(name, threads, Arc::new(Disk))
    }

    /// A pool whose databases live in `storage`.
    ///
    /// # Panics
    /// As [`Pool::new`].
    pub fn with_storage(name: &str, threads: usize, storage: Arc<dyn Storage>) -> Self {
        let shared = Arc::new(Shared {
            run: Mutex::default(),
            work: Condvar::new(),
            timers: Mutex::default(),
            tick: Condvar::new(),
            storage,
            members: Mutex::default(),
            seats: Arc::default(),
        });
        let mut handles = Vec::new();
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            handles.push(spawn(format!("{name}-{number}"), move || shared.work()));
        }
        let timers = Arc::clone(&shared);
        handles.push(spawn(format!("{name}-timer"), move || timers.keep_time()));
        Self(Arc::new(Handle { shared, threads: Mutex::new(handles) }))
    }

    /// Where the databases of this pool live.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.shared.storage
    }

    /// Makes `who` known, so that [`Pool::shutdown`] can close it.
    pub(crate) fn join(&self, who: Weak<dyn Runnable>) {
        let mut members = lock(&self.0.shared.members);
        // Sweeping when the list has doubled costs nothing to speak of per database.
        if members.len() == members.capacity() {
            members.retain(|member| member.strong_count() > 0);
        }
        members.push(who);
    }

    /// Puts `who` at the end of the run queue.
    ///
    /// # Errors
    /// Gives `who` back if the pool's threads have ended.
    pub(crate) fn schedule(&self, who: Arc<dyn Runnable>) -> Result<(), Arc<dyn Runnable>> {
        let mut run = lock(&self.0.shared.run);
        if run.ending {
            return Err(who);
        }
        run.ready.push_back(who);
        self.0.shared.work.notify_one();
        Ok(())
    }

    /// As [`Pool::schedule`], for a turn that wants another: also while the pool ends.
    pub(crate) fn again(&self, who: Arc<dyn Runnable>) {
        lock(&self.0.shared.run).ready.push_back(who);
        self.0.shared.work.notify_one();
    }

    /// Lets `who` know at `at`, if it still exists then.
    pub(crate) fn set_alarm(&self, at: Instant, alarm: Alarm, who: Weak<dyn Runnable>) {
        let mut timers = lock(&self.0.shared.timers);
        let first = timers.heap.peek().is_none_or(|timer| at < timer.at);
        timers.heap.push(Timer { at, alarm, who });
        if first {
            self.0.shared.tick.notify_one();
        }
    }

    /// Closes every database cleanly after the jobs that wait, and ends the threads.
    /// Jobs that come later are answered with `VaultError::Closed`.
    ///
    /// Blocks until that is done: not to be called on an async worker, nor in a job.
    pub fn shutdown(&self) {
        let members = std::mem::take(&mut *lock(&self.0.shared.members));
        for member in members.iter().filter_map(Weak::upgrade) {
            member.wind_up();
        }
        self.0.shared.end();
        for thread in std::mem::take(&mut *lock(&self.0.threads)) {
            // A thread's panic was logged where it happened.
            drop(thread.join());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Not joined: this may be one of the threads.
        self.shared.end();
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .expect("the system starts the few threads of a pool; without them there is no server")
}

impl Shared {
    fn end(&self) {
        lock(&self.run).ending = true;
        self.work.notify_all();
        lock(&self.timers).ending = true;
        self.tick.notify_all();
    }

    /// A thread's life: turns, until the pool ends and none is left.
    fn work(&self) {
        while let Some(who) = self.next() {
            let turn = AssertUnwindSafe(|| who.turn());
            if catch_unwind(turn).is_err() {
                tracing::error!("a database's turn panicked");
            }
            let mut run = lock(&self.run);
            run.running -= 1;
            if run.ending && run.running == 0 {
                self.work.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Arc<dyn Runnable>> {
        let mut run = lock(&self.run);
        loop {
            if let Some(who) = run.ready.pop_front() {
                run.running += 1;
                return Some(who);
            }
            if run.ending && run.running == 0 {
                return None;
            }
            run = self.work.wait(run).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn keep_time(&self) {
        let mut timers = lock(&self.timers);
        while !timers.ending {
            let now = Instant::now();
            match timers.heap.peek().map(|timer| timer.at) {
                Some(at) if at <= now => {
                    let Some(timer) = timers.heap.pop() else { continue };
                    drop(timers);
                    if let Some(who) = timer.who.upgrade() {
                        who.alarm(timer.alarm);
                    }
                    timers = lock(&self.timers);
                }
                Some(at) => {
                    timers = self
                        .tick
                        .wait_timeout(timers, at - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                None => {
                    timers = self.tick.wait(timers).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}
