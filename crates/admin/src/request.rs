//! What can be asked for. Addresses and domains are text here; they are parsed where the
//! request is carried out, so that every way in gives the same error.

use letterlock_directory::Disabled;
use letterlock_queue::EntryId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password or recovery key on its way; `Debug` does not show it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret::new(text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> String {
        secret.0.to_string()
    }
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text.
    pub fn expose(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Everything that an operator can ask of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Is it alive?
    Health,
    /// Domains.
    Domain(DomainRequest),
    /// Accounts.
    Account(AccountRequest),
    /// Aliases.
    Alias(AliasRequest),
    /// Messages under way.
    Queue(QueueRequest),
    /// Whether all files, or those of one account, are sound.
    Verify {
        /// Whose; without one, everything.
        address: Option<String>,
        /// Whether what can be mended without losing mail is mended.
        repair: bool,
    },
    /// What happened to a message and why.
    Trace {
        /// The message's id, or how it begins.
        id: String,
    },
    /// Addresses that are not written to.
    Suppression(SuppressionRequest),
}

/// `letterlock queue suppressed …`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the command's arguments")]
pub enum SuppressionRequest {
    /// All of them.
    List,
    /// Writes to the address again.
    Remove { address: String },
}

/// `letterlock domain …`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the command's arguments")]
pub enum DomainRequest {
    /// Makes mail for a domain local and makes its DKIM key.
    Add { domain: String, contact: Option<String> },
    /// All local domains.
    List,
    /// One domain.
    Show { domain: String },
    /// Forgets a domain without accounts.
    Remove { domain: String },
    /// The records to publish.
    Dns { domain: String },
    /// What of those records DNS answers.
    Check { domain: String },
}

/// `letterlock account …`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the command's arguments")]
pub enum AccountRequest {
    /// Makes an account and its mailbox; without a password one is made.
    Add {
        address: String,
        password: Option<Secret>,
        server_held: bool,
        name: Option<String>,
        quota: Quota,
        quota_messages: Quota,
    },
    /// All accounts.
    List { domain: Option<String> },
    /// One account.
    Show { address: String },
    /// Changes settings.
    Set { address: String, change: AccountChange },
    /// Replaces the main password.
    Password {
        address: String,
        password: Option<Secret>,
        unlock: Option<Secret>,
        discard_mail: bool,
    },
    /// Replaces the recovery key.
    Recovery { address: String, unlock: Option<Secret> },
    /// Rewrites the mailbox under new keys; with a new account key, all credentials but the main password are void.
    Rotate {
        address: String,
        password: Option<Secret>,
        unlock: Option<Secret>,
        new_account_key: bool,
    },
    /// Ends all sessions and forgets the keys.
    Lock { address: String },
    /// Refuses logins, and does this with mail.
    Disable { address: String, mail: Disabled },
    /// Ends all access at once: sessions, app passwords, logins.
    Offboard { address: String },
    /// Destroys the keys, then the mail.
    Remove { address: String },
    /// Who is logged in.
    Sessions { address: String },
    /// Makes a credential for one device.
    AppPasswordAdd { address: String, name: String, unlock: Option<Secret> },
    /// The account's app passwords, without their secrets.
    AppPasswordList { address: String },
    /// Takes one back.
    AppPasswordRemove { address: String, id: u32 },
}

/// How much an account may hold: of octets, or of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    /// As much as it likes.
    #[default]
    Unlimited,
    /// This much.
    Most(u64),
}

impl Quota {
    pub(crate) fn limit(self) -> Option<u64> {
        match self {
            Quota::Unlimited => None,
            Quota::Most(limit) => Some(limit),
        }
    }
}

/// What `account set` changes; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AccountChange {
    /// The display name; empty removes it.
    pub name: Option<String>,
    /// Whether the account may log in and gets mail.
    pub enabled: Option<bool>,
    /// How many octets of mail it may hold.
    pub quota: Option<Quota>,
    /// How many messages it may hold.
    pub quota_messages: Option<Quota>,
    /// IMAP capabilities that its sessions are not offered any more.
    pub disable_capabilities: Vec<String>,
    /// Those that they are offered again.
    pub enable_capabilities: Vec<String>,
}

/// `letterlock alias …`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the command's arguments")]
pub enum AliasRequest {
    /// Sends mail for an address to others.
    Add { address: String, targets: Vec<String> },
    /// All aliases.
    List { domain: Option<String> },
    /// Forgets an alias.
    Remove { address: String },
}

/// `letterlock queue …`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the command's arguments")]
pub enum QueueRequest {
    /// A page of messages under way, oldest first, behind the entry that the page before named.
    List { limit: usize, after: Option<EntryId> },
    /// One message with its recipients.
    Show { id: String },
    /// Tries now.
    Retry { id: String },
    /// Tries no more until released.
    Hold { id: String },
    /// Ends a hold.
    Release { id: String },
    /// Drops the message without a bounce.
    Cancel { id: String },
}
