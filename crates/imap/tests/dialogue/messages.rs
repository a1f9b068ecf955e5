//! Messages: appending, reading, flags, searching, copying, moving and removing.

use crate::support::{Client, World, message};

/// INBOX with messages of these flags, selected anew so that none is recent.
async fn inbox(world: &World, flags: &[&str]) -> Client {
    let mut client = world.log_in().await;
    for (number, flags) in flags.iter().enumerate() {
        client.append("INBOX", flags, &message(&format!("m{}", number + 1), "Some text")).await;
    }
    client.ok("SELECT INBOX").await;
    client.ok("SELECT INBOX").await;
    client
}

#[tokio::test]
async fn append_answers_with_the_uid() {
    let world = World::start().await;
    let mut client = world.select("INBOX").await;
    let text = message("hello", "x");
    client
        .send(format!(
            "t APPEND INBOX (\\Seen $A) \"01-Feb-2024 03:04:05 +0100\" {{{}}}\r\n",
            text.len()
        ))
        .await;
    assert!(client.line().await.starts_with("+ "));
    client.send(format!("{text}\r\n")).await;
    let lines = client.until("t").await;
    assert_eq!(lines[..2], ["* 1 EXISTS", "* 1 RECENT"]);
    assert!(lines[2].starts_with("t OK [APPENDUID ") && lines[2].contains(" 1] "), "{lines:?}");
    assert_eq!(
        client.ok("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE UID)").await.last().unwrap(),
        &format!(
            "* 1 FETCH (FLAGS (\\Seen $A \\Recent) INTERNALDATE \" 1-Feb-2024 03:04:05 +0100\" \
             RFC822.SIZE {} UID 1)",
            text.len()
        )
    );
    // Two messages at once.
    client.send("t APPEND Sent {5+}\r\na: b\n (\\Seen) {6+}\r\na: bc\n\r\n").await;
    assert!(client.line().await.contains(" 1:2] "));
}

#[tokio::test]
async fn appends_that_fail_leave_nothing() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.limits.message_size = 1024;
    })
    .await;
    let mut client = world.log_in().await;
    // A synchronising literal is not even asked for.
    client.gives("APPEND nowhere {10}", "NO [TRYCREATE]").await;
    client.gives("APPEND INBOX {2000}", "NO [TOOBIG]").await;
    client.send("t APPEND INBOX {2000+}\r\n").await;
    client.send("x".repeat(2000) + "\r\n").await;
    assert!(client.line().await.starts_with("t NO [TOOBIG]"));
    client.send("t APPEND INBOX {0+}\r\n\r\n").await;
    assert!(client.line().await.starts_with("t NO"));
    client.send("t APPEND INBOX (\\Odd) {3+}\r\na\0b\r\n").await;
    assert!(client.line().await.starts_with("t BAD"));
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
    client.send("t APPEND INBOX ~{6+}\r\na: b\r\n\r\n").await;
    assert!(client.line().await.starts_with("t OK [APPENDUID "));
}

#[tokio::test]
async fn a_message_with_nul_is_kept_as_it_is() {
    let world = World::with(|settings| settings.auth.allow_cleartext = true).await;
    let mut client = world.log_in().await;
    client.send("t APPEND INBOX ~{11+}\r\na: b\r\n\r\nc\0d\r\n").await;
    assert!(client.line().await.starts_with("t OK [APPENDUID "));
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 BODY.PEEK[TEXT]").await.join("\n");
    assert!(lines.contains("BODY[TEXT] {3}") && lines.contains("c\0d"), "{lines:?}");
}

