//! What waits to be written: bounded, so that a slow disk costs traces and not memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use letterlock_vault::DeliveryId;
use tokio::sync::Notify;

use crate::event::Event;
use crate::policy::TlsLevel;

/// Notes that wait at most; at some 200 octets each a few MiB.
pub(crate) const CAPACITY: usize = 20_000;
/// From so many on they are written at once: under load they have gathered enough.
const PLENTY: usize = CAPACITY / 4;

/// The key of a count: day, domain, and the facts in their stored form.
pub(crate) type CountKey = (i64, String, Vec<u8>);

/// What was noted since the last writing.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) events: Vec<(DeliveryId, Timestamp, Event)>,
    /// The newest note of a domain.
    pub(crate) tls: HashMap<String, Seen>,
    pub(crate) tls_results: HashMap<CountKey, i64>,
    pub(crate) dmarc_results: HashMap<CountKey, i64>,
}

/// TLS as it was seen with a domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) level: TlsLevel,
    pub(crate) at: Timestamp,
}

impl Seen {
    /// Both. DANE is not forgotten over a weaker connection of the same second.
    fn and(self, other: Self) -> Self {
        Self { level: self.level.max(other.level), at: self.at.max(other.at) }
    }
}

impl Notes {
    /// Notes that a domain had TLS.
    pub(crate) fn add_tls(&mut self, domain: String, seen: Seen) {
        let kept = self.tls.entry(domain).or_insert(seen);
        *kept = kept.and(seen);
    }

    fn len(&self) -> usize {
        self.events.len() + self.tls.len() + self.tls_results.len() + self.dmarc_results.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug, Default)]
struct Held {
    notes: Notes,
    /// What TLS domains had, as it was taken to be written and may not be in the file yet.
    writing: HashMap<String, Seen>,
}

/// Takes notes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    held: Mutex<Held>,
    /// There is something.
    pub(crate) work: Notify,
    /// There is plenty.
    pub(crate) plenty: Notify,
    dropped: AtomicU64,
}

impl Buffer {
    /// Adds to the notes, if there is room.
    pub(crate) fn add(&self, add: impl FnOnce(&mut Notes)) {
        let mut held = self.lock();
        if held.notes.len() >= CAPACITY {
            drop(held);
            // Told when it begins and then by order of magnitude, not once for each note.
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "state.db cannot keep up: traces and counts are lost");
            }
            return;
        }
        let before = held.notes.len();
        add(&mut held.notes);
        let after = held.notes.len();
        drop(held);
        if before == 0 {
            self.work.notify_one();
        }
        if before < PLENTY && after >= PLENTY {
            self.plenty.notify_one();
        }
    }

    /// Takes what is there. What TLS domains had stays to be seen until it is [written](Buffer::written): a domain
    /// must not look for a moment as if it had none.
    pub(crate) fn take(&self) -> Notes {
        let mut held = self.lock();
        let notes = std::mem::take(&mut held.notes);
        held.writing.clone_from(&notes.tls);
        notes
    }

    /// What TLS the domains had is in the file now; or is not, and waits for the next writing.
    pub(crate) fn written(&self, is_written: bool) {
        let mut held = self.lock();
        let back = std::mem::take(&mut held.writing);
        if is_written || back.is_empty() {
            return;
        }
        for (domain, seen) in back {
            held.notes.add_tls(domain, seen);
        }
        drop(held);
        self.work.notify_one();
    }

    /// What is noted of a domain's TLS and not written yet.
    pub(crate) fn seen(&self, domain: &str) -> Option<Seen> {
        let held = self.lock();
        match (held.notes.tls.get(domain), held.writing.get(domain)) {
            (Some(one), Some(other)) => Some(one.and(*other)),
            (one, other) => one.or(other).copied(),
        }
    }

    /// Notes that found no room since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
