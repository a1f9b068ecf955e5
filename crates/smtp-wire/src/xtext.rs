//! The `xtext` encoding of ESMTP parameter values (RFC 3461 §4), and RFC 6533's `\x{…}` beside it.

use std::fmt::Write;

/// Writes `text` as xtext: printable ASCII but `+`, `=` and space stands for itself, every other octet is `+XX`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            push_hex(&mut encoded, byte);
        }
    }
    encoded
}

/// Reads xtext. `None` if it is malformed or what it stands for is not UTF-8. Lower-case digits are accepted.
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                decoded.push(u8::try_from(high * 16 + low).ok()?);
            }
            _ if is_plain(byte) => decoded.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(decoded).ok()
}

/// Writes an address as `utf-8-addr-xtext` (RFC 6533 §3), which passes through servers without SMTPUTF8.
pub fn encode_utf8_address(address: &str) -> String {
    let mut encoded = String::with_capacity(address.len());
    for c in address.chars() {
        match u8::try_from(c) {
            Ok(byte) if is_plain(byte) && byte != b'\\' => encoded.push(c),
            _ => {
                let _ = write!(encoded, "\\x{{{:02X}}}", u32::from(c)); // writing to a String cannot fail
            }
        }
    }
    encoded
}

/// Reads any form of a `utf-8` address of RFC 6533 §3: plain UTF-8, `\x{…}`, and xtext's `+XX` as well.
pub fn decode_utf8_address(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&decode_plus(&rest[..at])?);
        let (digits, behind) = rest[at..].strip_prefix("\\x{")?.split_once('}')?;
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = behind;
    }
    decoded.push_str(&decode_plus(rest)?);
    Some(decoded)
}

/// xtext in which UTF-8 may stand unencoded.
fn decode_plus(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    for (ascii, piece) in text.split_inclusive(|c: char| !c.is_ascii()).map(split_last_non_ascii) {
        decoded.push_str(&decode(ascii)?);
        decoded.push_str(piece);
    }
    Some(decoded)
}

fn split_last_non_ascii(piece: &str) -> (&str, &str) {
    let at = piece
        .char_indices()
        .next_back()
        .filter(|(_, c)| !c.is_ascii())
        .map_or(piece.len(), |(at, _)| at);
    piece.split_at(at)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=')
}

fn push_hex(text: &mut String, byte: u8) {
    let _ = write!(text, "+{byte:02X}"); // writing to a String cannot fail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext() {
        assert_eq!(encode("a+b=c d@é"), "a+2Bb+3Dc+20d@+C3+A9");
        assert_eq!(decode("a+2Bb+3dc+20d").as_deref(), Some("a+b=c d"));
        assert_eq!(encode("\r\n"), "+0D+0A");
        for bad in ["+", "+2", "+2G", "a=b", "a b", "é", "+C3", "++41"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn utf8_addresses() {
        assert_eq!(encode_utf8_address("jö+x@e\\"), "j\\x{F6}\\x{2B}x@e\\x{5C}");
        assert_eq!(decode_utf8_address("j\\x{F6}+2Bx@é").as_deref(), Some("jö+x@é"));
        for bad in ["\\", "\\x{", "\\x{}", "\\x{D800}", "\\x{1234567}", "\\x{+1}", "a=b"] {
            assert_eq!(decode_utf8_address(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(text in "\\PC{0,30}") {
            prop_assert_eq!(decode(&encode(&text)), Some(text.clone()));
            prop_assert_eq!(decode_utf8_address(&encode_utf8_address(&text)), Some(text));
        }

        #[test]
        fn any_text_is_safe(text in "[+\\\\x{}0-9A-Fé =]{0,20}") {
            let _ = (decode(&text), decode_utf8_address(&text));
        }
    }
}
