//! What the jobs of one account share: the modseq counter, the UID lists of busy folders, and the transaction
//! in which numbers may be handed out.
//!
//! Numbers come only from ranges which a synced commit reserved. The counter of modseqs lives in memory; a
//! clean close writes it down, and an open after anything else starts at the end of the range and notes what it
//! skipped as *lost*. A number that a failed transaction took is not used again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::orders::Orders;
use crate::types::{FolderId, ModSeq};

/// How many modseqs a synced commit reserves for the file.
pub(crate) const MODSEQ_RANGE: u64 = 100_000;
/// Of how many folders the UID lists are kept while the file is open.
const UID_LISTS: usize = 8;

/// How many prepared statements a connection keeps: those of delivery and of a busy session.
const STATEMENTS: usize = 32;

/// State of an account's file that lives in memory. Touched only in jobs of its serial executor and its hooks,
/// so no lock is ever waited for.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    next_modseq: AtomicU64,
    points: AtomicU64,
    generation: AtomicU64,
    uids: Mutex<HashMap<i64, UidList>>,
    /// How many readers each body has.
    pins: Mutex<HashMap<i64, usize>>,
    pub(crate) orders: Orders,
}

/// Keeps a body from being cleared away until it is dropped, whoever has it then.
#[derive(Debug)]
pub(crate) struct Pin {
    memory: Arc<Memory>,
    body: i64,
}

impl Pin {
    /// Pins a body. Only in a job in which it was found.
    pub(crate) fn new(memory: &Arc<Memory>, body: i64) -> Self {
        memory.pin(body);
        Self { memory: Arc::clone(memory), body }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.memory.unpin(self.body);
    }
}

/// The UIDs of a folder as they were at a modseq.
#[derive(Debug, Clone)]
pub(crate) struct UidList {
    pub(crate) modseq: u64,
    pub(crate) uid_next: u32,
    pub(crate) uids: Arc<Vec<u32>>,
}

impl Memory {
    /// How many durable points the file has counted.
    pub(crate) fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Notes that the file on disk now counts so many durable points.
    pub(crate) fn reached(&self, points: u64) {
        self.points.fetch_max(points, Ordering::Relaxed);
    }

    /// The modseq that comes next; what a client names beyond it was never given to it by this file.
    pub(crate) fn next_modseq(&self) -> u64 {
        self.next_modseq.load(Ordering::Relaxed)
    }

    /// Grows when the file was opened after anything but a clean close.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<i64, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folders were mended: their lists are read anew.
    pub(crate) fn forget_uid_lists(&self) {
        self.lists().clear();
    }

    fn pin(&self, body: i64) {
        *self.pins().entry(body).or_insert(0) += 1;
    }

