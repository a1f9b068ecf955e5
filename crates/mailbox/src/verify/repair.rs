//! Mending what was found, one finding at a time, each in a commit of its own.

use std::sync::Arc;

use bytes::Bytes;
use letterlock_vault::AccountId;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Expected, Finding, Problem, Progress, Repair, Report, bodies, whole};
use crate::body::{CHUNK, Prepared, chunk_id};
use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::layout::Layout;
use crate::live::Live;
use crate::pack::{pack, packed_length};
use crate::registry::Mailboxes;
use crate::structure;
use crate::types::FolderId;
use crate::work::Work;

impl Mailboxes {
    /// Repairs an unlocked mailbox: checks it, mends what can be mended in place, and checks it again. Answers what
    /// was found at first, and what is left: findings that need [`Mailboxes::salvage`] or an operator.
    ///
    /// # Errors
    /// As [`Mailboxes::verify`], and what is in the way of writing; what was mended until then stays so.
    pub async fn repair(
        &self,
        account: AccountId,
        expected: &Expected,
        mut progress: Progress,
    ) -> Result<(Report, Report), MailboxError> {
        let live = self.live_of(account)?;
        let before = whole::check(&live, self.pool().storage(), expected, &mut progress).await?;
        mend_all(&live, &before).await?;
        if let Some(handle) = self.handle(account) {
            handle.sweep().await?;
            handle.index_soon(crate::index::WORTHWHILE);
        }
        let after = whole::check(&live, self.pool().storage(), expected, &mut progress).await?;
        Ok((before, after))
    }
}

/// Mends all findings that can be mended in place.
pub(super) async fn mend_all(live: &Arc<Live>, report: &Report) -> Result<(), MailboxError> {
    // Bodies first, and figures last: what is mended changes them.
    let rank = |finding: &&Finding| match finding.repair {
        Repair::RebuildIndexes => 0,
        Repair::AdoptMessages => 1,
        Repair::Blank | Repair::Placeholder => 2,
        Repair::FollowBody | Repair::LearnKeyword | Repair::RemoveOrphan => 3,
        Repair::Rehash | Repair::Describe => 4,
        _ => 5,
    };
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(rank);
    for finding in findings {
        mend(live, &finding.problem).await?;
        if !matches!(finding.repair, Repair::Salvage | Repair::Operator) {
            tracing::warn!(account = %live.secrets.account(), %finding, "mended");
        }
    }
    if !report.is_clean() {
        // Sizes and subjects may be others now, by which messages were put in order.
        live.memory.orders.clear();
    }
    Ok(())
}

async fn mend(live: &Arc<Live>, problem: &Problem) -> Result<(), MailboxError> {
    match problem.clone() {
        Problem::Structure { table, text } if text.contains("index") => {
            live.durable(move |work| Ok(work.tx.execute_batch(&format!("REINDEX {table}"))?)).await
        }
        Problem::Counter { folder, .. }
        | Problem::UidNext { folder, .. }
        | Problem::UidRange { folder }
        | Problem::ModSeq { folder } => live.durable(move |work| recount(work, folder)).await,
        Problem::Expunged { folder, uid } => {
            live.durable(move |work| unbury(work, folder, uid)).await
        }
        Problem::Keyword { folder, uid } => {
            live.durable(move |work| learn_keywords(work, folder, uid)).await
        }
        Problem::Disagrees { folder, uid, .. } => {
            live.durable(move |work| follow_body(work, folder, uid)).await
        }
        Problem::NoBody { folder, uid } => replace_body(live, folder, uid).await,
        Problem::NoFolder { folder } => live.durable(move |work| adopt(work, folder)).await,
        Problem::UidValidity { .. } => {
            live.durable(|work| {
                let sql = "UPDATE meta SET uid_validity_next = (SELECT max(uid_validity) + 1 FROM folders)";
                work.tx.execute(sql, [])?;
                Ok(())
            })
            .await
        }
        Problem::Refs { body, .. } => live.durable(move |work| count_refs(work.tx, body)).await,
        Problem::Header { body }
        | Problem::Piece { body, .. }
        | Problem::ExtraPiece { body, .. }
        | Problem::Hash { body }
        | Problem::Description { body } => rewrite(live, body).await,
        Problem::Orphan { table, body } => {
            live.durable(move |work| remove_orphan(work.tx, table, body)).await
        }
        Problem::Index { .. } => reset_index(live).await,
        Problem::Structure { .. }
        | Problem::Page { .. }
        | Problem::Frame { .. }
        | Problem::Account
        | Problem::Sealing
        | Problem::Mark { .. } => Ok(()),
    }
}

