//! A server with one account, and a client that talks to it line by line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_config::Settings;
use letterlock_directory::{AccountKeys, Directory, KeyMode, NamedSlot, NewAccount};
use letterlock_guard::Guard;
use letterlock_imap::Imap;
use letterlock_login::Login;
use letterlock_mailbox::{Mailboxes, Options};
use letterlock_net::{Audience, ClientTls, Shutdown, Stream, Tls};
use letterlock_vault::slot::{self, Argon2Cost};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The account's address.
pub(crate) const ANN: &str = "ann@example.test";

/// A server; its files go with it.
pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) account: AccountId,
    pub(crate) password: String,
    pub(crate) shutdown: Shutdown,
    address: SocketAddr,
    tls_address: SocketAddr,
    /// Dropped last: it holds the files.
    _folder: tempfile::TempDir,
}

impl World {
    /// A server that takes passwords in the clear.
    pub(crate) async fn start() -> World {
        World::with(|settings| settings.auth.allow_cleartext = true).await
    }

    /// A server with other settings than the defaults.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> World {
        World::of(ANN, change).await
    }

    /// The same with an account of this address.
    pub(crate) async fn of(address: &str, change: impl FnOnce(&mut Settings)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::local(folder.path());
        settings.auth.allow_cleartext = false;
        change(&mut settings);
        let pool = Pool::new("test", 2);
        let server_key = Arc::new(ServerKey::load_or_create(folder.path(), None).unwrap());
        let directory = Directory::open(folder.path(), &server_key, &pool).await.unwrap();
        let options = Options { message_size: settings.limits.message_size, ..Options::default() };
        let mailboxes = Mailboxes::new(folder.path(), pool, options);
        let (account, password) = add_account(address, &directory, &mailboxes, &server_key).await;
        let login = Login::new(
            Arc::clone(&directory),
            Arc::clone(&mailboxes),
            Guard::new(&settings.limits, Instant::now()),
            server_key,
            letterlock_login::Settings {
                argon2: Argon2Cost::FLOOR,
                argon2_parallel: 1,
                sessions_per_account: settings.limits.sessions_per_account,
            },
        );
        let tls = Arc::new(Tls::load(&settings.tls, "localhost").unwrap());
        let imap = Arc::new(Imap::new(Arc::new(login), Arc::clone(&tls), &settings));
        let shutdown = Shutdown::new();
        let address = listen(Arc::clone(&imap), None, shutdown.clone()).await;
        let tls_address = listen(imap, Some(tls), shutdown.clone()).await;
        World {
            directory,
            mailboxes,
            account,
            password,
            shutdown,
            address,
            tls_address,
            _folder: folder,
        }
    }

    /// A new connection, after its greeting.
    pub(crate) async fn connect(&self) -> Client {
        let (client, greeting) = self.greeted().await;
        assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
        client
    }

    /// A new connection and its greeting.
    pub(crate) async fn greeted(&self) -> (Client, String) {
        let stream = Stream::plain(TcpStream::connect(self.address).await.unwrap());
        let mut client = Client { stream, buffer: Vec::new() };
        let greeting = client.line().await;
        (client, greeting)
    }

    /// A new connection with TLS from the first octet, and its greeting.
    pub(crate) async fn greeted_over_tls(&self) -> (Client, String) {
        let stream = Stream::plain(TcpStream::connect(self.tls_address).await.unwrap());
        let mut client = Client { stream, buffer: Vec::new() }.start_tls().await;
        let greeting = client.line().await;
        (client, greeting)
    }

    /// A connection that is logged in.
    pub(crate) async fn log_in(&self) -> Client {
        let mut client = self.connect().await;
        let command = format!("LOGIN {ANN} {}", self.password);
        client.ok(&command).await;
        client
    }

    /// A connection with a mailbox.
    pub(crate) async fn select(&self, name: &str) -> Client {
        let mut client = self.log_in().await;
        client.ok(&format!("SELECT {name}")).await;
        client
    }
}

async fn listen(imap: Arc<Imap>, tls: Option<Arc<Tls>>, shutdown: Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            let (imap, tls, shutdown) = (Arc::clone(&imap), tls.clone(), shutdown.clone());
            tokio::spawn(async move {
                let mut stream = Stream::plain(socket);
                if let Some(tls) = tls {
                    stream = stream.start_tls(&tls, Audience::Clients, PATIENCE).await.unwrap();
                }
                imap.serve(stream, peer, shutdown).await;
            });
        }
    });
    address
}

