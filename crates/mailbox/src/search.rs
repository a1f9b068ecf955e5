//! SEARCH over one folder, in slices: rows first, then headers, then whole messages, each only where the
//! condition is not settled yet.
//!
//! Reading is done in jobs of the file's executor; decoding and comparing on the caller's side. Every hit is
//! found by looking at the message itself, so nothing depends on an index being up to date.

mod condition;
mod content;

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::SearchProgram;
use rusqlite::{Connection, params};

use crate::body::{LARGE, Packed};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::handle::Handle;
use crate::live::Live;
use crate::messages::{SLICE, above, date_at, flags_at, modseq_at};
use crate::types::{FolderId, ModSeq, UidRanges};

use self::condition::{Condition, Depth, Meta};
use self::content::Content;

/// How many messages' content one job reads at most.
const BATCH: usize = 128;
/// How many octets of messages one job reads, about.
const BATCH_BYTES: usize = 4 * LARGE;

/// What a search needs to know of the session that asks.
#[derive(Debug, Clone)]
pub struct SearchContext {
    /// The UIDs as the session counts them: message number n is element n−1. Only these are found.
    pub uids: Arc<Vec<u32>>,
    /// Messages from this UID on are `\Recent` for the session ([`Selected::recent`](crate::Selected::recent)).
    pub recent: u32,
    /// What `$` stands for: UIDs (RFC 9051 §6.4.4.1).
    pub saved: UidRanges,
    /// The time, for YOUNGER and OLDER.
    pub now: Timestamp,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// UIDs, ascending, all of them among the session's.
    pub uids: Vec<u32>,
    /// The highest modification sequence among them, for a search by MODSEQ (RFC 7162 §3.1.5); 0 if none.
    pub highest_modseq: ModSeq,
}

impl Handle {
    /// Searches a folder. Header fields and text are compared decoded and without regard to case; the sent date
    /// is that of the Date field as written, the internal date that of its own zone.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn search(
        &self,
        folder: FolderId,
        program: &SearchProgram,
        context: &SearchContext,
    ) -> Result<Found, MailboxError> {
        let live = self.live()?;
        let condition = Arc::new(Condition::of(&program.key, context));
        let ranges = Arc::new(condition.reach().intersect(&UidRanges::from_ranges(
            context.uids.first().copied().zip(context.uids.last().copied()),
        )));
        let mut found = Found::default();
        let mut after = 0;
        loop {
            let (slice_condition, slice_ranges) = (Arc::clone(&condition), Arc::clone(&ranges));
            let slice = live
                .read(move |conn, _| {
                    read_slice(conn, folder, &slice_ranges, after, &slice_condition)
                })
                .await?;
            let mut hits = slice.hits;
            if !slice.open.is_empty() {
                let open = slice
                    .open
                    .into_iter()
                    .filter(|meta| context.uids.binary_search(&meta.uid).is_ok());
                hits.extend(look_inside(&live, &condition, open.collect()).await?);
                hits.sort_unstable();
            }
            for (uid, modseq) in hits {
                if context.uids.binary_search(&uid).is_ok() {
                    found.uids.push(uid);
                    found.highest_modseq = found.highest_modseq.max(modseq);
                }
            }
            match slice.next {
                Some(next) => after = next,
                None => return Ok(found),
            }
        }
    }
}

type Hit = (u32, ModSeq);

/// Some rows, judged by themselves.
struct SliceOfRows {
    hits: Vec<Hit>,
    /// Those whose content has to be looked at.
    open: Vec<Meta>,
    /// Go on after this UID.
    next: Option<u32>,
}

