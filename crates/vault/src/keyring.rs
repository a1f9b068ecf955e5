//! What is unlocked, and for how long.
//!
//! An entry stands for an unlocked account; its value is whatever its caller keeps for one (keys,
//! an open mailbox). Sessions hold a [`Lease`]; when the last one is dropped a grace time begins,
//! after which the entry is reported as expired. Taking it out, closing what it held and zeroing
//! the keys is the caller's part: the keyring drops nothing by itself.
//!
//! An entry also remembers, as keyed hashes, the credentials that opened it, so that a client
//! that logs in again does not pay for Argon2. The hashes' key lives as long as the process, the
//! hashes as long as the entry.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Notify;
use zeroize::{Zeroize, Zeroizing};

use crate::{AccountId, Key};

/// How many credentials an entry remembers; then the oldest one goes.
const REMEMBERED: usize = 16;

/// The unlocked accounts. Clones share them.
pub struct Keyring<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    entries: Mutex<HashMap<AccountId, Entry<T>>>,
    /// Keys the hashes of remembered credentials.
    hash_key: Key,
    idle: Arc<Notify>,
}

struct Entry<T> {
    value: T,
    usage: Arc<Mutex<Usage>>,
    remembered: VecDeque<Zeroizing<[u8; 32]>>,
}

/// Shared with the leases. An entry that takes the place of another has its own, so that late
/// leases of the old one don't count down the new one.
struct Usage {
    sessions: usize,
    last_used: Instant,
}

/// A session's hold on an unlocked account. Dropping it starts the grace time, if it was the last.
#[must_use = "the account may be locked as soon as the lease is dropped"]
pub struct Lease {
    account: AccountId,
    usage: Arc<Mutex<Usage>>,
    idle: Arc<Notify>,
    ended: Option<Instant>,
}

impl<T> Keyring<T> {
    /// An empty keyring, with a fresh key for remembered credentials.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                entries: Mutex::new(HashMap::new()),
                hash_key: Key::random(),
                idle: Arc::new(Notify::new()),
            }),
        }
    }

    /// Puts an unlocked account in. The grace time runs from `now` until a session holds it.
    /// What stood there for the account comes back; its remembered credentials are gone.
    pub fn insert(&self, account: AccountId, value: T, now: Instant) -> Option<T> {
        let usage = Arc::new(Mutex::new(Usage { sessions: 0, last_used: now }));
        let entry = Entry { value, usage, remembered: VecDeque::new() };
        let replaced = self.entries().insert(account, entry);
        replaced.map(|entry| entry.value)
    }

    /// The value of an unlocked account.
    pub fn get(&self, account: AccountId) -> Option<T>
    where
        T: Clone,
    {
        self.entries().get(&account).map(|entry| entry.value.clone())
    }

    /// A session's hold on the account; `None` if it is locked.
    pub fn lease(&self, account: AccountId) -> Option<Lease> {
        let entries = self.entries();
        let usage = Arc::clone(&entries.get(&account)?.usage);
        // Counted before the entries are let go, so that no removal of idle ones comes between.
        lock(&usage).sessions += 1;
        Some(Lease { account, usage, idle: Arc::clone(&self.shared.idle), ended: None })
    }

    /// How many sessions hold the account.
    pub fn sessions(&self, account: AccountId) -> usize {
        self.entries().get(&account).map_or(0, |entry| lock(&entry.usage).sessions)
    }

    /// Starts the grace time anew, for a use that is no session.
    pub fn touch(&self, account: AccountId, now: Instant) {
        if let Some(entry) = self.entries().get(&account) {
            let mut usage = lock(&entry.usage);
            usage.last_used = usage.last_used.max(now);
        }
    }

    /// Remembers a credential that has just opened the account; nothing if it is locked.
    pub fn remember(&self, account: AccountId, credential: &[u8]) {
        let hash = self.hash(account, credential);
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&account) else { return };
        if entry.recognises(&hash) {
            return;
        }
        if entry.remembered.len() == REMEMBERED {
            entry.remembered.pop_front();
        }
        entry.remembered.push_back(hash);
    }

    /// Whether the credential has opened the account since it was unlocked. Takes the same time
    /// whatever is remembered looks like.
    pub fn recognises(&self, account: AccountId, credential: &[u8]) -> bool {
        let hash = self.hash(account, credential);
        self.entries().get(&account).is_some_and(|entry| entry.recognises(&hash))
    }

    /// Forgets the account's credentials: one of them was changed or removed.
    pub fn forget_credentials(&self, account: AccountId) {
        if let Some(entry) = self.entries().get_mut(&account) {
            entry.remembered.clear();
        }
    }

    /// The accounts that no session has held for `grace`. A session may begin at any moment:
    /// [`Keyring::remove_expired`] asks once more.
    pub fn expired(&self, now: Instant, grace: Duration) -> Vec<AccountId> {
        let entries = self.entries();
        let expired = entries.iter().filter(|(_, entry)| entry.is_expired(now, grace));
        expired.map(|(account, _)| *account).collect()
    }

    /// Takes the account out if no session has held it for `grace`, in one step: no lease is
    /// given out in between.
    pub fn remove_expired(&self, account: AccountId, now: Instant, grace: Duration) -> Option<T> {
        let mut entries = self.entries();
        entries.get(&account).filter(|entry| entry.is_expired(now, grace))?;
        entries.remove(&account).map(|entry| entry.value)
    }

    /// Takes the account out, whoever holds it. Leases that are left do no harm.
    pub fn remove(&self, account: AccountId) -> Option<T> {
        let removed = self.entries().remove(&account);
        removed.map(|entry| entry.value)
    }

    /// All unlocked accounts, in no order.
    pub fn accounts(&self) -> Vec<AccountId> {
        self.entries().keys().copied().collect()
    }

    /// Waits until an account's last session has ended. Meant for one task, which then knows
    /// when to look for expired ones; an end that nobody waited for is not lost.
    pub async fn became_idle(&self) {
        self.shared.idle.notified().await;
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<AccountId, Entry<T>>> {
        lock(&self.shared.entries)
    }

    fn hash(&self, account: AccountId, credential: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(self.shared.hash_key.expose());
        hasher.update(&account.to_bytes()).update(credential);
        let mut hash = hasher.finalize();
        // Its state holds the end of the credential, and the key.
        hasher.zeroize();
        let bytes = Zeroizing::new(*hash.as_bytes());
        hash.zeroize();
        bytes
    }
}

