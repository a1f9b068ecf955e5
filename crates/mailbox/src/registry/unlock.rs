//! Unlocking: an account's file is opened with its keys, and written anew if it does not open because of damage.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use letterlock_vault::{AccountId, AccountSecrets};

use super::Mailboxes;
use super::state::{Event, Slot, State};
use crate::error::MailboxError;
use crate::files;
use crate::handle::{Handle, Shared};
use crate::index::WORTHWHILE;
use crate::live::Live;
use crate::sweep;
use crate::verify::Points;

impl Mailboxes {
    /// Unlocks an account, or gives the handle of one that is unlocked. With `drain` a locked one begins to
    /// drain ([`Event::Draining`]), otherwise it is open at once: only for one that can have no parked mail.
    /// The handle is usable at once in both cases. The time of grace runs until a session begins.
    ///
    /// A file that does not open because of damage is written anew from what can be read of it
    /// ([`Event::WrittenAnew`]): its owner is here with the key, and nobody else could. That takes its time, and goes on
    /// if the caller stops waiting; who comes next waits for the same work. Nothing else that fails leads there: no
    /// trouble of the system, no newer version, no mark that is ahead of the file.
    ///
    /// # Errors
    /// [`MailboxError::Locked`] if the secrets were read before a rotation ended: read them again. Else what storage
    /// reports; the account stays locked then.
    pub async fn unlock(
        &self,
        secrets: AccountSecrets,
        drain: bool,
    ) -> Result<Handle, MailboxError> {
        let account = secrets.account();
        if let Some(handle) = self.handle(account) {
            self.keyring.touch(account, Instant::now());
            return Ok(handle);
        }
        let this = self.me.upgrade().ok_or(MailboxError::Locked)?;
        let task = tokio::spawn(async move { this.unlock_now(secrets, drain).await });
        // Cancelled with the runtime.
        task.await.unwrap_or(Err(MailboxError::Locked))
    }

    async fn unlock_now(
        &self,
        secrets: AccountSecrets,
        drain: bool,
    ) -> Result<Handle, MailboxError> {
        let account = secrets.account();
        let slot = self.slot(account);
        let _turn = slot.turn.lock().await;
        if let Some(handle) = self.handle(account) {
            self.keyring.touch(account, Instant::now());
            return Ok(handle);
        }
        if slot.is_newer(&secrets) {
            // Read from the directory before a rotation ended: to be read again.
            return Err(MailboxError::Locked);
        }
        let live = self.open(secrets).await?;
        Ok(self.begin(account, &slot, live, drain))
    }

    /// Opens the account's file, after writing it anew if that has to be.
    async fn open(&self, secrets: AccountSecrets) -> Result<Live, MailboxError> {
        let (account, epoch) = (secrets.account(), secrets.epoch());
        let path = files::mailbox_file(&self.data_dir, account, epoch);
        files::put_back_damaged(&self.pool, path.clone()).await?;
        files::check_there(&self.pool, &path).await?;
        files::remove_other_epochs(&self.pool, &self.data_dir, account, epoch).await?;
        let damage = match self.open_at(&path, &secrets).await {
            // What was garbled on its way from the disk comes right the second time.
            Err(MailboxError::Damaged(_)) => match self.open_at(&path, &secrets).await {
                Err(MailboxError::Damaged(damage)) => damage,
                other => return other,
            },
            other => return other,
        };
        tracing::error!(account = %account, damage, "the mailbox does not open; it is written anew from what can be read");
        let salvaged = self.write_anew(&secrets, Points::Kept, &mut |_, _| ()).await?;
        tracing::error!(
            account = %account,
            messages = salvaged.messages,
            without_flags = salvaged.without_flags,
            gaps = salvaged.gaps,
            wrong_still = salvaged.left.findings.len(),
            "the mailbox was written anew; the damaged file stays beside it until somebody removes it"
        );
        self.tell(Event::WrittenAnew(account));
        self.open_at(&path, &secrets).await
    }

    /// Opens the file, and does with it what is done before anybody has it.
    async fn open_at(&self, path: &Path, secrets: &AccountSecrets) -> Result<Live, MailboxError> {
        let live = Live::open(&self.pool, path.to_owned(), secrets.clone(), &self.options).await?;
        match tidy(&live).await {
            Ok(()) => Ok(live),
            Err(error) => {
                drop(live.db.close().await);
                Err(error)
            }
        }
    }

    /// The account is unlocked from here on.
    fn begin(&self, account: AccountId, slot: &Slot, live: Live, drain: bool) -> Handle {
        let sealing_agrees = live.sealing_agrees;
        let shared = Arc::new(Shared::new(
            account,
            live,
            self.options.message_size,
            Arc::clone(&self.indexing),
        ));
        self.keyring.insert(account, Arc::clone(&shared), Instant::now());
        let handle = self.handle_of(&shared);
        *slot.state() = if drain { State::Draining(shared) } else { State::Open(shared) };
        handle.sweep_soon();
        handle.index_soon(WORTHWHILE);
        self.tell(if drain { Event::Draining(account) } else { Event::Open(account) });
        if !sealing_agrees {
            tracing::error!(account = %account, "the directory's sealing key is not the mailbox's");
            self.tell(Event::SealingKeyDiffers(account));
        }
        handle
    }
}

/// Takes back what a lock or a crash cut short.
async fn tidy(live: &Live) -> Result<(), MailboxError> {
    sweep::undo_copies(live, None).await?;
    sweep::drop_uploads(live).await
}
