//! Contexts (RFC 5267): results of searches that are told of as they change.

use crate::support::{Client, World, message};

/// Two sessions on INBOX, which has messages with these subjects, none of them recent.
async fn two(world: &World, subjects: &[&str]) -> (Client, Client) {
    let mut other = world.log_in().await;
    for subject in subjects {
        other.append("INBOX", "", &message(subject, "text")).await;
    }
    other.ok("SELECT INBOX").await;
    // IMAP4rev2 knows no `\Recent`: which session has it, when two hear of a message at once, is chance.
    let mut ann = world.log_in().await;
    ann.ok("ENABLE IMAP4rev2").await;
    ann.ok("SELECT INBOX").await;
    (ann, other)
}

/// Runs a command with a tag; the untagged lines.
async fn tagged(client: &mut Client, tag: &str, command: &str) -> Vec<String> {
    client.send(format!("{tag} {command}\r\n")).await;
    let mut lines = client.until(tag).await;
    let last = lines.pop().unwrap();
    assert!(last.starts_with(&format!("{tag} OK")), "{last}");
    lines
}

#[tokio::test]
async fn a_search_is_followed() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a", "b", "c"]).await;
    let told = tagged(&mut ann, "s", "SEARCH RETURN (UPDATE COUNT) UNSEEN").await;
    assert_eq!(told, ["* ESEARCH (TAG \"s\") COUNT 3"]);
    let told = tagged(&mut ann, "u", "UID SEARCH RETURN (UPDATE) FLAGGED").await;
    assert_eq!(told, ["* ESEARCH (TAG \"u\") UID"]);
    // Flags: first the message, then what it means.
    other.ok("STORE 1,3 +FLAGS.SILENT (\\Seen \\Flagged)").await;
    assert_eq!(
        ann.ok("NOOP").await,
        [
            "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))",
            "* 3 FETCH (UID 3 FLAGS (\\Flagged \\Seen))",
            "* ESEARCH (TAG \"s\") REMOVEFROM (0 1,3)",
            "* ESEARCH (TAG \"u\") UID ADDTO (0 1,3)",
        ]
    );
    // Own flags, too: which messages fit is the server's to say.
    assert_eq!(
        ann.ok("STORE 1 -FLAGS (\\Seen)").await,
        ["* 1 FETCH (FLAGS (\\Flagged))", "* ESEARCH (TAG \"s\") ADDTO (0 1)"]
    );
    // Removals come before the numbers move, new messages after their count.
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.append("INBOX", "\\Flagged", &message("d", "text")).await;
    assert_eq!(
        ann.ok("NOOP").await,
        [
            "* ESEARCH (TAG \"s\") REMOVEFROM (0 1)",
            "* ESEARCH (TAG \"u\") UID REMOVEFROM (0 1)",
            "* 1 EXPUNGE",
            "* 3 EXISTS",
            "* ESEARCH (TAG \"s\") ADDTO (0 3)",
            "* ESEARCH (TAG \"u\") UID ADDTO (0 4)",
        ]
    );
    // What does not matter to a result is not told.
    other.ok("STORE 1 +FLAGS.SILENT (\\Answered)").await;
    assert_eq!(ann.ok("NOOP").await, ["* 1 FETCH (UID 2 FLAGS (\\Answered))"]);
    assert_eq!(ann.ok("SEARCH RETURN (COUNT) UNSEEN").await, ["* ESEARCH (TAG \"t\") COUNT 2"]);
}

#[tokio::test]
async fn removals_are_told_while_numbers_hold() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a", "b", "c"]).await;
    tagged(&mut ann, "all", "SEARCH RETURN (UPDATE) ALL").await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    // Appendix A.3: at once, though the number moves later.
    let lines = ann.run("FETCH 3 UID").await;
    assert_eq!(lines[..2], ["* 3 FETCH (UID 3)", "* ESEARCH (TAG \"all\") REMOVEFROM (0 2)"]);
    assert_eq!(ann.ok("NOOP").await, ["* 2 EXPUNGE"]);
    assert_eq!(
        ann.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)").await.len(),
        0,
        "all are still found"
    );
    assert_eq!(
        ann.ok("EXPUNGE").await,
        ["* ESEARCH (TAG \"all\") REMOVEFROM (0 1)", "* 1 EXPUNGE"]
    );
}

