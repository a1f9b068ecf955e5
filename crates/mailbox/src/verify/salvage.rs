//! Writing a damaged file anew from all that can still be read of it.
//!
//! Rows are read by their keys; where a page in between is damaged, the next key that can be read is looked for.
//! A message whose row is lost is found again by its place in an index, with its text but without its flags; a
//! body that no message names any more gets one in a folder of its own. What is wrong with the result is mended
//! as by [`Mailboxes::repair`]. The damaged file is kept beside the new one. Of a file whose first page is damaged,
//! or one of the few that say which tables there are, nothing can be read: it stays as it is, and a backup is needed.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_vault::{AccountSecrets, Database, Hooks, Spec};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{Expected, Progress, Report, repair, whole};
use crate::error::MailboxError;
use crate::files;
use crate::live::{Live, make_file};
use crate::registry::Mailboxes;
use crate::schema::SCHEMA;

/// How many rows one job copies.
const ROWS: usize = 100;

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

/// A table and the whole number by which its rows are read; the first columns of a key that has several are bound.
struct Table {
    name: &'static str,
    key: &'static str,
    /// For one folder after the other.
    by_folder: bool,
}

const TABLES: [Table; 6] = [
    Table { name: "bodies", key: "id", by_folder: false },
    Table { name: "headers", key: "body", by_folder: false },
    Table { name: "layouts", key: "body", by_folder: false },
    Table { name: "chunks", key: "id", by_folder: false },
    Table { name: "messages", key: "uid", by_folder: true },
    Table { name: "expunged", key: "modseq", by_folder: true },
];

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
        let account = secrets.account();
        let path = files::mailbox_file(self.data_dir(), account, secrets.epoch());
        let (slot, _turn) = self.locked_turn(account).await;
        if slot.is_newer(&secrets) {
            return Err(MailboxError::Locked);
        }
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
        let old = open_damaged(self, spec).await?;
        let draft = path.with_extension("new");
        self.pool().remove(&draft).await?;
        make_file(self.pool(), draft.clone(), &secrets, self.options(), Timestamp::now()).await?;
        let open = async || {
            let live = Live::open(self.pool(), draft.clone(), secrets.clone(), self.options());
            Ok::<_, MailboxError>(Arc::new(live.await?))
        };
        let live = open().await?;
        let gaps = copy_small(&old, &live).await?;
        // The old file's key for hashes of bodies has come with it, and is read when a file is opened.
        live.db.close().await?;
        let live = open().await?;
        let filled = fill(&old, &live, gaps, &mut progress).await;
        drop(old.close().await);
        let mended = match filled {
            Ok(salvaged) => mend(&live, self, salvaged, &mut progress).await,
            Err(error) => Err(error),
        };
        let closed = live.db.close().await;
        let salvaged = mended?;
        closed?;
        files::replace_damaged(self.pool(), draft, path).await?;
        Ok(salvaged)
    }
}

/// Opens the damaged file, if it says which tables there are and where they begin. That stands on its first page and a
/// few more; a file made anew is no help, since the places differ with a file's history.
async fn open_damaged(mailboxes: &Mailboxes, spec: Spec) -> Result<Database, MailboxError> {
    let old = Database::open_read_only(mailboxes.pool(), spec).await.map_err(hopeless)?;
    let looked = old
        .read::<_, MailboxError>(|conn| {
            Ok(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)
        })
        .await;
    if let Err(error) = looked {
        drop(old.close().await);
        return Err(hopeless(error));
    }
    Ok(old)
}

/// Damage before anything can be found: says what is left to do.
fn hopeless(error: impl Into<MailboxError>) -> MailboxError {
    match error.into() {
        MailboxError::Damaged(where_) => MailboxError::Damaged(format!(
            "{where_}; without this page nothing in the file can be found, it is left as it is: \
             restore the account's file from a backup"
        )),
        other => other,
    }
}

