//! SORT and THREAD asked for again: what was worked out before serves as long as it fits.

use crate::support::{World, message};

#[tokio::test]
async fn an_order_is_right_after_messages_came_and_went() {
    let world = World::start().await;
    let (mut ann, mut other) = (world.select("INBOX").await, world.select("INBOX").await);
    for subject in ["c", "a", "b", "Re: a"] {
        ann.append("INBOX", "", &message(subject, "Some text")).await;
    }
    for client in [&mut ann, &mut other] {
        client.ok("NOOP").await;
        // Twice the same, by number and by UID, and of some messages only.
        for _ in 0..2 {
            assert_eq!(client.ok("SORT (SUBJECT) UTF-8 ALL").await, ["* SORT 2 4 3 1"]);
            assert_eq!(client.ok("SORT (REVERSE SUBJECT) UTF-8 ALL").await, ["* SORT 1 3 2 4"]);
            assert_eq!(client.ok("SORT (SUBJECT) UTF-8 NOT 4").await, ["* SORT 2 3 1"]);
            for algorithm in ["REFERENCES", "ORDEREDSUBJECT"] {
                let all = format!("THREAD {algorithm} UTF-8 ALL");
                assert_eq!(client.ok(&all).await, ["* THREAD (1)(2 4)(3)"]);
                let some = format!("THREAD {algorithm} UTF-8 2:3");
                assert_eq!(client.ok(&some).await, ["* THREAD (2)(3)"]);
            }
        }
    }
    ann.ok("STORE 1 +FLAGS (\\Deleted)").await;
    ann.ok("EXPUNGE").await;
    // Numbers have changed, UIDs have not.
    assert_eq!(ann.ok("SORT (SUBJECT) UTF-8 ALL").await, ["* SORT 1 3 2"]);
    assert_eq!(ann.ok("UID SORT (SUBJECT) UTF-8 ALL").await, ["* SORT 2 4 3"]);
    assert_eq!(ann.ok("THREAD REFERENCES UTF-8 ALL").await, ["* THREAD (1 3)(2)"]);
    assert_eq!(ann.ok("UID THREAD REFERENCES UTF-8 ALL").await, ["* THREAD (2 4)(3)"]);
    ann.append("INBOX", "", &message("Re: b", "Some text")).await;
    ann.ok("NOOP").await;
    assert_eq!(ann.ok("SORT (SUBJECT) UTF-8 ALL").await, ["* SORT 1 3 2 4"]);
    assert_eq!(ann.ok("THREAD REFERENCES UTF-8 ALL").await, ["* THREAD (1 3)(2 4)"]);
    // The other folder's messages are others, whatever their UIDs.
    ann.ok("COPY 2:3 Sent").await;
    ann.ok("SELECT Sent").await;
    assert_eq!(ann.ok("SORT (SUBJECT) UTF-8 ALL").await, ["* SORT 2 1"]);
}

#[tokio::test]
async fn many_bodies_come_in_their_order() {
    let world = World::start().await;
    let mut ann = world.select("INBOX").await;
    for number in 0..70 {
        let text = format!("Text of {number}. {}", "x".repeat(number * 300));
        ann.append("INBOX", "", &message(&format!("m{number}"), &text)).await;
    }
    ann.ok("NOOP").await;
    ann.ok("STORE 33 +FLAGS (\\Deleted)").await;
    ann.ok("EXPUNGE").await;
    let lines = ann.ok("FETCH 1:* BODY.PEEK[TEXT]").await;
    let texts: Vec<&str> = lines.iter().filter_map(|line| line.split("Text of ").nth(1)).collect();
    let numbers: Vec<usize> =
        texts.iter().filter_map(|text| text.split('.').next()?.parse().ok()).collect();
    assert_eq!(numbers, (0..70).filter(|number| *number != 32).collect::<Vec<_>>());
    // `\Seen` is set and told with each.
    let lines = ann.ok("FETCH 1:* (UID BODY[TEXT])").await;
    let seen = lines.iter().filter(|line| line.contains(" FETCH (") && line.contains("\\Seen"));
    assert_eq!(seen.count(), 69);
}
