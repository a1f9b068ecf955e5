//! What surrounds the mail: quota, rights, annotations, ids, dates of saving, previews, UTF-8, compression, and capabilities
//! that are switched off.

use crate::support::{ANN, World, message};

#[tokio::test]
async fn quota() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    assert_eq!(ann.ok("GETQUOTAROOT INBOX").await, ["* QUOTAROOT INBOX"]);
    ann.gives("GETQUOTA \"\"", "NO [NONEXISTENT]").await;
    let handle = world.mailboxes.handle(world.account).expect("somebody is logged in");
    handle.set_quota(Some(10 * 1024));
    ann.append("INBOX", "\\Deleted", &message("one", &"x".repeat(3000))).await;
    let quota = "* QUOTA \"\" (STORAGE 3 10)";
    assert_eq!(ann.ok("GETQUOTAROOT INBOX").await, ["* QUOTAROOT INBOX \"\"", quota]);
    assert_eq!(ann.ok("GETQUOTA \"\"").await, [quota]);
    ann.gives("GETQUOTA other", "NO [NONEXISTENT]").await;
    // A mailbox to come is asked for, too.
    assert_eq!(ann.ok("GETQUOTAROOT nowhere").await, ["* QUOTAROOT nowhere \"\"", quota]);
    ann.gives("SETQUOTA \"\" (STORAGE 512)", "NO [NOPERM]").await;
    let status = ann.ok("STATUS INBOX (DELETED DELETED-STORAGE SIZE)").await;
    let size = message("one", &"x".repeat(3000)).len();
    assert_eq!(status, [format!("* STATUS INBOX (DELETED 1 DELETED-STORAGE {size} SIZE {size})")]);
    let large = message("two", &"x".repeat(9000));
    ann.send(format!("t APPEND INBOX {{{}+}}\r\n{large}\r\n", large.len())).await;
    assert!(ann.until("t").await.pop().unwrap().starts_with("t NO [OVERQUOTA]"));
}

#[tokio::test]
async fn messages_have_a_limit_of_their_own() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    let handle = world.mailboxes.handle(world.account).expect("somebody is logged in");
    handle.set_message_quota(Some(3));
    ann.append("INBOX", "\\Deleted", &message("one", "x")).await;
    ann.append("INBOX", "", &message("two", "x")).await;
    assert_eq!(ann.ok("GETQUOTA \"\"").await, ["* QUOTA \"\" (MESSAGE 2 3)"]);
    handle.set_quota(Some(1 << 20));
    let quota = "* QUOTA \"\" (STORAGE 1 1024 MESSAGE 2 3)";
    assert_eq!(ann.ok("GETQUOTAROOT INBOX").await, ["* QUOTAROOT INBOX \"\"", quota]);
    // Several at once are refused together, a copy as well; a move adds nothing.
    let text = message("three", "x");
    let twice = format!("{{{0}+}}\r\n{text} {{{0}+}}\r\n{text}", text.len());
    ann.send(format!("t APPEND INBOX {twice}\r\n")).await;
    assert!(ann.until("t").await.pop().unwrap().starts_with("t NO [OVERQUOTA]"));
    ann.ok("SELECT INBOX").await;
    ann.gives("COPY 1:2 Archive", "NO [OVERQUOTA]").await;
    ann.gives("COPY 1 Archive", "OK").await;
    ann.gives("MOVE 2 Archive", "OK").await;
    ann.gives("COPY 1 Archive", "NO [OVERQUOTA]").await;
    let status = ann.ok("STATUS INBOX (MESSAGES DELETED)").await;
    assert_eq!(status, ["* STATUS INBOX (MESSAGES 1 DELETED 1)"]);
    ann.ok("EXPUNGE").await;
    assert_eq!(ann.ok("GETQUOTA \"\"").await, ["* QUOTA \"\" (STORAGE 1 1024 MESSAGE 2 3)"]);
    ann.append("INBOX", "", &text).await;
}

