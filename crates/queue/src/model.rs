//! What goes into the queue, and the words for what stands there.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_vault::{AccountId, DeliveryId, SealTo};
use serde::{Deserialize, Serialize};

/// An entry's number in the file. Names it within one run of the program; across runs and in
/// logs the [`DeliveryId`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId(pub(crate) i64);

/// The number of one recipient of an entry; ascends with the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId(pub(crate) i64);

/// Rows of an entry are numbered within its own range of 2^16, so that they need no index to be found.
const ROW_BITS: u32 = 16;

/// How many recipients an entry can have.
pub(crate) const MAX_RECIPIENTS: usize = 1 << ROW_BITS;

impl EntryId {
    /// The row of the recipient with this position.
    pub(crate) fn row(self, position: u16) -> RowId {
        RowId(self.0 << ROW_BITS | i64::from(position))
    }

    /// The first and last row that the entry could have.
    pub(crate) fn rows(self) -> (i64, i64) {
        (self.row(0).0, self.row(u16::MAX).0)
    }
}

impl RowId {
    /// The entry that the row is of.
    pub fn entry(self) -> EntryId {
        EntryId(self.0 >> ROW_BITS)
    }

    /// The recipient's position in its entry.
    pub(crate) fn position(self) -> u16 {
        // The low 16 bits are the position, by construction.
        (self.0 & i64::from(u16::MAX)) as u16
    }
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// From another server.
    Inbound,
    /// From one of our people.
    Submission {
        /// Who is logged in there.
        account: AccountId,
    },
    /// Made here: a delivery status notification.
    Dsn,
}

/// What a status notification returns of the message (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// Which outcomes the sender wants to hear of (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notify {
    /// The sender did not say: failures are reported, delays may be.
    #[default]
    Unspecified,
    /// `NOTIFY=NEVER`.
    Never,
    /// `NOTIFY=` with at least one of the three.
    On {
        /// Delivery.
        success: bool,
        /// Failure.
        failure: bool,
        /// Delay.
        delay: bool,
    },
}

impl Notify {
    /// Whether delivery is to be reported.
    pub fn success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }

    /// Whether failure is to be reported.
    pub fn failure(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { failure: true, .. })
    }

    /// Whether delay may be reported.
    pub fn delay(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { delay: true, .. })
    }

    /// What is asked of those that an alias passes a message on to: no report of success, which the alias itself has
    /// given ([RFC 3461 §5.2.7.3](https://www.rfc-editor.org/rfc/rfc3461#section-5.2.7.3)).
    pub fn beyond_expansion(self) -> Self {
        match self {
            Self::On { success: true, failure: false, delay: false } => Self::Never,
            Self::On { failure, delay, .. } => Self::On { success: false, failure, delay },
            other => other,
        }
    }

    pub(crate) fn to_bits(self) -> Option<u8> {
        match self {
            Self::Unspecified => None,
            Self::Never => Some(0),
            Self::On { success, failure, delay } => {
                Some(u8::from(success) | u8::from(failure) << 1 | u8::from(delay) << 2)
            }
        }
    }

    pub(crate) fn from_bits(bits: Option<u8>) -> Self {
        match bits {
            None => Self::Unspecified,
            Some(0) => Self::Never,
            Some(bits) => {
                Self::On { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }
            }
        }
    }
}

/// How the body of a message is encoded, as its sender declared it or as it was found (RFC 6152, RFC 3030).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum BodyType {
    /// Lines of ASCII.
    #[default]
    SevenBit,
    /// Lines with octets above 127.
    EightBit,
    /// Not lines: only BDAT carries it.
    Binary,
}

/// What the sender wants of transport security (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequireTls {
    /// Nothing in particular: the policies of the recipients' domains decide.
    #[default]
    Unspecified,
    /// `MAIL FROM … REQUIRETLS`: authenticated TLS at every hop, or not at all.
    Required,
    /// The field `TLS-Required: No`: rather without TLS than not at all, whatever the policies say.
    Lifted,
}

/// What is different about a copy that an address here passes on to an address elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The sender that the copy has outside: rewritten (SRS), or the entry's own.
    pub reverse_path: ReversePath,
}

/// A message to be accepted. [`NewEntry::new`] fills in what most messages do not have.
pub struct NewEntry {
    /// Its name, which is new.
    pub id: DeliveryId,
    /// When it was received, to the microsecond.
    pub received_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// The envelope's sender.
    pub reverse_path: ReversePath,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID, decoded or not as the caller likes: it comes back as it was given.
    pub envid: Option<String>,
    /// Whether it needs SMTPUTF8 on its way (RFC 6531).
    pub smtputf8: bool,
    /// How its body is encoded.
    pub body_type: BodyType,
    /// What its sender wants of transport security.
    pub require_tls: RequireTls,
    /// When it is to be released (RFC 4865). Until then nobody gets it; age and retries count from there.
    pub hold_until: Option<Timestamp>,
    /// The whole message as it is to be filed or sent.
    pub body: Bytes,
    /// Who is to have it; at least one.
    pub recipients: Vec<NewRecipient>,
}

impl NewEntry {
    /// A message of lines of ASCII without any wishes, whose id is made here.
    pub fn new(
        origin: Origin,
        reverse_path: ReversePath,
        received_at: Timestamp,
        body: Bytes,
        recipients: Vec<NewRecipient>,
    ) -> Self {
        Self {
            id: DeliveryId::generate(),
            received_at,
            origin,
            reverse_path,
            ret: None,
            envid: None,
            smtputf8: false,
            body_type: BodyType::SevenBit,
            require_tls: RequireTls::Unspecified,
            hold_until: None,
            body,
            recipients,
        }
    }
}

