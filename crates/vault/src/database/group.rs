//! Writes: one transaction for all that wait, and one sync for all that want it.

use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};

use crate::pool::lock;
use crate::vfs::fault;

use super::VaultError;
use super::connection::Live;
use super::executor::{Access, Inner, MAX_SYNC_FAILURES, State};
use super::job::{InTransaction, Job, Ran};

/// Jobs in one transaction at most.
const MAX_JOBS: usize = 256;
/// No further job joins after this time, so that readers get their turn.
const MAX_TIME: Duration = Duration::from_millis(10);

impl Inner {
    /// Runs `first` and the writes that wait directly behind it in one transaction.
    ///
    /// A group that starts with a durable job takes others in and answers all of them
    /// after the sync: they would have had to wait for it anyway. One that starts with an
    /// unsynced job takes no durable ones in, and waits for no disk.
    pub(super) fn group(&self, state: &mut State, first: Box<dyn InTransaction>, durable: bool) {
        if state.sync_failures >= MAX_SYNC_FAILURES {
            return first.finish(Err(VaultError::SyncFailed));
        }
        if self.access == Access::ReadOnly {
            return first.finish(Err(VaultError::ReadOnly));
        }
        let live = match self.opened(state) {
            Ok(live) => live,
            Err(error) => return first.finish(Err(error)),
        };
        let before = live.file.position();
        let mut kept = Vec::new();
        let outcome = match self.transact(live, first, durable, &mut kept) {
            Ok(()) if kept.is_empty() => Ok(()),
            Ok(()) if durable || live.marked_clean() => live.sync_group(),
            Ok(()) => Ok(()),
            Err(error) => {
                live.file.rewind(before);
                Err(error)
            }
        };
        // SQLite syncs too, by itself: the header of a log that it starts anew.
        let failed = live.file.sync_failures() > 0;
        match &outcome {
            Err(error) if failed => {
                tracing::error!(file = %self.path().display(), %error, "sync failed");
                self.recover(state, Some(before));
            }
            Ok(()) if durable => state.sync_failures = 0,
            _ => {}
        }
        for job in kept {
            job.finish(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(error.again()),
            });
        }
        state.last_used = Instant::now();
        self.look_ahead(state);
    }

    /// Runs the jobs and commits. Those that went well are in `kept`, and the caller
    /// answers them; the others are answered here.
    fn transact(
        &self,
        live: &Live,
        first: Box<dyn InTransaction>,
        durable: bool,
        kept: &mut Vec<Box<dyn InTransaction>>,
    ) -> Result<(), VaultError> {
        let tx = match begin(live) {
            Ok(tx) => tx,
            Err(error) => {
                first.finish(Err(error.again()));
                return Err(error);
            }
        };
        let started = Instant::now();
        let mut next = Some(first);
        for taken in 1.. {
            let Some(job) = next.take() else { break };
            self.run_one(&tx, job, kept)?;
            if taken < MAX_JOBS && started.elapsed() < MAX_TIME {
                next = self.next_write(durable);
            }
        }
        if kept.is_empty() {
            return Ok(tx.rollback()?);
        }
        if live.marked_clean() {
            live.unmark()?;
        }
        Ok(tx.commit()?)
    }

    /// Runs one job of a group. A failure of its own is answered and undone here; an
    /// error means that the whole transaction is lost.
    fn run_one(
        &self,
        tx: &Transaction<'_>,
        mut job: Box<dyn InTransaction>,
        kept: &mut Vec<Box<dyn InTransaction>>,
    ) -> Result<(), VaultError> {
        fault::begin(&self.path());
        // The first needs no savepoint: if it fails, there is nothing to keep.
        let alone = kept.is_empty();
        let begun = if alone { Ok(()) } else { tx.execute_batch("SAVEPOINT job") };
        let settled = begun.map_err(VaultError::from).and_then(|()| {
            let ran = job.run(tx);
            if tx.is_autocommit() {
                // SQLite undid everything (a full disk does that), or the job meddled.
                return Err(VaultError::from_fault().unwrap_or(VaultError::RolledBack));
            }
            let after = match (ran, alone) {
                (Ran::Done | Ran::More, true) => "",
                (Ran::Done | Ran::More, false) => "RELEASE job",
                (Ran::Failed, true) => "ROLLBACK; BEGIN IMMEDIATE",
                (Ran::Failed, false) => "ROLLBACK TO job; RELEASE job",
            };
            tx.execute_batch(after)?;
            Ok(ran)
        });
        match settled {
            Ok(Ran::Failed) => job.finish(Ok(())),
            Ok(Ran::Done | Ran::More) => kept.push(job),
            Err(error) => {
                job.finish(Err(error.again()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// The job at the head of the queue, if it may join a group.
    fn next_write(&self, durable: bool) -> Option<Box<dyn InTransaction>> {
        let mut queue = lock(&self.queue);
        match queue.jobs.pop_front()? {
            Job::Write { job, durable: also } if durable || !also => Some(job),
            other => {
                queue.jobs.push_front(other);
                None
            }
        }
    }
}

/// Unchecked only in that it takes a shared reference: no other transaction is open.
fn begin(live: &Live) -> Result<Transaction<'_>, VaultError> {
    Ok(Transaction::new_unchecked(&live.conn, TransactionBehavior::Immediate)?)
}
