//! The jobs on folders: listing, making, deleting, renaming, subscribing.
//!
//! - A folder may be deleted while others lie under it; those stay, and the name is then listed as one that
//!   does not exist (`\NonExistent`, RFC 9051 §6.3.5) until the last of them goes.
//! - A folder's messages are taken away after its deletion, in slices: the row loses its name at once.
//! - RENAME moves what lies under the folder along (RFC 9051 §6.3.6). Of INBOX only the messages move, which is
//!   done by the caller. Subscriptions belong to names and stay where they are.
//! - Superior folders are made as needed, by CREATE and by RENAME.

use std::collections::BTreeSet;

use letterlock_imap_wire::SpecialUse;
use rusqlite::{Connection, params};

use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::live::shown;
use crate::name::{self, INBOX, is_inferior, superiors};
use crate::types::{Folder, FolderId};
use crate::work::Work;

/// How many folders an account may have.
const FOLDERS: i64 = 10_000;

/// All names that are subscribed, ascending; some may name no folder.
pub(crate) fn subscriptions(conn: &Connection) -> Result<BTreeSet<String>, MailboxError> {
    let mut query = conn.prepare_cached("SELECT name FROM subscriptions ORDER BY name")?;
    let names = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// All folders by name, with the names that only others under them need.
pub(crate) fn list(conn: &Connection) -> Result<Vec<Folder>, MailboxError> {
    let rows = FolderRow::all(conn)?;
    let subscribed = subscriptions(conn)?;
    let above: BTreeSet<&str> = rows.iter().flat_map(|row| superiors(&row.name)).collect();
    let real: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let mut folders: Vec<Folder> = rows
        .iter()
        .map(|row| shown(row, subscribed.contains(&row.name), above.contains(row.name.as_str())))
        .collect();
    folders.extend(above.difference(&real).map(|name| Folder {
        id: None,
        name: (*name).to_owned(),
        uid_validity: 0,
        special_use: None,
        subscribed: subscribed.contains(*name),
        has_children: true,
    }));
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// Makes a folder and those above it.
pub(crate) fn create(
    work: &Work<'_>,
    name: &str,
    special_use: Option<SpecialUse>,
) -> Result<Folder, MailboxError> {
    if FolderRow::find_name(work.tx, name)?.is_some() {
        return Err(MailboxError::AlreadyExists);
    }
    if let Some(use_) = special_use {
        check_special_use(work.tx, use_)?;
    }
    make_superiors(work, name)?;
    let id = make(work, name, special_use)?;
    let row = FolderRow::by_id(work.tx, id)?;
    let subscribed = subscriptions(work.tx)?.contains(name);
    let has_children = !inferiors(work.tx, name)?.is_empty();
    Ok(shown(&row, subscribed, has_children))
}

fn check_special_use(conn: &Connection, use_: SpecialUse) -> Result<(), MailboxError> {
    let taken: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM folders WHERE special_use = ?1 AND name IS NOT NULL)",
        [use_.as_str()],
        |row| row.get(0),
    )?;
    // \All and \Flagged are views of messages that stand in other folders; we have none.
    if taken || matches!(use_, SpecialUse::All | SpecialUse::Flagged) {
        return Err(MailboxError::SpecialUse);
    }
    Ok(())
}

fn make_superiors(work: &Work<'_>, name: &str) -> Result<(), MailboxError> {
    for above in superiors(name) {
        if FolderRow::find_name(work.tx, above)?.is_none() {
            make(work, above, None)?;
        }
    }
    Ok(())
}

fn make(
    work: &Work<'_>,
    name: &str,
    special_use: Option<SpecialUse>,
) -> Result<FolderId, MailboxError> {
    let count: i64 = work.tx.query_row("SELECT count(*) FROM folders", [], |row| row.get(0))?;
    if count >= FOLDERS {
        return Err(MailboxError::Limit("folders of an account"));
    }
    FolderRow::insert(work.tx, name, special_use, work.uid_validity()?, work.modseq()?)
}

/// The folders that lie under the name.
fn inferiors(conn: &Connection, name: &str) -> Result<Vec<FolderRow>, MailboxError> {
    let mut rows = FolderRow::all(conn)?;
    rows.retain(|row| is_inferior(&row.name, name));
    Ok(rows)
}

/// Deletes a folder; its messages are taken away later. Answers its id.
pub(crate) fn delete(work: &Work<'_>, name: &str) -> Result<FolderId, MailboxError> {
    if name == INBOX {
        return Err(MailboxError::Forbidden);
    }
    let row = FolderRow::by_name(work.tx, name)?;
    work.tx
        .execute("UPDATE folders SET name = NULL, special_use = NULL WHERE id = ?1", [row.id])?;
    Ok(row.folder_id())
}

