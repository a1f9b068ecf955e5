//! A hash table that never grows past a cap.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

/// Entries that a table may hold. An entry takes some 50 octets, so that a full table stays at a few megabytes.
pub(crate) const CAP: usize = 65_536;

/// What a [`Table`] must know of its entries.
pub(crate) trait Entry {
    /// From when on the entry has no meaning.
    fn ends(&self) -> Instant;
}

/// A table whose entries end. When it is full, those that end first make room.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    map: HashMap<K, V>,
}

impl<K: Hash + Eq + Copy, V: Entry> Table<K, V> {
    pub(crate) fn new() -> Self {
        Table { map: HashMap::new() }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.map.remove(key).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// The entry of `key`, made by `new` if there is none; room is made first if need be.
    pub(crate) fn entry(&mut self, key: K, now: Instant, new: impl FnOnce() -> V) -> &mut V {
        if self.map.len() >= CAP && !self.map.contains_key(&key) {
            self.make_room(now);
        }
        self.map.entry(key).or_insert_with(new)
    }

    /// Drops what ended. If that leaves more than half of the cap, also what ends first: half of the entries at a time,
    /// so that an insertion costs little on average.
    fn make_room(&mut self, now: Instant) {
        self.map.retain(|_, value| value.ends() > now);
        if self.map.len() <= CAP / 2 {
            return;
        }
        let mut ends: Vec<Instant> = self.map.values().map(Entry::ends).collect();
        let (_, median, _) = ends.select_nth_unstable(CAP / 2);
        let median = *median;
        self.map.retain(|_, value| value.ends() > median);
    }

    /// Drops what ended and gives memory back.
    pub(crate) fn evict(&mut self, now: Instant) {
        self.map.retain(|_, value| value.ends() > now);
        self.map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Until(Instant);
    impl Entry for Until {
        fn ends(&self) -> Instant {
            self.0
        }
    }

    #[test]
    fn a_full_table_keeps_what_ends_last() {
        let start = Instant::now();
        let mut table = Table::new();
        for key in 0..(CAP as u64) * 3 {
            table.entry(key, start, || Until(start + Duration::from_millis(key + 1)));
            assert!(table.len() <= CAP);
        }
        assert!(table.get(&((CAP as u64) * 3 - 1)).is_some());
        assert!(table.get(&0).is_none());
        table.evict(start + Duration::from_secs(3600));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_full_table_of_equal_ends_makes_room_too() {
        let start = Instant::now();
        let mut table = Table::new();
        for key in 0..=CAP {
            table.entry(key, start, || Until(start + Duration::from_secs(60)));
        }
        assert!(table.len() <= CAP);
    }
}
