//! Encoded words in header fields (RFC 2047).

use super::encode::base64_line;
use crate::header::{self, Field};

/// Octets of text in one encoded word: 45 make 60 letters, so that the word has at most 75 (RFC 2047 §2).
const WORD: usize = 45;

/// Fields whose value is nothing but text.
const TEXTS: [&str; 4] = ["Subject", "Comments", "Content-Description", "Thread-Topic"];
/// Fields of addresses with display names.
const ADDRESSES: [&str; 10] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
];

/// What becomes of a field.
pub(super) enum Encoded {
    /// It is ASCII.
    Same,
    /// This.
    As(Vec<u8>),
    /// It has octets above 127 where nothing can replace them.
    Impossible,
}

/// The field without octets above 127.
pub(super) fn encode_field(field: &Field<'_>) -> Encoded {
    if field.value().is_ascii() {
        return Encoded::Same;
    }
    encoded(field).map_or(Encoded::Impossible, Encoded::As)
}

fn encoded(field: &Field<'_>) -> Option<Vec<u8>> {
    let value = field.value();
    let text = String::from_utf8_lossy(&value);
    let name = std::str::from_utf8(field.name).ok()?;
    let encoded = if TEXTS.iter().any(|text| field.is(text)) {
        words(&text)
    } else if ADDRESSES.iter().any(|addresses| field.is(addresses)) {
        names(&text)?
    } else {
        return None;
    };
    let mut out = Vec::new();
    header::fold(name, &encoded, &mut out);
    Some(out)
}

/// A text as encoded words.
fn words(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(WORD);
        while !rest.is_char_boundary(end) {
            end -= 1; // 0 is a boundary, and a character has at most 4 octets
        }
        let (word, behind) = rest.split_at(end);
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(b"=?utf-8?B?");
        base64_line(word.as_bytes(), &mut out);
        out.extend_from_slice(b"?=");
        rest = behind;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A list of addresses with its display names encoded.
fn names(text: &str) -> Option<String> {
    let mut out = String::new();
    for (number, address) in split(text).into_iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        let address = address.trim();
        match address.find('<').filter(|_| !address.is_ascii()) {
            None if address.is_ascii() => out.push_str(address),
            None => return None,
            Some(at) => {
                let (name, route) = address.split_at(at);
                if !route.is_ascii() {
                    return None;
                }
                out.push_str(&words(&unquoted(name.trim())));
                out.push(' ');
                out.push_str(route);
            }
        }
    }
    Some(out)
}

/// At commas that are neither quoted nor within angle brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut bracket) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => bracket = true,
            '>' if !quoted => bracket = false,
            ',' if !quoted && !bracket => {
                parts.push(&text[from..at]); // both are boundaries of characters
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// A display name without its quotes.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    out
}
