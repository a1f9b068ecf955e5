//! The two transfer encodings of RFC 2045 §6.7 and §6.8.

/// Characters of an encoded line.
const WIDTH: usize = 76;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 in lines with CRLF.
pub(super) fn base64(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() / 3 * 4 + octets.len() / 28 + 8);
    for line in octets.chunks(WIDTH / 4 * 3) {
        base64_line(line, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Base64 without line ends.
pub(super) fn base64_line(octets: &[u8], out: &mut Vec<u8>) {
    for group in octets.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place) & 63) as usize;
            out.push(if place <= group.len() { ALPHABET[index] } else { b'=' }); // 6 bits index 64 letters
        }
    }
}

/// Quoted-printable; CRLF stays a line end.
pub(super) fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n");
        let (line, behind) = rest.split_at(end.unwrap_or(rest.len()));
        quoted_line(line, &mut out);
        rest = match end {
            Some(_) => {
                out.extend_from_slice(b"\r\n");
                &behind[2..] // the CRLF that was found
            }
            None => behind,
        };
    }
    out
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, byte) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain =
            matches!(byte, b'!'..=b'<' | b'>'..=b'~') || (matches!(byte, b' ' | b'\t') && !last);
        // A dot alone and "From " at the start of a line are misread on the way by some.
        let plain = plain && !(column == 0 && matches!(byte, b'.' | b'F'));
        let width = if plain { 1 } else { 3 };
        let room = if last { WIDTH } else { WIDTH - 1 };
        if column + width > room {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        match plain {
            true => out.push(*byte),
            false => hex(*byte, out),
        }
        column += width;
    }
}

/// An octet as `=XX`.
pub(super) fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS[usize::from(value & 15)]; // 4 bits index 16 digits
    out.extend_from_slice(&[b'=', digit(byte >> 4), digit(byte)]);
}
