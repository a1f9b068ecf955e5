//! Pieces of a message, byte-exact: `BODY[…]` and `BINARY[…]` (RFC 9051 §6.4.5, RFC 3516).

use crate::mime::encoding::TransferEncoding;
use crate::mime::header::{fields, find, header_length};
use crate::mime::{Part, PartKind, Tree};
use std::borrow::Cow;
use std::ops::Range;

/// A section specification: what stands in the brackets of `BODY[…]`. The default is the whole message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// The part's path; empty for the message.
    pub part: Vec<u32>,
    /// What of it.
    pub text: SectionText,
}

/// What of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SectionText {
    /// All: the message with its header, or a part's body without its header.
    #[default]
    Whole,
    /// HEADER: of the message, or of the message in a message/rfc822 part; with the empty line.
    Header,
    /// HEADER.FIELDS: only these fields.
    HeaderFields(Vec<String>),
    /// HEADER.FIELDS.NOT: all but these.
    HeaderFieldsNot(Vec<String>),
    /// TEXT: the body of the message, or of the message in a message/rfc822 part.
    Text,
    /// MIME: the part's own header; never without a path.
    Mime,
}

/// `<offset.length>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The first octet wanted.
    pub offset: u64,
    /// At most that many; not zero.
    pub length: u64,
}

impl Partial {
    /// What of a stretch of octets is wanted; empty beyond its end (RFC 9051 §6.4.5).
    pub fn within(self, range: Range<u64>) -> Range<u64> {
        let bound = |value: u64| range.start.saturating_add(value).min(range.end);
        bound(self.offset)..bound(self.offset.saturating_add(self.length))
    }

    /// The octets wanted; empty beyond the end (RFC 9051 §6.4.5).
    pub fn of(self, octets: &[u8]) -> &[u8] {
        let bound = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).min(octets.len());
        &octets[bound(self.offset)..bound(self.offset.saturating_add(self.length))]
    }
}

impl Section {
    /// Whether it can be answered from the message's header block alone: then that is enough to hand to [`section`].
    pub fn is_header_only(&self) -> bool {
        self.part.is_empty()
            && matches!(
                self.text,
                SectionText::Header
                    | SectionText::HeaderFields(_)
                    | SectionText::HeaderFieldsNot(_)
            )
    }
}

/// The piece of a message. `None` if there is no such part, or HEADER or TEXT is asked of a part that is no message:
/// answer NIL. A piece of the message as it stands is borrowed; only a choice of fields is copied.
pub fn section<'a>(message: &'a [u8], section: &Section) -> Option<Cow<'a, [u8]>> {
    if section.part.is_empty() {
        // No need to look for parts.
        let (header, body) = message.split_at(header_length(message));
        return match &section.text {
            SectionText::Whole => Some(Cow::Borrowed(message)),
            SectionText::Mime => None,
            text => Some(of_message(header, body, text)),
        };
    }
    section_of(&Tree::parse(message), section)
}

/// As [`section`], of a message that was taken apart already.
pub fn section_of<'a>(tree: &Tree<'a>, section: &Section) -> Option<Cow<'a, [u8]>> {
    if section.part.is_empty() {
        return self::section(tree.message(), section);
    }
    let part = tree.locate(&section.part)?;
    match (&section.text, &part.kind) {
        (SectionText::Whole, _) => Some(Cow::Borrowed(tree.body(part))),
        (SectionText::Mime, _) => Some(Cow::Borrowed(tree.header(part))),
        (text, PartKind::Message(inner)) => {
            let inner = &tree.parts()[*inner];
            Some(of_message(tree.header(inner), tree.body(inner), text))
        }
        _ => None,
    }
}

/// The chosen fields of a header block, where the section is a choice; `None` for any other section.
pub fn chosen(header: &[u8], text: &SectionText) -> Option<Vec<u8>> {
    match text {
        SectionText::HeaderFields(names) => Some(choose(header, names, true)),
        SectionText::HeaderFieldsNot(names) => Some(choose(header, names, false)),
        _ => None,
    }
}

fn of_message<'a>(header: &'a [u8], body: &'a [u8], text: &SectionText) -> Cow<'a, [u8]> {
    match text {
        SectionText::HeaderFields(names) => Cow::Owned(choose(header, names, true)),
        SectionText::HeaderFieldsNot(names) => Cow::Owned(choose(header, names, false)),
        SectionText::Text => Cow::Borrowed(body),
        SectionText::Header | SectionText::Whole | SectionText::Mime => Cow::Borrowed(header),
    }
}

/// Fields as they stand, and an empty line.
fn choose(header: &[u8], names: &[String], wanted: bool) -> Vec<u8> {
    let mut out = Vec::new();
    // Both may be many: thousands of names times all fields of a hostile header would take minutes.
    let mut names: Vec<Vec<u8>> =
        names.iter().map(|name| name.as_bytes().to_ascii_lowercase()).collect();
    names.sort_unstable();
    for field in fields(header) {
        let lower = || field.name.iter().map(u8::to_ascii_lowercase);
        let named = names.binary_search_by(|name| name.iter().copied().cmp(lower())).is_ok();
        if named == wanted {
            out.extend_from_slice(field.raw);
        }
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The part's transfer encoding is not known: answer NO `[UNKNOWN-CTE]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transfer encoding is not known")]
pub struct UnknownEncoding;

/// `BINARY[part]`: the part with its transfer encoding undone; the whole message for an empty path. `None` if there
/// is no such part. Multiparts and messages have no encoding of their own and come as they stand.
pub fn binary<'a>(
    message: &'a [u8],
    part: &[u32],
) -> Option<Result<Cow<'a, [u8]>, UnknownEncoding>> {
    binary_of(&Tree::parse(message), part)
}

/// As [`binary`], of a message that was taken apart already.
pub fn binary_of<'a>(
    tree: &Tree<'a>,
    part: &[u32],
) -> Option<Result<Cow<'a, [u8]>, UnknownEncoding>> {
    if part.is_empty() {
        return Some(Ok(Cow::Borrowed(tree.message())));
    }
    let part = tree.locate(part)?;
    Some(encoding_of(tree, part).map(|encoding| encoding.decode(tree.body(part))))
}

/// Whether [`binary_of`] will fail; nothing is decoded for that.
pub fn check_binary(tree: &Tree<'_>, part: &[u32]) -> Result<(), UnknownEncoding> {
    match tree.locate(part) {
        Some(part) => encoding_of(tree, part).map(|_| ()),
        None => Ok(()),
    }
}

fn encoding_of(tree: &Tree<'_>, part: &Part) -> Result<TransferEncoding, UnknownEncoding> {
    if part.kind != PartKind::Leaf {
        return Ok(TransferEncoding::Identity);
    }
    match TransferEncoding::parse(find(tree.header(part), "Content-Transfer-Encoding")) {
        TransferEncoding::Unknown => Err(UnknownEncoding),
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests;
