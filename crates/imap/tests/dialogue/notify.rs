//! NOTIFY (RFC 5465): what a client hears, and when.

use crate::support::{Client, World, message};

/// A client of IMAP4rev2, which knows no `\Recent`: which session has it, when two hear of a message at once, is chance.
async fn listener(world: &World) -> Client {
    let mut client = world.log_in().await;
    client.ok("ENABLE IMAP4rev2").await;
    client
}

/// A client that watches, and another one of the same account.
async fn two(world: &World, wishes: &str) -> (Client, Client) {
    let other = world.log_in().await;
    let mut ann = listener(world).await;
    ann.ok(&format!("NOTIFY SET {wishes}")).await;
    (ann, other)
}

/// The same with INBOX selected by both, which has so many messages, none of them recent.
async fn on_inbox(world: &World, messages: usize, wishes: &str) -> (Client, Client) {
    let mut other = world.log_in().await;
    for number in 1..=messages {
        other.append("INBOX", "", &message(&format!("m{number}"), "text")).await;
    }
    other.ok("SELECT INBOX").await;
    let mut ann = listener(world).await;
    ann.ok("SELECT INBOX").await;
    ann.ok(&format!("NOTIFY SET {wishes}")).await;
    (ann, other)
}

async fn lines(client: &mut Client, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(client.line().await);
    }
    lines
}

#[tokio::test]
async fn what_is_malformed_or_unknown() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    let known = "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange \
                 MailboxMetadataChange ServerMetadataChange)]";
    ann.gives("NOTIFY SET (personal (AnnotationChange))", known).await;
    ann.gives("NOTIFY SET (selected (MessageNew)) (personal (Thunder))", known).await;
    for bad in [
        "NOTIFY",
        "NOTIFY SET",
        "NOTIFY SET (personal (MessageNew))",
        "NOTIFY SET (personal (MessageExpunge))",
        "NOTIFY SET (personal (FlagChange))",
        "NOTIFY SET (selected (MailboxName))",
        "NOTIFY SET (selected NONE) (selected-delayed NONE)",
        "NOTIFY SET (selected NONE) (selected NONE)",
        "NOTIFY SET (inboxes (MessageNew (UID) MessageExpunge))",
    ] {
        ann.gives(bad, "BAD").await;
    }
    // Each change in the account would be compared with all of these.
    let names = (0..850).map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
    let groups = format!(" (subtree ({names}) (MailboxName))").repeat(6);
    ann.gives(&format!("NOTIFY SET{groups}"), "NO [NOTIFICATIONOVERFLOW]").await;
    ann.ok("NOTIFY SET (mailboxes (NoSuch Gone/too \"&bad\") (MessageNew MessageExpunge))").await;
    ann.ok("NOTIFY NONE").await;
    let mut stranger = world.connect().await;
    stranger.gives("NOTIFY NONE", "BAD").await;
}

#[tokio::test]
async fn without_annotations_there_are_fewer_events() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.imap.disabled_capabilities = vec!["METADATA".to_owned()];
    })
    .await;
    let mut ann = world.log_in().await;
    let known =
        "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)]";
    ann.gives("NOTIFY SET (personal (MailboxMetadataChange))", known).await;
    ann.gives("NOTIFY SET (personal (ServerMetadataChange))", known).await;
    ann.ok("NOTIFY SET (personal (MailboxName SubscriptionChange))").await;
}

