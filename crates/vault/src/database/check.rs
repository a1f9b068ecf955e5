//! SQLite's own check of an open database.

use super::{Database, VaultError};

impl Database {
    /// What SQLite finds wrong with the file's structure and indexes, one sentence for each; empty if nothing. Other
    /// jobs of this file wait meanwhile, so it is for files that are small, or for when somebody asks for it.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub async fn integrity(&self) -> Result<Vec<String>, VaultError> {
        self.read(|connection| {
            let mut check = connection.prepare("PRAGMA integrity_check")?;
            let found = check.query_map([], |row| row.get::<_, String>(0))?;
            let mut sentences = found.collect::<Result<Vec<_>, _>>()?;
            sentences.retain(|sentence| sentence != "ok");
            Ok::<_, VaultError>(sentences)
        })
        .await
    }
}
