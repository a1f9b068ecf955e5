//! What is handed to the door.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_queue::{BodyType, NewEntry, NewRecipient, Notify, Origin, RequireTls, Ret};
use letterlock_sender_auth::Attested;
use letterlock_vault::DeliveryId;

/// The folder for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Where mail goes.
    Inbox,
    /// Where mail goes that the author's domain wants quarantined.
    Junk,
}

impl Folder {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Folder::Inbox => "INBOX",
            Folder::Junk => "Junk",
        }
    }
}

/// A message to accept, with all trace fields that it gets before it is known whose copy it is.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its name from here on.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Who brought it. Only our own people may have it carried elsewhere.
    pub origin: Origin,
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// Whether its envelope or header needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// Whether it has octets above 127.
    pub eight_bit: bool,
    /// The message.
    pub body: Bytes,
    /// Who gets it, as accepted at RCPT.
    pub recipients: Vec<Recipient>,
    /// Where it goes in mailboxes here.
    pub folder: Folder,
    /// What its sender asked for at MAIL.
    pub asked: Asked,
    /// What was verified about its origin, to be sealed into copies that are forwarded (RFC 8617); `None` if nothing
    /// was, as with what our own people submit.
    pub attested: Option<Attested>,
}

/// One recipient, with what RCPT said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub address: Mailbox,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// RFC 3461's ORCPT, as the queue keeps it.
    pub orcpt: Option<String>,
}

impl From<Mailbox> for Recipient {
    fn from(address: Mailbox) -> Recipient {
        Recipient { address, notify: Notify::default(), orcpt: None }
    }
}

/// What MAIL asked for. `Default` is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID, decoded.
    pub envid: Option<String>,
    /// The message is not lines: only BDAT carries it (RFC 3030).
    pub binary: bool,
    /// REQUIRETLS, or the field `TLS-Required: No` (RFC 8689).
    pub require_tls: RequireTls,
    /// When it is to be released (RFC 4865).
    pub hold_until: Option<Timestamp>,
}

impl Incoming {
    /// What the queue gets, for some of the recipients.
    pub(crate) fn entry(&self, body: Bytes, recipients: Vec<NewRecipient>) -> NewEntry {
        NewEntry {
            id: self.id,
            received_at: self.received_at,
            origin: self.origin,
            reverse_path: self.reverse_path.clone(),
            ret: self.asked.ret,
            envid: self.asked.envid.clone(),
            smtputf8: self.smtputf8,
            body_type: match (self.asked.binary, self.eight_bit) {
                (true, _) => BodyType::Binary,
                (false, true) => BodyType::EightBit,
                (false, false) => BodyType::SevenBit,
            },
            require_tls: self.asked.require_tls,
            hold_until: self.asked.hold_until,
            body,
            recipients,
        }
    }
}
