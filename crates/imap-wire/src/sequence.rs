//! Sequence sets and UID sets (RFC 9051 §9 `sequence-set`, RFC 5182 `$`).
//!
//! [`SequenceSet`] is what a client sends, in its own order and with `*` open. [`NumberSet`] is what is left after
//! `*` is known: sorted, disjoint ranges.

use crate::scan::{Scanned, Scanner, SyntaxError, syntax};
use std::fmt;
use std::num::NonZeroU32;

/// The most ranges that one set may have.
pub const MAX_RANGES: usize = 65_536;

/// A number in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceNumber {
    /// A sequence number or UID.
    Value(NonZeroU32),
    /// `*`: the largest in use.
    Last,
}

impl SequenceNumber {
    fn resolve(self, last: u32) -> u32 {
        match self {
            Self::Value(value) => value.get(),
            Self::Last => last,
        }
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Last => f.write_str("*"),
        }
    }
}

/// A number or a range; the ends may stand in either order (`5:2` is `2:5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    /// One end.
    pub start: SequenceNumber,
    /// The other end; equal to `start` for a single number.
    pub end: SequenceNumber,
}

/// A set as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceSet {
    /// `$`: the result that SEARCH RETURN (SAVE) left (RFC 9051 §6.4.4.1).
    Saved,
    /// Numbers and ranges; at least one.
    Ranges(Vec<SequenceRange>),
}

