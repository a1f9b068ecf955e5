//! The sending side of DATA.

use memchr::{memchr_iter, memmem};

/// Appends a message as it goes out behind `354`: a dot in front of each line that begins with one, CRLF at the end
/// if it is missing, and the final `.` CRLF (RFC 5321 §4.5.2).
///
/// Only CR LF ends a line, as everywhere here. A message for which [`has_bare_newline`] is true must not be sent
/// by DATA: a laxer receiver could find another end in it.
pub fn dot_stuff(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + message.len() / 64 + 8);
    if message.starts_with(b".") {
        out.push(b'.');
    }
    let mut done = 0;
    for found in memmem::find_iter(message, b"\r\n.") {
        let dot = found + 2;
        out.extend_from_slice(&message[done..dot]);
        out.push(b'.');
        done = dot;
    }
    out.extend_from_slice(&message[done..]);
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

/// Whether a message has a CR without LF or a LF without CR.
pub fn has_bare_newline(message: &[u8]) -> bool {
    let mut pairs = 0;
    for lf in memchr_iter(b'\n', message) {
        if lf == 0 || message[lf - 1] != b'\r' {
            return true;
        }
        pairs += 1;
    }
    memchr_iter(b'\r', message).count() != pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample;

    use super::*;
    use crate::data::{DataReader, DataState};

    fn stuffed(message: &str) -> String {
        let mut out = Vec::new();
        dot_stuff(message.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn stuffing() {
        assert_eq!(stuffed(""), ".\r\n");
        assert_eq!(stuffed("a"), "a\r\n.\r\n");
        assert_eq!(stuffed("a\r\n"), "a\r\n.\r\n");
        assert_eq!(stuffed(".a\r\n.\r\n..b\r\nc.d\r\n"), "..a\r\n..\r\n...b\r\nc.d\r\n.\r\n");
        assert_eq!(stuffed("a\r\n.\r\n.\r\n"), "a\r\n..\r\n..\r\n.\r\n");
        assert_eq!(stuffed("a\r\n."), "a\r\n..\r\n.\r\n");
    }

    #[test]
    fn bare_newlines() {
        for (message, bare) in [
            ("", false),
            ("a\r\nb", false),
            ("a\nb", true),
            ("a\rb\r\n", true),
            ("\r", true),
            ("\n\r", true),
        ] {
            assert_eq!(has_bare_newline(message.as_bytes()), bare, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_stuffing(
            pieces in proptest::collection::vec(
                sample::select(vec![&b"."[..], b"\r\n", b"a", b"..\r\n", b"\xff", b"line\r\n"]),
                0..30,
            ),
            step in 1_usize..20,
        ) {
            let mut message = pieces.concat();
            let mut wire = Vec::new();
            dot_stuff(&message, &mut wire);
            let mut reader = DataReader::new(u64::MAX);
            let mut out = Vec::new();
            let mut state = DataState::More;
            for chunk in wire.chunks(step) {
                prop_assert_eq!(state, DataState::More);
                state = reader.feed(chunk, &mut out).state;
            }
            prop_assert_eq!(state, DataState::Done);
            if !message.is_empty() && !message.ends_with(b"\r\n") {
                message.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(out, message);
            prop_assert_eq!(reader.summary().fault, None);
        }
    }
}
