//! Writing a damaged file anew from all that can still be read of it.
//!
//! Rows are read by their keys; where a page in between is damaged, the next key that can be read is looked for.
//! A message whose row is lost is found again by its place in an index, with its text but without its flags; a
//! body that no message names any more gets one in a folder of its own. What is wrong with the result is mended
//! as by [`Mailboxes::repair`]. The damaged file is kept beside the new one.
//!
//! Only damage is read around. Where the system refuses (a disk that does not read, no memory, no room) nothing is put in
//! the place of anything.
//!
//! What SQLite does not find any more, because a page on the way to it is damaged, is found page by page. So is
//! everything where the first page is damaged, or one of the few that say which tables there are.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use letterlock_vault::{AccountSecrets, Database, Hooks, Spec};
use rusqlite::{Connection, params};

use super::recover::{recover_bodies, recover_rows};
use super::rows::{TABLES, copy_table, is_of_the_system};
use super::scan::Scan;
use super::small::{Small, copy_small, put};
use super::{Expected, Progress, Report, repair, whole};
use crate::error::MailboxError;
use crate::files;
use crate::folder_row::{FolderRow, signed};
use crate::live::{Live, make_file};
use crate::registry::Mailboxes;
use crate::schema::SCHEMA;
use crate::work::{MODSEQ_RANGE, Work};

/// What became of a salvage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Messages in the new file.
    pub messages: u64,
    /// Of them, those whose row was lost: they are there without their flags and dates.
    pub without_flags: u64,
    /// Places at which rows could not be read.
    pub gaps: u64,
    /// What was wrong with the new file before it was mended.
    pub mended: Report,
    /// What is wrong with it still.
    pub left: Report,
}

/// What the new file counts as its durable points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Points {
    /// What the damaged one did, if that can be read: an older copy does not pass for a newer one by being damaged.
    Kept,
    /// More: somebody looked at the damaged file and wants what is in it.
    Raised,
}

impl Mailboxes {
    /// Locks the account, writes its file anew from what can be read of it, and puts the new one in its place; the
    /// damaged one stays beside it, with `.damaged` at the end of its name, until somebody removes it. The account
    /// stays locked. Messages keep their UIDs; clients get new UIDVALIDITYs where a folder's row was lost, and are told of
    /// every message in all folders. What was filed and may be lost counts as not filed, so that the queue files it again.
    ///
    /// # Errors
    /// What the system reports, or that nothing can be read; the old file is then where it was.
    pub async fn salvage(
        &self,
        secrets: AccountSecrets,
        mut progress: Progress,
    ) -> Result<Salvaged, MailboxError> {
        let (slot, _turn) = self.locked_turn(secrets.account()).await;
        if slot.is_newer(&secrets) {
            return Err(MailboxError::Locked);
        }
        self.write_anew(&secrets, Points::Raised, &mut progress).await
    }

