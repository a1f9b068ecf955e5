//! Mailboxes as a whole.

use crate::support::{World, message};

#[tokio::test]
async fn a_new_account_has_its_mailboxes() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let listed = client.ok("LIST \"\" *").await;
    assert_eq!(
        listed,
        [
            "* LIST (\\HasNoChildren \\Archive) \"/\" Archive",
            "* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts",
            "* LIST (\\HasNoChildren) \"/\" INBOX",
            "* LIST (\\HasNoChildren \\Junk) \"/\" Junk",
            "* LIST (\\HasNoChildren \\Sent) \"/\" Sent",
            "* LIST (\\HasNoChildren \\Trash) \"/\" Trash",
        ]
    );
    assert_eq!(client.ok("LIST \"\" \"\"").await, ["* LIST (\\Noselect) \"/\" \"\""]);
    assert_eq!(client.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \"/\")) NIL NIL"]);
    assert_eq!(client.ok("LIST (SPECIAL-USE) \"\" (T% S%)").await.len(), 2);
    assert_eq!(client.ok("LSUB \"\" *").await.len(), 6);
}

#[tokio::test]
async fn making_renaming_and_deleting() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.ok("CREATE a/b/").await;
    client.ok("CREATE a/b/c").await;
    client.gives("CREATE a/b", "NO [ALREADYEXISTS]").await;
    client.gives("CREATE inbox", "NO [ALREADYEXISTS]").await;
    client.gives("CREATE a//b", "NO [CANNOT]").await;
    client.gives("DELETE INBOX", "NO [CANNOT]").await;
    client.gives("DELETE nowhere", "NO [NONEXISTENT]").await;
    client.ok("DELETE a/b").await;
    assert_eq!(
        client.ok("LIST \"\" a*").await,
        [
            "* LIST (\\HasChildren) \"/\" a",
            "* LIST (\\Noselect \\HasChildren) \"/\" a/b",
            "* LIST (\\HasNoChildren) \"/\" a/b/c",
        ]
    );
    assert_eq!(
        client.ok("LIST \"\" a/% RETURN (CHILDREN)").await,
        ["* LIST (\\NonExistent \\HasChildren) \"/\" a/b"]
    );
    client.gives("SELECT a/b", "NO [NONEXISTENT]").await;
    client.ok("RENAME a z").await;
    assert_eq!(client.ok("LIST z/ *").await.len(), 2);
    assert_eq!(client.ok("LIST \"\" a*").await.len(), 0);
    client.gives("RENAME a b", "NO [NONEXISTENT]").await;
    client.gives("RENAME z Trash", "NO [ALREADYEXISTS]").await;
}

#[tokio::test]
async fn renaming_inbox_moves_its_messages() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.append("INBOX", "", &message("one", "x")).await;
    client.ok("RENAME INBOX old").await;
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
    assert_eq!(client.ok("STATUS old (MESSAGES)").await, ["* STATUS old (MESSAGES 1)"]);
}

#[tokio::test]
async fn special_uses_are_given_once() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.gives("CREATE Sent2 (USE (\\Sent))", "NO [USEATTR]").await;
    client.gives("CREATE All (USE (\\All))", "NO [USEATTR]").await;
    client.gives("CREATE Odd (USE (\\Odd))", "NO [USEATTR]").await;
    client.ok("CREATE Vital (USE (\\Important))").await;
    assert_eq!(
        client.ok("LIST \"\" Vital").await,
        ["* LIST (\\HasNoChildren \\Important) \"/\" Vital"]
    );
}

