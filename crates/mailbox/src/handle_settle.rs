//! Durable points of many mailboxes, taken together: what lets the queue forget what was filed.
//!
//! A filed message is not durable yet, and may even go again while the process lives: after a sync that failed, the
//! file is recovered from what the disk has. So the answer is given for the deliveries themselves: they are looked up,
//! all is synced, and the file must be the same opening, or one after a clean close, before and after.

use std::sync::Arc;

use letterlock_vault::{Database, DeliveryId, VaultError};

use crate::error::MailboxError;
use crate::folders;
use crate::handle::Handle;
use crate::live::Live;
use crate::registry::Mailboxes;
use crate::work::Attempt;

/// A delivery by its id and canonical recipient, as the mailbox remembers it.
pub type Delivered = (DeliveryId, String);

/// A mailbox whose deliveries were found, and the durable point that is to come.
struct Counted {
    live: Arc<Live>,
    point: u64,
    generation: u64,
}

impl Mailboxes {
    /// Makes deliveries to many mailboxes durable: few files are synced one by one, many with one sync of their file
    /// system. One answer for each, in their order. After `Ok` all the deliveries named are in the mailbox and on stable
    /// storage, and the mailbox remembers them: so their queue rows may go. Counts as a durable point.
    ///
    /// # Errors
    /// For each what storage reports, [`MailboxError::Locked`], or that a delivery is not there (any more): it has to
    /// be filed again.
    pub async fn sync_delivered(
        of: Vec<(Handle, Vec<Delivered>)>,
    ) -> Vec<Result<(), MailboxError>> {
        let counting: Vec<_> = of
            .into_iter()
            .map(|(handle, deliveries)| tokio::spawn(count(handle, deliveries)))
            .collect();
        let mut counted = Vec::with_capacity(counting.len());
        for task in counting {
            // Cancelled with the runtime.
            counted.push(task.await.unwrap_or(Err(MailboxError::Locked)));
        }
        let databases: Vec<Database> =
            counted.iter().flatten().map(|counted| counted.live.db.clone()).collect();
        let mut synced = Database::sync_many(&databases).await.into_iter();
        let mut answers = Vec::with_capacity(counted.len());
        for counted in counted {
            answers.push(match counted {
                Ok(counted) => counted.settle(synced.next()).await,
                Err(error) => Err(error),
            });
        }
        answers
    }
}

impl Handle {
    /// [`Mailboxes::sync_delivered`] for this mailbox alone.
    ///
    /// # Errors
    /// As there.
    pub async fn sync_delivered(&self, deliveries: &[Delivered]) -> Result<(), MailboxError> {
        let answers = Mailboxes::sync_delivered(vec![(self.clone(), deliveries.to_vec())]).await;
        answers.into_iter().next().unwrap_or(Err(MailboxError::Locked))
    }
}

/// Looks that all of them are there, and counts the durable point that the sync is going to be.
async fn count(handle: Handle, deliveries: Vec<Delivered>) -> Result<Counted, MailboxError> {
    let live = handle.live()?;
    let (point, generation) = live
        .loose(move |work| {
            for (id, recipient) in &deliveries {
                if !folders::was_delivered(work.tx, *id, recipient)? {
                    return Err(gone());
                }
            }
            Ok(Attempt::Done((work.count_point()?, work.memory.generation())))
        })
        .await?;
    Ok(Counted { live, point, generation })
}

impl Counted {
    /// After the sync: was it of what was counted?
    async fn settle(self, synced: Option<Result<(), VaultError>>) -> Result<(), MailboxError> {
        synced.unwrap_or(Err(VaultError::Closed))?;
        // A background sync may have failed between the two, and the file been recovered since. The job opens it, if
        // nobody has done so yet, and then the generation has grown.
        let generation = self.live.read(|_, memory| Ok(memory.generation())).await?;
        if generation != self.generation {
            return Err(gone());
        }
        self.live.memory.reached(self.point);
        Ok(())
    }
}

/// What was filed is not there, because the file was recovered without it.
fn gone() -> MailboxError {
    MailboxError::Storage(VaultError::RolledBack)
}
