//! Rotation: copying a database into a new file under other keys, while it is in use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::{Pool, lock};
use crate::storage::OpenMode;
use crate::vfs::copy::{self, Copying, Extent};

use super::connection::Live;
use super::executor::{Access, Flow, Inner, Life, MAX_SYNC_FAILURES, State};
use super::job::{Job, Reply};
use super::{Database, Spec, VaultError};

/// How long a slice copies.
const SLICE: Duration = Duration::from_millis(5);
/// Pages that are left for the last step, in which nobody else has a turn.
const MARGIN: u32 = 64;
/// Pages after which what was copied is synced, outside of the database's turns, so that
/// little is left for the last step (32 MiB).
const SYNC_EVERY: u32 = 8_192;
/// Unsynced pages that the last step may be left with (4 MiB). With none allowed, a database
/// that grows all the time would be synced again and again and never come to its last step.
const SYNC_LAST: u32 = 1_024;

/// What a queued step of a copy does.
pub(super) enum CopyStep {
    /// Deletes what is at the new place, and prepares.
    Begin(Arc<Spec>, Reply<(), VaultError>),
    /// Copies for the length of a slice.
    Advance(Reply<Extent, VaultError>),
    /// Copies the rest, and freezes the database.
    Complete(Reply<Frozen, VaultError>),
    /// Drops this copy and deletes what there is of it.
    Cancel(Arc<Spec>),
}

/// A database that was copied and waits for a decision: its jobs stand still, and both
/// files hold the same, durably.
///
/// The holder makes known elsewhere that the new file counts from now on, and then says
/// [`Frozen::switch`] or [`Frozen::close`]. Dropping it means that the old file goes on to
/// count, and thaws; so where it is *not known* whether the flip was committed, look before
/// dropping. The new file stays in any case: deleting it is [`Pool::remove`]'s work, or the
/// next copy's to the same place.
///
/// Jobs of this database, its closing too, are answered only after the decision: who
/// holds this and waits for one waits for ever. The old file is closed already, as if
/// cleanly ([`Opened::clean`](super::Opened::clean)); with the next job the one that counts
/// is opened, with its hooks.
#[must_use = "dropping it thaws the old file"]
pub struct Frozen {
    inner: Option<Arc<Inner>>,
    new: Arc<Spec>,
}

impl Database {
    /// Copies the database into a new file as `new` describes it (another path, other keys;
    /// the same schema), in slices of a few milliseconds with other jobs in between. What is
    /// written meanwhile is copied too. The last step runs the closing hook, copies what is
    /// left, syncs both files and the folder, and answers with the database [`Frozen`].
    ///
    /// Whatever is at the new path is deleted first. A crash at any moment leaves the old
    /// file whole; of the new one nothing, or a file with `.new` at the end of its name, or
    /// (from the last step on) a complete file: the next attempt deletes all of them.
    ///
    /// `progress` hears how many pages of how many are copied; a rollback of a large
    /// transaction may set it back to the beginning. The copy ends early if the future is
    /// dropped.
    ///
    /// # Errors
    /// [`VaultError::InUse`] if the new file is open or the old one; else what failed in
    /// reading or writing, or [`VaultError::RolledBack`] if the connection was lost
    /// meanwhile (a failed sync). The database goes on as it was.
    pub async fn copy_to(
        &self,
        mut new: Spec,
        mut progress: impl FnMut(u32, u32) + Send,
    ) -> Result<Frozen, VaultError> {
        new.path = std::path::absolute(&new.path)?;
        let new = Arc::new(new);
        let target = Arc::clone(&new);
        let unfinished = Unfinished { database: Some(self), new: &new };
        self.ask(|reply| Job::Copy(CopyStep::Begin(target, reply))).await?;
        let mut synced = 0;
        loop {
            let extent = self.run(|reply| Job::Copy(CopyStep::Advance(reply))).await?;
            let done = extent.total.saturating_sub(extent.remaining);
            progress(done, extent.total);
            // Set back to the beginning: what was synced is written again.
            synced = done.min(synced);
            let last = extent.remaining <= MARGIN;
            let limit = if last { SYNC_LAST } else { SYNC_EVERY };
            if done - synced > limit {
                self.sync_copy(&new.path).await?;
                synced = done;
            } else if last {
                break;
            }
        }
        let frozen = self.run(|reply| Job::Copy(CopyStep::Complete(reply))).await?;
        unfinished.disarm();
        Ok(frozen)
    }

    /// Syncs what was copied so far, on a thread that may block.
    async fn sync_copy(&self, path: &Path) -> Result<(), VaultError> {
        let storage = Arc::clone(self.0.0.pool.storage());
        let path = copy::unfinished(path);
        let sync = move || storage.open(&path, OpenMode::Existing)?.sync();
        match tokio::task::spawn_blocking(sync).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(VaultError::Panicked),
        }
    }
}