/// Computes a folder's figures anew, and sets the next numbers behind all that are there.
fn recount(work: &Work<'_>, folder: FolderId) -> Result<(), MailboxError> {
    let highest: i64 = work.tx.query_row(
        "SELECT max(coalesce((SELECT max(modseq) FROM messages), 0), coalesce((SELECT max(modseq) FROM expunged), 0), \
         coalesce((SELECT max(highest_modseq) FROM folders), 0))",
        [],
        |row| row.get(0),
    )?;
    work.raise_modseq(highest.unsigned_abs() + 1)?;
    // The account's numbers alone.
    let Ok(mut row) = FolderRow::by_id(work.tx, folder) else { return Ok(()) };
    let (messages, unseen, deleted, bytes, last, seen): (u32, u32, u32, i64, u32, i64) = work.tx.query_row(
        "SELECT count(*), coalesce(sum((flags & 1) = 0), 0), coalesce(sum((flags & 8) != 0), 0), coalesce(sum(size), 0), \
         coalesce(max(uid), 0), coalesce(max(modseq), 0) FROM messages WHERE folder = ?1",
        [folder.0],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
    )?;
    (row.messages, row.unseen, row.deleted, row.bytes) =
        (messages, unseen, deleted, bytes.unsigned_abs());
    row.tombstones = work.tx.query_row(
        "SELECT count(*) FROM expunged WHERE folder = ?1",
        [folder.0],
        |row| row.get(0),
    )?;
    row.uid_next = row.uid_next.max(last.saturating_add(1));
    row.recent_from = row.recent_from.min(row.uid_next);
    row.highest_modseq = row.highest_modseq.max(seen.unsigned_abs());
    row.reserve_uids(0)?;
    row.save(work.tx)?;
    work.memory.forget_uid_lists();
    Ok(())
}

