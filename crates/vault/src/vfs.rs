//! The VFS beneath SQLite: every page and every log frame is sealed on its way to disk.
//!
//! SQLite names a file by a number that [`Attached`] gives out; path, keys and
//! [`Storage`] stand in a registry under that number, so that no key is ever part of a
//! file name or URI. Only what this crate attached can be opened.
//!
//! **Pages** are 4096 bytes, of which SQLite leaves the last 56 alone (zero in its
//! memory). On disk: 4040 bytes of cipher text, nonce (24), tag (16), outer hash (16).
//! Page 1 is no exception.
//!
//! **Log frames** are SQLite's 24 bytes of frame header and a page. As the page's last 56
//! bytes are zero, header and page are sealed together into the same 4120 bytes at the
//! same offsets. The log's header of 32 bytes stays plain; it says nothing of the content.
//!
//! **Rollback journals** exist only while a file is made ([`create`]), and in memory.
//! Temporary files live in memory, up to 64 MiB each.
//!
//! What does not authenticate is reported by [`fault`] with its file and page, and is
//! never handed to SQLite. `ffi` is the only module with `unsafe`; the others are plain
//! functions on buffers that it calls.

mod batch;
mod cipher;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod fault;
mod ffi;
mod log_file;
mod main_file;
mod memory_file;
pub(crate) mod pages;
mod plain;
pub(crate) mod verify;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use rusqlite::{Connection, FileControl, OpenFlags};

use crate::key::FileKeys;
use crate::pool::lock;
use crate::storage::{OpenMode, Storage, StorageFile};

use self::cipher::Cipher;
use super::VaultError;
pub use ffi::wipe_freed_sqlite_memory;
pub(crate) use ffi::without_lookaside;

/// Octets of a page.
pub(crate) const PAGE_SIZE: usize = 4096;
/// Octets at the end of each page that SQLite leaves to us.
pub(crate) const RESERVED: usize = cipher::TAIL;
/// Octets of a page that hold content.
const USABLE: usize = PAGE_SIZE - RESERVED;
/// Octets of SQLite's header of a log.
const LOG_HEADER: usize = 32;
/// Octets of SQLite's header of a frame.
const FRAME_HEADER: usize = 24;
/// Octets of a frame in the log.
const FRAME: usize = FRAME_HEADER + PAGE_SIZE;
/// The VFS's name in SQLite.
const NAME: &std::ffi::CStr = c"letterlock";

/// Where a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// The salts in the log's header: another generation has others.
    pub(crate) salts: [u8; 8],
    /// Frames up to the last commit.
    pub(crate) frames: u32,
}

/// One file (with its log) that SQLite may open.
struct Entry {
    path: PathBuf,
    log_path: PathBuf,
    storage: Arc<dyn Storage>,
    cipher: Cipher,
    stage: Stage,
    shared: Mutex<Shared>,
}

/// Whether a file is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is being made: empty at first, with a rollback journal in memory.
    New,
    /// It is complete: what cannot be read is damage.
    Settled,
    /// It is damaged, and not to be written.
    ReadOnly,
}

/// What is known about the open files of an entry.
#[derive(Default)]
struct Shared {
    main_open: bool,
    log: Option<Arc<dyn StorageFile>>,
    /// The log's folder was not synced since it was opened: its name may not be on disk.
    log_is_new: bool,
    position: LogPosition,
    commits: u64,
    sync_failures: u64,
}

#[derive(Default)]
struct Registry {
    last: u64,
    entries: HashMap<u64, Arc<Entry>>,
    paths: HashSet<PathBuf>,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn entry(token: u64) -> Option<Arc<Entry>> {
    lock(&REGISTRY).entries.get(&token).cloned()
}

/// Whether `path` is known to the VFS, and so may be open.
fn is_attached(path: &Path) -> bool {
    lock(&REGISTRY).paths.contains(path)
}

/// A file that SQLite may open, until this is dropped.
pub(crate) struct Attached {
    token: u64,
    entry: Arc<Entry>,
}

impl Attached {
    /// Makes an existing file known to the VFS.
    pub(crate) fn attach(
        storage: &Arc<dyn Storage>,
        path: &Path,
        keys: &FileKeys,
    ) -> Result<Self, VaultError> {
        Self::attach_at(storage, path, keys, Stage::Settled)
    }

    /// Makes an existing file known, to be read and not written.
    pub(crate) fn attach_read_only(
        storage: &Arc<dyn Storage>,
        path: &Path,
        keys: &FileKeys,
    ) -> Result<Self, VaultError> {
        Self::attach_at(storage, path, keys, Stage::ReadOnly)
    }

    fn attach_at(
        storage: &Arc<dyn Storage>,
        path: &Path,
        keys: &FileKeys,
        stage: Stage,
    ) -> Result<Self, VaultError> {
        let entry = Arc::new(Entry {
            path: path.to_owned(),
            log_path: beside(path, "-wal"),
            storage: Arc::clone(storage),
            cipher: Cipher::new(keys),
            stage,
            shared: Mutex::default(),
        });
        let mut registry = lock(&REGISTRY);
        if !registry.paths.insert(path.to_owned()) {
            return Err(VaultError::InUse { file: path.to_owned() });
        }
        registry.last += 1;
        let token = registry.last;
        registry.entries.insert(token, Arc::clone(&entry));
        Ok(Self { token, entry })
    }

