//! FETCH responses (RFC 9051 §7.5.2), item by item.

use super::{astring, flags, literal, literal8, nstring, put};
use crate::date::InternalDate;
use crate::flag::Flag;
use crate::section::{Partial, Section, SectionText};

/// The octets of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyOctets<'a> {
    /// There is no such part: NIL.
    Missing,
    /// These.
    Octets(&'a [u8]),
    /// That many: the caller appends them itself right after, for large bodies.
    Following(u64),
}

/// How a response names its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageName {
    /// By its sequence number: FETCH.
    Number(u32),
    /// By its UID: UIDFETCH (RFC 9586).
    Uid(u32),
}

impl From<u32> for MessageName {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

/// One FETCH response under construction. The buffer is handed in each time, so that a caller can send what it holds
/// between two items.
#[derive(Debug)]
#[must_use = "a response needs finish()"]
pub struct FetchResponse {
    first: bool,
}

impl FetchResponse {
    /// `* number FETCH (`, or `* uid UIDFETCH (`
    pub fn begin(out: &mut Vec<u8>, name: impl Into<MessageName>) -> Self {
        match name.into() {
            MessageName::Number(number) => put(out, format_args!("* {number} FETCH (")),
            MessageName::Uid(uid) => put(out, format_args!("* {uid} UIDFETCH (")),
        }
        Self { first: true }
    }

    /// `)`; a response without items is still well-formed enough for every known client, but should not be sent.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b")\r\n");
    }

