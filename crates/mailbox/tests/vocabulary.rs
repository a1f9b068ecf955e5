//! How much memory the word index takes for words that nobody used before. In a process of its own, whose peak it reads.

#[path = "mailbox/world.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod world;

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::{SearchKey, SearchProgram};
use letterlock_mailbox::{Flags, Handle, NewMessage, Options, SearchContext, UidRanges};

use crate::world::{World, date, inbox, options};

/// Words in a message.
const WORDS: u64 = 1_200;

/// The most memory that this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn word(number: u64) -> String {
    format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)
}

/// Message `n`, from 0, with words that no other one has.
fn mail(n: u64) -> NewMessage {
    let words: Vec<String> = (n * WORDS + 1..=(n + 1) * WORDS).map(word).collect();
    let text = format!("Subject: words\r\nContent-Type: text/plain\r\n\r\n{}", words.join(" "));
    NewMessage { bytes: text.into(), flags: Flags::default(), internal_date: date(86_400) }
}

async fn having(handle: &Handle, word: &str) -> Vec<u32> {
    let inbox = inbox(handle).await;
    let context = SearchContext {
        uids: Arc::clone(&inbox.uids),
        recent: u32::MAX,
        saved: UidRanges::new(),
        now: Timestamp::UNIX_EPOCH,
    };
    let program = SearchProgram { key: SearchKey::Text(word.into()) };
    handle.search(inbox.folder, &program, &context).await.unwrap().uids
}

#[tokio::test]
async fn a_huge_vocabulary_is_indexed_in_bounded_memory() {
    let world = World::with(Options { index: false, ..options() }).await;
    let handle = world.unlock().await;
    for round in 0..8 {
        let some = (round * 50..(round + 1) * 50).map(mail).collect();
        handle.append("INBOX", some).await.unwrap();
    }
    let before = peak();
    let state = handle.index_now().await.unwrap();
    let grown = peak() - before;
    eprintln!("{grown} KiB more at the peak");
    assert_eq!((state.indexed, state.waiting), (400, 0));
    assert!(state.segments < 40, "{state:?}");
    assert!(grown < 32 * 1_024, "{grown} KiB more, for {} words", 400 * WORDS);
    for (uid, number) in [(1, 1), (200, 199 * WORDS + 7), (400, 400 * WORDS)] {
        let word = word(number);
        assert!(having(&handle, &word).await.contains(&uid), "{word}");
    }
}
