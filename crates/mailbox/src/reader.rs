//! Reading one body in parts: a range, a MIME part, or all of it piece by piece with little memory.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use letterlock_imap_wire::section::Section;
use rusqlite::{Connection, OptionalExtension, params};

use crate::body::{CHUNK, CHUNKS_PER_JOB, chunk_id};
use crate::error::MailboxError;
use crate::handle::Handle;
use crate::layout::Layout;
use crate::live::Live;
use crate::messages;
use crate::pack::unpack;
use crate::types::FolderId;
use crate::work::Pin;

/// A message that can be read in parts. It reads to its end even if the message is expunged meanwhile; only a lock
/// of the account ends it.
#[derive(Debug)]
pub struct BodyReader {
    handle: Handle,
    body: i64,
    email: i64,
    size: u64,
    header: Bytes,
    /// Where [`BodyReader::next`] goes on.
    at: u64,
    /// Let go before a sweep is asked for.
    pin: Option<Pin>,
}

/// What is read of a body when a reader begins.
struct Start {
    body: i64,
    email: i64,
    size: u64,
    header_length: usize,
    header: Vec<u8>,
}

/// With what keeps the body, also where nobody takes the answer any more.
type Pinned = (Start, Pin);

impl Handle {
    /// A message to be read in parts; None if there is none of that UID (any more). Its header is read at once.
    ///
    /// # Errors
    /// [`MailboxError::Damaged`] if it does not read back, or what else storage reports.
    pub async fn reader(
        &self,
        folder: FolderId,
        uid: u32,
    ) -> Result<Option<BodyReader>, MailboxError> {
        let live = self.live()?;
        let memory = Arc::clone(&live.memory);
        let found: Option<Pinned> = live
            .read(move |conn, _| {
                let Some(body) = messages::body_of(conn, folder, uid)? else { return Ok(None) };
                let start =
                    find(conn, body)?.ok_or_else(|| MailboxError::damaged("a body is missing"))?;
                Ok(Some((start, Pin::new(&memory, body))))
            })
            .await?;
        let Some((start, pin)) = found else { return Ok(None) };
        let mut reader = BodyReader {
            handle: self.clone(),
            body: start.body,
            email: start.email,
            size: start.size,
            header: Bytes::new(),
            at: 0,
            pin: Some(pin),
        };
        let mut header = Vec::with_capacity(start.header_length);
        unpack(&start.header, start.header_length, &mut header)?;
        reader.header = header.into();
        Ok(Some(reader))
    }

    /// Some octets of a message, fewer where it ends before; None if there is none of that UID (any more).
    ///
    /// # Errors
    /// As [`Handle::reader`].
    pub async fn body_range(
        &self,
        folder: FolderId,
        uid: u32,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, MailboxError> {
        match self.reader(folder, uid).await? {
            Some(reader) => Ok(Some(reader.read(range).await?)),
            None => Ok(None),
        }
    }
}

impl BodyReader {
    /// Octets of the whole message.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The header block with its empty line.
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// Where a section of the message lies; for a choice of header fields, the header that has them. None if there
    /// is no such section (answer NIL). Nothing but the header is read for it where the message is large.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn section(&self, section: &Section) -> Result<Option<Range<u64>>, MailboxError> {
        if section.part.is_empty() {
            let whole = Layout::plain(self.header.len() as u64, self.size);
            return Ok(whole.locate(section));
        }
        let body = self.body;
        let kept: Option<Vec<u8>> = self
            .live()?
            .read(move |conn, _| {
                let mut query = conn.prepare_cached("SELECT data FROM layouts WHERE body = ?1")?;
                Ok(query.query_row([body], |row| row.get(0)).optional()?)
            })
            .await?;
        if let Some(layout) = kept.as_deref().and_then(Layout::from_bytes) {
            return Ok(layout.locate(section));
        }
        let message = self.read(0..self.size).await?;
        Ok(Layout::of(&message).locate(section))
    }

