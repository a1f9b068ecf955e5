//! Rows of messages: how they are put in, read in batches, and taken out.
//!
//! Everything here runs inside a job. A folder's counters are changed in its [`FolderRow`], which the caller
//! loads before and saves after.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_imap_wire::InternalDate;
use rusqlite::{Connection, Row as SqlRow, params};

use crate::body;
use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::pack::unpack;
use crate::quota::Usage;
use crate::types::{
    Columns, EmailId, FlagRow, Flags, FolderId, ModSeq, Row, SystemFlags, UidRanges,
};
use crate::work::Work;

/// How many rows a job reads or changes at most.
pub(crate) const SLICE: usize = 1_000;
/// How many octets of columns one answer of [`rows`] has, about: hostile mail may have headers as large as messages.
const ROWS_BYTES: usize = 4 << 20;
/// Rows in `expunged` for a folder above which the older half goes.
const TOMBSTONES: u32 = 20_000;
/// Where more messages than these leave a folder at once, their bodies are cleared away in the background.
const AT_ONCE: usize = 8;
/// How many keywords a folder may know.
pub const MAX_KEYWORDS: usize = 256;

/// A message about to be put into a folder; its body is in the file.
#[derive(Debug, Clone)]
pub(crate) struct NewRow {
    pub(crate) system: SystemFlags,
    /// In the folder's spelling, see [`spell`].
    pub(crate) keywords: BTreeSet<String>,
    pub(crate) date: InternalDate,
    pub(crate) saved: i64,
    pub(crate) size: u64,
    pub(crate) body: i64,
    pub(crate) email: EmailId,
}

/// Puts a message into the folder at `uid`, and counts it.
pub(crate) fn insert(
    work: &Work<'_>,
    folder: &mut FolderRow,
    uid: u32,
    modseq: u64,
    row: &NewRow,
) -> Result<(), MailboxError> {
    work.tx
        .prepare_cached(
            "INSERT INTO messages(folder, uid, modseq, created, flags, keywords, received, zone, saved, size, body, \
             email) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            folder.id,
            uid,
            signed(modseq),
            row.system.bits(),
            join(&row.keywords),
            row.date.timestamp().as_second(),
            row.date.offset_minutes(),
            row.saved,
            signed(row.size),
            row.body,
            row.email.0
        ])?;
    folder.messages += 1;
    folder.bytes += row.size;
    folder.highest_modseq = modseq;
    count(folder, row.system, SystemFlags::SEEN | SystemFlags::DELETED, 1);
    Ok(())
}

/// Counts a message in (1) or out (−1) by those of its flags that are in `which`.
fn count(folder: &mut FolderRow, flags: SystemFlags, which: SystemFlags, by: i32) {
    let add = |counter: u32| counter.saturating_add_signed(by);
    if which.contains(SystemFlags::SEEN) && !flags.contains(SystemFlags::SEEN) {
        folder.unseen = add(folder.unseen);
    }
    if which.contains(SystemFlags::DELETED) && flags.contains(SystemFlags::DELETED) {
        folder.deleted = add(folder.deleted);
    }
}

/// Takes a message's old flags out of the counters and puts the new ones in.
pub(crate) fn recount(folder: &mut FolderRow, old: SystemFlags, new: SystemFlags) {
    let both = SystemFlags::SEEN | SystemFlags::DELETED;
    count(folder, old, both, -1);
    count(folder, new, both, 1);
}

/// A message about to be taken out.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) uid: u32,
    pub(crate) system: SystemFlags,
    pub(crate) size: u64,
    pub(crate) body: i64,
}

/// What becomes of the bodies of messages that leave a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// They lose one message.
    Release,
    /// Another folder has taken them over.
    Keep,
}

