//! Bodies: what is computed once when a message comes in, how it is stored, shared, read and let go.
//!
//! A body is described (ENVELOPE, BODYSTRUCTURE), hashed and packed on the caller's side, before any SQLite
//! job. What is larger than [`LARGE`] goes into the file in earlier transactions, under an entry that counts
//! as *incomplete* (`refs` = −1) until the message's own transaction adopts it. A message that comes in pieces
//! ([`Upload`]) goes that way while it comes, and is never in memory whole.

mod packed;
mod upload;

use bytes::Bytes;
use letterlock_vault::{Database, Key};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::MailboxError;
use crate::folder_row::signed;
use crate::layout::Layout;
use crate::pack::pack;
use crate::structure::{self, Description};
use crate::types::EmailId;
use crate::work::Work;

pub(crate) use self::packed::Packed;
pub(crate) use self::upload::Upload;

/// Octets of a piece of a body.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bodies longer than this are written in earlier transactions, in octets.
pub(crate) const LARGE: usize = 256 * 1024;
/// Up to this size a message is prepared right on the async worker: it takes less than a hop to another thread.
const INLINE: usize = 48 * 1024;
/// How many pieces one transaction of an upload, or of a clearing, takes.
pub(crate) const CHUNKS_PER_JOB: usize = 8;

/// A message made ready to be stored.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) size: u64,
    pub(crate) email: EmailId,
    header_length: usize,
    hash: [u8; 32],
    description: Description,
    /// Of a body that has several pieces.
    layout: Option<Vec<u8>>,
    header: Vec<u8>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// All pieces, packed.
    Pieces(Vec<Vec<u8>>),
    /// Not packed yet: what follows the header.
    Large(Bytes),
    /// In the file already, as the incomplete body of this id.
    Uploaded(i64),
}

impl Prepared {
    /// Describes, hashes and packs a message. `hash_key` is the file's.
    pub(crate) async fn new(bytes: Bytes, hash_key: &Key) -> Self {
        if bytes.len() <= INLINE {
            return Self::compute(&bytes, hash_key);
        }
        let (message, key) = (bytes.clone(), hash_key.clone());
        match tokio::task::spawn_blocking(move || Self::compute(&message, &key)).await {
            Ok(prepared) => prepared,
            // The pool of blocking threads is gone: the process is ending, or a parser broke on this message.
            Err(_) => Self::undescribed(&bytes, hash_key),
        }
    }

    fn compute(bytes: &Bytes, hash_key: &Key) -> Self {
        Self::assemble(bytes, hash_key, structure::describe(bytes))
    }

    fn undescribed(bytes: &Bytes, hash_key: &Key) -> Self {
        Self::assemble(bytes, hash_key, structure::describe(b"\r\n"))
    }

    fn assemble(bytes: &Bytes, hash_key: &Key, description: Description) -> Self {
        let header_length = structure::header_length(bytes);
        let rest = bytes.slice(header_length..);
        let rest_length = rest.len();
        let content = if rest.len() > LARGE {
            Content::Large(rest)
        } else {
            Content::Pieces(rest.chunks(CHUNK).map(pack).collect())
        };
        Self {
            size: bytes.len() as u64,
            email: new_email(),
            header_length,
            hash: *blake3::keyed_hash(hash_key.expose(), bytes).as_bytes(),
            description,
            layout: (rest_length > CHUNK).then(|| Layout::of(bytes).to_bytes()),
            header: pack(&bytes[..header_length]),
            content,
        }
    }

    /// The incomplete body, if it is in the file already.
    pub(crate) fn uploaded(&self) -> Option<i64> {
        match self.content {
            Content::Uploaded(id) => Some(id),
            Content::Pieces(_) | Content::Large(_) => None,
        }
    }

    /// What it takes in memory until it is stored, in octets, about.
    pub(crate) fn memory(&self) -> usize {
        let pieces = match &self.content {
            Content::Pieces(pieces) => pieces.iter().map(Vec::len).sum(),
            Content::Large(rest) => rest.len(),
            Content::Uploaded(_) => 0,
        };
        let Description { envelope, structure, body } = &self.description;
        let described = envelope.len() + structure.len() + body.len();
        size_of::<Self>() + self.header.len() + described + pieces
    }

