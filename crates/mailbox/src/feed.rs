//! The change feed: who waits for changes of an account hears of them, however many sessions there are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::change_jobs::Moved;
use crate::types::{FolderId, ModSeq};

/// Watchers of the folders of one account, and of the list of folders.
#[derive(Debug)]
pub(crate) struct Feed {
    folders: Mutex<HashMap<FolderId, watch::Sender<ModSeq>>>,
    list: watch::Sender<u64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { folders: Mutex::default(), list: watch::Sender::new(0) }
    }
}

impl Feed {
    fn folders(&self) -> MutexGuard<'_, HashMap<FolderId, watch::Sender<ModSeq>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a folder. What happened before is not seen: ask for the changes once after this.
    pub(crate) fn folder(&self, folder: FolderId) -> watch::Receiver<ModSeq> {
        self.folders().entry(folder).or_insert_with(|| watch::Sender::new(ModSeq(0))).subscribe()
    }

    /// Watches the list of folders: names, uses, subscriptions.
    pub(crate) fn list(&self) -> watch::Receiver<u64> {
        self.list.subscribe()
    }

    /// Tells those who watch the folder. Numbers that come late, out of order, are told too: never too few.
    pub(crate) fn moved(&self, moved: Moved) {
        let mut folders = self.folders();
        let Some(sender) = folders.get(&moved.folder) else { return };
        if sender.receiver_count() == 0 {
            folders.remove(&moved.folder);
        } else {
            sender.send_modify(|modseq| *modseq = moved.modseq.max(*modseq));
        }
    }

    /// Tells those who watch a folder that it is gone.
    pub(crate) fn gone(&self, folder: FolderId) {
        self.folders().remove(&folder);
    }

    /// The account is locked: all channels of folders close.
    pub(crate) fn close(&self) {
        self.folders().clear();
    }

    pub(crate) fn list_changed(&self) {
        self.list.send_modify(|count| *count += 1);
    }
}
