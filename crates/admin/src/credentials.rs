//! What opens an account: passwords, recovery keys, app passwords.

use std::sync::Arc;

use letterlock_directory::{Account, AccountKeys, DirectoryError, Holding, KeyMode};
use letterlock_login::UnlockError;
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Slot, SlotKind, slot};
use zeroize::Zeroizing;

use crate::account::{named, new_secret};
use crate::{Admin, AdminError, AppPasswordRow, NewSecret, Response, Secret};

/// Characters of a password that we make: 24 of 32 letters and digits are 120 bits.
const MADE_PASSWORD: usize = 24;

/// Shortest password that is taken: the slot's hash makes guessing dear, not impossible.
const MIN_PASSWORD: usize = 8;

/// How often a credential is made for a number that others take first.
const ATTEMPTS: usize = 16;

impl Admin {
    pub(crate) async fn change_password(
        &self,
        address: &str,
        password: Option<Secret>,
        unlock: Option<Secret>,
        discard_mail: bool,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let (password, made) = password_or_made(password)?;
        let shown = if discard_mail {
            self.start_over(&account, password, made).await?
        } else {
            let key = self.account_key(&account, unlock).await?;
            let old = account.slots.iter().find(|named| named.slot.kind == SlotKind::Password);
            let id = old.map_or_else(|| account.next_slot_id(), |named| named.slot.id);
            let (key, slot) = self.password_slot(account.id, id, password.clone(), key).await?;
            match old {
                Some(_) => self.directory.replace_slot(account.id, named(slot, "")).await?,
                None => self.directory.add_slot(account.id, named(slot, "")).await?,
            }
            // Read anew: it has another slot now.
            let changed = self.find_account(address)?;
            self.login.keep_organisation_slot(&changed, &key).await;
            // All other sessions end, and what was remembered of the old password goes with them.
            self.lock_anyway(account.id).await;
            made.then(|| new_secret("password", password)).into_iter().collect()
        };
        tracing::info!(account = %account.id, discard_mail, "password changed");
        Ok(if shown.is_empty() {
            Response::Done(format!("password of {} changed", account.address))
        } else {
            Response::Made(shown)
        })
    }

    /// New keys and an empty mailbox: for when no secret is left that opens the old one.
    async fn start_over(
        &self,
        account: &Account,
        password: Secret,
        made: bool,
    ) -> Result<Vec<NewSecret>, AdminError> {
        self.lock_anyway(account.id).await;
        let key = AccountKey::random();
        let (secrets, wrapped) = AccountSecrets::generate(account.id, &key, &self.server_key);
        let first = account.next_slot_id();
        let (key, slot) = self.password_slot(account.id, first, password.clone(), key).await?;
        let mut slots = vec![named(slot, "")];
        let mut shown =
            made.then(|| new_secret("password", password)).into_iter().collect::<Vec<_>>();
        match account.mode {
            KeyMode::ServerHeld => slots
                .push(named(slot::server(account.id, first + 1, &key, &self.server_key), "server")),
            KeyMode::UserHeld => {
                let (text, slot) = slot::recovery(account.id, first + 1, &key);
                slots.push(named(slot, "recovery"));
                shown.push(new_secret("recovery-key", Secret::new(text.to_string())));
                let organisation = self.login.organisation_slot(account.id, first + 2, &key);
                slots.extend(organisation.map(|slot| named(slot, "organisation")));
            }
        }
        // The keys first: mail that comes from here on is sealed to the new ones, and none stays
        // in the queue that nobody can open. After a crash in between, doing it again helps.
        self.directory
            .replace_keys(account.id, AccountKeys { mode: account.mode, secrets: wrapped, slots })
            .await?;
        self.queue.discard_account(account.id).await?;
        self.mailboxes.remove(account.id).await?;
        self.mailboxes.create(&secrets).await?;
        self.forget_mark(account.id).await?;
        // There is room again, which nobody could count before the next unlock.
        self.directory.note_usage(account.id, Holding::default());
        Ok(shown)
    }

