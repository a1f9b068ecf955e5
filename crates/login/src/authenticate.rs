//! The decision: limits, account, slot, keys, mailbox, in that order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use letterlock_address::Mailbox;
use letterlock_directory::{Account, AccountState, Directory};
use letterlock_guard::Guard;
use letterlock_mailbox::{AccountState as MailboxState, Handle, Mailboxes};
use letterlock_vault::slot::{self, Argon2Cost, SlotError};
use letterlock_vault::{AccountId, AccountKey, ServerKey, Slot, SlotKind};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use zeroize::Zeroizing;

use crate::Credential;
use crate::keys::Keys;
use crate::sessions::{Peer, Session, SessionInfo, Sessions};

/// How long a login that unlocks a mailbox waits for the mail that was parked.
const ARRIVAL: Duration = Duration::from_millis(150);

/// What the configuration says about logging in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a main password costs to try.
    pub argon2: Argon2Cost,
    /// How many main passwords are tried at the same time; the others wait.
    pub argon2_parallel: usize,
    /// Live sessions that one account may have, over all protocols.
    pub sessions_per_account: usize,
}

/// Why there is no session. Frontends turn it into their protocol's words.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No such account, wrong password, or an identity that may not be assumed:
    /// outside nobody can tell which.
    #[error("the credentials were rejected")]
    Rejected,
    /// Too many failures from this network.
    #[error("too many failed logins, refused for {} s", retry_after.as_secs())]
    Throttled {
        /// How long the refusal lasts at least.
        retry_after: Duration,
    },
    /// The password was right, but an operator has disabled the account.
    #[error("the account is disabled")]
    Disabled,
    /// The account has as many sessions as it may have.
    #[error("too many sessions of this account")]
    TooManySessions,
    /// Something here is broken or shutting down; trying later makes sense.
    #[error("cannot log in now: {0}")]
    Temporary(String),
}

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

/// Logs people in. One for the whole server.
pub struct Login {
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    guard: Arc<Guard>,
    server_key: Arc<ServerKey>,
    settings: Settings,
    /// Bounds the memory and CPU that strangers can make us spend on Argon2.
    hashing: Semaphore,
    sessions: Sessions,
    keys: Arc<Keys>,
}

impl Login {
    /// Puts the handles together. To be called within a tokio runtime, which then runs a
    /// small task of the login's.
    pub fn new(
        directory: Arc<Directory>,
        mailboxes: Arc<Mailboxes>,
        guard: Arc<Guard>,
        server_key: Arc<ServerKey>,
        settings: Settings,
    ) -> Login {
        let hashing = Semaphore::new(settings.argon2_parallel.max(1));
        let keys = Arc::new(Keys::default());
        tokio::spawn(keys.clone().follow(mailboxes.events()));
        let sessions = Sessions::default();
        Login { directory, mailboxes, guard, server_key, settings, hashing, sessions, keys }
    }

