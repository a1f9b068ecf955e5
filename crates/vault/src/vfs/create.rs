//! Making a new file: beside its place, complete, synced, and only then under its name.
//!
//! So a file under its name always has its pages, and what cannot be read there is damage
//! and not a beginning that a power cut interrupted.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, FileControl};

use crate::VaultError;
use crate::key::FileKeys;
use crate::storage::{OpenMode, Storage};

use super::{Attached, PAGE_SIZE, RESERVED, Stage, beside, copy, fault};

/// Makes the database at `path` if there is none: no tables but the vault's own, in WAL
/// mode, on disk when this returns.
pub(crate) fn if_missing(
    storage: &Arc<dyn Storage>,
    path: &Path,
    keys: &FileKeys,
) -> Result<(), VaultError> {
    if storage.exists(path)? {
        // A whole file has its first page at least, whatever was lost in a power cut.
        if storage.open(path, OpenMode::Existing)?.len()? < PAGE_SIZE as u64 {
            return Err(VaultError::Damaged { file: path.to_owned(), page: 1 });
        }
        return Ok(());
    }
    let log = beside(path, "-wal");
    if storage.exists(&log)? {
        // Somebody took the main file away from its log.
        return Err(VaultError::Damaged { file: path.to_owned(), page: 0 });
    }
    let unfinished = copy::unfinished(path);
    // First its own: what a copying under way writes is no leftover.
    let file = Attached::attach_at(storage, &unfinished, keys, Stage::New)?;
    for leftover in [&unfinished, &beside(&unfinished, "-wal")] {
        if storage.exists(leftover)? {
            storage.delete(leftover)?;
        }
    }
    let conn = file.connect()?;
    fill(&conn)?;
    conn.close().map_err(|(_, error)| VaultError::from(error))?;
    drop(file);
    storage.open(&unfinished, OpenMode::Existing)?.sync()?;
    storage.rename(&unfinished, path)?;
    storage.sync_dir(path)?;
    Ok(())
}

fn fill(conn: &Connection) -> Result<(), VaultError> {
    let mut reserved = RESERVED as i32;
    conn.file_control(Some(c"main"), FileControl::ReserveBytes(&mut reserved))?;
    conn.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA page_size = {PAGE_SIZE};
         BEGIN IMMEDIATE;
         CREATE TABLE vault_meta (clean INTEGER NOT NULL);
         INSERT INTO vault_meta (clean) VALUES (1);
         COMMIT;"
    ))?;
    // The answer comes before the commit, which is part of the statement's end; and if
    // something fails, the answer may be the old mode instead of an error.
    let mut statement = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut answers = statement.query([])?;
    while let Some(answer) = answers.next()? {
        if answer.get_ref(0)?.as_str().ok() != Some("wal") {
            let cause = fault::last().map(VaultError::from);
            return Err(cause.unwrap_or_else(|| io::Error::other("no WAL mode").into()));
        }
    }
    Ok(())
}
