//! Bulk jobs: imports and the like, which write much at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Database;
use super::connection::Tuning;
use super::executor::{Inner, State};
use super::job::Job;

/// While it is held, a database is set for a bulk job: SQLite's cache is 16 MiB, and nothing
/// of it is written before a transaction commits. So pages that one transaction changes
/// again and again are written once. Dropping it gives the memory back.
#[must_use = "the bulk job ends when it is dropped"]
pub struct Bulk(Arc<Inner>);

impl Database {
    /// Sets the database for a bulk job. Transactions should stay well below 16 MiB: what
    /// one of them changes is in memory until it commits.
    pub fn bulk(&self) -> Bulk {
        let inner = Arc::clone(&self.0.0);
        inner.bulk_jobs.fetch_add(1, Ordering::Relaxed);
        inner.submit(Job::Tune);
        Bulk(inner)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.0.bulk_jobs.fetch_sub(1, Ordering::Relaxed);
        self.0.submit(Job::Tune);
    }
}

impl Inner {
    /// Sets the cache for the jobs that there are. What is not open is set when it opens.
    pub(super) fn tune(&self, state: &State) {
        let Some(live) = &state.live else { return };
        let tuning = match self.bulk_jobs.load(Ordering::Relaxed) {
            0 => Tuning::Usual,
            _ => Tuning::Bulk,
        };
        if let Err(error) = live.tune(&self.spec(), tuning) {
            tracing::warn!(file = %self.path().display(), %error, "cache not set");
        }
    }
}