#[tokio::test]
async fn an_account_is_not_offered_what_is_switched_off_for_it() {
    let world = World::start().await;
    let off = ["QUOTA=RES-MESSAGE", "SORT", "UIDPLUS", "UNAUTHENTICATE"].map(String::from);
    let directory = &world.directory;
    directory.switch_capabilities(world.account, off.to_vec(), Vec::new()).await.unwrap();
    // Before anybody is known, all is as ever.
    let mut ann = world.connect().await;
    assert!(ann.ok("CAPABILITY").await[0].contains(" IMAP4rev2"));
    let mut ann = world.log_in().await;
    let names = ann.ok("CAPABILITY").await.remove(0);
    for name in ["SORT", "ESORT", "UIDPLUS", "IMAP4rev2", "UNAUTHENTICATE", "QUOTA=RES-MESSAGE"] {
        assert!(!names.split(' ').any(|one| one == name), "{name}: {names}");
    }
    assert!(names.contains(" QUOTA=RES-STORAGE") && names.contains(" MOVE"), "{names}");
    ann.ok("SELECT INBOX").await;
    for line in ["SORT (DATE) UTF-8 ALL", "UID EXPUNGE 1", "UNAUTHENTICATE"] {
        ann.gives(line, "BAD").await;
    }
    assert_eq!(ann.ok("ENABLE IMAP4rev2 CONDSTORE").await[0], "* ENABLED CONDSTORE");
    let handle = world.mailboxes.handle(world.account).expect("somebody is logged in");
    handle.set_message_quota(Some(3));
    handle.set_quota(Some(1 << 20));
    assert_eq!(ann.ok("GETQUOTA \"\"").await, ["* QUOTA \"\" (STORAGE 0 1024)"]);
    directory.switch_capabilities(world.account, Vec::new(), off.to_vec()).await.unwrap();
    let mut again = world.log_in().await;
    assert!(again.ok("CAPABILITY").await[0].contains(" UIDPLUS"));
}

#[tokio::test]
async fn rights_of_the_owner() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    let rights = "lrswipkxtecda";
    assert_eq!(ann.ok("MYRIGHTS INBOX").await, [format!("* MYRIGHTS INBOX {rights}")]);
    assert_eq!(ann.ok("GETACL Sent").await, [format!("* ACL Sent {ANN} {rights}")]);
    let own = format!("LISTRIGHTS INBOX {ANN}");
    assert_eq!(ann.ok(&own).await, [format!("* LISTRIGHTS INBOX {ANN} \"{rights}\"")]);
    assert_eq!(ann.ok("LISTRIGHTS INBOX bob").await, ["* LISTRIGHTS INBOX bob \"\""]);
    ann.gives("SETACL INBOX bob lr", "NO [CANNOT]").await;
    ann.gives("DELETEACL INBOX bob", "NO [CANNOT]").await;
    ann.gives("MYRIGHTS nowhere", "NO [NONEXISTENT]").await;
    let listed = ann.ok("LIST \"\" INB* RETURN (MYRIGHTS)").await;
    assert_eq!(listed[1], format!("* MYRIGHTS INBOX {rights}"));
}

