//! CATENATE (RFC 4469), with MULTIAPPEND and REPLACE.

use crate::support::{ANN, Client, World, message};

/// A message of two parts, the second of them a message.
const PARTS: &str = "Subject: parts\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/plain\r\n\r\nfirst\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecond\r\n--b--\r\n";

/// INBOX has a short message and [`PARTS`]; answers its UIDVALIDITY, too.
async fn world() -> (World, Client, String) {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.append("INBOX", "\\Seen", &message("old", "old text")).await;
    client.append("INBOX", "", PARTS).await;
    let status = client.ok("STATUS INBOX (UIDVALIDITY)").await;
    let validity = status[0].split(['(', ')', ' ']).rev().nth(1).unwrap().to_owned();
    (world, client, validity)
}

/// The text of the newest message of a mailbox.
async fn newest(world: &World, mailbox: &str) -> String {
    let mut client = world.select(mailbox).await;
    let line = client.ok("UID FETCH * BODY.PEEK[]").await.join("\r\n");
    let (_, rest) = line.split_once("}\r\n").unwrap();
    rest[..rest.len() - 1].to_owned()
}

#[tokio::test]
async fn a_message_is_made_of_parts() {
    let (world, mut client, validity) = world().await;
    assert!(client.ok("CAPABILITY").await[0].contains(" CATENATE "));
    let url = format!("/INBOX;UIDVALIDITY={validity}/;UID=2/;SECTION=");
    let command = format!(
        "t APPEND Drafts (\\Draft $A) \"01-Feb-2024 03:04:05 +0100\" CATENATE (URL \"{url}HEADER\" TEXT {{5}}"
    );
    client.send(format!("{command}\r\n")).await;
    assert!(client.line().await.starts_with("+ "));
    client
        .send(format!(
            "--b\r\n URL {url}2.MIME URL {{{}+}}\r\n{url}2 TEXT {{9+}}\r\n\r\n--b--\r\n)\r\n",
            url.len() + 1
        ))
        .await;
    let answer = client.until("t").await.pop().unwrap();
    assert!(answer.starts_with("t OK [APPENDUID ") && answer.contains(" 1] "), "{answer}");
    let (header, _) = PARTS.split_once("--b").unwrap();
    let expected = format!(
        "{header}--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecond\r\n--b--\r\n"
    );
    assert_eq!(newest(&world, "Drafts").await, expected);
    let mut drafts = world.select("Drafts").await;
    let told = drafts.ok("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)").await;
    assert!(
        told[0].contains("(\\Draft $A)") && told[0].contains("\" 1-Feb-2024 03:04:05 +0100\""),
        "{told:?}"
    );
    assert!(
        told[0].contains("\"parts\"") && told[0].contains("(\"message\" \"rfc822\" "),
        "{told:?}"
    );
    // A part that was copied is not seen thereby (RFC 4469 §3).
    assert_eq!(client.ok("STATUS INBOX (UNSEEN)").await, ["* STATUS INBOX (UNSEEN 1)"]);
}