#[tokio::test]
async fn tags_name_contexts() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a"]).await;
    for tag in ["x", "y"] {
        tagged(&mut ann, tag, "UID SEARCH RETURN (UPDATE COUNT) SEEN").await;
    }
    for command in [
        "SEARCH RETURN (UPDATE) ALL",
        "UID SORT RETURN (UPDATE) (DATE) UTF-8 ALL",
        "ESEARCH RETURN (UPDATE) ALL",
    ] {
        ann.send(format!("x {command}\r\n")).await;
        assert!(ann.until("x").await[0].starts_with("x BAD"), "{command}");
    }
    tagged(&mut ann, "x", "SEARCH RETURN (COUNT) ALL").await;
    ann.gives("CANCELUPDATE \"x\" \"z\"", "BAD").await;
    ann.gives("CANCELUPDATE", "BAD").await;
    ann.ok("CANCELUPDATE \"x\"").await;
    other.ok("STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(
        ann.ok("NOOP").await,
        ["* 1 FETCH (UID 1 FLAGS (\\Seen))", "* ESEARCH (TAG \"y\") UID ADDTO (0 1)"]
    );
    // A context goes with its mailbox, and its tag is free again.
    ann.ok("SELECT INBOX").await;
    other.ok("STORE 1 -FLAGS (\\Seen)").await;
    assert_eq!(ann.ok("NOOP").await, ["* 1 FETCH (UID 1 FLAGS ())"]);
    tagged(&mut ann, "y", "SEARCH RETURN (UPDATE COUNT CONTEXT) ALL").await;
    ann.ok("CLOSE").await;
    ann.gives("CANCELUPDATE \"y\"", "BAD").await;
}

#[tokio::test]
async fn there_is_an_end_to_contexts() {
    let world = World::start().await;
    let (mut ann, _other) = two(&world, &["a"]).await;
    for number in 0..16 {
        let told = tagged(&mut ann, &format!("s{number}"), "SEARCH RETURN (UPDATE MIN) ALL").await;
        assert_eq!(told.len(), 1, "{told:?}");
    }
    // What else was asked for is answered.
    let told = tagged(&mut ann, "s16", "UID SEARCH RETURN (UPDATE MIN) ALL").await;
    assert_eq!(told[0], "* ESEARCH (TAG \"s16\") UID MIN 1");
    assert!(told[1].starts_with("* NO [NOUPDATE \"s16\"] "), "{told:?}");
    ann.ok("CANCELUPDATE \"s0\" \"s1\"").await;
    assert_eq!(tagged(&mut ann, "s16", "UID SEARCH RETURN (UPDATE MIN) ALL").await.len(), 1);
}

#[tokio::test]
async fn sorted_results_keep_their_places() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["b", "d", "f"]).await;
    let told =
        tagged(&mut ann, "s", "UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNDELETED").await;
    assert_eq!(told, ["* ESEARCH (TAG \"s\") UID ALL 1,2,3"]);
    let told =
        tagged(&mut ann, "r", "SORT RETURN (UPDATE) (REVERSE SUBJECT) UTF-8 UNDELETED").await;
    assert_eq!(told, ["* ESEARCH (TAG \"r\")"]);
    for subject in ["e", "a", "d"] {
        other.append("INBOX", "", &message(subject, "text")).await;
    }
    // Each place is as it is when those before it are there; what is equal stays in the order of the mailbox.
    let told = ann.ok("NOOP").await;
    assert_eq!(
        told[1..],
        [
            "* ESEARCH (TAG \"s\") UID ADDTO (3 4 1 5 4 6)",
            "* ESEARCH (TAG \"r\") ADDTO (2 4 5 5 4 6)",
        ]
    );
    other.ok("STORE 1,4 +FLAGS.SILENT (\\Deleted)").await;
    let told = ann.ok("NOOP").await;
    assert_eq!(
        told[2..],
        [
            "* ESEARCH (TAG \"s\") UID REMOVEFROM (5 4 2 1)",
            "* ESEARCH (TAG \"r\") REMOVEFROM (5 1 2 4)",
        ]
    );
    other.ok("STORE 5 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let told = ann.ok("NOOP").await;
    assert_eq!(
        told,
        [
            "* ESEARCH (TAG \"s\") UID REMOVEFROM (1 5)",
            "* ESEARCH (TAG \"r\") REMOVEFROM (4 5)",
            "* 5 EXPUNGE",
            "* 4 EXPUNGE",
            "* 1 EXPUNGE",
        ]
    );
    let now = ann.ok("UID SORT RETURN (ALL) (SUBJECT) UTF-8 UNDELETED").await;
    assert_eq!(now, ["* ESEARCH (TAG \"t\") UID ALL 2,6,3"]);
    // An order by relevancy is not followed, but answered.
    let told =
        tagged(&mut ann, "f", "SORT RETURN (UPDATE COUNT) (RELEVANCY) UTF-8 FUZZY SUBJECT d").await;
    assert!(
        told[0].contains("COUNT 2") && told[1].starts_with("* NO [NOUPDATE \"f\"]"),
        "{told:?}"
    );
}

