//! REPLACE (RFC 8508).

use crate::support::{Client, World, message};

/// Sends REPLACE with its message; the lines up to the tagged one.
async fn replace(client: &mut Client, arguments: &str, text: &str) -> Vec<String> {
    client.send(format!("t {arguments} {{{}+}}\r\n{text}\r\n", text.len())).await;
    client.until("t").await
}

async fn drafts(world: &World) -> Client {
    let mut client = world.log_in().await;
    client.append("Drafts", "\\Draft", &message("first", "one")).await;
    client.append("Drafts", "\\Draft", &message("second", "two")).await;
    client.ok("SELECT Drafts").await;
    client
}

#[tokio::test]
async fn a_draft_is_replaced_in_its_place_or_elsewhere() {
    let world = World::start().await;
    let mut client = drafts(&world).await;
    let mut other = world.select("Drafts").await;
    let lines =
        replace(&mut client, "REPLACE 1 Drafts (\\Seen \\Draft)", &message("third", "x")).await;
    assert!(lines[0].starts_with("* OK [APPENDUID ") && lines[0].contains(" 3] "), "{lines:?}");
    assert!(lines.contains(&"* 1 EXPUNGE".to_owned()) && lines.contains(&"* 2 EXISTS".to_owned()));
    assert!(lines.last().unwrap().starts_with("t OK"), "{lines:?}");
    let listed = client.ok("FETCH 1:* (UID FLAGS)").await;
    assert!(
        listed[0].starts_with("* 1 FETCH (UID 2 ") && listed[1].starts_with("* 2 FETCH (UID 3 ")
    );
    assert!(
        listed[1].contains("\\Draft \\Recent") || listed[1].contains("\\Seen \\Draft"),
        "{listed:?}"
    );
    let told = other.ok("NOOP").await;
    assert!(told.contains(&"* 1 EXPUNGE".to_owned()), "{told:?}");
    // The last one, into another mailbox: a draft that was sent.
    let lines = replace(&mut client, "UID REPLACE * Sent (\\Seen)", &message("sent", "x")).await;
    assert!(lines.contains(&"* 2 EXPUNGE".to_owned()), "{lines:?}");
    assert_eq!(client.ok("STATUS Sent (MESSAGES)").await, ["* STATUS Sent (MESSAGES 1)"]);
    // Clients that keep sequences are told how far they are.
    client.ok("ENABLE QRESYNC").await;
    let lines = replace(&mut client, "UID REPLACE 2 Drafts", &message("again", "x")).await;
    assert!(lines.contains(&"* VANISHED 2".to_owned()), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("t OK [HIGHESTMODSEQ "), "{lines:?}");
}

/// RFC 8508 §3.4: only what is added in the end counts.
#[tokio::test]
async fn a_draft_of_a_full_mailbox_can_be_replaced() {
    let world = World::start().await;
    let mut client = drafts(&world).await;
    let handle = world.mailboxes.handle(world.account).expect("somebody is logged in");
    handle.set_message_quota(Some(2));
    handle.set_quota(Some(handle.usage().await.unwrap().octets));
    let lines = replace(&mut client, "REPLACE 1 Drafts", &message("three", "1")).await;
    assert!(lines.last().unwrap().starts_with("t OK"), "{lines:?}");
    assert_eq!(handle.usage().await.unwrap().messages, 2);
    // What is larger than the one that goes still needs room.
    let large = message("four", &"x".repeat(200));
    let lines = replace(&mut client, "REPLACE 1 Drafts", &large).await;
    assert!(lines.last().unwrap().starts_with("t NO [OVERQUOTA]"), "{lines:?}");
    handle.set_quota(None);
    let lines = replace(&mut client, "REPLACE 1 Drafts", &large).await;
    assert!(lines.last().unwrap().starts_with("t OK"), "{lines:?}");
    client.send(format!("t APPEND Drafts {{{}+}}\r\n{large}\r\n", large.len())).await;
    assert!(client.until("t").await.pop().unwrap().starts_with("t NO [OVERQUOTA]"));
}

#[tokio::test]
async fn what_cannot_be_replaced_stays() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let text = message("new", "x");
    let refused = |lines: Vec<String>, start: &str| {
        assert!(lines.len() == 1 && lines[0].starts_with(start), "{start}: {lines:?}");
    };
    refused(replace(&mut client, "REPLACE 1 Drafts", &text).await, "t BAD No mailbox");
    let mut client = drafts(&world).await;
    refused(replace(&mut client, "REPLACE 9 Drafts", &text).await, "t BAD");
    refused(replace(&mut client, "UID REPLACE 9 Drafts", &text).await, "t NO [NONEXISTENT]");
    refused(replace(&mut client, "REPLACE 1 Nowhere", &text).await, "t NO [TRYCREATE]");
    refused(replace(&mut client, "REPLACE 1:2 Drafts", &text).await, "t BAD");
    refused(replace(&mut client, "REPLACE 1 Drafts (\\Odd)", &text).await, "t BAD");
    refused(replace(&mut client, "REPLACE 1 Drafts", "").await, "t NO");
    // One message only.
    client.send("t REPLACE 1 Drafts {4+}\r\na\r\n\r {4+}\r\nb\r\n\r\r\n").await;
    refused(client.until("t").await, "t BAD");
    // A large message is refused before it is sent.
    client.send("t REPLACE 9 Drafts {400}\r\n").await;
    refused(client.until("t").await, "t BAD");
    client.ok("EXAMINE Drafts").await;
    refused(replace(&mut client, "REPLACE 1 Drafts", &text).await, "t NO");
    assert_eq!(client.ok("STATUS Drafts (MESSAGES)").await, ["* STATUS Drafts (MESSAGES 2)"]);
    assert_eq!(client.ok("NOOP").await, Vec::<String>::new());
}