#[tokio::test]
async fn the_selected_mailbox_speaks_between_commands() {
    let world = World::start().await;
    let wishes = "(selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge FlagChange))";
    let (mut ann, mut other) = on_inbox(&world, 2, wishes).await;
    other.append("INBOX", "\\Seen", &message("new", "text")).await;
    assert_eq!(
        lines(&mut ann, 2).await,
        [
            "* 3 EXISTS",
            "* 3 FETCH (UID 3 BODY[HEADER.FIELDS (Subject)] {16}\r\nSubject: new\r\n\r\n)",
        ]
    );
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    assert_eq!(ann.line().await, "* 1 FETCH (UID 1 FLAGS (\\Flagged))");
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(ann.line().await, "* 2 FETCH (UID 2 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(lines(&mut ann, 1).await, ["* 2 EXPUNGE"]);
    // All was told.
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    assert_eq!(ann.ok("FETCH 1:* UID").await, ["* 1 FETCH (UID 1)", "* 2 FETCH (UID 3)"]);
}

#[tokio::test]
async fn own_messages_are_not_fetched_and_own_flags_told_once() {
    let world = World::start().await;
    let wishes = "(selected (MessageNew (UID) MessageExpunge FlagChange))";
    let (mut ann, mut other) = on_inbox(&world, 1, wishes).await;
    let told = ann.append("INBOX", "", &message("own", "text")).await;
    assert_eq!((told[0].as_str(), told.len()), ("* 2 EXISTS", 2));
    assert_eq!(ann.ok("COPY 1 INBOX").await, ["* 3 EXISTS"]);
    assert_eq!(ann.ok("MOVE 1 INBOX").await.len(), 3, "COPYUID, EXPUNGE and EXISTS");
    assert_eq!(ann.ok("STORE 1 +FLAGS (\\Seen)").await, ["* 1 FETCH (FLAGS (\\Seen))"]);
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    other.append("INBOX", "", &message("theirs", "text")).await;
    assert_eq!(lines(&mut ann, 2).await[1], "* 4 FETCH (UID 5)");
}

#[tokio::test]
async fn delayed_removals_wait_for_a_command() {
    let world = World::start().await;
    let wishes = "(selected-delayed (MessageNew MessageExpunge FlagChange))";
    let (mut ann, mut other) = on_inbox(&world, 3, wishes).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(ann.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    other.append("INBOX", "", &message("new", "text")).await;
    // The number of the removed message still counts.
    assert_eq!(lines(&mut ann, 1).await, ["* 4 EXISTS"]);
    let answer = ann.run("FETCH 2:4 UID").await;
    assert_eq!(answer[..3], ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)"]);
    assert!(answer[3].starts_with("t OK [EXPUNGEISSUED]"), "{answer:?}");
    assert_eq!(ann.ok("NOOP").await, ["* 1 EXPUNGE"]);
    // IDLE is a command during which they may be told.
    ann.send("i IDLE\r\n").await;
    assert_eq!(ann.line().await, "+ idling");
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(ann.line().await, "* 1 FETCH (UID 2 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(lines(&mut ann, 1).await, ["* 1 EXPUNGE"]);
    ann.send("DONE\r\n").await;
    assert!(ann.line().await.starts_with("i OK"));
}

#[tokio::test]
async fn none_is_silence_until_more_is_wished() {
    let world = World::start().await;
    let (mut ann, mut other) = on_inbox(&world, 3, "(selected NONE)").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.append("INBOX", "", &message("new", "text")).await;
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    for command in ["NOOP", "UID SEARCH ALL"] {
        let told = ann.ok(command).await;
        assert!(told.iter().all(|line| line.starts_with("* ESEARCH")), "{told:?}");
    }
    // What the client does itself is answered, and the numbers are those that it knows.
    assert_eq!(ann.ok("STORE 3 +FLAGS (\\Deleted)").await, ["* 3 FETCH (FLAGS (\\Deleted))"]);
    assert_eq!(ann.ok("EXPUNGE").await, ["* 3 EXPUNGE", "* 1 EXPUNGE"]);
    assert_eq!(ann.ok("FETCH 1 UID").await, ["* 1 FETCH (UID 2)"]);
    ann.ok("NOTIFY NONE").await;
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    // All that was kept back is told, whatever is wished from now on.
    let told = ann.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge))").await;
    assert_eq!(told, ["* 2 EXISTS", "* 1 FETCH (UID 2 FLAGS (\\Flagged))", "* 2 FETCH (UID 4)"]);
    // Without FlagChange, flags are nobody's affair.
    other.ok("STORE 1 -FLAGS (\\Flagged)").await;
    other.append("INBOX", "", &message("next", "text")).await;
    assert_eq!(lines(&mut ann, 2).await, ["* 3 EXISTS", "* 3 FETCH (UID 5)"]);
}

#[tokio::test]
async fn other_mailboxes_tell_their_figures() {
    let world = World::start().await;
    let mut maker = world.log_in().await;
    for name in ["Work", "Work/Old", "Quiet"] {
        maker.ok(&format!("CREATE {name}")).await;
    }
    maker.append("Work", "", &message("a", "text")).await;
    let mut ann = world.log_in().await;
    let told = ann
        .ok("NOTIFY SET STATUS (subtree Work (MessageNew MessageExpunge)) (mailboxes Quiet (MailboxName))")
        .await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .any(|line| line.starts_with("* STATUS Work (MESSAGES 1 UIDNEXT 2 UIDVALIDITY "))
    );
    let mut other = world.log_in().await;
    other.append("Work", "", &message("b", "text")).await;
    assert_eq!(ann.line().await, "* STATUS Work (MESSAGES 2 UIDNEXT 3)");
    other.append("Quiet", "", &message("b", "text")).await;
    other.ok("SELECT Work").await;
    // Flags were not wished for.
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    assert_eq!(ann.line().await, "* STATUS Work (MESSAGES 1 UIDNEXT 3)");
    // What the client itself puts there is no news to it, but what others put there at the same time is.
    ann.append("Work/Old", "", &message("own", "text")).await;
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    other.append("Work/Old", "", &message("theirs", "text")).await;
    assert_eq!(ann.line().await, "* STATUS Work/Old (MESSAGES 2 UIDNEXT 3)");
    // While it is selected, a mailbox has no figures; nothing was wished for the selected one.
    ann.ok("SELECT Work").await;
    other.append("Work", "", &message("c", "text")).await;
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    assert_eq!(ann.ok("UNSELECT").await, ["* STATUS Work (MESSAGES 2 UIDNEXT 4)"]);
    other.append("Work", "", &message("d", "text")).await;
    assert_eq!(ann.line().await, "* STATUS Work (MESSAGES 3 UIDNEXT 5)");
    // CLOSE removes, and that is the client's own doing.
    ann.ok("SELECT Work").await;
    ann.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(ann.ok("CLOSE").await.len(), 0);
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    assert_eq!(ann.ok("STATUS Work (MESSAGES)").await, ["* STATUS Work (MESSAGES 2)"]);
}

