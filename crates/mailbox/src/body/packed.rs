//! Stored bodies, read whole.

use bytes::Bytes;
use letterlock_vault::Database;
use rusqlite::{Connection, OptionalExtension, params};

use super::{CHUNK, CHUNKS_PER_JOB, LARGE, chunk_id};
use crate::error::MailboxError;
use crate::pack::unpack;

/// A stored body as packed pieces, so that unpacking is done away from the file's executor.
#[derive(Debug)]
pub(crate) struct Packed {
    id: i64,
    email: i64,
    size: usize,
    header_length: usize,
    header: Vec<u8>,
    pieces: Vec<Vec<u8>>,
}

impl Packed {
    /// Reads header and first pieces of the body of that id.
    pub(crate) fn start(conn: &Connection, id: i64) -> Result<Option<Self>, MailboxError> {
        let Some(mut packed) = Self::find(conn, id)? else { return Ok(None) };
        packed.read_pieces(conn)?;
        Ok(Some(packed))
    }

    fn find(conn: &Connection, id: i64) -> Result<Option<Self>, MailboxError> {
        Ok(conn
            .prepare_cached("SELECT b.email, b.size, b.header, h.data FROM bodies b JOIN headers h ON h.body = b.id WHERE b.id = ?1")?
            .query_row([id], |row| {
                Ok(Self {
                    id,
                    email: row.get(0)?,
                    size: row.get::<_, i64>(1)? as usize,
                    header_length: row.get::<_, i64>(2)? as usize,
                    header: row.get(3)?,
                    pieces: Vec::new(),
                })
            })
            .optional()?)
    }

    /// Reads the header alone; only [`Packed::unpack_header`] is of use then.
    pub(crate) fn header_only(conn: &Connection, id: i64) -> Result<Option<Self>, MailboxError> {
        Self::find(conn, id)
    }

    fn piece_count(&self) -> usize {
        (self.size - self.header_length.min(self.size)).div_ceil(CHUNK)
    }

    fn is_whole(&self) -> bool {
        self.pieces.len() >= self.piece_count()
    }

    fn read_pieces(&mut self, conn: &Connection) -> Result<(), MailboxError> {
        let from = chunk_id(self.id, self.pieces.len());
        let mut query = conn.prepare_cached(
            "SELECT data FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows =
            query.query(params![from, chunk_id(self.id + 1, 0), CHUNKS_PER_JOB as i64])?;
        let mut some = false;
        while let Some(row) = rows.next()? {
            self.pieces.push(row.get(0)?);
            some = true;
        }
        if !some && !self.is_whole() {
            return Err(MailboxError::damaged("a piece of a body is missing"));
        }
        Ok(())
    }

    /// Reads on, in jobs of a few pieces. None if the message went meanwhile.
    pub(crate) async fn complete(mut self, db: &Database) -> Result<Option<Self>, MailboxError> {
        while !self.is_whole() {
            let next = db
                .read::<_, MailboxError>(move |conn| {
                    let email: Option<i64> = conn
                        .prepare_cached("SELECT email FROM bodies WHERE id = ?1")?
                        .query_row([self.id], |row| row.get(0))
                        .optional()?;
                    if email != Some(self.email) {
                        return Ok(None);
                    }
                    match self.read_pieces(conn) {
                        // Cleared from its end since its last message went.
                        Err(MailboxError::Damaged(_)) if is_garbage(conn, self.id)? => Ok(None),
                        Err(error) => Err(error),
                        Ok(()) => Ok(Some(self)),
                    }
                })
                .await?;
            let Some(next) = next else { return Ok(None) };
            self = next;
        }
        Ok(Some(self))
    }

    /// The message, octet by octet.
    pub(crate) async fn unpack(self) -> Result<Bytes, MailboxError> {
        if self.size <= LARGE {
            return self.unpack_now();
        }
        tokio::task::spawn_blocking(move || self.unpack_now())
            .await
            .map_err(|_| MailboxError::Locked)?
    }

    /// The header block.
    pub(crate) fn unpack_header(&self) -> Result<Bytes, MailboxError> {
        let mut out = Vec::with_capacity(self.header_length);
        unpack(&self.header, self.header_length, &mut out)?;
        Ok(out.into())
    }

    pub(crate) fn unpack_now(&self) -> Result<Bytes, MailboxError> {
        let mut out = Vec::with_capacity(self.size);
        unpack(&self.header, self.header_length, &mut out)?;
        for piece in &self.pieces {
            let length = CHUNK.min(self.size.saturating_sub(out.len()));
            unpack(piece, length, &mut out)?;
        }
        if out.len() != self.size {
            return Err(MailboxError::damaged("a body has not the length it should have"));
        }
        Ok(out.into())
    }

    /// Octets of the whole message.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

fn is_garbage(conn: &Connection, body: i64) -> Result<bool, MailboxError> {
    let refs: Option<i64> = conn
        .prepare_cached("SELECT refs FROM bodies WHERE id = ?1")?
        .query_row([body], |row| row.get(0))
        .optional()?;
    Ok(refs.is_none_or(|refs| refs <= 0))
}
