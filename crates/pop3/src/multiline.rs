//! Multi-line responses (RFC 1939 §3): byte-stuffing and the final dot.

use memchr::memchr;

/// Appends a message as the body of a multi-line response: lines that begin with a dot
/// get a second one, a missing last CRLF is added, and the dot line ends it.
pub(crate) fn stuff(message: &[u8], out: &mut Vec<u8>) {
    let mut rest = message;
    while !rest.is_empty() {
        if rest[0] == b'.' {
            out.push(b'.');
        }
        let line = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        out.extend_from_slice(&rest[..line]);
        rest = &rest[line..];
    }
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

/// The headers, the empty line after them and `lines` lines of the body (RFC 1939 §7).
pub(crate) fn top(message: &[u8], lines: u64) -> &[u8] {
    let mut end = 0;
    let mut left: Option<u64> = None;
    while end < message.len() && left != Some(0) {
        let line = memchr(b'\n', &message[end..]).map_or(message.len() - end, |at| at + 1);
        left = match left {
            None if message[end..end + line] == *b"\r\n" => Some(lines),
            None => None,
            Some(count) => Some(count - 1),
        };
        end += line;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(message: &str) -> String {
        let mut out = Vec::new();
        stuff(message.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dots_are_doubled_and_the_end_is_a_dot_line() {
        assert_eq!(stuffed(".a\r\n..\r\nb.\r\n"), "..a\r\n...\r\nb.\r\n.\r\n");
        assert_eq!(stuffed("no line end"), "no line end\r\n.\r\n");
        assert_eq!(stuffed(""), ".\r\n");
    }

    #[test]
    fn top_counts_lines_after_the_empty_one() {
        let message = b"A: b\r\n\r\none\r\ntwo\r\nthree";
        assert_eq!(top(message, 0), b"A: b\r\n\r\n");
        assert_eq!(top(message, 2), b"A: b\r\n\r\none\r\ntwo\r\n");
        assert_eq!(top(message, 99), message);
        assert_eq!(top(b"A: b\r\n", 5), b"A: b\r\n");
    }
}