#[tokio::test]
async fn figures_fit_what_the_client_enabled() {
    let world = World::start().await;
    let mut other = world.log_in().await;
    other.append("INBOX", "", &message("a", "text")).await;
    other.ok("SELECT INBOX").await;
    let wishes = "NOTIFY SET STATUS (inboxes (MessageNew MessageExpunge FlagChange))";
    let (mut plain, mut ann) = (world.log_in().await, world.log_in().await);
    ann.ok("ENABLE QRESYNC").await;
    for client in [&mut plain, &mut ann] {
        let told = client.ok(wishes).await;
        let inbox = told.iter().find(|line| line.starts_with("* STATUS INBOX ")).unwrap();
        assert!(inbox.contains("UIDVALIDITY") && inbox.contains("HIGHESTMODSEQ"), "{inbox}");
    }
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    let told = ann.line().await;
    assert!(
        told.starts_with("* STATUS INBOX (UIDVALIDITY ") && told.contains(" HIGHESTMODSEQ "),
        "{told}"
    );
    assert!(!told.contains("MESSAGES"), "{told}");
    other.ok("STORE 1 +FLAGS (\\Seen)").await;
    let told = ann.line().await;
    assert!(told.contains("UNSEEN 0 HIGHESTMODSEQ"), "{told}");
    // Without CONDSTORE only what can be counted is told.
    let told = plain.line().await;
    assert!(
        told.starts_with("* STATUS INBOX (UIDVALIDITY ") && told.ends_with("UNSEEN 0)"),
        "{told}"
    );
    other.append("INBOX", "\\Seen", &message("b", "text")).await;
    let told = ann.line().await;
    assert!(
        told.starts_with("* STATUS INBOX (MESSAGES 2 UIDNEXT 3") && told.contains("HIGHESTMODSEQ")
    );
    assert_eq!(plain.line().await, "* STATUS INBOX (MESSAGES 2 UIDNEXT 3)");
}

#[tokio::test]
async fn names_and_subscriptions() {
    let world = World::start().await;
    let wishes = "(personal (MailboxName SubscriptionChange))";
    let (mut ann, mut other) = two(&world, wishes).await;
    other.ok("CREATE Top/Sub").await;
    assert_eq!(
        lines(&mut ann, 2).await,
        ["* LIST (\\HasChildren) \"/\" Top", "* LIST (\\HasNoChildren) \"/\" Top/Sub"]
    );
    other.ok("SUBSCRIBE Top").await;
    assert_eq!(ann.line().await, "* LIST (\\Subscribed \\HasChildren) \"/\" Top");
    // What lies below goes along without a word.
    other.ok("RENAME Top Up").await;
    assert_eq!(ann.line().await, "* LIST (\\HasChildren) \"/\" Up (\"OLDNAME\" (Top))");
    other.ok("UNSUBSCRIBE Top").await;
    assert_eq!(ann.line().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" Top");
    other.ok("DELETE Up").await;
    assert_eq!(ann.line().await, "* LIST (\\NonExistent \\HasChildren) \"/\" Up");
    other.ok("DELETE Up/Sub").await;
    assert_eq!(
        lines(&mut ann, 2).await,
        [
            "* LIST (\\NonExistent \\HasNoChildren) \"/\" Up",
            "* LIST (\\NonExistent \\HasNoChildren) \"/\" Up/Sub"
        ]
    );
    // Own doings are no news.
    for command in [
        "CREATE Mine/Deep",
        "SUBSCRIBE Mine",
        "RENAME Mine Yours",
        "DELETE Yours/Deep",
        "UNSUBSCRIBE Mine",
    ] {
        assert_eq!(ann.ok(command).await, Vec::<String>::new(), "{command}");
    }
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    other.append("INBOX", "", &message("a", "text")).await;
    other.ok("RENAME INBOX Before").await;
    assert_eq!(ann.line().await, "* LIST (\\HasNoChildren) \"/\" Before (\"OLDNAME\" (INBOX))");
    assert_eq!(ann.ok("NOOP").await.len(), 0);
}

