//! Messages of APPEND that are written down while they come.

use crate::support::{Client, World, message};

fn large(subject: &str) -> String {
    message(subject, &"All work and no play makes a long letter.\r\n".repeat(20_000))
}

async fn sizes(client: &mut Client) -> Vec<String> {
    client.ok("STATUS INBOX (MESSAGES SIZE)").await
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_nothing() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let text = large("cut");
    let mut other = world.log_in().await;
    other
        .send(format!(
            "t APPEND INBOX {{{0}+}}\r\n{text} {{{0}+}}\r\n{1}",
            text.len(),
            &text[..600_000]
        ))
        .await;
    drop(other);
    assert_eq!(sizes(&mut client).await, ["* STATUS INBOX (MESSAGES 0 SIZE 0)"]);
    client.append("INBOX", "", &text).await;
    client.ok("SELECT INBOX").await;
    assert!(client.ok("FETCH 1 BODY.PEEK[]").await.join("\r\n").contains(&text));
    assert_eq!(client.ok("SEARCH BODY \"long letter\" SUBJECT cut").await, ["* SEARCH 1"]);
}

#[tokio::test]
async fn an_empty_message_takes_back_those_before_it() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let text = large("taken back");
    client
        .send(format!(
            "t APPEND INBOX {{{0}+}}\r\n{text} {{0+}}\r\n {{{0}+}}\r\n{text}\r\n",
            text.len()
        ))
        .await;
    assert!(client.line().await.starts_with("t NO"));
    assert_eq!(sizes(&mut client).await, ["* STATUS INBOX (MESSAGES 0 SIZE 0)"]);
    client
        .send(format!(
            "t APPEND INBOX {{{0}+}}\r\n{text} (\\Seen) {{{0}+}}\r\n{text}\r\n",
            text.len()
        ))
        .await;
    assert!(client.line().await.contains(" 1:2] "));
}

#[tokio::test]
async fn quota_is_judged_before_the_literal() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    let handle = world.mailboxes.handle(world.account).unwrap();
    handle.set_quota(Some(1_000_000));
    client.gives("APPEND INBOX {1000001}", "NO [OVERQUOTA]").await;
    let text = large("fits");
    client.send(format!("t APPEND INBOX {{{}+}}\r\n{text} {{900000}}\r\n", text.len())).await;
    assert!(client.line().await.starts_with("t NO [OVERQUOTA]"));
    // What comes without being asked for is dropped.
    client.send(format!("t APPEND INBOX {{1000001+}}\r\n{}\r\n", "x".repeat(1_000_001))).await;
    assert!(client.line().await.starts_with("t NO [OVERQUOTA]"));
    assert_eq!(sizes(&mut client).await, ["* STATUS INBOX (MESSAGES 0 SIZE 0)"]);
    client.append("INBOX", "", &text).await;
}
