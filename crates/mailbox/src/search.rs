//! SEARCH over one folder, in slices: what the word index knows and the rows first, then headers, then whole
//! messages, each only where the condition is not settled yet.
//!
//! Reading is done in jobs of the file's executor; decoding and comparing on the caller's side. The index only
//! spares looks: with it, without it and with half of it the same messages are found.

mod condition;
mod content;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_imap_wire::SearchProgram;

use crate::body::{LARGE, Packed};
use crate::error::MailboxError;
use crate::handle::Handle;
use crate::index::{self, Answers};
use crate::live::Live;
use crate::types::{FolderId, ModSeq, UidRanges};

use self::condition::{Condition, Depth, Meta};
use self::content::Content;
use self::walk::Walk;

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
    /// is that of the Date field as written, the internal date that of its own zone. A message that does not
    /// read back counts as one without content.
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
        let mut questions = Vec::new();
        let condition = Condition::of(&program.key, context, &mut questions);
        let answers = match index::look_up(&live, &questions).await {
            // Every message is looked at instead; `verify` names what is wrong.
            Err(MailboxError::Damaged(error)) => {
                tracing::error!(account = %self.account(), %error, "the search index is damaged");
                Answers::default()
            }
            answers => answers?,
        };
        let ranges = condition.reach().intersect(&UidRanges::from_ranges(
            context.uids.first().copied().zip(context.uids.last().copied()),
        ));
        let search = Arc::new(Search { folder, condition, answers, ranges });
        let mut walk = Walk::of(&search, context.uids.len());
        let mut hits = Vec::new();
        loop {
            let (slice_search, step) = (Arc::clone(&search), walk.clone());
            let slice =
                live.read(move |conn, _| walk::read_slice(conn, &slice_search, step)).await?;
            hits.extend(slice.hits);
            if !slice.open.is_empty() {
                let open = slice
                    .open
                    .into_iter()
                    .filter(|meta| context.uids.binary_search(&meta.uid).is_ok());
                hits.extend(look_inside(&live, &search, open.collect()).await?);
            }
            match slice.next {
                Some(next) => walk = next,
                None => break,
            }
        }
        hits.retain(|(uid, _)| context.uids.binary_search(uid).is_ok());
        hits.sort_unstable();
        // Found twice if it was changed while the search went on.
        hits.dedup_by_key(|(uid, _)| *uid);
        Ok(Found {
            highest_modseq: hits.iter().map(|(_, modseq)| *modseq).max().unwrap_or_default(),
            uids: hits.into_iter().map(|(uid, _)| uid).collect(),
        })
    }
}

type Hit = (u32, ModSeq);

/// A search under way.
struct Search {
    folder: FolderId,
    condition: Condition,
    answers: Answers,
    /// UIDs outside of these cannot be hits.
    ranges: UidRanges,
}

/// Settles the condition for messages by their headers, and where that does not do by all they hold.
async fn look_inside(
    live: &Live,
    search: &Arc<Search>,
    mut open: Vec<Meta>,
) -> Result<Vec<Hit>, MailboxError> {
    let mut hits = Vec::new();
    for depth in [Depth::Header, Depth::Whole] {
        if !search.condition.looks_at(depth) {
            continue;
        }
        let mut still_open = Vec::new();
        while !open.is_empty() {
            let (batch, rest) = read_batch(live, open, depth).await?;
            open = rest;
            let search = Arc::clone(search);
            let judged = tokio::task::spawn_blocking(move || judge_batch(&search, batch, depth))
                .await
                .map_err(|_| MailboxError::Locked)?;
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
/// meanwhile are left out; those that are damaged have no content.
async fn read_batch(
    live: &Live,
    mut open: Vec<Meta>,
    depth: Depth,
) -> Result<(Vec<(Meta, Option<Packed>)>, Vec<Meta>), MailboxError> {
    let (started, open) = live
        .read(move |conn, _| {
            let (mut some, mut bytes, mut taken) = (Vec::new(), 0, 0);
            for meta in open.iter().take(BATCH) {
                taken += 1;
                let packed = match depth {
                    Depth::Header => Packed::header_only(conn, meta.body),
                    Depth::Whole => Packed::start(conn, meta.body),
                };
                match packed {
                    Ok(Some(packed)) => {
                        bytes += packed.size();
                        some.push((meta.clone(), Some(packed)));
                    }
                    Ok(None) => {}
                    Err(MailboxError::Damaged(_)) => some.push((meta.clone(), None)),
                    Err(error) => return Err(error),
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
        match packed {
            Some(packed) if depth == Depth::Whole => match packed.complete(&live.db).await {
                Ok(Some(packed)) => batch.push((meta, Some(packed))),
                Ok(None) => {}
                Err(MailboxError::Damaged(_)) => batch.push((meta, None)),
                Err(error) => return Err(error),
            },
            packed => batch.push((meta, packed)),
        }
    }
    Ok((batch, open))
}

fn judge_batch(
    search: &Search,
    batch: Vec<(Meta, Option<Packed>)>,
    depth: Depth,
) -> Vec<(Meta, Option<bool>)> {
    let judge = |(meta, packed): (Meta, Option<Packed>)| {
        let read = |unpacked: Option<Result<Bytes, MailboxError>>| {
            unpacked.and_then(Result::ok).unwrap_or_default()
        };
        let content = match depth {
            Depth::Header => Content::header(read(packed.map(|packed| packed.unpack_header()))),
            Depth::Whole => Content::whole(read(packed.map(|packed| packed.unpack_now()))),
        };
        let verdict = search.condition.judge(&meta, &search.answers, Some(&content));
        (meta, verdict)
    };
    batch.into_iter().map(judge).collect()
}
