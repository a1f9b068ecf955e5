//! Messages that were accepted, but whose client may not have read the 250.
//!
//! A client that did not will bring the message again (RFC 5321 §4.5.3.2.6 speaks of the duplicates that follow). It is
//! recognised by a keyed hash of client, envelope and body, which the caller makes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::error::StateError;
use crate::state::{State, time};

/// As long as a retry is recognised.
const MEMORY: SignedDuration = SignedDuration::from_hours(6);
/// Hashes that are held at most; the next are not remembered, which costs a duplicate.
const MOST: usize = 100_000;

/// The hashes, and when their messages were accepted.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    at: HashMap<[u8; 32], Timestamp>,
    /// Not written yet.
    added: Vec<([u8; 32], Timestamp)>,
    taken: Vec<[u8; 32]>,
}

/// What is to be written.
pub(crate) struct Changes {
    added: Vec<([u8; 32], Timestamp)>,
    taken: Vec<[u8; 32]>,
}

impl State {
    /// Remembers that the message with this hash was accepted without anybody having read the reply, as far as we
    /// know. Never waits.
    pub fn remember_unconfirmed(&self, hash: [u8; 32], at: Timestamp) {
        let mut held = self.unconfirmed.lock();
        if held.at.len() >= MOST {
            held.at.retain(|_, since| at.duration_since(*since) < MEMORY);
        }
        if held.at.len() < MOST {
            held.at.insert(hash, at);
            held.taken.retain(|taken| *taken != hash);
            held.added.push((hash, at));
            drop(held);
            self.buffer.work.notify_one();
        }
    }

    /// Whether the message with this hash was accepted within the last 6 hours and not confirmed. Says yes once.
    pub fn take_unconfirmed(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        let mut held = self.unconfirmed.lock();
        let Some(at) = held.at.remove(hash) else { return false };
        held.taken.push(*hash);
        drop(held);
        self.buffer.work.notify_one();
        now.duration_since(at) < MEMORY
    }
}

impl Unconfirmed {
    /// Reads them.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StateError> {
        let mut statement = connection.prepare("SELECT hash, at FROM unconfirmed")?;
        let mut rows = statement.query([])?;
        let mut held = Held::default();
        while let Some(row) = rows.next()? {
            held.at.insert(row.get(0)?, time(row.get(1)?)?);
        }
        Ok(Self { held: Mutex::new(held) })
    }

    pub(crate) fn take_changes(&self) -> Option<Changes> {
        let mut held = self.lock();
        if held.added.is_empty() && held.taken.is_empty() {
            return None;
        }
        let (added, taken) = (std::mem::take(&mut held.added), std::mem::take(&mut held.taken));
        Some(Changes { added, taken })
    }

    /// Takes changes back that could not be written, as far as they still hold.
    pub(crate) fn put_back(&self, changes: &Changes) {
        let mut held = self.lock();
        let Held { at, added, taken } = &mut *held;
        added.extend(changes.added.iter().filter(|(hash, _)| at.contains_key(hash)));
        taken.extend(changes.taken.iter().filter(|hash| !at.contains_key(*hash)));
    }

    /// Forgets those that are too old.
    pub(crate) fn forget(&self, now: Timestamp) {
        self.lock().at.retain(|_, at| now.duration_since(*at) < MEMORY);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what changed. What was taken and then came again is only among the added.
pub(crate) fn write(connection: &Connection, changes: &Changes) -> Result<(), StateError> {
    for (hash, at) in &changes.added {
        let sql = "INSERT OR REPLACE INTO unconfirmed (hash, at) VALUES (?, ?)";
        connection.prepare_cached(sql)?.execute(params![hash, at.as_microsecond()])?;
    }
    for hash in &changes.taken {
        connection.prepare_cached("DELETE FROM unconfirmed WHERE hash = ?")?.execute([hash])?;
    }
    Ok(())
}

/// Deletes one slice of what is too old; the number of rows that went.
pub(crate) fn prune(
    connection: &Connection,
    now: Timestamp,
    most: u32,
) -> Result<usize, StateError> {
    let before = now.checked_sub(MEMORY).unwrap_or(Timestamp::MIN);
    let sql = "DELETE FROM unconfirmed WHERE hash IN \
               (SELECT hash FROM unconfirmed WHERE at <= ? LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute(params![before.as_microsecond(), most])?)
}
