//! The walk over the rows of a folder: all of them in the order of their UIDs, or only those of the bodies that the
//! word index names and those that it does not know yet.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::condition::Meta;
use super::{Hit, Search};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::messages::{SLICE, above, date_at, flags_at, modseq_at};
use crate::types::FolderId;

/// How many bodies of the index one job looks up.
const BODIES: usize = 400;
/// The index leads where it names less than one in so many of the folder's messages.
const SELECTIVE: usize = 8;

/// Where a walk goes on.
#[derive(Debug, Clone)]
pub(super) enum Walk {
    /// Through all rows, after this UID.
    Rows { after: u32 },
    /// To the messages of these bodies, from one of them on; then on to those that are not indexed yet.
    Bodies { bodies: Arc<Vec<i64>>, from: usize },
    /// To the messages of bodies above the frontier of the index, after this body and UID.
    New { after: (i64, u32) },
}

impl Walk {
    /// The shortest walk that finds everything.
    pub(super) fn of(search: &Search, messages: usize) -> Self {
        let mut questions = Vec::new();
        search.condition.needs(&mut questions);
        let most = (messages / SELECTIVE).max(16);
        let candidates =
            questions.iter().filter_map(|question| search.answers.candidates(*question, most));
        match candidates.min_by_key(Vec::len) {
            Some(mut bodies) => {
                bodies.extend(search.answers.waiting());
                Self::Bodies { bodies: Arc::new(bodies), from: 0 }
            }
            None => Self::Rows { after: 0 },
        }
    }
}

/// Some rows, judged by themselves and by the index.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) hits: Vec<Hit>,
    /// Those whose content has to be looked at.
    pub(super) open: Vec<Meta>,
    pub(super) next: Option<Walk>,
}

impl Slice {
    fn judge(&mut self, search: &Search, meta: Meta) {
        match search.condition.judge(&meta, &search.answers, None) {
            Some(true) => self.hits.push((meta.uid, meta.modseq)),
            Some(false) => {}
            None => self.open.push(meta),
        }
    }
}

/// One job of the walk.
pub(super) fn read_slice(
    conn: &Connection,
    search: &Search,
    walk: Walk,
) -> Result<Slice, MailboxError> {
    FolderRow::by_id(conn, search.folder)?;
    match walk {
        Walk::Rows { after } => read_rows(conn, search, after),
        Walk::Bodies { bodies, from } => read_bodies(conn, search, bodies, from),
        Walk::New { after } => read_new(conn, search, after),
    }
}

const COLUMNS: &str = "uid, modseq, flags, keywords, received, zone, size, body";

fn meta(row: &Row<'_>) -> rusqlite::Result<Meta> {
    Ok(Meta {
        uid: row.get(0)?,
        modseq: modseq_at(row, 1)?,
        flags: flags_at(row, 2, 3)?,
        date: date_at(row, 4, 5)?,
        size: row.get::<_, i64>(6)?.unsigned_abs(),
        body: row.get(7)?,
    })
}

fn read_rows(conn: &Connection, search: &Search, after: u32) -> Result<Slice, MailboxError> {
    // Few messages are unread or deleted: their indexes lead there without a walk over all rows.
    let (index, only) = search.condition.index().unwrap_or(("", ""));
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages {index} \
         WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 {only} ORDER BY uid LIMIT ?4"
    ))?;
    let (mut slice, mut read, mut last) = (Slice::default(), 0, after);
    for (first, end) in above(&search.ranges, after) {
        let left = SLICE - read;
        if left == 0 {
            break;
        }
        let mut rows = query.query(params![search.folder.0, first, end, left as i64])?;
        while let Some(row) = rows.next()? {
            let meta = meta(row)?;
            read += 1;
            last = meta.uid;
            slice.judge(search, meta);
        }
    }
    slice.next = (read == SLICE).then_some(Walk::Rows { after: last });
    Ok(slice)
}

fn read_bodies(
    conn: &Connection,
    search: &Search,
    bodies: Arc<Vec<i64>>,
    from: usize,
) -> Result<Slice, MailboxError> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages INDEXED BY messages_body WHERE folder = ?1 AND body = ?2"
    ))?;
    let mut slice = Slice::default();
    let some = bodies.get(from..).unwrap_or_default();
    for body in some.iter().take(BODIES) {
        let mut rows = query.query(params![search.folder.0, body])?;
        while let Some(row) = rows.next()? {
            let meta = meta(row)?;
            if search.ranges.contains(meta.uid) {
                slice.judge(search, meta);
            }
        }
    }
    slice.next = Some(if some.len() > BODIES {
        Walk::Bodies { bodies, from: from + BODIES }
    } else {
        Walk::New { after: (search.answers.frontier(), u32::MAX) }
    });
    Ok(slice)
}

fn read_new(conn: &Connection, search: &Search, after: (i64, u32)) -> Result<Slice, MailboxError> {
    let FolderId(folder) = search.folder;
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages INDEXED BY messages_body \
         WHERE folder = ?1 AND (body, uid) > (?2, ?3) ORDER BY body, uid LIMIT ?4"
    ))?;
    let (mut slice, mut read, mut last) = (Slice::default(), 0, after);
    let mut rows = query.query(params![folder, after.0, after.1, SLICE as i64])?;
    while let Some(row) = rows.next()? {
        let meta = meta(row)?;
        read += 1;
        last = (meta.body, meta.uid);
        if search.ranges.contains(meta.uid) {
            slice.judge(search, meta);
        }
    }
    slice.next = (read == SLICE).then_some(Walk::New { after: last });
    Ok(slice)
}
