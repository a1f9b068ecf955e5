//! Rotation: an unlocked account's file is copied to the next epoch's, under new keys, while sessions go on.
//!
//! The directory decides which epoch counts. At each moment a crash leaves the file whole that it names; what there
//! is of the other goes at the next unlock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use letterlock_vault::{AccountId, AccountSecrets, Frozen};

use super::Mailboxes;
use super::state::Slot;
use crate::error::MailboxError;
use crate::files;
use crate::handle::Shared;

/// How long the flip waits for a login or a lock of the same account. A lock waits for the flip in its turn: then
/// the rotation gives way.
const TURN: Duration = Duration::from_millis(500);

/// Why a rotation was not done: the account goes on with the old file and keys.
#[derive(Debug, thiserror::Error)]
pub enum RotateError<E> {
    /// The mailbox's part failed.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The directory did not take the new epoch.
    #[error("the new keys were not stored: {0}")]
    Commit(E),
}

/// Ends the rotation of an account, however it ends.
struct Rotating(Arc<Slot>);

impl Drop for Rotating {
    fn drop(&mut self) {
        self.0.rotating.store(false, Ordering::Release);
    }
}

impl Mailboxes {
    /// Rewrites the file of an unlocked account under the keys of `next`, which is of the next epoch
    /// (`AccountSecrets::rotate`). Sessions, deliveries and watchers go on; only for the length of the flip they wait.
    /// From then on mail is sealed to the new keys; what is parked for the old ones can still be opened.
    ///
    /// `commit` stores the new wrapped secrets in the directory, durably: from its `Ok` on, the new file counts, and
    /// the old one is removed. Its `Err` must mean that the directory does *not* name the new epoch: where that is not
    /// known, it has to look. It must not work on this account's mailbox, which stands still meanwhile. `progress`
    /// hears how many pages of how many are copied. All of this runs to its end even if the caller stops waiting.
    ///
    /// # Errors
    /// [`MailboxError::Locked`] if the account is or was locked meanwhile, [`MailboxError::Forbidden`] for secrets
    /// that are not the next ones or if another rotation is under way, what storage reports, or why `commit` failed.
    pub async fn rotate<E, F>(
        self: &Arc<Self>,
        account: AccountId,
        next: AccountSecrets,
        progress: impl FnMut(u32, u32) + Send + 'static,
        commit: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), RotateError<E>>
    where
        E: Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let this = Arc::clone(self);
        let task =
            tokio::spawn(async move { this.rotate_now(account, next, progress, commit).await });
        // Cancelled with the runtime, or a panic of `commit`.
        task.await.unwrap_or(Err(RotateError::Mailbox(MailboxError::Locked)))
    }

    async fn rotate_now<E, F>(
        &self,
        account: AccountId,
        next: AccountSecrets,
        progress: impl FnMut(u32, u32) + Send,
        commit: impl FnOnce() -> F + Send,
    ) -> Result<(), RotateError<E>>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let slot = self.known(account).ok_or(MailboxError::Locked)?;
        let shared = slot.state().shared().cloned().ok_or(MailboxError::Locked)?;
        let live = shared.live().ok_or(MailboxError::Locked)?;
        let epoch = live.secrets.epoch();
        if next.account() != account || Some(next.epoch()) != epoch.checked_add(1) {
            return Err(MailboxError::Forbidden.into());
        }
        if slot.rotating.swap(true, Ordering::AcqRel) {
            return Err(MailboxError::Forbidden.into());
        }
        let rotating = Rotating(Arc::clone(&slot));
        // What an earlier flip left must not stand where this one's old file will be taken for it.
        files::remove_other_epochs(&self.pool, &self.data_dir, account, epoch).await?;
        live.expect_sealing(&next).await?;
        let path = files::mailbox_file(&self.data_dir, account, next.epoch());
        let spec = live.next_spec(path.clone(), &next, &self.options);
        let frozen = live.db.copy_to(spec, progress).await.map_err(MailboxError::from)?;
        let flipped = self.flip(&slot, &shared, frozen, next, commit).await;
        let stale = if flipped.is_ok() {
            files::mailbox_file(&self.data_dir, account, epoch)
        } else {
            path
        };
        if let Err(error) = self.pool.remove(&stale).await {
            tracing::warn!(account = %account, %error, "a mailbox file is left for the next unlock to remove");
        }
        drop(rotating);
        if flipped.is_ok()
            && let Some(live) = shared.live()
            && let Err(error) = live.adopt_sealing().await
        {
            tracing::warn!(account = %account, %error, "the new sealing key is adopted at the next unlock");
        }
        flipped
    }

    /// The step at which the new epoch begins to count. The account's state does not change meanwhile.
    async fn flip<E, F>(
        &self,
        slot: &Slot,
        shared: &Arc<Shared>,
        frozen: Frozen,
        next: AccountSecrets,
        commit: impl FnOnce() -> F + Send,
    ) -> Result<(), RotateError<E>>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let turn = tokio::time::timeout(TURN, slot.turn.lock()).await;
        let _turn = turn.map_err(|_| MailboxError::Locked)?;
        let live = shared.live().ok_or(MailboxError::Locked)?;
        let epoch = next.epoch();
        commit().await.map_err(RotateError::Commit)?;
        slot.epoch.store(epoch, Ordering::Relaxed);
        shared.replace_live(live.with_secrets(next));
        frozen.switch();
        tracing::info!(account = %live.secrets.account(), epoch, "the mailbox has new keys");
        Ok(())
    }
}