#[tokio::test]
async fn filters_say_which_mailboxes() {
    let world = World::start().await;
    let mut other = world.log_in().await;
    for name in ["A", "B", "C", "C/D"] {
        other.ok(&format!("CREATE {name}")).await;
    }
    let mut ann = world.log_in().await;
    ann.ok("NOTIFY SET (mailboxes (A) NONE) (subscribed (MessageNew MessageExpunge)) (mailboxes B (SubscriptionChange))")
        .await;
    // Nothing is subscribed yet, and of A nothing is to be heard.
    other.append("B", "", &message("a", "text")).await;
    other.ok("SUBSCRIBE A").await;
    other.ok("SUBSCRIBE B").await;
    assert_eq!(ann.line().await, "* LIST (\\Subscribed \\HasNoChildren) \"/\" B");
    // The list of subscriptions counts as it is.
    let status = ann.line().await;
    assert!(status.starts_with("* STATUS B (MESSAGES 1 UIDNEXT 2 UIDVALIDITY "), "{status}");
    other.append("A", "", &message("a", "text")).await;
    other.append("B", "", &message("b", "text")).await;
    assert_eq!(ann.line().await, "* STATUS B (MESSAGES 2 UIDNEXT 3)");
    other.ok("UNSUBSCRIBE B").await;
    assert_eq!(ann.line().await, "* LIST (\\HasNoChildren) \"/\" B");
    other.append("B", "", &message("c", "text")).await;
    ann.ok("NOTIFY SET (subtree (C) (MessageNew MessageExpunge FlagChange))").await;
    other.append("B", "", &message("d", "text")).await;
    other.append("C/D", "", &message("d", "text")).await;
    let status = ann.line().await;
    assert!(status.starts_with("* STATUS C/D (MESSAGES 1 UIDNEXT 2 UIDVALIDITY "), "{status}");
    assert!(status.ends_with(" UNSEEN 1)"), "{status}");
    // A mailbox that takes the name of another is another one.
    other.ok("DELETE C/D").await;
    other.ok("CREATE C/D").await;
    let status = ann.line().await;
    assert!(status.starts_with("* STATUS C/D (MESSAGES 0 UIDNEXT 1 UIDVALIDITY "), "{status}");
}

#[tokio::test]
async fn annotations_are_told_by_name() {
    let world = World::start().await;
    let wishes = "(mailboxes INBOX (MailboxMetadataChange)) (personal (ServerMetadataChange))";
    let (mut ann, mut other) = two(&world, wishes).await;
    other.ok("SETMETADATA INBOX (/private/comment \"x\" /shared/comment NIL)").await;
    assert_eq!(ann.line().await, "* METADATA INBOX /private/comment /shared/comment");
    other.ok("SETMETADATA Sent (/private/comment \"x\")").await;
    other.ok("SETMETADATA \"\" (/private/vendor/a \"y\")").await;
    assert_eq!(ann.line().await, "* METADATA \"\" /private/vendor/a");
    assert_eq!(ann.ok("SETMETADATA INBOX (/private/comment \"z\")").await.len(), 0);
    assert_eq!(ann.ok("NOOP").await.len(), 0);
}

#[tokio::test]
async fn too_much_is_said_to_be_too_much() {
    let world = World::start().await;
    let wishes = "(personal (MailboxMetadataChange MailboxName))";
    let (mut ann, mut other) = two(&world, wishes).await;
    // While its command is coming in, a client is told nothing.
    ann.send("a APPEND INBOX {1+}\r\n").await;
    for number in 0..257 {
        other.ok(&format!("SETMETADATA INBOX (/private/comment \"{number}\")")).await;
    }
    ann.send("x\r\n").await;
    let told = ann.until("a").await;
    assert!(told[0].starts_with("* OK [NOTIFICATIONOVERFLOW]"), "{told:?}");
    assert!(told.len() == 2 && told[1].starts_with("a OK"), "{told:?}");
    // From here on it is as after NOTIFY NONE.
    other.ok("CREATE New").await;
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    ann.ok(&format!("NOTIFY SET {wishes}")).await;
    other.ok("DELETE New").await;
    assert_eq!(ann.line().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" New");
}

