//! Copying the small tables of a damaged file: folders, keywords, annotations, and what the file says of itself.

use std::sync::Arc;

use letterlock_vault::Database;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::rows::{TABLES, columns, insert, read_until_damage};
use super::salvage::Source;
use super::scan::{Found, Scan};
use crate::error::MailboxError;
use crate::live::Live;

/// Puts rows into their tables.
pub(super) fn put(conn: &Connection, verb: &str, found: &[Found]) -> Result<(), MailboxError> {
    found.iter().try_for_each(|row| {
        let columns = columns(conn, row.table)?;
        insert(conn, verb, row.table, &columns, std::slice::from_ref(&row.values))
    })
}

/// The other tables, but for the word index, which is built anew, and the notes of what was expunged, which are needless when
/// all folders are told anew.
fn small_tables(conn: &Connection) -> Result<Vec<String>, MailboxError> {
    let mut query = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = query.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let other = |name: &String| {
        !TABLES.iter().any(|table| table.name == name)
            && !["search_", "sqlite_", "vault_", "copying", "expunged"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    Ok(names.into_iter().filter(other).collect())
}

/// What the tables of a few pages gave.
#[derive(Debug, Default)]
pub(super) struct Small {
    /// At how many places rows could not be read.
    pub(super) gaps: u64,
    /// The damaged file's count of durable points.
    pub(super) points: Option<i64>,
}

impl Small {
    fn look(&mut self, table: &str, row: &[Value]) {
        if let ("meta", Some(Value::Integer(points))) = (table, row.get(POINTS)) {
            self.points = Some(*points);
        }
    }
}

/// The column of `meta` that counts durable points.
const POINTS: usize = 6;

/// The tables of a few pages.
pub(super) async fn copy_small(old: &mut Source, live: &Arc<Live>) -> Result<Small, MailboxError> {
    let (mut cut, mut small) = (Vec::new(), Small::default());
    for name in live.read(|conn, _| small_tables(conn)).await? {
        match &old.tables {
            Some(old) if copy_small_table(old, live, name.clone(), &mut small).await? => {}
            _ => cut.push(name),
        }
    }
    if !cut.is_empty() {
        small.gaps = cut.len() as u64;
        find_small(&mut old.scan, live, cut, &mut small).await?;
        if old.tables.is_none() {
            small.gaps = old.scan.unreadable;
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
    Ok(small)
}

/// All rows until the first that cannot be read; answers whether that was the end.
async fn copy_small_table(
    old: &Database,
    live: &Arc<Live>,
    name: String,
    small: &mut Small,
) -> Result<bool, MailboxError> {
    let table = name.clone();
    let (columns, rows, whole) = old
        .read::<_, MailboxError>(move |conn| {
            let columns = columns(conn, &table)?;
            let sql = format!("SELECT {columns} FROM {table}");
            let (rows, whole) = if columns.is_empty() {
                (Vec::new(), true)
            } else {
                read_until_damage(conn, &sql, &[])?
            };
            Ok((columns, rows, whole))
        })
        .await?;
    rows.iter().for_each(|row| small.look(&name, row));
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
    small: &mut Small,
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
    all.iter().for_each(|row| small.look(row.table, &row.values));
    live.durable(move |work| {
        for name in wanted.iter().filter(|name| all.iter().any(|row| row.table == **name)) {
            // Rows that SQLite could reach are among those found.
            work.tx.execute(&format!("DELETE FROM {name}"), [])?;
        }
        put(work.tx, "INSERT OR REPLACE", &all)
    })
    .await
}
