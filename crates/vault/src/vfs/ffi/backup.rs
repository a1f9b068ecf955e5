//! SQLite's online backup: the pages of one connection's file into another's, in steps.

use std::ffi::c_int;
use std::ptr::NonNull;

use rusqlite::ffi::{self, sqlite3, sqlite3_backup};
use rusqlite::{Connection, Error};

/// A copy under way.
///
/// SQLite brings every page up to date in it that its source writes meanwhile, and starts
/// again where a rollback makes that impossible. Until it ends, SQLite answers `BUSY` to a
/// closing of either connection, and frees neither.
pub(crate) struct Backup {
    raw: NonNull<sqlite3_backup>,
    source: *mut sqlite3,
    /// Kept here because `raw` points to it.
    target: Connection,
}

// SAFETY: SQLite binds neither a connection nor a backup to a thread. Whoever has the
// `Backup` has the target, and each call but the last takes the source, which is not `Sync`:
// it is in use nowhere else then. The last, in `drop`, is made by the owner of both.
unsafe impl Send for Backup {}

/// How far a copy is, in pages of the source as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) remaining: u32,
    pub(crate) total: u32,
}

impl Backup {
    /// Prepares a copy of `source`'s main database into `target`'s; nothing is read yet.
    ///
    /// The owner of `source` drops the copy on the thread that uses `source`, or before.
    pub(crate) fn new(source: &Connection, target: Connection) -> rusqlite::Result<Self> {
        let (source, raw) = begin(source, &target)?;
        Ok(Self { raw, source, target })
    }

    /// Begins anew, after a copy that was complete.
    pub(crate) fn restart(&mut self, source: &Connection) -> rusqlite::Result<()> {
        let (source, raw) = begin(source, &self.target)?;
        let old = std::mem::replace(&mut self.raw, raw);
        self.source = source;
        // SAFETY: `old` came from `sqlite3_backup_init`, and nothing else holds it now.
        unsafe { ffi::sqlite3_backup_finish(old.as_ptr()) };
        Ok(())
    }

    /// Copies up to `pages` pages, all that are left if negative; `None` when the copy is
    /// complete and committed.
    pub(crate) fn step(
        &mut self,
        source: &Connection,
        pages: c_int,
    ) -> rusqlite::Result<Option<Extent>> {
        // SAFETY: only the handle's value is compared.
        if unsafe { source.handle() } != self.source {
            return Err(failure(ffi::SQLITE_MISUSE));
        }
        // SAFETY: `raw` came from `sqlite3_backup_init` and was not finished; nobody uses
        // its connections now, as `source` is borrowed here and `target` is ours.
        unsafe {
            match ffi::sqlite3_backup_step(self.raw.as_ptr(), pages) {
                ffi::SQLITE_DONE => Ok(None),
                ffi::SQLITE_OK => Ok(Some(Extent {
                    remaining: count(ffi::sqlite3_backup_remaining(self.raw.as_ptr())),
                    total: count(ffi::sqlite3_backup_pagecount(self.raw.as_ptr())),
                })),
                code => Err(failure(code)),
            }
        }
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `sqlite3_backup_init` and is finished once, here, before
        // `target` is dropped. What it answers was answered by `step` before.
        unsafe { ffi::sqlite3_backup_finish(self.raw.as_ptr()) };
        if let Err(error) = self.target.execute_batch("ROLLBACK")
            && !self.target.is_autocommit()
        {
            tracing::warn!(%error, "an unfinished copy was not rolled back");
        }
    }
}

fn begin(
    source: &Connection,
    target: &Connection,
) -> rusqlite::Result<(*mut sqlite3, NonNull<sqlite3_backup>)> {
    // SAFETY: both handles are valid while the connections live, and so are the names.
    // SQLite keeps either connection from being freed before `sqlite3_backup_finish`.
    let (from, raw) = unsafe {
        let (from, to) = (source.handle(), target.handle());
        (from, ffi::sqlite3_backup_init(to, c"main".as_ptr(), from, c"main".as_ptr()))
    };
    NonNull::new(raw).map(|raw| (from, raw)).ok_or_else(|| failure(ffi::SQLITE_ERROR))
}

fn count(pages: c_int) -> u32 {
    u32::try_from(pages).unwrap_or(0)
}

fn failure(code: c_int) -> Error {
    Error::SqliteFailure(ffi::Error::new(code), None)
}
