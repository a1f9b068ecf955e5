//! Logging in, with a real directory and mailboxes in a folder.

mod scram;
mod together;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_address::Domain;
use letterlock_config::Limits;
use letterlock_directory::{
    Account, AccountKeys, AccountState, Directory, Disabled, KeyMode, NamedSlot, NewAccount,
};
use letterlock_guard::Guard;
use letterlock_login::sasl::{Exchange, Ground, Proof, Step};
use letterlock_login::{
    Credential, Login, LoginError, Peer, Protocol, Session, Settings, UnlockError,
};
use letterlock_mailbox::{Mailboxes, Options};
use letterlock_net::ChannelBindings;
use letterlock_testkit::scram::Scram;
use letterlock_vault::slot::{self, Argon2Cost, OrganisationKey};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey, Slot, SlotKind};
use tempfile::TempDir;
use zeroize::Zeroizing;

const PASSWORD: &str = "correct horse";
const PASSWORD_SLOT: u32 = 0;
const APP_SLOT: u32 = 1;

/// A server with ann@a.test, who has a password, an app password and a recovery key.
struct World {
    server: Arc<ServerKey>,
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    login: Arc<Login>,
    ann: AccountId,
    key: AccountKey,
    app: Zeroizing<String>,
    recovery: Zeroizing<String>,
    _dir: TempDir,
}

impl World {
    async fn new() -> World {
        World::with(9, Limits::default()).await
    }

    async fn with(sessions_per_account: usize, limits: Limits) -> World {
        World::of(sessions_per_account, limits, None).await
    }

    async fn of(
        sessions_per_account: usize,
        limits: Limits,
        organisation: Option<OrganisationKey>,
    ) -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server, &pool).await.unwrap();
        let mailboxes = Mailboxes::new(dir.path(), pool, Options::default());
        let login = Login::new(
            directory.clone(),
            mailboxes.clone(),
            Guard::new(&limits, Instant::now()),
            server.clone(),
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 2, sessions_per_account },
        )
        .with_organisation(organisation);
        let name = Domain::parse("a.test").unwrap();
        directory.add_domain(name, None, Vec::new(), Timestamp::now()).await.unwrap();
        let (ann, key) = (AccountId::generate(), AccountKey::random());
        let password = slot::password(ann, PASSWORD_SLOT, PASSWORD, &key, Argon2Cost::FLOOR);
        let (app, app_slot) = slot::app_password(ann, APP_SLOT, &key);
        let (recovery, recovery_slot) = slot::recovery(ann, 2, &key);
        let world = World {
            server,
            directory,
            mailboxes,
            login: Arc::new(login),
            ann,
            key: key.clone(),
            app,
            recovery,
            _dir: dir,
        };
        let slots = vec![password, app_slot, recovery_slot];
        world.add(ann, &key, "ann@a.test", KeyMode::UserHeld, slots).await;
        world
    }

    async fn add(
        &self,
        id: AccountId,
        key: &AccountKey,
        address: &str,
        mode: KeyMode,
        slots: Vec<Slot>,
    ) {
        let (secrets, wrapped) = AccountSecrets::generate(id, key, &self.server);
        self.mailboxes.create(&secrets).await.unwrap();
        let new = NewAccount {
            id,
            address: address.parse().unwrap(),
            keys: AccountKeys {
                mode,
                secrets: wrapped,
                slots: slots.into_iter().map(named).collect(),
            },
            quota: None,
            quota_messages: None,
            display_name: None,
            created_at: Timestamp::now(),
        };
        self.directory.add_account(new).await.unwrap();
    }

    fn account(&self) -> Arc<Account> {
        self.directory.snapshot().account(self.ann).unwrap()
    }

    async fn try_login(&self, identity: &str, password: &str) -> Result<Session, LoginError> {
        self.login.authenticate(&credential(identity, password), peer([192, 0, 2, 1])).await
    }

    async fn log_in(&self) -> Session {
        self.try_login("ann@a.test", PASSWORD).await.unwrap()
    }

    /// An app password of ann's that logs in by SCRAM.
    async fn scram_password(&self) -> Zeroizing<String> {
        let account = self.account();
        let (salt, _) = self.login.salts().of_account(&account);
        let id = account.next_slot_id();
        let (text, slot) = slot::app_password_with_scram(self.ann, id, &self.key, &salt);
        self.directory.add_slot(self.ann, named(slot)).await.unwrap();
        text
    }

    /// The proof that a client comes to, and the client.
    fn proof(&self, user: &str, password: &str) -> (Proof, Scram) {
        let ground = Ground::new(ChannelBindings::default(), self.login.salts());
        let mechanism = ground.mechanism("SCRAM-SHA-256").unwrap();
        let mut client = Scram::new(user, password, "n", b"");
        let step = Exchange::start(mechanism, Some(&client.first()), &ground);
        let Step::Challenge(exchange, challenge) = step else { panic!("{step:?}") };
        match exchange.respond(&client.last(&challenge).unwrap()) {
            Step::Prove(proof) => (proof, client),
            other => panic!("{other:?}"),
        }
    }

    /// From now on the password's slot opens nothing, and nobody is told.
    async fn damage_password(&self) {
        let broken = Slot {
            data: vec![1, 2, 3],
            ..self.account().slot(PASSWORD_SLOT).unwrap().slot.clone()
        };
        self.directory.replace_slot(self.ann, named(broken)).await.unwrap();
    }
}