#[tokio::test]
async fn fetching_pieces() {
    let world = World::start().await;
    let client = inbox(&world, &["", "\\Seen"]).await;
    let whole = message("m1", "Some text");
    let (head, text) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 4);
    let fetch = |client: Client, items: &'static str| async move {
        let mut client = client;
        let lines = client.ok(&format!("FETCH 1 {items}")).await;
        (client, lines.join("\n"))
    };
    let (client, got) = fetch(client, "BODY.PEEK[]").await;
    assert_eq!(got, format!("* 1 FETCH (BODY[] {{{}}}\r\n{whole})", whole.len()));
    let (client, got) = fetch(client, "RFC822.HEADER").await;
    assert_eq!(got, format!("* 1 FETCH (RFC822.HEADER {{{}}}\r\n{head})", head.len()));
    let (client, got) =
        fetch(client, "(BODY.PEEK[HEADER.FIELDS (subject)] BODY.PEEK[TEXT]<5.4>)").await;
    assert_eq!(
        got,
        "* 1 FETCH (BODY[HEADER.FIELDS (subject)] {15}\r\nSubject: m1\r\n\r\n BODY[TEXT]<5> {4}\r\ntext)"
    );
    let (client, got) =
        fetch(client, "(BODY.PEEK[1] BODY.PEEK[2] BINARY.SIZE[1] BINARY.PEEK[1]<0.4>)").await;
    assert_eq!(
        got,
        "* 1 FETCH (BODY[1] {11}\r\nSome text\r\n BODY[2] NIL BINARY.SIZE[1] 11 BINARY[1]<0> {4}\r\nSome)"
    );
    let (client, got) = fetch(client, "FLAGS").await;
    assert_eq!(got, "* 1 FETCH (FLAGS ())", "PEEK leaves \\Seen alone");
    // Reading sets it, and says so, once.
    let (client, got) = fetch(client, "RFC822.TEXT").await;
    assert_eq!(got, format!("* 1 FETCH (FLAGS (\\Seen) RFC822.TEXT {{{}}}\r\n{text})", text.len()));
    let (mut client, got) = fetch(client, "BODY[TEXT]").await;
    assert_eq!(got, format!("* 1 FETCH (BODY[TEXT] {{{}}}\r\n{text})", text.len()));
    let all = client.ok("UID FETCH 2:9 (ENVELOPE BODYSTRUCTURE BODY)").await;
    assert_eq!(all.len(), 1);
    assert!(all[0].starts_with("* 2 FETCH (UID 2 ENVELOPE (NIL \"m2\" "), "{all:?}");
    assert!(
        all[0].contains(" BODYSTRUCTURE (\"TEXT\" \"PLAIN\" ")
            && all[0].contains(" BODY (\"TEXT\" "),
        "{all:?}"
    );
    client.gives("FETCH 3 FLAGS", "BAD").await;
    assert!(client.ok("FETCH 1 (MODSEQ)").await.last().unwrap().contains("MODSEQ ("));
    client.ok("FETCH 1 FLAGS (CHANGEDSINCE 1)").await;
    client.gives("UID FETCH 99 FLAGS", "OK").await;
}

#[tokio::test]
async fn large_messages_and_many_of_them_arrive_whole() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let large = message("large", &"0123456789abcdef\r\n".repeat(30_000));
    client.append("INBOX", "", &large).await;
    for number in 0..12 {
        let small = message("small", &format!("number {number}"));
        let mut command = format!("t APPEND Sent {{{}+}}\r\n{small}", small.len());
        for _ in 1..100 {
            command.push_str(&format!(" {{{}+}}\r\n{small}", small.len()));
        }
        client.send(command + "\r\n").await;
        client.until("t").await;
    }
    client.ok("SELECT INBOX").await;
    let got = client.ok("FETCH 1 BODY.PEEK[]").await.remove(0);
    assert!(got.ends_with(&format!("{large})")));
    client.ok("SELECT Sent").await;
    let all = client.ok("FETCH 1:* (UID RFC822.SIZE)").await;
    assert_eq!(all.len(), 1200);
    for (index, line) in all.iter().enumerate() {
        assert!(line.starts_with(&format!("* {0} FETCH (UID {0} ", index + 1)), "{line}");
    }
    let bodies = client.ok("FETCH 40:160 (BODY[TEXT])").await;
    assert_eq!(bodies.len(), 121);
    assert!(
        bodies[0]
            .starts_with("* 40 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT] {10}\r\nnumber 0\r\n)")
    );
    assert_eq!(client.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)").await.len(), 0);
    assert_eq!(
        client.ok("SEARCH RETURN (COUNT) DELETED").await,
        ["* ESEARCH (TAG \"t\") COUNT 1200"]
    );
    let expunged = client.ok("EXPUNGE").await;
    assert_eq!(expunged.iter().filter(|line| line.ends_with("EXPUNGE")).count(), 1200);
}

#[tokio::test]
async fn flags_are_set_added_and_taken_away() {
    let world = World::start().await;
    let mut client = inbox(&world, &["", "\\Seen", ""]).await;
    assert_eq!(
        client.ok("STORE 1:2 +FLAGS (\\Flagged)").await,
        ["* 1 FETCH (FLAGS (\\Flagged))", "* 2 FETCH (FLAGS (\\Flagged \\Seen))"]
    );
    assert_eq!(
        client.ok("UID STORE 2 -FLAGS \\Seen").await,
        ["* 2 FETCH (UID 2 FLAGS (\\Flagged))"]
    );
    let lines = client.ok("STORE 1 FLAGS (\\Draft NewWord)").await;
    assert_eq!(lines[0], "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft NewWord)");
    assert_eq!(lines.last().unwrap(), "* 1 FETCH (FLAGS (\\Draft NewWord))");
    assert_eq!(client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await.len(), 0);
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS (\\Seen \\Draft NewWord))"]);
    client.gives("STORE 1 +FLAGS (\\Odd)", "BAD").await;
    client.gives("STORE 9 +FLAGS (\\Seen)", "BAD").await;
    client.gives("STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)", "OK [MODIFIED 1]").await;
    assert_eq!(client.ok("NOOP").await.len(), 0, "nobody is told of its own changes");
}

