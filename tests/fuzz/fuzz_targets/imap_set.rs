//! Sequence sets: what is read is written the same, `*` stands for the last, and sets of numbers keep the laws of sets.
#![no_main]

use letterlock_imap_wire::{NumberSet, SequenceSet};
use libfuzzer_sys::fuzz_target;

/// Ranges are ascending, apart from each other, and not empty; counts and membership agree with them.
fn check(set: &NumberSet) {
    let mut above = 0;
    for (low, high) in set.ranges() {
        assert!(*low > above && low <= high, "{set:?}");
        assert!(set.contains(*low) && set.contains(*high));
        above = high.saturating_add(1);
        assert!(above == u32::MAX || !set.contains(above));
    }
    let counted: u64 = set.ranges().iter().map(|(low, high)| u64::from(high - low) + 1).sum();
    assert_eq!((set.len(), set.is_empty()), (counted, set.ranges().is_empty()));
    let back = set.to_sequence_set().and_then(|written| written.resolve(1)).unwrap_or_default();
    assert_eq!(&back, set);
}

fn read(text: &str, last: u32) -> Option<NumberSet> {
    let set = SequenceSet::parse(text).ok()?;
    assert_eq!(SequenceSet::parse(&set.to_string()).as_ref(), Ok(&set));
    let numbers = set.resolve(last)?;
    if !set.exceeds(last) {
        assert!(numbers.ranges().last().is_none_or(|(_, high)| *high <= last));
    }
    check(&numbers);
    Some(numbers)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, two) = text.split_once(' ').unwrap_or((text, "1:*"));
    for last in [1, 100, u32::MAX] {
        let (Some(one), Some(two)) = (read(one, last), read(two, last)) else { continue };
        let (both, either, rest) = (one.intersect(&two), one.union(&two), one.without(&two));
        [&both, &either, &rest].into_iter().for_each(check);
        assert_eq!(both, two.intersect(&one));
        assert_eq!(either, two.union(&one));
        assert_eq!(rest.union(&both), one);
        assert!(rest.intersect(&two).is_empty());
        assert_eq!(either.len() + both.len(), one.len() + two.len());
    }
});
