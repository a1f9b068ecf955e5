//! Responses to a client (RFC 9051 §7), written into a buffer of octets.
//!
//! Every function appends whole, well-formed responses or parts of them; no text can carry a CR or LF into the
//! stream. The functions take plain data: what to answer is decided elsewhere.

mod account;
mod code;
mod context;
mod fetch;
mod list;
mod string;

pub use account::{
    QuotaResource, acl, language, list_rights, metadata, metadata_changed, my_rights, quota,
    quota_root,
};
pub use code::Code;
pub use context::{ContextChange, Correlator, context};
pub use fetch::{BodyOctets, FetchResponse, MessageName};
pub use list::{
    Esearch, ListAttribute, ListKind, ListResponse, Numbers, enabled, esearch, esearch_in, id,
    list, mailbox_id, namespace, search, sort, status, thread,
};
pub use string::{astring, is_quotable, literal, literal8, mailbox, nstring, string};

use crate::flag::Flag;
use crate::sequence::NumberSet;
use std::io::Write as _;

/// The kind of a status response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Success; untagged: information.
    Ok,
    /// Failure; untagged: a warning.
    No,
    /// A client's error.
    Bad,
    /// The connection ends; untagged only.
    Bye,
    /// The greeting of a session that is authenticated already; untagged only.
    PreAuth,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
            Self::PreAuth => "PREAUTH",
        }
    }
}

/// Appends formatted ASCII; writing to a `Vec` does not fail.
pub(crate) fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// A status response: `tag OK [CODE] text`, with `*` for no tag. The text is made harmless: controls and what is not
/// ASCII become `?`, and there is always some.
pub fn status_line(
    out: &mut Vec<u8>,
    tag: Option<&str>,
    status: Status,
    code: Option<&Code>,
    text: &str,
) {
    put_tag(out, tag);
    put(out, format_args!("{} ", status.as_str()));
    if let Some(code) = code {
        out.push(b'[');
        code.write(out);
        out.extend_from_slice(b"] ");
    }
    put_text(out, text, code.is_none());
    out.extend_from_slice(b"\r\n");
}

/// A tag as the reader gave it; anything else in it becomes `?`.
fn put_tag(out: &mut Vec<u8>, tag: Option<&str>) {
    out.extend(
        tag.unwrap_or("*").bytes().map(|octet| if octet.is_ascii_graphic() { octet } else { b'?' }),
    );
    out.push(b' ');
}

fn put_text(out: &mut Vec<u8>, text: &str, may_be_mistaken_for_code: bool) {
    if text.is_empty() {
        out.push(b'-');
    }
    if may_be_mistaken_for_code && text.starts_with('[') {
        out.push(b'-');
    }
    out.extend(text.chars().map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' }));
}

/// `+ text`: go on. The text may be base64 of SASL; it is made harmless like any other.
pub fn continuation(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"+ ");
    out.extend(text.bytes().map(|octet| if matches!(octet, b' '..=b'~') { octet } else { b'?' }));
    out.extend_from_slice(b"\r\n");
}

/// `* CAPABILITY …`
pub fn capability<S: AsRef<str>>(out: &mut Vec<u8>, names: &[S]) {
    out.extend_from_slice(b"* CAPABILITY");
    for name in names {
        out.push(b' ');
        put_atom(out, name.as_ref());
    }
    out.extend_from_slice(b"\r\n");
}

/// An atom-like word; octets that could end it or the line become `?`.
pub(crate) fn put_atom(out: &mut Vec<u8>, word: &str) {
    out.extend(word.bytes().map(|octet| if octet.is_ascii_graphic() { octet } else { b'?' }));
}

/// `* n EXISTS`
pub fn exists(out: &mut Vec<u8>, count: u32) {
    put(out, format_args!("* {count} EXISTS\r\n"));
}

/// `* n RECENT` (IMAP4rev1)
pub fn recent(out: &mut Vec<u8>, count: u32) {
    put(out, format_args!("* {count} RECENT\r\n"));
}

/// `* n EXPUNGE`
pub fn expunge(out: &mut Vec<u8>, number: u32) {
    put(out, format_args!("* {number} EXPUNGE\r\n"));
}

/// `* VANISHED (EARLIER) uids` or without EARLIER (RFC 7162 §3.2.10). Nothing for an empty set.
pub fn vanished(out: &mut Vec<u8>, earlier: bool, uids: &NumberSet) {
    if !uids.is_empty() {
        put(out, format_args!("* VANISHED {}{uids}\r\n", if earlier { "(EARLIER) " } else { "" }));
    }
}

/// `(\Seen $x)`
pub fn flags<'f>(out: &mut Vec<u8>, flags: impl IntoIterator<Item = &'f Flag>) {
    put_flags(out, flags, false);
}

/// A flag list, with `\*` at its end if `any`.
pub(crate) fn put_flags<'f>(
    out: &mut Vec<u8>,
    flags: impl IntoIterator<Item = &'f Flag>,
    any: bool,
) {
    out.push(b'(');
    let start = out.len();
    for flag in flags {
        if out.len() > start {
            out.push(b' ');
        }
        put_atom(out, &flag.to_string());
    }
    if any {
        out.extend_from_slice(if out.len() > start { b" \\*" } else { b"\\*" });
    }
    out.push(b')');
}

/// `* FLAGS (…)`
pub fn flags_line<'f>(out: &mut Vec<u8>, list: impl IntoIterator<Item = &'f Flag>) {
    out.extend_from_slice(b"* FLAGS ");
    flags(out, list);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod more_tests;
#[cfg(test)]
mod tests;
