//! Bans that double, end and are forgotten.

use std::hash::Hash;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::table::{Entry, Table};

/// A ban, in force or past.
#[derive(Debug, Clone, Copy)]
struct Ban {
    until: Instant,
    /// Bans so far that are not forgotten, this one included.
    strikes: u32,
    /// Quiet time after which one strike is forgotten.
    decay: Duration,
}

impl Ban {
    /// Strikes that still count: one less for each quiet `decay` since the ban ended.
    fn strikes(&self, now: Instant) -> u32 {
        let quiet =
            now.saturating_duration_since(self.until).as_millis() / self.decay.as_millis().max(1);
        self.strikes.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX))
    }
}

impl Entry for Ban {
    fn ends(&self) -> Instant {
        self.until + self.decay * self.strikes
    }
}

/// The bans of each key. The first takes the low end of `lengths`, each further one twice as long up to the high end.
#[derive(Debug)]
pub(crate) struct Bans<K> {
    lengths: RangeInclusive<Duration>,
    table: Table<K, Ban>,
}

impl<K: Hash + Eq + Copy> Bans<K> {
    pub(crate) fn new(lengths: RangeInclusive<Duration>) -> Self {
        Bans { lengths, table: Table::new() }
    }

    /// What is left of the ban of this key.
    pub(crate) fn active(&self, key: &K, now: Instant) -> Option<Duration> {
        let ban = self.table.get(key)?;
        Some(ban.until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Bans the key from now on, and tells for how long.
    pub(crate) fn add(&mut self, key: K, now: Instant) -> Duration {
        let (first, most) = (*self.lengths.start(), *self.lengths.end());
        let ban = self.table.entry(key, now, || Ban { until: now, strikes: 0, decay: most });
        let doubled =
            1u32.checked_shl(ban.strikes(now)).and_then(|factor| first.checked_mul(factor));
        let length = doubled.map_or(most, |length| length.min(most));
        // From where the longest ban is reached, further strikes would only delay forgetting.
        let counts = if length < most { ban.strikes(now) + 1 } else { ban.strikes(now).max(1) };
        *ban = Ban { until: now + length, strikes: counts, decay: most };
        length
    }

    pub(crate) fn forget(&mut self, key: &K) -> bool {
        self.table.remove(key)
    }

    pub(crate) fn all(&self, now: Instant) -> impl Iterator<Item = (K, Duration)> {
        let left = move |ban: &Ban| ban.until.saturating_duration_since(now);
        self.table
            .iter()
            .map(move |(key, ban)| (*key, left(ban)))
            .filter(|(_, left)| !left.is_zero())
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

    const fn mins(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    #[test]
    fn bans_double_up_to_the_longest() {
        let now = Instant::now();
        let mut bans = Bans::new(mins(15)..=mins(100));
        let lengths: Vec<Duration> = (0..6).map(|_| bans.add(1, now)).collect();
        assert_eq!(lengths, [mins(15), mins(30), mins(60), mins(100), mins(100), mins(100)]);
        assert_eq!(bans.add(2, now), mins(15));
    }

    #[test]
    fn bans_end_and_are_forgotten_step_by_step() {
        let now = Instant::now();
        let mut bans = Bans::new(mins(15)..=mins(60));
        bans.add(1, now);
        assert_eq!(bans.active(&1, now), Some(mins(15)));
        assert_eq!(bans.active(&1, now + mins(14)), Some(mins(1)));
        assert_eq!(bans.active(&1, now + mins(15)), None);
        assert_eq!(bans.add(1, now + mins(16)), mins(30), "soon again: twice as long");
        // Ends after 46 minutes; an hour later one strike of two is gone.
        assert_eq!(bans.add(1, now + mins(46 + 61)), mins(30));
        bans.evict(now + mins(46 + 61 + 30 + 119));
        assert_eq!(bans.len(), 1);
        bans.evict(now + mins(46 + 61 + 30 + 121));
        assert_eq!(bans.len(), 0);
    }
}
