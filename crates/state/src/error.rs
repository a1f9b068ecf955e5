//! What can go wrong with the server's memory.

use letterlock_vault::VaultError;

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What stands in the file cannot be read as what it should be.
    #[error("state.db holds {0} that cannot be read")]
    Row(&'static str),
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Vault(VaultError::from(error))
    }
}
