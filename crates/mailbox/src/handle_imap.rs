//! The handle's operations that only IMAP sessions need.

use rusqlite::params;

use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::folders;
use crate::handle::Handle;
use crate::types::{EmailId, FolderId, UidRanges};
use crate::work::Attempt;

/// How many rows a job looks at.
const STEP: i64 = 10_000;

/// A property of messages that searches do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// That content.
    Email(EmailId),
    /// Saved into the folder at or after the first and before the second moment, in seconds since the epoch.
    Saved(i64, i64),
}

impl Handle {
    /// The messages of a folder that have the property.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn lookup(
        &self,
        folder: FolderId,
        lookup: Lookup,
    ) -> Result<UidRanges, MailboxError> {
        let live = self.live()?;
        let (mut found, mut after) = (Vec::new(), 0u32);
        loop {
            let (some, next) = live
                .read(move |conn, _| {
                    FolderRow::by_id(conn, folder)?;
                    let mut query = conn.prepare_cached(
                        "SELECT uid, email, saved FROM messages WHERE folder = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3",
                    )?;
                    let mut rows = query.query(params![folder.0, after, STEP])?;
                    let (mut some, mut read, mut last) = (Vec::new(), 0, after);
                    while let Some(row) = rows.next()? {
                        (read, last) = (read + 1, row.get(0)?);
                        let hit = match lookup {
                            Lookup::Email(id) => row.get::<_, i64>(1)? == id.0,
                            Lookup::Saved(from, until) => (from..until).contains(&row.get(2)?),
                        };
                        some.extend(hit.then_some(last));
                    }
                    Ok((some, (read == STEP).then_some(last)))
                })
                .await?;
            found.extend(some);
            match next {
                Some(next) => after = next,
                None => return Ok(found.into_iter().collect()),
            }
        }
    }

    /// Octets of the messages with `\Deleted` of a folder.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn deleted_size(&self, folder: FolderId) -> Result<u64, MailboxError> {
        self.live()?
            .read(move |conn, _| {
                FolderRow::by_id(conn, folder)?;
                let mut query = conn.prepare_cached(
                    "SELECT coalesce(sum(size), 0) FROM messages INDEXED BY messages_deleted \
                     WHERE folder = ?1 AND (flags & 8) != 0",
                )?;
                let size: i64 = query.query_row([folder.0], |row| row.get(0))?;
                Ok(size.unsigned_abs())
            })
            .await
    }

    /// Takes the `\Recent` messages that no session has had: those with UIDs from the first number up to, not including,
    /// the second. The caller is the session that was told of them first (RFC 3501 §2.3.2).
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn take_recent(&self, folder: FolderId) -> Result<(u32, u32), MailboxError> {
        self.live()?
            .loose(move |work| {
                let mut row = FolderRow::by_id(work.tx, folder)?;
                let (from, end) = (row.recent_from, row.uid_next);
                if from < end {
                    folders::take_recent(work.tx, &mut row)?;
                }
                Ok(Attempt::Done((from, end)))
            })
            .await
    }
}