impl<T> Entry<T> {
    fn recognises(&self, hash: &[u8; 32]) -> bool {
        let none = Choice::from(0);
        let found = self.remembered.iter().fold(none, |found, held| found | held.ct_eq(hash));
        found.into()
    }

    fn is_expired(&self, now: Instant, grace: Duration) -> bool {
        let usage = lock(&self.usage);
        usage.sessions == 0 && now.saturating_duration_since(usage.last_used) >= grace
    }
}

impl<T> Default for Keyring<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Keyring<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Keyring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unlocked = lock(&self.shared.entries).len();
        f.debug_struct("Keyring").field("unlocked", &unlocked).finish_non_exhaustive()
    }
}

impl Lease {
    /// The account that is held.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Ends the hold at a given moment, from which the grace time runs. (Dropping takes the
    /// moment of the drop.)
    pub fn end(mut self, now: Instant) {
        self.ended = Some(now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(Instant::now);
        let mut usage = lock(&self.usage);
        usage.sessions = usage.sessions.saturating_sub(1);
        usage.last_used = usage.last_used.max(now);
        if usage.sessions == 0 {
            self.idle.notify_one();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A panic elsewhere leaves these plain tables usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(300);

    fn unlocked() -> (Keyring<&'static str>, AccountId, Instant) {
        let (ring, account, now) = (Keyring::new(), AccountId::generate(), Instant::now());
        assert_eq!(ring.insert(account, "value", now), None);
        (ring, account, now)
    }

    #[test]
    fn put_in_and_taken_out() {
        let (ring, account, now) = unlocked();
        assert_eq!(ring.get(account), Some("value"));
        assert_eq!(ring.clone().accounts(), [account]);
        assert_eq!(ring.insert(account, "next", now), Some("value"));
        assert_eq!(ring.remove(account), Some("next"));
        assert_eq!((ring.get(account), ring.remove(account)), (None, None));
        assert!(ring.lease(account).is_none());
    }

    #[test]
    fn grace_begins_when_the_last_session_ends() {
        let (ring, account, now) = unlocked();
        let (first, second) = (ring.lease(account).unwrap(), ring.lease(account).unwrap());
        assert_eq!((ring.sessions(account), first.account()), (2, account));
        let late = now + 10 * GRACE;
        assert_eq!(ring.expired(late, GRACE), []);
        first.end(late);
        assert_eq!(ring.sessions(account), 1);
        assert_eq!(ring.expired(late + GRACE, GRACE), []);
        second.end(late + Duration::from_secs(1));
        assert_eq!(ring.expired(late + GRACE, GRACE), []);
        assert_eq!(ring.expired(late + GRACE + Duration::from_secs(1), GRACE), [account]);
    }

    #[test]
    fn an_entry_without_sessions_expires_too() {
        let (ring, account, now) = unlocked();
        assert_eq!(ring.expired(now + GRACE - Duration::from_millis(1), GRACE), []);
        assert_eq!(ring.expired(now + GRACE, GRACE), [account]);
        ring.touch(account, now + GRACE);
        assert_eq!(ring.expired(now + GRACE, GRACE), []);
        ring.touch(account, now);
        assert_eq!(ring.expired(now + GRACE, GRACE), [], "time does not run back");
        assert_eq!(ring.expired(now + 2 * GRACE, GRACE), [account]);
    }

    #[test]
    fn dropping_takes_the_moment_of_the_drop() {
        let (ring, account, now) = unlocked();
        let lease = ring.lease(account).unwrap();
        let before = Instant::now();
        drop(lease);
        assert_eq!(ring.sessions(account), 0);
        assert!(before >= now);
        assert_eq!(ring.expired(before + GRACE - Duration::from_nanos(1), GRACE), []);
        assert_eq!(ring.expired(Instant::now() + GRACE, GRACE), [account]);
    }

    #[test]
    fn a_session_that_begins_meanwhile_is_not_cut_off() {
        let (ring, account, now) = unlocked();
        let late = now + GRACE;
        assert_eq!(ring.expired(late, GRACE), [account]);
        let lease = ring.lease(account).unwrap();
        assert_eq!(ring.remove_expired(account, late, GRACE), None);
        assert_eq!(ring.get(account), Some("value"));
        lease.end(late);
        assert_eq!(ring.remove_expired(account, late, GRACE), None);
        assert_eq!(ring.remove_expired(account, late + GRACE, GRACE), Some("value"));
        assert_eq!(ring.get(account), None);
    }

    #[test]
    fn a_lease_of_a_removed_entry_does_not_count_for_the_next() {
        let (ring, account, now) = unlocked();
        let old = ring.lease(account).unwrap();
        ring.remove(account);
        ring.insert(account, "again", now);
        let new = ring.lease(account).unwrap();
        drop(old);
        assert_eq!(ring.sessions(account), 1);
        assert_eq!(ring.expired(now + 9 * GRACE, GRACE), []);
        drop(new);
        assert_eq!(ring.sessions(account), 0);
    }

    #[test]
    fn credentials_are_remembered_for_the_entry() {
        let (ring, account, now) = unlocked();
        let other = AccountId::generate();
        assert!(!ring.recognises(account, b"secret"));
        ring.remember(account, b"secret");
        assert!(ring.recognises(account, b"secret"));
        assert!(!ring.recognises(account, b"Secret") && !ring.recognises(account, b""));
        ring.remember(other, b"secret");
        assert!(!ring.recognises(other, b"secret"), "a locked account remembers nothing");
        ring.insert(other, "other", now);
        assert!(!ring.recognises(other, b"secret"));

        ring.forget_credentials(account);
        assert!(!ring.recognises(account, b"secret"));
        assert_eq!(ring.get(account), Some("value"));
        ring.remember(account, b"secret");
        ring.remove(account);
        ring.insert(account, "again", now);
        assert!(!ring.recognises(account, b"secret"), "they die with the entry");
    }

    #[test]
    fn the_oldest_credential_goes_first() {
        let (ring, account, _) = unlocked();
        for number in 0..REMEMBERED as u8 {
            ring.remember(account, &[number]);
            ring.remember(account, &[number]);
        }
        assert!((0..REMEMBERED as u8).all(|number| ring.recognises(account, &[number])));
        ring.remember(account, b"new");
        assert!(!ring.recognises(account, &[0]));
        assert!(ring.recognises(account, &[1]) && ring.recognises(account, b"new"));
    }

    #[test]
    fn hashes_are_of_this_process_and_account() {
        let (one, two) = (Keyring::<()>::new(), Keyring::<()>::new());
        let (account, other) = (AccountId::generate(), AccountId::generate());
        let hash = one.hash(account, b"x");
        assert_eq!(hash, one.clone().hash(account, b"x"));
        assert_ne!(hash, two.hash(account, b"x"));
        assert_ne!(hash, one.hash(other, b"x"));
    }

    #[tokio::test]
    async fn the_end_of_the_last_session_is_told() {
        let (ring, account, _) = unlocked();
        let (first, second) = (ring.lease(account).unwrap(), ring.lease(account).unwrap());
        drop(first);
        let soon = tokio::time::timeout(Duration::from_millis(5), ring.became_idle());
        soon.await.expect_err("one session is left");
        drop(second);
        ring.became_idle().await;
    }

    #[test]
    fn sessions_on_many_threads_are_counted() {
        let (ring, account, now) = unlocked();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let lease = ring.lease(account).unwrap();
                        assert!(ring.sessions(account) >= 1);
                        assert_eq!(ring.remove_expired(account, now + 9 * GRACE, GRACE), None);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(ring.sessions(account), 0);
    }

    #[test]
    fn debug_says_nothing() {
        let (ring, account, _) = unlocked();
        ring.remember(account, b"secret");
        assert_eq!(format!("{ring:?}"), "Keyring { unlocked: 1, .. }");
        let lease = ring.lease(account).unwrap();
        assert_eq!(format!("{lease:?}"), format!("Lease {{ account: {account:?}, .. }}"));
    }
}