impl SequenceSet {
    /// Parses a whole set.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut scanner = Scanner::new(text.as_bytes(), 1);
        let set = scan(&mut scanner)?;
        scanner.finish().map(|()| set)
    }

    /// The numbers, once the largest number in use is known (0 if there is none). `None` for `$`.
    ///
    /// Nothing is cut off: `5:9` with `last` 3 stays `5:9`, `5:*` becomes `3:5` (RFC 9051 §9, `seq-range`).
    pub fn resolve(&self, last: u32) -> Option<NumberSet> {
        let Self::Ranges(ranges) = self else { return None };
        let numbers = ranges.iter().filter_map(|range| {
            let (start, end) = (range.start.resolve(last), range.end.resolve(last));
            let (low, high) = (start.min(end), start.max(end));
            (high > 0).then_some((low.max(1), high))
        });
        Some(NumberSet::from_ranges(numbers))
    }

    /// Whether the set names a number above `last`: with sequence numbers that is a client's error (RFC 9051 §9,
    /// `seq-number`). `*` in an empty mailbox (`last` 0) is one, too.
    pub fn exceeds(&self, last: u32) -> bool {
        match self {
            Self::Saved => false,
            Self::Ranges(ranges) => {
                ranges.iter().flat_map(|range| [range.start, range.end]).any(|number| {
                    let number = number.resolve(last);
                    number == 0 || number > last
                })
            }
        }
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ranges(ranges) = self else { return f.write_str("$") };
        for (index, range) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if range.start == range.end {
                write!(f, "{comma}{}", range.start)?;
            } else {
                write!(f, "{comma}{}:{}", range.start, range.end)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn scan(scanner: &mut Scanner<'_>) -> Scanned<SequenceSet> {
    if scanner.eat(b'$') {
        return Ok(SequenceSet::Saved);
    }
    let mut ranges = Vec::new();
    loop {
        let start = scan_number(scanner)?;
        let end = if scanner.eat(b':') { scan_number(scanner)? } else { start };
        if ranges.len() == MAX_RANGES {
            return syntax("the set has too many ranges");
        }
        ranges.push(SequenceRange { start, end });
        if !scanner.eat(b',') {
            return Ok(SequenceSet::Ranges(ranges));
        }
    }
}

pub(crate) fn scan_number(scanner: &mut Scanner<'_>) -> Scanned<SequenceNumber> {
    if scanner.eat(b'*') {
        return Ok(SequenceNumber::Last);
    }
    match NonZeroU32::new(scanner.number()?) {
        Some(value) => Ok(SequenceNumber::Value(value)),
        None => syntax("zero is not allowed in a set"),
    }
}

/// A set without `*` (known-uids of QRESYNC): normalised at once.
pub(crate) fn scan_closed(scanner: &mut Scanner<'_>) -> Scanned<SequenceSet> {
    match scan(scanner)? {
        SequenceSet::Ranges(ranges)
            if ranges
                .iter()
                .all(|r| r.start != SequenceNumber::Last && r.end != SequenceNumber::Last) =>
        {
            Ok(SequenceSet::Ranges(ranges))
        }
        _ => syntax("neither * nor $ is allowed in this set"),
    }
}

/// Numbers as sorted, disjoint, non-adjacent ranges. Prints as `1:5,7`; the empty set prints as nothing, which no
/// response may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberSet(Vec<(u32, u32)>);

impl NumberSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// From ranges `(low, high)`, both ends included, in any order and overlapping at will; `low > high` is swapped.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, u32)> =
            ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        if !sorted.is_sorted() {
            sorted.sort_unstable();
        }
        let mut set = Self(Vec::new());
        for (low, high) in sorted {
            set.append_range(low, high);
        }
        set
    }

    /// `low` is not below any earlier range's start.
    fn append_range(&mut self, low: u32, high: u32) {
        match self.0.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => self.0.push((low, high)),
        }
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Every number, ascending. A client may ask for `1:4294967295`: cut with [`Self::intersect`] first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(low, high)| *low..=*high)
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(low, high)| u64::from(high - low) + 1).sum()
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest.
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|range| range.0)
    }

    /// The largest.
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|range| range.1)
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|range| range.0 <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// What is in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut out = Self::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (low, high) = (x.0.max(y.0), x.1.min(y.1));
            if low <= high {
                out.append_range(low, high);
            }
            if x.1 < y.1 {
                a.next()
            } else {
                b.next()
            };
        }
        out
    }

    /// What is here and not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut out = Self::new();
        let mut others = other.0.iter().peekable();
        for &(low, high) in &self.0 {
            // Wider than the numbers: one past the largest has to fit.
            let (mut start, end) = (u64::from(low), u64::from(high));
            while others.next_if(|cut| u64::from(cut.1) < start).is_some() {}
            while let Some(&&(cut_low, cut_high)) = others.peek() {
                if u64::from(cut_low) > end {
                    break;
                }
                out.append_wide(start, u64::from(cut_low));
                start = start.max(u64::from(cut_high) + 1);
                if u64::from(cut_high) > end {
                    break;
                }
                others.next();
            }
            out.append_wide(start, end + 1);
        }
        out
    }

    /// Appends `start..end` unless it is empty.
    fn append_wide(&mut self, start: u64, end: u64) {
        if let (Ok(low), Ok(high)) = (u32::try_from(start), u32::try_from(end.saturating_sub(1)))
            && low <= high
            && end > start
        {
            self.append_range(low, high);
        }
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.0.iter().chain(&other.0).copied())
    }

    /// The same as a client would write it; `None` for the empty set, which has no form.
    pub fn to_sequence_set(&self) -> Option<SequenceSet> {
        let number = |value| NonZeroU32::new(value).map(SequenceNumber::Value);
        let ranges = self
            .0
            .iter()
            .map(|(low, high)| Some(SequenceRange { start: number(*low)?, end: number(*high)? }));
        let ranges: Option<Vec<_>> = ranges.collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(SequenceSet::Ranges)
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self::from_ranges(numbers.into_iter().map(|number| (number, number)))
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}:{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolved(text: &str, last: u32) -> String {
        SequenceSet::parse(text).unwrap().resolve(last).unwrap().to_string()
    }

    #[test]
    fn the_rfc_examples() {
        // RFC 9051 §9, "sequence-set": a message sequence number set of 2,4:7,9,12:* for a mailbox of 15.
        assert_eq!(resolved("2,4:7,9,12:*", 15), "2,4:7,9,12:15");
        // "*:4,5:7 for a mailbox with 10 messages is equivalent to 10,9,8,7,6,5,4,5,6,7".
        assert_eq!(resolved("*:4,5:7", 10), "4:10");
        assert_eq!(resolved("5:2", 9), "2:5");
        // "3291:* includes the UID of the last message, even if that value is less than 3291".
        assert_eq!(resolved("3291:*", 100), "100:3291");
        assert_eq!(resolved("*", 0), "");
        assert_eq!(resolved("1:*", 0), "1");
    }

    #[test]
    fn edges_of_numbers() {
        assert_eq!(resolved("4294967295", 1), "4294967295");
        assert_eq!(resolved("1:4294967295,4294967295", 1), "1:4294967295");
        for bad in [
            "0",
            "1:0",
            "4294967296",
            "",
            "1,",
            ",1",
            "1:",
            ":1",
            "1:2:3",
            "1 2",
            "$,1",
            "-1",
            "a",
            "**",
        ] {
            assert!(SequenceSet::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(SequenceSet::parse("$"), Ok(SequenceSet::Saved));
        assert_eq!(NumberSet::from_ranges([(1, u32::MAX)]).len(), u64::from(u32::MAX));
    }

    #[test]
    fn sequence_numbers_above_the_count_are_seen() {
        let exceeds = |text: &str, last| SequenceSet::parse(text).unwrap().exceeds(last);
        assert!(!exceeds("1:*", 3));
        assert!(exceeds("1:4", 3));
        assert!(exceeds("*", 0));
        assert!(!exceeds("3", 3));
    }

    #[test]
    fn sets_are_limited() {
        let huge = vec!["1"; MAX_RANGES + 1].join(",");
        assert!(SequenceSet::parse(&huge).is_err());
        assert!(SequenceSet::parse(&huge[2..]).is_ok());
    }

    #[test]
    fn compression() {
        let set: NumberSet = [7, 1, 2, 3, 3, 5, 4].into_iter().collect();
        assert_eq!(set.to_string(), "1:5,7");
        assert!(
            set.contains(5)
                && !set.contains(6)
                && set.contains(7)
                && !set.contains(0)
                && !set.contains(8)
        );
        assert_eq!(set.intersect(&NumberSet::from_ranges([(4, 9)])).to_string(), "4:5,7");
    }

    prop_compose! {
        fn number()(value in prop_oneof![Just(0u32), 1u32..50, any::<u32>()]) -> SequenceNumber {
            NonZeroU32::new(value).map_or(SequenceNumber::Last, SequenceNumber::Value)
        }
    }

    proptest! {
        #[test]
        fn sets_round_trip(ends in proptest::collection::vec((number(), number()), 1..20)) {
            let set = SequenceSet::Ranges(ends.into_iter().map(|(start, end)| SequenceRange { start, end }).collect());
            prop_assert_eq!(SequenceSet::parse(&set.to_string()), Ok(set));
        }

        #[test]
        fn normalised_sets_are_the_naive_ones(ranges in proptest::collection::vec((1u32..60, 1u32..60), 0..12)) {
            let set = NumberSet::from_ranges(ranges.iter().copied());
            let naive: std::collections::BTreeSet<u32> =
                ranges.iter().flat_map(|(a, b)| *a.min(b)..=*a.max(b)).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), naive.len() as u64);
            prop_assert!(set.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert!((0..62).all(|n| set.contains(n) == naive.contains(&n)));
        }

        #[test]
        fn differences_are_the_naive_ones(
            a in proptest::collection::vec((1u32..60, 1u32..60), 0..8),
            b in proptest::collection::vec((1u32..60, 1u32..60), 0..8),
        ) {
            let (a, b) = (NumberSet::from_ranges(a), NumberSet::from_ranges(b));
            let naive: NumberSet = a.iter().filter(|number| !b.contains(*number)).collect();
            prop_assert_eq!(a.without(&b), naive);
            let top = NumberSet::from_ranges([(5, u32::MAX)]);
            prop_assert_eq!(top.without(&a).union(&top.intersect(&a)), top);
            let back = a.to_sequence_set().and_then(|set| set.resolve(1)).unwrap_or_default();
            prop_assert_eq!(back, a);
        }
    }
}
