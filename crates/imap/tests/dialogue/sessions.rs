//! Logging in, states, TLS, limits and the end of sessions.

use std::time::Duration;

use crate::support::{ANN, World};

/// base64 of `\0name\0password`, made by hand to depend on nothing.
fn plain(name: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("\0{name}\0{password}");
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[tokio::test]
async fn no_password_is_taken_in_clear_text() {
    let world = World::with(|_| {}).await;
    let (mut client, greeting) = world.greeted().await;
    assert!(
        greeting.contains(" STARTTLS LOGINDISABLED]") && !greeting.contains("AUTH="),
        "{greeting}"
    );
    let login = format!("LOGIN {ANN} {}", world.password);
    client.gives(&login, "NO [PRIVACYREQUIRED]").await;
    client.gives("AUTHENTICATE PLAIN AGEAYg==", "NO [PRIVACYREQUIRED]").await;
    // What is sent in the same packet as STARTTLS is not run.
    client.send("t STARTTLS\r\nx NOOP\r\n").await;
    assert!(client.line().await.starts_with("t OK"));
    let mut client = client.start_tls().await;
    let capabilities = client.ok("CAPABILITY").await.remove(0);
    assert!(
        capabilities.contains(" AUTH=PLAIN AUTH=LOGIN") && !capabilities.contains("STARTTLS"),
        "{capabilities}"
    );
    client.gives("STARTTLS", "BAD").await;
    client.gives(&login, "OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ").await;
    client.gives("STARTTLS", "BAD").await;
}

#[tokio::test]
async fn mechanisms_in_one_step_and_two() {
    let world = World::start().await;
    let good = plain(ANN, &world.password);
    let mut client = world.connect().await;
    client.gives("AUTHENTICATE SCRAM-SHA-1", "NO").await;
    client
        .gives(&format!("AUTHENTICATE PLAIN {}", plain(ANN, "wrong")), "NO [AUTHENTICATIONFAILED]")
        .await;
    client.send("t AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.line().await, "+ ");
    client.send("*\r\n").await;
    assert!(client.line().await.starts_with("t BAD"));
    client.send(format!("t AUTHENTICATE PLAIN\r\n{good}\r\nu NOOP\r\n")).await;
    assert_eq!(client.line().await, "+ ");
    assert!(client.line().await.starts_with("t OK [CAPABILITY"));
    assert!(client.line().await.starts_with("u OK"));
    client.gives("LOGIN a b", "BAD").await;
    let mut client = world.connect().await;
    client.gives(&format!("AUTHENTICATE PLAIN {good}"), "OK [CAPABILITY").await;
    let mut client = world.connect().await;
    client.gives(&format!("LOGIN {ANN} \"nonsense\""), "NO [AUTHENTICATIONFAILED]").await;
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let world = World::start().await;
    let mut client = world.connect().await;
    let login = format!("LOGIN {{{}+}}\r\n{ANN} {}", ANN.len(), world.password);
    client.send(format!("a {login}\r\nb SELECT INBOX\r\nc NOOP\r\nd LOGOUT\r\n")).await;
    for tag in ["a", "b", "c", "d"] {
        assert!(client.until(tag).await.last().unwrap().contains(" OK "));
    }
    assert_eq!(client.try_line().await, None);
}

#[tokio::test]
async fn commands_belong_to_their_states() {
    let world = World::start().await;
    let mut client = world.connect().await;
    for command in
        ["SELECT INBOX", "FETCH 1 FLAGS", "IDLE", "ENABLE IMAP4rev2", "LIST \"\" *", "CLOSE"]
    {
        client.gives(command, "BAD").await;
    }
    client.send("t APPEND INBOX {10+}\r\n0123456789\r\n").await;
    assert!(client.line().await.starts_with("t BAD"));
    client.ok("NOOP").await;
    let id = client.ok("ID (\"name\" \"test\")").await;
    assert_eq!(id, ["* ID (\"name\" \"Letterlock\")"]);
    let mut client = world.log_in().await;
    for command in [
        "FETCH 1 FLAGS",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
        "CHECK",
        "UID SEARCH ALL",
        "UID MOVE 1 Trash",
    ] {
        client.gives(command, "BAD").await;
    }
    client.ok("SELECT INBOX").await;
    client.ok("CHECK").await;
    client.ok("UNSELECT").await;
    client.gives("CHECK", "BAD").await;
}

#[tokio::test]
async fn syntax_errors_keep_the_lines_apart() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.send("a FROBNICATE x\r\nb SELECT {3+}\r\nx y z\r\n\r\nc NOOP\r\n*\r\nd NOOP\r\n").await;
    assert!(client.line().await.starts_with("a BAD"));
    let rest = client.until("d").await;
    assert!(rest.iter().any(|line| line.starts_with("c OK")), "{rest:?}");
    assert!(rest.last().unwrap().starts_with("d OK"));
}

#[tokio::test]
async fn too_many_bad_commands_end_the_session() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\n".repeat(30)).await;
    let mut last = String::new();
    while let Some(line) = client.try_line().await {
        last = line;
    }
    assert!(last.starts_with("* BYE"), "{last}");
}

