//! The rows of the directory as values.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::{AddressError, Domain as DomainName, Mailbox};
use letterlock_vault::{AccountId, Slot, WrappedSecrets};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::quota::Allowance;

/// A domain of this server.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name; never an address literal.
    pub name: DomainName,
    /// Who gets the mail to the role addresses, if the operator named someone. Need not exist, need not be local.
    pub contact: Option<Mailbox>,
    /// Its DKIM keys, oldest first.
    pub dkim: Vec<DkimKey>,
    /// When it was added, to the microsecond.
    pub created_at: Timestamp,
    /// The order in which domains were added.
    pub(crate) seq: i64,
}

impl Domain {
    /// The keys that new mail is signed with.
    pub fn signing_keys(&self) -> impl Iterator<Item = &DkimKey> {
        self.dkim.iter().filter(|key| key.state == DkimState::Active)
    }
}

/// A DKIM key pair (RFC 6376 §3.6.1).
#[derive(Clone, Debug)]
pub struct DkimKey {
    /// The selector: the key's record stands at `selector._domainkey.domain`.
    pub selector: String,
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// The private half.
    pub private: DkimPrivate,
    /// The TXT record's text, unsplit.
    pub public_dns: String,
    /// Whether it signs.
    pub state: DkimState,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
}

/// A private DKIM key: PKCS#8 bytes, shared, zeroised when the last holder lets go. `Debug` prints nothing of it.
#[derive(Clone)]
pub struct DkimPrivate(Arc<Zeroizing<Vec<u8>>>);

impl DkimPrivate {
    /// Takes over PKCS#8 bytes.
    pub fn new(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(pkcs8))
    }

    /// The PKCS#8 bytes. Whoever copies them wipes the copy.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DkimPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DkimPrivate(..)")
    }
}

/// Enums that are stored as their name.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    };
}

text_enum! {
    /// The algorithms of RFC 6376 and RFC 8463 that this server signs with.
    DkimAlgorithm {
        /// RSA with SHA-256.
        RsaSha256 = "rsa-sha256",
        /// Ed25519 over SHA-256.
        Ed25519 = "ed25519-sha256",
    }
}

text_enum! {
    /// What a DKIM key does now.
    DkimState {
        /// In the DNS records to publish, not signing yet.
        Published = "published",
        /// Signs new mail.
        Active = "active",
        /// Signs no more; its record stays until the mail it signed has arrived everywhere.
        Retired = "retired",
    }
}

text_enum! {
    /// Who can open an account's mail without its owner.
    KeyMode {
        /// Nobody: each slot needs a credential of the owner's (or the organisation's private key).
        UserHeld = "user-held",
        /// This server: one of the slots is under the server key.
        ServerHeld = "server-held",
    }
}

text_enum! {
    /// What happens to mail for a disabled account. Its owner cannot log in either way.
    Disabled {
        /// 4xx: senders try again.
        Defer = "defer",
        /// 5xx: senders learn of it.
        Refuse = "refuse",
        /// Accepted and dropped.
        Discard = "discard",
    }
}

/// Whether an account is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    /// Receives mail, may log in.
    Enabled,
    /// Neither.
    Disabled(Disabled),
}

impl AccountState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled(how) => how.as_str(),
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text {
            "enabled" => Some(Self::Enabled),
            other => Disabled::from_text(other).map(Self::Disabled),
        }
    }
}

/// An account. What is secret in it is wrapped; see vault.
#[derive(Clone, Debug)]
pub struct Account {
    /// Names it for ever.
    pub id: AccountId,
    /// Its address as the operator wrote it; compared by its canonical form.
    pub address: Mailbox,
    /// Who holds its keys.
    pub mode: KeyMode,
    /// Whether it is in use.
    pub state: AccountState,
    /// Its file's data key and its sealing pair, wrapped by the account key.
    pub secrets: WrappedSecrets,
    /// The account key, wrapped by each credential; ascending by the slot's id.
    pub slots: Vec<NamedSlot>,
    /// How many octets of mail it may hold, sealed mail included; `None` for no limit.
    pub quota: Option<u64>,
    /// How many messages it may hold, sealed ones included; `None` for no limit.
    pub quota_messages: Option<u64>,
    /// IMAP capabilities that its sessions are not offered, as IMAP spells them, in alphabetical order.
    pub disabled_capabilities: Vec<String>,
    /// The owner's name, for people to read.
    pub display_name: Option<String>,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// The order in which accounts were made: a domain's first account is its default contact.
    pub(crate) seq: i64,
    /// The lowest slot id that was never in use.
    pub(crate) next_slot: u32,
}

impl Account {
    /// How much it may hold.
    pub fn allowance(&self) -> Allowance {
        Allowance { octets: self.quota, messages: self.quota_messages }
    }

    /// The slot of this id.
    pub fn slot(&self, id: u32) -> Option<&NamedSlot> {
        self.slots.iter().find(|named| named.slot.id == id)
    }

    /// The id for the account's next slot: one that no slot of it ever had, so that a removed
    /// app password's text can never select another credential.
    pub fn next_slot_id(&self) -> u32 {
        self.next_slot
    }
}

/// A slot and what people know it by.
#[derive(Clone, Debug)]
pub struct NamedSlot {
    /// The account key under one credential.
    pub slot: Slot,
    /// The name its owner gave it ("phone"); empty for the main password.
    pub name: String,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
    /// When it last opened the account; accurate to an hour, and not kept through a power cut.
    pub last_used: Option<Timestamp>,
}

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasSource {
    /// One address.
    Address(Mailbox),
    /// Every address of this domain that is nobody's: the domain's catch-all, written `@domain`.
    CatchAll(DomainName),
}

impl AliasSource {
    /// Reads an address, or `@domain` for a catch-all.
    ///
    /// # Errors
    /// Why the text is neither.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => DomainName::parse(domain).map(Self::CatchAll),
            None => Mailbox::parse(text).map(Self::Address),
        }
    }

    /// The domain whose mail it concerns.
    pub fn domain(&self) -> &DomainName {
        match self {
            Self::Address(address) => &address.domain,
            Self::CatchAll(domain) => domain,
        }
    }

    /// The form by which two sources are compared. No address begins with `@`.
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Address(address) => address.canonical(),
            Self::CatchAll(domain) => catch_all_key(domain),
        }
    }
}

/// Under which name the catch-all of a domain is found.
pub(crate) fn catch_all_key(domain: &DomainName) -> String {
    format!("@{domain}")
}

impl fmt::Display for AliasSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::CatchAll(domain) => write!(f, "@{domain}"),
        }
    }
}

impl From<Mailbox> for AliasSource {
    fn from(address: Mailbox) -> Self {
        Self::Address(address)
    }
}

impl From<&Mailbox> for AliasSource {
    fn from(address: &Mailbox) -> Self {
        Self::Address(address.clone())
    }
}

/// An address, or a whole domain's unknown addresses, that leads to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// What leads there, in a domain of this server.
    pub source: AliasSource,
    /// Where its mail goes: accounts, aliases, or addresses elsewhere; at least one.
    pub targets: Vec<Mailbox>,
    /// When it was made, to the microsecond.
    pub created_at: Timestamp,
}
