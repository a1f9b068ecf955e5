//! UID lists and what changed in them: SELECT, and the changes since a modseq.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::folders;
use crate::live::Live;
use crate::messages::{SLICE, flag_row, known_keywords};
use crate::types::{Changes, FlagRow, FolderId, ModSeq, SelectMode, Selected, UidRanges};
use crate::work::{Memory, UidList, is_in_lost_range};

/// Lists longer than this are read in several jobs.
const COLD: u32 = 5_000;

/// All UIDs of the folder, ascending: the kept list, brought up to date by what changed since.
pub(crate) fn uids(
    conn: &Connection,
    memory: &Memory,
    row: &FolderRow,
) -> Result<Arc<Vec<u32>>, MailboxError> {
    let folder = row.folder_id();
    let mut list = match memory.uid_list(folder) {
        Some(list) if list.modseq == row.highest_modseq && list.uid_next == row.uid_next => {
            return Ok(list.uids);
        }
        Some(list) if list.modseq >= row.tombstone_floor => list,
        _ => UidList { modseq: 0, uid_next: 1, uids: Arc::default() },
    };
    if list.modseq > 0 && !list.uids.is_empty() {
        let gone = folders::vanished(conn, folder, list.modseq)?;
        if gone.first().is_some_and(|first| list.uids.last().is_some_and(|last| first <= *last)) {
            Arc::make_mut(&mut list.uids).retain(|uid| !gone.contains(*uid));
        }
    }
    if row.uid_next > list.uid_next {
        let mut new = page(conn, folder, list.uid_next - 1, i64::MAX)?;
        if list.uids.is_empty() {
            list.uids = Arc::new(new);
        } else if !new.is_empty() {
            Arc::make_mut(&mut list.uids).append(&mut new);
        }
    }
    list.modseq = row.highest_modseq;
    list.uid_next = row.uid_next;
    memory.keep_uid_list(folder, list.clone());
    Ok(list.uids)
}

