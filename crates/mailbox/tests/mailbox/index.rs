//! The word index: it finds what a look at every message finds, in any state.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::{SearchKey, SearchProgram};
use letterlock_mailbox::{
    Flags, FolderId, Handle, NewMessage, Options, SearchContext, UidRanges, all_uids,
};
use proptest::prelude::*;

use crate::world::{World, date, inbox, options, set};

/// Indexes only when it is told to.
fn by_hand() -> Options {
    Options { index: false, ..options() }
}

fn mail(header: &str, body: &str) -> NewMessage {
    NewMessage {
        bytes: format!("{header}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}").into(),
        flags: Flags::default(),
        internal_date: date(86_400),
    }
}

async fn find(handle: &Handle, folder: FolderId, key: SearchKey) -> Vec<u32> {
    let context = SearchContext {
        uids: Arc::clone(&inbox(handle).await.uids),
        recent: u32::MAX,
        saved: UidRanges::new(),
        now: Timestamp::UNIX_EPOCH,
    };
    handle.search(folder, &SearchProgram { key }, &context).await.unwrap().uids
}

async fn text(handle: &Handle, folder: FolderId, part: &str) -> Vec<u32> {
    find(handle, folder, SearchKey::Text(part.into())).await
}

const WORDS: [&str; 14] = [
    "needle",
    "haystack",
    "Needles",
    "Stra\u{df}e",
    "na\u{ef}ve",
    "\u{4f60}\u{597d}\u{4e16}\u{754c}",
    "x1",
    "42",
    "foo_bar",
    "a.b@c.example",
    "\u{2014}",
    "re:",
    "O'Brien",
    "cafe\u{301}",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..WORDS.len()).prop_map(|at| WORDS[at].to_owned()),
        2 => "[a-c]{1,4}",
        1 => "[a-b\u{e9}]{40,120}",
    ]
}

fn a_text() -> impl Strategy<Value = String> {
    (proptest::collection::vec((word(), 0..6u8), 0..12)).prop_map(|words| {
        let mut text = String::new();
        for (word, between) in words {
            text.push_str(&word);
            text.push_str([" ", ", ", "-", "\r\n", "", "..."][usize::from(between)]);
        }
        text
    })
}

#[derive(Debug, Clone)]
enum Pattern {
    /// From a text of a message: where it begins and how long it is.
    Cut(usize, usize, usize),
    Free(String),
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        6 => (any::<usize>(), any::<usize>(), 0..9usize).prop_map(|(text, at, length)| Pattern::Cut(text, at, length)),
        2 => (any::<usize>(), any::<usize>(), 20..60usize).prop_map(|(text, at, length)| Pattern::Cut(text, at, length)),
        2 => word().prop_map(Pattern::Free),
        2 => "[ .@,\r\n:-]{1,3}".prop_map(Pattern::Free),
        1 => "[a-eA-E ]{0,4}".prop_map(Pattern::Free),
    ]
}

fn resolve(pattern: Pattern, texts: &[(String, String)]) -> String {
    match pattern {
        Pattern::Free(text) => text,
        Pattern::Cut(text, at, length) => {
            let (subject, body) = &texts[text % texts.len()];
            let text: Vec<char> = if at % 3 == 0 { subject } else { body }.chars().collect();
            let start = at % (text.len() + 1);
            text[start..text.len().min(start + length)].iter().collect()
        }
    }
}

fn keys(part: &str) -> Vec<SearchKey> {
    let text = || SearchKey::Text(part.to_owned());
    vec![
        text(),
        SearchKey::Body(part.to_owned()),
        SearchKey::Subject(part.to_owned()),
        SearchKey::Header("X-None".into(), part.to_owned()),
        SearchKey::Not(Box::new(text())),
        SearchKey::Or(vec![text(), SearchKey::Subject("needle".into())]),
        SearchKey::And(vec![text(), SearchKey::Body("a".into())]),
    ]
}

async fn all_found(handle: &Handle, folder: FolderId, patterns: &[String]) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    for key in patterns.iter().flat_map(|pattern| keys(pattern)) {
        found.push(find(handle, folder, key).await);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_and_without_the_same_is_found(
        texts in proptest::collection::vec((a_text(), a_text()), 1..12),
        patterns in proptest::collection::vec(pattern(), 1..10),
        half in any::<usize>(),
        gone in any::<u16>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::with(by_hand()).await;
            let handle = world.unlock().await;
            let patterns: Vec<String> = patterns.into_iter().map(|pattern| resolve(pattern, &texts)).collect();
            let message = |(subject, body): &(String, String)| {
                mail(&format!("Subject: {}", subject.replace(['\r', '\n'], " ")), body)
            };
            let folder = inbox(&handle).await.folder;
            let half = half % texts.len();
            for some in texts[..half].chunks(3) {
                handle.append("INBOX", some.iter().map(message).collect()).await.unwrap();
                handle.index_now().await.unwrap();
            }
            handle.append("INBOX", texts[half..].iter().map(message).collect()).await.unwrap();
            handle.copy(folder, &set("1"), "INBOX").await.unwrap();
            let partly = all_found(&handle, folder, &patterns).await;
            handle.index_now().await.unwrap();
            let wholly = all_found(&handle, folder, &patterns).await;
            assert_eq!(partly, wholly, "{patterns:?}");
            // By hand: what is in the decoded text.
            for (pattern, found) in patterns.iter().zip(wholly.chunks(7)) {
                let fold = letterlock_imap_wire::text::fold;
                for (uid, (_, body)) in (1..).zip(&texts) {
                    assert_eq!(found[1].contains(&uid), fold(body).contains(&fold(pattern)), "{pattern:?} {uid}");
                }
            }
            let leaving: UidRanges = (1..=16).filter(|uid| gone >> (uid - 1) & 1 == 1).collect();
            let left: Vec<Vec<u32>> = wholly
                .into_iter()
                .map(|found| found.into_iter().filter(|uid| !leaving.contains(*uid)).collect())
                .collect();
            handle.remove(folder, &leaving).await.unwrap();
            assert_eq!(all_found(&handle, folder, &patterns).await, left);
            let handle = world.crash().await;
            assert_eq!(all_found(&handle, folder, &patterns).await, left);
        });
    }
}