/// Takes messages (ascending) out of the folder at `modseq` and leaves tombstones. Answers whether there is
/// garbage to clear now.
pub(crate) fn remove(
    work: &Work<'_>,
    folder: &mut FolderRow,
    modseq: u64,
    leaving: &[Leaving],
    bodies: Bodies,
) -> Result<bool, MailboxError> {
    let mut garbage = false;
    let mut delete =
        work.tx.prepare_cached("DELETE FROM messages WHERE folder = ?1 AND uid = ?2")?;
    for message in leaving {
        delete.execute(params![folder.id, message.uid])?;
        folder.messages = folder.messages.saturating_sub(1);
        folder.bytes = folder.bytes.saturating_sub(message.size);
        count(folder, message.system, SystemFlags::SEEN | SystemFlags::DELETED, -1);
        match bodies {
            Bodies::Keep => {}
            Bodies::Release if leaving.len() <= AT_ONCE => {
                garbage |= body::release(work, message.body, 1)?;
            }
            Bodies::Release => {
                body::release_later(work.tx, message.body, message.size)?;
                garbage = true;
            }
        }
    }
    let gone: UidRanges = leaving.iter().map(|message| message.uid).collect();
    let mut bury = work.tx.prepare_cached(
        "INSERT INTO expunged(folder, modseq, first, last) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (first, last) in gone.ranges() {
        bury.execute(params![folder.id, signed(modseq), first, last])?;
        folder.tombstones += 1;
    }
    folder.highest_modseq = modseq;
    if folder.tombstones > TOMBSTONES {
        forget_tombstones(work.tx, folder)?;
    }
    Ok(garbage)
}

/// Drops the older half of the tombstones; whoever asks since before them gets a full list.
fn forget_tombstones(conn: &Connection, folder: &mut FolderRow) -> Result<(), MailboxError> {
    let floor: i64 = conn.query_row(
        "SELECT modseq FROM expunged WHERE folder = ?1 ORDER BY modseq LIMIT 1 OFFSET ?2",
        params![folder.id, TOMBSTONES / 2],
        |row| row.get(0),
    )?;
    let dropped = conn.execute(
        "DELETE FROM expunged WHERE folder = ?1 AND modseq <= ?2",
        params![folder.id, floor],
    )?;
    folder.tombstones =
        folder.tombstones.saturating_sub(u32::try_from(dropped).unwrap_or(u32::MAX));
    folder.tombstone_floor = floor.unsigned_abs();
    Ok(())
}

/// The keywords as the folder spells them, after making new ones known. What is no atom is left out.
pub(crate) fn spell(
    conn: &Connection,
    folder: FolderId,
    keywords: &BTreeSet<String>,
) -> Result<BTreeSet<String>, MailboxError> {
    let mut spelled = BTreeSet::new();
    for keyword in keywords.iter().filter(|keyword| is_atom(keyword)) {
        let known = conn
            .prepare_cached("SELECT name FROM keywords WHERE folder = ?1 AND name = ?2")?
            .query_map(params![folder.0, keyword], |row| row.get(0))?
            .next();
        spelled.insert(match known {
            Some(name) => name?,
            None => learn(conn, folder, keyword)?,
        });
    }
    Ok(spelled)
}

fn learn(conn: &Connection, folder: FolderId, keyword: &str) -> Result<String, MailboxError> {
    if known_keywords(conn, folder)?.len() >= MAX_KEYWORDS {
        return Err(MailboxError::Limit("keywords of a folder"));
    }
    conn.prepare_cached("INSERT INTO keywords(folder, name) VALUES (?1, ?2)")?
        .execute(params![folder.0, keyword])?;
    Ok(keyword.to_owned())
}

