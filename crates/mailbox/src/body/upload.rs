//! A message that comes in pieces: each is described, hashed and packed as it passes, and written under an incomplete
//! entry. What is in memory is its header and less than two jobs' worth of octets.

use letterlock_imap_wire::structure::Outliner;
use letterlock_vault::{Database, Key};

use super::{CHUNK, Content, Prepared, add_pieces, insert_pieces, insert_row, new_email};
use crate::error::MailboxError;
use crate::layout::Layout;
use crate::pack::pack;
use crate::structure::{Description, LONGEST_HEADER};
use crate::types::EmailId;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Upload {
    outliner: Outliner,
    hasher: Box<blake3::Hasher>,
    email: EmailId,
    size: u64,
    /// The header block, as far as it has come.
    header: Vec<u8>,
    /// Where it ends.
    header_length: Option<usize>,
    /// What follows it and is no whole piece yet.
    rest: Vec<u8>,
    /// The incomplete body, once there is one, and how many pieces of it are in the file.
    body: Option<i64>,
    written: usize,
}

impl Upload {
    /// Of a message of which nothing has come. `hash_key` is the file's.
    pub(crate) fn new(hash_key: &Key) -> Self {
        Self {
            outliner: Outliner::new(),
            hasher: Box::new(blake3::Hasher::new_keyed(hash_key.expose())),
            email: new_email(),
            size: 0,
            header: Vec::new(),
            header_length: None,
            rest: Vec::new(),
            body: None,
            written: 0,
        }
    }

    /// The incomplete body, once there is one.
    pub(crate) fn body(&self) -> Option<(i64, EmailId)> {
        self.body.map(|body| (body, self.email))
    }

    /// Takes the message's next octets; answers those of its pieces that are complete, packed. Of the `last` octets
    /// everything is. It is work for a thread of its own.
    pub(crate) fn take(&mut self, octets: &[u8], last: bool) -> Vec<Vec<u8>> {
        self.outliner.push(octets);
        self.hasher.update(octets);
        self.size += octets.len() as u64;
        if self.header_length.is_some() {
            self.rest.extend_from_slice(octets);
        } else {
            self.header.extend_from_slice(octets);
            let ended = self.outliner.header_length().and_then(|length| length.try_into().ok());
            let come = (last || self.header.len() > LONGEST_HEADER).then_some(self.header.len());
            if let Some(length) = ended.or(come) {
                let length = length.min(LONGEST_HEADER);
                self.rest = self.header.split_off(length);
                self.header.shrink_to_fit();
                self.header_length = Some(length);
            }
        }
        let whole = if last { self.rest.len() } else { self.rest.len() / CHUNK * CHUNK };
        let pieces = self.rest[..whole].chunks(CHUNK).map(pack).collect();
        self.rest.drain(..whole);
        pieces
    }

    /// Writes the next pieces.
    pub(crate) async fn write(
        &mut self,
        db: &Database,
        pieces: Vec<Vec<u8>>,
    ) -> Result<(), MailboxError> {
        let (first, email) = (self.written, self.email);
        let count = pieces.len();
        if let Some(body) = self.body {
            if count > 0 {
                db.write::<_, MailboxError>(move |tx| add_pieces(tx, body, email, first, &pieces))
                    .await?;
            }
        } else {
            let begin = move |tx: &rusqlite::Transaction<'_>| {
                // What is not known yet is told when it is adopted.
                let body = insert_row(tx, -1, 0, 0, &[0; 32], email, &Description::default())?;
                insert_pieces(tx, body, 0, &pieces)?;
                Ok(body)
            };
            self.body = Some(db.write::<_, MailboxError>(begin).await?);
        }
        self.written += count;
        Ok(())
    }

    /// The message, when the last octets were taken and written.
    pub(crate) fn finish(self) -> Result<Prepared, MailboxError> {
        let (Some(body), Some(header_length)) = (self.body, self.header_length) else {
            return Err(MailboxError::damaged("a message was stored before it was there"));
        };
        let outline = self.outliner.finish();
        let rest = self.size - header_length as u64;
        Ok(Prepared {
            size: self.size,
            email: self.email,
            header_length,
            hash: *self.hasher.finalize().as_bytes(),
            description: outline.summarise().into(),
            layout: (rest > CHUNK as u64).then(|| Layout::of_outline(&outline).to_bytes()),
            header: pack(&self.header),
            content: Content::Uploaded(body),
        })
    }
}