#[tokio::test]
async fn other_extensions_keep_their_forms() {
    let world = World::start().await;
    let mut other = world.log_in().await;
    for number in 1..=3 {
        other.append("INBOX", "", &message(&format!("m{number}"), "text")).await;
    }
    other.ok("SELECT INBOX").await;
    let wishes =
        "NOTIFY SET (selected (MessageNew (RFC822.SIZE BODY[]) MessageExpunge FlagChange))";
    let (mut quick, mut bare) = (world.log_in().await, world.log_in().await);
    quick.ok("ENABLE QRESYNC IMAP4rev2").await;
    bare.ok("ENABLE UIDONLY IMAP4rev2").await;
    for client in [&mut quick, &mut bare] {
        client.ok("SELECT INBOX").await;
        client.ok(wishes).await;
    }
    other.ok("STORE 2 +FLAGS (\\Deleted)").await;
    let told = quick.line().await;
    assert!(told.starts_with("* 2 FETCH (UID 2 FLAGS (\\Deleted) MODSEQ ("), "{told}");
    assert_eq!(bare.line().await, "* 2 UIDFETCH (FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(
        (quick.line().await, bare.line().await),
        ("* VANISHED 2".into(), "* VANISHED 2".into())
    );
    let mail = message("x", "y");
    other.append("INBOX", "", &mail).await;
    let size = mail.len();
    assert_eq!(
        lines(&mut bare, 2).await,
        [
            "* 3 EXISTS".to_owned(),
            format!("* 4 UIDFETCH (RFC822.SIZE {size} BODY[] {{{size}}}\r\n{mail})"),
        ]
    );
    assert_eq!(quick.line().await, "* 3 EXISTS");
    let told = quick.line().await;
    let expected =
        format!("* 3 FETCH (UID 4 RFC822.SIZE {size} BODY[] {{{size}}}\r\n{mail} MODSEQ (");
    assert!(told.starts_with(&expected), "{told}");
    // Nothing became \Seen by being told of.
    assert!(!other.ok("FETCH 3 FLAGS").await[0].contains("Seen"));
}

#[tokio::test]
async fn selecting_and_leaving() {
    let world = World::start().await;
    let wishes = "(selected (MessageNew (UID) MessageExpunge)) (personal (MessageNew MessageExpunge MailboxName))";
    let (mut ann, mut other) = two(&world, wishes).await;
    other.append("Sent", "", &message("a", "text")).await;
    assert_eq!(ann.line().await, "* STATUS Sent (MESSAGES 1 UIDNEXT 2)");
    ann.ok("SELECT Sent").await;
    other.append("Sent", "", &message("b", "text")).await;
    assert_eq!(lines(&mut ann, 2).await, ["* 2 EXISTS", "* 2 FETCH (UID 2)"]);
    ann.ok("SELECT Drafts").await;
    other.append("Sent", "", &message("c", "text")).await;
    assert_eq!(ann.line().await, "* STATUS Sent (MESSAGES 3 UIDNEXT 4)");
    // The selected mailbox is deleted: its name comes before the end of the session.
    other.ok("CREATE Short").await;
    assert_eq!(ann.line().await, "* LIST (\\HasNoChildren) \"/\" Short");
    ann.ok("SELECT Short").await;
    other.ok("DELETE Short").await;
    assert_eq!(ann.line().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" Short");
    assert!(ann.line().await.starts_with("* BYE"));
    assert_eq!(ann.try_line().await, None);
}

#[tokio::test]
async fn wishes_end_with_the_login() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, "(personal (MailboxName))").await;
    ann.ok("UNAUTHENTICATE").await;
    other.ok("CREATE One").await;
    ann.ok(&format!("LOGIN {} {}", crate::support::ANN, world.password)).await;
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    ann.ok("NOTIFY SET (personal (MailboxName))").await;
    other.ok("CREATE Two").await;
    assert_eq!(ann.line().await, "* LIST (\\HasNoChildren) \"/\" Two");
    let told = ann.run("LOGOUT").await;
    assert!(told[0].starts_with("* BYE") && told.len() == 2, "{told:?}");
}

#[tokio::test]
async fn the_server_ends_while_a_client_listens() {
    let world = World::start().await;
    let (mut ann, _other) = two(&world, "(personal (MailboxName))").await;
    world.shutdown.begin();
    assert!(ann.line().await.starts_with("* BYE"));
}
