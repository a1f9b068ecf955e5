//! Accounts: making and removing them, their state and sessions.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::Domain;
use letterlock_config::imap_capability;
use letterlock_directory::{
    Account, AccountKeys, AccountState, Allowance, DirectoryError, Disabled, Holding, KeyMode,
    NamedSlot, NewAccount,
};
use letterlock_mailbox::AccountState as MailboxState;
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Slot, SlotKind, slot};

use crate::credentials::password_or_made;
use crate::domain::{parse_address, parse_domain};
use crate::progress::Reporter;
use crate::rotate::Asked;
use crate::{
    AccountChange, AccountDetails, AccountRequest, AccountRow, Admin, AdminError, NewSecret,
    Response, Secret, SessionRow,
};

impl Admin {
    /// Carries out `account …`.
    pub(crate) async fn account(
        &self,
        request: AccountRequest,
        reporter: &Reporter,
    ) -> Result<Response, AdminError> {
        match request {
            AccountRequest::Add { address, password, server_held, name, quota, quota_messages } => {
                let allowed = Allowance { octets: quota.limit(), messages: quota_messages.limit() };
                self.add_account(&address, password, server_held, name, allowed).await
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
            AccountRequest::Rotate { address, password, unlock, new_account_key } => {
                self.rotate(&address, Asked { password, unlock, new_account_key }, reporter).await
            }
            AccountRequest::Lock { address } => {
                let account = self.find_account(&address)?;
                self.mailboxes.lock(account.id).await?;
                Ok(Response::Done(format!("{} is locked, its sessions are ended", account.address)))
            }
            AccountRequest::Disable { address, mail } => {
                let account = self.find_account(&address)?;
                self.disable(&account, mail).await?;
                let state = AccountState::Disabled(mail);
                Ok(Response::Done(format!(
                    "{} is disabled: no logins, mail for it is {}",
                    account.address,
                    mail_name(state)
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
        allowed: Allowance,
    ) -> Result<Response, AdminError> {
        let address = parse_address(address)?;
        let snapshot = self.directory.snapshot();
        if !snapshot.is_local(&address.domain) {
            return Err(DirectoryError::NoSuchDomain(address.domain).into());
        }
        if snapshot.account_by_address(&address).is_some() || snapshot.alias(&address).is_some() {
            return Err(DirectoryError::AddressTaken(address).into());
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
            let organisation = self.login.organisation_slot(id, 2, &key);
            slots.extend(organisation.map(|slot| named(slot, "organisation")));
        }
        let mode = if server_held { KeyMode::ServerHeld } else { KeyMode::UserHeld };
        // The file is there before anybody can know the account; what is left of a crash in
        // between is a file that nobody has a key to.
        self.mailboxes.create(&secrets).await?;
        let new = NewAccount {
            id,
            address: address.clone(),
            keys: AccountKeys { mode, secrets: wrapped, slots },
            quota: allowed.octets,
            quota_messages: allowed.messages,
            display_name: name.filter(|name| !name.is_empty()),
            created_at: Timestamp::now(),
        };
        if let Err(error) = self.directory.add_account(new).await {
            if let Err(error) = self.mailboxes.remove(id).await {
                tracing::warn!(account = %id, %error, "a file that nobody has a key to stays");
            }
            return Err(error.into());
        }
        self.adopt_waiting(&address.domain).await;
        tracing::info!(account = %id, "account added");
        Ok(if shown.is_empty() {
            Response::Done(format!("account {address} added"))
        } else {
            Response::Made(shown)
        })
    }

    /// Mail for the role addresses that waited until they lead to somebody.
    pub(crate) async fn adopt_waiting(&self, domain: &Domain) {
        if let Err(error) = self.intake.adopt_waiting(domain).await {
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
            mail: mail_name(account.state).into(),
            quota: account.quota,
            quota_messages: account.quota_messages,
            disabled_capabilities: account.disabled_capabilities.clone(),
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
        let held = match self.mailboxes.usage(account.id).await? {
            Some(filed) => Some(Holding {
                octets: filed.octets.saturating_add(waiting.octets),
                messages: filed.messages.saturating_add(waiting.messages),
            }),
            None => self.directory.known_usage(account.id),
        };
        Ok(Response::Account(AccountDetails {
            row: self.account_row(&account),
            name: account.display_name.clone(),
            used: held.map(|held| held.octets),
            messages: held.map(|held| held.messages),
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
        let off = switchable(&change.disable_capabilities)?;
        let on = switchable(&change.enable_capabilities)?;
        if !(off.is_empty() && on.is_empty()) {
            self.directory.switch_capabilities(account.id, off, on).await?;
        }
        if let Some(name) = change.name {
            self.directory
                .set_display_name(account.id, Some(name).filter(|name| !name.is_empty()))
                .await?;
        }
        if let Some(quota) = change.quota {
            self.directory.set_quota(account.id, quota.limit()).await?;
            if let Some(handle) = self.mailboxes.handle(account.id) {
                handle.set_quota(quota.limit());
            }
        }
        if let Some(quota) = change.quota_messages {
            self.directory.set_message_quota(account.id, quota.limit()).await?;
            if let Some(handle) = self.mailboxes.handle(account.id) {
                handle.set_message_quota(quota.limit());
            }
        }
        match change.enabled {
            Some(true) => {
                self.directory.set_account_state(account.id, AccountState::Enabled).await?;
                self.adopt_waiting(&account.address.domain).await;
            }
            Some(false) => self.disable(&account, Disabled::Refuse).await?,
            None => {}
        }
        Ok(Response::Done(format!("account {} changed", account.address)))
    }

    async fn disable(&self, account: &Account, mail: Disabled) -> Result<(), AdminError> {
        self.directory.set_account_state(account.id, AccountState::Disabled(mail)).await?;
        Ok(self.mailboxes.lock(account.id).await?)
    }

    /// Takes every way in away but the main password and the recovery key, which nobody can
    /// use while the account is disabled: so it can be handed over or brought back.
    async fn offboard(&self, address: &str) -> Result<Response, AdminError> {
        let account = self.find_account(address)?;
        self.disable(&account, Disabled::Refuse).await?;
        // One may have been added meanwhile; from now on nobody can log in to ask for more.
        let account = self.find_account(address)?;
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
        // The account cannot be named any more: one failure must not be in the way of the rest.
        let removed = self.mailboxes.remove(account.id).await;
        self.queue.discard_account(account.id).await?;
        removed?;
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

    /// Locks an account where what follows must be done however badly its file is closed.
    pub(crate) async fn lock_anyway(&self, account: AccountId) {
        if let Err(error) = self.mailboxes.lock(account).await {
            tracing::warn!(%account, %error, "the mailbox was not closed cleanly");
        }
    }

    pub(crate) fn find_account(&self, address: &str) -> Result<Arc<Account>, AdminError> {
        let address = parse_address(address)?;
        let account = self.directory.snapshot().account_by_address(&address);
        account.ok_or_else(|| AdminError::NotFound(format!("there is no account {address}")))
    }
}

/// The names as IMAP spells them, if they are ones that can be switched off for a single account.
fn switchable(names: &[String]) -> Result<Vec<String>, AdminError> {
    let spelled = names.iter().map(|name| {
        match imap_capability(name) {
        // What matters only before anybody is known cannot depend on who it is.
        Ok("SASL-IR") => Err(AdminError::Invalid(
            "SASL-IR is about logging in: it can only be switched off for all, in the configuration"
                .into(),
        )),
        Ok(name) => Ok(name.to_owned()),
        Err(unknown) => Err(AdminError::Invalid(unknown.to_string())),
    }
    });
    spelled.collect()
}

pub(crate) fn named(slot: Slot, name: &str) -> NamedSlot {
    NamedSlot { slot, name: name.to_owned(), created_at: Timestamp::now(), last_used: None }
}

pub(crate) fn new_secret(kind: &str, secret: Secret) -> NewSecret {
    NewSecret { kind: kind.into(), secret }
}

fn mail_name(state: AccountState) -> &'static str {
    match state {
        AccountState::Enabled => "accepted",
        AccountState::Disabled(Disabled::Defer) => "deferred",
        AccountState::Disabled(Disabled::Refuse) => "refused",
        AccountState::Disabled(Disabled::Discard) => "discarded",
    }
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
        SlotKind::Organisation => "organisation-key",
    }
}