#[tokio::test]
async fn urls_of_every_kind() {
    let (world, mut client, validity) = world().await;
    client.ok("CREATE \"Entw&APw-rfe/A B\"").await;
    client.append("\"Entw&APw-rfe/A B\"", "", "Subject: far\r\n\r\n0123456789").await;
    client.ok("CREATE Entw&APw-rfe/C").await;
    let host = "mail.example.test";
    let old = message("old", "old text");
    let (header, body) = old.split_at(old.find("\r\n\r\n").unwrap() + 4);
    let far = "/Entw%C3%BCrfe/A%20B/;UID=1";
    for (url, text) in [
        ("/INBOX/;UID=1".to_owned(), old.as_str()),
        (format!("/inbox;uidvalidity={validity}/;uid=1/;section=text"), body),
        ("/INBOX/;UID=1/;SECTION=1".to_owned(), body),
        ("/INBOX/;UID=1/;SECTION=HEADER".to_owned(), header),
        ("/INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=4.3".to_owned(), "tex"),
        ("/INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=4".to_owned(), "text\r\n"),
        ("/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)".to_owned(), "Subject: old\r\n\r\n"),
        ("/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject)/;PARTIAL=0.7".to_owned(), "Subject"),
        ("/INBOX/;UID=2/;SECTION=1.MIME".to_owned(), "Content-Type: text/plain\r\n\r\n"),
        ("/INBOX/;UID=2/;SECTION=2.HEADER".to_owned(), "Subject: inner\r\n\r\n"),
        ("/INBOX/;UID=2/;SECTION=2.TEXT".to_owned(), "second"),
        (format!("{far}/;SECTION=TEXT"), "0123456789"),
        (format!("imap://{host}{far}/;SECTION=TEXT/;PARTIAL=9.9"), "9"),
        (
            format!("imap://{}@MAIL.Example.test:993{far}/;SECTION=TEXT", ANN.replace('@', "%40")),
            "0123456789",
        ),
        (format!("//;AUTH=*@{host}{far}/;SECTION=TEXT"), "0123456789"),
    ] {
        client.gives(&format!("APPEND Sent CATENATE (URL \"{url}\")"), "OK [APPENDUID").await;
        assert_eq!(newest(&world, "Sent").await, text, "{url}");
    }
    // Relative to what is selected.
    client.ok("SELECT Entw&APw-rfe/C").await;
    client.gives("APPEND Sent CATENATE (URL \"A%20B/;UID=1/;SECTION=TEXT\")", "OK").await;
    assert_eq!(newest(&world, "Sent").await, "0123456789");
    client.gives("APPEND Sent CATENATE (URL \";UID=1\")", "NO [BADURL ;UID=1]").await;
    client.ok("SELECT INBOX").await;
    client.gives("APPEND Sent CATENATE (URL \";UID=2/;SECTION=2.TEXT\")", "OK").await;
    assert_eq!(newest(&world, "Sent").await, "second");
    // What was expunged is gone for URLs, too, whatever this session still counts.
    world.log_in().await.gives("SELECT INBOX", "OK").await;
    let mut other = world.select("INBOX").await;
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    client.gives("APPEND Sent CATENATE (URL \";UID=1\")", "NO [BADURL ;UID=1]").await;
}

#[tokio::test]
async fn what_cannot_be_done_leaves_nothing() {
    let (world, mut client, validity) = world().await;
    let other: u32 = validity.parse::<u32>().unwrap() + 7;
    for url in [
        "/INBOX/;UID=9".to_owned(),
        "/Nowhere/;UID=1".to_owned(),
        "/INBOX".to_owned(),
        format!("/INBOX;UIDVALIDITY={other}/;UID=1"),
        "/INBOX/;UID=1/;SECTION=2".to_owned(),
        "/INBOX/;UID=1/;SECTION=1.HEADER".to_owned(),
        "imap://elsewhere.test/INBOX/;UID=1".to_owned(),
        "imap://bob@mail.example.test/INBOX/;UID=1".to_owned(),
        "/INBOX/;UID=1;URLAUTH=anonymous:internal:00".to_owned(),
        "http://mail.example.test/INBOX/;UID=1".to_owned(),
        ";UID=1".to_owned(),
    ] {
        let command = format!("APPEND Sent CATENATE (URL /INBOX/;UID=1 URL \"{url}\")");
        client.gives(&command, &format!("NO [BADURL {url}] ")).await;
    }
    // Such an answer comes in place of the continuation, and the session goes on.
    client.gives("APPEND Sent CATENATE (URL /x TEXT {2000000}", "NO [BADURL /x]").await;
    client.send("t APPEND Sent CATENATE (URL \"/a%5Db\" TEXT {3+}\r\nabc) {2+}\r\nde\r\n").await;
    assert!(client.line().await.starts_with("t NO [BADURL /a%5Db]"));
    client.send("t APPEND Sent CATENATE (URL \"/a]b\")\r\n").await;
    assert!(client.line().await.starts_with("t NO [BADURL /a%5Db]"));
    client.gives("APPEND nowhere CATENATE (URL /INBOX/;UID=1)", "NO [TRYCREATE]").await;
    // Not even the URL is asked for.
    client.gives("APPEND nowhere CATENATE (URL {20}", "NO [TRYCREATE]").await;
    client.gives("APPEND Sent (\\Odd) CATENATE (URL /INBOX/;UID=1)", "BAD").await;
    client.gives("APPEND Sent CATENATE (URL /INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=900)", "NO").await;
    client.gives("APPEND Sent CATENATE ()", "BAD").await;
    client.send("t APPEND Sent {3+}\r\nabc CATENATE (URL /INBOX/;UID=9)\r\n").await;
    assert!(client.line().await.starts_with("t NO [BADURL "));
    assert_eq!(client.ok("STATUS Sent (MESSAGES)").await, ["* STATUS Sent (MESSAGES 0)"]);
    drop(world);
}

