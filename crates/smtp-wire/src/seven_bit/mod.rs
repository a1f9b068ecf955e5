//! Makes a message fit for servers that take 7-bit lines only, without changing what it says.
//!
//! Parts with octets above 127, with lines that are too long, or with broken line ends get a transfer encoding
//! (RFC 2045 §6): quoted-printable where most of it reads as text, else base64. Non-ASCII subjects, descriptions and
//! display names become encoded words (RFC 2047). Everything else stays octet for octet.
//!
//! Not every message can be helped: an address with non-ASCII characters has no other form, and what is inside
//! `multipart/signed` must not be touched (RFC 1847 §2.1). Converting breaks DKIM signatures over the body: it is for
//! mail of one's own, which is signed afterwards, and never for mail that is passed on.

mod encode;
mod words;

use std::borrow::Cow;

use crate::header::{self, Edit};

use encode::{base64, quoted_printable};
use words::{Encoded, encode_field};

/// How deep parts may be nested before it is given up.
const DEPTH: usize = 50;
/// Longest line that every server takes, without CRLF (RFC 5321 §4.5.3.1.6).
const LINE: usize = 998;

/// The message in 7-bit form; itself if it needs no change. `None` if it cannot be had.
pub fn seven_bit(message: &[u8]) -> Option<Cow<'_, [u8]>> {
    if is_seven_bit(message) {
        return Some(Cow::Borrowed(message));
    }
    let converted = entity(message, Kind::default(), DEPTH)?;
    is_seven_bit(&converted).then_some(Cow::Owned(converted))
}

/// ASCII in lines with CRLF that are short enough, without NUL (RFC 2045 §2.7).
pub fn is_seven_bit(content: &[u8]) -> bool {
    content.is_ascii()
        && !content.contains(&0)
        && !crate::data::has_bare_newline(content)
        && content.split(|byte| *byte == b'\n').all(|line| line.len() <= LINE + 1)
}

/// What a part is when it does not say (RFC 2045 §5.2, RFC 2046 §5.1.5).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Text,
    Message,
}

/// What a part's header says about its body.
enum Content {
    Text,
    Other,
    Message,
    Multipart { boundary: Vec<u8>, inside: Kind },
    Untouchable,
}

/// A message, or a part of one: header section and body.
fn entity(whole: &[u8], kind: Kind, depth: usize) -> Option<Vec<u8>> {
    if is_seven_bit(whole) {
        return Some(whole.to_vec());
    }
    let depth = depth.checked_sub(1)?;
    let (head, body) = whole.split_at(header::body_start(whole));
    let (body, encoding) = convert(head, body, kind, depth)?;
    let mut out = head_with(head, encoding)?;
    out.extend_from_slice(&body);
    Some(out)
}

/// The body, and the transfer encoding that its header must name now.
fn convert(
    head: &[u8],
    body: &[u8],
    kind: Kind,
    depth: usize,
) -> Option<(Vec<u8>, Option<&'static str>)> {
    if is_seven_bit(body) {
        return Some((body.to_vec(), None));
    }
    match content(head, kind) {
        Content::Multipart { boundary, inside } => {
            Some((multipart(body, &boundary, inside, depth)?, Some("7bit")))
        }
        Content::Message => Some((entity(body, Kind::Text, depth)?, Some("7bit"))),
        Content::Untouchable => None,
        Content::Text | Content::Other if is_encoded(head) => None,
        Content::Text if reads_as_text(body) => {
            Some((quoted_printable(body), Some("quoted-printable")))
        }
        Content::Text | Content::Other => Some((base64(body), Some("base64"))),
    }
}

/// Lines whose octets are for the larger part ASCII: quoted-printable is shorter, and people can read it.
fn reads_as_text(body: &[u8]) -> bool {
    let high = body.iter().filter(|byte| !byte.is_ascii()).count();
    high <= body.len() / 3 && !crate::data::has_bare_newline(body) && !body.contains(&0)
}

/// Octets above 127 within an encoding that has none: nobody knows what is meant.
fn is_encoded(head: &[u8]) -> bool {
    header::find(head, "Content-Transfer-Encoding").is_some_and(|field| {
        let value = field.value().to_ascii_lowercase();
        value.starts_with(b"base64") || value.starts_with(b"quoted-printable")
    })
}

