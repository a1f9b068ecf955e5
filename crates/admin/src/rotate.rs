//! New keys for an account whose mail stays: after a credential has leaked, or as a precaution.

use std::sync::Arc;

use letterlock_directory::{Account, AccountKeys, Directory, DirectoryError, KeyMode, NamedSlot};
use letterlock_login::UnlockError;
use letterlock_mailbox::Handle;
use letterlock_vault::{AccountKey, SlotKind, WrappedSecrets, slot};

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
        let _lease = handle.session()?;
        let renewed = match asked.new_account_key {
            true => Some(self.renew(&account, asked).await?),
            false => None,
        };
        let secrets = handle.secrets()?;
        let new_key = renewed.as_ref().map_or(&key, |renewed| &renewed.key);
        let (next, wrapped) = secrets.rotate(new_key, &self.server_key);
        let keys = renewed.as_ref().map(|renewed| AccountKeys {
            mode: account.mode,
            secrets: wrapped.clone(),
            slots: renewed.slots.clone(),
        });
        let (directory, id) = (Arc::clone(&self.directory), account.id);
        let (reporter, on) = (reporter.clone(), account.address.to_string());
        let progress = move |done, of| reporter.tell(&on, u64::from(done), u64::from(of));
        let commit = move || async move { commit(&directory, id, wrapped, keys).await };
        let rotated = self.mailboxes.rotate(id, next, progress, commit).await;
        rotated.map_err(|error| AdminError::Failed(error.to_string()))?;
        tracing::info!(account = %id, new_account_key = renewed.is_some(), "keys rotated");
        let Some(renewed) = renewed else {
            return Ok(Response::Done(format!(
                "{} has new keys, its credentials stay",
                account.address
            )));
        };
        // Whoever logged in with what is void now, and what was remembered of it.
        self.lock_anyway(id).await;
        Ok(if renewed.shown.is_empty() {
            Response::Done(format!("{} has new keys, its app passwords are void", account.address))
        } else {
            Response::Made(renewed.shown)
        })
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
    id: letterlock_vault::AccountId,
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
