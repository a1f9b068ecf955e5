//! The handle to an unlocked account: sessions, the change feed, and how operations are run.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use letterlock_vault::{
    AccountId, AccountSecrets, DeliveryId, Envelope, Key, Keyring, Lease as SessionLease,
    OpenError, SealTo,
};
use tokio::sync::watch;

use crate::change_jobs::Moved;
use crate::error::MailboxError;
use crate::feed::{Feed, Happened};
use crate::handle_search::{Fresh, Indexing};
use crate::live::Live;
use crate::quota::{Quota, Usage};
use crate::sweep;
use crate::types::{FolderId, ModSeq};

/// An unlocked account. Clones are handles to the same; keys and file go when the account is locked, however
/// many handles there are, and every call answers [`MailboxError::Locked`] from then on.
///
/// Operations that change something run to their end even if the caller stops waiting for them.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    keyring: Keyring<Arc<Shared>>,
}

/// What the handles of an unlocked account share.
pub(crate) struct Shared {
    account: AccountId,
    live: ArcSwapOption<Live>,
    feed: Feed,
    closed: watch::Sender<bool>,
    quota: AtomicU64,
    quota_messages: AtomicU64,
    message_size: u64,
    sweeps_asked: AtomicUsize,
    indexing: Arc<Indexing>,
    fresh: Fresh,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("account", &self.shared.account).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        account: AccountId,
        live: Live,
        message_size: u64,
        indexing: Arc<Indexing>,
    ) -> Self {
        Self {
            account,
            live: ArcSwapOption::from_pointee(live),
            feed: Feed::default(),
            closed: watch::Sender::new(false),
            quota: AtomicU64::new(u64::MAX),
            quota_messages: AtomicU64::new(u64::MAX),
            message_size,
            sweeps_asked: AtomicUsize::new(0),
            indexing,
            fresh: Fresh::default(),
        }
    }

    /// Takes keys and file away from all handles, and tells the sessions.
    pub(crate) fn take_live(&self) -> Option<Arc<Live>> {
        let live = self.live.swap(None);
        self.closed.send_replace(true);
        self.feed.close();
        live
    }

    /// The keys and the file, while it is unlocked.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Goes on with the file under other keys. Only between the freezing and the thawing of the old file.
    pub(crate) fn replace_live(&self, live: Live) {
        self.live.store(Some(Arc::new(live)));
    }

    /// How many durable points the file counts, while it is unlocked.
    pub(crate) fn points(&self) -> Option<u64> {
        self.live.load().as_ref().map(|live| live.memory.points())
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, keyring: Keyring<Arc<Shared>>) -> Self {
        Self { shared, keyring }
    }

    /// Whose mail this is.
    pub fn account(&self) -> AccountId {
        self.shared.account
    }

    /// A session begins. It keeps the account unlocked until its lease is dropped; after the last one the time
    /// of grace begins.
    ///
    /// # Errors
    /// [`MailboxError::Locked`] if the account was locked meanwhile.
    pub fn session(&self) -> Result<SessionLease, MailboxError> {
        let lease = self.keyring.lease(self.shared.account).ok_or(MailboxError::Locked)?;
        // Locked and unlocked again since: the lease is another handle's.
        if self.is_closed() { Err(MailboxError::Locked) } else { Ok(lease) }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.keyring.sessions(self.shared.account)
    }

    /// Resolves when the account is locked; sessions end then.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        // The sender lives in `shared`, which this handle holds.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Whether the account was locked.
    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Remembers that the credential opened this account, so that the next login need not run Argon2. Only a
    /// keyed hash is kept, and only until the account is locked.
    pub fn remember(&self, credential: &[u8]) {
        if !self.is_closed() {
            self.keyring.remember(self.shared.account, credential);
        }
    }

    /// Whether the credential was remembered. The comparison takes the same time for all.
    pub fn recognises(&self, credential: &[u8]) -> bool {
        !self.is_closed() && self.keyring.recognises(self.shared.account, credential)
    }

    /// Forgets all credentials: after a change of one of them.
    pub fn forget_credentials(&self) {
        self.keyring.forget_credentials(self.shared.account);
    }

    /// Sees every change of the folder, by whatever session or delivery: the modseq where it stands, or more.
    /// The first value says nothing; ask [`Handle::changes`] once after this. The channel closes when the folder
    /// is deleted or the account is locked.
    pub fn watch(&self, folder: FolderId) -> watch::Receiver<ModSeq> {
        self.shared.feed.folder(folder)
    }

    /// Sees every change of folders' names, uses and subscriptions: a counter.
    pub fn folders_changed(&self) -> watch::Receiver<u64> {
        self.shared.feed.list()
    }

    /// Counts whatever happens in the account from now on, by whatever session or delivery, until it is locked.
    pub fn pulse(&self) -> watch::Receiver<u64> {
        self.shared.feed.pulse()
    }

    /// What happened after that count of the [`pulse`](Handle::pulse). Only a listener may ask: without any, nothing
    /// is remembered.
    pub fn happened(&self, after: u64) -> Happened {
        self.shared.feed.happened(after)
    }

    /// How much the account may hold, in octets; None for no limit. APPEND and COPY then answer
    /// [`MailboxError::OverQuota`]; deliveries are always filed, their limit is judged before.
    pub fn set_quota(&self, quota: Option<u64>) {
        self.shared.quota.store(quota.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many messages the account may hold; None for no limit. See [`Handle::set_quota`].
    pub fn set_message_quota(&self, quota: Option<u64>) {
        self.shared.quota_messages.store(quota.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The account's keys.
    ///
    /// # Errors
    /// [`MailboxError::Locked`]
    pub fn secrets(&self) -> Result<Arc<AccountSecrets>, MailboxError> {
        Ok(Arc::clone(&self.live()?.secrets))
    }

    /// How to seal for this account while it is unlocked.
    ///
    /// # Errors
    /// [`MailboxError::Locked`]
    pub fn seal_to(&self) -> Result<SealTo, MailboxError> {
        Ok(self.live()?.secrets.seal_to())
    }

    /// The content key of a parked message.
    ///
    /// # Errors
    /// [`MailboxError::Locked`], or inside why the envelope does not open.
    pub fn open_envelope(
        &self,
        envelope: &Envelope,
        delivery: DeliveryId,
    ) -> Result<Result<Key, OpenError>, MailboxError> {
        Ok(self.live()?.secrets.open_envelope(envelope, delivery))
    }

    /// How many durable points the file counts; see [`Mailboxes::marks`](crate::Mailboxes::marks).
    ///
    /// # Errors
    /// [`MailboxError::Locked`]
    pub fn durable_points(&self) -> Result<u64, MailboxError> {
        Ok(self.live()?.memory.points())
    }

    /// Compares the file with the mark that the directory holds. A file that counts less was put back from an
    /// older copy: it stays readable, and nothing is written to it any more.
    ///
    /// # Errors
    /// [`MailboxError::RolledBack`], or [`MailboxError::Locked`].
    pub fn check_mark(&self, mark: u64) -> Result<(), MailboxError> {
        let live = self.live()?;
        if live.memory.points() < mark {
            live.forbid_writing();
            tracing::error!(account = %self.shared.account, mark, "the mailbox file is older than its mark");
        }
        live.check_writable()
    }

    /// A durable point: all that was changed before this call is on stable storage when it returns.
    ///
    /// # Errors
    /// What storage reports; then nothing is known of what came after the last good sync.
    pub async fn sync(&self) -> Result<(), MailboxError> {
        self.run(|live, _| async move { live.sync().await }).await
    }

    /// How much mail there is.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn usage(&self) -> Result<Usage, MailboxError> {
        self.live()?.read(|conn, _| crate::messages::usage(conn)).await
    }

    /// Clears away what deleted folders and large bodies have left, in slices. It runs by itself in the
    /// background; a caller who waits for it knows that it is done.
    ///
    /// # Errors
    /// What storage reports; it goes on the next time.
    pub async fn sweep(&self) -> Result<(), MailboxError> {
        self.run(|live, _| async move { sweep::run(&live).await }).await
    }

    pub(crate) fn sweep_soon(&self) {
        let asked = &self.shared.sweeps_asked;
        if asked.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let handle = self.clone();
        tokio::spawn(async move {
            let asked = &handle.shared.sweeps_asked;
            loop {
                let heard = asked.load(Ordering::Acquire);
                let result = match handle.live() {
                    Ok(live) => sweep::run(&live).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = result {
                    tracing::debug!(account = %handle.account(), %error, "sweep ended early");
                    asked.store(0, Ordering::Release);
                    return;
                }
                // Who asked meanwhile may have meant what came behind the last step.
                if asked.compare_exchange(heard, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return;
                }
            }
        });
    }

    pub(crate) fn live(&self) -> Result<Arc<Live>, MailboxError> {
        self.shared.live.load_full().ok_or(MailboxError::Locked)
    }

    /// How much the account may hold.
    pub fn quota(&self) -> Quota {
        let limit = |stored: &AtomicU64| {
            Some(stored.load(Ordering::Relaxed)).filter(|limit| *limit < u64::MAX)
        };
        Quota { octets: limit(&self.shared.quota), messages: limit(&self.shared.quota_messages) }
    }

    /// Refuses what is larger than one message may be.
    pub(crate) fn check_size(&self, bytes: usize) -> Result<(), MailboxError> {
        let limit = self.shared.message_size;
        if bytes as u64 > limit { Err(MailboxError::TooBig { limit }) } else { Ok(()) }
    }

    pub(crate) fn tell(&self, moved: impl IntoIterator<Item = Moved>) {
        for moved in moved {
            self.shared.feed.moved(moved);
        }
    }

    pub(crate) fn indexing(&self) -> &Arc<Indexing> {
        &self.shared.indexing
    }

    pub(crate) fn fresh(&self) -> &Fresh {
        &self.shared.fresh
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// Runs an operation as a task of its own, so that a caller who goes away leaves nothing half done and
    /// nobody untold.
    pub(crate) async fn run<R, F>(
        &self,
        operation: impl FnOnce(Arc<Live>, Self) -> F,
    ) -> Result<R, MailboxError>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, MailboxError>> + Send + 'static,
    {
        let task = tokio::spawn(operation(self.live()?, self.clone()));
        // Cancelled with the runtime, or a bug in the operation: it has not answered.
        task.await.unwrap_or(Err(MailboxError::Locked))
    }
}
