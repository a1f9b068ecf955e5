//! The jobs that change messages: appending, storing flags, taking out, copying and moving. One slice each.

use std::collections::BTreeSet;

use letterlock_imap_wire::InternalDate;
use rusqlite::params;

use crate::body::{self, Prepared};
use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::messages::{
    self, Bodies, Leaving, NewRow, SLICE, above, date_at, flag_row, flags_at, join, spell,
};
use crate::quota::{Quota, Usage};
use crate::types::{
    EmailId, FlagChange, FlagOperation, FlagRow, Flags, FolderId, ModSeq, SystemFlags, UidRanges,
};
use crate::work::{Attempt, Shortage, Work, is_in_lost_range};

/// Where a folder stands after a job: for the change feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) folder: FolderId,
    pub(crate) modseq: ModSeq,
}

impl Moved {
    fn of(folder: &FolderRow) -> Self {
        Self { folder: folder.folder_id(), modseq: folder.modseq() }
    }
}

/// A message with its body made ready.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) prepared: Prepared,
    pub(crate) flags: Flags,
    pub(crate) date: InternalDate,
}

/// Puts messages into the folder, all or none; answers their UIDs. The caller has checked the ranges.
pub(crate) fn append(
    work: &Work<'_>,
    folder: &mut FolderRow,
    messages: &[Ready],
    saved: i64,
) -> Result<Vec<u32>, MailboxError> {
    let count =
        u32::try_from(messages.len()).map_err(|_| MailboxError::Limit("messages at once"))?;
    let first = work.take_uids(folder, count)?;
    let modseq = work.modseq()?;
    for (uid, message) in (first..).zip(messages) {
        let row = NewRow {
            system: message.flags.system,
            keywords: spell(work.tx, folder.folder_id(), &message.flags.keywords)?,
            date: message.date,
            saved,
            size: message.prepared.size,
            body: message.prepared.store(work.tx)?,
            email: message.prepared.email,
        };
        messages::insert(work, folder, uid, modseq, &row)?;
    }
    folder.save(work.tx)?;
    Ok((first..first + count).collect())
}

/// One slice of a STORE.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) changed: Vec<FlagRow>,
    /// Of each of `changed`.
    pub(crate) before: Vec<ModSeq>,
    pub(crate) modified: Vec<u32>,
    pub(crate) moved: Option<Moved>,
    /// Go on after this UID.
    pub(crate) next: Option<u32>,
}

/// Changes flags of the next messages of `ranges` above `after`.
pub(crate) fn store(
    work: &Work<'_>,
    folder: FolderId,
    ranges: &UidRanges,
    after: u32,
    change: &FlagChange,
    unchanged_since: Option<ModSeq>,
) -> Result<Attempt<Stored>, MailboxError> {
    if !work.can_take_modseqs(1)? {
        return Ok(Attempt::Reserve(Shortage { uids: None }));
    }
    let mut row = FolderRow::by_id(work.tx, folder)?;
    let lost = match unchanged_since {
        Some(since) => is_in_lost_range(work.tx, since)?,
        None => false,
    };
    let named = match change.operation {
        // A keyword that nobody has is not made known by taking it away.
        FlagOperation::Remove => change.flags.keywords.clone(),
        FlagOperation::Set | FlagOperation::Add => spell(work.tx, folder, &change.flags.keywords)?,
    };
    let slice = flag_slice(work, folder, ranges, after)?;
    let next = (slice.len() == SLICE).then(|| slice[SLICE - 1].uid);
    let (mut changed, mut modified, mut at) = (Vec::with_capacity(slice.len()), Vec::new(), None);
    let mut before = Vec::with_capacity(slice.len());
    for old in slice {
        if lost || unchanged_since.is_some_and(|since| old.modseq > since) {
            modified.push(old.uid);
            continue;
        }
        before.push(old.modseq);
        let flags = apply(&old.flags, change.operation, change.flags.system, &named);
        if flags == old.flags {
            changed.push(old);
            continue;
        }
        let modseq = match at {
            Some(modseq) => modseq,
            None => *at.insert(work.modseq()?),
        };
        messages::recount(&mut row, old.flags.system, flags.system);
        write_flags(work, folder, old.uid, modseq, &flags)?;
        changed.push(FlagRow { uid: old.uid, modseq: ModSeq(modseq), flags });
    }
    if let Some(modseq) = at {
        row.highest_modseq = modseq;
        row.save(work.tx)?;
    }
    Ok(Attempt::Done(Stored {
        changed,
        before,
        modified,
        moved: at.map(|_| Moved::of(&row)),
        next,
    }))
}

