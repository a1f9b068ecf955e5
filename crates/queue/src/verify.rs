//! Whether the queue's file is sound.

use crate::error::QueueError;
use crate::queue::Queue;

impl Queue {
    /// What SQLite finds wrong with the file, one sentence for each; empty if nothing. Acceptance waits meanwhile.
    ///
    /// # Errors
    /// `Vault` if it cannot be looked at.
    pub async fn verify(&self) -> Result<Vec<String>, QueueError> {
        self.flush().await?;
        Ok(self.database.integrity().await?)
    }
}