    /// Whether [`Prepared::upload`] has to come before [`Prepared::store`].
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.content, Content::Large(_))
    }

    /// Writes a body's pieces under an incomplete entry, a few in each transaction.
    pub(crate) async fn upload(mut self, db: &Database) -> Result<Self, MailboxError> {
        let (size, header_length, email, hash) =
            (self.size, self.header_length, self.email, self.hash);
        let rest = match std::mem::replace(&mut self.content, Content::Pieces(Vec::new())) {
            Content::Large(rest) => rest,
            Content::Pieces(pieces) => {
                let id = db.write::<_, MailboxError>(move |tx| {
                    let none = Description::default();
                    let id = insert_row(tx, -1, size, header_length, &hash, email, &none)?;
                    insert_pieces(tx, id, 0, &pieces)?;
                    Ok(id)
                });
                self.content = Content::Uploaded(id.await?);
                return Ok(self);
            }
            Content::Uploaded(id) => {
                self.content = Content::Uploaded(id);
                return Ok(self);
            }
        };
        let id: i64 = db
            .write::<_, MailboxError>(move |tx| {
                insert_row(tx, -1, size, header_length, &hash, email, &Description::default())
            })
            .await?;
        if let Err(error) = upload_pieces(db, id, email, rest).await {
            // Where the disk is full, each further try would leave its part. Not marked is not lost: the next open does.
            let given_up = db.write::<_, MailboxError>(move |tx| give_up(tx, id, email)).await;
            tracing::debug!(done = given_up.is_ok(), "an upload broke off");
            return Err(error);
        }
        self.content = Content::Uploaded(id);
        Ok(self)
    }

    /// Stores the body with one reference, or completes the uploaded one; answers its id.
    pub(crate) fn store(&self, conn: &Connection) -> Result<i64, MailboxError> {
        let id = match &self.content {
            Content::Pieces(pieces) => {
                let id = insert_row(
                    conn,
                    1,
                    self.size,
                    self.header_length,
                    &self.hash,
                    self.email,
                    &self.description,
                )?;
                insert_pieces(conn, id, 0, pieces)?;
                id
            }
            Content::Uploaded(id) => {
                let completed = conn
                    .prepare_cached(
                        "UPDATE bodies SET refs = 1, envelope = ?2, structure = ?3, size = ?5, header = ?6, hash = ?7 \
                         WHERE id = ?1 AND refs = -1 AND email = ?4",
                    )?
                    .execute(params![
                        id,
                        self.description.envelope,
                        self.description.structure,
                        self.email.0,
                        signed(self.size),
                        self.header_length as i64,
                        self.hash
                    ])?;
                if completed != 1 {
                    return Err(upload_gone());
                }
                // The index passed by while it was incomplete.
                conn.prepare_cached(
                    "INSERT OR IGNORE INTO search_waiting(body) SELECT ?1 FROM search_state WHERE frontier >= ?1",
                )?
                .execute([id])?;
                *id
            }
            Content::Large(_) => {
                return Err(MailboxError::damaged("a large body was not uploaded"));
            }
        };
        conn.prepare_cached("INSERT INTO headers(body, data, simple) VALUES (?1, ?2, ?3)")?
            .execute(params![id, self.header, self.description.body])?;
        if let Some(layout) = &self.layout {
            conn.prepare_cached("INSERT INTO layouts(body, data) VALUES (?1, ?2)")?
                .execute(params![id, layout])?;
        }
        Ok(id)
    }

    /// Marks an upload that found no use as garbage.
    pub(crate) async fn abandon(&self, db: &Database) {
        if let Content::Uploaded(id) = self.content {
            let email = self.email;
            let marked = db.write::<_, MailboxError>(move |tx| give_up(tx, id, email)).await;
            // Not marked is not lost: the next open takes incomplete bodies away.
            tracing::debug!(done = marked.is_ok(), "upload abandoned");
        }
    }
}

/// Packs and writes what follows a header.
async fn upload_pieces(
    db: &Database,
    body: i64,
    email: EmailId,
    rest: Bytes,
) -> Result<(), MailboxError> {
    let step = CHUNK * CHUNKS_PER_JOB;
    for start in (0..rest.len()).step_by(step) {
        let part = rest.slice(start..rest.len().min(start + step));
        let pieces =
            tokio::task::spawn_blocking(move || part.chunks(CHUNK).map(pack).collect::<Vec<_>>())
                .await
                .map_err(|_| MailboxError::Locked)?;
        let first = start / CHUNK;
        db.write::<_, MailboxError>(move |tx| add_pieces(tx, body, email, first, &pieces)).await?;
    }
    Ok(())
}

/// An id that no other message has.
fn new_email() -> EmailId {
    EmailId((ulid::Ulid::generate().random() as i64) & i64::MAX)
}

fn insert_row(
    conn: &Connection,
    refs: i64,
    size: u64,
    header_length: usize,
    hash: &[u8; 32],
    email: EmailId,
    description: &Description,
) -> Result<i64, MailboxError> {
    conn.prepare_cached(
        // The search index may still name ids up to its floor.
        "INSERT INTO bodies(id, refs, size, header, hash, email, envelope, structure) VALUES (\
         max(coalesce((SELECT max(id) FROM bodies), 0), (SELECT floor FROM search_state)) + 1, \
         ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        refs,
        signed(size),
        header_length as i64,
        hash,
        email.0,
        description.envelope,
        description.structure
    ])?;
    Ok(conn.last_insert_rowid())
}

/// The file was closed and recovered while a body was uploaded: what is left of it is garbage.
fn upload_gone() -> MailboxError {
    MailboxError::Storage(letterlock_vault::VaultError::from(rusqlite::Error::QueryReturnedNoRows))
}