fn flag_slice(
    work: &Work<'_>,
    folder: FolderId,
    ranges: &UidRanges,
    after: u32,
) -> Result<Vec<FlagRow>, MailboxError> {
    let mut query = work.tx.prepare_cached(
        "SELECT uid, modseq, flags, keywords FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 \
         ORDER BY uid LIMIT ?4",
    )?;
    let mut slice = Vec::new();
    for (first, last) in above(ranges, after) {
        if slice.len() == SLICE {
            break;
        }
        let left = (SLICE - slice.len()) as i64;
        for row in query.query_map(params![folder.0, first, last, left], flag_row)? {
            slice.push(row?);
        }
    }
    Ok(slice)
}

fn write_flags(
    work: &Work<'_>,
    folder: FolderId,
    uid: u32,
    modseq: u64,
    flags: &Flags,
) -> Result<(), MailboxError> {
    work.tx
        .prepare_cached("UPDATE messages SET modseq = ?3, flags = ?4, keywords = ?5 WHERE folder = ?1 AND uid = ?2")?
        .execute(params![folder.0, uid, signed(modseq), flags.system.bits(), join(&flags.keywords)])?;
    Ok(())
}

/// The flags after the change; `keywords` are those of the change, in the folder's spelling.
fn apply(
    old: &Flags,
    operation: FlagOperation,
    system: SystemFlags,
    keywords: &BTreeSet<String>,
) -> Flags {
    match operation {
        FlagOperation::Set => Flags { system, keywords: keywords.clone() },
        FlagOperation::Add => {
            let mut flags = old.clone();
            flags.system |= system;
            flags.keywords.extend(keywords.iter().cloned());
            flags
        }
        FlagOperation::Remove => {
            let mut flags = old.clone();
            flags.system = flags.system.without(system);
            flags
                .keywords
                .retain(|word| !keywords.iter().any(|other| other.eq_ignore_ascii_case(word)));
            flags
        }
    }
}

/// Which messages are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those with `\Deleted`.
    Deleted,
    /// All of the ranges.
    Any,
}

/// One slice of an expunge.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) uids: Vec<u32>,
    pub(crate) garbage: bool,
    pub(crate) moved: Option<Moved>,
    /// Go on after this UID.
    pub(crate) next: Option<u32>,
}

/// Takes out the next messages of `ranges` above `after`.
pub(crate) fn expunge(
    work: &Work<'_>,
    folder: FolderId,
    ranges: &UidRanges,
    after: u32,
    which: Which,
) -> Result<Attempt<Removed>, MailboxError> {
    if !work.can_take_modseqs(1)? {
        return Ok(Attempt::Reserve(Shortage { uids: None }));
    }
    let mut row = FolderRow::by_id(work.tx, folder)?;
    let nothing = Removed { uids: Vec::new(), garbage: false, moved: None, next: None };
    if which == Which::Deleted && row.deleted == 0 {
        return Ok(Attempt::Done(nothing));
    }
    let leaving = leaving_slice(work, folder, ranges, after, which)?;
    let Some(last) = leaving.last().map(|message| message.uid) else {
        return Ok(Attempt::Done(nothing));
    };
    let modseq = work.modseq()?;
    let garbage = messages::remove(work, &mut row, modseq, &leaving, Bodies::Release)?;
    row.save(work.tx)?;
    Ok(Attempt::Done(Removed {
        next: (leaving.len() == SLICE).then_some(last),
        uids: leaving.iter().map(|message| message.uid).collect(),
        garbage,
        moved: Some(Moved::of(&row)),
    }))
}

fn leaving_slice(
    work: &Work<'_>,
    folder: FolderId,
    ranges: &UidRanges,
    after: u32,
    which: Which,
) -> Result<Vec<Leaving>, MailboxError> {
    let (index, only) = match which {
        Which::Deleted => ("INDEXED BY messages_deleted", "AND (flags & 8) != 0 "),
        Which::Any => ("", ""),
    };
    let mut query = work.tx.prepare_cached(&format!(
        "SELECT uid, flags, size, body FROM messages {index} WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 {only}\
         ORDER BY uid LIMIT ?4"
    ))?;
    let mut slice = Vec::new();
    for (first, last) in above(ranges, after) {
        if slice.len() == SLICE {
            break;
        }
        let left = (SLICE - slice.len()) as i64;
        let found = query.query_map(params![folder.0, first, last, left], |row| {
            Ok(Leaving {
                uid: row.get(0)?,
                system: SystemFlags::from_bits(row.get(1)?),
                size: row.get::<_, i64>(2)?.unsigned_abs(),
                body: row.get(3)?,
            })
        })?;
        for message in found {
            slice.push(message?);
        }
    }
    Ok(slice)
}

