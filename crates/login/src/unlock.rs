//! Opening: which of an account's slots a secret may be tried on, and from its key to the unlocked mailbox.

use letterlock_directory::Account;
use letterlock_mailbox::Handle;
use letterlock_vault::slot::{self, OrganisationKey, SlotError};
use letterlock_vault::{AccountId, AccountKey, Slot, SlotKind};
use zeroize::Zeroizing;

use crate::{Login, LoginError};

/// Why a secret does not open an account's mailbox (`--unlock-stdin` and the like).
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The secret fits none of the account's slots.
    #[error("this secret does not open the mailbox")]
    Wrong,
    /// The slot or the mailbox is damaged, or the server is shutting down.
    #[error("{0}")]
    Broken(String),
}

impl Login {
    /// Opens an account's key with any secret that it has a slot for: password, app
    /// password, recovery key, or the organisation's private key. For commands that need the key of a locked mailbox.
    pub async fn open_key(
        &self,
        account: &Account,
        secret: &Zeroizing<String>,
    ) -> Result<AccountKey, UnlockError> {
        match self
            .try_slots(
                account,
                secret,
                &[
                    SlotKind::Password,
                    SlotKind::AppPassword,
                    SlotKind::Recovery,
                    SlotKind::Organisation,
                ],
            )
            .await
        {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(UnlockError::Wrong),
            Err(LoginError::Temporary(text)) => Err(UnlockError::Broken(text)),
            Err(error) => Err(UnlockError::Broken(error.to_string())),
        }
    }

    /// Opens a server-held account, which needs nobody's password.
    pub async fn unlock_server_held(&self, account: &Account) -> Result<Handle, UnlockError> {
        let slot = account
            .slots
            .iter()
            .find(|s| s.slot.kind == SlotKind::Server)
            .ok_or(UnlockError::Wrong)?;
        let key = slot::open_server(account.id, &slot.slot, &self.server_key)
            .map_err(|_| UnlockError::Wrong)?;
        self.unlock(account, &key).await.map_err(|error| UnlockError::Broken(error.to_string()))
    }

    /// The key of an account whose mailbox is unlocked.
    pub fn unlocked_key(&self, account: AccountId) -> Option<AccountKey> {
        self.keys.get(account)
    }

    /// Opens the mailbox with the account's key, and compares it with the mark that the
    /// directory keeps of it: an older file that was put in its place is not written to.
    pub async fn unlock(&self, account: &Account, key: &AccountKey) -> Result<Handle, LoginError> {
        let secrets = account.secrets.open(account.id, key, &self.server_key).map_err(|error| {
            LoginError::Temporary(format!("the account's keys do not open: {error}"))
        })?;
        let handle = self
            .mailboxes
            .unlock(secrets, true)
            .await
            .map_err(|error| LoginError::Temporary(error.to_string()))?;
        self.keys.insert(&handle, key);
        handle.set_quota(account.quota);
        handle.set_message_quota(account.quota_messages);
        // A file that was rolled back can still be read: the handle refuses to write.
        if let Err(error) = handle.check_mark(self.directory.snapshot().mark(account.id)) {
            tracing::error!(account = %account.id, %error, "mailbox is read-only");
        }
        self.keep_organisation_slot(account, key).await;
        Ok(handle)
    }

    /// Tries the secret on the slots that its form allows: a main password never meets
    /// the fast slots, and a made-up token never costs an Argon2 run.
    pub(crate) async fn try_slots(
        &self,
        account: &Account,
        secret: &Zeroizing<String>,
        kinds: &[SlotKind],
    ) -> Result<Option<AccountKey>, LoginError> {
        let of_kind = |kind: SlotKind| {
            let wanted = kinds.contains(&kind);
            account
                .slots
                .iter()
                .map(|named| &named.slot)
                .filter(move |slot| wanted && slot.kind == kind)
        };
        if let Some(id) = slot::AppPassword::recognise(secret) {
            let found = of_kind(SlotKind::AppPassword).find(|slot| slot.id == id);
            return found.map_or(Ok(None), |slot| {
                opened(slot::open_app_password(account.id, slot, secret))
            });
        }
        if let Some(id) = slot::RecoveryKey::recognise(secret) {
            let found = of_kind(SlotKind::Recovery).find(|slot| slot.id == id);
            return found
                .map_or(Ok(None), |slot| opened(slot::open_recovery(account.id, slot, secret)));
        }
        if OrganisationKey::recognise(secret) {
            for slot in of_kind(SlotKind::Organisation) {
                if let Some(key) = opened(slot::open_organisation(account.id, slot, secret))? {
                    return Ok(Some(key));
                }
            }
            return Ok(None);
        }
        if of_kind(SlotKind::Password).next().is_none() {
            self.waste_time().await;
        }
        for slot in of_kind(SlotKind::Password) {
            if let Some(key) = self.hash_password(account.id, slot.clone(), secret.clone()).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn hash_password(
        &self,
        account: AccountId,
        slot: Slot,
        password: Zeroizing<String>,
    ) -> Result<Option<AccountKey>, LoginError> {
        opened(self.hashing(move || slot::open_password(account, &slot, &password)).await?)
    }

    /// Takes as long as a wrong password, so that answers do not tell who exists.
    pub(crate) async fn waste_time(&self) {
        let cost = self.settings.argon2;
        if self.hashing(move || slot::dummy_password_work(cost)).await.is_err() {
            tracing::debug!("shutting down during a login");
        }
    }

    async fn hashing<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, LoginError> {
        let _permit = self
            .hashing
            .acquire()
            .await
            .map_err(|_| LoginError::Temporary("shutting down".into()))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LoginError::Temporary("shutting down".into()))
    }
}

/// Whether the secret has a form that is never hashed, for no account.
pub(crate) fn is_token(secret: &str) -> bool {
    slot::AppPassword::recognise(secret).is_some()
        || slot::RecoveryKey::recognise(secret).is_some()
        || OrganisationKey::recognise(secret)
}

/// The slot that a secret was used on which is known to be right for mail programs: an app password names its own.
pub(crate) fn slot_of(account: &Account, secret: &str) -> Option<u32> {
    slot::AppPassword::recognise(secret).or_else(|| {
        let password = account.slots.iter().find(|named| named.slot.kind == SlotKind::Password);
        password.map(|named| named.slot.id)
    })
}

fn opened(result: Result<AccountKey, SlotError>) -> Result<Option<AccountKey>, LoginError> {
    match result {
        Ok(key) => Ok(Some(key)),
        Err(SlotError::Wrong) => Ok(None),
        Err(error) => {
            Err(LoginError::Temporary(format!("a credential's slot is damaged: {error}")))
        }
    }
}
