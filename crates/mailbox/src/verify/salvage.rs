//! Writing a damaged file anew from all that can still be read of it.
//!
//! Rows are read by their keys; where a page in between is damaged, the next key that can be read is looked for.
//! A message whose row is lost is found again by its place in an index, with its text but without its flags; a
//! body that no message names any more gets one in a folder of its own. What is wrong with the result is mended
//! as by [`Mailboxes::repair`]. The damaged file is kept beside the new one.
//!
//! What SQLite does not find any more, because a page on the way to it is damaged, is found page by page. So is
//! everything where the first page is damaged, or one of the few that say which tables there are.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_vault::{AccountSecrets, Database, Hooks, Spec};
use rusqlite::Connection;

use super::recover::{recover_bodies, recover_rows};
use super::rows::{TABLES, columns, copy_table, insert, read_until_damage};
use super::scan::{Found, Scan};
use super::{Expected, Progress, Report, repair, whole};
use crate::error::MailboxError;
use crate::files;
use crate::live::{Live, make_file};
use crate::registry::Mailboxes;
use crate::schema::SCHEMA;

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

impl Mailboxes {
    /// Locks the account, writes its file anew from what can be read of it, and puts the new one in its place; the
    /// damaged one stays beside it, with `.damaged` at the end of its name, until somebody removes it. The account
    /// stays locked. Messages keep their UIDs; clients get new UIDVALIDITYs where a folder's row was lost.
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
        self.write_anew(&secrets, &mut progress).await
    }

    /// [`Mailboxes::salvage`] of an account that is locked and stays so.
    pub(crate) async fn write_anew(
        &self,
        secrets: &AccountSecrets,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Salvaged, MailboxError> {
        let path = files::mailbox_file(self.data_dir(), secrets.account(), secrets.epoch());
        files::put_back_damaged(self.pool(), path.clone()).await?;
        files::check_there(self.pool(), &path).await?;
        let spec = Spec {
            path: path.clone(),
            keys: secrets.file_keys(),
            schema: SCHEMA,
            cache_kib: 4_096,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let mut old = Source {
            scan: Scan::begin(self.pool().storage(), path.clone(), secrets.file_keys()).await?,
            tables: open_damaged(self, spec).await?,
        };
        let draft = path.with_extension("new");
        self.pool().remove(&draft).await?;
        make_file(self.pool(), draft.clone(), secrets, self.options(), Timestamp::now()).await?;
        let open = async || {
            let live = Live::open(self.pool(), draft.clone(), secrets.clone(), self.options());
            Ok::<_, MailboxError>(Arc::new(live.await?))
        };
        let live = open().await?;
        let gaps = copy_small(&mut old, &live).await?;
        // The old file's key for hashes of bodies has come with it, and is read when a file is opened.
        live.db.close().await?;
        let live = open().await?;
        let filled = fill(&mut old, &live, gaps, progress).await;
        old.close().await;
        let mended = match filled {
            Ok(salvaged) => mend(&live, self, salvaged, progress).await,
            Err(error) => Err(error),
        };
        let closed = live.db.close().await;
        let salvaged = mended?;
        closed?;
        files::replace_damaged(self.pool(), draft, path).await?;
        Ok(salvaged)
    }
}

/// The damaged file, as far as it can be read.
struct Source {
    scan: Scan,
    /// None if it does not say which tables there are.
    tables: Option<Database>,
}

impl Source {
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
    if looked.is_ok_and(|tables| tables > 0) {
        return Ok(Some(old));
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
    if let Some(old) = &old.tables {
        for folder in folders {
            salvaged.without_flags += recover_rows(old, live, folder).await?;
        }
    }
    progress(total, total);
    live.durable(|work| {
        let sql = "UPDATE search_state SET frontier = 0, floor = (SELECT coalesce(max(id), 0) FROM bodies)";
        work.tx.execute(sql, [])?;
        Ok(())
    })
    .await?;
    Ok(salvaged)
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

fn put(conn: &Connection, verb: &str, found: &[Found]) -> Result<(), MailboxError> {
    found.iter().try_for_each(|row| {
        let columns = columns(conn, row.table)?;
        insert(conn, verb, row.table, &columns, std::slice::from_ref(&row.values))
    })
}

fn folder_ids(conn: &Connection) -> Result<Vec<i64>, MailboxError> {
    let mut query = conn.prepare("SELECT id FROM folders")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The other tables, but for the word index, which is built anew.
fn small_tables(conn: &Connection) -> Result<Vec<String>, MailboxError> {
    let mut query = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = query.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let other = |name: &String| {
        !TABLES.iter().any(|table| table.name == name)
            && !["search_", "sqlite_", "vault_", "copying"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    Ok(names.into_iter().filter(other).collect())
}

/// The tables of a few pages. Answers at how many places rows could not be read.
async fn copy_small(old: &mut Source, live: &Arc<Live>) -> Result<u64, MailboxError> {
    let (mut cut, mut gaps) = (Vec::new(), 0);
    for name in live.read(|conn, _| small_tables(conn)).await? {
        match &old.tables {
            Some(old) if copy_small_table(old, live, name.clone()).await? => {}
            _ => cut.push(name),
        }
    }
    if !cut.is_empty() {
        gaps = cut.len() as u64;
        find_small(&mut old.scan, live, cut).await?;
        if old.tables.is_none() {
            gaps = old.scan.unreadable;
        }
    }
    // Counting begins where the old file may have come to. Where its count of durable points is lost, nobody ever
    // counted as many as there are seconds since 1970: so the file does not pass for an older one than it is.
    let new_key = live.hash_key.clone();
    live.durable(move |work| {
        let lost = "UPDATE meta SET points = max(points, unixepoch()) WHERE hash_key = ?1";
        work.tx.execute(lost, [new_key.expose()])?;
        let next: i64 =
            work.tx.query_row("SELECT modseq_reserved FROM meta", [], |row| row.get(0))?;
        work.raise_modseq(next.unsigned_abs())?;
        work.tx.execute("UPDATE folders SET uid_next = max(uid_next, uid_reserved)", [])?;
        work.memory.forget_uid_lists();
        Ok(())
    })
    .await?;
    Ok(gaps)
}

/// All rows until the first that cannot be read; answers whether that was the end.
async fn copy_small_table(
    old: &Database,
    live: &Arc<Live>,
    name: String,
) -> Result<bool, MailboxError> {
    let table = name.clone();
    let (columns, rows, whole) = old
        .read::<_, MailboxError>(move |conn| {
            let columns = columns(conn, &table)?;
            let sql = format!("SELECT {columns} FROM {table}");
            let (rows, whole) = if columns.is_empty() {
                (Vec::new(), true)
            } else {
                read_until_damage(conn, &sql, &[])
            };
            Ok((columns, rows, whole))
        })
        .await?;
    if !rows.is_empty() {
        live.durable(move |work| {
            // What the new file was made with gives way.
            if whole {
                work.tx.execute(&format!("DELETE FROM {name}"), [])?;
            }
            insert(work.tx, "INSERT OR REPLACE", &name, &columns, &rows)
        })
        .await?;
    }
    Ok(whole)
}

/// What the pages hold of the small tables that were cut short.
async fn find_small(
    scan: &mut Scan,
    live: &Arc<Live>,
    cut: Vec<String>,
) -> Result<(), MailboxError> {
    let mut all: Vec<Found> = Vec::new();
    let wanted = Arc::new(cut);
    scan.restart();
    loop {
        let wanted = Arc::clone(&wanted);
        let some = scan.rows(move |name| wanted.iter().any(|table| table == name)).await?;
        let Some(some) = some else { break };
        all.extend(some);
    }
    live.durable(move |work| {
        for name in wanted.iter().filter(|name| all.iter().any(|row| row.table == **name)) {
            // Rows that SQLite could reach are among those found.
            work.tx.execute(&format!("DELETE FROM {name}"), [])?;
        }
        put(work.tx, "INSERT OR REPLACE", &all)
    })
    .await
}
