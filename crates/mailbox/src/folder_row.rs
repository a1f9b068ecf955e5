//! A folder's row: read, changed in memory, written back within one transaction.

use letterlock_imap_wire::SpecialUse;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::MailboxError;
use crate::types::{FolderId, ModSeq, Status};

/// How many UIDs of a folder a synced commit reserves (STORAGE: UIDs and modseqs).
pub(crate) const UID_RANGE: u32 = 1_000;

const COLUMNS: &str = "id, name, uid_validity, special_use, uid_next, uid_reserved, recent_from, messages, unseen, \
                       deleted, bytes, highest_modseq, tombstones, tombstone_floor";

/// The row of a folder that is not deleted.
#[derive(Debug, Clone)]
pub(crate) struct FolderRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) uid_validity: u32,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) uid_next: u32,
    /// UIDs below this one may be handed out.
    pub(crate) uid_reserved: u32,
    pub(crate) recent_from: u32,
    pub(crate) messages: u32,
    pub(crate) unseen: u32,
    pub(crate) deleted: u32,
    pub(crate) bytes: u64,
    pub(crate) highest_modseq: u64,
    /// Rows in `expunged`.
    pub(crate) tombstones: u32,
    /// What went up to this modseq is not known one by one any more.
    pub(crate) tombstone_floor: u64,
}

impl FolderRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let special: Option<String> = row.get(3)?;
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            uid_validity: row.get(2)?,
            special_use: special.as_deref().and_then(SpecialUse::parse),
            uid_next: row.get(4)?,
            uid_reserved: row.get(5)?,
            recent_from: row.get(6)?,
            messages: row.get(7)?,
            unseen: row.get(8)?,
            deleted: row.get(9)?,
            bytes: row.get::<_, i64>(10)?.unsigned_abs(),
            highest_modseq: row.get::<_, i64>(11)?.unsigned_abs(),
            tombstones: row.get(12)?,
            tombstone_floor: row.get::<_, i64>(13)?.unsigned_abs(),
        })
    }

    /// The folder of a normalised name.
    pub(crate) fn by_name(conn: &Connection, name: &str) -> Result<Self, MailboxError> {
        Self::find_name(conn, name)?.ok_or(MailboxError::NoSuchFolder)
    }

    pub(crate) fn find_name(conn: &Connection, name: &str) -> Result<Option<Self>, MailboxError> {
        let mut query =
            conn.prepare_cached(&format!("SELECT {COLUMNS} FROM folders WHERE name = ?1"))?;
        Ok(query.query_row([name], Self::read).optional()?)
    }

    pub(crate) fn by_id(conn: &Connection, id: FolderId) -> Result<Self, MailboxError> {
        let sql = format!("SELECT {COLUMNS} FROM folders WHERE id = ?1 AND name IS NOT NULL");
        let row = conn.prepare_cached(&sql)?.query_row([id.0], Self::read).optional()?;
        row.ok_or(MailboxError::NoSuchFolder)
    }

    /// All folders, by name.
    pub(crate) fn all(conn: &Connection) -> Result<Vec<Self>, MailboxError> {
        let sql = format!("SELECT {COLUMNS} FROM folders WHERE name IS NOT NULL ORDER BY name");
        let mut query = conn.prepare_cached(&sql)?;
        let rows = query.query_map([], Self::read)?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// Puts a new folder into the file; the id is chosen by it.
    pub(crate) fn insert(
        conn: &Connection,
        name: &str,
        special_use: Option<SpecialUse>,
        uid_validity: u32,
        modseq: u64,
    ) -> Result<FolderId, MailboxError> {
        conn.prepare_cached(
            "INSERT INTO folders(name, uid_validity, special_use, uid_next, uid_reserved, recent_from, messages, \
             unseen, deleted, bytes, highest_modseq, tombstones, tombstone_floor) \
             VALUES (?1, ?2, ?3, 1, ?4, 1, 0, 0, 0, 0, ?5, 0, 0)",
        )?
        .execute(params![
            name,
            uid_validity,
            special_use.map(SpecialUse::as_str),
            1 + UID_RANGE,
            signed(modseq)
        ])?;
        Ok(FolderId(conn.last_insert_rowid()))
    }

    /// Writes back everything that mail changes; names are changed by statements of their own.
    pub(crate) fn save(&self, conn: &Connection) -> Result<(), MailboxError> {
        conn.prepare_cached(
            "UPDATE folders SET uid_next = ?2, uid_reserved = ?3, recent_from = ?4, messages = ?5, unseen = ?6, \
             deleted = ?7, bytes = ?8, highest_modseq = ?9, tombstones = ?10, tombstone_floor = ?11 WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            self.uid_next,
            self.uid_reserved,
            self.recent_from,
            self.messages,
            self.unseen,
            self.deleted,
            signed(self.bytes),
            signed(self.highest_modseq),
            self.tombstones,
            signed(self.tombstone_floor)
        ])?;
        Ok(())
    }

    pub(crate) fn folder_id(&self) -> FolderId {
        FolderId(self.id)
    }

    pub(crate) fn modseq(&self) -> ModSeq {
        ModSeq(self.highest_modseq)
    }

    /// Whether so many UIDs can be handed out without a synced commit.
    pub(crate) fn has_uids(&self, count: u32) -> bool {
        self.uid_next.checked_add(count).is_some_and(|end| end <= self.uid_reserved)
    }

    /// Extends the reserved range so that `count` UIDs and half a range fit. Only for a synced commit.
    pub(crate) fn reserve_uids(&mut self, count: u32) -> Result<(), MailboxError> {
        let wanted =
            self.uid_next.checked_add(count).ok_or(MailboxError::Limit("UIDs of a folder"))?;
        if wanted.saturating_add(UID_RANGE / 2) > self.uid_reserved {
            self.uid_reserved = wanted.saturating_add(UID_RANGE);
        }
        Ok(())
    }

    /// The figures of STATUS; `\Recent` messages are counted by a walk over their UIDs.
    pub(crate) fn status(&self, conn: &Connection) -> Result<Status, MailboxError> {
        let recent = if self.recent_from >= self.uid_next {
            0
        } else {
            conn.prepare_cached("SELECT count(*) FROM messages WHERE folder = ?1 AND uid >= ?2")?
                .query_row(params![self.id, self.recent_from], |row| row.get(0))?
        };
        Ok(Status {
            folder: self.folder_id(),
            messages: self.messages,
            recent,
            unseen: self.unseen,
            deleted: self.deleted,
            size: self.bytes,
            uid_next: self.uid_next,
            uid_validity: self.uid_validity,
            highest_modseq: self.modseq(),
        })
    }
}

/// SQLite's integers are signed; our counts stay far below 2⁶³, and one that does not is cut there.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
