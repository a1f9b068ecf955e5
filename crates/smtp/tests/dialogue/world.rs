//! A server in a folder of its own, and short ways to say what tests do.

pub(crate) use std::net::SocketAddr;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use std::time::{Duration, Instant};

pub(crate) use base64::Engine as _;
pub(crate) use base64::engine::general_purpose::STANDARD;
pub(crate) use jiff::Timestamp;
pub(crate) use letterlock_address::{Domain, Mailbox};
pub(crate) use letterlock_config::Limits;
pub(crate) use letterlock_delivery::{Intake, settler};
pub(crate) use letterlock_directory::{
    AccountKeys, AccountState, Directory, Disabled, DkimAlgorithm, DkimKey, DkimPrivate, DkimState,
    KeyMode, NamedSlot, NewAccount,
};
pub(crate) use letterlock_guard::Guard;
pub(crate) use letterlock_login::{Login, Settings};
pub(crate) use letterlock_mailbox::{Columns, Handle, Mailboxes, Options, SelectMode, all_uids};
pub(crate) use letterlock_net::{Audience, Shutdown, Stream, Tls};
pub(crate) use letterlock_queue::Queue;
pub(crate) use letterlock_sender_auth::{KeyAlgorithm, generate_key};
pub(crate) use letterlock_smtp::session::{Access, Rules, Tarpit};
pub(crate) use letterlock_smtp::{
    Connection, Inbound, LostReplies, Retries, SpoolRules, Submission,
};
pub(crate) use letterlock_testkit::ca::trusting_client_config;
pub(crate) use letterlock_testkit::smtp::Client;
pub(crate) use letterlock_vault::slot::{self, Argon2Cost};
pub(crate) use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey};
pub(crate) use tempfile::TempDir;
pub(crate) use tokio::io::{AsyncReadExt, AsyncWriteExt};
pub(crate) use tokio::net::TcpStream;

pub(crate) const SIZE: u64 = 20_000;
pub(crate) const MESSAGE: &[u8] =
    b"From: Ann <ann@a.test>\r\nSubject: hello\r\n\r\n.dot\r\nHello.\r\n";

/// A server with the domain a.test. Accounts have app passwords only: they are tried fast.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) server: Arc<ServerKey>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) login: Arc<Login>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) shutdown: Shutdown,
    pub(crate) patience: Duration,
    pub(crate) guard: Arc<Guard>,
    pub(crate) memory: Arc<Memory>,
    /// Connections that were served to their end.
    pub(crate) served: Arc<AtomicUsize>,
    /// Rules that differ from the usual ones.
    pub(crate) bent: Vec<(String, u64)>,
}

/// Lost replies, in memory.
#[derive(Default)]
pub(crate) struct Memory(std::sync::Mutex<std::collections::HashSet<[u8; 32]>>);

