//! SQLite's own check of an open database.

use rusqlite::Connection;

use super::{Database, VaultError};

/// A file of at most so many pages (16 MiB) is checked in one piece, which takes some hundredths of a second and also
/// sees pages that nothing uses or two things use.
const SMALL: i64 = 4_096;

impl Database {
    /// What SQLite finds wrong with the file's structure and indexes, one sentence for each; empty if nothing. In a
    /// large file each table with its indexes is a job of its own, so that others have their turns in between.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub async fn integrity(&self) -> Result<Vec<String>, VaultError> {
        self.integrity_in_pieces(SMALL).await
    }

    async fn integrity_in_pieces(&self, small: i64) -> Result<Vec<String>, VaultError> {
        let tables = self.read(move |connection| pieces(connection, small)).await?;
        let Some(tables) = tables else {
            return self.read(|connection| check(connection, None)).await;
        };
        let mut found = Vec::new();
        for table in tables {
            found.extend(self.read(move |connection| check(connection, Some(&table))).await?);
        }
        Ok(found)
    }
}

/// The tables of a large file; `None` if it is small.
fn pieces(connection: &Connection, small: i64) -> Result<Option<Vec<String>>, VaultError> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages <= small {
        return Ok(None);
    }
    let mut query = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")?;
    let names = query.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(Some(names))
}

fn check(connection: &Connection, table: Option<&str>) -> Result<Vec<String>, VaultError> {
    let sql = match table {
        None => "PRAGMA integrity_check".to_owned(),
        Some(name) => format!("PRAGMA integrity_check('{}')", name.replace('\'', "''")),
    };
    let mut check = connection.prepare(&sql)?;
    let found = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut sentences = found.collect::<Result<Vec<_>, _>>()?;
    sentences.retain(|sentence| sentence != "ok");
    Ok(sentences)
}