    /// The one connection to the file.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        ffi::register();
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.entry.stage == Stage::New {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        Connection::open_with_flags_and_vfs(self.token.to_string(), flags, NAME)
    }

    /// Commits that went into the log since it was attached, recovered ones included.
    pub(crate) fn commits(&self) -> u64 {
        lock(&self.entry.shared).commits
    }

    /// A number that no other opening has.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Everything in the file system was synced, the log's name too.
    pub(crate) fn log_is_durable(&self) {
        lock(&self.entry.shared).log_is_new = false;
    }

    /// Where the log's committed part ends.
    pub(crate) fn position(&self) -> LogPosition {
        lock(&self.entry.shared).position
    }

    /// A transaction failed after `before`: what it wrote to the log does not count.
    pub(crate) fn rewind(&self, before: LogPosition) {
        let position = &mut lock(&self.entry.shared).position;
        position.frames = if position.salts == before.salts { before.frames } else { 0 };
    }

    /// Syncs of this file or its log that failed, ours and SQLite's.
    pub(crate) fn sync_failures(&self) -> u64 {
        lock(&self.entry.shared).sync_failures
    }

    /// Returns when all that was committed is on stable storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let log = lock(&self.entry.shared).log.clone();
        match log {
            Some(log) => self.entry.sync_log(log.as_ref()),
            None => Ok(()),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut registry = lock(&REGISTRY);
        registry.entries.remove(&self.token);
        registry.paths.remove(&self.entry.path);
    }
}

impl Entry {
    /// An error for SQLite if the file is only read.
    fn may_write(&self) -> Result<(), i32> {
        if self.stage == Stage::ReadOnly { Err(rusqlite::ffi::SQLITE_READONLY) } else { Ok(()) }
    }

    fn sync_log(&self, log: &dyn StorageFile) -> io::Result<()> {
        let is_new = lock(&self.shared).log_is_new;
        let outcome = log.sync().and_then(|()| match is_new {
            true => self.storage.sync_dir(&self.log_path),
            false => Ok(()),
        });
        let mut shared = lock(&self.shared);
        match &outcome {
            Ok(()) => shared.log_is_new = false,
            Err(error) => {
                shared.sync_failures += 1;
                fault::set_io(error);
            }
        }
        outcome
    }
}

/// `path` with `suffix` added to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// How many octets of each page SQLite leaves to us in this database.
pub(crate) fn reserved(conn: &Connection) -> rusqlite::Result<usize> {
    let mut octets = -1;
    conn.file_control(Some(c"main"), FileControl::ReserveBytes(&mut octets))?;
    Ok(usize::try_from(octets).unwrap_or(0))
}

/// Writes a log anew, through a second file that takes its place.
///
/// After a failed sync the kernel may take pages for clean that never reached the disk;
/// syncing the same file again would prove nothing. So what can be read of it (which is
/// what the next opening would see) goes into new blocks. With `cut`, everything after
/// that position is left out: all of it, if the log was started anew since then, because
/// that happens only when the main file has everything.
pub(crate) fn rewrite_log(
    storage: &dyn Storage,
    path: &Path,
    cut: Option<LogPosition>,
) -> io::Result<()> {
    let log_path = beside(path, "-wal");
    let new_path = beside(path, "-wal.new");
    if !storage.exists(&log_path)? {
        return Ok(());
    }
    let old = storage.open(&log_path, OpenMode::Existing)?;
    let end = match cut {
        Some(cut) => kept_length(old.as_ref(), cut)?.min(old.len()?),
        None => old.len()?,
    };
    let new = storage.open(&new_path, OpenMode::Create)?;
    new.truncate(0)?;
    let mut buffer = vec![0; 64 * FRAME];
    let mut offset = 0;
    while offset < end {
        let wanted = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let read = main_file::read_all(old.as_ref(), &mut buffer[..wanted], offset)?;
        if read == 0 {
            break;
        }
        new.write_at(&buffer[..read], offset)?;
        offset += read as u64;
    }
    new.sync()?;
    storage.rename(&new_path, &log_path)?;
    storage.sync_dir(&log_path)
}

/// How much of `log` stands before `cut`.
fn kept_length(log: &dyn StorageFile, cut: LogPosition) -> io::Result<u64> {
    let mut header = [0; LOG_HEADER];
    let read = log.read_at(&mut header, 0)?;
    if read < LOG_HEADER || header[16..24] != cut.salts || cut.frames == 0 {
        return Ok(0);
    }
    Ok(frame_offset(cut.frames) + FRAME as u64)
}

/// Where frame `frame` (from 1) begins in a log.
fn frame_offset(frame: u32) -> u64 {
    LOG_HEADER as u64 + u64::from(frame.saturating_sub(1)) * FRAME as u64
}
