//! New keys for an account whose mail stays: after a credential has leaked, or as a precaution.

use std::sync::Arc;

use letterlock_directory::{Account, AccountKeys, Directory, DirectoryError, KeyMode, NamedSlot};
use letterlock_login::UnlockError;
use letterlock_mailbox::{Handle, SessionLease};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, SlotKind, WrappedSecrets, slot};

use crate::account::{named, new_secret};
use crate::credentials::password_or_made;
use crate::progress::Reporter;
use crate::{Admin, AdminError, NewSecret, Response, Secret};

/// What `account rotate` is asked to do.
pub(crate) struct Asked {
    pub(crate) password: Option<Secret>,
    pub(crate) unlock: Option<Secret>,
    pub(crate) new_account_key: bool,
}

/// What is to count from the flip on, and what keeps the mailbox open until then.
struct Step {
    wrapped: WrappedSecrets,
    keys: Option<AccountKeys>,
    lease: SessionLease,
}

/// Why the new keys do not count.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("nobody waits for the new secrets any more")]
    GivenUp,
}

/// The credentials under a new account key, and what of them is to be shown.
struct Renewed {
    key: AccountKey,
    slots: Vec<NamedSlot>,
    shown: Vec<NewSecret>,
}

impl Admin {
    /// Rewrites the mailbox under a new data key and makes a new sealing pair. With a new account key too, nothing that
    /// opened the account before opens it any longer, except the main password if it was given.
    pub(crate) async fn rotate(
        &self,
        address: &str,
        asked: Asked,
        reporter: &Reporter,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let key = self.account_key(&account, asked.unlock.clone()).await?;
        let handle = self.opened(&account, &key).await?;
        // Until it is done, nobody's end of session locks the account.
        let lease = handle.session()?;
        let renewed = match asked.new_account_key {
            true => Some(self.renew(&account, asked).await?),
            false => None,
        };
        let mut secrets = AccountSecrets::clone(&*handle.secrets()?);
        if self.nothing_waits(account.id).await? {
            secrets.forget_earlier();
        }
        let new_key = renewed.as_ref().map_or(&key, |renewed| &renewed.key);
        let (next, wrapped) = secrets.rotate(new_key, &self.server_key);
        let keys = renewed.as_ref().map(|renewed| AccountKeys {
            mode: account.mode,
            secrets: wrapped.clone(),
            slots: renewed.slots.clone(),
        });
        let (reporter, on) = (reporter.clone(), account.address.to_string());
        let progress = move |done, of| reporter.tell(&on, u64::from(done), u64::from(of));
        let step = Step { wrapped, keys, lease };
        self.carry_through(account.id, next, step, progress).await?;
        let Some(renewed) = renewed else {
            return Ok(Response::Done(format!(
                "{} has new keys, its credentials stay",
                account.address
            )));
        };
        Ok(if renewed.shown.is_empty() {
            Response::Done(format!("{} has new keys, its app passwords are void", account.address))
        } else {
            Response::Made(renewed.shown)
        })
    }

    /// The rotation itself. Who stops waiting before the new keys count takes it back, because nobody would learn the
    /// secrets that were made; from then on it runs to its end, the old credentials' sessions included.
    async fn carry_through(
        &self,
        id: AccountId,
        next: AccountSecrets,
        step: Step,
        progress: impl FnMut(u32, u32) + Send + 'static,
    ) -> Result<(), AdminError> {
        let (directory, mailboxes) = (Arc::clone(&self.directory), Arc::clone(&self.mailboxes));
        let waiting = Arc::new(());
        let awaited = Arc::downgrade(&waiting);
        let work = tokio::spawn(async move {
            let Step { wrapped, keys, lease } = step;
            let new_account_key = keys.is_some();
            let commit = move || async move {
                match awaited.upgrade() {
                    Some(_) => Ok(commit(&directory, id, wrapped, keys).await?),
                    None => Err(Undone::GivenUp),
                }
            };
            let rotated = mailboxes.rotate(id, next, progress, commit).await;
            drop(lease);
            if rotated.is_ok() {
                tracing::info!(account = %id, new_account_key, "keys rotated");
            }
            // Whoever logged in with what is void now, and what was remembered of it.
            if rotated.is_ok()
                && new_account_key
                && let Err(error) = mailboxes.lock(id).await
            {
                tracing::warn!(account = %id, %error, "the mailbox was not closed cleanly");
            }
            rotated.map_err(|error| AdminError::Failed(error.to_string()))
        });
        let done = work.await;
        drop(waiting);
        done.unwrap_or_else(|_| Err(AdminError::Failed("the server is shutting down".into())))
    }

