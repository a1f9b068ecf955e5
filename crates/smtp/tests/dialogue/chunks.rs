//! BDAT in every chunking (RFC 3030 §2), over a real connection: wherever a message is cut, and in whatever pieces its
//! octets come, the same message is filed.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Messages of one session.
const MESSAGES: usize = 80;

/// The lines of a message, how long its chunks are, the octets of one write, and whether an empty chunk ends it.
fn cases() -> impl Strategy<Value = (Vec<&'static str>, Vec<usize>, usize, bool)> {
    let piece = prop_oneof![
        Just("\r\n"),
        Just(".\r\n"),
        Just("..a\r\n"),
        Just("BDAT 3 LAST\r\n"),
        Just("QUIT\r\nRSET\r\n"),
        Just("gr\u{fc}n\r\n"),
        Just("a longer line, of some more octets than the others have\r\n"),
    ];
    let sizes = proptest::collection::vec(0_usize..40, 1..12);
    (proptest::collection::vec(piece, 0..12), sizes, 1_usize..60, any::<bool>())
}

/// The commands and chunks of a message, and how many replies they get.
fn chunked(message: &[u8], sizes: &[usize], empty_last: bool) -> (Vec<u8>, usize) {
    let (mut wire, mut replies, mut rest) = (Vec::new(), 0, message);
    let mut sizes = sizes.iter().copied();
    loop {
        let (chunk, behind) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        let last = rest.is_empty() && !empty_last;
        let keyword = if last { " LAST" } else { "" };
        wire.extend(format!("BDAT {}{keyword}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        replies += 1;
        if rest.is_empty() {
            break;
        }
    }
    if empty_last {
        wire.extend(b"BDAT 0 LAST\r\n");
        replies += 1;
    }
    (wire, replies)
}

#[tokio::test]
async fn a_message_is_the_same_however_it_is_cut() {
    let mut world = World::new().await;
    world.bend("messages", 1_000);
    let ann = world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    let mut runner = TestRunner::deterministic();
    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        let (pieces, sizes, step, empty_last) = cases().new_tree(&mut runner).unwrap().current();
        let message = format!("Subject: {number:03}\r\n\r\n{}", pieces.concat());
        let (wire, replies) = chunked(message.as_bytes(), &sizes, empty_last);
        client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
        client.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
        for piece in wire.chunks(step) {
            client.send_raw(piece).await.unwrap();
        }
        for _ in 1..replies {
            client.expect("250 2.0.0 Chunk received").await.unwrap();
        }
        client.expect("250 2.0.0 Accepted as").await.unwrap();
        sent.push(message);
    }
    until("all are filed", async || messages(&ann).await.len() == MESSAGES).await;
    let mut filed: Vec<String> = messages(&ann)
        .await
        .into_iter()
        .map(|message| message[message.find("Subject: ").unwrap()..].to_owned())
        .collect();
    filed.sort();
    assert_eq!(filed, sent);
}
