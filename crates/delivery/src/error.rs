//! Why a message was not accepted.

use letterlock_mailbox::MailboxError;
use letterlock_queue::QueueError;

/// Why a message was not accepted. Nothing of it stays; all of these are temporary for
/// the sender.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No room to keep it.
    #[error("no space left")]
    Full,
    /// A recipient that was accepted at RCPT exists no more.
    #[error("a recipient went away during the transaction")]
    Changed,
    /// The server is being stopped; whether the message was kept is not known.
    #[error("cut off by the end of the program")]
    CutOff,
    /// The queue failed.
    #[error(transparent)]
    Queue(QueueError),
}

impl From<QueueError> for AcceptError {
    fn from(error: QueueError) -> AcceptError {
        match error {
            QueueError::Full => AcceptError::Full,
            other => AcceptError::Queue(other),
        }
    }
}

/// Why a parked message could not be filed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("its key does not open: {0}")]
    Key(#[from] letterlock_vault::OpenError),
}

impl FileError {
    /// Whether the account cannot be filed into at all at this moment, so that trying the
    /// next message makes no sense.
    pub(crate) fn stops_the_account(&self) -> bool {
        match self {
            FileError::Mailbox(error) => error.is_temporary(),
            FileError::Queue(error) => {
                matches!(error, QueueError::Full | QueueError::Vault(_) | QueueError::CutOff)
            }
            FileError::Key(_) => false,
        }
    }
}