    /// [`Mailboxes::salvage`] of an account that is locked and stays so.
    pub(crate) async fn write_anew(
        &self,
        secrets: &AccountSecrets,
        points: Points,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Salvaged, MailboxError> {
        let path = files::mailbox_file(self.data_dir(), secrets.account(), secrets.epoch());
        files::put_back_damaged(self.pool(), path.clone()).await?;
        files::check_there(self.pool(), &path).await?;
        files::check_place_of_damaged(self.pool(), &path).await?;
        let draft = path.with_extension("new");
        self.pool().remove(&draft).await?;
        let mut old = Source::open(self, secrets, &path).await?;
        let written = self.write_draft(&mut old, secrets, &draft, points, progress).await;
        old.close().await;
        match written {
            Ok(salvaged) => {
                files::replace_damaged(self.pool(), draft, path).await?;
                Ok(salvaged)
            }
            Err(error) => {
                // It may have the last room on the disk.
                if let Err(error) = self.pool().remove(&draft).await {
                    tracing::warn!(account = %secrets.account(), %error, "a file that was not finished is left");
                }
                Err(error)
            }
        }
    }

    /// The new file, closed and synced.
    async fn write_draft(
        &self,
        old: &mut Source,
        secrets: &AccountSecrets,
        draft: &Path,
        points: Points,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Salvaged, MailboxError> {
        make_file(self.pool(), draft.to_owned(), secrets, self.options(), Timestamp::now()).await?;
        let live = self.open_draft(secrets, draft).await?;
        let small = copy_small(old, &live).await;
        // The old file's key for hashes of bodies has come with it, and is read when a file is opened.
        let closed = live.db.close().await;
        let small = small?;
        closed?;
        let live = self.open_draft(secrets, draft).await?;
        let salvaged = self.complete(old, &live, small, points, progress).await;
        let closed = live.db.close().await;
        let salvaged = salvaged?;
        closed?;
        Ok(salvaged)
    }

    async fn open_draft(
        &self,
        secrets: &AccountSecrets,
        draft: &Path,
    ) -> Result<Arc<Live>, MailboxError> {
        let live = Live::open(self.pool(), draft.to_owned(), secrets.clone(), self.options());
        Ok(Arc::new(live.await?))
    }

    async fn complete(
        &self,
        old: &mut Source,
        live: &Arc<Live>,
        small: Small,
        points: Points,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Salvaged, MailboxError> {
        let filled = fill(old, live, small.gaps, progress).await?;
        let salvaged = mend(live, self, filled, progress).await?;
        match small.points {
            Some(count) if points == Points::Kept => {
                let keep = live.db.commit::<_, MailboxError>(move |tx| {
                    tx.execute("UPDATE meta SET points = ?1", [count])?;
                    Ok(())
                });
                keep.await?;
            }
            Some(_) => {}
            None => tracing::error!(
                account = %live.secrets.account(),
                "the mailbox's count of durable points is lost: whether it is an older copy cannot be told"
            ),
        }
        Ok(salvaged)
    }
}

/// The damaged file, as far as it can be read.
pub(super) struct Source {
    pub(super) scan: Scan,
    /// None if it does not say which tables there are.
    pub(super) tables: Option<Database>,
}

impl Source {
    async fn open(
        mailboxes: &Mailboxes,
        secrets: &AccountSecrets,
        path: &Path,
    ) -> Result<Self, MailboxError> {
        let spec = Spec {
            path: path.to_owned(),
            keys: secrets.file_keys(),
            schema: SCHEMA,
            cache_kib: 4_096,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let storage = mailboxes.pool().storage();
        Ok(Self {
            scan: Scan::begin(storage, path.to_owned(), secrets.file_keys()).await?,
            tables: open_damaged(mailboxes, spec).await?,
        })
    }

    async fn close(self) {
        if let Some(old) = self.tables {
            // It was only read.
            drop(old.close().await);
        }
    }
}

/// Opens the damaged file, if it says which tables there are and where they begin. That stands on its first page and a
/// few more.
async fn open_damaged(mailboxes: &Mailboxes, spec: Spec) -> Result<Option<Database>, MailboxError> {
    let opened = Database::open_read_only(mailboxes.pool(), spec).await;
    let old = match opened.map_err(MailboxError::from) {
        Ok(old) => old,
        Err(MailboxError::Damaged(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let looked = old
        .read::<_, MailboxError>(|conn| {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE sql IS NOT NULL";
            Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        })
        .await;
    match looked {
        Ok(1..) => return Ok(Some(old)),
        Err(error) if is_of_the_system(&error) => {
            drop(old.close().await);
            return Err(error);
        }
        Ok(_) | Err(_) => {}
    }
    drop(old.close().await);
    Ok(None)
}

async fn mend(
    live: &Arc<Live>,
    mailboxes: &Mailboxes,
    mut salvaged: Salvaged,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Salvaged, MailboxError> {
    let (storage, expected) = (mailboxes.pool().storage(), Expected::default());
    salvaged.mended = whole::check(live, storage, &expected, progress).await?;
    if !salvaged.mended.is_clean() {
        // What the queue has still may be among the lost: rather twice than never.
        live.durable(|work| Ok(work.tx.execute("DELETE FROM delivered", [])?)).await?;
    }
    repair::mend_all(live, &salvaged.mended).await?;
    salvaged.without_flags += live.durable(|work| recover_bodies(work.tx)).await?;
    // Bodies that were adopted change figures again.
    let again = whole::check(live, storage, &expected, progress).await?;
    repair::mend_all(live, &again).await?;
    salvaged.left = whole::check(live, storage, &expected, progress).await?;
    salvaged.messages = salvaged.left.messages;
    Ok(salvaged)
}

async fn fill(
    old: &mut Source,
    live: &Arc<Live>,
    gaps: u64,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Salvaged, MailboxError> {
    let mut salvaged = Salvaged { gaps, ..Salvaged::default() };
    let total = TABLES.len() as u64 + 3;
    progress(1, total);
    let folders = live.read(|conn, _| folder_ids(conn)).await?;
    if let Some(old) = &old.tables {
        for (done, table) in (2..).zip(&TABLES) {
            let parts = if table.by_folder { folders.clone() } else { vec![0] };
            for part in parts {
                salvaged.gaps += copy_table(old, live, table, part).await?;
            }
            progress(done, total);
        }
    }
    if salvaged.gaps > 0 || old.tables.is_none() {
        copy_found(&mut old.scan, live).await?;
    }
    if old.tables.is_none() && !old.scan.found {
        return Err(MailboxError::damaged(
            "nothing in the file can be read; it is left as it is: restore the account's file from a backup",
        ));
    }
    progress(total - 1, total);
    live.durable(renew).await?;
    if let Some(old) = &old.tables {
        for folder in folders {
            salvaged.without_flags += recover_rows(old, live, folder).await?;
        }
    }
    progress(total, total);
    live.durable(|work| {
        let sql = "UPDATE search_state SET frontier = 0, floor = (SELECT coalesce(max(id), 0) FROM bodies)";
        work.tx.execute(sql, [])?;
        // What was deleted and not cleared away yet must not be taken for mail whose rows are lost. Like an upload that
        // broke off, it goes when the file is opened.
        work.tx.execute("UPDATE bodies SET refs = -1 WHERE refs = 0", [])?;
        Ok(())
    })
    .await?;
    Ok(salvaged)
}

/// Changes that a client saw may be lost, and notes of what was expunged: so whoever knows a folder is told of all of its
/// messages, and no number of a change stands for another one.
fn renew(work: &Work<'_>) -> Result<(), MailboxError> {
    let seen: i64 = work.tx.query_row(
        "SELECT max(coalesce((SELECT max(modseq) FROM messages), 0), \
         coalesce((SELECT max(highest_modseq) FROM folders), 0))",
        [],
        |row| row.get(0),
    )?;
    let seen = seen.unsigned_abs();
    // No more than a range was reserved beyond what a commit had.
    work.raise_modseq(seen.saturating_add(MODSEQ_RANGE))?;
    let modseq = work.modseq()?;
    work.tx.execute(
        "INSERT OR REPLACE INTO lost(first, last) VALUES (?1, ?2)",
        params![signed(seen.saturating_add(1)), signed(modseq - 1)],
    )?;
    work.tx.execute(
        "UPDATE folders SET highest_modseq = ?1, tombstone_floor = ?1, tombstones = 0",
        [signed(modseq)],
    )?;
    // Numbers of folders that are gone are not used again, nor are their UIDVALIDITYs.
    work.tx.execute_batch(
        "UPDATE sqlite_sequence SET seq = seq + 1000000 WHERE name = 'folders';
         UPDATE meta SET uid_validity_next = max(uid_validity_next, (SELECT coalesce(max(uid_validity), 0) + 1 FROM folders));",
    )?;
    if FolderRow::find_name(work.tx, "INBOX")?.is_none() {
        FolderRow::insert(work.tx, "INBOX", None, work.uid_validity()?, modseq)?;
        work.tx.execute("INSERT OR IGNORE INTO subscriptions(name) VALUES ('INBOX')", [])?;
    }
    work.memory.forget_uid_lists();
    Ok(())
}

/// What the pages hold of the tables that grow with the mail, and was not copied before.
async fn copy_found(scan: &mut Scan, live: &Arc<Live>) -> Result<(), MailboxError> {
    let wanted = |name: &str| TABLES.iter().any(|table| table.name == name);
    scan.restart();
    while let Some(found) = scan.rows(wanted).await? {
        if !found.is_empty() {
            live.durable(move |work| put(work.tx, "INSERT OR IGNORE", &found)).await?;
        }
    }
    Ok(())
}

fn folder_ids(conn: &Connection) -> Result<Vec<i64>, MailboxError> {
    let mut query = conn.prepare("SELECT id FROM folders")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
