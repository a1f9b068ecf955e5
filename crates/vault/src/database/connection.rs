//! An open connection: how it is set up, what it knows of the disk, how it closes.

use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::pool::Seat;
use crate::storage::Storage;
use crate::vfs::copy::Copying;
use crate::vfs::{self, Attached, LogPosition};

use super::{Opened, Spec, VaultError};

/// Prepared statements kept for each connection.
const STATEMENTS: usize = 64;

/// SQLite's cache during a bulk job, in KiB: enough for the inner pages of large indexes,
/// and for what one transaction of an import changes.
const BULK_CACHE_KIB: u32 = 16 * 1024;

/// For what kind of work SQLite's cache is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuning {
    Usual,
    /// Much at a time: a larger cache, of which nothing is written before the commit.
    Bulk,
}

/// Up to where an opening of a file had been written at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyncPoint {
    file: u64,
    commits: u64,
}

/// A connection, and the file beneath it.
pub(super) struct Live {
    // Dropped in this order: a copy under way belongs to the connection, and the file's
    // keys are needed until that is closed.
    pub(super) copying: Option<Copying>,
    pub(super) conn: Connection,
    pub(super) file: Attached,
    mark: Mark,
    /// [`Attached::commits`] when the mark was last right.
    seen: u64,
    /// [`Attached::commits`] at the last sync.
    synced: u64,
    /// [`Attached::commits`] at the last checkpoint.
    copied: u64,
    /// Its place among the files that may be open.
    pub(super) seat: Option<Seat>,
}

/// What stands on disk about the last closing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It was clean, and nothing was written since.
    Clean,
    /// There were writes, durably noted before anybody saw one.
    Written,
}

impl Live {
    /// Opens the file, makes it if it is not there, brings its schema up to date, and
    /// runs the hook.
    pub(super) fn open(spec: &Spec, storage: &Arc<dyn Storage>) -> Result<Self, VaultError> {
        vfs::fault::begin(&spec.path);
        vfs::create::if_missing(storage, &spec.path, &spec.keys)?;
        let file = Attached::attach(storage, &spec.path, &spec.keys)?;
        let conn = file.connect()?;
        let mut live = Self {
            copying: None,
            conn,
            file,
            mark: Mark::Written,
            seen: 0,
            synced: 0,
            copied: 0,
            seat: None,
        };
        match live.start(spec) {
            Ok(()) => Ok(live),
            Err(error) => {
                // As after any failed sync: the next opening must not trust the old blocks.
                if live.file.sync_failures() > 0 {
                    live.recover(spec, storage, None)?;
                }
                Err(error)
            }
        }
    }

    /// Opens a damaged file for what can still be read: without its mark, migrations or
    /// hooks, and without a write to the disk.
    pub(super) fn open_read_only(
        spec: &Spec,
        storage: &Arc<dyn Storage>,
    ) -> Result<Self, VaultError> {
        vfs::fault::begin(&spec.path);
        let file = Attached::attach_read_only(storage, &spec.path, &spec.keys)?;
        let conn = file.connect()?;
        set_up(&conn, spec)?;
        conn.execute_batch("PRAGMA query_only = ON")?;
        // There is nothing to look after.
        let commits = file.commits();
        let (seen, synced, copied) = (commits, commits, commits);
        Ok(Self {
            copying: None,
            conn,
            file,
            mark: Mark::Written,
            seen,
            synced,
            copied,
            seat: None,
        })
    }

    fn start(&mut self, spec: &Spec) -> Result<(), VaultError> {
        set_up(&self.conn, spec)?;
        let clean = read_mark(&self.conn)?;
        migrate(&self.conn, spec)?;
        self.seen = self.file.commits();
        self.mark = if clean { Mark::Clean } else { Mark::Written };
        if let Some(opened) = &spec.hooks.opened {
            opened(&mut self.conn, Opened { clean })?;
            self.end_stray_transaction();
        }
        match (self.unseen_commits(), self.marked_clean()) {
            (true, true) => self.clear_mark(),
            (true, false) => self.sync(),
            (false, _) => Ok(()),
        }
    }

