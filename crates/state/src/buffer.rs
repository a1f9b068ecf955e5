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

impl Notes {
    fn len(&self) -> usize {
        self.events.len() + self.tls.len() + self.tls_results.len() + self.dmarc_results.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes notes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    notes: Mutex<Notes>,
    /// There is something.
    pub(crate) work: Notify,
    /// There is plenty.
    pub(crate) plenty: Notify,
    dropped: AtomicU64,
}

impl Buffer {
    /// Adds to the notes, if there is room.
    pub(crate) fn add(&self, add: impl FnOnce(&mut Notes)) {
        let mut notes = self.lock();
        if notes.len() >= CAPACITY {
            drop(notes);
            // Told when it begins and then by order of magnitude, not once for each note.
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "state.db cannot keep up: traces and counts are lost");
            }
            return;
        }
        let before = notes.len();
        add(&mut notes);
        let after = notes.len();
        drop(notes);
        if before == 0 {
            self.work.notify_one();
        }
        if before < PLENTY && after >= PLENTY {
            self.plenty.notify_one();
        }
    }

    /// Takes what is there.
    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut *self.lock())
    }

    /// What is noted of a domain's TLS and not written yet.
    pub(crate) fn seen(&self, domain: &str) -> Option<Seen> {
        self.lock().tls.get(domain).copied()
    }

    /// Notes that found no room since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
