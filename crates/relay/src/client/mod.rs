//! The client's side of SMTP: a dialogue that tells one message to one host.
//!
//! [`Dialogue`] is the state machine: replies in, [`Action`]s out, and at the end a [`Report`]. It begins with the
//! greeting, or on a connection that has carried another message before. [`converse`] moves the octets between it and
//! a connection. Which hosts there are, whether a connection is secure enough, and what happens with a recipient that
//! the report leaves open, is not known here.

mod dialogue;
mod driver;
mod envelope;
mod opening;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use letterlock_address::{Mailbox, ReversePath};
use letterlock_smtp_wire::command::{ClientName, Notify, OriginalRecipient, Ret};
use letterlock_smtp_wire::data::has_bare_newline;
use letterlock_smtp_wire::{Capabilities, header};
use zeroize::Zeroizing;

use crate::finding::Finding;

pub use dialogue::{Action, Dialogue, Framing, Patience};
pub use driver::{
    Conversation, Judge, Kept, Look, Means, Upgrade, converse, converse_again, converse_tls,
};

/// What is to be told, the same for every host that is tried.
#[derive(Clone, Debug)]
pub struct Job {
    /// Our name in EHLO.
    pub own: ClientName,
    /// The envelope's sender.
    pub reverse_path: ReversePath,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID, decoded.
    pub envid: Option<String>,
    /// Who is to have it.
    pub recipients: Vec<Recipient>,
    /// What the message needs.
    pub content: Content,
    /// Whether the next server, too, must carry it over authenticated TLS only: MAIL gets REQUIRETLS (RFC 8689 §4.2).
    pub require_tls: bool,
}

impl Job {
    /// Whether only a server with SMTPUTF8 can take it (RFC 6531 §3).
    pub fn needs_smtputf8(&self) -> bool {
        self.content.utf8_header
            || self.reverse_path.needs_smtputf8()
            || self.recipients.iter().any(|recipient| recipient.address.needs_smtputf8())
    }
}

/// One recipient of a job.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The address.
    pub address: Mailbox,
    /// RFC 3461's NOTIFY, if the sender gave it.
    pub notify: Option<Notify>,
    /// RFC 3461's ORCPT, if the sender gave it.
    pub orcpt: Option<OriginalRecipient>,
}

/// What a message needs of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Octets.
    pub size: u64,
    /// It has octets above 127.
    pub eight_bit: bool,
    /// Its header has such octets, and its sender asked for SMTPUTF8.
    pub utf8_header: bool,
    /// It has a CR or LF alone, so that DATA cannot carry it safely.
    pub bare_newline: bool,
    /// Its sender said BODY=BINARYMIME.
    pub binary: bool,
}

impl Content {
    /// Looks at a message. `smtputf8`: whether its sender asked for SMTPUTF8; many programs do so for every message,
    /// so that alone is no reason to refuse a server that does not offer it.
    pub fn of(message: &[u8], smtputf8: bool, binary: bool) -> Self {
        let eight_bit = !message.is_ascii();
        Self {
            size: message.len() as u64,
            eight_bit,
            utf8_header: smtputf8 && eight_bit && header::has_eight_bit(message),
            bare_newline: has_bare_newline(message),
            binary,
        }
    }
}

/// Whether a connection is to have TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// If it is offered.
    Wanted,
    /// Not this time: a handshake with this host has just failed.
    Plain,
    /// It has TLS.
    Active,
}

/// User and password at a smarthost. Zeroised when dropped, not shown by `Debug`.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// How a connection stands that may carry another message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What the server offers.
    pub offered: Capabilities,
    /// MAIL commands that it has heard (RFC 9422's MAILMAX).
    pub mails: u32,
    /// Domains of recipients that it has heard (RFC 9422's RCPTDOMAINMAX).
    pub domains: BTreeSet<String>,
}

impl Standing {
    /// Whether another MAIL is within the server's limits.
    pub fn has_room(&self) -> bool {
        self.offered.limits.mail_max.is_none_or(|most| self.mails < most)
    }
}

/// What came of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The recipients that are decided, by their place in the job.
    pub findings: Vec<(usize, Finding)>,
    /// How it ended, which says what to do about the others.
    pub end: End,
    /// Whether the server has taken over to report to the sender (it offers DSN, RFC 3461).
    pub dsn: bool,
}

/// How a dialogue ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No recipient is left.
    Complete,
    /// This host will never take it; another one of the same domain might.
    Refused(Finding),
    /// This host does not take it now; another address or host might.
    Trouble(Finding),
    /// The connection has come to its end, which says nothing about the message: a fresh one to the same host goes on.
    Reconnect,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the reply to a command.
    pub command: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the reply to DATA.
    pub data_start: Duration,
    /// For the peer to take one piece of the message.
    pub data_block: Duration,
    /// For the reply to the whole message.
    pub data_end: Duration,
    /// For the reply to QUIT, which changes nothing.
    pub quit: Duration,
}

/// RFC 5321 §4.5.3.2 where it says something; connections and handshakes that take longer than this never succeed.
impl Default for Timeouts {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            connect: MINUTE / 2,
            greeting: 5 * MINUTE,
            command: 5 * MINUTE,
            handshake: MINUTE,
            data_start: 2 * MINUTE,
            data_block: 3 * MINUTE,
            data_end: 10 * MINUTE,
            quit: Duration::from_secs(2),
        }
    }
}