fn named(slot: Slot) -> NamedSlot {
    NamedSlot { slot, name: String::new(), created_at: Timestamp::now(), last_used: None }
}

fn credential(identity: &str, password: &str) -> Credential {
    Credential {
        identity: identity.into(),
        authzid: None,
        password: Zeroizing::new(password.into()),
    }
}

fn peer(ip: [u8; 4]) -> Peer {
    Peer { ip: IpAddr::from(ip), protocol: Protocol::Imap }
}

#[tokio::test]
async fn a_password_opens_a_session_and_the_mailbox() {
    let world = World::new().await;
    assert!(world.login.unlocked_key(world.ann).is_none());
    let session = world.try_login("Ann@A.test", PASSWORD).await.unwrap();
    assert_eq!(session.account.id, world.ann);
    assert_eq!(session.mailbox.account(), world.ann);
    assert_eq!(world.login.sessions(world.ann).len(), 1);
    assert_eq!(session.mailbox.sessions(), 1);
    assert!(world.login.unlocked_key(world.ann).is_some());
    let mailbox = session.mailbox.clone();
    drop(session);
    assert_eq!((world.login.sessions(world.ann).len(), mailbox.sessions()), (0, 0));
}

#[tokio::test]
async fn what_is_wrong_is_not_told() {
    let world = World::new().await;
    for (identity, password) in [
        ("ann@a.test", "wrong"),
        ("ann@a.test", ""),
        ("bob@a.test", PASSWORD),
        ("ann@b.test", PASSWORD),
        ("ann+x@a.test", PASSWORD),
        ("ann", PASSWORD),
        ("", PASSWORD),
        ("ann@a.test", &world.recovery),
        ("bob@a.test", &world.app),
    ] {
        let refused = world.try_login(identity, password).await.unwrap_err();
        assert!(matches!(refused, LoginError::Rejected), "{identity}: {refused}");
        assert_eq!(refused.to_string(), "the credentials were rejected");
    }
    assert!(world.mailboxes.handle(world.ann).is_none(), "nothing was unlocked");
}