#[tokio::test]
async fn searching() {
    let world = World::start().await;
    let mut client = inbox(&world, &["", "\\Seen", "\\Flagged"]).await;
    assert_eq!(client.ok("SEARCH UNSEEN").await, ["* SEARCH 1 3"]);
    assert_eq!(client.ok("UID SEARCH SUBJECT m2").await, ["* SEARCH 2"]);
    assert_eq!(client.ok("SEARCH 2:3 NOT FLAGGED").await, ["* SEARCH 2"]);
    assert_eq!(client.ok("SEARCH SUBJECT nowhere").await, ["* SEARCH"]);
    assert_eq!(client.ok("SEARCH RECENT").await, ["* SEARCH"]);
    assert_eq!(
        client.ok("SEARCH RETURN (MIN MAX COUNT) BODY text").await,
        ["* ESEARCH (TAG \"t\") MIN 1 MAX 3 COUNT 3"]
    );
    assert_eq!(client.ok("UID SEARCH RETURN () ALL").await, ["* ESEARCH (TAG \"t\") UID ALL 1:3"]);
    // What was found can be used.
    assert_eq!(client.ok("SEARCH RETURN (SAVE) UNSEEN").await.len(), 0);
    assert_eq!(client.ok("FETCH $ UID").await, ["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)"]);
    assert_eq!(client.ok("UID SEARCH $ FLAGGED").await, ["* SEARCH 3"]);
    client.ok("SEARCH RETURN (SAVE MAX) ALL").await;
    assert_eq!(
        client.ok("UID STORE $ +FLAGS (\\Seen)").await,
        ["* 3 FETCH (UID 3 FLAGS (\\Flagged \\Seen))"]
    );
    client.gives("SEARCH CHARSET X-ODD TEXT x", "NO [BADCHARSET").await;
    assert!(client.ok("SEARCH MODSEQ 1").await.last().unwrap().contains("(MODSEQ "));
    client.gives("SEARCH FROBNICATE", "BAD").await;
}

#[tokio::test]
async fn copying_and_moving() {
    let world = World::start().await;
    let mut client = inbox(&world, &["\\Flagged", "", ""]).await;
    client.gives("COPY 1 nowhere", "NO [TRYCREATE]").await;
    client.gives("MOVE 1 nowhere", "NO [TRYCREATE]").await;
    let answer = client.answer("COPY 1:2 Archive").await;
    assert!(answer.starts_with("OK [COPYUID ") && answer.contains(" 1:2 1:2] "), "{answer}");
    client.gives("UID COPY 99 Archive", "OK Copied").await;
    let lines = client.run("UID MOVE 2:3 Archive").await;
    assert!(lines[0].starts_with("* OK [COPYUID ") && lines[0].contains(" 2:3 3:4] "), "{lines:?}");
    assert_eq!(lines[1..3], ["* 3 EXPUNGE", "* 2 EXPUNGE"]);
    client.ok("SELECT Archive").await;
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS (\\Flagged \\Recent))"]);
    assert_eq!(client.ok("UID SEARCH ALL").await, ["* SEARCH 1 2 3 4"]);
    // Into the mailbox itself.
    let lines = client.ok("COPY 1 Archive").await;
    assert_eq!(lines[0], "* 5 EXISTS");
}

#[tokio::test]
async fn removing() {
    let world = World::start().await;
    let mut client = inbox(&world, &["\\Deleted", "", "\\Deleted", "\\Deleted"]).await;
    assert_eq!(client.ok("UID EXPUNGE 2:3").await, ["* 3 EXPUNGE", "* 0 RECENT"]);
    assert_eq!(client.ok("EXPUNGE").await, ["* 3 EXPUNGE", "* 1 EXPUNGE", "* 0 RECENT"]);
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("UNSELECT").await;
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 1)"]);
    client.ok("EXAMINE INBOX").await;
    client.ok("CLOSE").await;
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 1)"]);
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("CLOSE").await.len(), 0);
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
}

#[tokio::test]
async fn lists_of_huge_headers_are_whole() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let text = format!("X-Pad: {}\r\n\r\nx", "y".repeat(3 << 20));
    for _ in 0..3 {
        client.append("INBOX", "", &text).await;
    }
    client.ok("SELECT INBOX").await;
    for command in ["FETCH 1:3 (RFC822.SIZE RFC822.HEADER)", "UID FETCH 1:9 RFC822.HEADER"] {
        let lines = client.ok(command).await;
        assert_eq!(lines.len(), 3, "{command}");
        assert!(lines.iter().all(|line| line.len() > 3 << 20), "{command}");
    }
}

#[tokio::test]
async fn seen_is_told_though_the_part_cannot_be_decoded() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let text = "Content-Transfer-Encoding: x-own\r\n\r\nx";
    client.append("INBOX", "", text).await;
    client.ok("SELECT INBOX").await;
    client.ok("SELECT INBOX").await;
    let lines = client.run("FETCH 1 BINARY[1]").await;
    assert_eq!(lines[0], "* 1 FETCH (FLAGS (\\Seen))");
    assert!(lines[1].starts_with("t NO [UNKNOWN-CTE]"), "{lines:?}");
}