fn page(
    conn: &Connection,
    folder: FolderId,
    after: u32,
    limit: i64,
) -> Result<Vec<u32>, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT uid FROM messages WHERE folder = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3",
    )?;
    let uids = query
        .query_map(params![folder.0, after, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(uids)
}

fn is_cold(memory: &Memory, row: &FolderRow) -> bool {
    row.messages > COLD
        && memory.uid_list(row.folder_id()).is_none_or(|list| list.modseq < row.tombstone_floor)
}

/// Reads a long list in pages. What changes meanwhile is put right by [`uids`], since the list is kept as one
/// of the modseq at which reading began.
async fn warm(live: &Live, start: FolderRow) -> Result<(), MailboxError> {
    let folder = start.folder_id();
    let generation = live.memory.generation();
    let mut all: Vec<u32> = Vec::with_capacity(start.messages as usize);
    loop {
        let after = all.last().copied().unwrap_or(0);
        let next = live.read(move |conn, _| page(conn, folder, after, i64::from(COLD))).await?;
        let end = next.len() < COLD as usize;
        all.extend(next);
        if end {
            break;
        }
    }
    // Those that came since belong to the next step.
    all.truncate(all.partition_point(|uid| *uid < start.uid_next));
    live.read(move |_, memory| {
        let list =
            UidList { modseq: start.highest_modseq, uid_next: start.uid_next, uids: Arc::new(all) };
        // A recovery in between may have taken back what was read.
        if memory.generation() == generation {
            memory.keep_uid_list(folder, list);
        }
        Ok(())
    })
    .await
}

enum Looked {
    Found(Box<Selected>),
    Cold(Box<FolderRow>),
    /// There are recent messages to take: that is a change.
    Recent,
}

/// Opens a folder by its normalised name.
pub(crate) async fn select(
    live: &Live,
    name: String,
    mode: SelectMode,
) -> Result<Selected, MailboxError> {
    for _ in 0..3 {
        let wanted = name.clone();
        let looked = live
            .read(move |conn, memory| {
                let row = FolderRow::by_name(conn, &wanted)?;
                if is_cold(memory, &row) {
                    return Ok(Looked::Cold(Box::new(row)));
                }
                if mode == SelectMode::ReadWrite && row.recent_from < row.uid_next {
                    return Ok(Looked::Recent);
                }
                let recent = row.recent_from;
                Ok(Looked::Found(Box::new(selected(conn, memory, row, recent)?)))
            })
            .await?;
        match looked {
            Looked::Found(selected) => return Ok(*selected),
            Looked::Cold(row) => warm(live, *row).await?,
            Looked::Recent => break,
        }
    }
    if mode == SelectMode::ReadOnly || live.check_writable().is_err() {
        return live
            .read(move |conn, memory| {
                let row = FolderRow::by_name(conn, &name)?;
                let recent = row.recent_from;
                selected(conn, memory, row, recent)
            })
            .await;
    }
    live.loose(move |work| {
        let mut row = FolderRow::by_name(work.tx, &name)?;
        let recent = folders::take_recent(work.tx, &mut row)?;
        Ok(crate::work::Attempt::Done(selected(work.tx, work.memory, row, recent)?))
    })
    .await
}

fn selected(
    conn: &Connection,
    memory: &Memory,
    row: FolderRow,
    recent: u32,
) -> Result<Selected, MailboxError> {
    Ok(Selected {
        folder: row.folder_id(),
        uids: uids(conn, memory, &row)?,
        uid_validity: row.uid_validity,
        uid_next: row.uid_next,
        highest_modseq: row.modseq(),
        recent,
        unseen: folders::first_unseen(conn, &row)?,
        unseen_count: row.unseen,
        keywords: known_keywords(conn, row.folder_id())?,
        name: row.name,
    })
}

/// One job's share of the changes, and how the folder then stood.
struct Page {
    rows: Vec<(bool, FlagRow)>,
    full: bool,
    end: Option<(ModSeq, UidRanges)>,
}

/// What changed in the folder after `since`. Read in slices; the answer is of the moment of the last one.
pub(crate) async fn changes(
    live: &Live,
    folder: FolderId,
    since: ModSeq,
) -> Result<Changes, MailboxError> {
    let mut all: BTreeMap<u32, (bool, FlagRow)> = BTreeMap::new();
    let (mut cursor, mut full) = (None, false);
    loop {
        let page =
            live.read(move |conn, memory| read_page(conn, memory, folder, since, cursor)).await?;
        if page.full && !full && cursor.is_some() {
            // Tombstones were forgotten while the pages were read: begin anew, for everything.
            (cursor, full) = (None, true);
            all.clear();
            continue;
        }
        full = page.full;
        for (new, row) in page.rows {
            cursor = Some((row.modseq, row.uid));
            all.insert(row.uid, (new, row));
        }
        let Some((to, vanished)) = page.end else { continue };
        // What went while the pages were read.
        all.retain(|uid, _| !vanished.contains(*uid));
        let (arrived, changed): (Vec<_>, Vec<_>) = all.into_values().partition(|(new, _)| *new);
        return Ok(Changes {
            to,
            vanished,
            changed: changed.into_iter().map(|(_, row)| row).collect(),
            arrived: arrived.into_iter().map(|(_, row)| row).collect(),
            full: page.full,
        });
    }
}

fn read_page(
    conn: &Connection,
    memory: &Memory,
    folder: FolderId,
    since: ModSeq,
    cursor: Option<(ModSeq, u32)>,
) -> Result<Page, MailboxError> {
    let row = FolderRow::by_id(conn, folder)?;
    if since == row.modseq() {
        return Ok(Page { rows: Vec::new(), full: false, end: Some((since, UidRanges::new())) });
    }
    let full = since.0 < row.tombstone_floor
        || since.0 >= memory.next_modseq()
        || is_in_lost_range(conn, since)?;
    let from = cursor.unwrap_or(if full { (ModSeq(0), u32::MAX) } else { (since, u32::MAX) });
    let mut query = conn.prepare_cached(
        "SELECT uid, modseq, flags, keywords, created FROM messages WHERE folder = ?1 AND (modseq, uid) > (?2, ?3) \
         ORDER BY modseq, uid LIMIT ?4",
    )?;
    let rows: Vec<(bool, FlagRow)> = query
        .query_map(params![folder.0, signed(from.0.0), from.1, SLICE as i64], |row| {
            Ok((row.get::<_, i64>(4)? > signed(since.0), flag_row(row)?))
        })?
        .collect::<Result<_, _>>()?;
    let end = if rows.len() == SLICE {
        None
    } else if full {
        Some((row.modseq(), gaps(&uids(conn, memory, &row)?, row.uid_next)))
    } else {
        Some((row.modseq(), folders::vanished(conn, folder, since.0)?))
    };
    Ok(Page { rows, full, end })
}

/// Every UID below `end` that is not among `present` (ascending).
fn gaps(present: &[u32], end: u32) -> UidRanges {
    let mut next = 1;
    let ends = present.iter().copied().chain([end]);
    let gaps: Vec<_> = ends
        .filter_map(|uid| {
            let gap = (uid > next).then(|| (next, uid - 1));
            next = uid.saturating_add(1);
            gap
        })
        .collect();
    UidRanges::from_ranges(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_between_what_is_there() {
        assert_eq!(gaps(&[3, 4, 7], 10).to_string(), "1:2,5:6,8:9");
        assert_eq!(gaps(&[], 1).to_string(), "");
        assert_eq!(gaps(&[1, 2], 3).to_string(), "");
        assert_eq!(gaps(&[u32::MAX], u32::MAX).to_string(), format!("1:{}", u32::MAX - 1));
    }
}