#[tokio::test]
async fn annotations() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.ok("SETMETADATA INBOX (/private/comment \"Mine\" /shared/vendor/x ~{3+}\r\na\0b)").await;
    assert_eq!(
        ann.ok("GETMETADATA INBOX (/private/comment /private/other)").await,
        ["* METADATA INBOX (/private/comment \"Mine\" /private/other NIL)"]
    );
    let lines = ann.ok("GETMETADATA (DEPTH infinity) INBOX /shared").await;
    assert_eq!(lines, ["* METADATA INBOX (/shared/vendor/x ~{3}\r\na\0b)"]);
    let lines = ann.run("GETMETADATA INBOX (MAXSIZE 3) (/private/comment /shared/vendor/x)").await;
    assert_eq!(lines[0], "* METADATA INBOX (/shared/vendor/x ~{3}\r\na\0b)");
    assert!(lines[1].starts_with("t OK [METADATA LONGENTRIES 4]"), "{lines:?}");
    // Case does not matter, NIL takes away, another mailbox has its own.
    ann.ok("SETMETADATA inbox (/PRIVATE/Comment \"New\" /shared/vendor/x NIL)").await;
    let lines = ann.ok("GETMETADATA INBOX (/private/comment /shared/vendor/x)").await;
    assert_eq!(lines, ["* METADATA INBOX (/private/comment \"New\" /shared/vendor/x NIL)"]);
    let lines = ann.ok("GETMETADATA (DEPTH 1) Sent /private").await;
    assert_eq!(lines, ["* METADATA Sent (/private/specialuse \"\\\\Sent\")"]);
    ann.gives("GETMETADATA nowhere /private/comment", "NO [NONEXISTENT]").await;
    ann.gives("GETMETADATA INBOX /other/x", "BAD").await;
    ann.gives("SETMETADATA INBOX (/private \"x\")", "BAD").await;
    // The server's.
    ann.ok("SETMETADATA \"\" (/private/vendor/a \"1\")").await;
    ann.gives("SETMETADATA \"\" (/shared/comment \"x\")", "NO [NOPERM]").await;
    let lines = ann.ok("GETMETADATA \"\" (/private/vendor/a /shared/admin)").await;
    assert_eq!(lines, ["* METADATA \"\" (/private/vendor/a \"1\" /shared/admin NIL)"]);
    // Limits: all or nothing.
    let many: String = (0..200).map(|n| format!(" /private/n{n} x")).collect();
    ann.gives(&format!("SETMETADATA Sent ({})", many.replace(" x", " \"x\"").trim_start()), "OK")
        .await;
    let more: String = (200..300).map(|n| format!(" /private/n{n} \"x\"")).collect();
    ann.gives(&format!("SETMETADATA Sent ({})", more.trim_start()), "NO [METADATA TOOMANY]").await;
    let lines = ann.ok("GETMETADATA Sent /private/n250").await;
    assert_eq!(lines, ["* METADATA Sent (/private/n250 NIL)"]);
    // With LIST, and gone with the mailbox, but not with a rename.
    ann.ok("CREATE Notes").await;
    ann.ok("SETMETADATA Notes (/private/comment \"n\")").await;
    ann.ok("RENAME Notes Texts").await;
    let listed = ann.ok("LIST \"\" Texts RETURN (METADATA (/private/comment))").await;
    assert_eq!(listed[1], "* METADATA Texts (/private/comment \"n\")");
    ann.ok("DELETE Texts").await;
    ann.ok("CREATE Texts").await;
    let lines = ann.ok("GETMETADATA Texts /private/comment").await;
    assert_eq!(lines, ["* METADATA Texts (/private/comment NIL)"]);
}

/// What follows a word up to the closing parenthesis.
fn id(line: &str, word: &str) -> String {
    let rest = line.split(&format!("{word} (")).nth(1).unwrap_or_else(|| panic!("{line}"));
    rest.split(')').next().unwrap().to_owned()
}

#[tokio::test]
async fn ids_stay_and_dates_of_saving_are_found() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.send("t CREATE Notes\r\n").await;
    let mailbox = id(&ann.line().await, "OK [MAILBOXID");
    ann.ok("RENAME Notes Texts").await;
    assert_eq!(
        ann.ok("STATUS Texts (MAILBOXID)").await,
        [format!("* STATUS Texts (MAILBOXID ({mailbox}))")]
    );
    ann.append("Texts", "", &message("one", "x")).await;
    ann.append("Texts", "", &message("two", "y")).await;
    let lines = ann.ok("SELECT Texts").await;
    assert!(
        lines.iter().any(|line| line.contains(&format!("[MAILBOXID ({mailbox})]"))),
        "{lines:?}"
    );
    let lines = ann.ok("FETCH 1:2 (EMAILID THREADID SAVEDATE)").await;
    let (first, second) = (id(&lines[0], "EMAILID"), id(&lines[1], "EMAILID"));
    assert!(
        first != second && lines[0].contains("THREADID NIL") && lines[0].contains("SAVEDATE \"")
    );
    ann.ok("COPY 1 Archive").await;
    assert_eq!(ann.ok(&format!("SEARCH OR EMAILID {first} EMAILID M0")).await, ["* SEARCH 1"]);
    assert_eq!(ann.ok(&format!("SEARCH NOT EMAILID {first}")).await, ["* SEARCH 2"]);
    assert_eq!(ann.ok("SEARCH THREADID T1").await, ["* SEARCH"]);
    assert_eq!(ann.ok("SEARCH SAVEDSINCE 1-Jan-2020 SAVEDATESUPPORTED").await, ["* SEARCH 1 2"]);
    assert_eq!(ann.ok("SEARCH SAVEDBEFORE 1-Jan-2020").await, ["* SEARCH"]);
    assert_eq!(ann.ok("SEARCH NOT SAVEDON 1-Jan-2020").await, ["* SEARCH 1 2"]);
    ann.ok("SELECT Archive").await;
    assert_eq!(id(&ann.ok("FETCH 1 EMAILID").await[0], "EMAILID"), first);
    assert_eq!(ann.ok("UID SEARCH EMAILID M0 ALL").await, ["* SEARCH"]);
}

