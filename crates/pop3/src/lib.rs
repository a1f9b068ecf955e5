//! POP3 (RFC 1939) with STLS (RFC 2595), CAPA and response codes (RFC 2449, RFC 3206), UTF8 and LANG (RFC 6856)
//! and SASL (RFC 5034).
//!
//! [`session`] is the protocol: lines in, actions out, no sockets and no mailbox.
//! [`Pop3`] is its driver: it moves bytes, asks `login` and reads the mailbox. A
//! maildrop is a snapshot of INBOX taken at login; IMAP and delivery go on beside it,
//! and QUIT removes what was marked, by UID.

mod command;
mod maildrop;
mod multiline;
mod serve;
pub mod session;

pub use serve::{Locks, Pop3};
