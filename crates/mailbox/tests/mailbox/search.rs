//! Every search key, over messages that differ in one thing each.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::{SearchKey, SearchProgram, SequenceSet};
use letterlock_mailbox::{
    FlagOperation, Flags, FolderId, Handle, NewMessage, SearchContext, SystemFlags, UidRanges,
    all_uids,
};

use crate::world::{World, change, date, fill, inbox, set};

/// Parses a search as a client writes it.
fn program(text: &str) -> SearchProgram {
    let line = format!("a SEARCH {text}");
    match letterlock_imap_wire::command::parse(line.as_bytes(), 20).unwrap().command {
        letterlock_imap_wire::Command::Search(search) => search.program,
        other => panic!("{other:?}"),
    }
}

struct Asker {
    handle: Handle,
    folder: FolderId,
    context: SearchContext,
}

impl Asker {
    async fn new(handle: &Handle) -> Self {
        let selected = inbox(handle).await;
        let context = SearchContext {
            uids: Arc::clone(&selected.uids),
            recent: u32::MAX,
            saved: UidRanges::new(),
            now: Timestamp::from_second(1_000_000_000).unwrap(),
        };
        Self { handle: handle.clone(), folder: selected.folder, context }
    }

    async fn ask(&self, text: &str) -> Vec<u32> {
        self.run(&program(text)).await
    }

    async fn run(&self, program: &SearchProgram) -> Vec<u32> {
        self.handle.search(self.folder, program, &self.context).await.unwrap().uids
    }
}

fn mail(header: &str, body: &str, seconds: i64) -> NewMessage {
    NewMessage {
        bytes: format!("{header}\r\n\r\n{body}").into(),
        flags: Flags::default(),
        internal_date: date(seconds),
    }
}

/// 1 plain, 2 encoded and multipart, 3 with a message inside, 4 large, 5 without anything.
async fn five(handle: &Handle) -> Asker {
    let multipart = "Content-Type: multipart/alternative; boundary=b\r\nFrom: =?utf-8?b?SsO2cmc=?= <joerg@example.net>\r\n\
        Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nDate: Tue, 2 Jan 2024 23:30:00 -0800";
    let parts = "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        R3LDvMOfZSBhdXMgS8O2bG4=\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Needle</p>\r\n--b--\r\n";
    let inner = "--c\r\nContent-Type: message/rfc822\r\n\r\nSubject: hidden treasure\r\n\r\ninside\r\n--c--\r\n";
    let messages = vec![
        mail(
            "From: alice@example.org\r\nTo: bob@example.net\r\nCc: carol@x\r\nBcc: dave@x\r\nSubject: Hello World\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nX-Tag: yes",
            "A needle in hay.",
            86_400,
        ),
        mail(multipart, parts, 2 * 86_400),
        mail("Subject: outer\r\nContent-Type: multipart/mixed; boundary=c", inner, 3 * 86_400),
        mail("Subject: large", &"hay ".repeat(200_000), 4 * 86_400),
        mail("X-Nothing: at all", "", 1_000_000_000 - 60),
    ];
    for message in messages {
        handle.append("INBOX", vec![message]).await.unwrap();
    }
    Asker::new(handle).await
}

#[tokio::test]
async fn header_and_text_keys() {
    let (_world, handle) = World::open().await;
    let asker = five(&handle).await;
    for (text, uids) in [
        ("ALL", &[1, 2, 3, 4, 5][..]),
        ("FROM ALICE", &[1]),
        ("FROM example", &[1, 2]),
        ("TO bob CC carol BCC dave", &[1]),
        ("SUBJECT \"hello w\"", &[1]),
        ("HEADER X-TAG \"\"", &[1]),
        ("HEADER x-tag YES", &[1]),
        ("HEADER X-Tag no", &[]),
        ("BODY needle", &[1, 2]),
        ("TEXT needle", &[1, 2]),
        ("BODY hello", &[]),
        ("TEXT hello", &[1]),
        ("BODY treasure", &[3]),
        ("BODY \"hay hay\"", &[4]),
        ("NOT TEXT hay", &[2, 3, 5]),
        ("OR SUBJECT outer BODY needle", &[1, 2, 3]),
        ("NOT OR BODY needle SUBJECT large", &[3, 5]),
        ("BODY needle NOT FROM alice", &[2]),
        ("SENTON 1-Jan-2024", &[1]),
        ("SENTON 2-Jan-2024", &[2]),
        ("SENTBEFORE 2-Jan-2024", &[1]),
        ("SENTSINCE 2-Jan-2024", &[2]),
        ("NOT SENTSINCE 1-Jan-1990", &[3, 4, 5]),
    ] {
        assert_eq!(asker.ask(text).await, uids, "{text}");
    }
    for (key, uids) in [
        (SearchKey::From("J\u{d6}RG".into()), &[2][..]),
        (SearchKey::Subject("gr\u{fc}sse".into()), &[2]),
        (SearchKey::Body("K\u{d6}LN".into()), &[2]),
        (SearchKey::Body(String::new()), &[1, 2, 3, 4, 5]),
    ] {
        assert_eq!(asker.run(&SearchProgram { key: key.clone() }).await, uids, "{key:?}");
    }
}

