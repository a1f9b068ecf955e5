//! Command lines out of a stream of octets, from a client that may be hostile.

use memchr::{memchr, memchr2};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest command line with its CRLF where no extension lengthens it (RFC 5321 §4.5.3.1.4).
pub const BASIC_LIMIT: usize = 512;
/// Longest command line once EHLO has offered extensions: enough for the sum of what SIZE, 8BITMIME, DSN,
/// AUTH=, SMTPUTF8 and REQUIRETLS add to MAIL and RCPT, with room to spare.
pub const EXTENDED_LIMIT: usize = 2_048;
/// Longest line where AUTH is offered, for its initial response and its answers (RFC 4954 §4).
pub const AUTH_LIMIT: usize = 12_288;

/// What was wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum LineError {
    /// More octets than the limit. Reported once, as soon as it is known; the rest of the line is swallowed.
    #[error("line too long")]
    TooLong,
    /// A NUL. Reported once; the rest of the line is swallowed.
    #[error("NUL in a command line")]
    Nul,
    /// A CR without LF. The session must be refused and closed.
    #[error("CR without LF")]
    BareCr,
    /// A LF without CR. The session must be refused and closed.
    #[error("LF without CR")]
    BareLf,
}

impl LineError {
    /// Whether the two sides no longer agree about where lines end, so that the connection has to be closed.
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::BareCr | Self::BareLf)
    }
}

/// Splits a stream into lines that end in CR LF. Keeps at most one line of at most `limit` octets.
///
/// What it holds is zeroised when it is dropped, as a line can be an answer to AUTH.
pub struct LineReader {
    held: Zeroizing<Vec<u8>>,
    limit: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `held` is the beginning of a line; it may end in the CR whose LF is still to come.
    Collecting,
    /// `held` is the line that was given out last.
    Delivered,
    /// Swallowing the rest of a line that was reported as wrong.
    Skipping,
    /// The same, and the last octet was a CR.
    SkippingCr,
}

impl Default for LineReader {
    /// A reader with [`BASIC_LIMIT`].
    fn default() -> Self {
        Self::new(BASIC_LIMIT)
    }
}

impl LineReader {
    /// A reader of lines of up to `limit` octets, CRLF included.
    pub fn new(limit: usize) -> Self {
        Self { held: Zeroizing::new(Vec::new()), limit, state: State::Collecting }
    }

    /// Changes the limit, from the next octet on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether no part of an unfinished line is held.
    pub fn is_empty(&self) -> bool {
        match self.state {
            State::Collecting => self.held.is_empty(),
            State::Delivered => true,
            State::Skipping | State::SkippingCr => false,
        }
    }

    /// Forgets an unfinished line; for STARTTLS, after which nothing learned before may count (RFC 3207 §4.2).
    pub fn clear(&mut self) {
        self.held.clear();
        self.state = State::Collecting;
    }

