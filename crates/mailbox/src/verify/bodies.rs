//! The bodies: read, unpacked, compared with their hash, described anew, and counted.

use letterlock_vault::Key;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Problem, Report};
use crate::body::{CHUNK, CHUNKS_PER_JOB, chunk_id};
use crate::error::MailboxError;
use crate::layout::Layout;
use crate::live::Live;
use crate::pack::unpack;
use crate::structure;

/// How many bodies one job counts or looks for.
const SLICE: usize = 200;

/// A body's row, and its header as it is packed.
#[derive(Debug, Clone)]
struct Entry {
    id: i64,
    email: i64,
    size: usize,
    header_length: usize,
    hash: Vec<u8>,
    envelope: Vec<u8>,
    structure: Vec<u8>,
    header: Option<Vec<u8>>,
    simple: Option<Vec<u8>>,
    layout: Option<Vec<u8>>,
}

/// A body as far as it reads back.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) header_length: usize,
    /// What does not read back is blank.
    pub(super) text: Vec<u8>,
    pub(super) problems: Vec<Problem>,
}

/// Checks all bodies. `done` hears of each.
pub(super) async fn check(
    live: &Live,
    report: &mut Report,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<(), MailboxError> {
    let mut after = 0;
    loop {
        let counted = live.read(move |conn, _| count_refs(conn, after)).await;
        let (problems, last) = match counted {
            Ok(counted) => counted,
            Err(MailboxError::Damaged(_)) => break,
            Err(error) => return Err(error),
        };
        problems.into_iter().for_each(|problem| report.add(problem));
        let Some(last) = last else { break };
        check_texts(live, report, after, last, done).await?;
        after = last;
    }
    for table in ["chunks", "headers", "layouts", "search_waiting", "released"] {
        match check_orphans(live, table).await {
            Ok(orphans) => {
                orphans.into_iter().for_each(|body| report.add(Problem::Orphan { table, body }));
            }
            Err(MailboxError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts the messages of the next bodies; answers which was the last of them.
fn count_refs(conn: &Connection, after: i64) -> Result<(Vec<Problem>, Option<i64>), MailboxError> {
    let mut bodies =
        conn.prepare_cached("SELECT id, refs FROM bodies WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let rows =
        bodies.query_map(params![after, SLICE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut problems, mut last) = (Vec::new(), None);
    for row in rows {
        let (body, kept): (i64, i64) = row?;
        last = Some(body);
        let counted = references_of(conn, body)?;
        // Uploads under way and garbage have none.
        if kept.max(0) != counted {
            problems.push(Problem::Refs { body, kept, counted });
        }
    }
    Ok((problems, last))
}

/// How many messages a body has, and of those that left it how many were not let go of yet.
pub(super) fn references_of(conn: &Connection, body: i64) -> Result<i64, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM folders f CROSS JOIN messages m INDEXED BY messages_body ON m.folder = f.id AND \
         m.body = ?1) + coalesce((SELECT messages FROM released WHERE body = ?1), 0)",
    )?;
    Ok(query.query_row([body], |row| row.get(0))?)
}

async fn check_texts(
    live: &Live,
    report: &mut Report,
    after: i64,
    last: i64,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<(), MailboxError> {
    let mut at = after;
    while let Some(entry) = live.read(move |conn, _| next_entry(conn, at, last)).await? {
        at = entry.id;
        done(1);
        report.bodies += 1;
        let key = live.hash_key.clone();
        let (entry, opened) = open_entry(live, entry).await?;
        let Some(opened) = opened else { continue };
        let problems = tokio::task::spawn_blocking(move || judge(&entry, opened, &key))
            .await
            .map_err(|_| MailboxError::Locked)?;
        problems.into_iter().for_each(|problem| report.add(problem));
    }
    Ok(())
}

fn next_entry(conn: &Connection, after: i64, last: i64) -> Result<Option<Entry>, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT b.id, b.email, b.size, b.header, b.hash, b.envelope, b.structure, h.data, h.simple, l.data FROM bodies b \
         LEFT JOIN headers h ON h.body = b.id LEFT JOIN layouts l ON l.body = b.id \
         WHERE b.id > ?1 AND b.id <= ?2 AND b.refs > 0 ORDER BY b.id LIMIT 1",
    )?;
    let entry = query.query_row([after, last], |row| {
        Ok(Entry {
            id: row.get(0)?,
            email: row.get(1)?,
            size: row.get::<_, i64>(2)?.unsigned_abs() as usize,
            header_length: row.get::<_, i64>(3)?.unsigned_abs() as usize,
            hash: row.get(4)?,
            envelope: row.get(5)?,
            structure: row.get(6)?,
            header: row.get(7)?,
            simple: row.get(8)?,
            layout: row.get(9)?,
        })
    });
    Ok(entry.optional()?)
}

/// Reads a body as far as that goes; None if there is none of that id.
pub(super) async fn open(live: &Live, body: i64) -> Result<Option<Opened>, MailboxError> {
    let entry = live.read(move |conn, _| next_entry(conn, body - 1, body)).await?;
    match entry {
        Some(entry) => Ok(open_entry(live, entry).await?.1),
        None => Ok(None),
    }
}

/// Reads and unpacks the pieces. None if the body went meanwhile.
async fn open_entry(live: &Live, entry: Entry) -> Result<(Entry, Option<Opened>), MailboxError> {
    let (id, header_length) = (entry.id, entry.header_length.min(entry.size));
    let mut opened =
        Opened { header_length, text: Vec::with_capacity(entry.size), problems: Vec::new() };
    let header = entry.header.as_deref().unwrap_or_default();
    if unpack(header, header_length, &mut opened.text).is_err() {
        opened.problems.push(Problem::Header { body: id });
        blank(&mut opened.text, header_length);
    }
    let count = (entry.size - header_length).div_ceil(CHUNK);
    let mut first = 0;
    loop {
        let pieces = live.read(move |conn, _| read_pieces(conn, id, first)).await?;
        let end = (first + CHUNKS_PER_JOB).min(count);
        for number in first..end {
            let length = CHUNK.min(entry.size - opened.text.len());
            let whole = opened.text.len() + length;
            let packed =
                pieces.iter().find(|(at, _)| *at == number).and_then(|(_, data)| data.as_deref());
            let read =
                packed.is_some_and(|packed| unpack(packed, length, &mut opened.text).is_ok());
            if !read {
                opened.problems.push(Problem::Piece { body: id, number: number as u32 });
                blank(&mut opened.text, whole);
            }
        }
        for (number, _) in pieces.iter().filter(|(number, _)| *number >= count) {
            opened.problems.push(Problem::ExtraPiece { body: id, number: *number as u32 });
        }
        first += CHUNKS_PER_JOB;
        if first >= count {
            break;
        }
    }
    let email = entry.email;
    let same: bool = live
        .read(move |conn, _| {
            let mut query = conn.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?1 AND email = ?2 AND refs > 0)",
            )?;
            Ok(query.query_row([id, email], |row| row.get(0))?)
        })
        .await?;
    Ok((entry, same.then_some(opened)))
}

/// A piece's number, and what is packed in it.
type NumberedPiece = (usize, Option<Vec<u8>>);

/// The pieces of one job, and of the last job all beyond the end; a piece on a damaged page has no data.
fn read_pieces(
    conn: &Connection,
    body: i64,
    first: usize,
) -> Result<Vec<NumberedPiece>, MailboxError> {
    let mut ids = conn
        .prepare_cached("SELECT id FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3")?;
    let limit = (CHUNKS_PER_JOB + 1) as i64;
    let range = params![chunk_id(body, first), chunk_id(body + 1, 0), limit];
    let found: Result<Vec<i64>, _> = ids.query_map(range, |row| row.get(0))?.collect();
    let Ok(found) = found else { return Ok(Vec::new()) };
    let mut data = conn.prepare_cached("SELECT data FROM chunks WHERE id = ?1")?;
    Ok(found
        .into_iter()
        .map(|id| ((id - chunk_id(body, 0)) as usize, data.query_row([id], |row| row.get(0)).ok()))
        .collect())
}

/// Fills up to `length` octets with spaces in lines.
fn blank(text: &mut Vec<u8>, length: usize) {
    while text.len() < length {
        let left = length - text.len();
        if left > 78 {
            text.extend_from_slice(&[b' '; 76]);
            text.extend_from_slice(b"\r\n");
        } else if left > 2 {
            text.resize(length - 2, b' ');
            text.extend_from_slice(b"\r\n");
        } else {
            text.resize(length, b'\n');
        }
    }
}

fn judge(entry: &Entry, opened: Opened, key: &Key) -> Vec<Problem> {
    let (body, mut problems) = (entry.id, opened.problems);
    let broken = problems.iter().any(|problem| !matches!(problem, Problem::ExtraPiece { .. }));
    if broken {
        // What is blank has neither the hash nor the description.
        return problems;
    }
    if blake3::keyed_hash(key.expose(), &opened.text).as_bytes() != entry.hash.as_slice() {
        problems.push(Problem::Hash { body });
    }
    let description = structure::describe(&opened.text);
    let layout = (entry.size - opened.header_length > CHUNK).then(|| Layout::of(&opened.text));
    let kept_layout = entry.layout.as_deref().and_then(Layout::from_bytes);
    let same = entry.envelope == description.envelope
        && entry.structure == description.structure
        && entry.simple.as_deref() == Some(&description.body)
        && structure::header_length(&opened.text) == opened.header_length
        // Messages of before layouts were kept have none.
        && (kept_layout.is_none() || kept_layout == layout);
    if !same {
        problems.push(Problem::Description { body });
    }
    problems
}

/// Rows that belong to no body, by jumps from body to body.
async fn check_orphans(live: &Live, table: &'static str) -> Result<Vec<i64>, MailboxError> {
    let (mut orphans, mut next) = (Vec::new(), 0i64);
    loop {
        let (found, after) = live.read(move |conn, _| orphan_slice(conn, table, next)).await?;
        orphans.extend(found);
        match after {
            Some(after) => next = after,
            None => return Ok(orphans),
        }
    }
}

fn orphan_slice(
    conn: &Connection,
    table: &str,
    mut next: i64,
) -> Result<(Vec<i64>, Option<i64>), MailboxError> {
    let sql = match table {
        "chunks" => {
            "SELECT id >> 20 FROM chunks WHERE id >= ?1 << 20 ORDER BY id LIMIT 1".to_owned()
        }
        _ => format!("SELECT body FROM {table} WHERE body >= ?1 ORDER BY body LIMIT 1"),
    };
    let mut rows = conn.prepare_cached(&sql)?;
    let mut there = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?1)")?;
    let mut orphans = Vec::new();
    for _ in 0..SLICE {
        let Some(body) = rows.query_row([next], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok((orphans, None));
        };
        if !there.query_row([body], |row| row.get::<_, bool>(0))? {
            orphans.push(body);
        }
        next = body + 1;
    }
    Ok((orphans, Some(next)))
}
