//! What comes back: rows and details, ready for a table or for JSON.

use letterlock_queue::EntryId;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is done; a sentence for people.
    Done(String),
    /// It is done, and these were made. They are shown once.
    Made(Vec<NewSecret>),
    /// `domain list`
    Domains(Vec<DomainRow>),
    /// `domain show`
    Domain(DomainDetails),
    /// `domain dns`
    Records(Vec<DnsRecord>),
    /// `domain check`
    Checks(Vec<Check>),
    /// `account list`
    Accounts(Vec<AccountRow>),
    /// `account show`
    Account(AccountDetails),
    /// `account sessions`
    Sessions(Vec<SessionRow>),
    /// `account app-password list`
    AppPasswords(Vec<AppPasswordRow>),
    /// `alias list`
    Aliases(Vec<AliasRow>),
    /// `queue list`
    Queue(QueuePage),
    /// `queue show`
    Entry(QueueDetails),
    /// `verify`
    Verified(Vec<VerifiedRow>),
    /// `trace`
    Trace(TraceOf),
    /// `queue suppressed list`
    Suppressed(Vec<SuppressionRow>),
}

/// The course of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceOf {
    /// Its whole id.
    pub id: String,
    /// What happened, in order.
    pub lines: Vec<TraceLine>,
}

/// One thing that happened to a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceLine {
    /// When.
    pub at: String,
    /// What, and why, in words.
    pub what: String,
}

/// An address that is not written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuppressionRow {
    /// The address.
    pub address: String,
    /// What its server said.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Until when.
    pub until: String,
}

/// A secret that was just made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSecret {
    /// `password`, `recovery-key` or `app-password`.
    pub kind: String,
    /// The secret itself.
    pub secret: Secret,
}

/// A domain in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainRow {
    /// Its name in ASCII.
    pub domain: String,
    /// How many accounts it has.
    pub accounts: usize,
    /// Who gets mail for postmaster and the like, if set.
    pub contact: Option<String>,
}

/// A domain in full.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainDetails {
    /// As in the list.
    #[serde(flatten)]
    pub row: DomainRow,
    /// Its name as people write it.
    pub unicode: String,
    /// The selectors of its DKIM keys with their algorithms.
    pub dkim: Vec<String>,
}

/// A record to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DnsRecord {
    /// Owner name, with the final dot.
    pub name: String,
    /// `MX`, `TXT`, …
    pub kind: String,
    /// The value as a zone file has it, long texts split into strings.
    pub value: String,
    /// For TXT: the text in one piece, as web forms of DNS hosters want it.
    pub text: Option<String>,
}

/// One record compared with what DNS answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was asked.
    pub name: String,
    /// `MX`, `TXT`, …
    pub kind: String,
    /// Whether mail works with what DNS has.
    pub ok: bool,
    /// What was found, and what to do.
    pub finding: String,
}

/// An account in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountRow {
    /// Its address.
    pub address: String,
    /// The name of its folder under `data_dir/accounts`.
    pub id: String,
    /// `user-held` or `server-held`.
    pub keys: String,
    /// `enabled` or `disabled`.
    pub state: String,
    /// What becomes of mail for it: `accepted`, or if it is disabled `deferred`, `refused` or `discarded`.
    pub mail: String,
    /// Octets of mail that it may hold; `None` for no limit.
    pub quota: Option<u64>,
    /// Messages that it may hold; `None` for no limit.
    pub quota_messages: Option<u64>,
    /// IMAP capabilities that its sessions are not offered.
    pub disabled_capabilities: Vec<String>,
    /// `locked`, `draining` or `open`.
    pub mailbox: String,
}

/// An account in full.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountDetails {
    /// As in the list.
    #[serde(flatten)]
    pub row: AccountRow,
    /// Display name.
    pub name: Option<String>,
    /// Octets that it holds, mail that waits for its owner included; while it is locked, as last counted, with what
    /// came since. `None` if nobody ever counted.
    pub used: Option<u64>,
    /// How many messages these are.
    pub messages: Option<u64>,
    /// Messages that wait for the owner.
    pub parked: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Which kinds of credentials open it, with their numbers.
    pub credentials: Vec<String>,
    /// Live sessions.
    pub sessions: usize,
}

/// A live session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// A number, unique while the server runs.
    pub id: u64,
    /// `imap`, `pop3` or `submission`.
    pub protocol: String,
    /// The client's address.
    pub ip: String,
    /// When it logged in, RFC 3339.
    pub since: String,
}

/// An app password, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppPasswordRow {
    /// Its number, for `remove`.
    pub id: u32,
    /// What it was named.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was last used, to the hour, RFC 3339; `None` if never.
    pub last_used: Option<String>,
    /// Whether it logs in by SCRAM too; those of before do not.
    pub scram: bool,
}

/// An alias.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AliasRow {
    /// The address that is no mailbox, or `@domain` for a catch-all.
    pub address: String,
    /// Where its mail goes.
    pub targets: Vec<String>,
}

/// What was found out about one file, or one account's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifiedRow {
    /// The file's name, or the account's address.
    pub subject: String,
    /// Pages that are whole.
    pub pages: u64,
    /// What is wrong, one sentence for each.
    pub found: Vec<String>,
    /// Why the inside was not looked at; for a locked mailbox `locked`.
    pub not_checked: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// What was mended.
    pub repaired: Vec<String>,
}

impl VerifiedRow {
    pub(crate) fn new(subject: &str) -> VerifiedRow {
        VerifiedRow {
            subject: subject.to_owned(),
            pages: 0,
            found: Vec::new(),
            not_checked: None,
            advice: None,
            repaired: Vec::new(),
        }
    }
}

/// A part of a long list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueuePage {
    /// Messages, oldest first.
    pub rows: Vec<QueueRow>,
    /// Behind which entry the next page begins; `None` if there is none.
    pub next: Option<EntryId>,
}

/// A message under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its id, the same as in logs and in the Received field.
    pub id: String,
    /// When it was accepted, RFC 3339.
    pub received: String,
    /// Reverse-path, empty for a notification; `None` where only the recipients may know it.
    pub from: Option<String>,
    /// How many recipients are not done.
    pub recipients: usize,
    /// The recipients' states: `parked`, `due`, `held`, `waiting`, `delivered`, `failed`.
    pub states: Vec<String>,
    /// When the next try is due, RFC 3339.
    pub next_attempt: Option<String>,
}

/// A message under way, with its recipients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueDetails {
    /// As in the list.
    #[serde(flatten)]
    pub row: QueueRow,
    /// Each recipient whose mail is not filed yet.
    pub details: Vec<RecipientRow>,
}

/// One recipient of a message under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecipientRow {
    /// The address.
    pub address: String,
    /// Its state.
    pub state: String,
    /// How many tries there were.
    pub attempts: u32,
    /// When the next one is due, RFC 3339.
    pub next_attempt: Option<String>,
    /// What was last answered, or why there was no answer.
    pub last_reply: Option<String>,
    /// What was decided about transport security at the last try, in words.
    pub security: Option<String>,
}
