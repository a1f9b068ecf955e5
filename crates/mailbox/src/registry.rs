//! All mailboxes of the server: which are unlocked, and the steps between locked, draining and open.
//!
//! Each account has one state, changed only under its own turn (a lock that is held across the opening and
//! closing of its file), so that two logins at once are one unlock.
//!
//! # Filing and draining
//! No accepted mail may become invisible: it is either parked in the queue of an account that will be drained,
//! or filed. Whoever accepts mail asks [`Mailboxes::filing`] first and keeps the answer until its queue row is
//! committed (parked), or until it has filed the message or given up on that (direct):
//!
//! 1. *locked*: the row is parked, sealed to the owner's public key (which the directory has).
//! 2. *draining*: rows that were parked are being filed. New mail is parked too, at the tail, sealed with the
//!    door key: so mail stays in order.
//! 3. *open*: mail is filed directly. If that fails, the row stays parked; ask for [`Mailboxes::drain_again`].
//!
//! The drainer files what is parked, syncs, deletes the rows, and calls [`Mailboxes::finish_draining`]. That
//! waits until every [`Filing`] is dropped and lets no new one begin; if the queue then has no row for the
//! account, the account is open from this very step on, and otherwise draining goes on.

mod rotate;
mod state;
mod unlock;
#[cfg(test)]
mod unlock_tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_vault::{AccountId, AccountSecrets, Keyring, Pool, SealTo};
use tokio::sync::broadcast;

use crate::error::MailboxError;
use crate::files;
use crate::handle::{Handle, Shared};
use crate::handle_search::Indexing;
use crate::live::{Live, make_file};
use crate::quota::Usage;

pub use self::rotate::RotateError;
pub use self::state::{AccountState, Drained, Event, Filing, Options, Way};
use self::state::{Slot, State};

/// How long an account may drain after its grace: a mailbox that keeps failing must not keep its keys for ever.
/// What is still parked then waits for the next unlock.
const DRAINING: Duration = Duration::from_secs(3_600);
/// How many events wait for a slow listener before it has to look for itself.
const EVENTS: usize = 1_024;

/// The mailboxes of all accounts.
pub struct Mailboxes {
    me: Weak<Self>,
    data_dir: PathBuf,
    pool: Pool,
    options: Options,
    keyring: Keyring<Arc<Shared>>,
    slots: Mutex<HashMap<AccountId, Arc<Slot>>>,
    marks: Mutex<Marks>,
    events: broadcast::Sender<Event>,
    indexing: Arc<Indexing>,
}

/// Durable points: those of accounts that were locked since the last report, and what was reported.
#[derive(Debug, Default)]
struct Marks {
    closed: HashMap<AccountId, u64>,
    reported: HashMap<AccountId, u64>,
}