    /// The new file counts its durable points from the start: against the old file's mark it
    /// would look like an older copy. What the mailboxes still have to report is stored first,
    /// so that the old count does not come back.
    async fn forget_mark(&self, account: AccountId) -> Result<(), AdminError> {
        let marks = self.mailboxes.marks();
        self.directory.set_marks(marks).await?;
        Ok(self.directory.reset_mark(account, 0).await?)
    }

    pub(crate) async fn new_recovery_key(
        &self,
        address: &str,
        unlock: Option<Secret>,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let key = self.account_key(&account, unlock).await?;
        let (account, text) = self
            .add_made(address, &key, "recovery", |account, id| slot::recovery(account.id, id, &key))
            .await?;
        for old in account.slots.iter().filter(|named| named.slot.kind == SlotKind::Recovery) {
            match self.directory.remove_slot(account.id, old.slot.id).await {
                // By another command of the same kind.
                Err(DirectoryError::NoSuchSlot { .. }) => {}
                other => other?,
            }
        }
        Ok(Response::Made(vec![new_secret("recovery-key", text)]))
    }

    pub(crate) async fn add_app_password(
        &self,
        address: &str,
        name: String,
        unlock: Option<Secret>,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let key = self.account_key(&account, unlock).await?;
        let salts = self.login.salts();
        let (_, text) = self
            .add_made(address, &key, &name, |account, id| {
                let (salt, _) = salts.of_account(account);
                slot::app_password_with_scram(account.id, id, &key, &salt)
            })
            .await?;
        Ok(Response::Made(vec![new_secret("app-password", text)]))
    }

    /// Adds a slot, made for the account as it is and the next number. Where another command or a login takes that number
    /// first, it is made again. Gives the account as it was before, and the secret's text.
    async fn add_made(
        &self,
        address: &str,
        key: &AccountKey,
        name: &str,
        make: impl Fn(&Account, u32) -> (Zeroizing<String>, Slot),
    ) -> Result<(Arc<Account>, Secret), AdminError> {
        for left in (0..ATTEMPTS).rev() {
            let account = self.find_account(address)?;
            self.check_key(&account, key)?;
            let (text, slot) = make(&account, account.next_slot_id());
            match self.directory.add_slot(account.id, named(slot, name)).await {
                Err(DirectoryError::SlotTaken { .. }) if left > 0 => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok((account, Secret::new(text.to_string()))),
            }
        }
        Err(AdminError::Failed("other commands change the credentials all the time".into()))
    }

    /// Between the moment in which a rotation's new keys count and the end of the sessions of before, an unlocked
    /// mailbox still has the old account key at hand: a credential that wraps it would open nothing.
    fn check_key(&self, account: &Account, key: &AccountKey) -> Result<(), AdminError> {
        match account.secrets.open(account.id, key, &self.server_key) {
            Ok(_) => Ok(()),
            Err(_) => Err(AdminError::Failed(format!(
                "the keys of {} were changed meanwhile: try again",
                account.address
            ))),
        }
    }

    pub(crate) fn list_app_passwords(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let rows =
            account.slots.iter().filter(|named| named.slot.kind == SlotKind::AppPassword).map(
                |named| AppPasswordRow {
                    id: named.slot.id,
                    name: named.name.clone(),
                    created: named.created_at.to_string(),
                    last_used: named.last_used.map(|used| used.to_string()),
                    scram: slot::scram_parameters(&named.slot).is_some(),
                },
            );
        Ok(Response::AppPasswords(rows.collect()))
    }

    pub(crate) async fn remove_app_password(
        &self,
        address: &str,
        id: u32,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        if !account.slot(id).is_some_and(|named| named.slot.kind == SlotKind::AppPassword) {
            return Err(AdminError::NotFound(format!(
                "{} has no app password {id}",
                account.address
            )));
        }
        self.directory.remove_slot(account.id, id).await?;
        // Sessions that logged in with it must not outlive it, and nobody knows which those are.
        self.mailboxes.lock(account.id).await?;
        Ok(Response::Done(format!(
            "app password {id} of {} removed, its sessions are ended",
            account.address
        )))
    }