    fn item(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.first) {
            out.push(b' ');
        }
    }

    /// UID
    pub fn uid(&mut self, out: &mut Vec<u8>, uid: u32) {
        self.item(out);
        put(out, format_args!("UID {uid}"));
    }

    /// FLAGS
    pub fn flags<'f>(&mut self, out: &mut Vec<u8>, list: impl IntoIterator<Item = &'f Flag>) {
        self.item(out);
        out.extend_from_slice(b"FLAGS ");
        flags(out, list);
    }

    /// MODSEQ
    pub fn modseq(&mut self, out: &mut Vec<u8>, modseq: u64) {
        self.item(out);
        put(out, format_args!("MODSEQ ({modseq})"));
    }

    /// EMAILID (RFC 8474)
    pub fn email_id(&mut self, out: &mut Vec<u8>, id: &str) {
        self.item(out);
        put(out, format_args!("EMAILID ({id})"));
    }

    /// THREADID (RFC 8474); NIL without an id.
    pub fn thread_id(&mut self, out: &mut Vec<u8>, id: Option<&str>) {
        self.item(out);
        match id {
            Some(id) => put(out, format_args!("THREADID ({id})")),
            None => out.extend_from_slice(b"THREADID NIL"),
        }
    }

    /// SAVEDATE (RFC 8514)
    pub fn save_date(&mut self, out: &mut Vec<u8>, date: InternalDate) {
        self.item(out);
        put(out, format_args!("SAVEDATE \"{date}\""));
    }

    /// PREVIEW (RFC 8970); empty for a message that has no text.
    pub fn preview(&mut self, out: &mut Vec<u8>, text: &str) {
        self.item(out);
        out.extend_from_slice(b"PREVIEW ");
        nstring(out, Some(text.as_bytes()));
    }

    /// INTERNALDATE
    pub fn internal_date(&mut self, out: &mut Vec<u8>, date: InternalDate) {
        self.item(out);
        put(out, format_args!("INTERNALDATE \"{date}\""));
    }

    /// RFC822.SIZE, in octets.
    pub fn size(&mut self, out: &mut Vec<u8>, size: u64) {
        self.item(out);
        put(out, format_args!("RFC822.SIZE {size}"));
    }

    /// ENVELOPE, as [`crate::structure::envelope`] wrote it.
    pub fn envelope(&mut self, out: &mut Vec<u8>, stored: &[u8]) {
        self.stored(out, "ENVELOPE ", stored);
    }

    /// BODY, as [`crate::structure::body`] wrote it.
    pub fn body(&mut self, out: &mut Vec<u8>, stored: &[u8]) {
        self.stored(out, "BODY ", stored);
    }

    /// BODYSTRUCTURE, as [`crate::structure::body_structure`] wrote it.
    pub fn body_structure(&mut self, out: &mut Vec<u8>, stored: &[u8]) {
        self.stored(out, "BODYSTRUCTURE ", stored);
    }

    fn stored(&mut self, out: &mut Vec<u8>, name: &str, stored: &[u8]) {
        self.item(out);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(stored);
    }

    /// RFC822, RFC822.HEADER or RFC822.TEXT, whichever `name` says; always a literal.
    pub fn rfc822(&mut self, out: &mut Vec<u8>, name: &'static str, octets: BodyOctets<'_>) {
        self.item(out);
        put(out, format_args!("{name} "));
        put_octets(out, octets);
    }

    /// `BODY[section]<origin>`. The octets are already cut; `partial` only tells the origin.
    pub fn section(
        &mut self,
        out: &mut Vec<u8>,
        section: &Section,
        partial: Option<Partial>,
        octets: BodyOctets<'_>,
    ) {
        self.item(out);
        out.extend_from_slice(b"BODY[");
        put_section(out, section);
        out.push(b']');
        put_origin(out, partial);
        put_octets(out, octets);
    }

    /// `BINARY[part]<origin>`: a literal, or literal8 if there is a NUL (RFC 3516 §4.2); NIL for no such part.
    pub fn binary(
        &mut self,
        out: &mut Vec<u8>,
        part: &[u32],
        partial: Option<Partial>,
        octets: Option<&[u8]>,
    ) {
        self.item(out);
        out.extend_from_slice(b"BINARY[");
        put_path(out, part);
        out.push(b']');
        put_origin(out, partial);
        match octets {
            Some(octets) if octets.contains(&0) => literal8(out, octets),
            Some(octets) => literal(out, octets),
            None => nstring(out, None),
        }
    }

    /// The head of `BINARY[part]<origin>` for a large part: the caller appends that many octets right after, among which
    /// `nul` says that there is a NUL.
    pub fn binary_following(
        &mut self,
        out: &mut Vec<u8>,
        part: &[u32],
        partial: Option<Partial>,
        count: u64,
        nul: bool,
    ) {
        self.item(out);
        out.extend_from_slice(b"BINARY[");
        put_path(out, part);
        out.push(b']');
        put_origin(out, partial);
        let tilde = if nul { "~" } else { "" };
        put(out, format_args!("{tilde}{{{count}}}\r\n"));
    }

    /// `BINARY.SIZE[part]`: octets of the decoded part.
    pub fn binary_size(&mut self, out: &mut Vec<u8>, part: &[u32], size: u64) {
        self.item(out);
        out.extend_from_slice(b"BINARY.SIZE[");
        put_path(out, part);
        put(out, format_args!("] {size}"));
    }
}

fn put_origin(out: &mut Vec<u8>, partial: Option<Partial>) {
    match partial {
        Some(partial) => put(out, format_args!("<{}> ", partial.offset)),
        None => out.push(b' '),
    }
}

fn put_octets(out: &mut Vec<u8>, octets: BodyOctets<'_>) {
    match octets {
        BodyOctets::Missing => nstring(out, None),
        BodyOctets::Octets(octets) => literal(out, octets),
        BodyOctets::Following(count) => put(out, format_args!("{{{count}}}\r\n")),
    }
}

fn put_path(out: &mut Vec<u8>, part: &[u32]) {
    for (index, number) in part.iter().enumerate() {
        put(out, format_args!("{}{number}", if index == 0 { "" } else { "." }));
    }
}

fn put_section(out: &mut Vec<u8>, section: &Section) {
    put_path(out, &section.part);
    let (name, fields): (&str, &[String]) = match &section.text {
        SectionText::Whole => return,
        SectionText::Header => ("HEADER", &[]),
        SectionText::Text => ("TEXT", &[]),
        SectionText::Mime => ("MIME", &[]),
        SectionText::HeaderFields(fields) => ("HEADER.FIELDS", fields),
        SectionText::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT", fields),
    };
    if !section.part.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(name.as_bytes());
    for (index, field) in fields.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        astring(out, field.as_bytes());
    }
    if !fields.is_empty() {
        out.push(b')');
    }
}
