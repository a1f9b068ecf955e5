//! Accounts: their keys, credentials, state and sessions.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_directory::{
    Account, AccountKeys, AccountState, Disabled, KeyMode, NamedSlot, NewAccount,
};
use letterlock_login::UnlockError;
use letterlock_mailbox::AccountState as MailboxState;
use letterlock_vault::slot;
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Slot, SlotKind};
use zeroize::Zeroizing;

use crate::domain::{parse_address, parse_domain};
use crate::{
    AccountChange, AccountDetails, AccountRequest, AccountRow, Admin, AdminError, AppPasswordRow,
    NewSecret, Response, Secret, SessionRow,
};

/// Characters of a password that we make: 24 of 32 letters and digits are 120 bits.
const MADE_PASSWORD: usize = 24;

/// Shortest password that is taken: the slot's hash makes guessing dear, not impossible.
const MIN_PASSWORD: usize = 8;

impl Admin {
    /// Carries out `account …`.
    pub(crate) async fn account(&self, request: AccountRequest) -> Result<Response, AdminError> {
        match request {
            AccountRequest::Add { address, password, server_held, name } => {
                self.add_account(&address, password, server_held, name).await
            }
            AccountRequest::List { domain } => self.list_accounts(domain.as_deref()),
            AccountRequest::Show { address } => self.show_account(&address).await,
            AccountRequest::Set { address, change } => self.set_account(&address, change).await,
            AccountRequest::Password { address, password, unlock, discard_mail } => {
                self.change_password(&address, password, unlock, discard_mail).await
            }
            AccountRequest::Recovery { address, unlock } => {
                self.new_recovery_key(&address, unlock).await
            }
            AccountRequest::Lock { address } => {
                let account = self.find_account(&address)?;
                self.mailboxes.lock(account.id).await?;
                Ok(Response::Done(format!("{} is locked, its sessions are ended", account.address)))
            }
            AccountRequest::Disable { address } => {
                let account = self.find_account(&address)?;
                self.disable(&account).await?;
                Ok(Response::Done(format!(
                    "{} is disabled: no logins, mail for it is refused",
                    account.address
                )))
            }
            AccountRequest::Offboard { address } => self.offboard(&address).await,
            AccountRequest::Remove { address } => self.remove_account(&address).await,
            AccountRequest::Sessions { address } => self.list_sessions(&address),
            AccountRequest::AppPasswordAdd { address, name, unlock } => {
                self.add_app_password(&address, name, unlock).await
            }
            AccountRequest::AppPasswordList { address } => self.list_app_passwords(&address),
            AccountRequest::AppPasswordRemove { address, id } => {
                self.remove_app_password(&address, id).await
            }
        }
    }

    async fn add_account(
        &self,
        address: &str,
        password: Option<Secret>,
        server_held: bool,
        name: Option<String>,
    ) -> Result<Response, AdminError> {
        let address = parse_address(address)?;
        if self.directory.snapshot().account_by_address(&address).is_some() {
            return Err(letterlock_directory::DirectoryError::AddressTaken(address).into());
        }
        let (password, made) = password_or_made(password)?;
        let id = AccountId::generate();
        let key = AccountKey::random();
        let (secrets, wrapped) = AccountSecrets::generate(id, &key, &self.server_key);
        let (key, slot) = self.password_slot(id, 0, password.clone(), key).await?;
        let mut slots = vec![named(slot, "")];
        let mut shown =
            made.then(|| new_secret("password", password)).into_iter().collect::<Vec<_>>();
        if server_held {
            slots.push(named(slot::server(id, 1, &key, &self.server_key), "server"));
        } else {
            let (text, slot) = slot::recovery(id, 1, &key);
            slots.push(named(slot, "recovery"));
            shown.push(new_secret("recovery-key", Secret::new(text.to_string())));
        }
        let mode = if server_held { KeyMode::ServerHeld } else { KeyMode::UserHeld };
        // The file is there before anybody can know the account; what is left of a crash in
        // between is a file that nobody has a key to.
        self.mailboxes.create(&secrets).await?;
        let new = NewAccount {
            id,
            address: address.clone(),
            keys: AccountKeys { mode, secrets: wrapped, slots },
            quota: None,
            display_name: name.filter(|name| !name.is_empty()),
            created_at: Timestamp::now(),
        };
        if let Err(error) = self.directory.add_account(new).await {
            self.mailboxes.remove(id).await?;
            return Err(error.into());
        }
        self.adopt_waiting(&address).await;
        tracing::info!(account = %id, "account added");
        Ok(if shown.is_empty() {
            Response::Done(format!("account {address} added"))
        } else {
            Response::Made(shown)
        })
    }

