//! POP3 over loopback, on a real directory and mailboxes in a folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_address::Domain;
use letterlock_config::Limits;
use letterlock_directory::{AccountKeys, Directory, KeyMode, NamedSlot, NewAccount};
use letterlock_guard::Guard;
use letterlock_login::{Login, Settings};
use letterlock_mailbox::{Flags, Handle, InternalDate, Mailboxes, NewMessage, Options};
use letterlock_net::{Shutdown, Stream, Tls};
use letterlock_pop3::{Locks, Pop3};
use letterlock_testkit::ca::trusting_client_config;
use letterlock_testkit::pop3::Client;
use letterlock_vault::slot::{self, Argon2Cost};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey};
use tempfile::TempDir;

/// A server with ann@a.test, whose mailbox is unlocked.
struct World {
    pop3: Arc<Pop3>,
    mailboxes: Arc<Mailboxes>,
    handle: Handle,
    token: String,
    shutdown: Shutdown,
    _dir: TempDir,
}

impl World {
    async fn new(login_timeout: Duration) -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server, &pool).await.unwrap();
        let mailboxes = Mailboxes::new(dir.path(), pool, Options::default());
        let name = Domain::parse("a.test").unwrap();
        directory.add_domain(name, None, Vec::new(), Timestamp::now()).await.unwrap();
        let (id, key, now) = (AccountId::generate(), AccountKey::random(), Timestamp::now());
        let (secrets, wrapped) = AccountSecrets::generate(id, &key, &server);
        mailboxes.create(&secrets).await.unwrap();
        let (token, slot) = slot::app_password(id, 0, &key);
        let slots = vec![NamedSlot { slot, name: String::new(), created_at: now, last_used: None }];
        let new = NewAccount {
            id,
            address: "ann@a.test".parse().unwrap(),
            keys: AccountKeys { mode: KeyMode::UserHeld, secrets: wrapped, slots },
            quota: None,
            display_name: None,
            created_at: now,
        };
        directory.add_account(new).await.unwrap();
        let handle = mailboxes.unlock(secrets, false).await.unwrap();
        let login = Login::new(
            directory,
            mailboxes.clone(),
            Guard::new(&Limits::default(), Instant::now()),
            server,
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 1, sessions_per_account: 9 },
        );
        let pop3 = Pop3 {
            login: Arc::new(login),
            tls: Arc::new(Tls::load(&letterlock_config::Tls::default(), "mx.a.test").unwrap()),
            allow_cleartext: false,
            handshake_timeout: Duration::from_secs(20),
            login_timeout,
            idle_timeout: Duration::from_secs(20),
            locks: Locks::default(),
        };
        let (token, shutdown) = (token.to_string(), Shutdown::new());
        World { pop3: Arc::new(pop3), mailboxes, handle, token, shutdown, _dir: dir }
    }

    async fn append(&self, messages: &[&str]) {
        let new = messages.iter().map(|text| NewMessage {
            bytes: text.to_string().into(),
            flags: Flags::default(),
            internal_date: InternalDate::utc(Timestamp::UNIX_EPOCH),
        });
        self.handle.append("INBOX", new.collect()).await.unwrap();
    }

    async fn client(&self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pop3, shutdown) = (self.pop3.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let (socket, peer) = listener.accept().await.unwrap();
            pop3.serve(Stream::plain(socket), peer, shutdown).await;
        });
        let mut client = Client::connect(address).await.unwrap();
        client.stls(trusting_client_config().unwrap(), "mx.a.test").await.unwrap();
        client
    }

    async fn logged_in(&self) -> Client {
        let mut client = self.client().await;
        client.login("ann@a.test", &self.token).await.unwrap();
        client
    }
}

#[tokio::test]
async fn a_maildrop_is_read_and_emptied() {
    let world = World::new(Duration::from_secs(20)).await;
    world
        .append(&["Subject: one\r\n\r\n.dot\r\n..\r\nend\r\n", "Subject: two\r\n\r\n1\r\n2\r\n"])
        .await;
    let mut client = world.logged_in().await;
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 2 53");
    assert_eq!(client.multi("LIST").await.unwrap(), ["1 31", "2 22"]);
    assert_eq!(client.retrieve(1).await.unwrap(), b"Subject: one\r\n\r\n.dot\r\n..\r\nend\r\n");
    assert_eq!(client.multi("TOP 2 1").await.unwrap(), ["Subject: two", "", "1"]);
    let ids = client.multi("UIDL").await.unwrap();
    client.command("DELE 1").await.unwrap();
    // What comes meanwhile is not in the snapshot; what goes meanwhile is said to be gone.
    world.append(&["Subject: three\r\n\r\n"]).await;
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 1 22");
    client.quit().await.unwrap();
    let mut client = world.logged_in().await;
    let left = client.multi("UIDL").await.unwrap();
    assert_eq!(left[0].split(' ').nth(1), ids[1].split(' ').nth(1), "ids are stable");
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 2 40");
    client.command("DELE 1").await.unwrap();
    drop(client);
    let mut client = loop {
        // The one before is still being ended.
        let mut client = world.client().await;
        if client.login("ann@a.test", &world.token).await.is_ok() {
            break client;
        }
    };
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 2 40", "without QUIT nothing goes");
}

#[tokio::test]
async fn one_session_has_the_maildrop() {
    let world = World::new(Duration::from_secs(20)).await;
    let first = world.logged_in().await;
    let mut second = world.client().await;
    second.command("USER ann@a.test").await.unwrap();
    let refused = second.try_command(&format!("PASS {}", world.token)).await.unwrap();
    assert!(refused.starts_with("-ERR [IN-USE]"), "{refused}");
    first.quit().await.unwrap();
    second.login("ann@a.test", &world.token).await.unwrap();
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let world = World::new(Duration::from_secs(20)).await;
    world.append(&["Subject: one\r\n\r\n"]).await;
    let mut client = world.logged_in().await;
    client.send_raw("LIST\r\n".repeat(3000).as_bytes()).await.unwrap();
    for _ in 0..3000 {
        client.expect("+OK 1").await.unwrap();
        client.expect("1 16").await.unwrap();
        client.expect(".").await.unwrap();
    }
}

#[tokio::test]
async fn who_does_not_log_in_is_sent_away_however_busy() {
    let world = World::new(Duration::from_millis(300)).await;
    let mut client = world.client().await;
    let begun = Instant::now();
    while client.multi("CAPA").await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn locks_and_shutdown_end_sessions() {
    let world = World::new(Duration::from_secs(20)).await;
    let mut client = world.logged_in().await;
    world.mailboxes.lock(world.handle.account()).await.unwrap();
    assert!(client.until_closed().await.unwrap().starts_with("-ERR [SYS/TEMP]"));
    let mut client = world.logged_in().await;
    world.shutdown.begin();
    assert!(client.until_closed().await.unwrap().starts_with("-ERR [SYS/TEMP]"));
}
