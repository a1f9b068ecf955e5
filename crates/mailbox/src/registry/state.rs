//! What the registry says of an account, and what it keeps for one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use letterlock_vault::{AccountId, AccountSecrets, SealTo};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::handle::{Handle, Shared};

/// How mailboxes are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long keys stay after the last session.
    pub grace: Duration,
    /// A file without work for this long is closed; its keys stay.
    pub idle_close: Option<Duration>,
    /// So many files are open at most: beyond that, those that were not used for the longest time are closed and
    /// opened again when they are needed. Where `idle_close` is None, nothing is closed. It is the pool's bound, for all
    /// that works on it; keep it above the number of its threads.
    pub open_files: usize,
    /// SQLite's page cache for each open file, in KiB.
    pub cache_kib: u32,
    /// The largest message that APPEND takes, in octets.
    pub message_size: u64,
    /// Whether new messages are indexed for searches in the background.
    pub index: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(300),
            idle_close: Some(Duration::from_secs(30)),
            open_files: 256,
            cache_kib: 1_024,
            message_size: 50 << 20,
            index: true,
        }
    }
}

/// What happened to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was unlocked, or is to be drained again: its parked mail can be filed now.
    Draining(AccountId),
    /// It was unlocked and has nothing to drain, or draining has ended.
    Open(AccountId),
    /// It was locked.
    Locked(AccountId),
    /// The sealing key that the directory holds is not the one that the mailbox holds: somebody may have put
    /// another one there to read the mail that comes in.
    SealingKeyDiffers(AccountId),
    /// Its file did not open because of damage, and was written anew from what could be read when its owner came. The
    /// damaged one stays beside it.
    WrittenAnew(AccountId),
}

/// The state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// No keys in memory.
    Locked,
    /// Unlocked; parked mail is being filed, and new mail is parked behind it.
    Draining,
    /// Unlocked; mail is filed directly.
    Open,
}

/// How mail for an account is filed at this moment. Keep it until the queue row is committed or the message is
/// filed: draining does not end before.
#[derive(Debug)]
pub struct Filing {
    /// What to do.
    pub way: Way,
    pub(super) _permit: OwnedRwLockReadGuard<()>,
}

/// See [`Filing`].
#[derive(Debug, Clone)]
pub enum Way {
    /// Park it. With None the account is locked: seal to its public key.
    Park(Option<SealTo>),
    /// Seal it so for the queue, commit, then file it.
    Direct(Handle, SealTo),
}

/// How an attempt to end draining came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// The account is open.
    Open,
    /// Something was parked meanwhile: go on.
    More,
    /// It was not draining (any more): locked, or open already.
    NotDraining,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Held while the state changes, over the opening and closing of the file.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Held for reading by each [`Filing`], for writing by the step that ends draining.
    pub(super) gate: Arc<RwLock<()>>,
    state: Mutex<State>,
    /// Secrets of an earlier epoch than this one are out of date: a rotation replaced them.
    pub(super) epoch: AtomicU32,
    /// A rotation is under way.
    pub(super) rotating: AtomicBool,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    Locked,
    Draining(Arc<Shared>),
    Open(Arc<Shared>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locked => "Locked",
            Self::Draining(_) => "Draining",
            Self::Open(_) => "Open",
        })
    }
}

impl State {
    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Locked => None,
            Self::Draining(shared) | Self::Open(shared) => Some(shared),
        }
    }
}

impl Slot {
    /// Whether a rotation replaced these secrets since they were read.
    pub(crate) fn is_newer(&self, secrets: &AccountSecrets) -> bool {
        secrets.epoch() < self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
