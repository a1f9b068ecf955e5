//! A server in a folder of its own, and short ways to say what tests do.

pub(crate) use std::path::Path;
pub(crate) use std::sync::Arc;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use jiff::Timestamp;
pub(crate) use letterlock_address::{Domain, Mailbox, ReversePath};
pub(crate) use letterlock_delivery::{
    AcceptError, Asked, Drainer, FiledCopy, Folder, Forwarding, Incoming, Intake, Notices,
    Recipient, RecipientDecision, Telling, settler,
};
pub(crate) use letterlock_directory::{
    Account, AccountKeys, AccountState, Directory, Disabled, DkimAlgorithm, DkimKey, DkimPrivate,
    DkimState, KeyMode, NamedSlot, NewAccount,
};
pub(crate) use letterlock_guard::Guard;
pub(crate) use letterlock_login::{Login, Settings};
pub(crate) use letterlock_mailbox::{
    AccountState as MailboxState, Columns, Handle, Mailboxes, Options, SelectMode, Way, all_uids,
};
pub(crate) use letterlock_queue::{
    Due, NewEntry, NewRecipient, Notify, Origin, Queue, Route, Seal,
};
pub(crate) use letterlock_sender_auth::{Attested, KeyAlgorithm, generate_key};
pub(crate) use letterlock_state::{Event, State};
pub(crate) use letterlock_vault::slot::{self, Argon2Cost};
pub(crate) use letterlock_vault::{
    AccountId, AccountKey, AccountSecrets, DeliveryId, Pool, ServerKey,
};
pub(crate) use tempfile::TempDir;
pub(crate) use tokio::task::JoinHandle;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) server: Arc<ServerKey>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) login: Arc<Login>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) state: Arc<State>,
    /// Of whose filing senders would be told.
    pub(crate) told: Arc<Told>,
    pub(crate) drainer: Option<JoinHandle<()>>,
}

/// Keeps what senders would be told.
#[derive(Default)]
pub(crate) struct Told(pub(crate) std::sync::Mutex<Vec<FiledCopy>>);

impl Notices for Told {
    fn filed(&self, copy: FiledCopy) -> Telling<'_> {
        self.0.lock().unwrap().push(copy);
        Box::pin(std::future::ready(()))
    }
}

/// An account, and the key that its owner's credentials would open.
pub(crate) struct Owner {
    pub(crate) id: AccountId,
    pub(crate) key: AccountKey,
}

impl World {
    /// With the domain `a.test` and its drainer at work.
    pub(crate) async fn new() -> World {
        let mut world = World::open(tempfile::tempdir().unwrap()).await;
        world.add_domain("a.test").await;
        world.start();
        world
    }