#[tokio::test]
async fn literals_are_small_before_login() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.imap_literal_before_login = 256;
    })
    .await;
    let mut client = world.connect().await;
    client.gives("LOGIN {300}", "BAD").await;
    client.send("t LOGIN {300+}\r\n").await;
    assert!(client.line().await.starts_with("* BYE"));
    assert_eq!(client.try_line().await, None);
}

#[tokio::test]
async fn strangers_do_not_stay() {
    let world =
        World::with(|settings| settings.limits.login_timeout = Duration::from_millis(150)).await;
    let (mut client, _) = world.greeted().await;
    client.ok("NOOP").await;
    assert!(client.line().await.starts_with("* BYE"));
    assert_eq!(client.try_line().await, None);
}

#[tokio::test]
async fn silent_sessions_end() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.imap_idle = Duration::from_millis(300);
    })
    .await;
    let mut idle = world.select("INBOX").await;
    idle.send("i IDLE\r\n").await;
    assert!(idle.line().await.starts_with("+ "));
    assert!(idle.line().await.starts_with("* BYE"));
    let mut client = world.log_in().await;
    assert!(client.line().await.starts_with("* BYE"));
}

#[tokio::test]
async fn sessions_end_with_the_server_and_with_the_key() {
    let world = World::start().await;
    let (mut locked, mut idle) = (world.log_in().await, world.select("INBOX").await);
    idle.send("i IDLE\r\n").await;
    assert!(idle.line().await.starts_with("+ "));
    world.mailboxes.lock(world.account).await.unwrap();
    for client in [&mut locked, &mut idle] {
        assert!(client.line().await.starts_with("* BYE The mailbox was locked"));
        assert_eq!(client.try_line().await, None);
    }
    let (mut stranger, mut user) = (world.connect().await, world.log_in().await);
    world.shutdown.begin();
    for client in [&mut stranger, &mut user] {
        assert!(client.line().await.starts_with("* BYE The server is shutting down"));
        assert_eq!(client.try_line().await, None);
    }
}

#[tokio::test]
async fn enable_changes_the_revision() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    assert_eq!(client.ok("ENABLE X-NOTHING").await, ["* ENABLED"]);
    client.ok("CREATE Entw&APw-rfe").await;
    let listed = client.ok("LIST \"\" Entw*").await;
    assert_eq!(listed, ["* LIST (\\HasNoChildren) \"/\" Entw&APw-rfe"]);
    assert!(client.ok("SELECT INBOX").await.iter().any(|line| line == "* 0 RECENT"));
    assert_eq!(client.ok("SEARCH ALL").await, ["* SEARCH"]);
    assert_eq!(client.ok("ENABLE IMAP4rev2 CONDSTORE").await[0], "* ENABLED IMAP4rev2 CONDSTORE");
    assert_eq!(client.ok("LIST \"\" Entw*").await, ["* LIST (\\HasNoChildren) \"/\" \"Entwürfe\""]);
    let selected = client.ok("SELECT \"Entwürfe\"").await;
    assert_eq!(selected[0], "* OK [CLOSED] The mailbox was closed");
    assert!(
        selected.iter().any(|line| line == "* LIST (\\HasNoChildren) \"/\" \"Entwürfe\""),
        "{selected:?}"
    );
    assert!(!selected.iter().any(|line| line.ends_with("RECENT")));
    assert_eq!(client.ok("SEARCH ALL").await, ["* ESEARCH (TAG \"t\")"]);
}

#[tokio::test]
async fn login_asks_for_name_and_password() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client.send("t AUTHENTICATE LOGIN\r\n").await;
    assert_eq!(client.line().await, "+ VXNlcm5hbWU6");
    client.send("YW5uQGV4YW1wbGUudGVzdA==\r\n").await;
    assert_eq!(client.line().await, "+ UGFzc3dvcmQ6");
    client.send("d3Jvbmc=\r\n").await;
    assert!(client.line().await.starts_with("t NO [AUTHENTICATIONFAILED]"));
}

#[tokio::test]
async fn tls_from_the_first_octet() {
    let world = World::with(|_| {}).await;
    let (mut client, greeting) = world.greeted_over_tls().await;
    assert!(greeting.contains(" AUTH=PLAIN AUTH=LOGIN]"), "{greeting}");
    client.gives(&format!("LOGIN {ANN} {}", world.password), "OK").await;
}

#[tokio::test]
async fn sessions_of_an_account_are_counted() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.sessions_per_account = 1;
    })
    .await;
    let mut first = world.log_in().await;
    let mut second = world.connect().await;
    let login = format!("LOGIN {ANN} {}", world.password);
    second.gives(&login, "NO [LIMIT]").await;
    first.ok("LOGOUT").await;
    assert_eq!(first.try_line().await, None);
    second.gives(&login, "OK").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_waited_for_and_then_left() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.imap_idle = Duration::from_millis(500);
    })
    .await;
    let mut client = world.log_in().await;
    let large = crate::support::message("large", &"0123456789abcdef\r\n".repeat(60_000));
    client.append("INBOX", "", &large).await;
    client.ok("SELECT INBOX").await;
    // More than all buffers between the two hold.
    client.send("t FETCH 1 BODY.PEEK[]\r\n".repeat(30)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut whole = 0;
    while let Some(line) = client.try_line().await {
        whole += usize::from(line.starts_with("t OK"));
    }
    assert!(whole < 30, "the server sent {whole} answers to a client that slept");
}
