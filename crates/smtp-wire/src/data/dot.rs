//! DATA: up to the line that is a single dot (RFC 5321 §4.5.2).

use memchr::memchr_iter;

use super::{DataFault, DataState, Progress, Sink, Summary};

/// Reads the data behind `354`: removes dot-stuffing and finds the end, which is CR LF `.` CR LF and nothing else.
#[derive(Debug)]
pub struct DataReader {
    sink: Sink,
    state: State,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// CRLF, or nothing yet.
    LineStart,
    /// Something within a line.
    Middle,
    /// CR, not yet passed on.
    Cr,
    /// A dot at the beginning of a line, not passed on.
    Dot,
    /// That dot and CR, neither passed on.
    DotCr,
    /// The end.
    Done,
}

impl DataReader {
    /// A reader that takes messages of up to `limit` octets.
    pub fn new(limit: u64) -> Self {
        Self { sink: Sink::new(limit), state: State::LineStart }
    }

    /// Takes octets of the stream, any division of it, and appends the message's octets to `out`. At the end,
    /// `consumed` stops behind the dot's line.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Middle => {
                    at += self.bulk(&input[at..], out);
                    continue;
                }
                State::Done => break,
                State::LineStart if byte == b'.' => self.state = State::Dot,
                State::LineStart => {
                    self.state = State::Middle;
                    continue;
                }
                State::Cr if byte == b'\n' => {
                    self.sink.put(b"\r\n", out);
                    self.state = State::LineStart;
                }
                State::Dot if byte == b'\r' => self.state = State::DotCr,
                State::Dot => {
                    // A dot in front of anything else is stuffing, and gone.
                    self.state = State::Middle;
                    continue;
                }
                State::DotCr if byte == b'\n' => self.state = State::Done,
                State::Cr | State::DotCr => {
                    self.sink.fault(DataFault::BareNewline);
                    self.state = State::Middle;
                    continue;
                }
            }
            at += 1;
        }
        let state = if self.state == State::Done { DataState::Done } else { DataState::More };
        Progress { consumed: at, state }
    }

    /// What is known about the message; final once the state was `Done`.
    pub fn summary(&self) -> Summary {
        self.sink.summary
    }

    /// Takes from within a line up to the next line that begins with a dot, or to the end. Never called with an
    /// empty input. Gives how many octets it took.
    fn bulk(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut pairs = 0;
        for lf in memchr_iter(b'\n', input) {
            if lf == 0 || input[lf - 1] != b'\r' {
                self.sink.fault(DataFault::BareNewline);
                continue;
            }
            pairs += 1;
            if matches!(input.get(lf + 1), None | Some(b'.')) {
                let piece = &input[..=lf];
                self.sink.check_crs(piece, pairs);
                self.sink.put(piece, out);
                self.state = State::LineStart;
                return piece.len();
            }
        }
        let piece = input.strip_suffix(b"\r").unwrap_or(input);
        self.sink.check_crs(piece, pairs);
        self.sink.put(piece, out);
        self.state = if piece.len() < input.len() { State::Cr } else { State::Middle };
        input.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample;

    use super::*;

    fn read(limit: u64, chunks: &[&[u8]]) -> (Vec<u8>, Summary, Option<usize>) {
        let mut reader = DataReader::new(limit);
        let mut out = Vec::new();
        let mut total = 0;
        for chunk in chunks {
            let progress = reader.feed(chunk, &mut out);
            total += progress.consumed;
            if progress.state == DataState::Done {
                return (out, reader.summary(), Some(total));
            }
            assert_eq!(progress.consumed, chunk.len());
        }
        (out, reader.summary(), None)
    }

    fn good(wire: &str, message: &str) {
        let (out, summary, end) = read(1_000, &[wire.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), message);
        assert_eq!(summary.fault, None);
        assert_eq!(summary.octets, message.len() as u64);
        assert_eq!(end, Some(wire.len()));
    }

    fn fault(wire: &str) -> Option<DataFault> {
        let (_, summary, end) = read(1_000, &[wire.as_bytes()]);
        assert_eq!(end, Some(wire.len()), "{wire:?}");
        summary.fault
    }

    #[test]
    fn messages() {
        good(".\r\n", "");
        good("\r\n.\r\n", "\r\n");
        good("a\r\nb\r\n.\r\n", "a\r\nb\r\n");
        good("..a\r\n..\r\n...\r\n.a\r\na.b\r\n.\r\n", ".a\r\n.\r\n..\r\na\r\na.b\r\n");
        good("a\r\n\r\n\r\n.\r\n", "a\r\n\r\n\r\n");
    }

    #[test]
    fn what_follows_is_not_consumed() {
        let (out, _, end) = read(1_000, &[b"a\r\n.\r\nQUIT\r\n"]);
        assert_eq!((out.as_slice(), end), (&b"a\r\n"[..], Some(6)));
        let mut reader = DataReader::new(9);
        reader.feed(b".\r\n", &mut Vec::new());
        assert_eq!(
            reader.feed(b"QUIT", &mut Vec::new()),
            Progress { consumed: 0, state: DataState::Done }
        );
    }

    /// Every sequence that some server took for the end of data (smuggling), and does not end it here.
    #[test]
    fn only_crlf_dot_crlf_ends_data() {
        for wire in [
            "a\n.\n",
            "a\r.\r",
            "a\n.\r\n",
            "a\r\n.\n",
            "a\r\n.\r",
            "a\r.\r\n",
            "a\r\n.\r\r\n",
            "a\r\n\0.\r\n",
            "\n.\r\n",
            "a\r\n.\0\r\n",
            "a\r\n. \r\n",
            "a\n\n.\r\n",
            "a\r\r\n\r.\r\n",
        ] {
            let (_, summary, end) = read(1_000, &[wire.as_bytes()]);
            assert_eq!(end, None, "{wire:?}");
            let whole = format!("{wire}MAIL FROM:<x@example.org>\r\n.\r\n");
            let (_, _, end) = read(1_000, &[whole.as_bytes()]);
            assert_eq!(end, Some(whole.len()), "{wire:?}");
            let harmless = wire.contains('\0') || wire.contains(". ");
            assert_eq!(
                summary.fault.is_none(),
                harmless || wire == "a\r\n.\r",
                "{wire:?} {:?}",
                summary.fault
            );
        }
    }

    #[test]
    fn bare_line_ends() {
        assert_eq!(fault("a\nb\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault("a\rb\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault("a\r\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault(".\nb\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault(".\rb\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault("\n\r\n.\r\n"), Some(DataFault::BareNewline));
        assert_eq!(fault("\r\r\n.\r\n"), Some(DataFault::BareNewline));
        // Equal numbers of CR and LF do not make pairs.
        assert_eq!(fault("a\rb\nc\r\n.\r\n"), Some(DataFault::BareNewline));
        assert!(DataFault::BareNewline.is_fatal() && !DataFault::TooBig.is_fatal());
    }

    #[test]
    fn too_big_is_read_to_its_end() {
        let (out, summary, end) = read(4, &[b"ab\r\n.\r\n"]);
        assert_eq!((out.len(), summary.fault, end), (4, None, Some(7)));
        let (out, summary, end) = read(4, &[b"abc\r\n..\r\n", &[b'x'; 1_000], b"\r\n.\r\n"]);
        assert!(out.len() <= 4);
        assert_eq!((summary.fault, end), (Some(DataFault::TooBig), Some(1_014)));
        assert_eq!(summary.octets, 1_010);
        let (_, summary, _) = read(4, &[b"abcde\r\n\n\r\n.\r\n"]);
        assert_eq!(summary.fault, Some(DataFault::BareNewline));
    }

    #[test]
    fn octets_are_noticed() {
        let (_, summary, _) = read(100, &[b"a\xe4\r\n.\r\n"]);
        assert!(summary.eight_bit && !summary.nul);
        let (_, summary, _) = read(100, &[b"a\0\r\n.\r\n"]);
        assert!(!summary.eight_bit && summary.nul);
    }

    /// The grammar once more, an octet at a time and slow.
    fn reference(input: &[u8]) -> Option<(Vec<u8>, bool, usize)> {
        let mut end = None;
        let mut out = Vec::new();
        let mut bare = false;
        let mut line_start = true;
        let mut at = 0;
        while at < input.len() {
            if line_start && input[at..].starts_with(b".\r\n") {
                end = Some(at + 3);
                break;
            }
            if line_start && input[at] == b'.' {
                line_start = false;
                at += 1;
                continue;
            }
            if input[at..].starts_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
                line_start = true;
                at += 2;
                continue;
            }
            bare |= matches!(input[at], b'\r' | b'\n');
            out.push(input[at]);
            line_start = false;
            at += 1;
        }
        end.map(|end| (out, bare, end))
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference_however_divided(
            head in proptest::collection::vec(
                sample::select(vec![&b"a"[..], b".", b"\r\n", b"\r", b"\n", b"bcd\r\n", b"\0"]),
                0..24,
            ),
            cuts in proptest::collection::vec(0_usize..80, 0..8),
        ) {
            let mut input = head.concat();
            input.extend_from_slice(b"\r\n.\r\n");
            let (message, bare, end) = reference(&input).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            let (out, summary, found) = read(u64::MAX, &chunks);
            prop_assert_eq!(found, Some(end));
            prop_assert_eq!(summary.fault.is_some(), bare);
            if !bare {
                prop_assert_eq!(summary.octets, message.len() as u64);
                prop_assert_eq!(summary.nul, message.contains(&0));
                prop_assert_eq!(out, message);
            }
        }
    }
}