    pub(crate) async fn open(dir: TempDir) -> World {
        let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server, &pool).await.unwrap();
        let queue = Queue::open(dir.path(), &server, &pool).await.unwrap();
        let retention = letterlock_config::Retention::default();
        let state = State::open(dir.path(), &server, &pool, retention).await.unwrap();
        let options = Options { idle_close: None, ..Options::default() };
        let mailboxes = Mailboxes::new(dir.path(), pool, options);
        let guard = Guard::new(&letterlock_config::Limits::default(), Instant::now());
        let settings =
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 1, sessions_per_account: 9 };
        let login = Arc::new(Login::new(
            directory.clone(),
            mailboxes.clone(),
            guard,
            server.clone(),
            settings,
        ));
        let (sender, _) = settler(queue.clone(), mailboxes.clone());
        let told = Arc::new(Told::default());
        let intake = Intake::new(
            directory.clone(),
            mailboxes.clone(),
            queue.clone(),
            login.clone(),
            sender,
            Forwarding::new(&server, None),
        );
        let intake = Arc::new(intake.traced(state.clone()).noticed(told.clone()));
        World {
            dir,
            server,
            directory,
            mailboxes,
            queue,
            login,
            intake,
            state,
            told,
            drainer: None,
        }
    }

    pub(crate) fn start(&mut self) {
        let drainer = Drainer {
            directory: self.directory.clone(),
            mailboxes: self.mailboxes.clone(),
            queue: self.queue.clone(),
            login: self.login.clone(),
            state: Some(self.state.clone()),
            notices: Some(self.told.clone()),
        };
        self.drainer = Some(tokio::spawn(Arc::new(drainer).run()));
    }

    /// What a program finds that starts after this one crashed at this moment. Nothing runs yet.
    pub(crate) async fn crashed(&self) -> World {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.dir.path(), copy.path());
        World::open(copy).await
    }

    pub(crate) async fn add_domain(&self, name: &str) {
        let (name, now) = (Domain::parse(name).unwrap(), Timestamp::now());
        let key = generate_key(KeyAlgorithm::Ed25519).unwrap();
        let key = DkimKey {
            selector: "s".into(),
            algorithm: DkimAlgorithm::Ed25519,
            private: DkimPrivate::new(key.private),
            public_dns: key.public_dns,
            state: DkimState::Active,
            created_at: now,
        };
        self.directory.add_domain(name, None, vec![key], now).await.unwrap();
    }

    /// What is to go to other servers, in the order of acceptance, with its bodies.
    pub(crate) async fn outgoing(&self) -> Vec<(Due, String)> {
        let mut outgoing = Vec::new();
        for due in self.queue.due(Timestamp::now(), 100).await.unwrap() {
            let body = self.queue.server_body(due.entry).await.unwrap();
            outgoing.push((due, String::from_utf8(body.to_vec()).unwrap()));
        }
        outgoing
    }

    /// What is told of a message.
    pub(crate) async fn trace(&self, id: DeliveryId) -> Vec<Event> {
        self.state.trace(id).await.unwrap().into_iter().map(|(_, event)| event).collect()
    }

    pub(crate) async fn add(&self, address: &str, mode: KeyMode) -> Owner {
        let (id, key) = (AccountId::generate(), AccountKey::random());
        let (secrets, wrapped) = AccountSecrets::generate(id, &key, &self.server);
        self.mailboxes.create(&secrets).await.unwrap();
        let slot = match mode {
            KeyMode::UserHeld => slot::recovery(id, 0, &key).1,
            KeyMode::ServerHeld => slot::server(id, 0, &key, &self.server),
        };
        let now = Timestamp::now();
        let slots = vec![NamedSlot { slot, name: String::new(), created_at: now, last_used: None }];
        let new = NewAccount {
            id,
            address: mailbox(address),
            keys: AccountKeys { mode, secrets: wrapped, slots },
            quota: None,
            quota_messages: None,
            display_name: None,
            created_at: now,
        };
        self.directory.add_account(new).await.unwrap();
        Owner { id, key }
    }

    pub(crate) async fn add_alias(&self, source: &str, targets: &[&str]) {
        let targets = targets.iter().map(|target| mailbox(target)).collect();
        self.directory.add_alias(mailbox(source), targets, Timestamp::now()).await.unwrap();
    }

    pub(crate) fn account(&self, owner: &Owner) -> Arc<Account> {
        self.directory.snapshot().account(owner.id).unwrap()
    }

    pub(crate) async fn unlock(&self, owner: &Owner) -> Handle {
        self.login.unlock(&self.account(owner), &owner.key).await.unwrap()
    }

    pub(crate) async fn accept(&self, subject: &str, to: &[&str]) {
        self.intake.accept(incoming(subject, to)).await.unwrap();
    }

    pub(crate) async fn parked(&self, owner: &Owner) -> u64 {
        self.queue.usage(owner.id).await.unwrap().messages
    }

    /// Waits until nothing is under way to the owner and the mailbox takes mail directly.
    pub(crate) async fn settled(&self, owner: &Owner) {
        until("everything is filed and settled", async || {
            self.parked(owner).await == 0 && self.mailboxes.state(owner.id) == MailboxState::Open
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(drainer) = &self.drainer {
            drainer.abort();
        }
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

pub(crate) fn incoming(subject: &str, to: &[&str]) -> Incoming {
    Incoming {
        id: DeliveryId::generate(),
        received_at: Timestamp::from_second(1_700_000_000).unwrap(),
        origin: Origin::Inbound,
        reverse_path: ReversePath::Mailbox(mailbox("bob@far.test")),
        smtputf8: false,
        eight_bit: false,
        body: format!("Subject: {subject}\r\n\r\nHello.\r\n").into(),
        recipients: to.iter().map(|to| mailbox(to).into()).collect(),
        folder: Folder::Inbox,
        asked: Asked::default(),
        attested: None,
    }
}

/// The messages of a folder, oldest first.
pub(crate) async fn messages(handle: &Handle, folder: &str) -> Vec<String> {
    let selected = handle.select(folder, SelectMode::ReadOnly).await.unwrap();
    let rows =
        handle.rows(selected.folder, &all_uids(), Columns::default(), 0, 10_000).await.unwrap();
    let mut messages = Vec::new();
    for row in rows {
        let body = handle.body(selected.folder, row.uid).await.unwrap().unwrap();
        messages.push(String::from_utf8(body.to_vec()).unwrap());
    }
    messages
}

pub(crate) async fn subjects(handle: &Handle) -> Vec<String> {
    let messages = messages(handle, "INBOX").await;
    let subject = |message: &String| {
        let line = message.lines().find_map(|line| line.strip_prefix("Subject: "));
        line.expect("a subject").to_owned()
    };
    messages.iter().map(subject).collect()
}