    /// Whether the mark on disk still says that the last closing was clean.
    pub(super) fn marked_clean(&self) -> bool {
        self.mark == Mark::Clean
    }

    /// Whether something was committed since the mark was last looked after.
    pub(super) fn unseen_commits(&self) -> bool {
        self.file.commits() != self.seen
    }

    /// Whether something committed may not be on disk.
    pub(super) fn unsynced(&self) -> bool {
        self.file.commits() != self.synced
    }

    /// Whether the whole log is in the main file.
    pub(super) fn copied(&self) -> bool {
        self.file.commits() == self.copied
    }

    /// Clears the mark within the transaction that is open.
    pub(super) fn unmark(&self) -> rusqlite::Result<()> {
        write_mark(&self.conn, false)
    }

    /// Clears the mark, durably, with all that was committed before.
    pub(super) fn clear_mark(&mut self) -> Result<(), VaultError> {
        write_mark(&self.conn, false)?;
        self.sync_group()
    }

    /// [`Live::sync`] after a transaction that cleared the mark.
    pub(super) fn sync_group(&mut self) -> Result<(), VaultError> {
        self.sync()?;
        self.mark = Mark::Written;
        self.seen = self.file.commits();
        Ok(())
    }

    /// Syncs the log, if something in it is new.
    pub(super) fn sync(&mut self) -> Result<(), VaultError> {
        let commits = self.file.commits();
        if commits != self.synced {
            self.file.sync()?;
            self.synced = commits;
        }
        Ok(())
    }

    /// What a sync of the whole file system would have to make durable, if anything.
    pub(super) fn sync_point(&self) -> Option<SyncPoint> {
        let (file, commits) = (self.file.token(), self.file.commits());
        (commits != self.synced).then_some(SyncPoint { file, commits })
    }

    /// The whole file system was synced after `point` was taken.
    pub(super) fn reached(&mut self, point: SyncPoint) {
        if point.file == self.file.token() {
            self.synced = self.synced.max(point.commits);
            self.file.log_is_durable();
        }
    }

    /// Sets SQLite's cache for a bulk job, or for the rest of the time.
    pub(super) fn tune(&self, spec: &Spec, tuning: Tuning) -> rusqlite::Result<()> {
        match tuning {
            Tuning::Usual => self.conn.execute_batch(&format!(
                "PRAGMA cache_spill = ON; PRAGMA cache_size = -{}; PRAGMA shrink_memory",
                cache_kib(spec)
            )),
            Tuning::Bulk => self.conn.execute_batch(&format!(
                "PRAGMA cache_size = -{}; PRAGMA cache_spill = OFF",
                BULK_CACHE_KIB.max(spec.cache_kib)
            )),
        }
    }

    /// Copies the log into the main file.
    pub(super) fn checkpoint(&mut self, truncate: bool) -> Result<(), VaultError> {
        let commits = self.file.commits();
        let sql = match truncate {
            true => "PRAGMA wal_checkpoint(TRUNCATE)",
            false => "PRAGMA wal_checkpoint(PASSIVE)",
        };
        // The answer's first column says "busy", which a lone connection never is.
        self.conn.query_row(sql, [], |_| Ok(()))?;
        self.synced = commits;
        self.copied = commits;
        Ok(())
    }

    /// Rolls back what a job left open.
    pub(super) fn end_stray_transaction(&self) {
        if !self.conn.is_autocommit() {
            tracing::error!("a job left a transaction open; it is rolled back");
            if let Err(error) = self.conn.execute_batch("ROLLBACK") {
                tracing::error!(%error, "rolling back failed");
            }
        }
    }

