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
    /// Moves on to the window that `now` is in.
    fn turn(&mut self, now: Instant) {
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
    }

    fn add(&mut self, more: u32, now: Instant) {
        self.turn(now);
        self.present = self.present.saturating_add(more);
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
        tally.add(1, now);
        let reached = tally.count(now) >= f64::from(self.limit);
        if reached {
            self.table.remove(&key);
        }
        reached
    }

    /// How many failures more reach the limit; at least one.
    pub(crate) fn left(&self, key: &K, now: Instant) -> u32 {
        let count = self.table.get(key).map_or(0.0, |tally| {
            let mut tally = *tally;
            tally.turn(now);
            tally.count(now)
        });
        // From 0 up to a limit of 32 bits: the cast cuts off nothing.
        let left = (f64::from(self.limit) - count).ceil().max(1.0);
        left as u32
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

/// What each key has used up over a sliding window, where reaching the limit bans nobody: it only has to wait.
#[derive(Debug)]
pub(crate) struct Window<K> {
    limit: u32,
    length: Duration,
    table: Table<K, Tally>,
}

impl<K: Hash + Eq + Copy> Window<K> {
    pub(crate) fn new(limit: u32, length: Duration) -> Self {
        Window { limit, length, table: Table::new() }
    }

    /// Whether so many more fit.
    pub(crate) fn has_room(&self, key: &K, more: u32, now: Instant) -> bool {
        let used = self.table.get(key).map_or(0.0, |tally| {
            let mut tally = *tally;
            tally.turn(now);
            tally.count(now)
        });
        used + f64::from(more) <= f64::from(self.limit)
    }

    pub(crate) fn add(&mut self, key: K, more: u32, now: Instant) {
        let length = self.length;
        let new = || Tally { start: now, present: 0, last: 0, window: length };
        self.table.entry(key, now, new).add(more, now);
    }

    pub(crate) fn evict(&mut self, now: Instant) {
        self.table.evict(now);
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
    fn what_is_left_is_what_it_takes() {
        let now = Instant::now();
        let mut tallies = Tallies::new(3, WINDOW);
        assert_eq!(tallies.left(&1, now), 3);
        tallies.add(1, now);
        tallies.add(1, now);
        assert_eq!(tallies.left(&1, now), 1);
        assert_eq!(tallies.left(&1, now + WINDOW + WINDOW / 2), 2, "half of two still counts");
        assert_eq!(tallies.left(&1, now + WINDOW * 2), 3);
        tallies.add(1, now);
        assert_eq!(tallies.left(&1, now), 3, "counting starts anew");
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
