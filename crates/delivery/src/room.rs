//! Room for mail: quotas, asked at RCPT and kept true from what is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use letterlock_directory::{Directory, Holding, QuotaVerdict};
use letterlock_mailbox::{Mailboxes, Usage};
use letterlock_queue::Queue;
use letterlock_vault::AccountId;

/// Knows which accounts have room. The figures stand in the directory's memory; here they are asked for and corrected.
pub struct Rooms {
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    queue: Arc<Queue>,
    patience: Duration,
    /// How many durable points each unlocked mailbox had when it was counted.
    counted: Mutex<HashMap<AccountId, u64>>,
}

impl Rooms {
    /// Puts the handles together. `patience` is how long a mailbox may be full until its senders are told not to try
    /// again.
    pub fn new(
        directory: Arc<Directory>,
        mailboxes: Arc<Mailboxes>,
        queue: Arc<Queue>,
        patience: Duration,
    ) -> Rooms {
        Rooms { directory, mailboxes, queue, patience, counted: Mutex::default() }
    }

    /// The verdict on a message of `octets` (0 if its size is not known) for an account. Never waits.
    pub fn verdict(&self, account: AccountId, octets: u64, now: Timestamp) -> QuotaVerdict {
        self.directory.judge_quota(account, octets, now, self.patience)
    }

    /// Counts the mail of unlocked accounts whose mailboxes changed since the last call. To be called every few
    /// seconds: where nothing changed it costs nothing.
    pub async fn recount(&self) {
        for account in self.changed() {
            match self.count(account).await {
                Ok(Some(Usage { octets, messages })) => {
                    self.directory.note_usage(account, Holding { octets, messages });
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%account, %error, "cannot count an account's mail"),
            }
        }
    }

    fn changed(&self) -> Vec<AccountId> {
        let unlocked = self.mailboxes.unlocked().into_iter();
        let now: HashMap<AccountId, u64> = unlocked
            .filter_map(|account| {
                let handle = self.mailboxes.handle(account)?;
                Some((account, handle.durable_points().ok()?))
            })
            .collect();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = now.iter().filter(|(account, points)| counted.get(account) != Some(points));
        let changed = changed.map(|(account, _)| *account).collect();
        // Those that are locked now are counted again when they are unlocked.
        *counted = now;
        changed
    }

    /// All mail of an account; `None` while it is locked.
    async fn count(&self, account: AccountId) -> Result<Option<Usage>, String> {
        // The queue first: what is filed in between counts twice rather than not at all, until the next time.
        let waiting = self.queue.usage(account).await.map_err(|error| error.to_string())?;
        let filed = self.mailboxes.usage(account).await.map_err(|error| error.to_string())?;
        let waiting = Usage { octets: waiting.octets, messages: waiting.messages };
        Ok(filed.map(|filed| filed.plus(waiting)))
    }
}