impl Mailboxes {
    /// The mailboxes under `data_dir`; all are locked. Nothing is opened.
    pub fn new(data_dir: &Path, pool: Pool, options: Options) -> Arc<Self> {
        pool.limit_open(options.open_files);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            data_dir: data_dir.to_owned(),
            pool,
            indexing: Indexing::new(options.index),
            options,
            keyring: Keyring::new(),
            slots: Mutex::default(),
            marks: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
        })
    }

    /// Makes the file of a new account with INBOX, Drafts, Sent, Junk, Trash and Archive, subscribed and with
    /// their special uses. It is written beside its place, synced and renamed. The account stays locked.
    ///
    /// # Errors
    /// [`MailboxError::AlreadyExists`], or what storage reports.
    pub async fn create(&self, secrets: &AccountSecrets) -> Result<(), MailboxError> {
        let slot = self.slot(secrets.account());
        let _turn = slot.turn.lock().await;
        let path = files::mailbox_file(&self.data_dir, secrets.account(), secrets.epoch());
        let draft = files::prepare(&self.pool, &self.data_dir, &path).await?;
        make_file(&self.pool, draft.clone(), secrets, &self.options, Timestamp::now()).await?;
        files::publish(&self.pool, &self.data_dir, draft, path).await
    }

    /// The handle of an unlocked account.
    pub fn handle(&self, account: AccountId) -> Option<Handle> {
        let slot = self.known(account)?;
        let state = slot.state();
        state.shared().map(|shared| self.handle_of(shared))
    }

    /// How to seal for the account while it is unlocked, draining or open. None: to its public key.
    pub fn seal_to(&self, account: AccountId) -> Option<SealTo> {
        self.handle(account)?.seal_to().ok()
    }

    /// The account's state.
    pub fn state(&self, account: AccountId) -> AccountState {
        match self.known(account).as_ref().map(|slot| slot.state()).as_deref() {
            None | Some(State::Locked) => AccountState::Locked,
            Some(State::Draining(_)) => AccountState::Draining,
            Some(State::Open(_)) => AccountState::Open,
        }
    }

    /// The accounts that are draining: for one who missed events.
    pub fn draining(&self) -> Vec<AccountId> {
        let slots = self.slots();
        let draining = slots.iter().filter(|(_, slot)| matches!(*slot.state(), State::Draining(_)));
        draining.map(|(account, _)| *account).collect()
    }

    /// The accounts that are unlocked.
    pub fn unlocked(&self) -> Vec<AccountId> {
        self.keyring.accounts()
    }

    /// How mail for the account is filed now. See the text of this module. Who holds an answer must not ask for the
    /// same account again: the end of draining, which waits for the first one, would be waited for by the second.
    pub async fn filing(&self, account: AccountId) -> Filing {
        let slot = self.slot(account);
        let permit = Arc::clone(&slot.gate).read_owned().await;
        let way = match &*slot.state() {
            State::Locked => Way::Park(None),
            State::Draining(shared) => Way::Park(self.handle_of(shared).seal_to().ok()),
            State::Open(shared) => {
                let handle = self.handle_of(shared);
                // Being locked at this moment: then it is parked for the next unlock.
                handle.seal_to().map_or(Way::Park(None), |seal| Way::Direct(handle, seal))
            }
        };
        Filing { way, _permit: permit }
    }

    /// Ends the draining of an account if `is_empty` finds no parked row. While it asks, nobody begins to file
    /// and nobody is filing; it must not call [`Mailboxes::filing`] for this account itself.
    ///
    /// # Errors
    /// Those of `is_empty`; draining goes on then.
    pub async fn finish_draining<E>(
        &self,
        account: AccountId,
        is_empty: impl AsyncFnOnce() -> Result<bool, E>,
    ) -> Result<Drained, E> {
        let Some(slot) = self.known(account) else { return Ok(Drained::NotDraining) };
        let _alone = slot.gate.write().await;
        if !matches!(*slot.state(), State::Draining(_)) {
            return Ok(Drained::NotDraining);
        }
        if !is_empty().await? {
            return Ok(Drained::More);
        }
        let mut state = slot.state();
        match std::mem::take(&mut *state) {
            State::Draining(shared) => {
                *state = State::Open(shared);
                drop(state);
                self.tell(Event::Open(account));
                Ok(Drained::Open)
            }
            other => {
                *state = other;
                Ok(Drained::NotDraining)
            }
        }
    }

    /// An open account begins to drain again, because a row stayed parked that could not be filed directly.
    /// Answers whether it is draining now.
    pub fn drain_again(&self, account: AccountId) -> bool {
        let Some(slot) = self.known(account) else { return false };
        let mut state = slot.state();
        match std::mem::take(&mut *state) {
            State::Locked => false,
            State::Draining(shared) | State::Open(shared) => {
                *state = State::Draining(shared);
                drop(state);
                self.tell(Event::Draining(account));
                true
            }
        }
    }

    /// Locks an account at once: its sessions end, the file is closed, the keys go. Fine for a locked one.
    ///
    /// # Errors
    /// What was in the way of a clean close; it is locked all the same.
    pub async fn lock(&self, account: AccountId) -> Result<(), MailboxError> {
        let Some(slot) = self.known(account) else { return Ok(()) };
        let _turn = slot.turn.lock().await;
        self.keyring.remove(account);
        self.close(account, &slot).await
    }

    /// Locks every account that no session has held for the time of grace; one that drains has an hour more.
    pub async fn tick(&self, now: Instant) {
        for account in self.keyring.expired(now, self.options.grace) {
            let Some(slot) = self.known(account) else { continue };
            let _turn = slot.turn.lock().await;
            let grace = match *slot.state() {
                State::Draining(_) => self.options.grace.saturating_add(DRAINING),
                State::Open(_) | State::Locked => self.options.grace,
            };
            if self.keyring.remove_expired(account, now, grace).is_some()
                && let Err(error) = self.close(account, &slot).await
            {
                tracing::warn!(account = %account, %error, "the mailbox was not closed cleanly");
            }
        }
    }

    /// Resolves when some account's last session ended: then a [`Mailboxes::tick`] is due a grace later.
    pub async fn became_idle(&self) {
        self.keyring.became_idle().await;
    }

    async fn close(&self, account: AccountId, slot: &Slot) -> Result<(), MailboxError> {
        let Some(shared) = std::mem::take(&mut *slot.state()).shared().cloned() else {
            return Ok(());
        };
        let Some(live) = shared.take_live() else { return Ok(()) };
        let closed = live.db.close().await;
        self.counted().closed.insert(account, live.memory.points());
        self.tell(Event::Locked(account));
        tracing::debug!(account = %account, "locked");
        Ok(closed?)
    }

    /// Locks the account and destroys its files.
    ///
    /// # Errors
    /// What the system reports; call it again then.
    pub async fn remove(&self, account: AccountId) -> Result<(), MailboxError> {
        let slot = self.slot(account);
        // One turn for both: no login opens the file in between.
        let _turn = slot.turn.lock().await;
        self.keyring.remove(account);
        if let Err(error) = self.close(account, &slot).await {
            tracing::debug!(account = %account, %error, "closed badly, and removed now");
        }
        files::destroy(&self.data_dir, account).await?;
        // A new file of the same account counts from the start: the old one's count is no mark for it.
        let mut marks = self.counted();
        marks.closed.remove(&account);
        marks.reported.remove(&account);
        drop(marks);
        self.slots().remove(&account);
        Ok(())
    }

    /// How much mail an unlocked account has; None for a locked one.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn usage(&self, account: AccountId) -> Result<Option<Usage>, MailboxError> {
        match self.handle(account) {
            Some(handle) => handle.usage().await.map(Some),
            None => Ok(None),
        }
    }

    /// CPU time spent on the word indexes of all accounts since the start.
    pub fn index_cpu(&self) -> Duration {
        self.indexing.spent()
    }

    /// Events from now on. Who falls behind by more than a thousand misses some, and asks
    /// [`Mailboxes::draining`].
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The durable points of accounts whose count grew since the last call, to be stored as marks: they are on
    /// stable storage already, so a stored mark never leads.
    pub fn marks(&self) -> Vec<(AccountId, u64)> {
        let mut now = std::mem::take(&mut self.counted().closed);
        for account in self.keyring.accounts() {
            if let Some(points) = self.keyring.get(account).and_then(|shared| shared.points()) {
                now.insert(account, points);
            }
        }
        let mut marks = self.counted();
        now.retain(|account, points| marks.reported.insert(*account, *points) != Some(*points));
        now.into_iter().collect()
    }

    /// Locks all accounts: for the end of the process. [`Mailboxes::marks`] has the last counts after this.
    pub async fn close_all(&self) {
        for account in self.unlocked() {
            if let Err(error) = self.lock(account).await {
                tracing::warn!(account = %account, %error, "the mailbox was not closed cleanly");
            }
        }
    }

    /// Ends the account's file as a crash would, without sync or clean mark. For tests of what a crash leaves.
    pub async fn kill(&self, account: AccountId) {
        let Some(slot) = self.known(account) else { return };
        let _turn = slot.turn.lock().await;
        self.keyring.remove(account);
        let Some(shared) = std::mem::take(&mut *slot.state()).shared().cloned() else { return };
        if let Some(live) = shared.take_live() {
            live.db.kill();
            self.tell(Event::Locked(account));
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The keys and the file of an unlocked account.
    pub(crate) fn live_of(&self, account: AccountId) -> Result<Arc<Live>, MailboxError> {
        let slot = self.known(account).ok_or(MailboxError::Locked)?;
        let shared = slot.state().shared().cloned();
        shared.and_then(|shared| shared.live()).ok_or(MailboxError::Locked)
    }

    /// Locks the account, and keeps it so as long as the turn is held.
    pub(crate) async fn locked_turn(
        &self,
        account: AccountId,
    ) -> (Arc<Slot>, tokio::sync::OwnedMutexGuard<()>) {
        let slot = self.slot(account);
        let turn = Arc::clone(&slot.turn).lock_owned().await;
        self.keyring.remove(account);
        if let Err(error) = self.close(account, &slot).await {
            tracing::warn!(account = %account, %error, "the mailbox was not closed cleanly");
        }
        (slot, turn)
    }

    fn handle_of(&self, shared: &Arc<Shared>) -> Handle {
        Handle::new(Arc::clone(shared), self.keyring.clone())
    }

    fn tell(&self, event: Event) {
        // Nobody listens: fine.
        let _ = self.events.send(event);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, account: AccountId) -> Option<Arc<Slot>> {
        self.slots().get(&account).cloned()
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        Arc::clone(self.slots().entry(account).or_default())
    }
}
