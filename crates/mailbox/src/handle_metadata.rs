//! The handle's operations on annotations of folders and of the account (RFC 5464).

use rusqlite::{Connection, params};
use thiserror::Error;

use crate::error::MailboxError;
use crate::feed::Incident;
use crate::folder_row::FolderRow;
use crate::handle::Handle;
use crate::name::normalise;
use crate::types::FolderId;

/// Largest value, in octets.
const LARGEST: usize = 65_536;
/// How many entries a folder, or the account, may have.
const ENTRIES: usize = 256;
/// How many octets their values may have together.
const TOGETHER: usize = 1 << 20;
/// The account's own entries stand here; no folder has this id.
const ACCOUNT: i64 = 0;

/// An entry and its value. Entries match in any ASCII case and keep their first spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Its name, with slashes.
    pub entry: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// Why annotations were not set.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// A value is larger than this, in octets.
    #[error("a value may have {0} octets")]
    TooLarge(u64),
    /// There would be too many, or too much of them.
    #[error("there are too many annotations")]
    TooMany,
    /// The folder is not there, or what storage reports.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
}

impl Handle {
    /// All annotations of a folder, or with `None` of the account, by entry.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn annotations(&self, folder: Option<&str>) -> Result<Vec<Annotation>, MailboxError> {
        let name = folder.map(normalise).transpose()?;
        self.live()?
            .read(move |conn, _| {
                let id = id_of(conn, name.as_deref())?;
                let mut query = conn.prepare_cached(
                    "SELECT entry, value FROM annotations WHERE folder = ?1 ORDER BY entry",
                )?;
                let rows = query
                    .query_map([id], |row| {
                        Ok(Annotation { entry: row.get(0)?, value: row.get(1)? })
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// Sets annotations of a folder, or with `None` of the account, all or none; without a value an entry goes. Durable.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn annotate(
        &self,
        folder: Option<&str>,
        values: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), MetadataError> {
        let name = folder.map(normalise).transpose().map_err(MailboxError::from)?;
        if values.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > LARGEST))
        {
            return Err(MetadataError::TooLarge(LARGEST as u64));
        }
        let done = self
            .run(|live, this| async move {
                let entries = values.iter().map(|(entry, _)| entry.clone()).collect();
                let job = move |conn: &Connection| set(conn, name.as_deref(), &values);
                let done = live
                    .durable(move |work| match job(work.tx) {
                        Err(MetadataError::Mailbox(error)) => Err(error),
                        // Nothing was written: there is nothing to take back.
                        done => Ok(done),
                    })
                    .await?;
                Ok(done.map(|id| {
                    let folder = (id != ACCOUNT).then_some(FolderId(id));
                    this.feed().incident(Incident::Annotated { folder, entries });
                }))
            })
            .await;
        done?
    }
}

fn id_of(conn: &Connection, name: Option<&str>) -> Result<i64, MailboxError> {
    match name {
        Some(name) => Ok(FolderRow::by_name(conn, name)?.id),
        None => Ok(ACCOUNT),
    }
}

/// Answers the folder's id.
fn set(
    conn: &Connection,
    name: Option<&str>,
    values: &[(String, Option<Vec<u8>>)],
) -> Result<i64, MetadataError> {
    let id = id_of(conn, name)?;
    check(conn, id, values)?;
    for (entry, value) in values {
        match value {
            Some(value) => conn.execute(
                "INSERT INTO annotations(folder, entry, value) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (folder, entry) DO UPDATE SET value = excluded.value",
                params![id, entry, value],
            ),
            None => conn.execute(
                "DELETE FROM annotations WHERE folder = ?1 AND entry = ?2",
                params![id, entry],
            ),
        }
        .map_err(MailboxError::from)?;
    }
    Ok(id)
}

/// Whether there is room for the new values, before any is written.
fn check(
    conn: &Connection,
    id: i64,
    values: &[(String, Option<Vec<u8>>)],
) -> Result<(), MetadataError> {
    let sizes = || -> Result<Vec<(String, usize)>, MailboxError> {
        let mut query =
            conn.prepare_cached("SELECT entry, length(value) FROM annotations WHERE folder = ?1")?;
        let rows = query
            .query_map([id], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs() as usize))
            })?
            .collect::<Result<_, _>>()?;
        Ok(rows)
    };
    let mut all: std::collections::BTreeMap<String, usize> =
        sizes()?.into_iter().map(|(entry, size)| (entry.to_ascii_lowercase(), size)).collect();
    for (entry, value) in values {
        match value {
            Some(value) => all.insert(entry.to_ascii_lowercase(), value.len()),
            None => all.remove(&entry.to_ascii_lowercase()),
        };
    }
    let fits = all.len() <= ENTRIES && all.values().sum::<usize>() <= TOGETHER;
    if fits { Ok(()) } else { Err(MetadataError::TooMany) }
}