    /// Takes octets until one line, or one error, is complete. Gives how many it consumed, and the line
    /// without its CRLF; `None` means that all of `input` was consumed and more is needed.
    pub fn feed<'a>(&'a mut self, input: &'a [u8]) -> (usize, Option<Result<&'a [u8], LineError>>) {
        let mut at = 0;
        match self.state {
            State::Collecting => {}
            State::Delivered => self.clear(),
            State::Skipping | State::SkippingCr => match self.skip(input) {
                (consumed, None) if self.state == State::Collecting => at = consumed,
                (consumed, error) => return (consumed, error.map(Err)),
            },
        }
        let rest = &input[at..];
        let Some(&first) = rest.first() else {
            return (at, None);
        };
        if self.held.last() == Some(&b'\r') {
            if first != b'\n' {
                self.clear();
                return (at, Some(Err(LineError::BareCr)));
            }
            self.held.pop();
            self.state = State::Delivered;
            return (at + 1, Some(Ok(&self.held)));
        }
        let end = memchr2(b'\r', b'\n', rest);
        let content = &rest[..end.unwrap_or(rest.len())];
        if let Some((bad, error)) = self.first_fault(content) {
            self.held.clear();
            self.state = State::Skipping;
            return (at + bad, Some(Err(error)));
        }
        let Some(end) = end else {
            self.held.extend_from_slice(rest);
            return (input.len(), None);
        };
        match (rest[end], rest.get(end + 1)) {
            (b'\n', _) => self.fatal(at + end + 1, LineError::BareLf),
            (_, Some(b'\n')) if self.held.is_empty() => (at + end + 2, Some(Ok(content))),
            (_, Some(b'\n')) => {
                self.held.extend_from_slice(content);
                self.state = State::Delivered;
                (at + end + 2, Some(Ok(&self.held)))
            }
            (_, Some(_)) => self.fatal(at + end + 1, LineError::BareCr),
            (_, None) => {
                self.held.extend_from_slice(rest);
                (input.len(), None)
            }
        }
    }

    /// Where the line stops being acceptable, if more `content` (without line ends) comes to it. That place and
    /// not the chunk decides, so that any division of the stream gives the same errors.
    fn first_fault(&self, content: &[u8]) -> Option<(usize, LineError)> {
        let room = self.limit.saturating_sub(2).saturating_sub(self.held.len());
        let (fits, over) = content.split_at(room.min(content.len()));
        match memchr(0, fits) {
            Some(nul) => Some((nul + 1, LineError::Nul)),
            None if !over.is_empty() => Some((room + 1, LineError::TooLong)),
            None => None,
        }
    }

    fn fatal<'a>(
        &mut self,
        consumed: usize,
        error: LineError,
    ) -> (usize, Option<Result<&'a [u8], LineError>>) {
        self.clear();
        (consumed, Some(Err(error)))
    }

    /// Swallows up to the end of the line; the state is `Collecting` afterwards if that was reached.
    fn skip(&mut self, input: &[u8]) -> (usize, Option<LineError>) {
        if self.state == State::SkippingCr {
            return match input.first() {
                None => (0, None),
                Some(b'\n') => {
                    self.clear();
                    (1, None)
                }
                Some(_) => {
                    self.clear();
                    (0, Some(LineError::BareCr))
                }
            };
        }
        let Some(end) = memchr2(b'\r', b'\n', input) else {
            return (input.len(), None);
        };
        let error = match (input[end], input.get(end + 1)) {
            (b'\n', _) => LineError::BareLf,
            (_, Some(b'\n')) => {
                self.clear();
                return (end + 2, None);
            }
            (_, Some(_)) => LineError::BareCr,
            (_, None) => {
                self.state = State::SkippingCr;
                return (input.len(), None);
            }
        };
        self.clear();
        (end + 1, Some(error))
    }
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { held, limit, state } = self;
        f.debug_struct("LineReader")
            .field("held", &held.len())
            .field("limit", limit)
            .field("state", state)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Event = Result<Vec<u8>, LineError>;

    fn events(reader: &mut LineReader, chunks: &[&[u8]]) -> Vec<Event> {
        let mut events = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            loop {
                let (consumed, event) = reader.feed(rest);
                let Some(event) = event else {
                    assert_eq!(consumed, rest.len());
                    break;
                };
                events.push(event.map(<[u8]>::to_vec));
                rest = &rest[consumed..];
            }
        }
        events
    }

    fn read(limit: usize, chunks: &[&[u8]]) -> Vec<Event> {
        events(&mut LineReader::new(limit), chunks)
    }

    fn line(text: &str) -> Event {
        Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_across_chunks() {
        assert_eq!(read(512, &[b"NOOP\r\nQUIT\r\n"]), [line("NOOP"), line("QUIT")]);
        assert_eq!(read(512, &[b"NO", b"OP\r", b"\n\r\nQU"]), [line("NOOP"), line("")]);
        let mut reader = LineReader::default();
        assert!(events(&mut reader, &[b"QU"]).is_empty());
        assert!(!reader.is_empty());
        reader.clear();
        assert!(reader.is_empty());
        assert_eq!(events(&mut reader, &[b"A\r\n"]), [line("A")]);
        assert!(reader.is_empty());
    }

    #[test]
    fn bare_line_ends_are_errors_at_once() {
        assert_eq!(read(512, &[b"NOOP\nQUIT\r\n"]), [Err(LineError::BareLf), line("QUIT")]);
        assert_eq!(read(512, &[b"NOOP\rQUIT\r\n"]), [Err(LineError::BareCr), line("QUIT")]);
        assert_eq!(read(512, &[b"NOOP\r", b"\r\n"]), [Err(LineError::BareCr), line("")]);
        assert_eq!(read(512, &[b"\n"]), [Err(LineError::BareLf)]);
        assert!(
            LineError::BareLf.is_fatal()
                && LineError::BareCr.is_fatal()
                && !LineError::Nul.is_fatal()
        );
    }

    #[test]
    fn limit_counts_the_line_end() {
        assert_eq!(read(8, &[b"123456\r\n"]), [line("123456")]);
        assert_eq!(read(8, &[b"1234567\r\nA\r\n"]), [Err(LineError::TooLong), line("A")]);
        let long = [b'x'; 100_000];
        let mut reader = LineReader::default();
        assert_eq!(events(&mut reader, &[&long, &long]), [Err(LineError::TooLong)]);
        assert!(reader.held.capacity() <= 512);
        assert_eq!(events(&mut reader, &[b"x\r", b"\nA\r\n"]), [line("A")]);
        assert_eq!(
            read(8, &[&long, b"\r", b"x"]),
            [Err(LineError::TooLong), Err(LineError::BareCr)]
        );
        assert_eq!(read(8, &[&long, b"\n"]), [Err(LineError::TooLong), Err(LineError::BareLf)]);
        let mut reader = LineReader::default();
        reader.set_limit(AUTH_LIMIT);
        assert_eq!(events(&mut reader, &[&long[..12_290 - 2], b"\r\n"]), [Err(LineError::TooLong)]);
    }

    #[test]
    fn nul_is_refused_and_the_line_swallowed() {
        assert_eq!(read(512, &[b"NO\0OP\0\r\nQUIT\r\n"]), [Err(LineError::Nul), line("QUIT")]);
    }

    #[test]
    fn debug_does_not_show_what_is_held() {
        let mut reader = LineReader::default();
        reader.feed(b"c2VjcmV0");
        assert!(!format!("{reader:?}").contains("c2Vj"));
    }

    proptest! {
        #[test]
        fn any_division_gives_the_same_events(
            input in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\r'), Just(b'\n'), Just(0_u8)], 0..40),
            cuts in proptest::collection::vec(0_usize..40, 0..6),
            limit in 0_usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            prop_assert_eq!(read(limit, &chunks), read(limit, &[&input]));
        }
    }
}
