//! Filing what was parked, when a mailbox is unlocked.
//!
//! One task listens to the mailboxes' events and to the queue's bell; each account that
//! drains gets a task of its own, which works in pages while the owner already reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_directory::{Directory, KeyMode};
use letterlock_login::Login;
use letterlock_mailbox::{
    AccountState, Delivery, Drained, Event as MailboxEvent, Filed, Handle, Mailboxes,
};
use letterlock_queue::{Parked, Queue, QueueError, RowId};
use letterlock_state::{Event, State};
use letterlock_vault::{AccountId, DeliveryId};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{Id, JoinSet};

use crate::adopt;
use crate::error::FileError;
use crate::filing;
use crate::notice::{FiledCopy, Notices};

/// Messages filed between two syncs of the mailbox.
const PAGE: u32 = 64;

/// Octets of messages in one transaction, and so in memory.
const BATCH_OCTETS: usize = 4 << 20;

/// Pause after the mailbox or the queue failed; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Files parked mail. One for the whole server.
pub struct Drainer {
    /// Who exists, and which mailboxes the server may open itself.
    pub directory: Arc<Directory>,
    /// The accounts' mail.
    pub mailboxes: Arc<Mailboxes>,
    /// Where mail is parked.
    pub queue: Arc<Queue>,
    /// Opens server-held mailboxes.
    pub login: Arc<Login>,
    /// Where the trace goes, if anywhere.
    pub state: Option<Arc<State>>,
    /// Who tells senders that asked for it, if anybody does.
    pub notices: Option<Arc<dyn Notices>>,
}

/// Rows that cannot be opened: damaged, or sealed to keys that are no more. They stay for
/// an operator to look at, and the others go past them.
type Stuck = HashSet<RowId>;

/// The accounts that drain, each by a task of its own.
#[derive(Default)]
struct Drains {
    tasks: JoinSet<()>,
    accounts: HashMap<Id, AccountId>,
}

impl Drains {
    /// Begins after a pause, unless there is a task for the account already.
    fn begin(&mut self, drainer: &Arc<Drainer>, account: AccountId, pause: Duration) {
        if self.accounts.values().any(|running| *running == account) {
            return;
        }
        let drainer = drainer.clone();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            drainer.drain(account).await;
        });
        self.accounts.insert(task.id(), account);
    }

    /// The next account whose task ends, and what to wait before another begins: a moment if it
    /// broke down. `None` while there is none.
    async fn ended(&mut self) -> Option<(AccountId, Duration)> {
        let (id, pause) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, Duration::ZERO),
            Err(error) => {
                tracing::error!(%error, "draining broke down");
                (error.id(), LONGEST_PAUSE)
            }
        };
        Some((self.accounts.remove(&id)?, pause))
    }
}

