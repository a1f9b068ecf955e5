//! Copying rows out of a damaged file by SQL: by their keys, and around the places that cannot be read.

use std::sync::Arc;

use letterlock_vault::{Database, VaultError};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::error::MailboxError;
use crate::live::Live;

/// How many rows one job copies.
const ROWS: usize = 100;

/// A table and the whole number by which its rows are read; the first columns of a key that has several are bound.
pub(super) struct Table {
    pub(super) name: &'static str,
    key: &'static str,
    /// For one folder after the other.
    pub(super) by_folder: bool,
}

/// The tables that grow with the mail.
pub(super) const TABLES: [Table; 6] = [
    Table { name: "bodies", key: "id", by_folder: false },
    Table { name: "headers", key: "body", by_folder: false },
    Table { name: "layouts", key: "body", by_folder: false },
    Table { name: "chunks", key: "id", by_folder: false },
    Table { name: "released", key: "body", by_folder: false },
    Table { name: "messages", key: "uid", by_folder: true },
];

/// The columns of a table, for SELECT and INSERT: the two files may have been made by different versions.
pub(super) fn columns(conn: &Connection, table: &str) -> Result<String, MailboxError> {
    let mut query = conn.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    let names = query.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.join(", "))
}

/// Whether an error says nothing of the file: it came of the system, and may be gone the next time. Rows behind it must
/// not pass for lost.
pub(super) fn is_of_the_system(error: &MailboxError) -> bool {
    match error {
        MailboxError::Full | MailboxError::Locked => true,
        MailboxError::Storage(VaultError::Sqlite(rusqlite::Error::SqliteFailure(code, _))) => {
            matches!(
                code.code,
                ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::CannotOpen
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        }
        MailboxError::Storage(VaultError::Sqlite(_)) => false,
        MailboxError::Storage(_) => true,
        _ => false,
    }
}

/// Rows up to the first that is damaged; whether there was none.
pub(super) fn read_until_damage(
    conn: &Connection,
    sql: &str,
    bound: &[i64],
) -> Result<(Vec<Vec<Value>>, bool), MailboxError> {
    let mut rows = Vec::new();
    let mut read = || -> Result<(), MailboxError> {
        let mut query = conn.prepare_cached(sql)?;
        let columns = query.column_count();
        let mut found = query.query(params_from_iter(bound))?;
        while let Some(row) = found.next()? {
            rows.push((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
        }
        Ok(())
    };
    let outcome = read();
    match outcome {
        Ok(()) => Ok((rows, true)),
        Err(error) if is_of_the_system(&error) => Err(error),
        Err(_) => Ok((rows, false)),
    }
}

pub(super) fn insert(
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
pub(super) async fn copy_table(
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
            .read::<_, MailboxError>(move |conn| read_rows(conn, table, &names, folder, from))
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
                .read::<_, MailboxError>(move |conn| behind_damage(conn, table, folder, from))
                .await?;
            match next {
                Some(next) => from = next,
                None => return Ok(gaps),
            }
        }
    }
}

/// Rows, whether they could all be read, and the key of the last.
type Slice = (Vec<Vec<Value>>, bool, Option<i64>);

/// The next rows from a key on.
fn read_rows(
    conn: &Connection,
    table: &Table,
    columns: &str,
    folder: i64,
    from: i64,
) -> Result<Slice, MailboxError> {
    let Table { name, key, by_folder } = table;
    let only = if *by_folder { "folder = ?1" } else { "?1 = ?1" };
    let sql = format!(
        "SELECT {key}, {columns} FROM {name} WHERE {only} AND {key} >= ?2 ORDER BY {key} LIMIT {ROWS}"
    );
    let (mut rows, whole) = read_until_damage(conn, &sql, &[folder, from])?;
    let mut last = None;
    for row in &mut rows {
        if let Value::Integer(key) = row.remove(0) {
            last = Some(key);
        }
    }
    Ok((rows, whole, last))
}

/// The least key, as far as can be told, from which on a row can be read again.
fn behind_damage(
    conn: &Connection,
    table: &Table,
    folder: i64,
    from: i64,
) -> Result<Option<i64>, MailboxError> {
    let Table { name, key, by_folder } = table;
    let only = if *by_folder { "folder = ?1" } else { "?1 = ?1" };
    let sql = format!("SELECT * FROM {name} WHERE {only} AND {key} >= ?2 ORDER BY {key} LIMIT 1");
    let readable =
        |key: i64| Ok::<_, MailboxError>(read_until_damage(conn, &sql, &[folder, key])?.1);
    // Steps that double until something can be read, if only that there is nothing more.
    let mut step = 1i64;
    while !readable(from.saturating_add(step))? {
        let Some(next) = step.checked_mul(2).filter(|step| *step < 1 << 60) else {
            return Ok(None);
        };
        step = next;
    }
    let (mut bad, mut good) = (from.saturating_add(step / 2), from.saturating_add(step));
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if readable(middle)? { good = middle } else { bad = middle }
    }
    Ok(Some(good))
}