#[tokio::test]
async fn numbers_in_a_search_mean_what_they_meant() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a", "b", "c"]).await;
    tagged(&mut ann, "n", "SEARCH RETURN (UPDATE COUNT) 2:9 UNSEEN").await;
    ann.ok("SEARCH RETURN (SAVE) 3").await;
    tagged(&mut ann, "d", "UID SEARCH RETURN (UPDATE COUNT) $ UNSEEN").await;
    tagged(&mut ann, "l", "UID SEARCH RETURN (UPDATE ALL) UID *").await;
    ann.ok("SEARCH RETURN (SAVE) 1").await;
    other.append("INBOX", "", &message("d", "text")).await;
    // The new message was not meant by 2:9, but it is the last one now.
    assert_eq!(
        ann.ok("NOOP").await,
        [
            "* 4 EXISTS",
            "* ESEARCH (TAG \"l\") UID REMOVEFROM (0 3)",
            "* ESEARCH (TAG \"l\") UID ADDTO (0 4)",
        ]
    );
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    ann.ok("NOOP").await;
    // What was number 3 is number 2.
    other.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(
        ann.ok("NOOP").await,
        [
            "* 2 FETCH (UID 3 FLAGS (\\Seen))",
            "* ESEARCH (TAG \"n\") REMOVEFROM (0 2)",
            "* ESEARCH (TAG \"d\") UID REMOVEFROM (0 3)",
        ]
    );
}

#[tokio::test]
async fn several_mailboxes_are_searched_and_one_is_followed() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a"]).await;
    other.append("Sent", "", &message("a", "text")).await;
    let told = tagged(&mut ann, "m", "ESEARCH IN (personal) RETURN (UPDATE COUNT) UNSEEN").await;
    assert_eq!(told.len(), 2, "{told:?}");
    let told =
        tagged(&mut ann, "n", "ESEARCH IN (mailboxes Sent) RETURN (UPDATE COUNT CONTEXT) UNSEEN")
            .await;
    assert!(
        told[0].contains("COUNT 1") && told[1].starts_with("* NO [NOUPDATE \"n\"]"),
        "{told:?}"
    );
    other.append("Sent", "", &message("b", "text")).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let told = ann.ok("NOOP").await;
    assert!(told.len() == 2, "{told:?}");
    assert!(told[1].starts_with("* ESEARCH (TAG \"m\" MAILBOX INBOX UIDVALIDITY "), "{told:?}");
    assert!(told[1].ends_with(") UID REMOVEFROM (0 1)"), "{told:?}");
    // The name is the mailbox's, as it is.
    other.ok("CREATE A").await;
    ann.ok("SELECT A").await;
    tagged(&mut ann, "o", "ESEARCH IN (selected) RETURN (UPDATE COUNT) ALL").await;
    other.ok("RENAME A B").await;
    other.append("B", "", &message("c", "text")).await;
    let told = ann.ok("NOOP").await;
    assert!(told[1].starts_with("* ESEARCH (TAG \"o\" MAILBOX B UIDVALIDITY "), "{told:?}");
    ann.ok("UNSELECT").await;
    ann.gives("ESEARCH IN (personal) RETURN (UPDATE) ALL", "BAD").await;
    ann.ok("ESEARCH IN (personal) RETURN (CONTEXT COUNT) ALL").await;
}

#[tokio::test]
async fn saved_results_and_pieces_go_with_updates() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a", "b", "c"]).await;
    // SAVE alone asks for no answer, and UPDATE does not change that.
    assert_eq!(tagged(&mut ann, "v", "SEARCH RETURN (SAVE UPDATE) UNSEEN").await.len(), 0);
    let told = tagged(&mut ann, "p", "UID SEARCH RETURN (PARTIAL 1:2 UPDATE) UNSEEN").await;
    assert_eq!(told, ["* ESEARCH (TAG \"p\") UID PARTIAL (1:2 1:2)"]);
    assert_eq!(ann.ok("FETCH $ UID").await.len(), 3);
    other.ok("STORE 3 +FLAGS.SILENT (\\Seen)").await;
    let told = ann.ok("NOOP").await;
    assert_eq!(
        told[1..],
        ["* ESEARCH (TAG \"v\") REMOVEFROM (0 3)", "* ESEARCH (TAG \"p\") UID REMOVEFROM (0 3)"]
    );
    // `$` stays what it was.
    assert_eq!(ann.ok("FETCH $ UID").await.len(), 3);
    ann.gives("SEARCH RETURN (ALL PARTIAL 1:2) ALL", "BAD").await;
}

