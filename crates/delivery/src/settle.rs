//! Durable points of many mailboxes, taken together.
//!
//! A filed message is in its mailbox but may not survive a power cut yet, and its row still
//! stands in the queue. Every little while the mailboxes that got mail are synced, their
//! rows are forgotten, and once that is durable too the mailboxes forget the delivery ids.
//! So the cost follows these rounds and not the messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use letterlock_mailbox::{Delivered, Handle, Mailboxes};
use letterlock_queue::{Queue, RowId};
use letterlock_vault::AccountId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long filed mail waits for others before its mailbox is synced.
const ROUND: Duration = Duration::from_millis(200);

/// Rounds between two prunings of delivery ids: they cost a sync of the queue.
const PRUNE_EVERY: u32 = 25;

/// A message that was filed and is not durable in its mailbox.
pub(crate) struct Settled {
    pub(crate) handle: Handle,
    pub(crate) row: RowId,
    /// What the mailbox remembers of the delivery.
    pub(crate) key: Delivered,
}

/// Takes what was filed.
#[derive(Clone)]
pub struct Settler(mpsc::UnboundedSender<Settled>);

/// Deliveries whose rows are gone, by account.
type Done = HashMap<AccountId, Vec<Delivered>>;

/// Starts the task that settles. It ends, with a last round, when every [`Settler`] is dropped.
pub fn settler(queue: Arc<Queue>, mailboxes: Arc<Mailboxes>) -> (Settler, JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Settler(sender), tokio::spawn(run(receiver, queue, mailboxes)))
}

impl Settler {
    /// Hands over a filed message. Bounded by what the intake has in hand and the drainers' pages.
    pub(crate) fn filed(&self, settled: Settled) {
        // Without a task the row stays, and the next drain finds it filed already.
        let _ = self.0.send(settled);
    }
}

async fn run(
    mut receiver: mpsc::UnboundedReceiver<Settled>,
    queue: Arc<Queue>,
    mailboxes: Arc<Mailboxes>,
) {
    let (mut done, mut rounds) = (Done::new(), 0);
    while let Some(first) = receiver.recv().await {
        // A closed channel ends the wait: shutdown does not take a round longer.
        let closed = wait_a_round(&receiver).await;
        let mut batch = vec![first];
        while let Ok(more) = receiver.try_recv() {
            batch.push(more);
        }
        round(batch, &queue, &mailboxes, &mut done).await;
        rounds += 1;
        if rounds % PRUNE_EVERY == 0 || closed {
            prune(&queue, &mailboxes, &mut done).await;
        }
    }
    prune(&queue, &mailboxes, &mut done).await;
}

async fn wait_a_round(receiver: &mpsc::UnboundedReceiver<Settled>) -> bool {
    tokio::time::sleep(ROUND).await;
    receiver.is_closed()
}

/// Makes the mailboxes durable, many with one sync, and lets the queue forget what is.
async fn round(batch: Vec<Settled>, queue: &Queue, mailboxes: &Mailboxes, done: &mut Done) {
    let mut accounts: HashMap<AccountId, (Handle, Vec<RowId>, Vec<Delivered>)> = HashMap::new();
    for Settled { handle, row, key } in batch {
        let (_, rows, keys) =
            accounts.entry(handle.account()).or_insert_with(|| (handle, Vec::new(), Vec::new()));
        rows.push(row);
        keys.push(key);
    }
    let (mut waiting, mut filed) = (Vec::new(), Vec::new());
    for (account, (handle, rows, keys)) in accounts {
        filed.push((handle, keys.clone()));
        waiting.push((account, rows, keys));
    }
    let answers = Mailboxes::sync_delivered(filed).await;
    for ((account, rows, keys), synced) in waiting.into_iter().zip(answers) {
        match synced {
            Ok(()) => {
                queue.filed(&rows);
                done.entry(account).or_default().extend(keys);
            }
            Err(error) => {
                tracing::warn!(%account, %error, "filed mail is not durable yet, its rows stay");
                mailboxes.drain_again(account);
            }
        }
    }
}

/// When the queue's rows are gone for good, no retry can come, and the mailboxes need not
/// remember the deliveries.
async fn prune(queue: &Queue, mailboxes: &Mailboxes, done: &mut Done) {
    if done.is_empty() {
        return;
    }
    if let Err(error) = queue.sync().await {
        return tracing::warn!(%error, "the queue does not sync");
    }
    for (account, keys) in done.drain() {
        // A mailbox that was locked meanwhile remembers longer than it needs to.
        let Some(handle) = mailboxes.handle(account) else { continue };
        if let Err(error) = handle.prune_delivered(&keys).await {
            tracing::debug!(%account, %error, "delivery ids stay");
        }
    }
}
