//! The change feed: who waits for changes of an account hears of them, however many sessions there are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::change_jobs::Moved;
use crate::types::{FolderId, ModSeq};

/// How many incidents are remembered for those who did not ask yet.
const INCIDENTS: usize = 256;

/// Something that neither a folder's modification sequence nor the list of folders shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incident {
    /// INBOX was renamed: its messages go to this new folder, and INBOX stays.
    InboxRenamed {
        /// The new folder's name.
        to: String,
    },
    /// Annotations were set or removed.
    Annotated {
        /// Of which folder; `None` for the account.
        folder: Option<FolderId>,
        /// The entries, as they were named.
        entries: Vec<String>,
    },
}

/// What happened in an account after some moment; see [`Handle::happened`](crate::Handle::happened).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Happened {
    /// Ask after this one next time.
    pub to: u64,
    /// Folders whose messages changed, in no order.
    pub moved: Vec<FolderId>,
    /// Whether names, uses or subscriptions of folders changed.
    pub listed: bool,
    /// What else happened, in its order; `None` if there was more than is remembered.
    pub incidents: Option<Vec<Incident>>,
}

/// When what happened last, as the pulse counts.
#[derive(Debug, Default)]
struct Recent {
    moved: HashMap<FolderId, u64>,
    listed: u64,
    incidents: VecDeque<(u64, Incident)>,
    /// The last incident that was forgotten.
    forgotten: u64,
}

impl Recent {
    fn push(&mut self, at: u64, incident: Incident) {
        if self.incidents.len() == INCIDENTS {
            self.forgotten = self.incidents.pop_front().map_or(self.forgotten, |(at, _)| at);
        }
        self.incidents.push_back((at, incident));
    }
}

/// Watchers of the folders of one account, of the list of folders, and of everything.
#[derive(Debug)]
pub(crate) struct Feed {
    folders: Mutex<HashMap<FolderId, watch::Sender<ModSeq>>>,
    list: watch::Sender<u64>,
    /// Counts whatever happens, while anybody listens.
    pulse: watch::Sender<u64>,
    recent: Mutex<Recent>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            folders: Mutex::default(),
            list: watch::Sender::new(0),
            pulse: watch::Sender::new(0),
            recent: Mutex::default(),
        }
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

    /// Counts everything that happens in the account from now on.
    pub(crate) fn pulse(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// What happened after that count of the pulse.
    pub(crate) fn happened(&self, after: u64) -> Happened {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = recent.moved.iter().filter(|(_, at)| **at > after).map(|(folder, _)| *folder);
        let incidents = recent.incidents.iter().filter(|(at, _)| *at > after);
        Happened {
            to: *self.pulse.borrow(),
            moved: moved.collect(),
            listed: recent.listed > after,
            incidents: (recent.forgotten <= after)
                .then(|| incidents.map(|(_, incident)| incident.clone()).collect()),
        }
    }

    /// Remembers something under the next count. Without listeners there is nothing to remember.
    fn note(&self, put: impl FnOnce(&mut Recent, u64)) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pulse.receiver_count() == 0 {
            *recent = Recent::default();
            return;
        }
        let next = *self.pulse.borrow() + 1;
        put(&mut recent, next);
        self.pulse.send_replace(next);
    }

    /// Tells those who listen to everything.
    pub(crate) fn incident(&self, incident: Incident) {
        self.note(|recent, at| recent.push(at, incident));
    }

    /// INBOX was renamed: whoever hears of the new folder hears how it came about.
    pub(crate) fn inbox_renamed(&self, to: String) {
        self.list.send_modify(|count| *count += 1);
        self.note(|recent, at| {
            recent.push(at, Incident::InboxRenamed { to });
            recent.listed = at;
        });
    }

    /// Tells those who watch the folder. Numbers that come late, out of order, are told too: never too few.
    pub(crate) fn moved(&self, moved: Moved) {
        self.tell_watchers(moved);
        self.note(|recent, at| {
            recent.moved.insert(moved.folder, at);
        });
    }

    fn tell_watchers(&self, moved: Moved) {
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
        // Nobody asks what became of its messages, and no other folder will have its number.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.moved.remove(&folder);
    }

    /// The account is locked: all channels of folders close.
    pub(crate) fn close(&self) {
        self.folders().clear();
    }

    pub(crate) fn list_changed(&self) {
        self.list.send_modify(|count| *count += 1);
        self.note(|recent, at| recent.listed = at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(folder: i64) -> Moved {
        Moved { folder: FolderId(folder), modseq: ModSeq(1) }
    }

    fn annotated(entry: &str) -> Incident {
        Incident::Annotated { folder: None, entries: vec![entry.to_owned()] }
    }

    #[test]
    fn listeners_hear_of_everything_once() {
        let feed = Feed::default();
        feed.moved(moved(1));
        let pulse = feed.pulse();
        assert_eq!(feed.happened(*pulse.borrow()).moved, []);
        feed.moved(moved(2));
        feed.moved(moved(2));
        feed.incident(annotated("a"));
        assert!(pulse.has_changed().unwrap());
        let first = feed.happened(0);
        assert_eq!(
            (first.to, first.moved.as_slice(), first.listed),
            (3, &[FolderId(2)][..], false)
        );
        assert_eq!(first.incidents, Some(vec![annotated("a")]));
        feed.list_changed();
        let second = feed.happened(first.to);
        assert!(second.listed && second.moved.is_empty());
        assert_eq!(second.incidents, Some(Vec::new()));
        feed.inbox_renamed("x".to_owned());
        let third = feed.happened(second.to);
        let renamed = Incident::InboxRenamed { to: "x".to_owned() };
        assert_eq!((third.to, third.listed, third.incidents), (5, true, Some(vec![renamed])));
    }

    #[test]
    fn too_many_incidents_are_said_to_be_too_many() {
        let feed = Feed::default();
        let _pulse = feed.pulse();
        for number in 0..=INCIDENTS {
            feed.incident(annotated(&number.to_string()));
        }
        assert_eq!(feed.happened(0).incidents, None);
        assert_eq!(feed.happened(1).incidents.map(|list| list.len()), Some(INCIDENTS));
    }

    #[test]
    fn without_listeners_nothing_is_kept() {
        let feed = Feed::default();
        drop(feed.pulse());
        feed.moved(moved(1));
        feed.incident(annotated("a"));
        let happened = feed.happened(0);
        assert!(happened.moved.is_empty() && happened.to == 0);
    }

    #[test]
    fn folders_that_are_gone_do_not_fill_the_memory() {
        let feed = Feed::default();
        let _pulse = feed.pulse();
        for number in 0..1000 {
            feed.moved(moved(number));
            feed.gone(FolderId(number));
        }
        assert_eq!(feed.recent.lock().unwrap().moved.len(), 0);
    }
}
