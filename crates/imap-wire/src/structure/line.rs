//! One line of a message that passes by, of which only as much is kept as a boundary can have.

use crate::mime::header::empty_line;
use crate::mime::tree::LONGEST_BOUNDARY;

/// `--`, a boundary, and `--`.
const KEPT: usize = LONGEST_BOUNDARY + 4;

/// A place in a message: how many octets and how many LFs stand before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) octets: u64,
    pub(super) lines: u64,
}

/// A line as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) start: Place,
    /// Octets of the line end before it: none, LF or CRLF.
    pub(super) newline: u64,
    head: Vec<u8>,
    /// Something other than white space came behind what is kept.
    goes_on: bool,
    last: u8,
    has_begun: bool,
}

impl Line {
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes more of the line; with its LF at the end, if that has come.
    pub(super) fn take(&mut self, octets: &[u8]) {
        let Some(last) = octets.last() else { return };
        // Of a line that is no boundary for sure, enough to see whether it is empty.
        let kept = match self.head.first().or(octets.first()) {
            Some(b'-') => KEPT,
            _ => 2,
        };
        let room = kept.saturating_sub(self.head.len()).min(octets.len());
        let (head, behind) = octets.split_at(room);
        self.head.extend_from_slice(head);
        self.goes_on |= !self.goes_on && !behind.iter().all(u8::is_ascii_whitespace);
        self.has_begun = true;
        // Of the LF it is the octet before that counts.
        self.last = match octets {
            [b'\n'] => self.last,
            [.., before, b'\n'] => *before,
            _ => *last,
        };
    }

    /// The next line begins at `start`, behind the LF of this one.
    pub(super) fn next(&mut self, start: Place) {
        self.newline = if self.last == b'\r' { 2 } else { 1 };
        self.start = start;
        self.head.clear();
        (self.goes_on, self.last, self.has_begun) = (false, 0, false);
    }

    /// The empty line that ends a header block.
    pub(super) fn is_empty(&self) -> bool {
        !self.goes_on && empty_line(&self.head) == Some(self.head.len())
    }

    /// Which of the boundaries it is, the last one first, and whether it closes.
    pub(super) fn boundary(&self, boundaries: &[Vec<u8>]) -> Option<(usize, bool)> {
        if self.goes_on {
            return None;
        }
        let content = self.head.strip_prefix(b"--")?.trim_ascii_end();
        boundaries.iter().enumerate().rev().find_map(|(level, boundary)| {
            match content.strip_prefix(boundary.as_slice())? {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    /// Where a body that began at `body` ends if this line is the boundary: the line end before it is the boundary's.
    pub(super) fn end_before(&self, body: Place) -> Place {
        let between = self.start.octets.saturating_sub(body.octets);
        Place {
            octets: self.start.octets - self.newline.min(between),
            lines: self.start.lines - u64::from(between > 0),
        }
    }
}
