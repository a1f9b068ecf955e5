//! Whether the file is sound.

use crate::error::StateError;
use crate::state::State;

impl State {
    /// What SQLite finds wrong with the file, one sentence for each; empty if nothing.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub async fn verify(&self) -> Result<Vec<String>, StateError> {
        Ok(self.database.integrity().await?)
    }
}