    /// Turns a credential into a session.
    ///
    /// The limits are asked first, by address and by account within the client's network,
    /// so that a stranger elsewhere cannot lock an owner out.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        peer: Peer,
    ) -> Result<Session, LoginError> {
        let identity = credential.identity.parse::<Mailbox>();
        let name = identity.as_ref().map_or_else(|_| String::new(), Mailbox::canonical);
        self.guard
            .check_login(peer.ip, &name, Instant::now())
            .map_err(|refusal| LoginError::Throttled { retry_after: refusal.retry_after })?;
        match self.try_credential(identity.ok(), credential, peer).await {
            Ok(session) => {
                self.guard.login_succeeded(peer.ip, &name);
                tracing::info!(account = %session.account.id, protocol = peer.protocol.as_str(), ip = %peer.ip, "logged in");
                Ok(session)
            }
            Err(error) => {
                if matches!(error, LoginError::Rejected) {
                    self.guard.login_failed(peer.ip, &name, Instant::now());
                }
                let protocol = peer.protocol.as_str();
                tracing::info!(protocol, ip = %peer.ip, user = %name, %error, "login refused");
                Err(error)
            }
        }
    }

    /// The live sessions of an account, oldest first.
    pub fn sessions(&self, account: AccountId) -> Vec<SessionInfo> {
        self.sessions.of(account)
    }

    /// What a new password slot of this server costs to open.
    pub fn argon2_cost(&self) -> Argon2Cost {
        self.settings.argon2
    }

    /// Opens an account's key with any secret that it has a slot for: password, app
    /// password or recovery key. For commands that need the key of a locked mailbox.
    pub async fn open_key(
        &self,
        account: &Account,
        secret: &Zeroizing<String>,
    ) -> Result<AccountKey, UnlockError> {
        match self
            .try_slots(
                account,
                secret,
                &[SlotKind::Password, SlotKind::AppPassword, SlotKind::Recovery],
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
        // A file that was rolled back can still be read: the handle refuses to write.
        if let Err(error) = handle.check_mark(self.directory.snapshot().mark(account.id)) {
            tracing::error!(account = %account.id, %error, "mailbox is read-only");
        }
        Ok(handle)
    }

    async fn try_credential(
        &self,
        identity: Option<Mailbox>,
        credential: &Credential,
        peer: Peer,
    ) -> Result<Session, LoginError> {
        let account =
            identity.and_then(|address| self.directory.snapshot().account_by_address(&address));
        let Some(account) = account else {
            if !is_token(&credential.password) {
                self.waste_time().await;
            }
            return Err(LoginError::Rejected);
        };
        let handle = self.open_mailbox(&account, credential).await?;
        if credential.authzid.as_deref().is_some_and(|other| !same_identity(other, &account)) {
            return Err(LoginError::Rejected);
        }
        if !enabled(&account) {
            return Err(LoginError::Disabled);
        }
        let entry = self
            .sessions
            .enter(account.id, peer, self.settings.sessions_per_account)
            .ok_or(LoginError::TooManySessions)?;
        let lease = handle.session().map_err(|error| LoginError::Temporary(error.to_string()))?;
        if let Err(error) = self.still_valid(&account) {
            handle.forget_credentials();
            if matches!(error, LoginError::Disabled | LoginError::Rejected)
                && let Err(error) = self.mailboxes.lock(account.id).await
            {
                tracing::warn!(account = %account.id, %error, "the mailbox was not closed cleanly");
            }
            return Err(error);
        }
        Ok(Session { account, _lease: lease, mailbox: handle, _entry: entry })
    }

    /// A password may have been changed, or the account disabled, while this login was hashing.
    /// Those who do that write to the directory first and lock then: so whoever is not caught
    /// here is caught by the lock.
    fn still_valid(&self, then: &Account) -> Result<(), LoginError> {
        let now = self.directory.snapshot().account(then.id).ok_or(LoginError::Rejected)?;
        if !enabled(&now) {
            return Err(LoginError::Disabled);
        }
        if !now.slots.iter().map(|n| &n.slot).eq(then.slots.iter().map(|n| &n.slot)) {
            return Err(LoginError::Temporary("the credentials were changed meanwhile".into()));
        }
        Ok(())
    }

    /// The unlocked mailbox. A credential that already opened it while it stayed
    /// unlocked is recognised without another Argon2 run.
    async fn open_mailbox(
        &self,
        account: &Account,
        credential: &Credential,
    ) -> Result<Handle, LoginError> {
        let secret = credential.password.as_bytes();
        if let Some(handle) =
            self.mailboxes.handle(account.id).filter(|handle| handle.recognises(secret))
        {
            return Ok(handle);
        }
        let key = self
            .try_slots(account, &credential.password, &[SlotKind::Password, SlotKind::AppPassword])
            .await?
            .ok_or(LoginError::Rejected)?;
        if !enabled(account) {
            return Err(LoginError::Disabled);
        }
        let handle = self.unlock(account, &key).await?;
        handle.remember(secret);
        self.let_mail_arrive(account.id).await;
        Ok(handle)
    }

    /// What came while the owner was away is usually filed within milliseconds: then the first
    /// look at INBOX shows it. A long backlog is not waited for.
    async fn let_mail_arrive(&self, account: AccountId) {
        let mut events = self.mailboxes.events();
        let filed = async {
            while self.mailboxes.state(account) == MailboxState::Draining
                && !matches!(events.recv().await, Err(RecvError::Closed))
            {}
        };
        // Late is no error: the rest is announced to the session as it comes.
        let _ = tokio::time::timeout(ARRIVAL, filed).await;
    }

    /// Tries the secret on the slots that its form allows: a main password never meets
    /// the fast slots, and a made-up token never costs an Argon2 run.
    async fn try_slots(
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
    async fn waste_time(&self) {
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
fn is_token(secret: &str) -> bool {
    slot::AppPassword::recognise(secret).is_some() || slot::RecoveryKey::recognise(secret).is_some()
}

fn enabled(account: &Account) -> bool {
    account.state == AccountState::Enabled
}

fn same_identity(authzid: &str, account: &Account) -> bool {
    authzid.parse::<Mailbox>().is_ok_and(|other| other.canonical() == account.address.canonical())
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