impl NewRecipient {
    /// A recipient for whom nothing was asked in particular.
    pub fn new(address: Mailbox, route: Route) -> Self {
        Self { address, notify: Notify::Unspecified, orcpt: None, forward: None, route }
    }
}

/// One recipient of a message.
#[derive(Clone)]
pub struct NewRecipient {
    /// The address of the envelope.
    pub address: Mailbox,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// RFC 3461's ORCPT.
    pub orcpt: Option<String>,
    /// Set for [`Route::Remote`] if this is a copy that is passed on: it is sent as it is or not at all.
    pub forward: Option<Forward>,
    /// How it gets there.
    pub route: Route,
}

/// How a message gets to a recipient.
#[derive(Clone)]
pub enum Route {
    /// Into a mailbox of this server: what the recipient's rules decided, once and for all.
    Local {
        /// Whose mailbox.
        account: AccountId,
        /// Which folder; INBOX if it should be missing when the mail is filed.
        folder: String,
        /// IMAP flags and keywords to file it with.
        flags: Vec<String>,
        /// Who can read it until it is filed.
        seal: Seal,
    },
    /// Over SMTP; due at once.
    Remote,
    /// To a role address that leads to nobody yet: kept until [`Queue::adopt_waiting`](crate::Queue::adopt_waiting).
    Waiting,
}

/// Who can read a parked message.
#[derive(Clone)]
pub enum Seal {
    /// Whoever holds the keys of the account.
    Owner(SealTo),
    /// This server too.
    Server,
}

/// What is needed, besides the body, to file a parked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filing {
    /// The folder; INBOX if it is missing.
    pub folder: String,
    /// IMAP flags and keywords.
    pub flags: Vec<String>,
    /// The envelope's sender, for `Return-Path` and a notification of success.
    pub reverse_path: ReversePath,
    /// RFC 3461's ORCPT.
    pub orcpt: Option<String>,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID.
    pub envid: Option<String>,
}

/// [`Filing`] as it is stored under the content key.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredFiling {
    folder: String,
    flags: Vec<String>,
    reverse_path: String,
    orcpt: Option<String>,
    ret: Option<Ret>,
    envid: Option<String>,
}

impl From<Filing> for StoredFiling {
    fn from(filing: Filing) -> Self {
        let Filing { folder, flags, reverse_path, orcpt, ret, envid } = filing;
        Self { folder, flags, reverse_path: reverse_path.to_string(), orcpt, ret, envid }
    }
}

impl StoredFiling {
    /// Back again; `None` if the sender's address is none.
    pub(crate) fn read(self) -> Option<Filing> {
        let Self { folder, flags, reverse_path, orcpt, ret, envid } = self;
        Some(Filing { folder, flags, reverse_path: reverse_path.parse().ok()?, orcpt, ret, envid })
    }
}

/// Enums that are stored as their name.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The name it is stored and shown by.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            pub(crate) fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

text_enum! {
    /// Where a recipient is.
    RowKind {
        /// In an account of this server.
        Local = "local",
        /// Elsewhere.
        Remote = "remote",
        /// Nowhere yet: a role address.
        Waiting = "waiting",
    }
}

text_enum! {
    /// How far a message is on its way to one recipient.
    RowState {
        /// Waits to be filed in a mailbox of this server.
        Parked = "parked",
        /// Is to be sent at the time of its next attempt.
        Due = "due",
        /// Waits for somebody to take up the role.
        Waiting = "waiting",
        /// An operator stopped it.
        Held = "held",
        /// Handed over; shown as long as other recipients of the message are under way.
        Delivered = "delivered",
        /// Given up; shown likewise.
        Failed = "failed",
    }
}

impl RowState {
    /// Whether something is still to be done.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Parked | Self::Due | Self::Waiting | Self::Held)
    }
}

impl RowKind {
    /// The state in which a recipient of this kind begins, and to which it is released.
    pub(crate) fn first_state(self) -> RowState {
        match self {
            Self::Local => RowState::Parked,
            Self::Remote => RowState::Due,
            Self::Waiting => RowState::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_their_entry() {
        let entry = EntryId(77);
        assert_eq!(entry.row(0).entry(), entry);
        assert_eq!(entry.row(u16::MAX).entry(), entry);
        assert_eq!(entry.row(513).position(), 513);
        assert!(entry.row(u16::MAX) < EntryId(78).row(0));
    }

    #[test]
    fn notify_is_stored_whole() {
        let mut all = vec![Notify::Unspecified, Notify::Never];
        for bits in 1..8u8 {
            all.push(Notify::On {
                success: bits & 1 != 0,
                failure: bits & 2 != 0,
                delay: bits & 4 != 0,
            });
        }
        for notify in all {
            assert_eq!(Notify::from_bits(notify.to_bits()), notify);
        }
        assert!(
            Notify::default().failure()
                && Notify::default().delay()
                && !Notify::default().success()
        );
        assert!(!Notify::Never.failure() && !Notify::Never.delay());
    }

    #[test]
    fn states_have_names() {
        for state in ["parked", "due", "waiting", "held", "delivered", "failed"] {
            assert_eq!(RowState::from_text(state).unwrap().as_str(), state);
        }
        assert_eq!(RowState::from_text("attempting"), None);
    }
}