/// Whether messages stay where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// COPY
    Copy,
    /// MOVE
    Move,
}

/// From where to where, and how.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) from: FolderId,
    pub(crate) to: FolderId,
    pub(crate) ranges: UidRanges,
    pub(crate) transfer: Transfer,
    pub(crate) saved: i64,
    /// What the account may hold.
    pub(crate) quota: Quota,
    /// Whether other slices follow or came before: what was copied is noted, to be taken back on failure.
    pub(crate) noted: bool,
}

/// One slice of a COPY or MOVE.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) pairs: Vec<(u32, u32)>,
    pub(crate) uid_validity: u32,
    pub(crate) moved: Vec<Moved>,
    /// Go on after this UID.
    pub(crate) next: Option<u32>,
}

/// Copies or moves the next messages of the route above `after`.
pub(crate) fn carry(
    work: &Work<'_>,
    route: &Route,
    after: u32,
) -> Result<Attempt<Carried>, MailboxError> {
    FolderRow::by_id(work.tx, route.from)?;
    let mut target = FolderRow::by_id(work.tx, route.to)?;
    let uid_validity = target.uid_validity;
    let slice = carried_slice(work, route, after)?;
    let Some(last) = slice.last().map(|(uid, _)| *uid) else {
        return Ok(Attempt::Done(Carried {
            pairs: Vec::new(),
            uid_validity,
            moved: Vec::new(),
            next: None,
        }));
    };
    let count = slice.len() as u32;
    if work.ends == crate::work::Ends::Loose
        && !(target.has_uids(count) && work.can_take_modseqs(1)?)
    {
        return Ok(Attempt::Reserve(Shortage { uids: Some((route.to, count)) }));
    }
    if route.transfer == Transfer::Copy {
        let octets = slice.iter().map(|(_, row)| row.size).sum();
        let added = Usage { octets, messages: u64::from(count) };
        route.quota.check(work.tx, added)?;
    }
    let modseq = work.modseq()?;
    let first = work.take_uids(&mut target, count)?;
    for (uid, (_, row)) in (first..).zip(&slice) {
        let keywords = spell(work.tx, route.to, &row.keywords)?;
        messages::insert(work, &mut target, uid, modseq, &NewRow { keywords, ..row.clone() })?;
        if route.transfer == Transfer::Copy {
            body::share(work.tx, row.body)?;
        }
    }
    target.save(work.tx)?;
    let mut moved = vec![Moved::of(&target)];
    if route.transfer == Transfer::Move {
        // Read again: source and target may be one folder.
        let mut source = FolderRow::by_id(work.tx, route.from)?;
        let leaving: Vec<_> = slice.iter().map(|(uid, row)| leave(*uid, row)).collect();
        messages::remove(work, &mut source, modseq, &leaving, Bodies::Keep)?;
        source.save(work.tx)?;
        moved.push(Moved::of(&source));
    } else if route.noted {
        work.tx
            .prepare_cached("INSERT INTO copying(folder, first, last) VALUES (?1, ?2, ?3)")?
            .execute(params![route.to.0, first, first + (count - 1)])?;
    }
    let pairs = slice.iter().map(|(uid, _)| *uid).zip(first..).collect();
    Ok(Attempt::Done(Carried {
        pairs,
        uid_validity,
        moved,
        next: (slice.len() == SLICE).then_some(last),
    }))
}

fn leave(uid: u32, row: &NewRow) -> Leaving {
    Leaving { uid, system: row.system, size: row.size, body: row.body }
}

fn carried_slice(
    work: &Work<'_>,
    route: &Route,
    after: u32,
) -> Result<Vec<(u32, NewRow)>, MailboxError> {
    let mut query = work.tx.prepare_cached(
        "SELECT uid, flags, keywords, received, zone, size, body, email FROM messages \
         WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4",
    )?;
    let mut slice = Vec::new();
    for (first, last) in above(&route.ranges, after) {
        if slice.len() == SLICE {
            break;
        }
        let left = (SLICE - slice.len()) as i64;
        let found = query.query_map(params![route.from.0, first, last, left], |row| {
            let flags = flags_at(row, 1, 2)?;
            let new = NewRow {
                system: flags.system,
                keywords: flags.keywords,
                date: date_at(row, 3, 4)?,
                saved: route.saved,
                size: row.get::<_, i64>(5)?.unsigned_abs(),
                body: row.get(6)?,
                email: EmailId(row.get(7)?),
            };
            Ok((row.get(0)?, new))
        })?;
        for message in found {
            slice.push(message?);
        }
    }
    Ok(slice)
}
