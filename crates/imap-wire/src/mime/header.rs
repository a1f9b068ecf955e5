//! Fields of a header block, with their raw octets. Lines may end with CRLF or a bare LF: imported mail has both.

use std::borrow::Cow;

/// Of a field's value no more than this is read where a message is described, in octets: hostile mail must not fill memory
/// and store with copies of itself.
pub(crate) const LONGEST_VALUE: usize = 65_536;

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name without the colon and white space before it; empty for a line that is no field.
    pub name: &'a [u8],
    /// What follows the colon, folded as it is, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line end.
    pub raw: &'a [u8],
}

/// The fields of a block, up to its empty line or its end.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Walks a header block.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block }
}

/// The value of the first field of that name (any case), raw.
pub fn find<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(block)
        .find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.value)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.rest.is_empty() || empty_line(self.rest).is_some() {
            return None;
        }
        let mut end = line_end(self.rest, 0);
        while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
            end = line_end(self.rest, end);
        }
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(field(raw))
    }
}

fn field(raw: &[u8]) -> Field<'_> {
    let first = &raw[..line_end(raw, 0)];
    let content = raw.strip_suffix(b"\n").map_or(raw, |raw| raw.strip_suffix(b"\r").unwrap_or(raw));
    match memchr::memchr(b':', first) {
        Some(colon) if !matches!(raw[0], b' ' | b'\t' | b':') => Field {
            name: raw[..colon].trim_ascii_end(),
            value: content.get(colon + 1..).unwrap_or_default(),
            raw,
        },
        _ => Field { name: b"", value: b"", raw },
    }
}

/// Where the line that holds `from` ends, after its LF.
pub(crate) fn line_end(octets: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &octets[from..]).map_or(octets.len(), |at| from + at + 1)
}

/// The length of the empty line at the front, if there is one.
pub(crate) fn empty_line(octets: &[u8]) -> Option<usize> {
    match octets {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The length of a message's header: with its empty line; all of the message if it has none.
pub fn header_length(message: &[u8]) -> usize {
    if let Some(length) = empty_line(message) {
        return length;
    }
    memchr::memchr_iter(b'\n', message)
        .find_map(|at| empty_line(&message[at + 1..]).map(|length| at + 1 + length))
        .unwrap_or(message.len())
}

/// A value on one line: folds undone (RFC 5322 §2.2.3: the line ends go, the white space stays), trimmed.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_octets() {
        let block = b"Subject: a\r\n b\r\nX-Odd : 1\r\nno colon\r\nTo:\n\tx@y\n\r\nBody: 1\r\n";
        let found: Vec<_> = fields(block).collect();
        let names: Vec<_> = found.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"Subject"[..], b"X-Odd", b"", b"To"]);
        assert_eq!(found[0].raw, b"Subject: a\r\n b\r\n");
        assert_eq!(found[0].value, b" a\r\n b");
        assert_eq!(&*unfold(found[0].value), b"a b");
        assert_eq!(found[2].raw, b"no colon\r\n");
        assert_eq!(&*unfold(found[3].value), b"x@y");
        assert_eq!(find(block, "to"), Some(&b"\n\tx@y"[..]));
        assert_eq!(find(block, "body"), None);
    }

    #[test]
    fn headers_end_at_the_empty_line() {
        assert_eq!(header_length(b"A: b\r\n\r\nbody"), 8);
        assert_eq!(header_length(b"A: b\n\nbody"), 6);
        assert_eq!(header_length(b"\r\nbody"), 2);
        assert_eq!(header_length(b"A: b\r\n"), 6);
        assert_eq!(header_length(b""), 0);
        assert_eq!(fields(b"A").count(), 1);
        assert_eq!(fields(b" A: b\r\n").next().unwrap().name, b"");
    }
}
