//! Messages that wait for one mailbox at the same moment are filed in one transaction.
//!
//! Whoever comes to a mailbox that nobody files into does it at once; who comes meanwhile waits, and all of them are the
//! next transaction. So one message alone waits for nobody, and many cost less each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use letterlock_mailbox::{Delivery, Filed, Handle, MailboxError};
use letterlock_vault::AccountId;
use tokio::sync::oneshot;

/// Messages, and octets of them, in one transaction: a job holds up others of its mailbox.
const MOST: usize = 64;
const MOST_OCTETS: usize = 4 << 20;

type Outcome = Result<Filed, MailboxError>;

struct Waiting {
    handle: Handle,
    delivery: Delivery,
    outcome: oneshot::Sender<Outcome>,
}

/// Who waits for which mailbox. An account is in it while somebody files into its mailbox.
#[derive(Default)]
pub(crate) struct Filer(Mutex<HashMap<AccountId, Vec<Waiting>>>);

impl Filer {
    /// Files a message; like [`Handle::deliver`].
    pub(crate) async fn file(self: &Arc<Self>, handle: &Handle, delivery: Delivery) -> Outcome {
        let account = handle.account();
        let (outcome, filed) = oneshot::channel();
        let waiting = Waiting { handle: handle.clone(), delivery, outcome };
        let leads = {
            let mut all = self.all();
            let leads = !all.contains_key(&account);
            all.entry(account).or_default().push(waiting);
            leads
        };
        if leads {
            let leader = Leader { filer: Arc::clone(self), account, done: false };
            self.lead(leader).await;
        }
        // The leader may have been cut off: then those who waited try by themselves at the next drain.
        filed.await.unwrap_or(Err(MailboxError::Locked))
    }

    /// Files the first batch, in which the leader's own message is. Those who came meanwhile are filed by a task of
    /// their own: in a mailbox that is never left alone, the leader would not get away.
    async fn lead(&self, mut leader: Leader) {
        if let Some(batch) = self.next(leader.account) {
            file_all(batch).await;
        }
        match self.next(leader.account) {
            None => leader.done = true,
            Some(batch) => drop(tokio::spawn(leader.go_on(batch))),
        }
    }

    /// The next batch; the account is free when there is none.
    fn next(&self, account: AccountId) -> Option<Vec<Waiting>> {
        let mut all = self.all();
        let waiting = all.get_mut(&account)?;
        if waiting.is_empty() {
            all.remove(&account);
            return None;
        }
        let mut octets = 0;
        let count = waiting.iter().take(MOST).take_while(|held| {
            let fits = octets == 0 || octets + held.delivery.bytes.len() <= MOST_OCTETS;
            octets += held.delivery.bytes.len();
            fits
        });
        let count = count.count().max(1);
        Some(waiting.drain(..count).collect())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<AccountId, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the account if its leader is cut off.
struct Leader {
    filer: Arc<Filer>,
    account: AccountId,
    /// The account is free already, and may be somebody else's by now.
    done: bool,
}

impl Leader {
    /// Files until nobody waits.
    async fn go_on(mut self, first: Vec<Waiting>) {
        let mut batch = Some(first);
        while let Some(waiting) = batch {
            file_all(waiting).await;
            batch = self.filer.next(self.account);
        }
        self.done = true;
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.done {
            self.filer.all().remove(&self.account);
        }
    }
}

/// One transaction for all; if it fails, one for each, so that none suffers for another.
async fn file_all(batch: Vec<Waiting>) {
    if let [_, _, ..] = batch.as_slice()
        && let Some(first) = batch.first()
    {
        let deliveries = batch.iter().map(|held| held.delivery.clone()).collect();
        if let Ok(filed) = first.handle.deliver_all(deliveries).await {
            for (held, filed) in batch.into_iter().zip(filed) {
                let _ = held.outcome.send(Ok(filed));
            }
            return;
        }
    }
    for Waiting { handle, delivery, outcome } in batch {
        let _ = outcome.send(handle.deliver(delivery).await);
    }
}