/// All keywords that the folder knows.
pub(crate) fn known_keywords(
    conn: &Connection,
    folder: FolderId,
) -> Result<Vec<String>, MailboxError> {
    let mut query =
        conn.prepare_cached("SELECT name FROM keywords WHERE folder = ?1 ORDER BY name")?;
    let names = query.query_map([folder.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// RFC 9051 §9, `atom`; at most 128 octets.
fn is_atom(keyword: &str) -> bool {
    (1..=128).contains(&keyword.len())
        && keyword.bytes().all(|octet| octet.is_ascii_graphic() && !br#"(){%*"\]"#.contains(&octet))
}

/// Keywords as the file keeps them: NULL, or separated by spaces.
pub(crate) fn join(keywords: &BTreeSet<String>) -> Option<String> {
    let mut joined = String::new();
    for keyword in keywords {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(keyword);
    }
    (!joined.is_empty()).then_some(joined)
}

/// The flags out of two columns of a row.
pub(crate) fn flags_at(
    row: &SqlRow<'_>,
    system: usize,
    keywords: usize,
) -> rusqlite::Result<Flags> {
    let words = row.get_ref(keywords)?.as_str_or_null()?;
    Ok(Flags {
        system: SystemFlags::from_bits(row.get(system)?),
        keywords: words
            .map(|words| words.split(' ').map(str::to_owned).collect())
            .unwrap_or_default(),
    })
}

/// `uid, modseq, flags, keywords` as the first columns of a row.
pub(crate) fn flag_row(row: &SqlRow<'_>) -> rusqlite::Result<FlagRow> {
    Ok(FlagRow { uid: row.get(0)?, modseq: modseq_at(row, 1)?, flags: flags_at(row, 2, 3)? })
}

pub(crate) fn modseq_at(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<ModSeq> {
    Ok(ModSeq(row.get::<_, i64>(column)?.unsigned_abs()))
}

/// The date out of two columns; one that cannot be is shown as the epoch.
pub(crate) fn date_at(
    row: &SqlRow<'_>,
    seconds: usize,
    zone: usize,
) -> rusqlite::Result<InternalDate> {
    let time = Timestamp::from_second(row.get(seconds)?).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(InternalDate::new(time, row.get(zone)?).unwrap_or_else(|| InternalDate::utc(time)))
}

/// The parts of the ranges that lie above `after`.
pub(crate) fn above(ranges: &UidRanges, after: u32) -> impl Iterator<Item = (u32, u32)> {
    let skip = ranges.ranges().partition_point(|range| range.1 <= after);
    ranges.ranges()[skip..].iter().map(move |range| (range.0.max(after.saturating_add(1)), range.1))
}

/// The next rows of the ranges above `after`, ascending, at most `limit` and about [`ROWS_BYTES`]; with `since`, only
/// those changed later.
pub(crate) fn rows(
    conn: &Connection,
    folder: FolderId,
    ranges: &UidRanges,
    columns: Columns,
    since: Option<ModSeq>,
    after: u32,
    limit: usize,
) -> Result<Vec<Row>, MailboxError> {
    let mut query = conn.prepare_cached(&rows_sql(columns, since))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (first, last) in above(ranges, after) {
        let left = limit - found.len();
        if left == 0 {
            break;
        }
        let since = since.map_or(0, |since| signed(since.0));
        let mut some = query.query(params![folder.0, first, last, left as i64, since])?;
        while let Some(row) = some.next()? {
            let row = read_row(row, columns)?;
            bytes += row.column_bytes();
            found.push(row);
            if bytes >= ROWS_BYTES {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn rows_sql(columns: Columns, since: Option<ModSeq>) -> String {
    let mut select =
        "SELECT m.uid, m.modseq, m.flags, m.keywords, m.received, m.zone, m.saved, m.size, m.email"
            .to_owned();
    let mut from = " FROM messages m".to_owned();
    let or_null = |wanted: bool, column: &'static str| if wanted { column } else { "NULL" };
    let bodies = columns.envelope || columns.bodystructure || columns.header;
    let headers = columns.header || columns.body;
    let _ = write!(
        select,
        ", {}, {}, {}, {}, {}",
        or_null(columns.envelope, "b.envelope"),
        or_null(columns.bodystructure, "b.structure"),
        or_null(columns.body, "h.simple"),
        or_null(columns.header, "h.data"),
        or_null(columns.header, "b.header")
    );
    if bodies {
        from.push_str(" LEFT JOIN bodies b ON b.id = m.body");
    }
    if headers {
        from.push_str(" LEFT JOIN headers h ON h.body = m.body");
    }
    let filter = if since.is_some() { " AND m.modseq > ?5" } else { " AND ?5 = 0" };
    format!(
        "{select}{from} WHERE m.folder = ?1 AND m.uid BETWEEN ?2 AND ?3{filter} ORDER BY m.uid LIMIT ?4"
    )
}

fn read_row(row: &SqlRow<'_>, columns: Columns) -> Result<Row, MailboxError> {
    let blob = |column: usize| -> rusqlite::Result<Option<Bytes>> {
        Ok(row.get::<_, Option<Vec<u8>>>(column)?.map(Bytes::from))
    };
    let header = if columns.header {
        let length: Option<i64> = row.get(13)?;
        let mut header = Vec::new();
        let packed = row.get_ref(12)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        let packed = packed.ok_or_else(|| MailboxError::damaged("a message has no body"))?;
        unpack(packed, length.unwrap_or(0).unsigned_abs() as usize, &mut header)?;
        Some(header.into())
    } else {
        None
    };
    Ok(Row {
        uid: row.get(0)?,
        modseq: modseq_at(row, 1)?,
        flags: flags_at(row, 2, 3)?,
        internal_date: date_at(row, 4, 5)?,
        saved: row.get(6)?,
        size: row.get::<_, i64>(7)?.unsigned_abs(),
        email_id: EmailId(row.get(8)?),
        envelope: blob(9)?,
        bodystructure: blob(10)?,
        body: blob(11)?,
        header,
    })
}

/// The id of a message's body.
pub(crate) fn body_of(
    conn: &Connection,
    folder: FolderId,
    uid: u32,
) -> Result<Option<i64>, MailboxError> {
    let mut query =
        conn.prepare_cached("SELECT body FROM messages WHERE folder = ?1 AND uid = ?2")?;
    let body = query.query_map(params![folder.0, uid], |row| row.get(0))?.next().transpose()?;
    Ok(body)
}

/// Octets of a message.
pub(crate) fn size_of(
    conn: &Connection,
    folder: FolderId,
    uid: u32,
) -> Result<Option<u64>, MailboxError> {
    let mut query =
        conn.prepare_cached("SELECT size FROM messages WHERE folder = ?1 AND uid = ?2")?;
    let size = query.query_map(params![folder.0, uid], |row| row.get::<_, i64>(0))?.next();
    Ok(size.transpose()?.map(i64::unsigned_abs))
}

/// All messages in folders that are not deleted.
pub(crate) fn usage(conn: &Connection) -> Result<Usage, MailboxError> {
    let (octets, messages): (i64, i64) = conn
        .prepare_cached(
            "SELECT coalesce(sum(bytes), 0), coalesce(sum(messages), 0) FROM folders WHERE name IS NOT NULL",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Usage { octets: octets.unsigned_abs(), messages: messages.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_atoms() {
        assert!(is_atom("$Forwarded") && is_atom("a.b-c_d+"));
        for text in ["", "a b", "a\"", "\\Seen", "caf\u{e9}", "a(b", "x]"] {
            assert!(!is_atom(text), "{text}");
        }
        assert!(!is_atom(&"x".repeat(129)));
        let both = ["b".to_owned(), "a".to_owned()].into_iter().collect();
        assert_eq!(join(&both).as_deref(), Some("a b"));
        assert_eq!(join(&BTreeSet::new()), None);
    }

    #[test]
    fn cursors_cut_ranges() {
        let set = UidRanges::from_ranges([(1, 3), (7, 9)]);
        assert_eq!(above(&set, 0).collect::<Vec<_>>(), [(1, 3), (7, 9)]);
        assert_eq!(above(&set, 2).collect::<Vec<_>>(), [(3, 3), (7, 9)]);
        assert_eq!(above(&set, 3).collect::<Vec<_>>(), [(7, 9)]);
        assert_eq!(above(&set, 9).count(), 0);
    }
}
