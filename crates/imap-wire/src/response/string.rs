//! Strings on the wire: quoted where that is safe, literals otherwise (RFC 9051 §4.3).

use super::put;
use crate::mailbox_name::{self, NameForm};
use crate::scan::is_astring_char;

/// Longer strings become literals: some clients have small line buffers.
const LONGEST_QUOTED: usize = 1000;

/// Whether the octets may stand in a quoted string. 8-bit octets may not, even though IMAP4rev2 allows UTF-8: what is
/// written here fits sessions of either revision.
pub fn is_quotable(octets: &[u8]) -> bool {
    octets.len() <= LONGEST_QUOTED
        && octets.iter().all(|octet| (0x20..0x7f).contains(octet) || *octet == b'\t')
}

/// `string`: quoted, or a literal for what a quoted string cannot hold. NUL, which neither may hold, is left out.
pub fn string(out: &mut Vec<u8>, octets: &[u8]) {
    if is_quotable(octets) {
        quoted(out, octets);
    } else if octets.contains(&0) {
        let clean: Vec<u8> = octets.iter().copied().filter(|octet| *octet != 0).collect();
        literal(out, &clean);
    } else {
        literal(out, octets);
    }
}

fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    for &octet in octets {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// `nstring`: NIL for `None`.
pub fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `astring`: an atom where it can be one.
pub fn astring(out: &mut Vec<u8>, octets: &[u8]) {
    let atom = !octets.is_empty() && octets.iter().all(|octet| is_astring_char(*octet));
    if atom && !octets.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(octets);
    } else {
        string(out, octets);
    }
}

/// `{n}` CRLF and the octets, exactly. A message that holds NUL goes out as it is: nothing else is true to it.
pub fn literal(out: &mut Vec<u8>, octets: &[u8]) {
    put(out, format_args!("{{{}}}\r\n", octets.len()));
    out.extend_from_slice(octets);
}

/// `~{n}` CRLF and the octets (RFC 3516), for BINARY with NUL.
pub fn literal8(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'~');
    literal(out, octets);
}

/// A mailbox name in the session's form: modified UTF-7 as an astring, or UTF-8, which may stand in quotes then
/// (RFC 9051 §9 `QUOTED-CHAR`).
pub fn mailbox(out: &mut Vec<u8>, name: &str, form: NameForm) {
    let wire = mailbox_name::encode(name, form);
    let quotable = wire.chars().all(|c| !c.is_control()) && wire.len() <= LONGEST_QUOTED;
    if !wire.is_ascii() && quotable {
        quoted(out, wire.as_bytes());
    } else {
        astring(out, wire.as_bytes());
    }
}
