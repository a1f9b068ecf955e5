//! The decision: limits, account, slot, keys, mailbox, in that order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_directory::{Account, AccountState, Directory, DirectoryError};
use letterlock_guard::Guard;
use letterlock_mailbox::{AccountState as MailboxState, Handle, Mailboxes};
use letterlock_vault::slot::{self, Argon2Cost, OrganisationKey, SlotError};
use letterlock_vault::{AccountId, ServerKey, Slot, SlotKind};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use crate::Credential;
use crate::attempt::Queue;
use crate::keys::Keys;
use crate::salts::Salts;
use crate::sasl::{self, Proof};
use crate::sessions::{Peer, Session, SessionInfo, Sessions};
use crate::unlock::{is_token, slot_of};

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

/// What a right SCRAM proof gives.
#[derive(Debug)]
pub struct Proven {
    /// The session. It counts from now on, but the client is logged in only when it has acknowledged the challenge.
    pub session: Session,
    /// In base64: the server proves that it knows the password too.
    pub challenge: String,
}

/// Logs people in. One for the whole server.
pub struct Login {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    guard: Arc<Guard>,
    pub(crate) server_key: Arc<ServerKey>,
    pub(crate) settings: Settings,
    /// Bounds the memory and CPU that strangers can make us spend on Argon2.
    pub(crate) hashing: Semaphore,
    sessions: Sessions,
    pub(crate) keys: Arc<Keys>,
    turns: Queue,
    pub(crate) organisation: Option<OrganisationKey>,
    scram: bool,
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
        Login {
            directory,
            mailboxes,
            guard,
            server_key,
            settings,
            hashing,
            sessions,
            keys,
            turns: Queue::default(),
            organisation: None,
            scram: true,
        }
    }

    /// Gives whoever holds the private half of `key` a way into every user-held account, from its next unlock on.
    /// Without it, such ways that were given before are taken back.
    #[must_use]
    pub fn with_organisation(self, key: Option<OrganisationKey>) -> Login {
        Login { organisation: key, ..self }
    }

    /// Whether SCRAM is offered.
    #[must_use]
    pub fn with_scram(self, scram: bool) -> Login {
        Login { scram, ..self }
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
        self.guarded(&credential.identity, peer, async |identity| {
            self.try_credential(identity, credential, peer).await
        })
        .await
    }

    /// Turns a SCRAM proof into a session and what the server proves itself with. The limits are the same.
    pub async fn prove(&self, proof: &Proof, peer: Peer) -> Result<Proven, LoginError> {
        self.guarded(&proof.identity, peer, async |identity| {
            self.try_proof(identity, proof, peer).await
        })
        .await
    }

    /// The salts for the exchanges of a connection; `None` where SCRAM is not offered.
    pub fn offered_salts(&self) -> Option<Salts> {
        self.scram.then(|| self.salts())
    }

    /// The salts of names, for SCRAM exchanges.
    pub fn salts(&self) -> Salts {
        Salts::new(Arc::clone(&self.directory), Arc::clone(&self.server_key))
    }

    /// Makes one attempt when its turn has come, and tells the guard what came of it.
    async fn guarded<R>(
        &self,
        identity: &str,
        peer: Peer,
        attempt: impl AsyncFnOnce(Option<Mailbox>) -> Result<R, LoginError>,
    ) -> Result<R, LoginError> {
        let identity = identity.parse::<Mailbox>();
        let name = identity.as_ref().map_or_else(|_| String::new(), Mailbox::canonical);
        let protocol = peer.protocol.as_str();
        let outcome = async {
            let _turn = self.turns.turn(&self.guard, peer.ip, &name).await?;
            let outcome = attempt(identity.ok()).await;
            match &outcome {
                Ok(_) => self.guard.login_succeeded(peer.ip, &name),
                Err(LoginError::Rejected) => {
                    self.guard.login_failed(peer.ip, &name, Instant::now());
                }
                Err(_) => {}
            }
            outcome
        }
        .await;
        match &outcome {
            Ok(_) => tracing::info!(protocol, ip = %peer.ip, user = %name, "logged in"),
            Err(error) => {
                tracing::info!(protocol, ip = %peer.ip, user = %name, %error, "login refused");
            }
        }
        outcome
    }

    /// The live sessions of an account, oldest first.
    pub fn sessions(&self, account: AccountId) -> Vec<SessionInfo> {
        self.sessions.of(account)
    }

    /// What a new password slot of this server costs to open.
    pub fn argon2_cost(&self) -> Argon2Cost {
        self.settings.argon2
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
        let session = self.enter(account, handle, credential.authzid.as_deref(), peer).await?;
        if let Some(slot) = slot_of(&session.account, &credential.password) {
            self.note_use(session.account.id, slot);
        }
        Ok(session)
    }

    async fn try_proof(
        &self,
        identity: Option<Mailbox>,
        proof: &Proof,
        peer: Peer,
    ) -> Result<Proven, LoginError> {
        let account =
            identity.and_then(|address| self.directory.snapshot().account_by_address(&address));
        let slots = account.iter().flat_map(|account| account.slots.iter());
        let slots = slots.map(|named| &named.slot);
        let scram = slots.filter(|slot| slot::scram_parameters(slot).is_some()).cloned();
        let scram: Vec<Slot> = scram.collect();
        let Some(account) = account.filter(|_| !scram.is_empty()) else {
            slot::dummy_scram_work(&proof.auth_message);
            return Err(LoginError::Rejected);
        };
        let mut proven = None;
        for slot in &scram {
            match slot::open_scram(account.id, slot, &proof.auth_message, &proof.proof) {
                Ok(opened) => proven = Some((slot.id, opened)),
                Err(SlotError::Wrong) => {}
                Err(error) => {
                    tracing::error!(account = %account.id, slot = slot.id, %error, "a slot is damaged");
                }
            }
        }
        let (slot, proven) = proven.ok_or(LoginError::Rejected)?;
        if !enabled(&account) {
            return Err(LoginError::Disabled);
        }
        let handle = match self.mailboxes.handle(account.id) {
            Some(handle) => handle,
            None => {
                let handle = self.unlock(&account, &proven.key).await?;
                self.let_mail_arrive(account.id).await;
                handle
            }
        };
        let session = self.enter(account, handle, proof.authzid.as_deref(), peer).await?;
        self.note_use(session.account.id, slot);
        Ok(Proven { session, challenge: sasl::server_final(&proven.server_signature) })
    }

    /// A session on a mailbox that its owner has opened, if nothing else is in the way.
    async fn enter(
        &self,
        account: Arc<Account>,
        handle: Handle,
        authzid: Option<&str>,
        peer: Peer,
    ) -> Result<Session, LoginError> {
        if authzid.is_some_and(|other| !same_identity(other, &account)) {
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
        // A credential that was added takes nothing from this one, and the organisation's may go at any unlock.
        let mut own = then.slots.iter().filter(|n| n.slot.kind != SlotKind::Organisation);
        if !own.all(|named| now.slot(named.slot.id).map(|n| &n.slot) == Some(&named.slot)) {
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

    /// Writes down, to the hour, that a credential was used. Nobody waits for it.
    fn note_use(&self, account: AccountId, slot: u32) {
        let directory = Arc::clone(&self.directory);
        tokio::spawn(async move {
            match directory.slot_used(account, slot, Timestamp::now()).await {
                // Taken back at this very moment.
                Ok(())
                | Err(DirectoryError::NoSuchSlot { .. } | DirectoryError::NoSuchAccount(_)) => {}
                Err(error) => {
                    tracing::warn!(%account, slot, %error, "a credential's use was not written down");
                }
            }
        });
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
}

fn enabled(account: &Account) -> bool {
    account.state == AccountState::Enabled
}

fn same_identity(authzid: &str, account: &Account) -> bool {
    authzid.parse::<Mailbox>().is_ok_and(|other| other.canonical() == account.address.canonical())
}
