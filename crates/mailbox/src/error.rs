//! What can go wrong with a mailbox. Each variant maps to one IMAP response code.

use letterlock_vault::VaultError;

use crate::name::NameError;

/// Why an operation on a mailbox was not done. Nothing of it was done, unless the operation says otherwise.
///
/// The texts carry no mail, no folder names and no keys: they may be logged.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// There is no folder of that name or id (IMAP: `NONEXISTENT`, or `TRYCREATE` for a target).
    #[error("no such folder")]
    NoSuchFolder,
    /// A folder of that name is there already (IMAP: `ALREADYEXISTS`).
    #[error("a folder of that name exists")]
    AlreadyExists,
    /// The name is none that a folder can have (IMAP: `CANNOT`).
    #[error("unusable folder name: {0}")]
    BadName(#[from] NameError),
    /// The operation is never allowed on this folder: deleting INBOX, for one (IMAP: `CANNOT`).
    #[error("not allowed for this folder")]
    Forbidden,
    /// Another folder has that special use already, or INBOX cannot have one (IMAP: `USEATTR`, RFC 6154 §3).
    #[error("the special use is taken or not possible here")]
    SpecialUse,
    /// The account is locked, or was locked while the operation ran (IMAP: close with BYE).
    #[error("the mailbox is locked")]
    Locked,
    /// One message is larger than the server takes; the limit in octets (IMAP: `TOOBIG`).
    #[error("the message is larger than {limit} octets")]
    TooBig {
        /// What is taken at most, in octets.
        limit: u64,
    },
    /// The operation would go over the account's quota (IMAP: `OVERQUOTA`).
    #[error("over quota")]
    OverQuota,
    /// The folder has as many folders, keywords or UIDs as there can be (IMAP: `LIMIT`).
    #[error("a limit of the mailbox is reached: {0}")]
    Limit(&'static str),
    /// The file stands behind the mark that the directory holds: an older copy was put in its place.
    /// Reading goes on, writing is refused (IMAP: `SERVERBUG`, with an alert).
    #[error("the mailbox file is older than its mark; it is read-only until an operator decides")]
    RolledBack,
    /// A page or a body does not read back as it was written (IMAP: `CORRUPTION`).
    #[error("damaged mailbox: {0}")]
    Damaged(String),
    /// The disk is full (IMAP: `UNAVAILABLE`).
    #[error("no space left")]
    Full,
    /// Anything else that storage reports (IMAP: `SERVERBUG` or `UNAVAILABLE`).
    #[error("storage: {0}")]
    Storage(VaultError),
}

impl MailboxError {
    /// Something in the file that cannot be, said in words that hold no mail.
    pub(crate) fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }

    /// Whether the same call may succeed later without anybody changing it: locks, full disks, I/O.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Locked | Self::Full | Self::Storage(_) | Self::Damaged(_) | Self::RolledBack
        )
    }
}

impl From<VaultError> for MailboxError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Closed => Self::Locked,
            VaultError::Full => Self::Full,
            damaged @ VaultError::Damaged { .. } => Self::Damaged(damaged.to_string()),
            other => Self::Storage(other),
        }
    }
}

impl From<rusqlite::Error> for MailboxError {
    fn from(error: rusqlite::Error) -> Self {
        VaultError::from(error).into()
    }
}
