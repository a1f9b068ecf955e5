//! Copying an open database into a new file under other keys.
//!
//! As in [`create`](super::create), the file is made beside its place and gets its name
//! when it is complete and on disk. A copy that was cut short is a file with another name,
//! which the next attempt deletes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::storage::{OpenMode, Storage};
use crate::{Spec, VaultError};

use super::ffi::Backup;
use super::{Attached, PAGE_SIZE, Stage, beside, is_attached};

pub(crate) use super::ffi::Extent;

/// Pages copied between two looks at the clock.
const STRIDE: i32 = 16;

/// A copy under way. It belongs to the connection that is copied, and goes before it.
pub(crate) struct Copying {
    // Dropped in this order: the keys are needed until the connection is closed.
    backup: Backup,
    file: Attached,
    spec: Arc<Spec>,
    storage: Arc<dyn Storage>,
}

impl Copying {
    /// Prepares a copy of `source` as `new` describes it. What stands there is deleted first: the
    /// caller knows that it is no file in use, but what an earlier attempt left.
    pub(crate) fn begin(
        source: &Connection,
        storage: &Arc<dyn Storage>,
        new: &Arc<Spec>,
    ) -> Result<Self, VaultError> {
        remove(storage.as_ref(), &new.path)?;
        let place = unfinished(&new.path);
        let file = Attached::attach_at(storage, &place, &new.keys, Stage::New)?;
        let target = file.connect()?;
        // Nothing of it counts before it is complete and synced, so SQLite need not be
        // able to undo anything, nor sync.
        target.execute_batch(&format!(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA page_size = {PAGE_SIZE};
             PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA cache_size = -512;"
        ))?;
        let backup = Backup::new(source, target)?;
        Ok(Self { backup, file, spec: Arc::clone(new), storage: Arc::clone(storage) })
    }

    /// What is being made.
    pub(crate) fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// Copies for up to `time`, but never the last `margin` pages.
    pub(crate) fn advance(
        &mut self,
        source: &Connection,
        time: Duration,
        margin: u32,
    ) -> Result<Extent, VaultError> {
        let started = Instant::now();
        // A step of no pages only looks how many there are.
        let mut extent = self.step(source, 0)?;
        while extent.remaining > margin && started.elapsed() < time {
            let room = i32::try_from(extent.remaining - margin).unwrap_or(i32::MAX);
            extent = self.step(source, room.min(STRIDE))?;
        }
        Ok(extent)
    }

    fn step(&mut self, source: &Connection, pages: i32) -> Result<Extent, VaultError> {
        if let Some(extent) = self.backup.step(source, pages)? {
            return Ok(extent);
        }
        // The source shrank to less than was copied, which SQLite takes for the end: from
        // then on it would not follow what is written.
        self.backup.restart(source)?;
        match self.backup.step(source, 0)? {
            Some(extent) => Ok(extent),
            None => Err(std::io::Error::other("nothing to copy").into()),
        }
    }

    /// Copies what is left, and makes the new file durable under its name.
    pub(crate) fn complete(mut self, source: &Connection) -> Result<(), VaultError> {
        while self.backup.step(source, -1)?.is_some() {}
        let Self { backup, file, spec, storage } = self;
        drop(backup);
        drop(file);
        let unfinished = unfinished(&spec.path);
        storage.open(&unfinished, OpenMode::Existing)?.sync()?;
        storage.rename(&unfinished, &spec.path)?;
        Ok(storage.sync_dir(&spec.path)?)
    }
}

/// The name of a file until it is complete.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".new")
}

/// Deletes the database at `path` with all that belongs to it, durably; fine if there is
/// none.
pub(crate) fn remove(storage: &dyn Storage, path: &Path) -> Result<(), VaultError> {
    let unfinished = unfinished(path);
    for file in [path, &unfinished] {
        if is_attached(file) {
            return Err(VaultError::InUse { file: file.to_owned() });
        }
    }
    let mut found = false;
    // The main file last: without it, a log that is left would be taken for damage.
    for file in [&beside(path, "-wal.new"), &beside(path, "-wal"), &unfinished, path] {
        if storage.exists(file)? {
            storage.delete(file)?;
            found = true;
        }
    }
    if found {
        storage.sync_dir(path)?;
    }
    Ok(())
}

/// Deletes what there is of a copy that was given up.
pub(crate) fn remove_unfinished(storage: &dyn Storage, path: &Path) -> Result<(), VaultError> {
    let unfinished = unfinished(path);
    if !is_attached(&unfinished) && storage.exists(&unfinished)? {
        storage.delete(&unfinished)?;
    }
    Ok(())
}
