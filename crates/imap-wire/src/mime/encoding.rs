//! Content transfer encodings (RFC 2045 §6), undone leniently: what cannot be decoded is skipped or kept, never fatal.

use std::borrow::Cow;

/// A transfer encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// 7bit, 8bit, binary, or none given.
    Identity,
    /// base64
    Base64,
    /// quoted-printable
    QuotedPrintable,
    /// Anything else: it cannot be undone.
    Unknown,
}

impl TransferEncoding {
    /// Reads a raw Content-Transfer-Encoding value; `None` is the default.
    pub fn parse(raw: Option<&[u8]>) -> Self {
        let Some(raw) = raw else { return Self::Identity };
        let value = super::value::Value::parse(raw).main.to_ascii_lowercase();
        match value.as_slice() {
            b"" | b"7bit" | b"8bit" | b"binary" => Self::Identity,
            b"base64" => Self::Base64,
            b"quoted-printable" => Self::QuotedPrintable,
            _ => Self::Unknown,
        }
    }

    /// The decoded octets; what is [`Self::Unknown`] stays as it is.
    pub fn decode(self, body: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Base64 => Cow::Owned(base64(body)),
            Self::QuotedPrintable => Cow::Owned(quoted_printable(body)),
            Self::Identity | Self::Unknown => Cow::Borrowed(body),
        }
    }
}

/// Decodes base64; octets outside the alphabet are skipped (RFC 2045 §6.8), padding ends a quantum and what follows
/// begins anew (encoded pieces glued together).
pub fn base64(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    Quantum::default().push(body, &mut out);
    out
}

/// Bits of base64 that are no octet yet.
#[derive(Debug, Clone, Copy, Default)]
struct Quantum {
    bits: u32,
    count: u32,
}

impl Quantum {
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (mut bits, mut count) = (self.bits, self.count);
        for octet in body {
            let value = match octet {
                b'A'..=b'Z' => octet - b'A',
                b'a'..=b'z' => octet - b'a' + 26,
                b'0'..=b'9' => octet - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    (bits, count) = (0, 0);
                    continue;
                }
                _ => continue,
            };
            bits = (bits << 6) | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        *self = Self { bits, count };
    }
}

/// Decodes quoted-printable; a `=` without two hexadecimal digits stays, white space before a line end goes.
pub fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        decode_line(line, &mut out);
    }
    out
}

/// One line of quoted-printable with its end, or the last one, which may have none.
fn decode_line(line: &[u8], out: &mut Vec<u8>) {
    let content = line.trim_ascii_end();
    let ends = line.ends_with(b"\n");
    let line_end: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let (content, soft) = match content.strip_suffix(b"=") {
        Some(content) => (content, true),
        None => (content, false),
    };
    unescape(content, out);
    if ends && !soft {
        out.extend_from_slice(line_end);
    }
}

fn unescape(content: &[u8], out: &mut Vec<u8>) {
    let mut rest = content;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match (rest.get(1).copied().and_then(hex), rest.get(2).copied().and_then(hex)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = &rest[3..];
            }
            _ => {
                out.push(b'=');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Undoes an encoding piece by piece, with the same result as [`TransferEncoding::decode`] of all at once. It holds no
/// more than an unfinished line; of a line of quoted-printable beyond all measure (RFC 2045 §6.7 allows 76 octets) it
/// lets the head go, white space at its end included.
#[derive(Debug)]
pub struct Decoder {
    encoding: TransferEncoding,
    quantum: Quantum,
    /// The beginning of a line of quoted-printable.
    line: Vec<u8>,
}

/// Longer lines of quoted-printable are decoded before their end has come.
const LINE: usize = 64 * 1024;

impl Decoder {
    /// Before the first octet. [`TransferEncoding::Unknown`] stays as it is.
    pub fn new(encoding: TransferEncoding) -> Self {
        Self { encoding, quantum: Quantum::default(), line: Vec::new() }
    }

    /// Takes the next octets and appends what they decode to.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            TransferEncoding::Identity | TransferEncoding::Unknown => out.extend_from_slice(octets),
            TransferEncoding::Base64 => self.quantum.push(octets, out),
            TransferEncoding::QuotedPrintable => {
                for piece in octets.split_inclusive(|octet| *octet == b'\n') {
                    self.line.extend_from_slice(piece);
                    if piece.ends_with(b"\n") {
                        decode_line(&self.line, out);
                        self.line.clear();
                    } else if self.line.len() > LINE {
                        self.let_go(out);
                    }
                }
            }
        }
    }

    /// The end: what is left of the last line.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        decode_line(&std::mem::take(&mut self.line), out);
    }

    /// Decodes the head of a line, up to where an escape or its end may begin.
    fn let_go(&mut self, out: &mut Vec<u8>) {
        let content = match self.line.trim_ascii_end().len() {
            0 => self.line.len(),
            length => length,
        };
        let near = content.saturating_sub(3);
        let cut = memchr::memchr(b'=', &self.line[near..content]).map_or(content, |at| near + at);
        if cut == 0 {
            return;
        }
        unescape(&self.line[..cut], out);
        self.line.drain(..cut);
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_lenient() {
        assert_eq!(base64(b"aGVs\r\nbG8="), b"hello");
        assert_eq!(base64(b"aGVsbG8=d29ybGQ="), b"helloworld");
        assert_eq!(base64(b"a!G?V s bG8"), b"hello");
        assert_eq!(base64(b"////"), [255, 255, 255]);
        assert_eq!(base64(b"=A="), b"");
    }

    #[test]
    fn quoted_printable_is_lenient() {
        assert_eq!(quoted_printable(b"a=3Db=\r\nc  \r\nd=zz=\n=4"), b"a=bc\r\nd=zz=4");
        assert_eq!(quoted_printable(b"caf=c3=A9"), "café".as_bytes());
        assert_eq!(quoted_printable(b"="), b"");
    }

    proptest! {
        #[test]
        fn pieces_decode_as_the_whole(
            text in "([a-zA-Z0-9+/= \\r\\n]|=\\r\\n|=3D|==){0,120}",
            size in 1usize..20,
        ) {
            for encoding in
                [TransferEncoding::Identity, TransferEncoding::Base64, TransferEncoding::QuotedPrintable]
            {
                let (mut decoder, mut out) = (Decoder::new(encoding), Vec::new());
                text.as_bytes().chunks(size).for_each(|piece| decoder.push(piece, &mut out));
                decoder.finish(&mut out);
                let whole = encoding.decode(text.as_bytes());
                prop_assert_eq!(&out, &whole.into_owned());
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let body = "=41b".repeat(100_000) + " \r\n=";
        let (mut decoder, mut out) = (Decoder::new(TransferEncoding::QuotedPrintable), Vec::new());
        for piece in body.as_bytes().chunks(1_001) {
            decoder.push(piece, &mut out);
            assert!(decoder.line.len() <= LINE + 1_001);
        }
        decoder.finish(&mut out);
        assert_eq!(out, quoted_printable(body.as_bytes()));
    }

    #[test]
    fn encodings_by_name() {
        assert_eq!(TransferEncoding::parse(Some(b" BASE64 (x)")), TransferEncoding::Base64);
        assert_eq!(TransferEncoding::parse(None), TransferEncoding::Identity);
        assert_eq!(TransferEncoding::parse(Some(b"x-uuencode")), TransferEncoding::Unknown);
    }
}
