//! Filing accepted mail, exactly once; and making new messages ready, which APPEND does as well.

use std::sync::Arc;

use jiff::Timestamp;

use crate::body::{LARGE, Prepared};
use crate::change_jobs::{self, Moved, Ready};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::folders;
use crate::handle::Handle;
use crate::live::Live;
use crate::messages::SLICE;
use crate::name::normalise;
use crate::types::{Delivery, Filed, NewMessage};
use crate::work::{Attempt, Shortage, Work};

impl Handle {
    /// Files a message exactly once for its id and recipient. Not synced: [`Handle::sync`] is the durable point.
    ///
    /// # Errors
    /// What storage reports; nothing was filed then.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Filed, MailboxError> {
        let filed = self.deliver_all(vec![delivery]).await?;
        filed
            .into_iter()
            .next()
            .ok_or_else(|| MailboxError::damaged("a delivery without an answer"))
    }

    /// [`Handle::deliver`] for several messages in one transaction; the answers stand in their order.
    ///
    /// # Errors
    /// What storage reports; none of them was filed then.
    pub async fn deliver_all(&self, deliveries: Vec<Delivery>) -> Result<Vec<Filed>, MailboxError> {
        self.run(|live, this| async move {
            let known = known_already(&live, &deliveries).await?;
            let (mut keys, mut new) = (Vec::new(), Vec::new());
            for (delivery, _) in deliveries.into_iter().zip(&known).filter(|(_, known)| !**known) {
                // A name that is none any more is as good as a folder that is gone.
                keys.push((
                    delivery.id,
                    delivery.recipient,
                    normalise(&delivery.folder).unwrap_or_default(),
                ));
                new.push(NewMessage {
                    bytes: delivery.bytes,
                    flags: delivery.flags,
                    internal_date: delivery.internal_date,
                });
            }
            let ready = make_ready(&live, new).await.inspect_err(|_| this.sweep_soon())?;
            let ready = Arc::new(ready);
            let (messages, saved) = (Arc::clone(&ready), Timestamp::now().as_second());
            let result = live.loose(move |work| file(work, &keys, &messages, saved)).await;
            let all_new = result.as_ref().is_ok_and(|(filed, _)| !filed.contains(&Filed::Already));
            finish_uploads(&live, &ready, all_new).await;
            if !all_new {
                this.sweep_soon();
            }
            let (filed, moved) = result?;
            this.index_soon(filed.len() as u64);
            this.tell(moved);
            let mut filed = filed.into_iter();
            let answer = |known| if known { Some(Filed::Already) } else { filed.next() };
            Ok(known.into_iter().filter_map(answer).collect())
        })
        .await
    }

    /// Forgets deliveries of which no retry can come any more, because their queue rows are gone durably.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn prune_delivered(
        &self,
        pairs: &[(letterlock_vault::DeliveryId, String)],
    ) -> Result<(), MailboxError> {
        let pairs = pairs.to_vec();
        self.run(|live, _| async move {
            for slice in pairs.chunks(SLICE) {
                let slice = slice.to_vec();
                live.loose(move |work| {
                    Ok(Attempt::Done(folders::prune_delivered(work.tx, &slice)?))
                })
                .await?;
            }
            Ok(())
        })
        .await
    }
}

/// Which of the deliveries were filed before. Only asked where one is large, so that it is not uploaded for
/// nothing; the job that files asks anyway.
async fn known_already(live: &Live, deliveries: &[Delivery]) -> Result<Vec<bool>, MailboxError> {
    if deliveries.iter().all(|delivery| delivery.bytes.len() <= LARGE) {
        return Ok(vec![false; deliveries.len()]);
    }
    let keys: Vec<_> =
        deliveries.iter().map(|delivery| (delivery.id, delivery.recipient.clone())).collect();
    live.read(move |conn, _| {
        keys.iter().map(|(id, recipient)| folders::was_delivered(conn, *id, recipient)).collect()
    })
    .await
}

/// How many bodies one transaction writes. Where there are more they are uploaded one by one before, with the jobs of
/// others in between, and the transaction that completes them writes rows only.
const TOGETHER: usize = 128;
/// How many octets of messages one transaction writes, for the same reason and because they are in memory until then.
const TOGETHER_OCTETS: usize = 4 << 20;
/// From so many octets of messages on, the file is set for a bulk job.
pub(crate) const BULK_OCTETS: u64 = 1 << 20;

/// Describes and packs messages; large ones, and many, are uploaded.
pub(crate) async fn make_ready(
    live: &Live,
    new: Vec<NewMessage>,
) -> Result<Vec<Ready>, MailboxError> {
    live.check_writable()?;
    let octets: usize = new.iter().map(|message| message.bytes.len()).sum();
    let many = new.len() > TOGETHER || octets > TOGETHER_OCTETS;
    let mut ready = Vec::with_capacity(new.len());
    for message in new {
        let prepared = Prepared::new(message.bytes, &live.hash_key).await;
        let prepared = if many || prepared.is_large() {
            prepared.upload(&live.db).await
        } else {
            Ok(prepared)
        };
        match prepared {
            Ok(prepared) => {
                ready.push(Ready { prepared, flags: message.flags, date: message.internal_date })
            }
            Err(error) => {
                finish_uploads(live, &ready, false).await;
                return Err(error);
            }
        }
    }
    Ok(ready)
}

/// Gives up uploads that were not adopted. One that was is not touched by this.
pub(crate) async fn finish_uploads(live: &Live, ready: &[Ready], all_adopted: bool) {
    if !all_adopted {
        for message in ready {
            message.prepared.abandon(&live.db).await;
        }
    }
}

/// Delivery id, recipient, normalised name of the folder.
type Key = (letterlock_vault::DeliveryId, String, String);
/// What became of each, and which folders changed.
type Outcome = (Vec<Filed>, Vec<Moved>);

/// The job of a delivery: what was filed before is left alone, the rest goes in.
fn file(
    work: &Work<'_>,
    keys: &[Key],
    messages: &[Ready],
    saved: i64,
) -> Result<Attempt<Outcome>, MailboxError> {
    if !work.can_take_modseqs(keys.len() as u64)? {
        return Ok(Attempt::Reserve(Shortage { uids: None }));
    }
    let mut targets = Vec::with_capacity(keys.len());
    for (_, _, name) in keys {
        let found = FolderRow::find_name(work.tx, name)?;
        let target = match found {
            Some(row) => row,
            None => FolderRow::by_name(work.tx, crate::name::INBOX)?,
        };
        targets.push(target.folder_id());
    }
    for target in &targets {
        let count = targets.iter().filter(|other| *other == target).count() as u32;
        if !FolderRow::by_id(work.tx, *target)?.has_uids(count) {
            return Ok(Attempt::Reserve(Shortage { uids: Some((*target, count)) }));
        }
    }
    let (mut filed, mut moved) = (Vec::with_capacity(keys.len()), Vec::new());
    for (((id, recipient, _), message), target) in keys.iter().zip(messages).zip(targets) {
        if folders::was_delivered(work.tx, *id, recipient)? {
            filed.push(Filed::Already);
            continue;
        }
        folders::note_delivered(work.tx, *id, recipient)?;
        let mut folder = FolderRow::by_id(work.tx, target)?;
        let uids = change_jobs::append(work, &mut folder, std::slice::from_ref(message), saved)?;
        moved.push(Moved { folder: target, modseq: folder.modseq() });
        filed.extend(uids.first().map(|uid| Filed::New { folder: target, uid: *uid }));
    }
    Ok(Attempt::Done((filed, moved)))
}
