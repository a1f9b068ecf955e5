//! A bound on open files.
//!
//! A database that may be closed when it is idle takes a seat when it opens its file. When there are
//! more of them than the pool allows, those that were not used for the longest time are closed, cleanly,
//! by the thread whose database opens; their next job opens them again. One that is having its turn is
//! left alone, so with a bound above the number of threads there are never more open than that.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::{Pool, Runnable, lock};

/// The seats of a pool.
pub(super) struct Seats {
    most: AtomicUsize,
    taken: Mutex<Vec<(u64, Weak<dyn Runnable>)>>,
    last: AtomicU64,
    clock: AtomicU64,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            taken: Mutex::default(),
            last: AtomicU64::new(0),
            clock: AtomicU64::new(0),
        }
    }
}

/// What a database has while its file is open. Dropping it gives the seat back.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.seats.taken).retain(|(number, _)| *number != self.number);
    }
}

impl Pool {
    /// Bounds the files that are open at the same time, of databases with
    /// [`idle_close`](crate::Spec::idle_close): beyond `most` (at least one), those that were not used
    /// for the longest time are closed, and opened again by their next job. Keep it above the number of
    /// threads.
    pub fn limit_open(&self, most: usize) {
        self.0.shared.seats.most.store(most.max(1), Ordering::Relaxed);
    }

    /// How many files are open of databases with [`idle_close`](crate::Spec::idle_close).
    pub fn open_files(&self) -> usize {
        lock(&self.0.shared.seats.taken).len()
    }

    /// A number greater than all before: a time of use.
    pub(crate) fn stamp(&self) -> u64 {
        self.0.shared.seats.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// A seat for `who`, after others were closed if there are too many. Only within a turn of `who`,
    /// which is so left alone.
    pub(crate) fn take_seat(&self, who: Weak<dyn Runnable>) -> Seat {
        let seats = &self.0.shared.seats;
        let number = seats.last.fetch_add(1, Ordering::Relaxed);
        lock(&seats.taken).push((number, who));
        let seat = Seat { seats: Arc::clone(seats), number };
        // First those for which nothing waits; they would be opened again at once.
        for busy_too in [false, true] {
            if seats.excess() == 0 {
                break;
            }
            for other in seats.by_use() {
                if seats.excess() == 0 {
                    break;
                }
                other.make_room(busy_too);
            }
        }
        seat
    }
}

impl Seats {
    fn excess(&self) -> usize {
        lock(&self.taken).len().saturating_sub(self.most.load(Ordering::Relaxed))
    }

    /// Who has a seat; the one that was used longest ago comes first.
    fn by_use(&self) -> Vec<Arc<dyn Runnable>> {
        let mut all: Vec<_> =
            lock(&self.taken).iter().filter_map(|(_, who)| who.upgrade()).collect();
        all.sort_by_cached_key(|who| who.used());
        all
    }
}
