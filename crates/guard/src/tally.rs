//! Counting failures over a sliding window.

use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::table::{Entry, Table};

/// Failures in two neighbouring windows. What counts is this window's number and of the last one's the share that the
/// sliding window still covers, so that nobody gains by waiting for a border.
#[derive(Debug, Clone, Copy)]
struct Tally {
    /// Start of the present window.
    start: Instant,
    present: u32,
    last: u32,
    window: Duration,
}

impl Entry for Tally {
    fn ends(&self) -> Instant {
        self.start + self.window * 2
    }
}

impl Tally {
    fn add(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.start);
        if passed >= self.window * 2 {
            *self = Tally { start: now, present: 0, last: 0, window: self.window };
        } else if passed >= self.window {
            *self = Tally {
                start: self.start + self.window,
                present: 0,
                last: self.present,
                window: self.window,
            };
        }
        self.present = self.present.saturating_add(1);
    }

    fn count(&self, now: Instant) -> f64 {
        let share =
            now.saturating_duration_since(self.start).as_secs_f64() / self.window.as_secs_f64();
        f64::from(self.present) + f64::from(self.last) * (1.0 - share).max(0.0)
    }
}

/// The failures of each key.
#[derive(Debug)]
pub(crate) struct Tallies<K> {
    limit: u32,
    window: Duration,
    table: Table<K, Tally>,
}

impl<K: Hash + Eq + Copy> Tallies<K> {
    pub(crate) fn new(limit: u32, window: Duration) -> Self {
        Tallies { limit, window, table: Table::new() }
    }

    /// Counts a failure. `true` if it reaches the limit; counting then starts anew.
    pub(crate) fn add(&mut self, key: K, now: Instant) -> bool {
        let window = self.window;
        let tally =
            self.table.entry(key, now, || Tally { start: now, present: 0, last: 0, window });
        tally.add(now);
        let reached = tally.count(now) >= f64::from(self.limit);
        if reached {
            self.table.remove(&key);
        }
        reached
    }

    pub(crate) fn forget(&mut self, key: &K) {
        self.table.remove(key);
    }

    pub(crate) fn evict(&mut self, now: Instant) {
        self.table.evict(now);
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    #[test]
    fn the_limit_is_reached_within_a_window() {
        let now = Instant::now();
        let mut tallies = Tallies::new(3, WINDOW);
        assert!(!tallies.add(1, now));
        assert!(!tallies.add(1, now + Duration::from_secs(1)));
        assert!(!tallies.add(2, now + Duration::from_secs(2)));
        assert!(tallies.add(1, now + Duration::from_secs(3)));
        assert!(!tallies.add(1, now + Duration::from_secs(4)), "counting starts anew");
    }

    #[test]
    fn old_failures_fade() {
        let now = Instant::now();
        let mut tallies = Tallies::new(3, WINDOW);
        tallies.add(1, now);
        tallies.add(1, now);
        // At the end of the next window next to nothing of the two is left.
        assert!(!tallies.add(1, now + WINDOW * 2 - Duration::from_secs(1)));
        assert!(!tallies.add(1, now + WINDOW * 4));
    }

    #[test]
    fn the_border_of_a_window_is_no_loophole() {
        let now = Instant::now();
        let mut tallies = Tallies::new(4, WINDOW);
        tallies.add(1, now);
        for _ in 0..2 {
            assert!(!tallies.add(1, now + WINDOW - Duration::from_secs(1)));
        }
        assert!(
            !tallies.add(1, now + WINDOW + Duration::from_secs(1)),
            "3 × 599/600 + 1 is below 4"
        );
        assert!(tallies.add(1, now + WINDOW + Duration::from_secs(2)));
    }
}
