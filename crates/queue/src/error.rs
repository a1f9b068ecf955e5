//! What can go wrong with the queue.

use letterlock_address::Mailbox;
use letterlock_vault::{DeliveryId, SealError, VaultError};

/// Why the queue could not do what it was asked to. At `accept`, each of them is a temporary failure (451) of the
/// message, except those that blame the caller's entry.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The disk, or the file's quota, is full.
    #[error("no space left for the queue")]
    Full,
    /// An entry without recipients goes nowhere.
    #[error("message {0} has no recipient")]
    NoRecipients(DeliveryId),
    /// More than 65,536 recipients, or a body of more than 4 GiB.
    #[error("message {0} is too large for the queue")]
    TooLarge(DeliveryId),
    /// The id is in the queue already.
    #[error("message {0} is in the queue already")]
    Exists(DeliveryId),
    /// The queue has no such message, or no more.
    #[error("message {0} is not in the queue")]
    NoSuchMessage(DeliveryId),
    /// The message has no such recipient, or no more.
    #[error("message {id} has no recipient {recipient}")]
    NoSuchRecipient {
        /// The message.
        id: DeliveryId,
        /// Whom it does not go to.
        recipient: Mailbox,
    },
    /// What was asked for went out of the queue meanwhile.
    #[error("it is not in the queue any more")]
    Gone,
    /// The stored message does not open, or opens to something else than was stored: damage, tampering, or a wrong
    /// key. Nothing of it is given out.
    #[error("message {id} in the queue cannot be opened: {part}")]
    Damaged {
        /// The message.
        id: DeliveryId,
        /// What of it.
        part: &'static str,
    },
    /// What an owner has to open was asked for without the key, or the other way round.
    #[error("message {0} needs its owner's key")]
    Sealed(DeliveryId),
    /// A recipient's public key is none.
    #[error("message {id} could not be sealed: {source}")]
    Seal {
        /// The message.
        id: DeliveryId,
        /// What was wrong with the key.
        source: SealError,
    },
    /// What stands in the file cannot be read as what it should be.
    #[error("queue.db holds a row that cannot be read: {0}")]
    Row(String),
    /// A task on another thread was ended by the shutdown of the runtime.
    #[error("the work was cut off by the end of the program")]
    CutOff,
    /// The file could not be read or written.
    #[error("queue.db: {0}")]
    Vault(VaultError),
}

impl From<VaultError> for QueueError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Full => Self::Full,
            other => Self::Vault(other),
        }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::from(VaultError::from(error))
    }
}
