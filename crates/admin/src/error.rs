//! Why a request was not carried out, in words for operators.

use letterlock_directory::DirectoryError;
use letterlock_mailbox::MailboxError;
use letterlock_queue::QueueError;
use letterlock_state::StateError;

/// Why a request was not carried out. The texts say what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An argument is not what it has to be.
    #[error("{0}")]
    Invalid(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The mailbox is locked and the command needs its key.
    #[error(
        "the mailbox of {0} is locked: do this while its owner is logged in, or give its password, its recovery key or the organisation's private key with --unlock-stdin"
    )]
    Locked(String),
    /// The secret given to unlock does not fit.
    #[error("this secret does not open the mailbox of {0}")]
    WrongSecret(String),
    /// The directory refused or failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The mailbox refused or failed.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The queue refused or failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// What is remembered cannot be read or changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// Anything that should not happen.
    #[error("{0}")]
    Failed(String),
}