#[tokio::test]
async fn updates_come_during_idle_and_with_notify() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a"]).await;
    tagged(
        &mut ann,
        "b",
        "UID SEARCH RETURN (UPDATE (UID BODY.PEEK[HEADER.FIELDS (Subject)])) SUBJECT boss",
    )
    .await;
    ann.send("i IDLE\r\n").await;
    assert_eq!(ann.line().await, "+ idling");
    other.append("INBOX", "", &message("boss", "text")).await;
    for expected in [
        "* 2 EXISTS",
        "* ESEARCH (TAG \"b\") UID ADDTO (0 2)",
        "* 2 FETCH (UID 2 BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: boss\r\n\r\n)",
    ] {
        assert_eq!(ann.line().await, expected);
    }
    other.append("INBOX", "", &message("chaff", "text")).await;
    assert_eq!(ann.line().await, "* 3 EXISTS");
    ann.send("DONE\r\n").await;
    assert!(ann.line().await.starts_with("i OK"));
    // What both ask for comes in one response, and without a command.
    ann.ok("NOTIFY SET (selected (MessageNew (UID RFC822.SIZE) MessageExpunge FlagChange))").await;
    let (boss, chaff) = (message("boss", "1"), message("chaff", "1"));
    other.append("INBOX", "", &boss).await;
    assert_eq!(ann.line().await, "* 4 EXISTS");
    assert_eq!(ann.line().await, "* ESEARCH (TAG \"b\") UID ADDTO (0 4)");
    let size = boss.len();
    assert_eq!(
        ann.line().await,
        format!(
            "* 4 FETCH (UID 4 RFC822.SIZE {size} BODY[HEADER.FIELDS (Subject)] {{17}}\r\nSubject: boss\r\n\r\n)"
        )
    );
    other.append("INBOX", "", &chaff).await;
    assert_eq!(ann.line().await, "* 5 EXISTS");
    assert_eq!(ann.line().await, format!("* 5 FETCH (UID 5 RFC822.SIZE {})", chaff.len()));
    // A message that becomes a member by its flags is not fetched (RFC 5465 §7), nor one of the client's own.
    tagged(&mut ann, "f", "UID SEARCH RETURN (UPDATE (UID)) FLAGGED").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(ann.line().await, "* 1 FETCH (UID 1 FLAGS (\\Flagged))");
    assert_eq!(ann.line().await, "* ESEARCH (TAG \"f\") UID ADDTO (0 1)");
    let told = ann.append("INBOX", "\\Flagged", &message("own", "x")).await;
    assert_eq!(told[..2], ["* 6 EXISTS", "* ESEARCH (TAG \"f\") UID ADDTO (0 6)"]);
    assert_eq!(told.len(), 3);
    // Removals are told at once, without a command.
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(ann.line().await, "* 2 FETCH (UID 2 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(ann.line().await, "* ESEARCH (TAG \"b\") UID REMOVEFROM (0 2)");
    assert_eq!(ann.line().await, "* 2 EXPUNGE");
}

#[tokio::test]
async fn uids_only_and_a_second_revision() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, &["a"]).await;
    ann.ok("ENABLE UIDONLY").await;
    ann.gives("SEARCH RETURN (UPDATE) ALL", "BAD [UIDREQUIRED]").await;
    tagged(&mut ann, "u", "UID SEARCH RETURN (UPDATE (UID FLAGS)) UNSEEN").await;
    other.append("INBOX", "", &message("b", "text")).await;
    assert_eq!(
        ann.ok("NOOP").await,
        ["* 2 EXISTS", "* ESEARCH (TAG \"u\") UID ADDTO (0 2)", "* 2 UIDFETCH (UID 2 FLAGS ())",]
    );
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    assert_eq!(
        ann.ok("NOOP").await,
        ["* ESEARCH (TAG \"u\") UID REMOVEFROM (0 1)", "* VANISHED 1"]
    );
}