impl Pool {
    /// Deletes the database at `path` with its log and whatever a copy left of it, durably;
    /// fine if there is none.
    ///
    /// # Errors
    /// [`VaultError::InUse`] if it is open; else what the operating system says.
    pub async fn remove(&self, path: &Path) -> Result<(), VaultError> {
        let storage = Arc::clone(self.storage());
        let path = std::path::absolute(path)?;
        let removal = move || copy::remove(storage.as_ref(), &path);
        tokio::task::spawn_blocking(removal).await.unwrap_or(Err(VaultError::Panicked))
    }
}

/// Takes a copy back that its caller gave up.
struct Unfinished<'a> {
    database: Option<&'a Database>,
    new: &'a Arc<Spec>,
}

impl Unfinished<'_> {
    fn disarm(mut self) {
        self.database = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(database) = self.database {
            database.0.0.submit(Job::Copy(CopyStep::Cancel(Arc::clone(self.new))));
        }
    }
}

impl Frozen {
    /// The new file counts: this database's handles go on with it, waiting jobs first. The
    /// old file is closed and can be [removed](Pool::remove).
    pub fn switch(mut self) {
        if let Some(inner) = self.inner.take() {
            // One that was closed for good meanwhile has let go of its keys, for ever.
            if lock(&inner.queue).life != Life::Closed {
                inner.set_spec(Arc::clone(&self.new));
            }
            inner.thaw();
        }
    }

    /// The new file counts, for somebody else to open: waiting jobs and later ones are
    /// answered with [`VaultError::Closed`]. The old file is closed and can be
    /// [removed](Pool::remove).
    pub fn close(mut self) {
        if let Some(inner) = self.inner.take() {
            lock(&inner.queue).life = Life::Closed;
            inner.forget_keys();
            inner.thaw();
        }
    }

    /// The new file.
    pub fn path(&self) -> &Path {
        &self.new.path
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            inner.thaw();
        }
    }
}

impl Inner {
    pub(super) fn copy(&self, state: &mut State, step: CopyStep) {
        match step {
            CopyStep::Begin(new, reply) => reply.send(self.begin_copy(state, &new)),
            CopyStep::Advance(reply) => reply.send(advance(state)),
            CopyStep::Complete(reply) => {
                // The answer holds the guard: if nobody is there to take it, it thaws.
                reply.send(self.complete_copy(state));
            }
            CopyStep::Cancel(new) => self.cancel_copy(state, &new),
        }
    }

    fn begin_copy(&self, state: &mut State, new: &Arc<Spec>) -> Result<(), VaultError> {
        if state.sync_failures >= MAX_SYNC_FAILURES {
            return Err(VaultError::SyncFailed);
        }
        if self.access == Access::ReadOnly {
            return Err(VaultError::ReadOnly);
        }
        if new.path == self.path() {
            return Err(VaultError::InUse { file: new.path.clone() });
        }
        let live = self.opened(state)?;
        if live.copying.is_some() {
            return Err(VaultError::InUse { file: copy::unfinished(&new.path) });
        }
        let storage = self.pool.storage();
        let copying = Copying::begin(&live.conn, storage, new)?;
        live.copying = Some(copying);
        Ok(())
    }

    /// The last step. From the closing hook on, the connection is not used any more, as
    /// after a closing; whichever file counts is opened anew.
    fn complete_copy(&self, state: &mut State) -> Result<Frozen, VaultError> {
        let Some(live) = state.live.as_mut() else { return Err(VaultError::RolledBack) };
        if live.copying.is_none() {
            return Err(VaultError::RolledBack);
        }
        // What the hook writes is copied too, as everything on this connection is.
        let ready = live.wind_down(&self.spec());
        if live.file.sync_failures() > 0 {
            return Err(self.recover(state, None));
        }
        let copying = live.copying.take().ok_or(VaultError::RolledBack)?;
        let new = Arc::clone(copying.spec());
        let outcome = ready.and_then(|()| copying.complete(&live.conn));
        state.live.take().into_iter().for_each(Live::abandon);
        outcome?;
        lock(&self.queue).flow = Flow::Frozen;
        let inner = self.strong().ok_or(VaultError::Closed)?;
        Ok(Frozen { inner: Some(inner), new })
    }

    fn cancel_copy(&self, state: &mut State, new: &Arc<Spec>) {
        if let Some(live) = &mut state.live {
            live.copying.take_if(|copying| Arc::ptr_eq(copying.spec(), new));
        }
        if let Err(error) = copy::remove_unfinished(self.pool.storage().as_ref(), &new.path) {
            // The next attempt deletes it.
            tracing::warn!(file = %new.path.display(), %error, "an unfinished copy stays");
        }
    }
}

fn advance(state: &mut State) -> Result<Extent, VaultError> {
    let Some(live) = state.live.as_mut() else { return Err(VaultError::RolledBack) };
    let Some(copying) = live.copying.as_mut() else { return Err(VaultError::RolledBack) };
    state.last_used = std::time::Instant::now();
    copying.advance(&live.conn, SLICE, MARGIN)
}
