//! BDAT: chunks of announced length (RFC 3030).

use memchr::memchr_iter;

use super::{DataFault, DataState, Progress, Sink, Summary};

/// What line ends a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRule {
    /// CR LF only, in the whole message and across the borders of its chunks.
    Crlf,
    /// Any octets: the transaction said BODY=BINARYMIME.
    Binary,
}

/// Reads the chunks of one message: [`chunk`](Self::chunk) for each BDAT command, then [`feed`](Self::feed) until
/// that chunk is done.
#[derive(Debug)]
pub struct BdatReader {
    sink: Sink,
    rule: LineRule,
    left: u64,
    last: bool,
    /// The octet before the next one is a CR.
    after_cr: bool,
}

impl BdatReader {
    /// A reader that takes messages of up to `limit` octets, all chunks together.
    pub fn new(limit: u64, rule: LineRule) -> Self {
        Self { sink: Sink::new(limit), rule, left: 0, last: false, after_cr: false }
    }

    /// Begins the chunk of a BDAT command. The size may be 0. What is left of the chunk before is not waited for.
    pub fn chunk(&mut self, size: u64, last: bool) {
        self.left = size;
        self.last = last;
        // The announcement is enough to know; nothing needs to be copied for a message that will be refused.
        if self.sink.summary.octets.saturating_add(size) > self.sink.limit {
            self.sink.fault(DataFault::TooBig);
        }
        self.finish_if_last();
    }

    /// Whether the chunk is the message's last.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Takes octets of the chunk and appends them to `out`; `Done` when the chunk is complete.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let consumed = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let piece = &input[..consumed];
        self.left -= consumed as u64;
        if self.rule == LineRule::Crlf {
            self.check_lines(piece);
        }
        self.sink.put(piece, out);
        self.finish_if_last();
        let state = if self.left == 0 { DataState::Done } else { DataState::More };
        Progress { consumed, state }
    }

    /// What is known about the message; final once the last chunk is done.
    pub fn summary(&self) -> Summary {
        self.sink.summary
    }

    fn check_lines(&mut self, piece: &[u8]) {
        let Some(&first) = piece.first() else { return };
        if self.after_cr && first != b'\n' {
            self.sink.fault(DataFault::BareNewline);
        }
        let mut pairs = 0;
        for lf in memchr_iter(b'\n', piece) {
            match lf.checked_sub(1).map(|before| piece[before]) {
                Some(b'\r') => pairs += 1,
                None if self.after_cr => {}
                _ => self.sink.fault(DataFault::BareNewline),
            }
        }
        self.after_cr = piece.ends_with(b"\r");
        self.sink.check_crs(piece, pairs + usize::from(self.after_cr));
    }

    fn finish_if_last(&mut self) {
        if self.last && self.left == 0 && self.after_cr {
            self.sink.fault(DataFault::BareNewline);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(limit: u64, rule: LineRule, chunks: &[&[u8]], step: usize) -> (Vec<u8>, Summary) {
        let mut reader = BdatReader::new(limit, rule);
        let mut out = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            let last = number + 1 == chunks.len();
            reader.chunk(chunk.len() as u64, last);
            assert_eq!(reader.is_last(), last);
            let mut rest = *chunk;
            loop {
                let progress = reader.feed(&rest[..step.min(rest.len())], &mut out);
                rest = &rest[progress.consumed..];
                if progress.state == DataState::Done {
                    break;
                }
            }
            assert!(rest.is_empty());
        }
        (out, reader.summary())
    }

    #[test]
    fn chunks_are_joined() {
        let (out, summary) = read(100, LineRule::Crlf, &[b"a\r\n.\r", b"\nb\r\n", b""], 3);
        assert_eq!(out, b"a\r\n.\r\nb\r\n");
        assert_eq!((summary.octets, summary.fault), (9, None));
    }

    #[test]
    fn commands_behind_a_chunk_are_not_consumed() {
        let mut reader = BdatReader::new(100, LineRule::Crlf);
        let mut out = Vec::new();
        reader.chunk(3, false);
        let progress = reader.feed(b"a\r\nBDAT 0 LAST\r\n", &mut out);
        assert_eq!(progress, Progress { consumed: 3, state: DataState::Done });
        reader.chunk(0, true);
        assert_eq!(
            reader.feed(b"QUIT", &mut out),
            Progress { consumed: 0, state: DataState::Done }
        );
        assert_eq!(out, b"a\r\n");
    }

    #[test]
    fn bare_line_ends_across_borders() {
        for (chunks, fault) in [
            (vec![&b"a\r"[..], b"b\r\n"], Some(DataFault::BareNewline)),
            (vec![b"a", b"\nb\r\n"], Some(DataFault::BareNewline)),
            (vec![b"a\r", b"", b"\n"], None),
            (vec![b"a\r"], Some(DataFault::BareNewline)),
            (vec![b"a\r", b""], Some(DataFault::BareNewline)),
            (vec![b"\n"], Some(DataFault::BareNewline)),
            (vec![b"a\rb\nc\r\n"], Some(DataFault::BareNewline)),
            (vec![b"a\r\r\n"], Some(DataFault::BareNewline)),
        ] {
            for step in [1, 2, 100] {
                assert_eq!(read(100, LineRule::Crlf, &chunks, step).1.fault, fault, "{chunks:?}");
                assert_eq!(read(100, LineRule::Binary, &chunks, step).1.fault, None, "{chunks:?}");
            }
        }
    }

    #[test]
    fn too_big_is_known_from_the_announcement_and_swallowed() {
        let mut reader = BdatReader::new(4, LineRule::Crlf);
        let mut out = Vec::new();
        reader.chunk(u64::MAX, false);
        assert_eq!(reader.summary().fault, Some(DataFault::TooBig));
        let progress = reader.feed(&[b'x'; 500], &mut out);
        assert_eq!((progress.consumed, out.len()), (500, 0));
        assert_eq!(read(4, LineRule::Crlf, &[b"ab", b"\r\n"], 9).1.fault, None);
        assert_eq!(read(3, LineRule::Crlf, &[b"ab", b"\r\n"], 9).1.fault, Some(DataFault::TooBig));
    }

    proptest! {
        #[test]
        fn bare_line_ends_are_found_however_divided(
            input in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\r'), Just(b'\n')], 0..24),
            cut in 0_usize..24,
            step in 1_usize..8,
        ) {
            let (a, b) = input.split_at(cut.min(input.len()));
            let (out, summary) = read(1_000, LineRule::Crlf, &[a, b], step);
            let bare = crate::data::has_bare_newline(&input);
            prop_assert_eq!(summary.fault.is_some(), bare);
            if !bare {
                prop_assert_eq!(out, input);
            }
        }
    }
}