#[tokio::test]
async fn keys_of_the_row() {
    let (_world, handle) = World::open().await;
    let asker = five(&handle).await;
    let folder = asker.folder;
    for (range, system, words) in [
        ("1", SystemFlags::SEEN | SystemFlags::ANSWERED, &["Work"][..]),
        ("2", SystemFlags::FLAGGED | SystemFlags::DELETED, &[]),
        ("3", SystemFlags::DRAFT | SystemFlags::SEEN, &["other"]),
    ] {
        handle
            .store(folder, &set(range), change(FlagOperation::Set, system, words), None)
            .await
            .unwrap();
    }
    let modseq = inbox(&handle).await.highest_modseq;
    let changed = format!("MODSEQ {modseq}");
    for (text, uids) in [
        ("SEEN", &[1, 3][..]),
        ("UNSEEN", &[2, 4, 5]),
        ("ANSWERED", &[1]),
        ("UNANSWERED", &[2, 3, 4, 5]),
        ("FLAGGED", &[2]),
        ("DELETED", &[2]),
        ("UNDELETED UNSEEN", &[4, 5]),
        ("DRAFT", &[3]),
        ("KEYWORD work", &[1]),
        ("UNKEYWORD WORK", &[2, 3, 4, 5]),
        ("LARGER 100000", &[4]),
        ("SMALLER 25", &[5]),
        ("BEFORE 3-Jan-1970", &[1]),
        ("ON 3-Jan-1970", &[2]),
        ("SINCE 5-Jan-1970", &[4, 5]),
        ("YOUNGER 60", &[5]),
        ("YOUNGER 59", &[]),
        ("OLDER 60", &[1, 2, 3, 4, 5]),
        ("OLDER 61", &[1, 2, 3, 4]),
        ("UID 2:3,9", &[2, 3]),
        ("UID *", &[5]),
        ("2:3", &[2, 3]),
        ("NOT 2:*", &[1]),
        ("UNSEEN BODY needle", &[2]),
        (changed.as_str(), &[3]),
    ] {
        assert_eq!(asker.ask(text).await, uids, "{text}");
    }
    let found = handle.search(folder, &program("UID 1:2"), &asker.context).await.unwrap();
    assert!(found.highest_modseq < modseq && found.highest_modseq.0 > 0);
}

#[tokio::test]
async fn a_session_finds_only_what_it_counts() {
    let (_world, handle) = World::open().await;
    fill(&handle, 6).await;
    let mut asker = Asker::new(&handle).await;
    handle.remove(asker.folder, &set("2")).await.unwrap();
    fill(&handle, 1).await;
    assert_eq!(asker.ask("ALL").await, [1, 3, 4, 5, 6], "gone is gone, new is not announced");
    assert_eq!(asker.ask("3").await, [3], "numbers are still those of the session");
    asker.context.uids = Arc::new(vec![4, 6, 7]);
    assert_eq!(asker.ask("1:2").await, [4, 6]);
    assert_eq!(asker.ask("SUBJECT number").await, [4, 6, 7]);
    asker.context.recent = 6;
    assert_eq!(asker.ask("RECENT").await, [6, 7]);
    assert_eq!(asker.ask("OLD").await, [4]);
    assert_eq!(asker.ask("NEW").await, [6, 7]);
    asker.context.saved = [6, 7].into_iter().collect();
    let saved = SearchProgram { key: SearchKey::Sequence(SequenceSet::Saved) };
    assert_eq!(asker.run(&saved).await, [6, 7]);
    asker.context.uids = Arc::default();
    assert_eq!(asker.ask("ALL").await, [0u32; 0]);
}

#[tokio::test]
async fn long_searches_go_in_slices() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2_300).await;
    let asker = Asker::new(&handle).await;
    assert_eq!(asker.ask("SUBJECT \"number 22\"").await.len(), 111);
    assert_eq!(asker.ask("TEXT \"number 2299\"").await, [2_300]);
    assert_eq!(asker.ask("BODY hello").await.len(), 2_300);
    handle
        .store(folder, &all_uids(), change(FlagOperation::Add, SystemFlags::SEEN, &[]), None)
        .await
        .unwrap();
    handle
        .store(folder, &set("2100"), change(FlagOperation::Remove, SystemFlags::SEEN, &[]), None)
        .await
        .unwrap();
    assert_eq!(asker.ask("UNSEEN").await, [2_100]);
    assert_eq!(asker.ask("NOT UNSEEN").await.len(), 2_299);
}