    /// Whether no mail at all waits for an account in the queue: then nothing is sealed to keys of before.
    async fn nothing_waits(&self, account: AccountId) -> Result<bool, AdminError> {
        // What was sealed before this has its row now: ending to drain waits for everybody who files, and here it never
        // ends because the answer is always that there is more.
        let asked = self.mailboxes.finish_draining(account, async || Ok::<_, AdminError>(false));
        asked.await?;
        let parked = self.queue.usage(account).await?.messages;
        // Whose the held ones are is not looked up: they are few, and keeping a key too long costs little.
        Ok(parked == 0 && self.queue.counts().await?.held == 0)
    }

    /// The mailbox, unlocked if it is not.
    async fn opened(&self, account: &Account, key: &AccountKey) -> Result<Handle, AdminError> {
        match self.mailboxes.handle(account.id) {
            Some(handle) => Ok(handle),
            None => {
                let unlocked = self.login.unlock(account, key).await;
                unlocked.map_err(|error| AdminError::Failed(error.to_string()))
            }
        }
    }

    /// A new account key with new slots: the main password that was given, or another one; a new recovery key, or the
    /// server's slot; the organisation's. App passwords cannot be wrapped anew without their texts: they go.
    async fn renew(&self, account: &Account, asked: Asked) -> Result<Renewed, AdminError> {
        let (password, made) = match (asked.password, asked.unlock) {
            (None, Some(secret)) if self.is_main_password(account, &secret).await? => {
                (secret, false)
            }
            (given, _) => password_or_made(given)?,
        };
        let key = AccountKey::random();
        let first = account.next_slot_id();
        let (key, slot) = self.password_slot(account.id, first, password.clone(), key).await?;
        let mut slots = vec![named(slot, "")];
        let mut shown = Vec::new();
        if made {
            shown.push(new_secret("password", password));
        }
        match account.mode {
            KeyMode::ServerHeld => {
                let slot = slot::server(account.id, first + 1, &key, &self.server_key);
                slots.push(named(slot, "server"));
            }
            KeyMode::UserHeld => {
                let (text, slot) = slot::recovery(account.id, first + 1, &key);
                slots.push(named(slot, "recovery"));
                shown.push(new_secret("recovery-key", Secret::new(text.to_string())));
                let organisation = self.login.organisation_slot(account.id, first + 2, &key);
                slots.extend(organisation.map(|slot| named(slot, "organisation")));
            }
        }
        Ok(Renewed { key, slots, shown })
    }

    async fn is_main_password(
        &self,
        account: &Account,
        secret: &Secret,
    ) -> Result<bool, AdminError> {
        let mut only = account.clone();
        only.slots.retain(|named| named.slot.kind == SlotKind::Password);
        match self.login.open_key(&only, secret.expose()).await {
            Ok(_) => Ok(true),
            Err(UnlockError::Wrong) => Ok(false),
            Err(UnlockError::Broken(text)) => Err(AdminError::Failed(text)),
        }
    }
}

/// Makes the new epoch count. An error means that it does not: where that is not known, the directory is asked.
async fn commit(
    directory: &Arc<Directory>,
    id: AccountId,
    secrets: WrappedSecrets,
    keys: Option<AccountKeys>,
) -> Result<(), DirectoryError> {
    let epoch = secrets.epoch;
    let stored = match keys {
        Some(keys) => directory.replace_keys(id, keys).await,
        None => directory.set_secrets(id, secrets).await,
    };
    let counts = directory.snapshot().account(id).is_some_and(|now| now.secrets.epoch == epoch);
    if counts { Ok(()) } else { stored }
}