#[tokio::test]
async fn many_segments_become_few_and_lose_what_is_gone() {
    let world = World::with(by_hand()).await;
    let handle = world.unlock().await;
    let folder = inbox(&handle).await.folder;
    for round in 0..20 {
        let some = (0..40)
            .map(|n| {
                mail(
                    &format!("Subject: round{round}"),
                    &format!("common word{n} unique{round}x{n}"),
                )
            })
            .collect();
        handle.append("INBOX", some).await.unwrap();
        let state = handle.index_now().await.unwrap();
        assert_eq!((state.indexed, state.waiting), (40 * (round + 1), 0));
        assert!(state.segments < 9, "{state:?}");
    }
    assert_eq!(text(&handle, folder, "common").await.len(), 800);
    assert_eq!(text(&handle, folder, "unique7x").await.len(), 40);
    assert_eq!(text(&handle, folder, "que7x13").await, [294]);
    assert_eq!(text(&handle, folder, "word3 unique19x3").await, [764]);
    let before = handle.index_state().await.unwrap();
    handle.remove(folder, &set("1:700")).await.unwrap();
    assert_eq!(text(&handle, folder, "common").await.len(), 100);
    let after = handle.index_now().await.unwrap();
    assert_eq!(after.indexed, 100);
    assert!(after.bytes < before.bytes / 3, "{before:?} {after:?}");
    assert_eq!(text(&handle, folder, "common").await.len(), 100);
    assert_eq!(text(&handle, folder, "unique7x13").await, [0u32; 0]);
    assert!(world.mailboxes.index_cpu() > std::time::Duration::ZERO);
}

#[tokio::test]
async fn ids_of_indexed_bodies_are_not_used_again() {
    let world = World::with(by_hand()).await;
    let handle = world.unlock().await;
    let folder = inbox(&handle).await.folder;
    handle
        .append("INBOX", vec![mail("Subject: a", "first"), mail("Subject: b", "second")])
        .await
        .unwrap();
    handle.index_now().await.unwrap();
    handle.remove(folder, &all_uids()).await.unwrap();
    handle.append("INBOX", vec![mail("Subject: c", "third")]).await.unwrap();
    assert_eq!(text(&handle, folder, "first").await, [0u32; 0]);
    assert_eq!(text(&handle, folder, "third").await, [3]);
    handle.index_now().await.unwrap();
    assert_eq!(text(&handle, folder, "second").await, [0u32; 0]);
    assert_eq!(text(&handle, folder, "third").await, [3]);
}

#[tokio::test]
async fn a_large_upload_that_the_index_passed_is_found() {
    let world = World::with(by_hand()).await;
    let handle = world.unlock().await;
    let folder = inbox(&handle).await.folder;
    // One call: the large one is uploaded first, and adopted last.
    let large = mail("Subject: large", &format!("{} needle", "hay ".repeat(100_000)));
    let appended = tokio::spawn({
        let handle = handle.clone();
        async move { handle.append("INBOX", vec![large.clone(), large]).await.unwrap() }
    });
    while !appended.is_finished() {
        handle.append("INBOX", vec![mail("Subject: small", "pin")]).await.unwrap();
        handle.index_now().await.unwrap();
    }
    let uids = appended.await.unwrap().uids;
    assert_eq!(text(&handle, folder, "needle").await, uids);
    let state = handle.index_now().await.unwrap();
    assert_eq!(state.waiting, 0);
    assert_eq!(text(&handle, folder, "needle").await, uids);
}

#[tokio::test]
async fn new_mail_is_indexed_by_itself() {
    let world = World::new().await;
    let handle = world.unlock().await;
    let folder = inbox(&handle).await.folder;
    let some = (0..100).map(|n| mail(&format!("Subject: s{n}"), "text")).collect();
    handle.append("INBOX", some).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while handle.index_state().await.unwrap().indexed < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(text(&handle, folder, "s42").await, [43]);
}

/// An index that was cut short at any moment goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_indexing() {
    let world = World::with(by_hand()).await;
    let mut handle = world.unlock().await;
    let folder = inbox(&handle).await.folder;
    let some = (0..600)
        .map(|n| {
            mail(&format!("Subject: s{n}"), &format!("text t{} {}", n % 7, "filler ".repeat(30)))
        })
        .collect();
    handle.append("INBOX", some).await.unwrap();
    for round in 0..12u64 {
        let working = tokio::spawn({
            let handle = handle.clone();
            async move { handle.index_now().await }
        });
        tokio::time::sleep(std::time::Duration::from_micros(round * round * 700)).await;
        handle = world.crash().await;
        drop(working.await.unwrap());
        assert_eq!(
            text(&handle, folder, "s42").await,
            [43, 421, 422, 423, 424, 425, 426, 427, 428, 429, 430]
        );
        assert_eq!(text(&handle, folder, "t3 filler").await.len(), 86);
        assert_eq!(handle.index_state().await.unwrap().total(), 600);
    }
    assert_eq!(handle.index_now().await.unwrap().waiting, 0);
    assert_eq!(text(&handle, folder, "t3 filler").await.len(), 86);
}
