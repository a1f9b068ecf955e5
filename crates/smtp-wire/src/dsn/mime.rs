//! As much of MIME as a report needs: its own parts, one after the other, decoded.
//!
//! Parts of parts are never looked at, so no nesting costs anything. (A parser of whole messages builds a tree of them,
//! and taking a tree of ten thousand floors down again takes a stack as deep.)

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use memchr::memchr;

use crate::header;
use crate::seven_bit::parameter;

/// The boundary of a `multipart/report` about deliveries; `None` for any other message.
pub(super) fn report_boundary(message: &[u8]) -> Option<Vec<u8>> {
    let field = header::find(message, "Content-Type")?;
    let value = field.value();
    if kind(&value) != "multipart/report" {
        return None;
    }
    // Without a type the parts tell; reports of another type are about something else.
    let about = parameter(&value, b"report-type");
    if about.is_some_and(|about| !about.eq_ignore_ascii_case(b"delivery-status")) {
        return None;
    }
    parameter(&value, b"boundary")
}

/// The parts between the delimiters. One that is cut off counts as well.
pub(super) fn parts<'m>(body: &'m [u8], boundary: &[u8]) -> impl Iterator<Item = &'m [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = Some(body);
    let mut next = move || {
        let (part, behind) = until_delimiter(rest?, &delimiter);
        rest = behind;
        Some(part)
    };
    // What stands before the first delimiter is nobody's.
    let _ = next();
    std::iter::from_fn(next)
}

/// What stands before the next delimiter, and what stands behind it; `None` behind the last one, or if there is none.
fn until_delimiter<'m>(text: &'m [u8], delimiter: &[u8]) -> (&'m [u8], Option<&'m [u8]>) {
    let mut at = 0;
    while at < text.len() {
        let end = memchr(b'\n', &text[at..]).map_or(text.len(), |lf| at + lf + 1);
        // White space may follow (RFC 2046 §5.1.1); anything else makes it another, longer boundary.
        if let Some(tail) = text[at..end].strip_prefix(delimiter) {
            let last = tail.starts_with(b"--");
            if last || tail.trim_ascii().is_empty() {
                return (&text[..at], (!last).then_some(&text[end..]));
            }
        }
        at = end;
    }
    (text, None)
}

/// The type of a part in lower case, and its content without transfer encoding. What cannot be decoded is empty.
pub(super) fn open(part: &[u8]) -> (String, Cow<'_, [u8]>) {
    let (head, body) = part.split_at(header::body_start(part));
    let kind = header::find(head, "Content-Type").map(|field| kind(&field.value()));
    let encoding = header::find(head, "Content-Transfer-Encoding");
    let encoding = encoding.map(|field| field.value().to_ascii_lowercase()).unwrap_or_default();
    let content = match encoding.as_slice() {
        b"base64" => Cow::Owned(base64_decode(body).unwrap_or_default()),
        b"quoted-printable" => Cow::Owned(quoted_printable_decode(body).unwrap_or_default()),
        _ => Cow::Borrowed(body),
    };
    (kind.unwrap_or_default(), content)
}

/// The type without its parameters, in lower case.
fn kind(value: &[u8]) -> String {
    let name = value.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()
}
