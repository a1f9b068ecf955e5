//! ENVELOPE.

use crate::mime::address::{self, Entry};
use crate::mime::header::{fields, unfold};
use crate::response::{nstring, string};

/// No value is longer than this in an envelope: hostile mail must not fill the store with copies of itself.
const LONGEST_VALUE: usize = 65_536;

const NAMES: [&str; 10] = [
    "date",
    "subject",
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "in-reply-to",
    "message-id",
];

/// The envelope of a header block (what follows its empty line does not matter). Of fields that occur more than once,
/// the first counts.
pub(super) fn write(out: &mut Vec<u8>, header: &[u8]) {
    let mut found: [Option<&[u8]>; NAMES.len()] = [None; NAMES.len()];
    for field in fields(header) {
        let place = NAMES.iter().position(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        if let Some(slot) = place.map(|place| &mut found[place]) {
            slot.get_or_insert(field.value);
        }
    }
    let [date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id] =
        found.map(|value| value.map(|value| &value[..value.len().min(LONGEST_VALUE)]));
    let mut from_list = Vec::new();
    write_addresses(&mut from_list, from);
    out.push(b'(');
    write_text(out, date);
    out.push(b' ');
    write_text(out, subject);
    out.push(b' ');
    out.extend_from_slice(&from_list);
    for value in [sender, reply_to] {
        out.push(b' ');
        let start = out.len();
        write_addresses(out, value);
        // RFC 9051 §7.5.2: absent or empty, they are as From.
        if &out[start..] == b"NIL" {
            out.truncate(start);
            out.extend_from_slice(&from_list);
        }
    }
    for value in [to, cc, bcc] {
        out.push(b' ');
        write_addresses(out, value);
    }
    for value in [in_reply_to, message_id] {
        out.push(b' ');
        write_text(out, value);
    }
    out.push(b')');
}

/// An absent field is NIL, an empty one is the empty string.
fn write_text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    nstring(out, value.map(unfold).as_deref());
}

/// `(` addresses `)`, or NIL for none.
fn write_addresses(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let entries = value.map(address::parse).unwrap_or_default();
    if entries.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for entry in entries {
        match entry {
            Entry::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                string(out, &name);
                out.extend_from_slice(b" NIL)");
            }
            Entry::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
            Entry::Address(address) => {
                out.push(b'(');
                nstring(out, address.name.as_deref());
                out.push(b' ');
                nstring(out, address.route.as_deref());
                out.push(b' ');
                string(out, &address.mailbox);
                out.push(b' ');
                string(out, &address.host);
                out.push(b')');
            }
        }
    }
    out.push(b')');
}
