//! The account keys of unlocked mailboxes: what commands need that change credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use letterlock_mailbox::{Event, Handle};
use letterlock_vault::{AccountId, AccountKey};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Each key stands with the handle that it unlocked, and goes when that is closed.
#[derive(Default)]
pub(crate) struct Keys(Mutex<HashMap<AccountId, (Handle, AccountKey)>>);

impl Keys {
    /// The key of an account that is unlocked.
    pub(crate) fn get(&self, account: AccountId) -> Option<AccountKey> {
        let map = self.map();
        let (handle, key) = map.get(&account)?;
        (!handle.is_closed()).then(|| key.clone())
    }

    /// Keeps a key, unless its mailbox was locked meanwhile: a handle is closed before its
    /// [`Event::Locked`] is told, so no key comes in behind the event that should remove it.
    pub(crate) fn insert(&self, handle: &Handle, key: &AccountKey) {
        let mut map = self.map();
        if !handle.is_closed() {
            map.insert(handle.account(), (handle.clone(), key.clone()));
        }
    }

    /// Drops keys when their mailboxes are locked, until there are no more mailboxes.
    pub(crate) async fn follow(self: Arc<Self>, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                // Several events may have been missed: all keys are looked at.
                Ok(Event::Locked(_)) | Err(RecvError::Lagged(_)) => {
                    self.map().retain(|_, (handle, _)| !handle.is_closed());
                }
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// A poisoned lock is taken as it is: each change to the map is a single step.
    fn map(&self) -> MutexGuard<'_, HashMap<AccountId, (Handle, AccountKey)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