#[tokio::test]
async fn previews() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.append("INBOX", "", &message("one", "First  words\r\nof it")).await;
    ann.append("INBOX", "", "Subject: two\r\nContent-Type: image/png\r\n\r\nx").await;
    ann.ok("SELECT INBOX").await;
    let lines = ann.ok("FETCH 1:2 (UID PREVIEW (LAZY))").await;
    assert_eq!(
        lines,
        ["* 1 FETCH (UID 1 PREVIEW \"First words of it\")", "* 2 FETCH (UID 2 PREVIEW \"\")"]
    );
    assert_eq!(ann.ok("FETCH 1 PREVIEW").await, ["* 1 FETCH (PREVIEW \"First words of it\")"]);
    assert_eq!(ann.ok("FETCH 1 (PREVIEW FLAGS)").await[0].matches("\\Seen").count(), 0);
    ann.gives("FETCH 1 PREVIEW (QUICK)", "BAD").await;
}

#[tokio::test]
async fn utf8_where_it_was_enabled() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    let raw = "Subject: Grüße\r\n\r\nx";
    ann.send(format!("t APPEND INBOX UTF8 (~{{{}+}}\r\n{raw})\r\n", raw.len())).await;
    assert!(ann.until("t").await.pop().unwrap().starts_with("t BAD"));
    assert_eq!(ann.ok("ENABLE UTF8=ACCEPT").await, ["* ENABLED UTF8=ACCEPT"]);
    ann.send(format!("t APPEND INBOX UTF8 (~{{{}+}}\r\n{raw})\r\n", raw.len())).await;
    assert!(ann.until("t").await.pop().unwrap().starts_with("t OK [APPENDUID"));
    ann.ok("CREATE \"Entwürfe\"").await;
    let listed = ann.ok("LIST \"\" Entw*").await;
    assert_eq!(listed, ["* LIST (\\HasNoChildren) \"/\" \"Entwürfe\""]);
    ann.ok("SELECT INBOX").await;
    assert_eq!(ann.ok("SEARCH SUBJECT \"grüße\"").await, ["* SEARCH 1"]);
    ann.gives("SEARCH CHARSET UTF-8 SUBJECT x", "BAD").await;
    assert!(ann.ok("FETCH 1 ENVELOPE").await[0].contains("Grüße"));
}

#[tokio::test]
async fn languages() {
    let world = World::start().await;
    let mut client = world.connect().await;
    assert_eq!(client.ok("LANGUAGE").await, ["* LANGUAGE (EN I-DEFAULT)"]);
    assert_eq!(client.ok("LANGUAGE de en").await, ["* LANGUAGE (EN)"]);
    client.gives("LANGUAGE tlh", "NO").await;
}

#[tokio::test]
async fn what_is_switched_off_is_refused() {
    let world = World::with(|settings| {
        settings.auth.allow_cleartext = true;
        settings.imap.disabled_capabilities =
            ["SORT", "QRESYNC", "COMPRESS=DEFLATE", "MULTIAPPEND"].map(String::from).to_vec();
    })
    .await;
    let mut ann = world.log_in().await;
    let names = ann.ok("CAPABILITY").await.remove(0);
    for name in ["SORT", "ESORT", "SORT=DISPLAY", "QRESYNC", "COMPRESS=DEFLATE", "MULTIAPPEND"] {
        assert!(!names.split(' ').any(|one| one == name), "{name}: {names}");
    }
    assert!(names.contains(" CONDSTORE") && names.contains(" IMAP4rev2"));
    assert_eq!(ann.ok("ENABLE QRESYNC CONDSTORE").await, ["* ENABLED CONDSTORE"]);
    ann.ok("SELECT INBOX").await;
    ann.gives("SORT (DATE) UTF-8 ALL", "BAD").await;
    ann.gives("COMPRESS DEFLATE", "BAD").await;
    ann.send("t APPEND INBOX {1+}\r\nx {1+}\r\ny\r\n").await;
    assert!(ann.line().await.starts_with("t BAD"));
    assert_eq!(ann.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
}
