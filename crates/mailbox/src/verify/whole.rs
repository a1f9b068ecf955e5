//! The order of the checks, and those of the file as a whole.

use std::sync::Arc;

use letterlock_vault::{AccountId, Key, Storage, verify_file};
use rusqlite::Connection;

use super::{Expected, Problem, Progress, Report, bodies, folders};
use crate::error::MailboxError;
use crate::files;
use crate::index;
use crate::live::Live;
use crate::registry::Mailboxes;

/// Every table of a mailbox.
fn tables(conn: &Connection) -> Result<Vec<String>, MailboxError> {
    let mut query =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

impl Mailboxes {
    /// Checks an unlocked mailbox, beside its sessions. Nothing is changed. SQLite checks a table at a time, during
    /// which the account's other work waits; everything else goes in slices.
    ///
    /// # Errors
    /// [`MailboxError::Locked`], or what the system reports; what is wrong with the mailbox is no error.
    pub async fn verify(
        &self,
        account: AccountId,
        expected: &Expected,
        mut progress: Progress,
    ) -> Result<Report, MailboxError> {
        let live = self.live_of(account)?;
        check(&live, self.pool().storage(), expected, &mut progress).await
    }

    /// Checks a locked mailbox by the outer hashes of its file: all that is possible without its keys.
    /// `integrity` is `ServerKey::integrity_key` of the account and epoch. After a crash of the machine, frames of
    /// the log that never reached the disk look damaged; an unlock and a lock clear them away.
    ///
    /// # Errors
    /// What the system reports; [`MailboxError::Damaged`] if there is no file.
    pub async fn verify_locked(
        &self,
        account: AccountId,
        epoch: u32,
        integrity: Key,
    ) -> Result<Report, MailboxError> {
        let path = files::mailbox_file(self.data_dir(), account, epoch);
        files::check_there(self.pool(), &path).await?;
        let mut report = Report { locked: true, ..Report::default() };
        check_hashes(self.pool().storage(), path, integrity, &mut report).await?;
        Ok(report)
    }
}

pub(super) async fn check(
    live: &Arc<Live>,
    storage: &Arc<dyn Storage>,
    expected: &Expected,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Report, MailboxError> {
    let mut report = Report::default();
    let sizes = live.read(|conn, _| {
        let messages: i64 =
            conn.query_row("SELECT coalesce(sum(messages), 0) FROM folders", [], |row| row.get(0))?;
        let bodies: i64 =
            conn.query_row("SELECT coalesce(max(id), 0) FROM bodies", [], |row| row.get(0))?;
        Ok(messages.unsigned_abs() + bodies.unsigned_abs())
    });
    let tables = live.read(|conn, _| tables(conn)).await.unwrap_or_default();
    let steps = tables.len() as u64 + 3;
    let total = sizes.await.unwrap_or(0) + steps;
    let mut done = 0;
    let mut advance = |by: u64| {
        done += by;
        progress(done.min(total), total.max(done));
    };
    // So that what is checked is the file, and little of it is in the log.
    if let Err(error) = live.db.checkpoint(true).await {
        tracing::debug!(%error, "checked with its log as it is");
    }
    check_hashes(storage, live.db.path(), live.secrets.file_keys().integrity, &mut report).await?;
    advance(1);
    for table in tables {
        check_table(live, table, &mut report).await?;
        advance(1);
    }
    check_meta(live, expected, &mut report).await?;
    advance(1);
    folders::check(live, &mut report, &mut advance).await?;
    bodies::check(live, &mut report, &mut advance).await?;
    for text in index::check(live).await? {
        report.add(Problem::Index { text });
    }
    progress(total, total);
    Ok(report)
}

async fn check_hashes(
    storage: &Arc<dyn Storage>,
    path: std::path::PathBuf,
    integrity: Key,
    report: &mut Report,
) -> Result<(), MailboxError> {
    let storage = Arc::clone(storage);
    let checked =
        tokio::task::spawn_blocking(move || verify_file(storage.as_ref(), &path, &integrity));
    let verified = checked
        .await
        .map_err(|_| MailboxError::Locked)?
        .map_err(letterlock_vault::VaultError::from)?;
    report.pages = verified.pages;
    verified.damaged.into_iter().for_each(|page| report.add(Problem::Page { page }));
    verified.damaged_frames.into_iter().for_each(|frame| report.add(Problem::Frame { frame }));
    Ok(())
}

/// SQLite's own check of a table and its indexes.
async fn check_table(live: &Live, table: String, report: &mut Report) -> Result<(), MailboxError> {
    let name = table.clone();
    let lines = live
        .read(move |conn, _| {
            let mut check = conn.prepare(&format!("PRAGMA integrity_check('{name}')"))?;
            let lines =
                check.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(lines)
        })
        .await;
    match lines {
        Ok(lines) => {
            for text in lines.into_iter().filter(|line| line != "ok") {
                report.add(Problem::Structure { table: table.clone(), text });
            }
        }
        // Damaged pages were named by their hashes, unless the page is another one's, put back.
        Err(MailboxError::Damaged(text)) => report.add(Problem::Structure { table, text }),
        Err(error @ MailboxError::Locked) => return Err(error),
        Err(error) => report.add(Problem::Structure { table, text: error.to_string() }),
    }
    Ok(())
}

async fn check_meta(
    live: &Live,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), MailboxError> {
    let account = live.secrets.account();
    let found = live.read(|conn, _| {
        Ok(conn.query_row(
            "SELECT account, sealing_epoch, sealing_public FROM meta",
            [],
            |row| {
                Ok((row.get::<_, AccountId>(0)?, row.get::<_, u32>(1)?, row.get::<_, Vec<u8>>(2)?))
            },
        )?)
    });
    let (owner, epoch, public) = match found.await {
        Ok(found) => found,
        Err(MailboxError::Locked) => return Err(MailboxError::Locked),
        // Named already, by its page or its table.
        Err(_) => return Ok(()),
    };
    if owner != account {
        report.add(Problem::Account);
    }
    if expected
        .sealing
        .as_ref()
        .is_some_and(|sealing| (sealing.epoch, &sealing.bytes) != (epoch, &public))
    {
        report.add(Problem::Sealing);
    }
    let points = live.memory.points();
    if let Some(mark) = expected.mark.filter(|mark| points < *mark) {
        report.add(Problem::Mark { points, mark });
    }
    Ok(())
}