/// Gives an upload up: what is there of it is garbage. One that was adopted stays.
pub(crate) fn give_up(conn: &Connection, body: i64, email: EmailId) -> Result<(), MailboxError> {
    conn.prepare_cached("UPDATE bodies SET refs = 0 WHERE id = ?1 AND refs = -1 AND email = ?2")?
        .execute(params![body, email.0])?;
    Ok(())
}

/// More pieces of an upload. After a recovery its id may be another body's.
fn add_pieces(
    conn: &Connection,
    body: i64,
    email: EmailId,
    first: usize,
    pieces: &[Vec<u8>],
) -> Result<(), MailboxError> {
    let there: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?1 AND refs = -1 AND email = ?2)",
        )?
        .query_row(params![body, email.0], |row| row.get(0))?;
    if there { insert_pieces(conn, body, first, pieces) } else { Err(upload_gone()) }
}

fn insert_pieces(
    conn: &Connection,
    body: i64,
    first: usize,
    pieces: &[Vec<u8>],
) -> Result<(), MailboxError> {
    let mut insert = conn.prepare_cached("INSERT INTO chunks(id, data) VALUES (?1, ?2)")?;
    for (number, piece) in (first..).zip(pieces) {
        insert.execute(params![chunk_id(body, number), piece])?;
    }
    Ok(())
}

/// Pieces of a body lie together, in order.
pub(crate) fn chunk_id(body: i64, number: usize) -> i64 {
    (body << 20) | number as i64
}

/// Gives the body one more message.
pub(crate) fn share(conn: &Connection, body: i64) -> Result<(), MailboxError> {
    conn.prepare_cached("UPDATE bodies SET refs = refs + 1 WHERE id = ?1 AND refs > 0")?
        .execute([body])?;
    Ok(())
}

/// Takes messages from the body. The last one takes a small body along; a large one becomes garbage, which is cleared
/// in slices later, and so is one that somebody reads at the moment. Answers whether there is garbage now.
pub(crate) fn release(work: &Work<'_>, body: i64, messages: i64) -> Result<bool, MailboxError> {
    let conn = work.tx;
    let left: Option<(i64, i64)> = conn
        .prepare_cached(
            "UPDATE bodies SET refs = max(refs - ?2, 0) WHERE id = ?1 RETURNING refs, size",
        )?
        .query_row([body, messages], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match left {
        Some((refs, size)) if refs <= 0 && size <= LARGE as i64 && !work.memory.is_pinned(body) => {
            remove_pieces(conn, body, LARGE / CHUNK + 1)?;
            remove_entry(conn, body)?;
            Ok(false)
        }
        Some((refs, _)) => Ok(refs <= 0),
        None => Ok(false),
    }
}

/// Notes that a message has left the body, which is [released](release) in the background.
pub(crate) fn release_later(conn: &Connection, body: i64, size: u64) -> Result<(), MailboxError> {
    conn.prepare_cached(
        "INSERT INTO released(body, messages, size) VALUES (?1, 1, ?2) \
         ON CONFLICT (body) DO UPDATE SET messages = messages + 1",
    )?
    .execute(params![body, signed(size)])?;
    Ok(())
}

/// Removes up to `limit` pieces from the end; answers how many there were.
pub(crate) fn remove_pieces(
    conn: &Connection,
    body: i64,
    limit: usize,
) -> Result<usize, MailboxError> {
    Ok(conn
        .prepare_cached(
            "DELETE FROM chunks WHERE id IN (SELECT id FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3)",
        )?
        .execute(params![chunk_id(body, 0), chunk_id(body + 1, 0), limit as i64])?)
}

pub(crate) fn remove_entry(conn: &Connection, body: i64) -> Result<(), MailboxError> {
    conn.prepare_cached("DELETE FROM headers WHERE body = ?1")?.execute([body])?;
    conn.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute([body])?;
    conn.prepare_cached("DELETE FROM layouts WHERE body = ?1")?.execute([body])?;
    conn.prepare_cached("DELETE FROM search_waiting WHERE body = ?1")?.execute([body])?;
    conn.prepare_cached("UPDATE search_state SET gone = gone + 1 WHERE frontier >= ?1")?
        .execute([body])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_forgotten_upload_do_not_get_into_another_body() {
        let conn = Connection::open_in_memory().unwrap();
        for step in crate::schema::SCHEMA {
            conn.execute_batch(step).unwrap();
        }
        let (mine, other) = (EmailId(1), EmailId(2));
        let add = |refs, email| {
            insert_row(&conn, refs, 9, 0, &[0; 32], email, &Description::default()).unwrap()
        };
        let (upload, reused, swept) = (add(-1, mine), add(-1, other), add(0, mine));
        let piece = [b"x".to_vec()];
        add_pieces(&conn, upload, mine, 8, &piece).unwrap();
        assert!(add_pieces(&conn, reused, mine, 8, &piece).is_err());
        assert!(add_pieces(&conn, swept, mine, 8, &piece).is_err());
        let ids: i64 = conn.query_row("SELECT sum(id) FROM chunks", [], |row| row.get(0)).unwrap();
        assert_eq!(ids, chunk_id(upload, 8));
    }
}