impl Memory {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl LostReplies for Memory {
    fn remember(&self, hash: [u8; 32], _: Timestamp) {
        self.0.lock().unwrap().insert(hash);
    }
    fn take(&self, hash: &[u8; 32], _: Timestamp) -> bool {
        self.0.lock().unwrap().remove(hash)
    }
}

/// An account, unlocked.
pub(crate) struct Owner {
    pub(crate) id: AccountId,
    pub(crate) token: String,
    pub(crate) handle: Handle,
}

impl World {
    pub(crate) async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server, &pool).await.unwrap();
        let queue = Queue::open(dir.path(), &server, &pool).await.unwrap();
        let mailboxes = Mailboxes::new(dir.path(), pool, Options::default());
        let guard = Guard::new(&Limits::default(), Instant::now());
        let settings =
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 1, sessions_per_account: 9 };
        let login = Login::new(
            directory.clone(),
            mailboxes.clone(),
            guard.clone(),
            server.clone(),
            settings,
        );
        let login = Arc::new(login);
        let (sender, _) = settler(queue.clone(), mailboxes.clone());
        let intake = Intake::new(
            directory.clone(),
            mailboxes.clone(),
            queue.clone(),
            login.clone(),
            sender,
            letterlock_delivery::Forwarding::new(&server, None),
        );
        let name = Domain::parse("a.test").unwrap();
        directory.add_domain(name, None, Vec::new(), Timestamp::now()).await.unwrap();
        World {
            dir,
            server,
            directory,
            mailboxes,
            queue,
            login,
            intake: Arc::new(intake),
            tls: Arc::new(Tls::load(&letterlock_config::Tls::default(), "mx.a.test").unwrap()),
            shutdown: Shutdown::new(),
            patience: Duration::from_secs(20),
            guard,
            memory: Arc::default(),
            served: Arc::default(),
            bent: Vec::new(),
        }
    }

    /// An account that is unlocked and has nothing to drain.
    pub(crate) async fn add(&self, address: &str) -> Owner {
        let (id, key) = (AccountId::generate(), AccountKey::random());
        let (secrets, wrapped) = AccountSecrets::generate(id, &key, &self.server);
        self.mailboxes.create(&secrets).await.unwrap();
        let (token, slot) = slot::app_password(id, 0, &key);
        let now = Timestamp::now();
        let slots = vec![NamedSlot { slot, name: String::new(), created_at: now, last_used: None }];
        let new = NewAccount {
            id,
            address: address.parse().unwrap(),
            keys: AccountKeys { mode: KeyMode::UserHeld, secrets: wrapped, slots },
            quota: None,
            quota_messages: None,
            display_name: None,
            created_at: now,
        };
        self.directory.add_account(new).await.unwrap();
        let handle = self.mailboxes.unlock(secrets, false).await.unwrap();
        Owner { id, token: token.to_string(), handle }
    }

    /// Changes a rule of the listeners that are opened from now on.
    pub(crate) fn bend(&mut self, rule: &str, number: u64) {
        self.bent.push((rule.to_owned(), number));
    }

    /// Waits until so many connections were served to their end.
    pub(crate) async fn ended(&self, count: usize) {
        until("the server notices", async || self.served.load(Ordering::SeqCst) >= count).await;
    }

    fn rules(&self, access: Access) -> Rules {
        let mut rules = Rules {
            hostname: "mx.a.test".into(),
            access,
            message_size: SIZE,
            recipients: 5,
            messages: 50,
            errors: 5,
            tarpit: Tarpit::default(),
            future_release: match access {
                Access::Anybody => None,
                Access::LoggedIn { .. } => Some(Duration::from_secs(3600)),
            },
        };
        for (rule, number) in &self.bent {
            match rule.as_str() {
                "errors" => rules.errors = *number as u32,
                "recipients" => rules.recipients = *number as usize,
                "messages" => rules.messages = *number as u32,
                "size" => rules.message_size = *number,
                "tarpit_ms" => {
                    let step = Duration::from_millis(*number);
                    rules.tarpit = Tarpit { after: 1, step, most: step * 2 };
                }
                other => panic!("no rule: {other}"),
            }
        }
        rules
    }

    pub(crate) fn connection(&self, access: Access, audience: Audience) -> Connection {
        Connection {
            rules: self.rules(access),
            tls: self.tls.clone(),
            audience,
            // Small, so that larger messages go through the temporary file.
            spool: SpoolRules { folder: self.dir.path().join("spool").into(), memory: 4096 },
            handshake_timeout: Duration::from_secs(20),
            command_timeout: self.patience,
            data_timeout: self.patience,
            guard: self.guard.clone(),
            retries: Some(Retries::new(self.server.derive("retries", b""), self.memory.clone())),
            room: None,
        }
    }

    /// A client of port 25.
    pub(crate) async fn inbound(&self) -> Client {
        Client::connect(self.port_25().await).await.unwrap()
    }

    /// Port 25, for one connection.
    pub(crate) async fn port_25(&self) -> SocketAddr {
        let frontend = Arc::new(Inbound {
            connection: self.connection(Access::Anybody, Audience::Servers),
            directory: self.directory.clone(),
            verifier: None,
            intake: self.intake.clone(),
            received_hops: 5,
        });
        let shutdown = self.shutdown.clone();
        self.listen(move |stream, peer| frontend.serve(stream, peer, shutdown)).await
    }

    /// A client of submission, before STARTTLS.
    pub(crate) async fn submission(&self) -> Client {
        Client::connect(self.port_587().await).await.unwrap()
    }

    /// Submission, for one connection.
    pub(crate) async fn port_587(&self) -> SocketAddr {
        let access = Access::LoggedIn { cleartext: false };
        let frontend = Arc::new(Submission {
            connection: self.connection(access, Audience::Clients),
            directory: self.directory.clone(),
            login: self.login.clone(),
            intake: self.intake.clone(),
            received_hops: 5,
        });
        let shutdown = self.shutdown.clone();
        self.listen(move |stream, peer| frontend.serve(stream, peer, shutdown)).await
    }

    /// A client of submission that has logged in.
    pub(crate) async fn logged_in(&self, owner: &Owner, address: &str) -> Client {
        let mut client = self.submission().await;
        client.ehlo("c.test").await.unwrap();
        client.starttls(trusting_client_config().unwrap(), "mx.a.test").await.unwrap();
        client.ehlo("c.test").await.unwrap();
        assert_eq!(client.auth_plain(address, &owner.token).await.unwrap().code, 235);
        client
    }

    /// Where one connection is served.
    async fn listen<F: Future<Output = ()> + Send + 'static>(
        &self,
        serve: impl FnOnce(Stream, SocketAddr) -> F + Send + 'static,
    ) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = self.served.clone();
        tokio::spawn(async move {
            let (socket, peer) = listener.accept().await.unwrap();
            serve(Stream::plain(socket), peer).await;
            served.fetch_add(1, Ordering::SeqCst);
        });
        address
    }

    pub(crate) async fn greeted(&self) -> Client {
        let mut client = self.inbound().await;
        client.ehlo("c.test").await.unwrap();
        client
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn messages(owner: &Owner) -> Vec<String> {
    let inbox = owner.handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
    let rows =
        owner.handle.rows(inbox.folder, &all_uids(), Columns::default(), 0, 1000).await.unwrap();
    let mut messages = Vec::new();
    for row in rows {
        let body = owner.handle.body(inbox.folder, row.uid).await.unwrap().unwrap();
        messages.push(String::from_utf8(body.to_vec()).unwrap());
    }
    messages
}

/// The only message, once it is there.
pub(crate) async fn arrived(owner: &Owner) -> String {
    until("mail arrives", async || !messages(owner).await.is_empty()).await;
    let mut found = messages(owner).await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}
