//! What IMAP4rev1 and IMAP4rev2 have apart: `\Recent`, names and their spellings, and what is told unasked.

use crate::support::{Client, World, message};

/// A client that has gone over to IMAP4rev2.
async fn rev2(world: &World) -> Client {
    let mut client = world.log_in().await;
    client.ok("ENABLE IMAP4rev2").await;
    client
}

/// The word for drafts with a combining diaeresis, which no stored name has.
const LOOSE: &str = "Entwu\u{308}rfe";

#[tokio::test]
async fn flags_that_others_changed_come_with_the_uid_in_rev2() {
    let world = World::start().await;
    let mut other = world.select("INBOX").await;
    for subject in ["one", "two"] {
        other.append("INBOX", "", &message(subject, "x")).await;
    }
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let mut client = rev2(&world).await;
    client.ok("SELECT INBOX").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(client.ok("NOOP").await, ["* 1 FETCH (UID 2 FLAGS (\\Seen))"]);
    client.send("i IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    other.ok("STORE 1 -FLAGS.SILENT (\\Seen)").await;
    assert_eq!(client.line().await, "* 1 FETCH (UID 2 FLAGS ())");
    client.send("DONE\r\n").await;
    assert!(client.line().await.starts_with("i OK"));
    // What was asked for has what was asked for.
    assert_eq!(client.ok("STORE 1 +FLAGS (\\Seen)").await, ["* 1 FETCH (FLAGS (\\Seen))"]);
    let told = other.ok("NOOP").await;
    assert!(told[0].starts_with("* 1 FETCH (FLAGS (\\Seen"), "{told:?}");
}

#[tokio::test]
async fn the_list_response_of_select_has_the_attributes() {
    let world = World::start().await;
    let mut client = rev2(&world).await;
    client.ok("CREATE Sent/Old").await;
    let lines = client.ok("SELECT Sent").await;
    let listed = "* LIST (\\Subscribed \\HasChildren \\Sent) \"/\" Sent".to_owned();
    assert!(lines.contains(&listed), "{lines:?}");
    let lines = client.ok("EXAMINE inbox").await;
    let listed =
        "* LIST (\\Subscribed \\HasNoChildren) \"/\" INBOX (\"OLDNAME\" (inbox))".to_owned();
    assert!(lines.contains(&listed), "{lines:?}");
}

#[tokio::test]
async fn a_name_that_is_spelled_differently_is_told_in_rev2() {
    let world = World::start().await;
    let mut client = rev2(&world).await;
    let told = |attributes: &str, name: &str| {
        vec![format!("* LIST ({attributes}) \"/\" {name} (\"OLDNAME\" (\"{LOOSE}\"))")]
    };
    let listed = client.ok(&format!("CREATE \"{LOOSE}\"")).await;
    assert_eq!(listed, told("\\HasNoChildren", "\"Entwürfe\""));
    let lines = client.append(&format!("\"{LOOSE}\""), "", &message("one", "x")).await;
    assert_eq!(lines[..1], told("\\HasNoChildren", "\"Entwürfe\""));
    let listed = client.ok(&format!("RENAME \"{LOOSE}\" Texts")).await;
    assert_eq!(listed, told("\\HasNoChildren", "Texts"));
    client.ok("RENAME Texts \"Entwürfe\"").await;
    let listed = client.ok(&format!("DELETE \"{LOOSE}\"")).await;
    assert_eq!(listed, told("\\NonExistent \\HasNoChildren", "\"Entwürfe\""));
    // A separator at the end is no spelling, and IMAP4rev1 knows nothing of all this.
    assert_eq!(client.ok("CREATE a/b/").await.len(), 0);
    let mut old = world.log_in().await;
    assert_eq!(old.ok(&format!("CREATE \"{LOOSE}\"")).await.len(), 0);
    assert_eq!(old.ok(&format!("DELETE \"{LOOSE}\"")).await.len(), 0);
}

#[tokio::test]
async fn a_rev2_session_takes_recent_away_from_nobody() {
    let world = World::start().await;
    let mut client = rev2(&world).await;
    client.append("INBOX", "", &message("one", "x")).await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS ())"]);
    assert_eq!(client.ok("SEARCH RECENT").await, ["* ESEARCH (TAG \"t\")"]);
    let mut old = world.log_in().await;
    assert!(old.ok("SELECT INBOX").await.contains(&"* 1 RECENT".to_owned()));
    assert_eq!(old.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS (\\Recent))"]);
}