    fn unpin(&self, body: i64) {
        let mut pins = self.pins();
        match pins.get_mut(&body) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(pins.remove(&body)),
        }
    }

    pub(crate) fn is_pinned(&self, body: i64) -> bool {
        self.pins().contains_key(&body)
    }

    fn lists(&self) -> MutexGuard<'_, HashMap<i64, UidList>> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn uid_list(&self, folder: FolderId) -> Option<UidList> {
        self.lists().get(&folder.0).cloned()
    }

    pub(crate) fn keep_uid_list(&self, folder: FolderId, list: UidList) {
        let mut lists = self.lists();
        if lists.len() >= UID_LISTS && !lists.contains_key(&folder.0) {
            // The one that changed longest ago is the one least missed.
            let oldest = lists.iter().min_by_key(|(_, list)| list.modseq).map(|(id, _)| *id);
            oldest.map(|id| lists.remove(&id));
        }
        lists.insert(folder.0, list);
    }

    /// After the connection was opened: find where counting goes on. See the module's text.
    pub(crate) fn opened(&self, conn: &mut Connection, clean: bool) -> rusqlite::Result<()> {
        self.lists().clear();
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let tx = conn.transaction()?;
        let Some((next, reserved, points)) = tx
            .query_row("SELECT modseq_next, modseq_reserved, points FROM meta", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?
        else {
            return Ok(()); // a file that is being made
        };
        self.points.store(points.unsigned_abs(), Ordering::Relaxed);
        if clean {
            self.next_modseq.store(next.unsigned_abs(), Ordering::Relaxed);
            return Ok(());
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        // Whatever came after the highest number that is still here may have been seen, and is gone. If that number
        // is still the one of an earlier crash, the range that it left grows.
        tx.execute(
            "INSERT OR REPLACE INTO lost(first, last) SELECT seen + 1, ?1 FROM \
             (SELECT coalesce(max(highest_modseq), 0) AS seen FROM folders) WHERE seen < ?1",
            [reserved - 1],
        )?;
        tx.execute("UPDATE folders SET uid_next = uid_reserved", [])?;
        tx.execute("UPDATE bodies SET refs = 0 WHERE refs < 1 AND refs < 0", [])?;
        tx.execute("UPDATE meta SET modseq_next = modseq_reserved", [])?;
        tx.commit()?;
        self.next_modseq.store(reserved.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }

    /// Before a clean close: write the counter down.
    pub(crate) fn closing(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.execute(
            "UPDATE meta SET modseq_next = ?1 WHERE modseq_next != ?1",
            [signed(self.next_modseq())],
        )?;
        self.lists().clear();
        self.orders.clear();
        Ok(())
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Synced before anybody hears of it: ranges may be extended in it.
    Durable,
    /// Not synced: only reserved numbers may be used.
    Loose,
}

/// What a transaction that is not synced comes to.
#[derive(Debug)]
pub(crate) enum Attempt<R> {
    /// It was done.
    Done(R),
    /// Nothing was done, because a range is used up: reserve by a synced commit, then try again.
    Reserve(Shortage),
}

/// Which range is used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shortage {
    /// The folder that lacks UIDs and how many are needed; without it the modseqs ran out.
    pub(crate) uids: Option<(FolderId, u32)>,
}

/// A transaction that may change mail.
pub(crate) struct Work<'a> {
    pub(crate) tx: &'a Transaction<'a>,
    pub(crate) memory: &'a Memory,
    pub(crate) ends: Ends,
}

impl Work<'_> {
    /// Whether `modseqs` numbers can be had in this transaction. Ask before the first change.
    pub(crate) fn can_take_modseqs(&self, modseqs: u64) -> Result<bool, MailboxError> {
        Ok(self.ends == Ends::Durable || self.memory.next_modseq() + modseqs <= self.reserved()?)
    }

    fn reserved(&self) -> Result<u64, MailboxError> {
        let end: i64 = self
            .tx
            .prepare_cached("SELECT modseq_reserved FROM meta")?
            .query_row([], |row| row.get(0))?;
        Ok(end.unsigned_abs())
    }

    /// The next modification sequence.
    pub(crate) fn modseq(&self) -> Result<u64, MailboxError> {
        let next = self.memory.next_modseq();
        let reserved = self.reserved()?;
        match self.ends {
            Ends::Durable => self.top_up(next + 1, reserved)?,
            Ends::Loose if next < reserved => {}
            Ends::Loose => return Err(MailboxError::Limit("reserved modification sequences")),
        }
        self.memory.next_modseq.store(next + 1, Ordering::Relaxed);
        Ok(next)
    }

    /// Extends the range of modseqs when less than half of one is left after `next`. Only in a synced commit.
    pub(crate) fn top_up(&self, next: u64, reserved: u64) -> Result<(), MailboxError> {
        if next + MODSEQ_RANGE / 2 > reserved {
            self.tx
                .execute("UPDATE meta SET modseq_reserved = ?1", [signed(next + MODSEQ_RANGE)])?;
        }
        Ok(())
    }

    /// The next modification sequence is at least this one. Only in a synced commit.
    pub(crate) fn raise_modseq(&self, next: u64) -> Result<(), MailboxError> {
        let next = self.memory.next_modseq().max(next);
        self.top_up(next, self.reserved()?)?;
        self.memory.next_modseq.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Makes good what an unsynced transaction lacked.
    pub(crate) fn reserve(&self, shortage: Shortage) -> Result<(), MailboxError> {
        self.top_up(self.memory.next_modseq(), self.reserved()?)?;
        if let Some((folder, count)) = shortage.uids {
            let mut row = FolderRow::by_id(self.tx, folder)?;
            row.reserve_uids(count)?;
            row.save(self.tx)?;
        }
        Ok(())
    }

    /// Counts this transaction as a durable point; answers which one it is.
    pub(crate) fn count_point(&self) -> Result<u64, MailboxError> {
        let points: i64 = self
            .tx
            .prepare_cached("UPDATE meta SET points = points + 1 RETURNING points")?
            .query_row([], |row| row.get(0))?;
        Ok(points.unsigned_abs())
    }

    /// Takes `count` UIDs of the folder, the first of which is answered.
    pub(crate) fn take_uids(
        &self,
        folder: &mut FolderRow,
        count: u32,
    ) -> Result<u32, MailboxError> {
        if self.ends == Ends::Durable {
            folder.reserve_uids(count)?;
        }
        if !folder.has_uids(count) {
            return Err(MailboxError::Limit("reserved UIDs"));
        }
        let first = folder.uid_next;
        folder.uid_next += count;
        Ok(first)
    }

    /// A number for a new folder's UIDVALIDITY; no other folder of the account ever had it.
    pub(crate) fn uid_validity(&self) -> Result<u32, MailboxError> {
        let next = self
            .tx
            .prepare_cached(
                "UPDATE meta SET uid_validity_next = uid_validity_next + 1 RETURNING uid_validity_next - 1",
            )?
            .query_row([], |row| row.get(0))?;
        Ok(next)
    }
}

/// Whether a crash may have taken changes that a client which knows `modseq` has seen.
pub(crate) fn is_in_lost_range(conn: &Connection, modseq: ModSeq) -> Result<bool, MailboxError> {
    let mut query =
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM lost WHERE first <= ?1 AND last >= ?1)")?;
    Ok(query.query_row(params![signed(modseq.0)], |row| row.get(0))?)
}
