//! POP3 over loopback, on a real directory and mailboxes in a folder.

mod replay;

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
use letterlock_testkit::scram::Scram;
use letterlock_vault::slot::{self, Argon2Cost};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, ServerKey};
use tempfile::TempDir;

/// A server with one account, whose mailbox is unlocked.
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
        World::of("ann@a.test", login_timeout).await
    }

    async fn of(address: &str, login_timeout: Duration) -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server, &pool).await.unwrap();
        let mailboxes = Mailboxes::new(dir.path(), pool, Options::default());
        let name = Domain::parse(address.split_once('@').unwrap().1).unwrap();
        directory.add_domain(name, None, Vec::new(), Timestamp::now()).await.unwrap();
        let (id, key, now) = (AccountId::generate(), AccountKey::random(), Timestamp::now());
        let (secrets, wrapped) = AccountSecrets::generate(id, &key, &server);
        mailboxes.create(&secrets).await.unwrap();
        let (token, slot) = slot::app_password_with_scram(id, 0, &key, &[5; 16]);
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
async fn a_silent_client_is_left_without_a_word() {
    let world = World::new(Duration::from_millis(300)).await;
    let mut client = world.client().await;
    assert_eq!(client.until_closed().await.unwrap(), "");
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

/// AUTH with SCRAM, to the server's last word: `Ok` if it logs in.
async fn scram(client: &mut Client, mechanism: &str, mut scram: Scram) -> Result<(), String> {
    client.send(&format!("AUTH {mechanism} {}", scram.first())).await.unwrap();
    let answer = client.expect("").await.unwrap();
    let challenge = answer.strip_prefix("+ ").ok_or(answer.clone())?;
    let last = scram.last(challenge).unwrap();
    let answer = client.try_command(&last).await.unwrap();
    let challenge = answer.strip_prefix("+ ").ok_or(answer.clone())?;
    scram.verify(challenge).unwrap();
    let answer = client.try_command("").await.unwrap();
    if answer.starts_with("+OK") { Ok(()) } else { Err(answer) }
}

#[tokio::test]
async fn scram_logs_in_bound_to_the_connection_or_not() {
    let world = World::new(Duration::from_secs(20)).await;
    world.append(&["Subject: one\r\n\r\n"]).await;
    let user = "ann@a.test";
    let mut client = world.client().await;
    let sasl =
        client.multi("CAPA").await.unwrap().into_iter().find(|line| line.starts_with("SASL"));
    assert_eq!(sasl.as_deref(), Some("SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"));
    scram(&mut client, "SCRAM-SHA-256", Scram::new(user, &world.token, "n", b"")).await.unwrap();
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 1 16");
    client.quit().await.unwrap();

    let mut client = world.client().await;
    let binding = client.tls_exporter().unwrap();
    let bound = Scram::new(user, &world.token, "p=tls-exporter", &binding);
    scram(&mut client, "SCRAM-SHA-256-PLUS", bound).await.unwrap();
    client.quit().await.unwrap();
    let mut client = world.client().await;
    let end_point = client.end_point();
    let bound = Scram::new(user, &world.token, "p=tls-server-end-point", &end_point);
    scram(&mut client, "scram-sha-256-plus", bound).await.unwrap();
    client.quit().await.unwrap();
}

#[tokio::test]
async fn scram_is_refused_to_others_and_in_the_middle() {
    let world = World::new(Duration::from_secs(20)).await;
    let user = "ann@a.test";
    let mut client = world.client().await;
    for (user, password) in [(user, "wrong"), ("nobody@a.test", world.token.as_str())] {
        let attempt = Scram::new(user, password, "n", b"");
        let refused = scram(&mut client, "SCRAM-SHA-256", attempt).await.unwrap_err();
        assert_eq!(refused, "-ERR [AUTH] Authentication failed");
    }
    // Somebody in between, who has a TLS connection of their own to each side.
    let elsewhere = Scram::new(user, &world.token, "p=tls-exporter", &[7; 32]);
    let refused = scram(&mut client, "SCRAM-SHA-256-PLUS", elsewhere).await.unwrap_err();
    assert!(refused.starts_with("-ERR [AUTH] The channel binding"), "{refused}");
    // And who left PLUS out of what we offered.
    let stripped = Scram::new(user, &world.token, "y", b"");
    let refused = scram(&mut client, "SCRAM-SHA-256", stripped).await.unwrap_err();
    assert!(refused.starts_with("-ERR [AUTH] The channel binding"), "{refused}");

    // A client that does not like the server's proof is not logged in.
    let mut attempt = Scram::new(user, &world.token, "n", b"");
    let answer = client.send(&format!("AUTH SCRAM-SHA-256 {}", attempt.first())).await;
    answer.unwrap();
    let challenge = client.expect("+ ").await.unwrap();
    let last = attempt.last(&challenge[2..]).unwrap();
    client.send(&last).await.unwrap();
    client.expect("+ ").await.unwrap();
    assert!(client.try_command("*").await.unwrap().starts_with("-ERR"));
    assert!(client.try_command("STAT").await.unwrap().starts_with("-ERR"));
    client.login(user, &world.token).await.unwrap();
}

#[tokio::test]
async fn auth_takes_an_initial_response_a_later_one_and_an_empty_one() {
    let world = World::new(Duration::from_secs(20)).await;
    let plain = base64(&format!("\0ann@a.test\0{}", world.token));
    let mut client = world.client().await;
    assert!(client.try_command("AUTH PLAIN =").await.unwrap().starts_with("-ERR"), "empty");
    assert!(client.try_command("AUTH NTLM").await.unwrap().starts_with("-ERR"));
    assert!(client.try_command("AUTH PLAIN !!").await.unwrap().starts_with("-ERR"));
    assert_eq!(client.multi("AUTH").await.unwrap().len(), 4);
    assert_eq!(client.try_command("AUTH PLAIN").await.unwrap(), "+ ");
    assert!(client.try_command("*").await.unwrap().starts_with("-ERR"));
    client.command(&format!("AUTH PLAIN {plain}")).await.unwrap();
    assert!(client.try_command("AUTH PLAIN").await.unwrap().starts_with("-ERR"), "logged in");
    client.quit().await.unwrap();
    let mut client = world.client().await;
    assert_eq!(client.try_command("AUTH PLAIN").await.unwrap(), "+ ");
    client.command(&plain).await.unwrap();
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn capabilities_are_true() {
    let world = World::new(Duration::from_secs(20)).await;
    let mut client = world.client().await;
    let before = client.multi("CAPA").await.unwrap();
    for name in [
        "TOP",
        "UIDL",
        "PIPELINING",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "EXPIRE NEVER",
        "UTF8 USER",
        "LANG",
        "USER",
        "IMPLEMENTATION Letterlock",
    ] {
        assert!(before.iter().any(|line| line == name), "{name} in {before:?}");
    }
    assert!(!before.iter().any(|line| line == "STLS" || line.starts_with("LOGIN-DELAY")));
    client.command("LANG *").await.unwrap();
    client.login("ann@a.test", &world.token).await.unwrap();
    assert_eq!(client.multi("LANG").await.unwrap()[0], "en English");
    assert!(client.try_command("LANG x-klingon").await.unwrap().starts_with("-ERR"));
}

#[tokio::test]
async fn utf8_headers_are_for_those_who_asked() {
    let world = World::new(Duration::from_secs(20)).await;
    let german =
        "Received: from x by y with UTF8SMTP id 1;\r\n now\r\nSubject: Grüße\r\n\r\nüber\r\n";
    let undeclared = "Subject: Grüße\r\n\r\nüber\r\n";
    world.append(&[german, "Subject: x\r\n\r\nüber\r\n", undeclared]).await;
    let mut client = world.logged_in().await;
    for command in ["RETR 1", "TOP 1 0"] {
        let refused = client.try_command(command).await.unwrap();
        assert!(refused.starts_with("-ERR [UTF8]"), "{refused}");
    }
    assert_eq!(client.retrieve(2).await.unwrap(), "Subject: x\r\n\r\nüber\r\n".as_bytes());
    assert_eq!(client.retrieve(3).await.unwrap(), undeclared.as_bytes());
    assert!(client.try_command("UTF8").await.unwrap().starts_with("-ERR"), "before login only");
    client.quit().await.unwrap();
    let mut client = world.client().await;
    client.command("UTF8").await.unwrap();
    client.login("ann@a.test", &world.token).await.unwrap();
    assert_eq!(client.retrieve(1).await.unwrap(), german.as_bytes());
    assert!(client.multi("TOP 1 0").await.unwrap().contains(&"Subject: Grüße".to_owned()));
}

/// Far more than what is read at once, cut in the middle of lines and dots.
#[tokio::test]
async fn a_large_message_comes_whole() {
    let world = World::new(Duration::from_secs(20)).await;
    let line = format!(".{}\r\n", "x".repeat(60));
    let message = format!("Subject: large\r\n\r\n{}", line.repeat(30_000));
    world.append(&[&message]).await;
    let mut client = world.logged_in().await;
    assert_eq!(client.retrieve(1).await.unwrap(), message.as_bytes());
    assert_eq!(client.multi("TOP 1 2").await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_message_that_went_meanwhile_is_said_to_be_gone() {
    let world = World::new(Duration::from_secs(20)).await;
    world.append(&["Subject: one\r\n\r\n", "Subject: two\r\n\r\n"]).await;
    let mut client = world.logged_in().await;
    let inbox =
        world.handle.select("INBOX", letterlock_mailbox::SelectMode::ReadOnly).await.unwrap();
    let first = letterlock_mailbox::UidRanges::from_ranges([(inbox.uids[0], inbox.uids[0])]);
    world.handle.remove(inbox.folder, &first).await.unwrap();
    assert!(client.try_command("RETR 1").await.unwrap().starts_with("-ERR"));
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 2 32", "the drop is a snapshot");
    client.command("DELE 1").await.unwrap();
    client.command("DELE 2").await.unwrap();
    client.command("RSET").await.unwrap();
    client.command("DELE 1").await.unwrap();
    client.quit().await.unwrap();
    let mut client = world.logged_in().await;
    assert_eq!(client.command("STAT").await.unwrap(), "+OK 1 16");
}
