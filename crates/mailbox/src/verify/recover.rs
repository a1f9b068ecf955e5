//! Messages whose rows are lost: found again by an index, or by what is left of their bodies.

use std::sync::Arc;

use letterlock_vault::Database;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::rows::read_until_damage;
use crate::error::MailboxError;
use crate::live::Live;

/// Messages of a folder whose rows are lost, by the index that leads from bodies to them.
pub(super) async fn recover_rows(
    old: &Database,
    live: &Arc<Live>,
    folder: i64,
) -> Result<u64, MailboxError> {
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
                let mut places = Vec::new();
                for body in bodies {
                    places.extend(read_until_damage(conn, sql, &[folder, body])?.0);
                }
                Ok(places)
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
pub(super) fn recover_bodies(conn: &Connection) -> Result<u64, MailboxError> {
    let lost: Vec<i64> = conn
        .prepare(
            "SELECT b.id FROM bodies b WHERE b.refs >= 0 AND EXISTS (SELECT 1 FROM headers h WHERE h.body = b.id) AND NOT EXISTS \
             (SELECT 1 FROM released r WHERE r.body = b.id) AND NOT EXISTS \
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