#[tokio::test]
async fn tokens_are_tried_without_argon2_for_known_and_unknown_alike() {
    let world = World::new().await;
    let (other, _) = slot::app_password(world.ann, 77, &world.key);
    let (wrong, _) = slot::app_password(world.ann, APP_SLOT, &world.key);
    let begun = Instant::now();
    for round in 0..20 {
        for (identity, token) in [
            ("ann@a.test", &other),
            ("ann@a.test", &wrong),
            ("nobody@a.test", &wrong),
            ("nobody@a.test", &world.recovery),
        ] {
            // From another network each time, so that nobody is throttled.
            let peer = peer([198, 51, round, 1]);
            let refused = world.login.authenticate(&credential(identity, token), peer).await;
            assert!(matches!(refused, Err(LoginError::Rejected)));
        }
    }
    let tokens = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..4 {
        let peer = peer([203, 0, 113, 1]);
        let _ = world.login.authenticate(&credential("nobody@a.test", "guess"), peer).await;
    }
    // 80 tries of tokens against 4 of passwords: one Argon2 among the former would not show,
    // twenty do.
    assert!(tokens < begun.elapsed() * 3, "{tokens:?} {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_authorization_identity_must_be_the_same() {
    let world = World::new().await;
    for (authzid, fits) in
        [("ann@a.test", true), ("ANN@A.TEST", true), ("bob@a.test", false), ("x", false)]
    {
        let mut credential = credential("ann@a.test", PASSWORD);
        credential.authzid = Some(authzid.into());
        let outcome = world.login.authenticate(&credential, peer([192, 0, 2, 1])).await;
        match outcome {
            Ok(_) => assert!(fits, "{authzid}"),
            Err(error) => {
                assert!(!fits && matches!(error, LoginError::Rejected), "{authzid}: {error}")
            }
        }
    }
}

#[tokio::test]
async fn only_who_knows_the_password_hears_that_the_account_is_disabled() {
    let world = World::new().await;
    let state = AccountState::Disabled(Disabled::Refuse);
    world.directory.set_account_state(world.ann, state).await.unwrap();
    assert!(matches!(world.try_login("ann@a.test", "wrong").await, Err(LoginError::Rejected)));
    assert!(matches!(world.try_login("ann@a.test", PASSWORD).await, Err(LoginError::Disabled)));
    assert!(world.mailboxes.handle(world.ann).is_none(), "nothing was unlocked");
}

#[tokio::test]
async fn guessing_is_throttled_where_it_happens() {
    let limits = Limits { logins_failed_per_account: 3, ..Limits::default() };
    let world = World::with(9, limits).await;
    for _ in 0..3 {
        assert!(matches!(world.try_login("ann@a.test", "wrong").await, Err(LoginError::Rejected)));
    }
    // The right password does not help there, and costs no Argon2.
    let throttled = world.try_login("ann@a.test", PASSWORD).await;
    assert!(
        matches!(throttled, Err(LoginError::Throttled { retry_after }) if !retry_after.is_zero())
    );
    let elsewhere = peer([198, 51, 100, 1]);
    assert!(world.login.authenticate(&credential("ann@a.test", PASSWORD), elsewhere).await.is_ok());
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_sessions() {
    let world = World::with(2, Limits::default()).await;
    let first = world.log_in().await;
    let _second = world.log_in().await;
    assert!(matches!(
        world.try_login("ann@a.test", PASSWORD).await,
        Err(LoginError::TooManySessions)
    ));
    drop(first);
    world.log_in().await;
}

#[tokio::test]
async fn the_second_login_needs_no_argon2_and_a_lock_forgets() {
    let world = World::new().await;
    let first = world.log_in().await;
    world.damage_password().await;
    let second = world.log_in().await;
    assert!(matches!(world.try_login("ann@a.test", "wrong").await, Err(LoginError::Temporary(_))));

    world.mailboxes.lock(world.ann).await.unwrap();
    for session in [&first, &second] {
        session.mailbox.closed().await;
    }
    assert!(world.login.unlocked_key(world.ann).is_none());
    assert!(world.try_login("ann@a.test", PASSWORD).await.is_err(), "the credential is forgotten");
}

#[tokio::test]
async fn an_app_password_logs_in_until_it_is_removed() {
    let world = World::new().await;
    world.damage_password().await;
    let session = world.try_login("ann@a.test", &world.app).await.unwrap();
    assert_eq!(session.account.id, world.ann);
    world.directory.remove_slot(world.ann, APP_SLOT).await.unwrap();
    world.mailboxes.lock(world.ann).await.unwrap();
    assert!(matches!(world.try_login("ann@a.test", &world.app).await, Err(LoginError::Rejected)));
}

#[tokio::test]
async fn any_secret_opens_the_key_for_commands() {
    let world = World::new().await;
    let account = world.account();
    for secret in [PASSWORD, &world.app, &world.recovery] {
        let secret = Zeroizing::new(secret.to_owned());
        let key = world.login.open_key(&account, &secret).await.unwrap();
        assert!(account.secrets.open(world.ann, &key, &world.server).is_ok());
    }
    let wrong = Zeroizing::new("wrong".to_owned());
    assert!(matches!(world.login.open_key(&account, &wrong).await, Err(UnlockError::Wrong)));
    assert!(matches!(world.login.unlock_server_held(&account).await, Err(UnlockError::Wrong)));
}

#[tokio::test]
async fn a_server_held_account_is_opened_without_a_password() {
    let world = World::new().await;
    let (id, key) = (AccountId::generate(), AccountKey::random());
    let slot = slot::server(id, 0, &key, &world.server);
    world.add(id, &key, "bot@a.test", KeyMode::ServerHeld, vec![slot]).await;
    let account = world.directory.snapshot().account(id).unwrap();
    let handle = world.login.unlock_server_held(&account).await.unwrap();
    assert_eq!(handle.account(), id);
    assert!(world.login.unlocked_key(id).is_some());
    // Nobody can log in: it has no password.
    assert!(matches!(world.try_login("bot@a.test", "").await, Err(LoginError::Rejected)));
}

#[tokio::test]
async fn the_organisations_key_follows_the_configuration() {
    let (private, public) = OrganisationKey::generate();
    let world = World::of(9, Limits::default(), Some(public)).await;
    let of_organisation = |world: &World| {
        let account = world.account();
        let slots = account.slots.iter().map(|named| named.slot.clone());
        slots.filter(|slot| slot.kind == SlotKind::Organisation).collect::<Vec<_>>()
    };
    assert!(of_organisation(&world).is_empty(), "it needs an unlock");
    assert!(matches!(
        world.login.open_key(&world.account(), &private).await,
        Err(UnlockError::Wrong)
    ));
    drop(world.log_in().await);
    let [slot] = of_organisation(&world).try_into().unwrap();
    drop(world.log_in().await);
    assert_eq!(of_organisation(&world), [slot], "one is enough");
    let key = world.login.open_key(&world.account(), &private).await.unwrap();
    assert!(world.account().secrets.open(world.ann, &key, &world.server).is_ok());
    let refused = world.try_login("ann@a.test", &private).await;
    assert!(
        matches!(refused, Err(LoginError::Rejected)),
        "it is for operators, not for logging in"
    );
    // Another key in its place, and then none.
    for (next, count) in [(Some(OrganisationKey::generate()), 1), (None, 0)] {
        world.mailboxes.lock(world.ann).await.unwrap();
        let login = Login::new(
            world.directory.clone(),
            world.mailboxes.clone(),
            Guard::new(&Limits::default(), Instant::now()),
            world.server.clone(),
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 2, sessions_per_account: 9 },
        )
        .with_organisation(next.map(|(_, public)| public));
        login
            .authenticate(&credential("ann@a.test", PASSWORD), peer([192, 0, 2, 1]))
            .await
            .unwrap();
        assert_eq!(of_organisation(&world).len(), count);
        let old = login.open_key(&world.account(), &private).await;
        assert!(matches!(old, Err(UnlockError::Wrong)), "the old key opens nothing any more");
    }
}