/// Renames a folder that is not INBOX, with what lies under it.
pub(crate) fn rename(work: &Work<'_>, from: &str, to: &str) -> Result<(), MailboxError> {
    if is_inferior(to, from) {
        return Err(MailboxError::Forbidden);
    }
    let own = FolderRow::find_name(work.tx, from)?;
    let moving: Vec<FolderRow> = own.into_iter().chain(inferiors(work.tx, from)?).collect();
    if moving.is_empty() {
        return Err(MailboxError::NoSuchFolder);
    }
    if FolderRow::find_name(work.tx, to)?.is_some() {
        return Err(MailboxError::AlreadyExists);
    }
    make_superiors(work, to)?;
    for row in moving {
        let new = format!("{to}{}", &row.name[from.len()..]);
        // A deep tree under a longer name may break the rules for names.
        if name::normalise(&new)? != new {
            return Err(MailboxError::Forbidden);
        }
        if FolderRow::find_name(work.tx, &new)?.is_some() {
            return Err(MailboxError::AlreadyExists);
        }
        work.tx.execute("UPDATE folders SET name = ?2 WHERE id = ?1", params![row.id, new])?;
    }
    Ok(())
}

/// Subscribes a name, or ends that; whether there is a folder does not matter. Answers whether it changed.
pub(crate) fn subscribe(
    work: &Work<'_>,
    name: &str,
    subscribed: bool,
) -> Result<bool, MailboxError> {
    let sql = if subscribed {
        "INSERT OR IGNORE INTO subscriptions(name) VALUES (?1)"
    } else {
        "DELETE FROM subscriptions WHERE name = ?1"
    };
    Ok(work.tx.execute(sql, [name])? > 0)
}

/// Moves the `\Recent` mark to the end; answers where it stood.
pub(crate) fn take_recent(conn: &Connection, row: &mut FolderRow) -> Result<u32, MailboxError> {
    let recent = row.recent_from;
    row.recent_from = row.uid_next;
    conn.prepare_cached("UPDATE folders SET recent_from = uid_next WHERE id = ?1")?
        .execute([row.id])?;
    Ok(recent)
}

/// The first UID without `\Seen`.
pub(crate) fn first_unseen(
    conn: &Connection,
    row: &FolderRow,
) -> Result<Option<u32>, MailboxError> {
    if row.unseen == 0 {
        return Ok(None);
    }
    let first = conn
        .prepare_cached("SELECT min(uid) FROM messages INDEXED BY messages_unseen WHERE folder = ?1 AND (flags & 1) = 0")?
        .query_row([row.id], |row| row.get(0))?;
    Ok(first)
}

/// The delivered pairs are forgotten, once no retry can come.
pub(crate) fn prune_delivered(
    conn: &Connection,
    pairs: &[(letterlock_vault::DeliveryId, String)],
) -> Result<(), MailboxError> {
    let mut delete =
        conn.prepare_cached("DELETE FROM delivered WHERE delivery = ?1 AND recipient = ?2")?;
    for (id, recipient) in pairs {
        delete.execute(params![id.to_bytes(), recipient])?;
    }
    Ok(())
}

/// Whether it was filed before.
pub(crate) fn was_delivered(
    conn: &Connection,
    id: letterlock_vault::DeliveryId,
    recipient: &str,
) -> Result<bool, MailboxError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM delivered WHERE delivery = ?1 AND recipient = ?2)";
    Ok(conn.prepare_cached(sql)?.query_row(params![id.to_bytes(), recipient], |row| row.get(0))?)
}

/// Notes that it is filed in this transaction.
pub(crate) fn note_delivered(
    conn: &Connection,
    id: letterlock_vault::DeliveryId,
    recipient: &str,
) -> Result<(), MailboxError> {
    conn.prepare_cached("INSERT INTO delivered(delivery, recipient) VALUES (?1, ?2)")?
        .execute(params![id.to_bytes(), recipient])?;
    Ok(())
}

/// The ranges of UIDs that went from the folder after `since`.
pub(crate) fn vanished(
    conn: &Connection,
    folder: FolderId,
    since: u64,
) -> Result<crate::types::UidRanges, MailboxError> {
    let mut query =
        conn.prepare_cached("SELECT first, last FROM expunged WHERE folder = ?1 AND modseq > ?2")?;
    let rows =
        query.query_map(params![folder.0, signed(since)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ranges: Vec<(u32, u32)> = rows.collect::<Result<_, _>>()?;
    Ok(crate::types::UidRanges::from_ranges(ranges))
}