    /// The account's key: with a secret, by the server's own slot, or from the unlocked mailbox.
    pub(crate) async fn account_key(
        &self,
        account: &Account,
        unlock: Option<Secret>,
    ) -> Result<AccountKey, AdminError> {
        if let Some(secret) = unlock {
            return self.login.open_key(account, secret.expose()).await.map_err(
                |error| match error {
                    UnlockError::Wrong => AdminError::WrongSecret(account.address.to_string()),
                    UnlockError::Broken(text) => AdminError::Failed(text),
                },
            );
        }
        if let Some(named) = account.slots.iter().find(|named| named.slot.kind == SlotKind::Server)
        {
            let opened = slot::open_server(account.id, &named.slot, &self.server_key);
            return opened.map_err(|error| {
                AdminError::Failed(format!("the server's slot does not open: {error}"))
            });
        }
        let unlocked = self.login.unlocked_key(account.id);
        let key = unlocked.ok_or_else(|| AdminError::Locked(account.address.to_string()))?;
        self.check_key(account, &key)?;
        Ok(key)
    }

    /// A slot for a main password. Argon2 is slow on purpose: not on an async worker.
    pub(crate) async fn password_slot(
        &self,
        account: AccountId,
        id: u32,
        password: Secret,
        key: AccountKey,
    ) -> Result<(AccountKey, Slot), AdminError> {
        let cost = self.login.argon2_cost();
        tokio::task::spawn_blocking(move || {
            let slot = slot::password(account, id, password.expose(), &key, cost);
            (key, slot)
        })
        .await
        .map_err(|_| AdminError::Failed("the server is shutting down".into()))
    }
}

/// The given password if it will do, or a new one; and whether it is new.
pub(crate) fn password_or_made(given: Option<Secret>) -> Result<(Secret, bool), AdminError> {
    let Some(secret) = given else { return Ok((made_password()?, true)) };
    let text = secret.expose();
    if text.chars().count() < MIN_PASSWORD {
        return Err(AdminError::Invalid(format!(
            "the password is too short: at least {MIN_PASSWORD} characters"
        )));
    }
    // Such a text would be tried as a token and never as a password.
    if slot::AppPassword::recognise(text).is_some()
        || slot::RecoveryKey::recognise(text).is_some()
        || slot::OrganisationKey::recognise(text)
    {
        return Err(AdminError::Invalid(
            "the password has the form of an app password, recovery key or organisation's key: choose another".into(),
        ));
    }
    Ok((secret, false))
}

/// Letters and digits that are not taken for one another, in groups of six.
fn made_password() -> Result<Secret, AdminError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = Zeroizing::new([0_u8; MADE_PASSWORD]);
    getrandom::fill(random.as_mut_slice())
        .map_err(|error| AdminError::Failed(format!("no random numbers: {error}")))?;
    let mut text = String::with_capacity(MADE_PASSWORD + MADE_PASSWORD / 6);
    for (at, byte) in random.iter().enumerate() {
        if at > 0 && at % 6 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_are_long_and_differ() {
        let (one, two) = (made_password().unwrap(), made_password().unwrap());
        assert_eq!(one.expose().len(), 27);
        assert_ne!(one.expose(), two.expose());
    }

    #[test]
    fn passwords_that_cannot_work_are_refused() {
        assert!(password_or_made(Some(Secret::new("short".into()))).is_err());
        let (token, _) = slot::app_password(AccountId::generate(), 3, &AccountKey::random());
        assert!(password_or_made(Some(Secret::new(token.to_string()))).is_err());
        assert!(!password_or_made(Some(Secret::new("long enough".into()))).unwrap().1);
        assert!(password_or_made(None).unwrap().1);
    }
}
