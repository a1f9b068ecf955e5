//! Text for SEARCH and indexes: header values and bodies decoded to Unicode, and folding for comparison.

mod charset;
mod preview;
mod words;

pub use charset::decode_charset;
pub use preview::preview;
pub use words::decode_words;

use crate::mime::encoding::{TransferEncoding, hex};
use crate::mime::header::{fields, find, unfold};
use crate::mime::value::Value;
use crate::mime::{PartKind, Tree};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization as _;

/// What a comparison sees of a text: i;unicode-casemap (RFC 5051) with one addition. Letters lose their case (through
/// the upper case, so that `ß` equals `ss` and final sigma equals sigma), then compatibility decomposition (NFKD)
/// makes composed and decomposed letters one; letters which that brings forth lose their case as well. Accents stay.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let caseless = |c: char| c.to_uppercase().flat_map(char::to_lowercase);
    text.chars().flat_map(caseless).nfkd().flat_map(caseless).nfkd().collect()
}

/// A raw header value as text: folds and encoded-words undone.
pub fn header_value(raw: &[u8]) -> String {
    decode_words(&unfold(raw))
}

/// The decoded values of all fields of that name, in order. The header block or the whole message will do.
pub fn header_values(message: &[u8], name: &str) -> Vec<String> {
    fields(message)
        .filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| header_value(field.value))
        .collect()
}

/// A whole header block as text: `Name: value` and a line feed for each field, decoded.
pub fn header_text(block: &[u8]) -> String {
    let mut out = String::new();
    for field in fields(block) {
        if field.name.is_empty() {
            out.push_str(&header_value(field.raw));
        } else {
            out.push_str(&String::from_utf8_lossy(field.name));
            out.push_str(": ");
            out.push_str(&header_value(field.value));
        }
        out.push('\n');
    }
    out
}

/// A text that a message contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPart {
    /// It is HTML, with its markup.
    pub html: bool,
    /// Decoded.
    pub text: String,
}

/// The text bodies of a message, also of messages within it, one at a time: transfer encoding and character set
/// undone.
pub fn text_parts<'t>(tree: &'t Tree<'_>) -> impl Iterator<Item = TextPart> + 't {
    tree.parts()
        .iter()
        .filter(|part| part.kind == PartKind::Leaf && part.media_type.is("text", "*"))
        .map(|part| {
            let encoding =
                TransferEncoding::parse(find(tree.header(part), "Content-Transfer-Encoding"));
            let octets = encoding.decode(tree.body(part));
            let charset = part.media_type.parameter("charset").unwrap_or(b"us-ascii");
            TextPart {
                html: part.media_type.is("text", "html"),
                text: decode_charset(charset, &octets).into_owned(),
            }
        })
}

/// The header blocks of the messages within a message, decoded as by [`header_text`]: SEARCH BODY and TEXT look into
/// them as well (RFC 9051 §6.4.4, "BODY").
pub fn inner_headers<'t>(tree: &'t Tree<'_>) -> impl Iterator<Item = String> + 't {
    tree.parts().iter().filter_map(|part| match part.kind {
        PartKind::Message(inner) => Some(header_text(tree.header(&tree.parts()[inner]))),
        _ => None,
    })
}

/// The file names of a message's parts, decoded; a part that has two different ones gives both.
pub fn attachment_names(tree: &Tree<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for part in tree.parts().iter().filter(|part| !matches!(part.kind, PartKind::Multipart(_))) {
        let disposition =
            find(tree.header(part), "Content-Disposition").map(Value::parse).unwrap_or_default();
        let filename = parameter(&disposition.parameters, "filename");
        let name = parameter(&part.media_type.parameters, "name")
            .filter(|name| Some(name) != filename.as_ref());
        names.extend(filename.into_iter().chain(name));
    }
    names
}

/// A parameter's value as text: RFC 2231 continuations and percent-encoding undone, and encoded-words, which many
/// mailers write here though RFC 2047 forbids it.
pub fn parameter(parameters: &[(Vec<u8>, Vec<u8>)], name: &str) -> Option<String> {
    let mut pieces: Vec<(u32, bool, &[u8])> = Vec::new();
    let mut plain = None;
    for (candidate, value) in parameters {
        let base =
            candidate.get(..name.len()).filter(|base| base.eq_ignore_ascii_case(name.as_bytes()));
        let Some(suffix) = base.map(|_| &candidate[name.len()..]) else { continue };
        match suffix {
            b"" => plain = plain.or(Some(value)),
            [b'*', rest @ ..] => {
                let (number, encoded) = match rest {
                    b"" => (b"0".as_slice(), true),
                    [number @ .., b'*'] => (number, true),
                    number => (number, false),
                };
                if let Some(number) =
                    std::str::from_utf8(number).ok().and_then(|number| number.parse().ok())
                {
                    pieces.push((number, encoded, value));
                }
            }
            _ => {}
        }
    }
    if pieces.is_empty() {
        return plain.map(|value| decode_words(value));
    }
    pieces.sort_by_key(|(number, ..)| *number);
    Some(join(&pieces))
}

fn join(pieces: &[(u32, bool, &[u8])]) -> String {
    let mut charset: Cow<'_, [u8]> = Cow::Borrowed(b"utf-8");
    let mut octets = Vec::new();
    for (index, (_, encoded, value)) in pieces.iter().enumerate() {
        let mut value = *value;
        if !encoded {
            octets.extend_from_slice(value);
            continue;
        }
        let mut marks = memchr::memchr_iter(b'\'', value);
        if let (0, Some(first), Some(second)) = (index, marks.next(), marks.next()) {
            charset = Cow::Borrowed(&value[..first]);
            value = &value[second + 1..];
        }
        percent_decode(value, &mut octets);
    }
    decode_charset(&charset, &octets).into_owned()
}

fn percent_decode(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default());
                rest = tail;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests;
