//! UIDONLY (RFC 9586), and UNAUTHENTICATE (RFC 8437), which takes it back with all the rest.

use crate::support::{ANN, World, message};

#[tokio::test]
async fn a_client_that_names_messages_by_uid_hears_no_numbers() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    for number in 1..=4 {
        client.append("INBOX", "", &message(&format!("m{number}"), "Some text")).await;
    }
    assert_eq!(client.ok("ENABLE UIDONLY").await, ["* ENABLED UIDONLY"]);
    let lines = client.ok("SELECT INBOX").await;
    assert!(!lines.iter().any(|line| line.contains("[UNSEEN ")), "{lines:?}");
    let mut other = world.select("INBOX").await;
    for command in [
        "FETCH 1 FLAGS",
        "STORE 1 FLAGS ()",
        "COPY 1 Sent",
        "MOVE 1 Sent",
        "SEARCH ALL",
        "UID SEARCH 1:3",
        "SORT (DATE) UTF-8 ALL",
        "SELECT INBOX (CONDSTORE)",
    ] {
        let expected = if command.starts_with("SELECT") { "OK" } else { "BAD [UIDREQUIRED]" };
        client.gives(command, expected).await;
    }
    client.send("t REPLACE 1 INBOX {4+}\r\na\r\n\r\r\n").await;
    assert!(client.line().await.starts_with("t BAD [UIDREQUIRED]"));
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    let lines = client.ok("NOOP").await;
    assert_eq!(lines[0], "* VANISHED 1");
    assert!(
        lines.iter().any(|line| line.starts_with("* 2 UIDFETCH (FLAGS (\\Flagged")),
        "{lines:?}"
    );
    let lines = client.ok("UID FETCH 3 (FLAGS)").await;
    assert!(lines.len() == 1 && lines[0].starts_with("* 3 UIDFETCH (FLAGS ("), "{lines:?}");
    let lines = client.ok("UID FETCH 3 (UID BODY[1])").await;
    assert!(
        lines[0].starts_with("* 3 UIDFETCH (FLAGS (\\Seen") && lines[0].contains(" UID 3 "),
        "{lines:?}"
    );
    let lines = client.ok("UID STORE 4 +FLAGS (\\Deleted)").await;
    assert!(lines[0].starts_with("* 4 UIDFETCH (FLAGS (\\Deleted"), "{lines:?}");
    assert_eq!(client.ok("EXPUNGE").await, ["* VANISHED 4", "* 0 RECENT"]);
    client.ok("UID SEARCH RETURN (SAVE) UNSEEN").await;
    assert_eq!(client.ok("UID SEARCH $").await, ["* SEARCH 2"]);
}

#[tokio::test]
async fn after_unauthenticate_nothing_of_the_session_is_left() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client.gives("UNAUTHENTICATE", "BAD").await;
    let mut client = world.log_in().await;
    client.append("INBOX", "\\Deleted", &message("m", "x")).await;
    client.ok("ENABLE UIDONLY IMAP4rev2 QRESYNC UTF8=ACCEPT").await;
    client.ok("SELECT INBOX").await;
    let answer = client.answer("UNAUTHENTICATE").await;
    assert!(answer.starts_with("OK [CAPABILITY ") && answer.contains("AUTH="), "{answer}");
    client.gives("FETCH 1 FLAGS", "BAD").await;
    client.gives("SELECT INBOX", "BAD").await;
    // Literals are small again.
    client.send(format!("t LOGIN {ANN} {{1000000}}\r\n")).await;
    assert!(client.line().await.starts_with("t BAD"));
    client.gives(&format!("LOGIN {ANN} {}", world.password), "OK").await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 FLAGS").await;
    let again = "numbers again, and \\Recent, which was nobody's; nothing was expunged";
    assert_eq!(lines, ["* 1 FETCH (FLAGS (\\Deleted \\Recent))"], "{again}");
    client.ok("STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(client.ok("EXPUNGE").await, ["* 1 EXPUNGE", "* 0 RECENT"]);
}

#[tokio::test]
async fn sessions_of_one_connection_do_not_pile_up() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.sessions_per_account = 1;
    })
    .await;
    let mut client = world.log_in().await;
    for _ in 0..3 {
        client.gives("UNAUTHENTICATE", "OK").await;
        client.gives(&format!("LOGIN {ANN} {}", world.password), "OK").await;
    }
    client.gives("COMPRESS DEFLATE", "OK").await;
}