impl Drainer {
    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut events = self.mailboxes.events();
        let mut drains = Drains::default();
        self.adopt_waiting().await;
        self.offer_parked().await;
        // Whoever was unlocked before this listened.
        for account in self.mailboxes.draining() {
            drains.begin(&self, account, Duration::ZERO);
        }
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(MailboxEvent::Draining(account)) => drains.begin(&self, account, Duration::ZERO),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        for account in self.mailboxes.draining() {
                            drains.begin(&self, account, Duration::ZERO);
                        }
                    }
                    Err(RecvError::Closed) => return,
                },
                Some((account, pause)) = drains.ended() => {
                    // It may have been told to drain again while its task was ending.
                    if self.mailboxes.state(account) == AccountState::Draining {
                        drains.begin(&self, account, pause);
                    }
                }
                () = self.queue.delivery_bell().notified() => self.offer_parked().await,
            }
        }
    }

    /// Mail for role addresses that somebody has by now, left by a crash before it was given
    /// to them.
    async fn adopt_waiting(&self) {
        let domains = match self.queue.waiting_domains().await {
            Ok(domains) => domains,
            Err(error) => return tracing::warn!(%error, "cannot look for waiting mail"),
        };
        for domain in domains {
            if let Err(error) = adopt::adopt(&self.directory, &self.queue, &domain).await {
                tracing::warn!(%error, "mail for role addresses stays waiting");
            }
        }
    }

    /// Looks for parked mail of mailboxes that are open, or that the server can open.
    async fn offer_parked(&self) {
        let mut after = None;
        loop {
            let accounts = match self.queue.parked_accounts(after, 256).await {
                Ok(accounts) => accounts,
                Err(error) => return tracing::warn!(%error, "cannot look for parked mail"),
            };
            let Some(last) = accounts.last() else { return };
            after = Some(*last);
            for account in accounts {
                self.offer(account).await;
            }
        }
    }

    async fn offer(&self, account: AccountId) {
        if self.mailboxes.state(account) != AccountState::Locked {
            self.mailboxes.drain_again(account);
            return;
        }
        let Some(account) = self.directory.snapshot().account(account) else {
            return self.discard(account).await;
        };
        if account.mode == KeyMode::ServerHeld
            && let Err(error) = self.login.unlock_server_held(&account).await
        {
            tracing::warn!(account = %account.id, %error, "a server-held mailbox does not open");
        }
    }

    /// Mail of an account that was removed: its keys are destroyed, nobody can ever read it.
    async fn discard(&self, account: AccountId) {
        match self.queue.discard_account(account).await {
            Ok(count) => tracing::info!(%account, count, "mail of a removed account dropped"),
            Err(error) => tracing::warn!(%account, %error, "mail of a removed account stays"),
        }
    }

    /// Files everything that is parked for an account, until nothing is left or it is locked.
    async fn drain(&self, account: AccountId) {
        // First those end who began to file directly while the account was open: a row that is
        // filed and forgotten here must not be filed by them afterwards.
        let nobody = async || Ok::<bool, std::convert::Infallible>(false);
        let Ok(_) = self.mailboxes.finish_draining(account, nobody).await;
        let (mut stuck, mut pause) = (Stuck::new(), PAUSE);
        while let Some(handle) = self.mailboxes.handle(account) {
            match self.drain_once(&handle, &mut stuck).await {
                Ok(Drained::More) => pause = PAUSE,
                Ok(Drained::Open | Drained::NotDraining) => return,
                Err(error) => {
                    tracing::warn!(%account, %error, wait_ms = pause.as_millis(), "parked mail waits");
                    tokio::select! {
                        () = handle.closed() => return,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    }

    /// Goes once through what is parked, then asks whether that was all.
    async fn drain_once(&self, handle: &Handle, stuck: &mut Stuck) -> Result<Drained, FileError> {
        let account = handle.account();
        let mut after = None;
        loop {
            let page = self.queue.parked(account, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.row);
            self.file_page(handle, &page, stuck).await?;
        }
        let known: &Stuck = stuck;
        let is_empty = async || -> Result<bool, QueueError> {
            let left = self
                .queue
                .parked(
                    account,
                    None,
                    u32::try_from(known.len()).unwrap_or(u32::MAX).saturating_add(1),
                )
                .await?;
            Ok(left.iter().all(|parked| known.contains(&parked.row)))
        };
        Ok(self.mailboxes.finish_draining(account, is_empty).await?)
    }

    /// Files a page, makes it durable, forgets its rows.
    async fn file_page(
        &self,
        handle: &Handle,
        page: &[Parked],
        stuck: &mut Stuck,
    ) -> Result<(), FileError> {
        let mut done = Done::default();
        let (mut opened, mut octets) = (Vec::new(), 0);
        for parked in page {
            if stuck.contains(&parked.row) {
                continue;
            }
            match filing::parked(&self.queue, handle, parked).await {
                Ok((delivery, copy)) => {
                    octets += delivery.bytes.len();
                    opened.push(Opened { parked, delivery, copy });
                }
                Err(error) => set_aside(handle, parked, error, stuck)?,
            }
            if octets >= BATCH_OCTETS {
                self.file_all(handle, std::mem::take(&mut opened), stuck, &mut done).await?;
                octets = 0;
            }
        }
        self.file_all(handle, opened, stuck, &mut done).await?;
        if done.rows.is_empty() {
            return Ok(());
        }
        handle.sync_delivered(&done.keys).await?;
        self.queue.filed(&done.rows);
        self.queue.sync().await?;
        handle.prune_delivered(&done.keys).await?;
        Ok(())
    }

    /// Files in one transaction; if that fails, one by one, so that none suffers for another.
    async fn file_all(
        &self,
        handle: &Handle,
        opened: Vec<Opened<'_>>,
        stuck: &mut Stuck,
        done: &mut Done,
    ) -> Result<(), FileError> {
        if opened.len() > 1 {
            let deliveries = opened.iter().map(|one| one.delivery.clone()).collect();
            match handle.deliver_all(deliveries).await {
                Ok(outcomes) => {
                    let pairs = opened.into_iter().zip(outcomes);
                    for (one, outcome) in pairs {
                        self.filed(handle, one, outcome, done).await;
                    }
                    return Ok(());
                }
                Err(error) if error.is_temporary() => return Err(error.into()),
                Err(_) => {}
            }
        }
        for one in opened {
            match handle.deliver(one.delivery.clone()).await {
                Ok(outcome) => self.filed(handle, one, outcome, done).await,
                Err(error) => set_aside(handle, one.parked, error.into(), stuck)?,
            }
        }
        Ok(())
    }

    async fn filed(&self, handle: &Handle, one: Opened<'_>, outcome: Filed, done: &mut Done) {
        let Opened { parked, delivery, copy } = one;
        tracing::info!(delivery = %parked.id, account = %handle.account(), filed = ?outcome, "filed after waiting");
        if let Some(state) = &self.state {
            let address = parked.recipient.to_string().into();
            state.record(parked.id, Timestamp::now(), Event::Unlocked { address });
        }
        if let (Some(notices), Some(copy)) = (&self.notices, copy)
            && outcome != Filed::Already
        {
            notices.filed(copy).await;
        }
        done.rows.push(parked.row);
        done.keys.push((delivery.id, delivery.recipient));
    }
}

/// A parked message whose seal is open.
struct Opened<'a> {
    parked: &'a Parked,
    delivery: Delivery,
    /// What its sender asked to hear.
    copy: Option<FiledCopy>,
}

/// What is in the mailbox: the rows, and what the mailbox remembers of them.
#[derive(Default)]
struct Done {
    rows: Vec<RowId>,
    keys: Vec<(DeliveryId, String)>,
}

/// A message that could not be filed is passed over, unless none could be.
fn set_aside(
    handle: &Handle,
    parked: &Parked,
    error: FileError,
    stuck: &mut Stuck,
) -> Result<(), FileError> {
    match error {
        // Filed or cancelled meanwhile; if the row is still there after all, then
        // without a body, and it must not be asked for without end.
        FileError::Queue(QueueError::Gone) => {}
        error if error.stops_the_account() => return Err(error),
        error => {
            tracing::error!(delivery = %parked.id, account = %handle.account(), %error, "parked mail cannot be filed");
        }
    }
    stuck.insert(parked.row);
    Ok(())
}
