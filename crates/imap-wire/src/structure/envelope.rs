//! ENVELOPE.

use crate::mime::address::{self, Entry};
use crate::mime::header::unfold;
use crate::response::{nstring, string};

/// The envelope of the raw values of its fields, in its order. Of fields that occur more than once, the first counts.
pub(super) fn write(out: &mut Vec<u8>, values: [Option<&[u8]>; 10]) {
    let [date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id] = values;
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