    /// Some octets of the message, fewer where it ends before. Only the pieces that hold them are unpacked.
    ///
    /// # Errors
    /// [`MailboxError::Damaged`] if it does not read back, or what else storage reports.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, MailboxError> {
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        let header = self.header.len() as u64;
        if end <= header {
            return Ok(self.header.slice(start as usize..end as usize));
        }
        let mut out = Vec::with_capacity((end - start) as usize);
        if start < header {
            out.extend_from_slice(&self.header[start as usize..]);
        }
        let (mut at, rest) = (start.max(header) - header, end - header);
        while at < rest {
            let first = at / CHUNK as u64;
            let last = rest.div_ceil(CHUNK as u64).min(first + CHUNKS_PER_JOB as u64);
            let plain = self.pieces(first, last).await?;
            let from = (at - first * CHUNK as u64) as usize;
            let to = plain.len().min((rest - first * CHUNK as u64) as usize);
            out.extend_from_slice(plain.get(from..to).unwrap_or_default());
            at = last * CHUNK as u64;
        }
        Ok(out.into())
    }

    /// The next some hundred kilobytes of the message; None at its end.
    ///
    /// # Errors
    /// As [`BodyReader::read`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, MailboxError> {
        if self.at >= self.size {
            return Ok(None);
        }
        // After the header, steps end where pieces do.
        let step = (CHUNK * CHUNKS_PER_JOB) as u64;
        let header = self.header.len() as u64;
        let end = if self.at < header { header + step } else { self.at + step };
        let some = self.read(self.at..end).await?;
        self.at += some.len() as u64;
        Ok(Some(some))
    }

    /// Unpacks pieces `first..last`.
    async fn pieces(&self, first: u64, last: u64) -> Result<Vec<u8>, MailboxError> {
        let (body, email) = (self.body, self.email);
        let packed =
            self.live()?.read(move |conn, _| read_pieces(conn, body, email, first, last)).await?;
        let length =
            (self.size - self.header.len() as u64).saturating_sub(first * CHUNK as u64) as usize;
        let unpack_all = move || {
            let mut plain = Vec::with_capacity(length.min(packed.len() * CHUNK));
            for piece in &packed {
                let left = CHUNK.min(length - plain.len());
                unpack(piece, left, &mut plain)?;
            }
            Ok(plain)
        };
        if last - first == 1 {
            return unpack_all();
        }
        tokio::task::spawn_blocking(unpack_all).await.map_err(|_| MailboxError::Locked)?
    }

    fn live(&self) -> Result<Arc<Live>, MailboxError> {
        self.handle.live()
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        drop(self.pin.take());
        // What went while it was read is cleared away now, or by the next sweep.
        if tokio::runtime::Handle::try_current().is_ok() && self.at > 0 {
            self.handle.sweep_soon();
        }
    }
}

fn find(conn: &Connection, body: i64) -> Result<Option<Start>, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT b.email, b.size, b.header, h.data FROM bodies b JOIN headers h ON h.body = b.id WHERE b.id = ?1",
    )?;
    let row = query.query_row([body], |row| {
        Ok(Start {
            body,
            email: row.get(0)?,
            size: row.get::<_, i64>(1)?.unsigned_abs(),
            header_length: row.get::<_, i64>(2)?.unsigned_abs() as usize,
            header: row.get(3)?,
        })
    });
    Ok(row.optional()?)
}

fn read_pieces(
    conn: &Connection,
    body: i64,
    email: i64,
    first: u64,
    last: u64,
) -> Result<Vec<Vec<u8>>, MailboxError> {
    // After a recovery of the file the id may be another body's.
    let same: Option<i64> = conn
        .prepare_cached("SELECT email FROM bodies WHERE id = ?1")?
        .query_row([body], |row| row.get(0))
        .optional()?;
    if same != Some(email) {
        return Err(MailboxError::Locked);
    }
    let mut query =
        conn.prepare_cached("SELECT data FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
    let range = params![chunk_id(body, first as usize), chunk_id(body, last as usize)];
    let pieces: Vec<Vec<u8>> =
        query.query_map(range, |row| row.get(0))?.collect::<Result<_, _>>()?;
    if pieces.len() as u64 != last - first {
        return Err(MailboxError::damaged("a piece of a body is missing"));
    }
    Ok(pieces)
}
