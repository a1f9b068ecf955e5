//! The handle's operations on messages.
//!
//! STORE, EXPUNGE, MOVE and COPY work in slices of 1,000 messages, between which other jobs run. STORE, EXPUNGE
//! and MOVE are atomic for each slice; a MOVE that fails midway has moved what it has moved (RFC 6851 §3.3). A
//! COPY is all or nothing (RFC 9051 §6.4.7): up to one slice it is one transaction; a longer one notes what it
//! has copied and takes it back if it fails, after a crash at the next unlock. Others may see the copies come
//! and go then.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::params;

use crate::change_jobs::{self, Carried, Route, Transfer, Which, carry};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::handle::Handle;
use crate::handle_bodies::{finish, start};
use crate::handle_deliver::{BULK_OCTETS, finish_uploads, make_ready};
use crate::live::Live;
use crate::messages::{self, SLICE};
use crate::name::normalise;
use crate::quota::Usage;
use crate::sweep;
use crate::types::{
    Appended, Columns, Copied, FlagChange, FolderId, ModSeq, NewMessage, Row, StoreOutcome,
    UidRanges,
};
use crate::work::{Attempt, Work};

impl Handle {
    /// The next rows of the ranges with UIDs above `after` (0 to begin), ascending, at most `limit` and at most
    /// 1,000. Without `columns`, fewer than that many are the last ones. With them an answer also ends after some
    /// megabytes; none at all is the end then.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn rows(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        columns: Columns,
        after: u32,
        limit: usize,
    ) -> Result<Vec<Row>, MailboxError> {
        self.read_rows(folder, ranges, columns, None, after, limit).await
    }

    /// [`Handle::rows`] of those changed after `since` (FETCH CHANGEDSINCE). Where `since` lies in a range that a
    /// crash has lost, all rows are answered.
    ///
    /// # Errors
    /// As [`Handle::rows`].
    pub async fn rows_changed_since(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        columns: Columns,
        since: ModSeq,
        after: u32,
        limit: usize,
    ) -> Result<Vec<Row>, MailboxError> {
        self.read_rows(folder, ranges, columns, Some(since), after, limit).await
    }

    async fn read_rows(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        columns: Columns,
        since: Option<ModSeq>,
        after: u32,
        limit: usize,
    ) -> Result<Vec<Row>, MailboxError> {
        let (ranges, limit) = (ranges.clone(), limit.min(SLICE));
        self.live()?
            .read(move |conn, _| {
                FolderRow::by_id(conn, folder)?;
                let since = match since {
                    Some(since) if crate::work::is_in_lost_range(conn, since)? => None,
                    since => since,
                };
                messages::rows(conn, folder, &ranges, columns, since, after, limit)
            })
            .await
    }

    /// A whole message, as it came; None if there is none of that UID (any more).
    ///
    /// # Errors
    /// [`MailboxError::Damaged`] if it does not read back, or what else storage reports.
    pub async fn body(&self, folder: FolderId, uid: u32) -> Result<Option<Bytes>, MailboxError> {
        let live = self.live()?;
        match live.read(move |conn, _| start(conn, folder, uid)).await? {
            Some(packed) => finish(&live, packed).await,
            None => Ok(None),
        }
    }

    /// Puts messages into a folder, all or none. Durable.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`], [`MailboxError::TooBig`], [`MailboxError::OverQuota`], or what storage
    /// reports.
    pub async fn append(&self, name: &str, new: Vec<NewMessage>) -> Result<Appended, MailboxError> {
        let name = normalise(name)?;
        for message in &new {
            self.check_size(message.bytes.len())?;
        }
        self.run(|live, this| async move {
            let (target, quota) = (name.clone(), this.quota());
            let size: u64 = new.iter().map(|message| message.bytes.len() as u64).sum();
            let added = Usage { octets: size, messages: new.len() as u64 };
            // Before the work of packing, and of uploading what is large.
            live.read(move |conn, _| {
                FolderRow::by_name(conn, &target)?;
                quota.check(conn, added)
            })
            .await?;
            let _bulk = (size >= BULK_OCTETS || new.len() > SLICE).then(|| live.db.bulk());
            let ready = make_ready(&live, new).await.inspect_err(|_| this.sweep_soon())?;
            let ready = Arc::new(ready);
            let (messages, saved) = (Arc::clone(&ready), Timestamp::now().as_second());
            let result = live
                .durable(move |work| {
                    quota.check(work.tx, added)?;
                    let mut folder = FolderRow::by_name(work.tx, &name)?;
                    let uids = change_jobs::append(work, &mut folder, &messages, saved)?;
                    Ok((folder, uids))
                })
                .await;
            finish_uploads(&live, &ready, result.is_ok()).await;
            if result.is_err() {
                this.sweep_soon();
            }
            let (folder, uids) = result?;
            this.index_soon(uids.len() as u64);
            this.tell([change_jobs::Moved { folder: folder.folder_id(), modseq: folder.modseq() }]);
            Ok(Appended { folder: folder.folder_id(), uid_validity: folder.uid_validity, uids })
        })
        .await
    }

    /// Changes flags. Survives a crash of the process at once, a power cut within a second.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`], [`MailboxError::Limit`] for too many keywords, or what storage reports.
    pub async fn store(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<StoreOutcome, MailboxError> {
        let (ranges, change) = (Arc::new(ranges.clone()), Arc::new(change));
        self.run(|live, this| async move {
            let (mut outcome, mut after) = (StoreOutcome::default(), 0);
            loop {
                let (ranges, change) = (Arc::clone(&ranges), Arc::clone(&change));
                let slice = live
                    .loose(move |work| {
                        change_jobs::store(work, folder, &ranges, after, &change, unchanged_since)
                    })
                    .await?;
                this.tell(slice.moved);
                outcome.changed.extend(slice.changed);
                outcome.before.extend(slice.before);
                outcome.modified.extend(slice.modified);
                match slice.next {
                    Some(next) => after = next,
                    None => return Ok(outcome),
                }
            }
        })
        .await
    }

    /// Takes out the messages with `\Deleted`, all of them or those of the ranges (UID EXPUNGE); answers which
    /// went, ascending. Durable.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn expunge(
        &self,
        folder: FolderId,
        ranges: Option<&UidRanges>,
    ) -> Result<Vec<u32>, MailboxError> {
        let ranges = ranges.cloned().unwrap_or_else(crate::types::all_uids);
        self.take_out(folder, ranges, Which::Deleted).await
    }

    /// Takes out the messages of the ranges whatever their flags are (POP3's QUIT); answers which went. Durable.
    ///
    /// # Errors
    /// As [`Handle::expunge`].
    pub async fn remove(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
    ) -> Result<Vec<u32>, MailboxError> {
        self.take_out(folder, ranges.clone(), Which::Any).await
    }

    async fn take_out(
        &self,
        folder: FolderId,
        ranges: UidRanges,
        which: Which,
    ) -> Result<Vec<u32>, MailboxError> {
        let ranges = Arc::new(ranges);
        self.run(|live, this| async move {
            let (mut gone, mut after, mut garbage) = (Vec::new(), 0, false);
            let outcome = loop {
                let ranges = Arc::clone(&ranges);
                let job = move |work: &Work<'_>| {
                    change_jobs::expunge(work, folder, &ranges, after, which)
                };
                // One sync is enough for many slices: the last one's.
                let slice = match live.loose(job).await {
                    Ok(slice) => slice,
                    Err(error) => break Err(error),
                };
                this.tell(slice.moved);
                garbage |= slice.garbage;
                gone.extend(slice.uids);
                match slice.next {
                    Some(next) => after = next,
                    None => break Ok(()),
                }
            };
            let synced = if gone.is_empty() { Ok(()) } else { live.sync().await };
            // Behind the sync, which somebody waits for.
            if garbage {
                this.sweep_soon();
            }
            outcome?;
            synced?;
            Ok(gone)
        })
        .await
    }

    /// Copies messages to the folder of that name, all or none. Flags go along. Durable.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] for either folder, [`MailboxError::OverQuota`], or what storage reports.
    pub async fn copy(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        to: &str,
    ) -> Result<Copied, MailboxError> {
        self.carry_to(folder, ranges, to, Transfer::Copy).await
    }

    /// Moves messages to the folder of that name. Durable. If this fails, those moved so far stay moved.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] for either folder, or what storage reports.
    pub async fn move_(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        to: &str,
    ) -> Result<Copied, MailboxError> {
        self.carry_to(folder, ranges, to, Transfer::Move).await
    }

    async fn carry_to(
        &self,
        folder: FolderId,
        ranges: &UidRanges,
        to: &str,
        transfer: Transfer,
    ) -> Result<Copied, MailboxError> {
        let (to, ranges) = (normalise(to)?, ranges.clone());
        self.run(|live, this| async move {
            this.carry_all(&live, folder, ranges, to, transfer, Timestamp::now()).await
        })
        .await
    }

    pub(crate) async fn carry_all(
        &self,
        live: &Arc<Live>,
        from: FolderId,
        ranges: UidRanges,
        to: String,
        transfer: Transfer,
        now: Timestamp,
    ) -> Result<Copied, MailboxError> {
        let wanted = ranges.clone();
        let (to, end, short) = live
            .read(move |conn, _| {
                let source = FolderRow::by_id(conn, from)?;
                let target = FolderRow::by_name(conn, &to)?;
                let rows = count_up_to(conn, from, &wanted, SLICE + 1)?;
                Ok((target.folder_id(), source.uid_next, rows <= SLICE))
            })
            .await?;
        // What the copying itself adds to the same folder is not copied again.
        let ranges = ranges.intersect(&UidRanges::from_ranges([(1, end.saturating_sub(1).max(1))]));
        let route = Route {
            from,
            to,
            ranges,
            transfer,
            saved: now.as_second(),
            quota: self.quota(),
            noted: !short,
        };
        if short {
            self.carry_once(live, route).await
        } else {
            self.carry_slices(live, route).await
        }
    }

    async fn carry_once(&self, live: &Arc<Live>, route: Route) -> Result<Copied, MailboxError> {
        let carried = live
            .durable(move |work| match carry(work, &route, 0)? {
                Attempt::Done(carried) => Ok(carried),
                Attempt::Reserve(_) => Err(MailboxError::Limit("UIDs of a folder")),
            })
            .await?;
        self.tell(carried.moved);
        Ok(Copied { uid_validity: carried.uid_validity, pairs: carried.pairs })
    }

    async fn carry_slices(&self, live: &Arc<Live>, route: Route) -> Result<Copied, MailboxError> {
        let _bulk = live.db.bulk();
        let (to, transfer) = (route.to, route.transfer);
        let route = Arc::new(route);
        let mut done = Vec::new();
        let outcome = self.carry_each(live, &route, &mut done).await;
        let slices: Vec<(u32, u32)> = done
            .iter()
            .filter_map(|carried| Some((carried.pairs.first()?.1, carried.pairs.last()?.1)))
            .collect();
        match (outcome, transfer) {
            (Err(error), Transfer::Copy) => {
                let undone = sweep::undo_copies(live, Some((to, slices))).await;
                self.sweep_soon();
                self.tell(undone?);
                return Err(error);
            }
            (Err(error), Transfer::Move) => return Err(error),
            (Ok(()), Transfer::Copy) => {
                live.durable(move |work| {
                    slices.iter().try_for_each(|(first, _)| sweep::forget(work, to.0, *first))
                })
                .await?;
            }
            (Ok(()), Transfer::Move) => live.sync().await?,
        }
        let uid_validity = done.first().map_or(0, |carried| carried.uid_validity);
        Ok(Copied {
            uid_validity,
            pairs: done.into_iter().flat_map(|carried| carried.pairs).collect(),
        })
    }

    async fn carry_each(
        &self,
        live: &Arc<Live>,
        route: &Arc<Route>,
        done: &mut Vec<Carried>,
    ) -> Result<(), MailboxError> {
        let mut after = 0;
        loop {
            let slice_route = Arc::clone(route);
            let carried = live.loose(move |work| carry(work, &slice_route, after)).await?;
            self.tell(carried.moved.iter().copied());
            let next = carried.next;
            done.push(carried);
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}

/// How many messages of the ranges there are, not counting further than `limit`.
fn count_up_to(
    conn: &rusqlite::Connection,
    folder: FolderId,
    ranges: &UidRanges,
    limit: usize,
) -> Result<usize, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 LIMIT ?4)",
    )?;
    let mut count = 0;
    for (first, last) in ranges.ranges() {
        if count >= limit {
            break;
        }
        let left = (limit - count) as i64;
        let found: i64 = query.query_row(params![folder.0, first, last, left], |row| row.get(0))?;
        count += found.unsigned_abs() as usize;
    }
    Ok(count)
}