/// Expunge notes that cover messages which are there are replaced by notes of the gaps between them.
fn unbury(work: &Work<'_>, folder: FolderId, uid: u32) -> Result<(), MailboxError> {
    let mut covered = Some(uid);
    while let Some(uid) = covered {
        for (modseq, first, last) in take_notes(work, folder, uid)? {
            let uids: Vec<u32> = work
                .tx
                .prepare_cached(
                    "SELECT uid FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
                )?
                .query_map(params![folder.0, first, last], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let starts = std::iter::once(first).chain(uids.iter().map(|uid| uid.saturating_add(1)));
            let ends = uids.iter().map(|uid| uid.saturating_sub(1)).chain([last]);
            for (first, last) in starts.zip(ends).filter(|(first, last)| first <= last) {
                work.tx
                    .prepare_cached(
                        "INSERT OR IGNORE INTO expunged(folder, modseq, first, last) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![folder.0, modseq, first, last])?;
            }
        }
        covered = work
            .tx
            .prepare_cached(
                "SELECT m.uid FROM expunged e CROSS JOIN messages m ON m.folder = e.folder AND m.uid BETWEEN e.first AND \
                 e.last WHERE e.folder = ?1 LIMIT 1",
            )?
            .query_row([folder.0], |row| row.get(0))
            .optional()?;
    }
    recount(work, folder)
}

/// Takes out the notes that cover a UID: modseq, first and last UID.
fn take_notes(
    work: &Work<'_>,
    folder: FolderId,
    uid: u32,
) -> Result<Vec<(i64, u32, u32)>, MailboxError> {
    let mut query = work.tx.prepare_cached(
        "DELETE FROM expunged WHERE folder = ?1 AND first <= ?2 AND last >= ?2 RETURNING modseq, first, last",
    )?;
    let notes = query
        .query_map(params![folder.0, uid], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(notes.collect::<Result<_, _>>()?)
}

fn learn_keywords(work: &Work<'_>, folder: FolderId, uid: u32) -> Result<(), MailboxError> {
    let words: Option<String> = work
        .tx
        .query_row(
            "SELECT keywords FROM messages WHERE folder = ?1 AND uid = ?2",
            params![folder.0, uid],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    for word in words.iter().flat_map(|words| words.split(' ')) {
        work.tx.execute(
            "INSERT OR IGNORE INTO keywords(folder, name) VALUES (?1, ?2)",
            params![folder.0, word],
        )?;
    }
    Ok(())
}

fn follow_body(work: &Work<'_>, folder: FolderId, uid: u32) -> Result<(), MailboxError> {
    work.tx.execute(
        "UPDATE messages SET (size, email) = (SELECT b.size, b.email FROM bodies b WHERE b.id = body) \
         WHERE folder = ?1 AND uid = ?2 AND EXISTS (SELECT 1 FROM bodies b WHERE b.id = body)",
        params![folder.0, uid],
    )?;
    recount(work, folder)
}

/// A message without a body: one is made of the header and pieces that are left of it, or one that says that it
/// is lost.
async fn replace_body(live: &Arc<Live>, folder: FolderId, uid: u32) -> Result<(), MailboxError> {
    let rebuilt = live.durable(move |work| rebuild_row(work, folder, uid)).await?;
    if let Some(body) = rebuilt {
        return rewrite(live, body).await;
    }
    let note = "Subject: [The text of this message is lost]\r\nContent-Type: text/plain\r\n\r\n\
                The file that held this message was damaged, and its text could not be read any more.\r\n";
    let prepared =
        Arc::new(Prepared::new(Bytes::from_static(note.as_bytes()), &live.hash_key).await);
    live.durable(move |work| {
        let body = prepared.store(work.tx)?;
        let placed = work.tx.execute(
            "UPDATE messages SET body = ?3, size = ?4, email = ?5 WHERE folder = ?1 AND uid = ?2 AND NOT EXISTS \
             (SELECT 1 FROM bodies b WHERE b.id = messages.body AND b.refs > 0)",
            params![folder.0, uid, body, signed(prepared.size), prepared.email.0],
        )?;
        if placed == 0 {
            work.tx.execute("UPDATE bodies SET refs = 0 WHERE id = ?1", [body])?;
        }
        recount(work, folder)
    })
    .await
}

/// The row of a body whose header and pieces are there.
fn rebuild_row(work: &Work<'_>, folder: FolderId, uid: u32) -> Result<Option<i64>, MailboxError> {
    let message = work
        .tx
        .query_row(
            "SELECT m.body, m.size, m.email, h.data FROM messages m JOIN headers h ON h.body = m.body \
             WHERE m.folder = ?1 AND m.uid = ?2",
            params![folder.0, uid],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Vec<u8>>(3)?)),
        )
        .optional()?;
    let Some((body, size, email, header)): Option<(i64, i64, i64, Vec<u8>)> = message else {
        return Ok(None);
    };
    let Some(length) = packed_length(&header).filter(|length| *length as i64 <= size) else {
        return Ok(None);
    };
    let made = work.tx.execute(
        "INSERT INTO bodies(id, refs, size, header, hash, email, envelope, structure) \
         VALUES (?1, 1, ?2, ?3, x'', ?4, x'', x'') ON CONFLICT (id) DO UPDATE SET refs = 1 WHERE refs <= 0 AND email = ?4",
        params![body, size, length as i64, email],
    )?;
    if made == 0 {
        return Ok(None);
    }
    count_refs(work.tx, body)?;
    Ok(Some(body))
}

/// Messages whose folder is missing get one.
fn adopt(work: &Work<'_>, folder: FolderId) -> Result<(), MailboxError> {
    let name = format!("Recovered {}", folder.0);
    let uid_validity = work.uid_validity()?;
    let modseq = work.modseq()?;
    work.tx.execute(
        "INSERT OR IGNORE INTO folders(id, name, uid_validity, special_use, uid_next, uid_reserved, recent_from, messages, \
         unseen, deleted, bytes, highest_modseq, tombstones, tombstone_floor) \
         VALUES (?1, ?2, ?3, NULL, 1, 1, 1, 0, 0, 0, 0, ?4, 0, 0)",
        params![folder.0, name, uid_validity, signed(modseq)],
    )?;
    let uids: Vec<u32> = work
        .tx
        .prepare("SELECT uid FROM messages WHERE folder = ?1 AND keywords IS NOT NULL")?
        .query_map([folder.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    uids.into_iter().try_for_each(|uid| learn_keywords(work, folder, uid))?;
    recount(work, folder)
}

fn count_refs(conn: &Connection, body: i64) -> Result<(), MailboxError> {
    let counted = bodies::references_of(conn, body)?;
    conn.execute(
        "UPDATE bodies SET refs = ?2 WHERE id = ?1 AND (refs >= 0 OR ?2 > 0)",
        params![body, counted],
    )?;
    Ok(())
}

/// Writes a body anew as far as it reads back: hash, description, and every piece that does not read back as blanks.
async fn rewrite(live: &Arc<Live>, body: i64) -> Result<(), MailboxError> {
    let Some(opened) = bodies::open(live, body).await? else { return Ok(()) };
    let key = live.hash_key.clone();
    let made = tokio::task::spawn_blocking(move || {
        let header_length = structure::header_length(&opened.text);
        let description = structure::describe(&opened.text);
        let hash = *blake3::keyed_hash(key.expose(), &opened.text).as_bytes();
        (opened, header_length, description, hash)
    });
    let (opened, header_length, description, hash) =
        made.await.map_err(|_| MailboxError::Locked)?;
    live.durable(move |work| {
        let conn = work.tx;
        conn.execute(
            "UPDATE bodies SET header = ?2, hash = ?3, envelope = ?4, structure = ?5 WHERE id = ?1",
            params![body, header_length as i64, hash, description.envelope, description.structure],
        )?;
        let (header, rest) = opened.text.split_at(header_length);
        conn.execute(
            "INSERT OR REPLACE INTO headers(body, data, simple) VALUES (?1, ?2, ?3)",
            params![body, pack(header), description.body],
        )?;
        conn.execute("DELETE FROM layouts WHERE body = ?1", [body])?;
        if rest.len() > CHUNK {
            conn.execute(
                "INSERT INTO layouts(body, data) VALUES (?1, ?2)",
                params![body, Layout::of(&opened.text).to_bytes()],
            )?;
        }
        // Where the header's end stays, only the pieces that do not read back change.
        let moved = header_length != opened.header_length;
        let count = rest.len().div_ceil(CHUNK);
        for (number, piece) in rest.chunks(CHUNK).enumerate() {
            let broken = Problem::Piece { body, number: number as u32 };
            if moved || opened.problems.contains(&broken) {
                conn.execute(
                    "INSERT OR REPLACE INTO chunks(id, data) VALUES (?1, ?2)",
                    params![chunk_id(body, number), pack(piece)],
                )?;
            }
        }
        conn.execute(
            "DELETE FROM chunks WHERE id >= ?1 AND id < ?2",
            params![chunk_id(body, count), chunk_id(body + 1, 0)],
        )?;
        // What the index knows of it may be of before.
        conn.execute("INSERT OR IGNORE INTO search_waiting(body) VALUES (?1)", [body])?;
        Ok(())
    })
    .await
}

fn remove_orphan(conn: &Connection, table: &str, body: i64) -> Result<(), MailboxError> {
    let there: bool =
        conn.query_row("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?1)", [body], |row| {
            row.get(0)
        })?;
    if there {
        return Ok(());
    }
    match table {
        "chunks" => conn.execute(
            "DELETE FROM chunks WHERE id >= ?1 AND id < ?2",
            params![chunk_id(body, 0), chunk_id(body + 1, 0)],
        )?,
        _ => conn.execute(&format!("DELETE FROM {table} WHERE body = ?1"), [body])?,
    };
    Ok(())
}

/// All of the word index goes; it is built anew in the background.
async fn reset_index(live: &Arc<Live>) -> Result<(), MailboxError> {
    live.durable(|work| {
        work.tx.execute_batch(
            "UPDATE search_segments SET state = 2; DELETE FROM search_waiting; DELETE FROM search_state; \
             INSERT INTO search_state(id, frontier, floor, gone) \
             SELECT 1, 0, coalesce(max(id), 0), 0 FROM bodies;",
        )?;
        Ok(())
    })
    .await?;
    crate::index::clear(live).await
}