#[tokio::test]
async fn subscriptions_belong_to_names() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.ok("SUBSCRIBE lists/rust").await;
    client.ok("UNSUBSCRIBE Junk").await;
    assert_eq!(client.ok("LSUB \"\" li%").await, ["* LSUB (\\Noselect) \"/\" lists"]);
    assert_eq!(client.ok("LSUB \"\" lists/*").await, ["* LSUB () \"/\" lists/rust"]);
    let subscribed = client.ok("LIST (SUBSCRIBED) \"\" *").await;
    assert!(subscribed.contains(
        &"* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" lists/rust".to_owned()
    ));
    assert!(!subscribed.iter().any(|line| line.ends_with("Junk")));
    let above = client.ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" li%").await;
    assert_eq!(
        above,
        ["* LIST (\\NonExistent \\HasNoChildren) \"/\" lists (\"CHILDINFO\" (\"SUBSCRIBED\"))"]
    );
    let returned = client.ok("LIST \"\" (Junk Sent) RETURN (SUBSCRIBED)").await;
    assert_eq!(
        returned,
        [
            "* LIST (\\HasNoChildren \\Junk) \"/\" Junk",
            "* LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" Sent"
        ]
    );
}

#[tokio::test]
async fn figures_of_mailboxes() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let (one, two) = (message("one", "x"), message("two", "y"));
    client.append("Sent", "\\Seen", &one).await;
    client.append("Sent", "\\Deleted", &two).await;
    let size = one.len() + two.len();
    let status = client.ok("STATUS Sent (MESSAGES UNSEEN DELETED SIZE UIDNEXT RECENT)").await;
    assert_eq!(
        status,
        [format!("* STATUS Sent (MESSAGES 2 UNSEEN 1 DELETED 1 SIZE {size} UIDNEXT 3 RECENT 2)")]
    );
    client.gives("STATUS nowhere (MESSAGES)", "NO [NONEXISTENT]").await;
    let listed = client.ok("LIST \"\" S% RETURN (STATUS (MESSAGES))").await;
    assert_eq!(listed[1], "* STATUS Sent (MESSAGES 2)");
}

#[tokio::test]
async fn select_tells_the_whole_state() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.append("INBOX", "\\Seen", &message("one", "x")).await;
    client.append("INBOX", "$Work", &message("two", "y")).await;
    let lines = client.run("SELECT INBOX").await;
    assert_eq!(lines[0], "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)");
    assert!(lines[1].starts_with(
        "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work \\*)] "
    ));
    assert_eq!(lines[2..4], ["* 2 EXISTS", "* 2 RECENT"]);
    assert!(lines[4].starts_with("* OK [UNSEEN 2] "));
    assert!(
        lines[5].starts_with("* OK [UIDVALIDITY ") && lines[6].starts_with("* OK [UIDNEXT 3] ")
    );
    assert!(lines[7].starts_with("* OK [HIGHESTMODSEQ "));
    assert!(lines[8].starts_with("* OK [MAILBOXID (F"));
    assert!(lines[9].starts_with("t OK [READ-WRITE] "));
    assert!(client.ok("FETCH 1:2 FLAGS").await[0].contains("\\Recent"));
    // The first session that selected saw them as recent; the next one does not.
    let lines = client.run("EXAMINE INBOX").await;
    assert_eq!(lines[0], "* OK [CLOSED] The mailbox was closed");
    assert!(
        lines.contains(&"* 0 RECENT".to_owned())
            && lines[2].starts_with("* OK [PERMANENTFLAGS ()]")
    );
    assert!(lines.last().unwrap().starts_with("t OK [READ-ONLY]"));
    client.gives("STORE 1 FLAGS ()", "NO").await;
    client.gives("EXPUNGE", "NO").await;
    client.gives("MOVE 1 Trash", "NO").await;
    assert_eq!(client.ok("FETCH 2 BODY[TEXT]").await, ["* 2 FETCH (BODY[TEXT] {3}\r\ny\r\n)"]);
    // A failed SELECT leaves no mailbox.
    client.gives("SELECT nowhere", "NO [NONEXISTENT]").await;
    client.gives("CHECK", "BAD").await;
}

#[tokio::test]
async fn deleting_the_selected_mailbox_leaves_none() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.ok("CREATE short").await;
    client.ok("SELECT short").await;
    assert_eq!(client.ok("DELETE short").await, ["* OK [CLOSED] The mailbox was closed"]);
    client.gives("CHECK", "BAD").await;
    client.ok("SELECT INBOX").await;
}
