//! The window of PARTIAL (RFC 9394): a piece of a long result.

use crate::scan::{Scanned, Scanner};
use std::fmt;

/// From one place in a result to another, both included, counted from its beginning (`1:100`) or its end (`-1:-100`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Counted from the end.
    pub from_end: bool,
    /// The place nearer to where counting begins; 1 is the first.
    pub first: u32,
    /// The other one.
    pub last: u32,
}

impl Window {
    /// What of a list is in the window, in the list's order.
    pub fn of<T>(self, list: &[T]) -> &[T] {
        let length = list.len();
        let first = (self.first as usize - 1).min(length);
        let last = (self.last as usize).min(length);
        if self.from_end { &list[length - last..length - first] } else { &list[first..last] }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.from_end { "-" } else { "" };
        write!(f, "{sign}{}:{sign}{}", self.first, self.last)
    }
}

/// `partial-range`; the ends may stand in either order.
pub(crate) fn scan(scanner: &mut Scanner<'_>) -> Scanned<Window> {
    let from_end = scanner.eat(b'-');
    let one = scanner.nz_number()?;
    scanner.expect(b':', "the range is malformed")?;
    if from_end {
        scanner.expect(b'-', "the range is malformed")?;
    }
    let other = scanner.nz_number()?;
    Ok(Window { from_end, first: one.min(other), last: one.max(other) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(text: &str) -> Option<Window> {
        let mut scanner = Scanner::new(text.as_bytes(), 1);
        scan(&mut scanner).and_then(|window| scanner.finish().map(|()| window)).ok()
    }

    #[test]
    fn pieces_of_lists() {
        let of = |text: &str, length: u32| {
            window(text).unwrap().of(&(1..=length).collect::<Vec<_>>()).to_vec()
        };
        assert_eq!(of("1:3", 9), [1, 2, 3]);
        assert_eq!(of("3:1", 2), [1, 2]);
        assert_eq!(of("4:9", 5), [4, 5]);
        assert_eq!(of("-1:-2", 5), [4, 5]);
        assert_eq!(of("-5:-4", 5), [1, 2]);
        assert!(of("6:9", 5).is_empty() && of("-6:-9", 5).is_empty());
        for bad in ["0:1", "1:-1", "-1:1", "1", "*:1", ""] {
            assert_eq!(window(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn windows_round_trip(from_end: bool, a in 1u32.., b in 1u32.., length in 0usize..40) {
            let (first, last) = (a.min(b), a.max(b));
            let made = Window { from_end, first, last };
            prop_assert_eq!(window(&made.to_string()), Some(made));
            let list = vec![0; length];
            prop_assert!(made.of(&list).len() as u64 <= u64::from(last - first) + 1);
        }
    }
}
