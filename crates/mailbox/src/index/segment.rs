//! Segments in the file: written in several transactions, then made valid by one; taken away in slices.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::MailboxError;
use crate::live::Live;
use crate::work::{Attempt, Work};

use super::block::{Block, Piece, put, take};

/// How many blocks one job reads or writes.
pub(super) const BLOCKS_PER_JOB: usize = 6;
/// Being written; after a crash it is taken away.
const WRITING: i64 = 0;
/// Looked at by searches.
const VALID: i64 = 1;
/// Merged into another one.
const REPLACED: i64 = 2;

/// The number of a block among all: those of a segment lie together.
pub(super) fn block_id(segment: i64, number: i64) -> i64 {
    segment << 24 | number
}

/// A segment that is valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) id: i64,
    pub(super) documents: u64,
}

/// All valid segments.
pub(super) fn list(conn: &Connection) -> Result<Vec<Segment>, MailboxError> {
    let mut query = conn
        .prepare_cached("SELECT id, documents FROM search_segments WHERE state = 1 ORDER BY id")?;
    let rows = query.query_map([], |row| {
        Ok(Segment { id: row.get(0)?, documents: row.get::<_, i64>(1)?.unsigned_abs() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The bodies of a segment, in the order of their numbers there. None if there is no such segment.
pub(super) fn bodies(conn: &Connection, segment: i64) -> Result<Option<Vec<i64>>, MailboxError> {
    let packed: Option<Vec<u8>> = conn
        .prepare_cached("SELECT bodies FROM search_segments WHERE id = ?1")?
        .query_row([segment], |row| row.get(0))
        .optional()?;
    let Some(packed) = packed else { return Ok(None) };
    let (mut rest, mut all) = (packed.as_slice(), Vec::new());
    while let Some(number) = take(&mut rest) {
        all.push(number as i64);
    }
    Ok(Some(all))
}

/// The next blocks of a segment from a number on.
pub(super) fn blocks(
    conn: &Connection,
    segment: i64,
    from: i64,
    limit: usize,
) -> Result<Vec<(i64, Block)>, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT t.id, t.length, t.data, p.length, p.data FROM search_terms t JOIN search_posts p ON p.id = t.id \
         WHERE t.id >= ?1 AND t.id < ?2 ORDER BY t.id LIMIT ?3",
    )?;
    let range = params![block_id(segment, from), block_id(segment + 1, 0), limit as i64];
    let rows = query.query_map(range, |row| {
        let terms = Piece { length: row.get::<_, i64>(1)? as usize, data: row.get(2)? };
        let posts = Piece { length: row.get::<_, i64>(3)? as usize, data: row.get(4)? };
        Ok((row.get::<_, i64>(0)? - block_id(segment, 0), Block { terms, posts }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A segment being written. It belongs to the life of the file in which it was begun.
#[derive(Debug)]
pub(super) struct Draft {
    id: i64,
    next: i64,
    bytes: i64,
    generation: u64,
}

impl Draft {
    /// Begins a segment of these bodies.
    pub(super) async fn begin(live: &Live, bodies: &[i64]) -> Result<Self, MailboxError> {
        let mut packed = Vec::new();
        bodies.iter().for_each(|body| put(&mut packed, body.unsigned_abs()));
        let documents = bodies.len() as i64;
        let packed = Arc::new(packed);
        live.loose(move |work| {
            work.tx.execute(
                "INSERT INTO search_segments(state, documents, bytes, bodies) VALUES (?1, ?2, 0, ?3)",
                params![WRITING, documents, packed.as_slice()],
            )?;
            let id = work.tx.last_insert_rowid();
            Ok(Attempt::Done(Self { id, next: 0, bytes: 0, generation: work.memory.generation() }))
        })
        .await
    }

    /// Writes blocks behind those that are there.
    pub(super) async fn write(
        &mut self,
        live: &Live,
        blocks: Vec<Block>,
    ) -> Result<(), MailboxError> {
        let mut blocks = blocks.into_iter();
        loop {
            let some: Vec<Block> = blocks.by_ref().take(BLOCKS_PER_JOB).collect();
            if some.is_empty() {
                return Ok(());
            }
            let (first, count) = (block_id(self.id, self.next), some.len() as i64);
            let octets: usize =
                some.iter().map(|block| block.terms.data.len() + block.posts.data.len()).sum();
            let generation = self.generation;
            live.loose(move |work| {
                check_generation(work, generation)?;
                for (id, block) in (first..).zip(&some) {
                    for (table, piece) in
                        [("search_terms", &block.terms), ("search_posts", &block.posts)]
                    {
                        work.tx
                            .prepare_cached(&format!(
                                "INSERT INTO {table}(id, length, data) VALUES (?1, ?2, ?3)"
                            ))?
                            .execute(params![id, piece.length as i64, piece.data])?;
                    }
                }
                Ok(Attempt::Done(()))
            })
            .await?;
            self.next += count;
            self.bytes += octets as i64;
        }
    }

    /// Makes it valid, together with what `also` does.
    pub(super) async fn publish(
        self,
        live: &Live,
        also: impl Fn(&Work<'_>) -> Result<(), MailboxError> + Send + Sync + 'static,
    ) -> Result<(), MailboxError> {
        live.loose(move |work| {
            check_generation(work, self.generation)?;
            work.tx.execute(
                "UPDATE search_segments SET state = ?1, bytes = ?2 WHERE id = ?3",
                params![VALID, self.bytes, self.id],
            )?;
            also(work)?;
            Ok(Attempt::Done(()))
        })
        .await
    }
}

/// Marks segments as merged.
pub(super) fn replace(work: &Work<'_>, segments: &[i64]) -> Result<(), MailboxError> {
    for segment in segments {
        work.tx.execute(
            "UPDATE search_segments SET state = ?1 WHERE id = ?2",
            params![REPLACED, segment],
        )?;
    }
    Ok(())
}

/// The file was closed and recovered meanwhile: blocks may be missing.
fn check_generation(work: &Work<'_>, generation: u64) -> Result<(), MailboxError> {
    if work.memory.generation() == generation { Ok(()) } else { Err(MailboxError::Locked) }
}

/// Takes away what is not valid. Only for the one who changes the index.
pub(super) async fn clear(live: &Live) -> Result<(), MailboxError> {
    const ANY: &str = "SELECT EXISTS (SELECT 1 FROM search_segments WHERE state != 1)";
    while live.read(|conn, _| Ok(conn.query_row(ANY, [], |row| row.get::<_, bool>(0))?)).await? {
        let _nobody_looks = live.index.segments.write().await;
        live.loose(|work| Ok(Attempt::Done(clear_some(work)?))).await?;
    }
    Ok(())
}

fn clear_some(work: &Work<'_>) -> Result<(), MailboxError> {
    let segment: Option<i64> = work
        .tx
        .query_row("SELECT id FROM search_segments WHERE state != ?1 LIMIT 1", [VALID], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(segment) = segment else { return Ok(()) };
    let mut removed = 0;
    for table in ["search_terms", "search_posts"] {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id >= ?1 AND id < ?2 LIMIT ?3)"
        );
        removed += work.tx.prepare_cached(&sql)?.execute(params![
            block_id(segment, 0),
            block_id(segment + 1, 0),
            BLOCKS_PER_JOB as i64
        ])?;
    }
    if removed == 0 {
        work.tx.execute("DELETE FROM search_segments WHERE id = ?1", [segment])?;
    }
    Ok(())
}