    /// Before a clean closing: the hook, and the mark, durably with all that was committed.
    pub(super) fn wind_down(&mut self, spec: &Spec) -> Result<(), VaultError> {
        let hooked = match &spec.hooks.closing {
            Some(closing) => closing(&mut self.conn).map_err(VaultError::from),
            None => Ok(()),
        };
        self.end_stray_transaction();
        let written = self.mark == Mark::Written || self.unseen_commits();
        let settled = match (&hooked, written) {
            // The mark is the log's last transaction: where it is, all the others are.
            (Ok(()), true) => write_mark(&self.conn, true).map_err(VaultError::from),
            (Err(_), true) if self.marked_clean() => {
                write_mark(&self.conn, false).map_err(VaultError::from)
            }
            _ => Ok(()),
        };
        let synced = self.sync();
        hooked.and(settled).and(synced)
    }

    /// Closes cleanly after [`Live::wind_down`]: everything in the main file, no log left.
    pub(super) fn close(mut self, spec: &Spec) -> Result<(), VaultError> {
        self.copying = None;
        if let Err(error) = self.checkpoint(true) {
            // Everything is durable in the log, and copied after the next opening.
            tracing::warn!(file = %spec.path.display(), %error, "log not copied at closing");
            self.abandon();
            return Ok(());
        }
        keep_log_at_close(&self.conn, false)?;
        self.conn.close().map_err(|(_, error)| VaultError::from(error))
    }

    /// Closes as a crash would leave it: nothing is copied, the log stays.
    pub(super) fn abandon(self) {
        drop(self.release());
    }

    /// After a failed sync: closes without another write, then writes the log anew.
    pub(super) fn recover(
        self,
        spec: &Spec,
        storage: &Arc<dyn Storage>,
        cut: Option<LogPosition>,
    ) -> Result<(), VaultError> {
        let file = self.release();
        let outcome = vfs::rewrite_log(storage.as_ref(), &spec.path, cut);
        drop(file);
        Ok(outcome?)
    }

    /// Closes the connection without a checkpoint.
    fn release(self) -> Attached {
        drop(self.copying);
        drop(self.conn);
        self.file
    }
}

/// Whether closing leaves the log as it is. By itself, SQLite copies and deletes it then; and
/// to a connection with another file's key every log looks empty, one full of commits too.
fn keep_log_at_close(conn: &Connection, keep: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Everything that is set for each connection. The VFS wants the exclusive mode before
/// the first read, so that SQLite keeps its index of the log on the heap. Temporary files
/// are the VFS's, in memory and with a cap; what SQLite would keep in memory by itself has
/// none.
fn set_up(conn: &Connection, spec: &Spec) -> Result<(), VaultError> {
    keep_log_at_close(conn, true)?;
    vfs::without_lookaside(conn);
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that do not look at bound values: otherwise a kept statement with `LIMIT ?` is parsed anew at each use.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA temp_store = FILE;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -{};
         PRAGMA trusted_schema = OFF;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA synchronous = NORMAL;",
        cache_kib(spec),
    ))?;
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let page_size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    if mode != "wal"
        || page_size as usize != vfs::PAGE_SIZE
        || vfs::reserved(conn)? != vfs::RESERVED
    {
        return Err(VaultError::Damaged { file: spec.path.clone(), page: 1 });
    }
    Ok(())
}

/// SQLite's cache as the database's owner wants it, in KiB.
fn cache_kib(spec: &Spec) -> u32 {
    spec.cache_kib.max(16)
}

fn read_mark(conn: &Connection) -> rusqlite::Result<bool> {
    let clean: Option<bool> =
        conn.query_row("SELECT clean FROM vault_meta", [], |row| row.get(0)).optional()?;
    Ok(clean.unwrap_or(false))
}

fn write_mark(conn: &Connection, clean: bool) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE vault_meta SET clean = ?1")?.execute([clean])?;
    Ok(())
}

/// Runs the migrations that the file has not seen.
fn migrate(conn: &Connection, spec: &Spec) -> Result<(), VaultError> {
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = spec.schema.len() as u32;
    if found > known {
        return Err(VaultError::Newer { file: spec.path.clone(), found, known });
    }
    for (version, script) in (1..).zip(spec.schema).skip(found as usize) {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        tx.execute_batch(script)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}
