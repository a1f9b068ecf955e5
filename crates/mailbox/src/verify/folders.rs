//! The folders: their messages one by one, their figures, the numbers that come next.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Problem, Report};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::live::Live;
use crate::messages::{SLICE, flags_at, known_keywords};
use crate::types::{FolderId, SystemFlags};
use crate::work::Memory;

/// How often a folder that changes while it is looked at is looked at anew; then it is done in one job.
const ATTEMPTS: usize = 4;

/// A folder's figures as its messages give them.
#[derive(Debug, Clone, Default)]
struct Figures {
    messages: u64,
    unseen: u64,
    deleted: u64,
    bytes: u64,
    last: u32,
    highest: u64,
    problems: Vec<Problem>,
}

/// Checks all folders. `done` hears how many messages were looked at.
pub(super) async fn check(
    live: &Live,
    report: &mut Report,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<(), MailboxError> {
    for row in live.read(|conn, _| FolderRow::all(conn)).await? {
        let folder = row.folder_id();
        match check_folder(live, folder).await {
            Ok(figures) => {
                report.messages += figures.messages;
                done(figures.messages);
                figures.problems.into_iter().for_each(|problem| report.add(problem));
            }
            Err(MailboxError::NoSuchFolder) => {}
            // The page was named already.
            Err(MailboxError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let others = live.read(check_numbers).await;
    match others {
        Ok(problems) => problems.into_iter().for_each(|problem| report.add(problem)),
        Err(MailboxError::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn check_folder(live: &Live, folder: FolderId) -> Result<Figures, MailboxError> {
    for attempt in 0..=ATTEMPTS {
        let all_at_once = attempt == ATTEMPTS;
        let start = live.read(move |conn, _| FolderRow::by_id(conn, folder)).await?;
        let mut figures = Figures::default();
        loop {
            let (mut some, row) = (figures, start.clone());
            let finished;
            (figures, finished) = live
                .read(move |conn, _| {
                    let mut finished = add_slice(conn, &row, &mut some)?;
                    while all_at_once && !finished {
                        finished = add_slice(conn, &row, &mut some)?;
                    }
                    Ok((some, finished))
                })
                .await?;
            if finished {
                break;
            }
        }
        let (counted, compared) = (figures, start);
        let compared = live
            .read(move |conn, memory| {
                let now = FolderRow::by_id(conn, folder)?;
                let same = all_at_once
                    || (now.highest_modseq, now.uid_next)
                        == (compared.highest_modseq, compared.uid_next);
                same.then(|| compare(conn, memory, &now, counted)).transpose()
            })
            .await?;
        if let Some(figures) = compared {
            return Ok(figures);
        }
    }
    Err(MailboxError::NoSuchFolder)
}

/// Looks at the next messages; answers whether they were the last.
fn add_slice(
    conn: &Connection,
    row: &FolderRow,
    figures: &mut Figures,
) -> Result<bool, MailboxError> {
    let folder = row.folder_id();
    let known: BTreeSet<String> =
        known_keywords(conn, folder)?.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut query = conn.prepare_cached(
        "SELECT m.uid, m.modseq, m.flags, m.keywords, m.size, m.email, b.size, b.email FROM messages m \
         LEFT JOIN bodies b ON b.id = m.body AND b.refs > 0 WHERE m.folder = ?1 AND m.uid > ?2 ORDER BY m.uid LIMIT ?3",
    )?;
    let mut rows = query.query(params![row.id, figures.last, SLICE as i64])?;
    let mut read = 0;
    while let Some(found) = rows.next()? {
        read += 1;
        let (uid, flags): (u32, _) = (found.get(0)?, flags_at(found, 2, 3)?);
        let (size, email): (i64, i64) = (found.get(4)?, found.get(5)?);
        let body: Option<(i64, i64)> = found.get::<_, Option<i64>>(6)?.zip(found.get(7)?);
        match body {
            None => figures.problems.push(Problem::NoBody { folder, uid }),
            Some((body_size, body_email)) => {
                for (what, differs) in
                    [("the size", body_size != size), ("the EMAILID", body_email != email)]
                {
                    if differs {
                        figures.problems.push(Problem::Disagrees { folder, uid, what });
                    }
                }
            }
        }
        if !flags.keywords.iter().all(|word| known.contains(&word.to_ascii_lowercase())) {
            figures.problems.push(Problem::Keyword { folder, uid });
        }
        figures.messages += 1;
        figures.unseen += u64::from(!flags.system.contains(SystemFlags::SEEN));
        figures.deleted += u64::from(flags.system.contains(SystemFlags::DELETED));
        figures.bytes += size.unsigned_abs();
        figures.last = uid;
        figures.highest = figures.highest.max(found.get::<_, i64>(1)?.unsigned_abs());
    }
    Ok(read < SLICE)
}

/// Compares the figures with the folder's row.
fn compare(
    conn: &Connection,
    memory: &Memory,
    row: &FolderRow,
    mut figures: Figures,
) -> Result<Figures, MailboxError> {
    let folder = row.folder_id();
    let tombstones: i64 =
        conn.query_row("SELECT count(*) FROM expunged WHERE folder = ?1", [row.id], |row| {
            row.get(0)
        })?;
    for (counter, kept, counted) in [
        ("the number of messages", u64::from(row.messages), figures.messages),
        ("the number of unseen messages", u64::from(row.unseen), figures.unseen),
        ("the number of deleted messages", u64::from(row.deleted), figures.deleted),
        ("the size", row.bytes, figures.bytes),
        ("the number of expunge notes", u64::from(row.tombstones), tombstones.unsigned_abs()),
    ] {
        if kept != counted {
            figures.problems.push(Problem::Counter { folder, counter, kept, counted });
        }
    }
    if figures.last >= row.uid_next {
        figures.problems.push(Problem::UidNext { folder, uid: figures.last });
    }
    if row.uid_next > row.uid_reserved {
        figures.problems.push(Problem::UidRange { folder });
    }
    if figures.highest > row.highest_modseq || row.highest_modseq >= memory.next_modseq() {
        figures.problems.push(Problem::ModSeq { folder });
    }
    // A message that is there is not among those that went: UIDs are not used again.
    let ghost: Option<u32> = conn
        .query_row(
            "SELECT m.uid FROM expunged e CROSS JOIN messages m ON m.folder = e.folder AND m.uid BETWEEN e.first AND e.last \
             WHERE e.folder = ?1 LIMIT 1",
            [row.id],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(uid) = ghost {
        figures.problems.push(Problem::Expunged { folder, uid });
    }
    Ok(figures)
}

/// What concerns no single folder's messages.
fn check_numbers(conn: &Connection, memory: &Memory) -> Result<Vec<Problem>, MailboxError> {
    let mut problems = Vec::new();
    // By the index, from one folder to the next, however many messages there are.
    let mut after = i64::MIN;
    let mut next = conn.prepare(
        "SELECT folder, EXISTS (SELECT 1 FROM folders WHERE id = folder) FROM messages WHERE folder > ?1 ORDER BY folder LIMIT 1",
    )?;
    while let Some((folder, there)) = next
        .query_row([after], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))
        .optional()?
    {
        if !there {
            problems.push(Problem::NoFolder { folder: FolderId(folder) });
        }
        after = folder;
    }
    let (used, next, reserved): (Option<u32>, u32, i64) = conn.query_row(
        "SELECT (SELECT max(uid_validity) FROM folders), uid_validity_next, modseq_reserved FROM meta",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if let Some(uid_validity) = used.filter(|used| *used >= next) {
        problems.push(Problem::UidValidity { uid_validity });
    }
    if memory.next_modseq() > reserved.unsigned_abs() {
        problems.push(Problem::ModSeq { folder: FolderId(0) });
    }
    Ok(problems)
}