async fn mend(
    live: &Arc<Live>,
    mailboxes: &Mailboxes,
    mut salvaged: Salvaged,
    progress: &mut Progress,
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
    old: &Database,
    live: &Arc<Live>,
    gaps: u64,
    progress: &mut Progress,
) -> Result<Salvaged, MailboxError> {
    let mut salvaged = Salvaged { gaps, ..Salvaged::default() };
    let total = TABLES.len() as u64 + 2;
    progress(1, total);
    let folders = live.read(|conn, _| folder_ids(conn)).await?;
    for (done, table) in (2..).zip(&TABLES) {
        let parts = if table.by_folder { folders.clone() } else { vec![0] };
        for part in parts {
            salvaged.gaps += copy_table(old, live, table, part).await?;
        }
        progress(done, total);
    }
    for folder in folders {
        salvaged.without_flags += recover_rows(old, live, folder).await?;
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

fn folder_ids(conn: &Connection) -> Result<Vec<i64>, MailboxError> {
    let mut query = conn.prepare("SELECT id FROM folders")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The columns of a table, for SELECT and INSERT: the two files may have been made by different versions.
fn columns(conn: &Connection, table: &str) -> Result<String, MailboxError> {
    let mut query = conn.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    let names = query.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.join(", "))
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

/// The tables of a few pages: all rows until the first that cannot be read. Answers how many were cut short.
async fn copy_small(old: &Database, live: &Arc<Live>) -> Result<u64, MailboxError> {
    let mut gaps = 0;
    for name in live.read(|conn, _| small_tables(conn)).await? {
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
        gaps += u64::from(!whole);
        if rows.is_empty() {
            continue;
        }
        live.durable(move |work| {
            // What the new file was made with gives way.
            if whole {
                work.tx.execute(&format!("DELETE FROM {name}"), [])?;
            }
            insert(work.tx, "INSERT OR REPLACE", &name, &columns, &rows)
        })
        .await?;
    }
    // Counting begins where the old file may have come to.
    live.durable(|work| {
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

/// Rows up to the first that cannot be read; whether that was the end.
fn read_until_damage(conn: &Connection, sql: &str, bound: &[i64]) -> (Vec<Vec<Value>>, bool) {
    let mut rows = Vec::new();
    let mut read = || -> rusqlite::Result<()> {
        let mut query = conn.prepare_cached(sql)?;
        let columns = query.column_count();
        let mut found = query.query(params_from_iter(bound))?;
        while let Some(row) = found.next()? {
            rows.push((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
        }
        Ok(())
    };
    let whole = read().is_ok();
    (rows, whole)
}

fn insert(
    conn: &Connection,
    verb: &str,
    table: &str,
    columns: &str,
    rows: &[Vec<Value>],
) -> Result<(), MailboxError> {
    for row in rows {
        let places = vec!["?"; row.len()].join(", ");
        conn.prepare_cached(&format!("{verb} INTO {table}({columns}) VALUES ({places})"))?
            .execute(params_from_iter(row))?;
    }
    Ok(())
}

/// Copies a table; answers at how many places rows could not be read.
async fn copy_table(
    old: &Database,
    live: &Arc<Live>,
    table: &'static Table,
    folder: i64,
) -> Result<u64, MailboxError> {
    let (mut from, mut gaps) = (0i64, 0);
    let columns = old.read::<_, MailboxError>(|conn| columns(conn, table.name)).await?;
    if columns.is_empty() {
        return Ok(0);
    }
    let columns = Arc::new(columns);
    loop {
        let names = Arc::clone(&columns);
        let (rows, whole, last) = old
            .read::<_, MailboxError>(move |conn| Ok(read_rows(conn, table, &names, folder, from)))
            .await?;
        let count = rows.len();
        if count > 0 {
            let names = Arc::clone(&columns);
            live.durable(move |work| {
                insert(work.tx, "INSERT OR IGNORE", table.name, &names, &rows)
            })
            .await?;
        }
        from = last.map_or(from, |last| last.saturating_add(1));
        if whole && count < ROWS {
            return Ok(gaps);
        }
        if !whole {
            gaps += 1;
            let next = old
                .read::<_, MailboxError>(move |conn| Ok(behind_damage(conn, table, folder, from)))
                .await?;
            match next {
                Some(next) => from = next,
                None => return Ok(gaps),
            }
        }
    }
}

/// The next rows from a key on, whether they could all be read, and the key of the last.
fn read_rows(
    conn: &Connection,
    table: &Table,
    columns: &str,
    folder: i64,
    from: i64,
) -> (Vec<Vec<Value>>, bool, Option<i64>) {
    let Table { name, key, by_folder } = table;
    let only = if *by_folder { "folder = ?1" } else { "?1 = ?1" };
    let sql = format!(
        "SELECT {key}, {columns} FROM {name} WHERE {only} AND {key} >= ?2 ORDER BY {key} LIMIT {ROWS}"
    );
    let (mut rows, whole) = read_until_damage(conn, &sql, &[folder, from]);
    let mut last = None;
    for row in &mut rows {
        if let Value::Integer(key) = row.remove(0) {
            last = Some(key);
        }
    }
    (rows, whole, last)
}

/// The least key, as far as can be told, from which on a row can be read again.
fn behind_damage(conn: &Connection, table: &Table, folder: i64, from: i64) -> Option<i64> {
    let Table { name, key, by_folder } = table;
    let only = if *by_folder { "folder = ?1" } else { "?1 = ?1" };
    let sql = format!("SELECT * FROM {name} WHERE {only} AND {key} >= ?2 ORDER BY {key} LIMIT 1");
    let readable = |key: i64| read_until_damage(conn, &sql, &[folder, key]).1;
    // Steps that double until something can be read, if only that there is nothing more.
    let mut step = 1i64;
    while !readable(from.saturating_add(step)) {
        step = step.checked_mul(2).filter(|step| *step < 1 << 60)?;
    }
    let (mut bad, mut good) = (from.saturating_add(step / 2), from.saturating_add(step));
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if readable(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}

/// Messages of a folder whose rows are lost, by the index that leads from bodies to them.
async fn recover_rows(old: &Database, live: &Arc<Live>, folder: i64) -> Result<u64, MailboxError> {
    let (mut after, mut recovered) = (0i64, 0);
    loop {
        let bodies = live
            .read(move |conn, _| {
                let mut query = conn
                    .prepare_cached("SELECT id FROM bodies WHERE id > ?1 ORDER BY id LIMIT 1000")?;
                Ok(query.query_map([after], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?)
            })
            .await?;
        let Some(last) = bodies.last() else { return Ok(recovered) };
        after = *last;
        let places = old
            .read::<_, MailboxError>(move |conn| {
                let sql = "SELECT uid, body FROM messages INDEXED BY messages_body WHERE folder = ?1 AND body = ?2";
                Ok(bodies.iter().flat_map(|body| read_until_damage(conn, sql, &[folder, *body]).0).collect::<Vec<_>>())
            })
            .await?;
        recovered += live.durable(move |work| place(work.tx, folder, &places)).await?;
    }
}

/// Puts messages to bodies, where there is none of that UID.
fn place(conn: &Connection, folder: i64, places: &[Vec<Value>]) -> Result<u64, MailboxError> {
    let mut placed = 0;
    for row in places {
        let [uid, body] = row.as_slice() else { continue };
        placed += conn
            .prepare_cached(
                "INSERT OR IGNORE INTO messages(folder, uid, modseq, created, flags, keywords, received, zone, saved, size, \
                 body, email) SELECT ?1, ?2, f.highest_modseq, f.highest_modseq, 0, NULL, unixepoch(), 0, unixepoch(), b.size, \
                 b.id, b.email FROM bodies b, folders f WHERE b.id = ?3 AND f.id = ?1",
            )?
            .execute(params_from_iter([&Value::Integer(folder), uid, body]))? as u64;
    }
    Ok(placed)
}

/// Bodies that had messages, none of which is left, get one in a folder of their own.
fn recover_bodies(conn: &Connection) -> Result<u64, MailboxError> {
    let lost: Vec<i64> = conn
        .prepare(
            "SELECT b.id FROM bodies b WHERE b.refs >= 0 AND EXISTS (SELECT 1 FROM headers h WHERE h.body = b.id) AND NOT EXISTS \
             (SELECT 1 FROM folders f CROSS JOIN messages m INDEXED BY messages_body ON m.folder = f.id AND m.body = b.id)",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if lost.is_empty() {
        return Ok(0);
    }
    let name = "Recovered";
    let known: Option<i64> = conn
        .query_row("SELECT id FROM folders WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    let folder = match known {
        Some(folder) => folder,
        None => {
            let (uid_validity, modseq): (u32, i64) = conn.query_row(
                "UPDATE meta SET uid_validity_next = uid_validity_next + 1 RETURNING uid_validity_next - 1, \
                 (SELECT max(highest_modseq) FROM folders)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            crate::folder_row::FolderRow::insert(
                conn,
                name,
                None,
                uid_validity,
                modseq.unsigned_abs(),
            )?
            .0
        }
    };
    let first: i64 = conn.query_row(
        "SELECT max(f.uid_next, coalesce((SELECT max(uid) + 1 FROM messages WHERE folder = f.id), 1)) FROM folders f WHERE f.id = ?1",
        [folder],
        |row| row.get(0),
    )?;
    let places: Vec<_> = (first..)
        .zip(lost)
        .map(|(uid, body)| vec![Value::Integer(uid), Value::Integer(body)])
        .collect();
    place(conn, folder, &places)
}