#[tokio::test]
async fn all_parts_together_have_the_size_of_a_message() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.message_size = 1024;
    })
    .await;
    let mut client = world.log_in().await;
    client.append("INBOX", "", &("x: y\r\n\r\n".to_owned() + &"z".repeat(600))).await;
    client
        .gives("APPEND INBOX CATENATE (URL /INBOX/;UID=1 URL /INBOX/;UID=1)", "NO [TOOBIG]")
        .await;
    client.gives("APPEND INBOX CATENATE (URL /INBOX/;UID=1 TEXT {500}", "NO [TOOBIG]").await;
    client.gives("APPEND INBOX CATENATE (TEXT {1025}", "NO [TOOBIG]").await;
    let half = "URL /INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=0.512";
    client.gives(&format!("APPEND INBOX CATENATE ({half} {half})"), "OK").await;
    client.gives(&format!("APPEND INBOX CATENATE ({half} {half} TEXT {{1}}"), "NO [TOOBIG]").await;
}

#[tokio::test]
async fn with_multiappend_and_replace() {
    let (world, mut client, _) = world().await;
    let (one, two) = ("URL /INBOX/;UID=1/;SECTION=TEXT", "URL /INBOX/;UID=2/;SECTION=2.TEXT");
    client
        .send(format!("t APPEND Drafts (\\Seen) CATENATE ({one}) {{4+}}\r\na: b CATENATE (TEXT {{2+}}\r\nc: {two})\r\n"))
        .await;
    assert!(client.line().await.contains(" 1:3] "));
    assert_eq!(newest(&world, "Drafts").await, "c:second");
    client.ok("SELECT Drafts").await;
    let lines =
        client.run(&format!("UID REPLACE 3 Drafts (\\Draft) CATENATE (URL ;UID=3 {two})")).await;
    assert!(lines.contains(&"* 3 EXPUNGE".to_owned()), "{lines:?}");
    assert_eq!(newest(&world, "Drafts").await, "c:secondsecond");
    client.gives(&format!("REPLACE 1 Drafts CATENATE ({one}) CATENATE ({two})"), "BAD").await;
    client.gives("REPLACE 1 Drafts CATENATE (URL /x)", "NO [BADURL /x]").await;
    assert_eq!(client.ok("STATUS Drafts (MESSAGES)").await, ["* STATUS Drafts (MESSAGES 3)"]);
    // UTF8 parts need what they need everywhere (RFC 6855 §4).
    client.send("t APPEND Sent CATENATE (UTF8 (~{2+}\r\nx:))\r\n").await;
    assert!(client.line().await.starts_with("t BAD"));
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.send("t APPEND Sent CATENATE (UTF8 (~{2+}\r\nx:) TEXT ~{3+}\r\na\0b)\r\n").await;
    assert!(client.line().await.starts_with("t OK"));
    assert_eq!(newest(&world, "Sent").await, "x:a\0b");
}

#[tokio::test]
async fn large_messages_are_made_of_large_ones() {
    let (world, mut client, _) = world().await;
    let text = message("large", &"0123456789abcdef\r\n".repeat(60_000));
    client.append("INBOX", "", &text).await;
    client.ok("CREATE Large").await;
    let twice = "TEXT {6+}\r\nx: y\r\n URL /INBOX/;UID=3/;SECTION=TEXT URL /INBOX/;UID=3";
    client.send(format!("t APPEND Large CATENATE ({twice})\r\n")).await;
    assert!(client.line().await.starts_with("t OK"));
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(newest(&world, "Large").await == format!("x: y\r\n{body}{text}"));
}

#[tokio::test]
async fn switched_off_it_is_refused() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.imap.disabled_capabilities = vec!["catenate".to_owned()];
    })
    .await;
    let mut client = world.log_in().await;
    assert!(!client.ok("CAPABILITY").await[0].contains("CATENATE"));
    client.gives("APPEND INBOX CATENATE (URL /INBOX/;UID=1)", "BAD CATENATE").await;
}
