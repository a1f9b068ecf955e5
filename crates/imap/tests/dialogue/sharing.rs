//! Several sessions on one mailbox: numbers, news and IDLE.

use crate::support::{Client, World, message};

/// Two sessions on INBOX with so many messages, none of them recent.
async fn two(world: &World, messages: usize) -> (Client, Client) {
    let mut first = world.log_in().await;
    for number in 1..=messages {
        first.append("INBOX", "", &message(&format!("m{number}"), "Some text")).await;
    }
    first.ok("SELECT INBOX").await;
    first.ok("SELECT INBOX").await;
    (first, world.select("INBOX").await)
}

async fn remove(client: &mut Client, numbers: &str) {
    client.ok(&format!("STORE {numbers} +FLAGS.SILENT (\\Deleted)")).await;
    client.ok("EXPUNGE").await;
}

#[tokio::test]
async fn numbers_do_not_move_under_a_command() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 5).await;
    remove(&mut other, "2,4").await;
    // Numbered commands hold the removals back, and say that there are some.
    let lines = ann.run("FETCH 1:5 UID").await;
    assert_eq!(lines[..3], ["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)", "* 5 FETCH (UID 5)"]);
    assert!(lines[3].starts_with("t OK [EXPUNGEISSUED]"), "{lines:?}");
    ann.gives("FETCH 2 FLAGS", "NO [EXPUNGEISSUED]").await;
    ann.gives("STORE 2,4 +FLAGS (\\Seen)", "NO [EXPUNGEISSUED]").await;
    ann.gives("STORE 9 +FLAGS (\\Seen)", "BAD").await;
    assert_eq!(ann.ok("SEARCH ALL").await, ["* SEARCH 1 3 5"]);
    assert_eq!(ann.ok("STORE 5 +FLAGS (\\Seen)").await, ["* 5 FETCH (FLAGS (\\Seen))"]);
    // Now they may be told.
    assert_eq!(ann.ok("NOOP").await, ["* 4 EXPUNGE", "* 2 EXPUNGE", "* 0 RECENT"]);
    assert_eq!(ann.ok("FETCH 1:3 UID").await[2], "* 3 FETCH (UID 5)");
    assert_eq!(ann.ok("NOOP").await.len(), 0);
    assert_eq!(other.ok("NOOP").await, ["* 3 FETCH (FLAGS (\\Seen))"]);
}

#[tokio::test]
async fn copying_what_is_gone() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 3).await;
    remove(&mut other, "1").await;
    ann.gives("COPY 1 Archive", "NO [EXPUNGEISSUED]").await;
    assert_eq!(
        ann.ok("COPY 1 Archive").await.len(),
        0,
        "the removal was told, and number 1 is another message"
    );
    assert_eq!(ann.ok("STATUS Archive (MESSAGES)").await, ["* STATUS Archive (MESSAGES 1)"]);
}

#[tokio::test]
async fn uid_commands_tell_of_removals_at_once() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 3).await;
    remove(&mut other, "1").await;
    let lines = ann.ok("UID FETCH 1:* FLAGS").await;
    assert_eq!(lines[..2], ["* 2 FETCH (UID 2 FLAGS ())", "* 3 FETCH (UID 3 FLAGS ())"]);
    assert_eq!(lines[2..], ["* 1 EXPUNGE", "* 0 RECENT"]);
}

#[tokio::test]
async fn flags_and_new_messages_of_others() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 2).await;
    other.ok("STORE 2 +FLAGS (\\Flagged Fresh)").await;
    other.append("INBOX", "", &message("new", "x")).await;
    let news = ann.ok("SEARCH SUBJECT nothing").await;
    assert_eq!(news[0], "* SEARCH");
    assert_eq!(news[1..3], ["* 3 EXISTS", "* 0 RECENT"]);
    assert_eq!(news[3], "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Fresh)");
    assert_eq!(news.last().unwrap(), "* 2 FETCH (FLAGS (\\Flagged Fresh))");
    // A silent change does not hide what another session did to the same message.
    other.ok("STORE 1 +FLAGS.SILENT (\\Answered)").await;
    assert_eq!(ann.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await, ["* 1 FETCH (FLAGS (\\Answered))"]);
    assert_eq!(other.ok("NOOP").await, ["* 1 FETCH (FLAGS (\\Answered \\Seen))"]);
}

#[tokio::test]
async fn idle_tells_at_once() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 2).await;
    ann.send("i IDLE\r\n").await;
    assert!(ann.line().await.starts_with("+ "));
    other.append("INBOX", "", &message("new", "x")).await;
    assert_eq!(ann.line().await, "* 3 EXISTS");
    // Which of the two heard of it first, and has it as recent, is open.
    assert!(ann.line().await.ends_with(" RECENT"));
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(ann.line().await, "* 1 FETCH (FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(ann.line().await, "* 1 EXPUNGE");
    assert!(ann.line().await.ends_with(" RECENT"));
    ann.send("done\r\n").await;
    assert!(ann.line().await.starts_with("i OK"));
    // DONE in the same packet, and a wrong word.
    ann.send("i IDLE\r\nDONE\r\nn NOOP\r\n").await;
    assert!(ann.line().await.starts_with("+ "));
    assert!(ann.line().await.starts_with("i OK"));
    assert!(ann.line().await.starts_with("n OK"));
    ann.send("i IDLE\r\nn NOOP\r\n").await;
    assert!(ann.line().await.starts_with("+ "));
    assert!(ann.line().await.starts_with("i BAD"));
    ann.ok("NOOP").await;
}

#[tokio::test]
async fn removals_held_back_are_told_by_idle() {
    let world = World::start().await;
    let (mut ann, mut other) = two(&world, 2).await;
    remove(&mut other, "1").await;
    ann.gives("FETCH 2 UID", "OK [EXPUNGEISSUED]").await;
    ann.send("i IDLE\r\n").await;
    assert!(ann.line().await.starts_with("+ "));
    assert_eq!(ann.line().await, "* 1 EXPUNGE");
}

#[tokio::test]
async fn a_mailbox_that_others_delete_ends_the_session() {
    let world = World::start().await;
    let (mut ann, mut other) = (world.log_in().await, world.log_in().await);
    ann.ok("CREATE short").await;
    ann.ok("SELECT short").await;
    ann.send("i IDLE\r\n").await;
    assert!(ann.line().await.starts_with("+ "));
    other.ok("DELETE short").await;
    assert!(ann.line().await.starts_with("* BYE The selected mailbox was deleted"));
    assert_eq!(ann.try_line().await, None);
}

#[tokio::test]
async fn renaming_leaves_other_sessions_alone() {
    let world = World::start().await;
    let (mut ann, mut other) = (world.log_in().await, world.log_in().await);
    ann.ok("CREATE before").await;
    ann.append("before", "", &message("one", "x")).await;
    ann.ok("SELECT before").await;
    other.ok("RENAME before after").await;
    assert_eq!(ann.ok("FETCH 1 UID").await, ["* 1 FETCH (UID 1)"]);
}