    /// Mail for the role addresses that waited for the domain's first account.
    async fn adopt_waiting(&self, address: &Mailbox) {
        if let Err(error) = self.intake.adopt_waiting(&address.domain).await {
            tracing::warn!(%error, "mail for role addresses stays waiting");
        }
    }

    fn list_accounts(&self, domain: Option<&str>) -> Result<Response, AdminError> {
        let domain = domain.map(parse_domain).transpose()?;
        let snapshot = self.directory.snapshot();
        let wanted =
            |account: &&Arc<Account>| domain.as_ref().is_none_or(|d| account.address.domain == *d);
        let mut rows: Vec<AccountRow> =
            snapshot.accounts().filter(wanted).map(|account| self.account_row(account)).collect();
        rows.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(Response::Accounts(rows))
    }

    fn account_row(&self, account: &Account) -> AccountRow {
        AccountRow {
            address: account.address.to_string(),
            id: account.id.to_string(),
            keys: account.mode.as_str().into(),
            state: if account.state == AccountState::Enabled { "enabled" } else { "disabled" }
                .into(),
            mailbox: state_name(self.mailboxes.state(account.id)).into(),
        }
    }

    async fn show_account(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let waiting = self.queue.usage(account.id).await?;
        let credentials = account.slots.iter().map(|named| {
            let kind = kind_name(named.slot.kind);
            if named.name.is_empty() {
                kind.to_owned()
            } else {
                format!("{kind} {} ({})", named.slot.id, named.name)
            }
        });
        Ok(Response::Account(AccountDetails {
            row: self.account_row(&account),
            name: account.display_name.clone(),
            used: self.mailboxes.usage(account.id).await?.map(|used| used + waiting.octets),
            parked: waiting.messages,
            created: account.created_at.to_string(),
            credentials: credentials.collect(),
            sessions: self.login.sessions(account.id).len(),
        }))
    }

    async fn set_account(
        &self,
        address: &str,
        change: AccountChange,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        if let Some(name) = change.name {
            self.directory
                .set_display_name(account.id, Some(name).filter(|name| !name.is_empty()))
                .await?;
        }
        match change.enabled {
            Some(true) => {
                self.directory.set_account_state(account.id, AccountState::Enabled).await?
            }
            Some(false) => self.disable(&account).await?,
            None => {}
        }
        Ok(Response::Done(format!("account {} changed", account.address)))
    }

    async fn disable(&self, account: &Account) -> Result<(), AdminError> {
        self.directory
            .set_account_state(account.id, AccountState::Disabled(Disabled::Refuse))
            .await?;
        Ok(self.mailboxes.lock(account.id).await?)
    }

    /// Takes every way in away but the main password and the recovery key, which nobody can
    /// use while the account is disabled: so it can be handed over or brought back.
    async fn offboard(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        self.disable(&account).await?;
        let mut removed = 0;
        for named in account.slots.iter().filter(|named| named.slot.kind == SlotKind::AppPassword) {
            self.directory.remove_slot(account.id, named.slot.id).await?;
            removed += 1;
        }
        Ok(Response::Done(format!(
            "{} has no access any more: sessions ended, {removed} app passwords removed, logins and mail refused",
            account.address
        )))
    }

    /// The keys go first: whatever happens then, nobody reads the mail any more.
    async fn remove_account(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        self.directory.remove_account(account.id).await?;
        self.mailboxes.lock(account.id).await?;
        self.queue.discard_account(account.id).await?;
        self.mailboxes.remove(account.id).await?;
        tracing::info!(account = %account.id, "account removed");
        Ok(Response::Done(format!(
            "account {} removed: its keys are destroyed, and its mail with them",
            account.address
        )))
    }

    fn list_sessions(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let rows = self.login.sessions(account.id).into_iter().map(|session| SessionRow {
            id: session.id,
            protocol: session.peer.protocol.as_str().into(),
            ip: session.peer.ip.to_string(),
            since: Timestamp::try_from(session.since)
                .map_or_else(|_| "unknown".into(), |since| since.to_string()),
        });
        Ok(Response::Sessions(rows.collect()))
    }

