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
    let (mut bits, mut count) = (0u32, 0u32);
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
    out
}

/// Decodes quoted-printable; a `=` without two hexadecimal digits stays, white space before a line end goes.
pub fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let content = line.trim_ascii_end();
        let ends = line.ends_with(b"\n");
        let line_end: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
        let (content, soft) = match content.strip_suffix(b"=") {
            Some(content) => (content, true),
            None => (content, false),
        };
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
        if ends && !soft {
            out.extend_from_slice(line_end);
        }
    }
    out
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn encodings_by_name() {
        assert_eq!(TransferEncoding::parse(Some(b" BASE64 (x)")), TransferEncoding::Base64);
        assert_eq!(TransferEncoding::parse(None), TransferEncoding::Identity);
        assert_eq!(TransferEncoding::parse(Some(b"x-uuencode")), TransferEncoding::Unknown);
    }
}