fn read_slice(
    conn: &Connection,
    folder: FolderId,
    ranges: &UidRanges,
    after: u32,
    condition: &Condition,
) -> Result<SliceOfRows, MailboxError> {
    FolderRow::by_id(conn, folder)?;
    // Few messages are unread or deleted: their indexes lead there without a walk over all rows.
    let (index, only) = condition.index().unwrap_or(("", ""));
    let mut query = conn.prepare_cached(&format!(
        "SELECT uid, modseq, flags, keywords, received, zone, size, body FROM messages {index} \
         WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 {only} ORDER BY uid LIMIT ?4"
    ))?;
    let mut slice = SliceOfRows { hits: Vec::new(), open: Vec::new(), next: None };
    let mut read = 0;
    for (first, last) in above(ranges, after) {
        let left = SLICE - read;
        if left == 0 {
            break;
        }
        let mut rows = query.query(params![folder.0, first, last, left as i64])?;
        while let Some(row) = rows.next()? {
            let meta = Meta {
                uid: row.get(0)?,
                modseq: modseq_at(row, 1)?,
                flags: flags_at(row, 2, 3)?,
                date: date_at(row, 4, 5)?,
                size: row.get::<_, i64>(6)?.unsigned_abs(),
                body: row.get(7)?,
            };
            read += 1;
            slice.next = Some(meta.uid);
            match condition.judge(&meta, None) {
                Some(true) => slice.hits.push((meta.uid, meta.modseq)),
                Some(false) => {}
                None => slice.open.push(meta),
            }
        }
    }
    if read < SLICE {
        slice.next = None;
    }
    Ok(slice)
}

/// Settles the condition for messages by their headers, and where that does not do by all they hold.
async fn look_inside(
    live: &Live,
    condition: &Arc<Condition>,
    mut open: Vec<Meta>,
) -> Result<Vec<Hit>, MailboxError> {
    let mut hits = Vec::new();
    for depth in [Depth::Header, Depth::Whole] {
        if !condition.looks_at(depth) {
            continue;
        }
        let mut still_open = Vec::new();
        while !open.is_empty() {
            let (batch, rest) = read_batch(live, open, depth).await?;
            open = rest;
            let condition = Arc::clone(condition);
            let judged = tokio::task::spawn_blocking(move || judge_batch(&condition, batch, depth))
                .await
                .map_err(|_| MailboxError::Locked)??;
            for (meta, verdict) in judged {
                match verdict {
                    Some(true) => hits.push((meta.uid, meta.modseq)),
                    Some(false) => {}
                    None => still_open.push(meta),
                }
            }
        }
        open = still_open;
    }
    Ok(hits)
}

/// Reads the first of the messages, as many as one job may, and answers which are left. Those that went
/// meanwhile are left out.
async fn read_batch(
    live: &Live,
    mut open: Vec<Meta>,
    depth: Depth,
) -> Result<(Vec<(Meta, Packed)>, Vec<Meta>), MailboxError> {
    let (started, open) = live
        .read(move |conn, _| {
            let (mut some, mut bytes, mut taken) = (Vec::new(), 0, 0);
            for meta in open.iter().take(BATCH) {
                taken += 1;
                let packed = match depth {
                    Depth::Header => Packed::header_only(conn, meta.body)?,
                    Depth::Whole => Packed::start(conn, meta.body)?,
                };
                if let Some(packed) = packed {
                    bytes += packed.size();
                    some.push((meta.clone(), packed));
                }
                if depth == Depth::Whole && bytes >= BATCH_BYTES {
                    break;
                }
            }
            open.drain(..taken);
            Ok((some, open))
        })
        .await?;
    let mut batch = Vec::with_capacity(started.len());
    for (meta, packed) in started {
        let packed = match depth {
            Depth::Header => Some(packed),
            Depth::Whole => packed.complete(&live.db).await?,
        };
        batch.extend(packed.map(|packed| (meta, packed)));
    }
    Ok((batch, open))
}

fn judge_batch(
    condition: &Condition,
    batch: Vec<(Meta, Packed)>,
    depth: Depth,
) -> Result<Vec<(Meta, Option<bool>)>, MailboxError> {
    batch
        .into_iter()
        .map(|(meta, packed)| {
            let content = match depth {
                Depth::Header => Content::header(packed.unpack_header()?),
                Depth::Whole => Content::whole(packed.unpack_now()?),
            };
            let verdict = condition.judge(&meta, Some(&content));
            Ok((meta, verdict))
        })
        .collect()
}
