//! Multi-line responses (RFC 1939 §3): byte-stuffing and the final dot, piece by piece.

use memchr::{memchr, memmem};

/// A message on its way out as the body of a multi-line response: lines that begin with a dot get a second one, a
/// missing last CRLF is added, and the dot line ends it.
pub(crate) struct Stuffing {
    /// Lines that are still wanted; `None` for all.
    lines: Option<u64>,
    /// The last two octets; CRLF before the first one, since there too a line begins.
    last: [u8; 2],
}

impl Stuffing {
    pub(crate) fn new() -> Stuffing {
        Stuffing { lines: None, last: *b"\r\n" }
    }

    /// From here on only so many lines are wanted.
    pub(crate) fn limit(&mut self, lines: u64) {
        self.lines = Some(lines);
    }

    /// Whether more of the message is wanted.
    pub(crate) fn wants_more(&self) -> bool {
        self.lines != Some(0)
    }

    /// Appends the next piece of the message, wherever it was cut.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while !rest.is_empty() && self.wants_more() {
            if self.last[1] == b'\n' && rest[0] == b'.' {
                out.push(b'.');
            }
            let end = memchr(b'\n', rest).map(|at| at + 1);
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            out.extend_from_slice(line);
            self.last = match *line {
                [.., a, b] => [a, b],
                [b] => [self.last[1], b],
                [] => self.last,
            };
            if end.is_some() {
                self.lines = self.lines.map(|lines| lines - 1);
            }
            rest = after;
        }
    }

    /// Appends the end of the response.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        if self.last != *b"\r\n" {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// Whether a message is an internationalized one (RFC 6532), which only clients get that have asked for it (RFC 6856
/// §2.1): its header has UTF-8 in it, and it came as such, which the newest Received field tells (RFC 6531 §4.3).
/// Octets above 127 in any other header are a mistake of the sender's, common enough, and no reason to keep the message
/// back.
pub(crate) fn needs_utf8(header: &[u8]) -> bool {
    !header.is_ascii()
        && std::str::from_utf8(header).is_ok()
        && newest_received(header)
            .is_some_and(|field| memmem::find(field, b"with UTF8SMTP").is_some())
}

/// The first Received field, with its folded lines.
fn newest_received(header: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"received:";
    let starts = |at: usize| {
        header.get(at..at + NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    };
    let start = match starts(0) {
        true => 0,
        false => memchr::memchr_iter(b'\n', header).map(|end| end + 1).find(|at| starts(*at))?,
    };
    let field = header.get(start..)?;
    let end = memchr::memchr_iter(b'\n', field)
        .map(|end| end + 1)
        .find(|next| !matches!(field.get(*next), Some(b' ' | b'\t')));
    field.get(..end.unwrap_or(field.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(pieces: &[&[u8]], lines: Option<u64>) -> Vec<u8> {
        let (mut stuffing, mut out) = (Stuffing::new(), Vec::new());
        if let Some(lines) = lines {
            stuffing.limit(lines);
        }
        pieces.iter().for_each(|piece| stuffing.push(piece, &mut out));
        stuffing.finish(&mut out);
        out
    }

    #[test]
    fn dots_are_doubled_and_the_end_is_a_dot_line() {
        assert_eq!(stuffed(&[b".a\r\n..\r\nb.\r\n"], None), b"..a\r\n...\r\nb.\r\n.\r\n");
        assert_eq!(stuffed(&[b"no line end"], None), b"no line end\r\n.\r\n");
        assert_eq!(stuffed(&[b"cut\r"], None), b"cut\r\r\n.\r\n");
        assert_eq!(stuffed(&[b"bare\n"], None), b"bare\n\r\n.\r\n");
        assert_eq!(stuffed(&[], None), b".\r\n");
        assert_eq!(stuffed(&[b"\r\n"], None), b"\r\n.\r\n");
    }

    #[test]
    fn lines_are_counted() {
        let message = b"one\r\n.two\r\nthree";
        assert_eq!(stuffed(&[message], Some(0)), b".\r\n");
        assert_eq!(stuffed(&[message], Some(2)), b"one\r\n..two\r\n.\r\n");
        assert_eq!(stuffed(&[message], Some(99)), b"one\r\n..two\r\nthree\r\n.\r\n");
    }

    #[test]
    fn only_utf8_in_headers_is_kept_back() {
        let came = |with: &str| {
            format!(
                "To: x\r\nRECEIVED: from a\r\n\tby b\r\n\twith {with} id 1\r\nSubject: grün\r\n\r\n"
            )
        };
        assert!(needs_utf8(came("UTF8SMTPS").as_bytes()));
        assert!(!needs_utf8(came("ESMTPS").as_bytes()), "never declared");
        assert!(!needs_utf8("Subject: grün\r\n\r\n".as_bytes()), "did not come by SMTP");
        let later = format!("Received: by c with ESMTP\r\n{}", came("UTF8SMTP"));
        assert!(!needs_utf8(later.as_bytes()), "the newest counts");
        assert!(!needs_utf8(b"Subject: green\r\n\r\n"));
        assert!(!needs_utf8(b"Subject: gr\xfcn\r\n\r\n"), "Latin-1, unlabelled");
        assert!(!needs_utf8(b""));
    }

    proptest! {
        /// Wherever a message is cut, the client gets the same.
        #[test]
        fn cuts_do_not_show(message in "[.\r\na]{0,40}", at in 0usize..40, lines in proptest::option::of(0u64..9)) {
            let at = at.min(message.len());
            let (one, two) = message.as_bytes().split_at(at);
            let cut: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
            let whole = stuffed(&[message.as_bytes()], lines);
            prop_assert_eq!(&stuffed(&[one, two], lines), &whole);
            prop_assert_eq!(&stuffed(&cut, lines), &whole);
        }
    }
}
