//! Encoded-words (RFC 2047).

use super::charset::decode_charset;
use crate::mime::encoding::{base64, hex};

/// Longer ones (RFC 2047 allows 75 octets) are not looked for, which keeps the search linear.
const LONGEST_WORD: usize = 512;

struct Word<'a> {
    charset: &'a [u8],
    octets: Vec<u8>,
    length: usize,
}

/// An unfolded value with its encoded-words decoded. White space between two of them goes; neighbours of the same
/// character set are joined before decoding, since mailers cut letters in two. 8-bit octets outside are read as UTF-8
/// or windows-1252.
pub fn decode_words(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    // Decoded octets that wait for their neighbours.
    let mut pending: Option<(Vec<u8>, Vec<u8>)> = None;
    // Where raw text begins that was not written yet.
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        match encoded_word(&rest[at..]) {
            Some(word) => {
                let between = &rest[..at];
                let adjacent = pending.is_some() && between.iter().all(u8::is_ascii_whitespace);
                if !adjacent {
                    flush(&mut out, &mut pending);
                    out.push_str(&decode_charset(b"", between));
                }
                match &mut pending {
                    Some((charset, octets)) if charset.eq_ignore_ascii_case(word.charset) => {
                        octets.extend(word.octets)
                    }
                    _ => {
                        flush(&mut out, &mut pending);
                        pending = Some((word.charset.to_vec(), word.octets));
                    }
                }
                rest = &rest[at + word.length..];
            }
            None => {
                flush(&mut out, &mut pending);
                out.push_str(&decode_charset(b"", &rest[..at + 2]));
                rest = &rest[at + 2..];
            }
        }
    }
    flush(&mut out, &mut pending);
    out.push_str(&decode_charset(b"", rest));
    out
}

fn flush(out: &mut String, pending: &mut Option<(Vec<u8>, Vec<u8>)>) {
    if let Some((charset, octets)) = pending.take() {
        out.push_str(&decode_charset(&charset, &octets));
    }
}

/// `=?charset?encoding?text?=` at the front.
fn encoded_word(octets: &[u8]) -> Option<Word<'_>> {
    let window = &octets[..octets.len().min(LONGEST_WORD)];
    let inner = window.strip_prefix(b"=?")?;
    let charset_end = memchr::memchr(b'?', inner)?;
    let charset = &inner[..charset_end];
    if charset.is_empty() || charset.iter().any(|octet| !octet.is_ascii_graphic()) {
        return None;
    }
    let [encoding, b'?', text @ ..] = &inner[charset_end + 1..] else { return None };
    let end = memchr::memmem::find(text, b"?=")?;
    let octets = match encoding.to_ascii_lowercase() {
        b'b' => base64(&text[..end]),
        b'q' => q_decode(&text[..end]),
        _ => return None,
    };
    Some(Word { charset, octets, length: 2 + charset_end + 3 + end + 2 })
}

fn q_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = tail;
                }
                _ => out.push(b'='),
            },
            _ => out.push(first),
        }
    }
    out
}
