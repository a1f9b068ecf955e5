//! What happens to a message, as its trace tells it.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use letterlock_vault::DeliveryId;
use serde::{Deserialize, Serialize};

use crate::privacy::Shown;

/// A text of an event.
pub type Text = Cow<'static, str>;

/// One step of a message's way.
///
/// Stored by position: variants are only ever appended, never moved, renamed in meaning, or removed. The fields of a
/// variant never change at all, as the next event follows without a mark: what needs another field is another variant.
/// Recipients are named in clear; who sent the message is [`Shown`], and its subject and folders have no place here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A client brought it.
    Received {
        /// The listener's name, such as `smtp`.
        listener: Text,
        /// Where it came from; `None` for what the server wrote itself.
        client: Option<IpAddr>,
        /// What the client called itself.
        hello: Option<Text>,
        /// Version, cipher suite and key exchange; `None` without TLS.
        tls: Option<Text>,
        /// The account that was logged in.
        account: Option<Text>,
        /// The envelope's sender; empty for reports.
        reverse_path: Shown<Text>,
        /// Octets.
        size: u64,
    },
    /// Who sent it, as far as that can be verified.
    Verified {
        /// RFC 7208.
        spf: Option<Check>,
        /// RFC 6376, the best of the signatures.
        dkim: Option<Check>,
        /// RFC 9989.
        dmarc: Option<Check>,
        /// RFC 8617.
        arc: Option<Check>,
        /// What follows from it, such as `accepted` or `to Junk`.
        outcome: Text,
    },
    /// What was decided about a recipient of the envelope.
    Recipient {
        /// As the client wrote it.
        address: Text,
        /// What becomes of it.
        decision: Decision,
    },
    /// The server did not take it.
    Refused {
        /// The reply's code.
        code: u16,
        /// The status code (RFC 3463).
        status: Text,
        /// The reply's text.
        reason: Text,
    },
    /// It was here before, and the client did not get the reply: answered once more, filed nothing.
    Duplicate,
    /// It is durable; the client reads 250.
    Accepted {
        /// How many recipients it goes to from here.
        recipients: u32,
    },
    /// It is in the mailbox.
    Filed {
        /// The recipient.
        address: Text,
    },
    /// It waits, sealed, for the owner to unlock the mailbox.
    Parked {
        /// The recipient.
        address: Text,
    },
    /// The owner came; it left its seal and is in the mailbox.
    Unlocked {
        /// The recipient.
        address: Text,
    },
    /// It goes on to another server in the recipient's name.
    Forwarded {
        /// The recipient here.
        address: Text,
        /// Where it goes.
        to: Text,
        /// Whether the sender was rewritten (SRS).
        srs: bool,
        /// Whether what was verified here is sealed for the next server (RFC 8617).
        arc: bool,
    },
    /// A try to carry it to its next hop begins.
    Attempt {
        /// The domain or smarthost.
        hop: Text,
        /// The how manieth, from 1.
        number: u32,
        /// How many recipients it is for.
        recipients: u32,
    },
    /// A host was asked; how well the connection was secured, and why that was enough or not.
    Host {
        /// Its name.
        host: Text,
        /// Its address.
        address: Option<IpAddr>,
        /// What decided.
        policy: Policy,
        /// Version, cipher suite and key exchange; `None` without TLS.
        tls: Option<Text>,
        /// Why.
        reason: Text,
    },
    /// What a host said.
    Reply {
        /// Its name.
        host: Text,
        /// About whom; `None` for all of them.
        recipient: Option<Text>,
        /// Its words, the code first.
        text: Text,
    },
    /// Another try comes.
    Deferred {
        /// The recipient.
        recipient: Text,
        /// The status code.
        status: Text,
        /// Why.
        reason: Text,
        /// When.
        #[serde(with = "micros")]
        next: Option<Timestamp>,
    },
    /// A host took it over.
    Delivered {
        /// The recipient.
        recipient: Text,
        /// The host.
        host: Text,
    },
    /// It is given up.
    Failed {
        /// The recipient.
        recipient: Text,
        /// The status code.
        status: Text,
        /// Why.
        reason: Text,
    },
    /// The sender was told.
    DsnSent {
        /// What of.
        kind: DsnKind,
        /// The report's own id.
        id: DeliveryId,
    },
    /// It stays in the queue until an operator releases it.
    Held {
        /// Why.
        reason: Text,
    },
    /// An operator let it go on.
    Released,
    /// An operator took it out of the queue.
    Cancelled,
    /// It was not tried, because the address is known to be gone.
    Suppressed {
        /// The recipient.
        recipient: Text,
        /// What is known.
        reason: Text,
    },
    /// It came back to somebody who had it already: this copy is dropped.
    HadBefore {
        /// The recipient.
        address: Text,
    },
    /// A server that had taken it told later, by a report, that there is nobody.
    Bounced {
        /// The recipient.
        recipient: Text,
        /// Who reports, as it calls itself.
        reporter: Text,
        /// The status code.
        status: Text,
        /// What it said.
        reason: Text,
    },
}

/// One verdict about the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The result's word, such as `pass`.
    pub result: Text,
    /// The domain that it is about.
    pub domain: Shown<Text>,
    /// Why. Must not name the sender.
    pub reason: Text,
}

/// What becomes of a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// An account here.
    Local,
    /// An alias.
    Alias {
        /// To how many addresses.
        addresses: u32,
    },
    /// Goes on to another server.
    Forward {
        /// The address.
        to: Text,
    },
    /// Nobody of that name, but the domain takes all.
    CatchAll,
    /// The operator's address (`postmaster`, `abuse` …).
    Role,
    /// An address elsewhere.
    Remote,
    /// Accepted and thrown away.
    Discarded {
        /// Why.
        reason: Text,
    },
    /// The mailbox is full.
    OverQuota,
    /// The account is switched off.
    Disabled,
    /// There is nobody.
    Unknown,
    /// Mail to other servers is not for this client.
    RelayDenied,
}

/// What decided how well a connection must be secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// TLSA records (RFC 7672).
    Dane,
    /// A policy of the domain (RFC 8461).
    MtaSts,
    /// The domain had TLS before.
    Remembered,
    /// Nothing is demanded: TLS where it is offered (RFC 7435).
    Opportunistic,
    /// The sender lifted the policies (`TLS-Required: No`, RFC 8689 §3).
    Lifted,
    /// The operator's own configuration.
    Configured,
}

impl Policy {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dane => "DANE",
            Self::MtaSts => "MTA-STS",
            Self::Remembered => "remembered TLS",
            Self::Opportunistic => "opportunistic TLS",
            Self::Lifted => "TLS-Required: No",
            Self::Configured => "configuration",
        }
    }
}

/// What a report to the sender says (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DsnKind {
    /// It could not be delivered.
    Failed,
    /// It still could not be delivered.
    Delayed,
    /// It was delivered.
    Delivered,
    /// A server without DSN took it over.
    Relayed,
    /// It went on to several addresses.
    Expanded,
}

/// Times as microseconds, which is what the file keeps everywhere.
mod micros {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_microsecond).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let micros = Option::<i64>::deserialize(deserializer)?;
        micros
            .map(|at| Timestamp::from_microsecond(at).map_err(serde::de::Error::custom))
            .transpose()
    }
}