#[tokio::test]
async fn a_client_hears_when_there_can_be_no_more_keywords() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.append("INBOX", "", &message("one", "x")).await;
    client.ok("SELECT INBOX").await;
    let keywords = |range: std::ops::Range<u32>| {
        range.map(|number| format!("k{number}")).collect::<Vec<_>>().join(" ")
    };
    let lines = client.ok(&format!("STORE 1 +FLAGS.SILENT ({})", keywords(0..255))).await;
    assert_eq!(lines.len(), 0);
    let lines = client.ok("STORE 1 +FLAGS.SILENT (last)").await;
    assert!(lines[1].starts_with("* OK [PERMANENTFLAGS (\\Answered "), "{lines:?}");
    assert!(!lines[1].contains("\\*"), "{lines:?}");
    let lines = client.run("STORE 1 +FLAGS (more)").await;
    assert!(lines[1].starts_with("* OK [PERMANENTFLAGS (") && !lines[1].contains("\\*"));
    assert!(lines.last().unwrap().starts_with("t NO [LIMIT]"), "{lines:?}");
    // And so does who comes later.
    let lines = client.ok("SELECT INBOX").await;
    assert!(!lines.iter().any(|line| line.contains("\\*")), "{lines:?}");
}

#[tokio::test]
async fn only_the_basic_list_asks_for_the_separator() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    assert_eq!(client.ok("LIST \"\" \"\"").await, ["* LIST (\\Noselect) \"/\" \"\""]);
    for command in ["LIST \"\" (\"\")", "LIST () INBOX \"\"", "LIST INBOX \"\" RETURN (CHILDREN)"] {
        assert_eq!(client.ok(command).await.len(), 0, "{command}");
    }
    assert_eq!(client.ok("LIST \"\" (\"\" INBOX)").await.len(), 1);
}

#[tokio::test]
async fn a_star_lists_no_name_without_a_mailbox() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.ok("CREATE music/rock").await;
    client.ok("DELETE music").await;
    assert_eq!(
        client.ok("LIST \"\" m*").await,
        [
            "* LIST (\\Noselect \\HasChildren) \"/\" music",
            "* LIST (\\HasNoChildren) \"/\" music/rock"
        ]
    );
    let rock = "* LIST (\\HasNoChildren) \"/\" music/rock";
    assert_eq!(client.ok("LIST () \"\" m*").await, [rock]);
    let level = "* LIST (\\NonExistent \\HasChildren) \"/\" music";
    assert_eq!(client.ok("LIST () \"\" m%").await, [level]);
    client.ok("ENABLE IMAP4rev2").await;
    assert_eq!(client.ok("LIST \"\" m*").await, [rock]);
    assert_eq!(client.ok("LIST \"\" m%").await, [level]);
    // A subscription is a reason of its own.
    client.ok("SUBSCRIBE music").await;
    let subscribed = "* LIST (\\NonExistent \\Subscribed \\HasChildren) \"/\" music";
    assert_eq!(client.ok("LIST (SUBSCRIBED) \"\" m*").await, [subscribed]);
}

#[tokio::test]
async fn quoted_strings_are_utf8_or_bad() {
    let world = World::start().await;
    let mut client = world.select("INBOX").await;
    for command in [&b"t SEARCH SUBJECT \"gr\xfcn\"\r\n"[..], b"t CREATE \"gr\xfcn\"\r\n"] {
        client.send(command).await;
        assert!(client.line().await.starts_with("t BAD"));
    }
    // Another character set takes a literal.
    client.send(b"t SEARCH CHARSET ISO-8859-1 SUBJECT {4+}\r\ngr\xfcn\r\n").await;
    assert_eq!(client.until("t").await[0], "* SEARCH");
}

#[tokio::test]
async fn the_use_of_a_mailbox_is_an_annotation() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let entry = "/private/specialuse";
    let told = client.ok(&format!("GETMETADATA Sent {entry}")).await;
    assert_eq!(told, ["* METADATA Sent (/private/specialuse \"\\\\Sent\")"]);
    let told = client.ok("GETMETADATA (DEPTH infinity) Sent /private").await;
    assert_eq!(told, ["* METADATA Sent (/private/specialuse \"\\\\Sent\")"]);
    let told = client.ok(&format!("GETMETADATA INBOX {entry}")).await;
    assert_eq!(told, ["* METADATA INBOX (/private/specialuse NIL)"]);
    let told = client.ok(&format!("LIST \"\" Sent RETURN (METADATA ({entry}))")).await;
    assert_eq!(told[1], "* METADATA Sent (/private/specialuse \"\\\\Sent\")");
    for value in ["\"\\\\Sent\"", "NIL"] {
        client.gives(&format!("SETMETADATA INBOX ({entry} {value})"), "NO [USEATTR]").await;
    }
}

#[tokio::test]
async fn moving_within_a_mailbox_tells_of_both_ends() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.append("INBOX", "\\Seen", &message("one", "x")).await;
    client.append("INBOX", "", &message("two", "x")).await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("MOVE 1 INBOX").await;
    assert!(lines[0].starts_with("* OK [COPYUID ") && lines[0].contains(" 1 3] "), "{lines:?}");
    assert_eq!(lines[1..3], ["* 1 EXPUNGE", "* 2 EXISTS"]);
    let told = client.ok("FETCH 2 (UID FLAGS)").await;
    assert!(told[0].starts_with("* 2 FETCH (UID 3 FLAGS (\\Seen"), "{told:?}");
}