    async fn change_password(
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
            let (_, slot) = self.password_slot(account.id, id, password.clone(), key).await?;
            match old {
                Some(_) => self.directory.replace_slot(account.id, named(slot, "")).await?,
                None => self.directory.add_slot(account.id, named(slot, "")).await?,
            }
            // All other sessions end, and what was remembered of the old password goes with them.
            self.mailboxes.lock(account.id).await?;
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
        self.mailboxes.lock(account.id).await?;
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
            }
        }
        self.queue.discard_account(account.id).await?;
        self.mailboxes.remove(account.id).await?;
        self.mailboxes.create(&secrets).await?;
        self.directory
            .replace_keys(account.id, AccountKeys { mode: account.mode, secrets: wrapped, slots })
            .await?;
        Ok(shown)
    }

    async fn new_recovery_key(
        &self,
        address: &str,
        unlock: Option<Secret>,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let key = self.account_key(&account, unlock).await?;
        let (text, slot) = slot::recovery(account.id, account.next_slot_id(), &key);
        self.directory.add_slot(account.id, named(slot, "recovery")).await?;
        for old in account.slots.iter().filter(|named| named.slot.kind == SlotKind::Recovery) {
            self.directory.remove_slot(account.id, old.slot.id).await?;
        }
        Ok(Response::Made(vec![new_secret("recovery-key", Secret::new(text.to_string()))]))
    }

    async fn add_app_password(
        &self,
        address: &str,
        name: String,
        unlock: Option<Secret>,
    ) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let key = self.account_key(&account, unlock).await?;
        let (text, slot) = slot::app_password(account.id, account.next_slot_id(), &key);
        self.directory.add_slot(account.id, named(slot, &name)).await?;
        Ok(Response::Made(vec![new_secret("app-password", Secret::new(text.to_string()))]))
    }

    fn list_app_passwords(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        let rows =
            account.slots.iter().filter(|named| named.slot.kind == SlotKind::AppPassword).map(
                |named| AppPasswordRow {
                    id: named.slot.id,
                    name: named.name.clone(),
                    created: named.created_at.to_string(),
                },
            );
        Ok(Response::AppPasswords(rows.collect()))
    }

    async fn remove_app_password(&self, address: &str, id: u32) -> Result<Response, AdminError> {
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
    async fn account_key(
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
        self.login
            .unlocked_key(account.id)
            .ok_or_else(|| AdminError::Locked(account.address.to_string()))
    }

    /// A slot for a main password. Argon2 is slow on purpose: not on an async worker.
    async fn password_slot(
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

    fn find_account(&self, address: &str) -> Result<Arc<Account>, AdminError> {
        let address = parse_address(address)?;
        let account = self.directory.snapshot().account_by_address(&address);
        account.ok_or_else(|| AdminError::NotFound(format!("there is no account {address}")))
    }
}

fn named(slot: Slot, name: &str) -> NamedSlot {
    NamedSlot { slot, name: name.to_owned(), created_at: Timestamp::now(), last_used: None }
}

fn new_secret(kind: &str, secret: Secret) -> NewSecret {
    NewSecret { kind: kind.into(), secret }
}

fn state_name(state: MailboxState) -> &'static str {
    match state {
        MailboxState::Locked => "locked",
        MailboxState::Draining => "draining",
        MailboxState::Open => "open",
    }
}

fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Password => "password",
        SlotKind::AppPassword => "app-password",
        SlotKind::Recovery => "recovery-key",
        SlotKind::Server => "server",
    }
}

/// The given password if it will do, or a new one; and whether it is new.
fn password_or_made(given: Option<Secret>) -> Result<(Secret, bool), AdminError> {
    let Some(secret) = given else { return Ok((made_password()?, true)) };
    let text = secret.expose();
    if text.chars().count() < MIN_PASSWORD {
        return Err(AdminError::Invalid(format!(
            "the password is too short: at least {MIN_PASSWORD} characters"
        )));
    }
    // Such a text would be tried as a token and never as a password.
    if slot::AppPassword::recognise(text).is_some() || slot::RecoveryKey::recognise(text).is_some()
    {
        return Err(AdminError::Invalid(
            "the password has the form of an app password or recovery key: choose another".into(),
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