fn content(head: &[u8], kind: Kind) -> Content {
    let Some(field) = header::find(head, "Content-Type") else {
        return if kind == Kind::Message { Content::Message } else { Content::Text };
    };
    let value = field.value();
    let name = value.split(|byte| *byte == b';').next().unwrap_or_default();
    let name = name.trim_ascii().to_ascii_lowercase();
    if name.starts_with(b"multipart/signed") || name.starts_with(b"multipart/encrypted") {
        return Content::Untouchable;
    }
    if name.starts_with(b"multipart/") {
        let inside = if name == b"multipart/digest" { Kind::Message } else { Kind::Text };
        return match parameter(&value, b"boundary") {
            Some(boundary) => Content::Multipart { boundary, inside },
            None => Content::Untouchable,
        };
    }
    match name.as_slice() {
        b"message/rfc822" | b"message/global" => Content::Message,
        // They must not be encoded (RFC 2046 §5.2), and have no parts either.
        name if name.starts_with(b"message/") && !name.starts_with(b"message/global") => {
            Content::Untouchable
        }
        name if name.starts_with(b"text/") => Content::Text,
        _ => Content::Other,
    }
}

/// A parameter of a structured field.
pub(crate) fn parameter(value: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    loop {
        rest = rest.get(unquoted_end(rest)?..)?;
        let end = unquoted_end(rest).map_or(rest.len(), |end| end - 1);
        let (name, text) = split_once(rest.get(..end)?, b'=')?;
        if name.trim_ascii().eq_ignore_ascii_case(wanted) {
            let text = text.trim_ascii();
            let bare = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
            let text = bare.unwrap_or(text);
            return (!text.is_empty()).then(|| text.to_vec());
        }
    }
}

/// Behind the first semicolon that is not quoted.
fn unquoted_end(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b';' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// Each part by itself; the delimiters, and what stands before and behind them, as they are.
fn multipart(body: &[u8], boundary: &[u8], inside: Kind, depth: usize) -> Option<Vec<u8>> {
    let delimiter = [b"--", boundary].concat();
    let mut out = Vec::with_capacity(body.len() + body.len() / 8);
    let (mut part, mut within) = (0, false);
    let mut at = 0;
    while at < body.len() {
        let line_end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |end| at + end + 1);
        let line = &body[at..line_end];
        if line.starts_with(&delimiter) {
            // The CRLF before a delimiter belongs to it (RFC 2046 §5.1.1).
            let end = if body[..at].ends_with(b"\r\n") { at - 2 } else { at };
            let (content, crlf) = (body.get(part..end.max(part))?, &body[end.max(part)..at]);
            push(content, within, inside, depth, &mut out)?;
            out.extend_from_slice(crlf);
            out.extend_from_slice(line);
            within = !line[delimiter.len()..].starts_with(b"--");
            part = line_end;
        }
        at = line_end;
    }
    push(body.get(part..)?, within, inside, depth, &mut out)?;
    Some(out)
}

fn push(part: &[u8], within: bool, kind: Kind, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    match within {
        true => out.extend_from_slice(&entity(part, kind, depth)?),
        // Nobody reads what stands outside of all parts.
        false if is_seven_bit(part) => out.extend_from_slice(part),
        false => {}
    }
    Some(())
}

/// The header with this encoding in place of the one that it names, and without octets above 127.
fn head_with(head: &[u8], encoding: Option<&'static str>) -> Option<Vec<u8>> {
    let mut possible = true;
    let mut named = false;
    let edited = header::edit(head, |field| {
        if let (Some(encoding), true) = (encoding, field.is("Content-Transfer-Encoding")) {
            named = true;
            return Edit::Replace(
                format!("Content-Transfer-Encoding: {encoding}\r\n").into_bytes(),
            );
        }
        match encode_field(field) {
            Encoded::Same => Edit::Keep,
            Encoded::As(field) => Edit::Replace(field),
            Encoded::Impossible => {
                possible = false;
                Edit::Keep
            }
        }
    });
    if !possible {
        return None;
    }
    let mut out = edited.into_owned();
    if let (Some(encoding), false) = (encoding, named) {
        let at = header::section_length(&out);
        let mut field = format!("Content-Transfer-Encoding: {encoding}\r\n").into_bytes();
        if at == out.len() {
            field.extend_from_slice(b"\r\n");
        }
        out.splice(at..at, field);
    }
    Some(out)
}

#[cfg(test)]
mod tests;
