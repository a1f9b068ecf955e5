//! QUOTA (RFC 9208), ACL (RFC 4314), METADATA (RFC 5464) and LANGUAGE (RFC 5255) responses.

use super::{astring, literal8, nstring, put, string};
use crate::mailbox_name::NameForm;

/// A limit and what of it is used: `STORAGE` in units of 1,024 octets, `MESSAGE` in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaResource {
    /// Its name.
    pub name: &'static str,
    /// How much is used.
    pub used: u64,
    /// How much may be.
    pub limit: u64,
}

/// `* QUOTA root (STORAGE 10 512)`; at least one resource.
pub fn quota(out: &mut Vec<u8>, root: &str, resources: &[QuotaResource]) {
    out.extend_from_slice(b"* QUOTA ");
    string(out, root.as_bytes());
    out.extend_from_slice(b" (");
    for (index, QuotaResource { name, used, limit }) in resources.iter().enumerate() {
        put(out, format_args!("{}{name} {used} {limit}", if index == 0 { "" } else { " " }));
    }
    out.extend_from_slice(b")\r\n");
}

/// `* QUOTAROOT mailbox root …`
pub fn quota_root(out: &mut Vec<u8>, mailbox: &str, form: NameForm, roots: &[&str]) {
    out.extend_from_slice(b"* QUOTAROOT ");
    super::mailbox(out, mailbox, form);
    for root in roots {
        out.push(b' ');
        string(out, root.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// `* ACL mailbox identifier rights`
pub fn acl(out: &mut Vec<u8>, mailbox: &str, form: NameForm, identifier: &str, rights: &str) {
    out.extend_from_slice(b"* ACL ");
    super::mailbox(out, mailbox, form);
    out.push(b' ');
    astring(out, identifier.as_bytes());
    put(out, format_args!(" {rights}\r\n"));
}

/// `* LISTRIGHTS mailbox identifier required optional …`
pub fn list_rights(
    out: &mut Vec<u8>,
    mailbox: &str,
    form: NameForm,
    identifier: &str,
    required: &str,
) {
    out.extend_from_slice(b"* LISTRIGHTS ");
    super::mailbox(out, mailbox, form);
    out.push(b' ');
    astring(out, identifier.as_bytes());
    out.push(b' ');
    string(out, required.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `* MYRIGHTS mailbox rights`
pub fn my_rights(out: &mut Vec<u8>, mailbox: &str, form: NameForm, rights: &str) {
    out.extend_from_slice(b"* MYRIGHTS ");
    super::mailbox(out, mailbox, form);
    put(out, format_args!(" {rights}\r\n"));
}

/// `* METADATA mailbox (/entry "value" …)`; at least one entry.
pub fn metadata<'v>(
    out: &mut Vec<u8>,
    mailbox: &str,
    form: NameForm,
    values: impl IntoIterator<Item = (&'v str, Option<&'v [u8]>)>,
) {
    out.extend_from_slice(b"* METADATA ");
    match mailbox {
        "" => string(out, b""),
        name => super::mailbox(out, name, form),
    }
    for (index, (entry, value)) in values.into_iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        astring(out, entry.as_bytes());
        out.push(b' ');
        match value {
            Some(octets) if octets.contains(&0) => literal8(out, octets),
            value => nstring(out, value),
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// `* METADATA mailbox /entry …`: these were changed (RFC 5464 §4.4.2); at least one.
pub fn metadata_changed<'e>(
    out: &mut Vec<u8>,
    mailbox: &str,
    form: NameForm,
    entries: impl IntoIterator<Item = &'e str>,
) {
    out.extend_from_slice(b"* METADATA ");
    match mailbox {
        "" => string(out, b""),
        name => super::mailbox(out, name, form),
    }
    for entry in entries {
        out.push(b' ');
        astring(out, entry.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// `* LANGUAGE (EN)`
pub fn language(out: &mut Vec<u8>, tags: &[&str]) {
    out.extend_from_slice(b"* LANGUAGE (");
    for (index, tag) in tags.iter().enumerate() {
        put(out, format_args!("{}{tag}", if index == 0 { "" } else { " " }));
    }
    out.extend_from_slice(b")\r\n");
}