async fn add_account(
    address: &str,
    directory: &Arc<Directory>,
    mailboxes: &Mailboxes,
    server_key: &ServerKey,
) -> (AccountId, String) {
    let (id, now, key) = (AccountId::generate(), Timestamp::now(), AccountKey::random());
    let (secrets, wrapped) = AccountSecrets::generate(id, &key, server_key);
    let (password, slot) = slot::app_password(id, 1, &key);
    let (_, domain) = address.split_once('@').unwrap();
    directory.add_domain(domain.parse().unwrap(), None, Vec::new(), now).await.unwrap();
    mailboxes.create(&secrets).await.unwrap();
    let slots = vec![NamedSlot { slot, name: "test".into(), created_at: now, last_used: None }];
    let keys = AccountKeys { mode: KeyMode::UserHeld, secrets: wrapped, slots };
    let new = NewAccount {
        id,
        address: address.parse().unwrap(),
        keys,
        quota: None,
        quota_messages: None,
        display_name: None,
        created_at: now,
    };
    directory.add_account(new).await.unwrap();
    (id, password.to_string())
}

/// A client. Every wait is limited, so that a missing answer is a failure.
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    /// Sends octets as they are.
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its CRLF, with literals and what follows them.
    pub(crate) async fn line(&mut self) -> String {
        self.try_line().await.expect("the server closed the connection")
    }

    /// The next line; `None` at the end.
    pub(crate) async fn try_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let end = loop {
                match self.buffer.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => self.fill().await?,
                }
            };
            line.extend(self.buffer.drain(..end + 2));
            line.truncate(line.len() - 2);
            let Some(size) = literal(&line) else { break };
            line.extend_from_slice(b"\r\n");
            while self.buffer.len() < size {
                self.fill().await?;
            }
            line.extend(self.buffer.drain(..size));
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    async fn fill(&mut self) -> Option<()> {
        let mut space = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut space));
        let count = read.await.expect("the server is silent").unwrap_or(0);
        self.buffer.extend_from_slice(&space[..count]);
        (count > 0).then_some(())
    }

    /// Some octets as they come; none at the end.
    pub(crate) async fn octets(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Puts octets back that are to be read as lines.
    pub(crate) fn give_back(&mut self, octets: &[u8]) {
        self.buffer.splice(..0, octets.iter().copied());
    }

    /// All lines up to the tagged one, which is the last.
    pub(crate) async fn until(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let done = line.split(' ').next() == Some(tag);
            lines.push(line);
            if done {
                return lines;
            }
        }
    }

    /// Runs a command.
    pub(crate) async fn run(&mut self, command: &str) -> Vec<String> {
        self.send(format!("t {command}\r\n")).await;
        self.until("t").await
    }

    /// Runs a command that must succeed; the untagged lines.
    #[track_caller]
    pub(crate) fn ok<'c>(&'c mut self, command: &'c str) -> impl Future<Output = Vec<String>> + 'c {
        let caller = std::panic::Location::caller();
        async move {
            let mut lines = self.run(command).await;
            let tagged = lines.pop().unwrap();
            assert!(tagged.starts_with("t OK"), "{caller}: {command}: {tagged}");
            lines
        }
    }

    /// Runs a command; the tagged line without its tag.
    pub(crate) async fn answer(&mut self, command: &str) -> String {
        self.run(command).await.pop().unwrap()[2..].to_owned()
    }

    /// Runs a command and checks how the tagged line begins.
    #[track_caller]
    pub(crate) fn gives<'c>(
        &'c mut self,
        command: &'c str,
        expected: &'c str,
    ) -> impl Future<Output = ()> + 'c {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.answer(command).await;
            assert!(answer.starts_with(expected), "{caller}: {command}: {answer}");
        }
    }

    /// Appends a message with a non-synchronising literal.
    pub(crate) async fn append(
        &mut self,
        mailbox: &str,
        flags: &str,
        message: &str,
    ) -> Vec<String> {
        self.send(format!("t APPEND {mailbox} ({flags}) {{{}+}}\r\n{message}\r\n", message.len()))
            .await;
        let lines = self.until("t").await;
        assert!(lines.last().unwrap().starts_with("t OK [APPENDUID "), "{lines:?}");
        lines
    }

    /// Goes over to TLS after STARTTLS was answered.
    pub(crate) async fn start_tls(self) -> Client {
        let (config, _) = ClientTls::load(None).unwrap().opportunistic();
        let stream = self.stream.start_tls_client(config, "localhost", PATIENCE).await.unwrap();
        Client { stream, buffer: Vec::new() }
    }
}

/// The size of the literal that the line ends with.
fn literal(line: &[u8]) -> Option<usize> {
    let rest = line.strip_suffix(b"}")?;
    let open = rest.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(&rest[open + 1..]).ok()?.parse().ok()
}

/// A message with this subject and text.
pub(crate) fn message(subject: &str, text: &str) -> String {
    format!("From: Bob <bob@example.net>\r\nTo: {ANN}\r\nSubject: {subject}\r\n\r\n{text}\r\n")
}
