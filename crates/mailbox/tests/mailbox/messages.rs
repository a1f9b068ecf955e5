//! Messages: append, rows, bodies, flags, expunge, copy, move.

use bytes::Bytes;
use letterlock_mailbox::{
    Columns, FlagOperation, Flags, MailboxError, ModSeq, NewMessage, SelectMode, SystemFlags,
    UidRanges, all_uids,
};

use crate::world::{World, change, date, fill, flags, inbox, message, set, text};

const DELETED: SystemFlags = SystemFlags::DELETED;
const SEEN: SystemFlags = SystemFlags::SEEN;

#[tokio::test]
async fn what_is_appended_reads_back() {
    let (_world, handle) = World::open().await;
    let zone =
        letterlock_mailbox::InternalDate::new(jiff::Timestamp::from_second(77).unwrap(), -90)
            .unwrap();
    let new = NewMessage {
        bytes: text("Hi", "Body\0 with octets \u{ff}"),
        flags: flags(SEEN, &["$Forwarded", "Odd One", "zeta"]),
        internal_date: zone,
    };
    let appended = handle.append("Drafts", vec![new.clone(), message("two")]).await.unwrap();
    assert_eq!(appended.uids, [1, 2]);
    let columns = Columns { envelope: true, bodystructure: true, body: true, header: true };
    let rows = handle.rows(appended.folder, &all_uids(), columns, 0, 10).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].flags, flags(SEEN, &["$Forwarded", "zeta"]));
    assert_eq!(rows[0].internal_date, zone);
    assert_eq!(rows[0].size, new.bytes.len() as u64);
    let envelope = rows[0].envelope.as_ref().unwrap();
    assert_eq!(envelope[..], letterlock_imap_wire::structure::envelope(&new.bytes));
    assert_eq!(
        rows[0].bodystructure.as_ref().unwrap()[..],
        letterlock_imap_wire::structure::body_structure(&new.bytes)
    );
    assert_eq!(
        rows[0].body.as_ref().unwrap()[..],
        letterlock_imap_wire::structure::body(&new.bytes)
    );
    assert!(rows[0].header.as_ref().unwrap().ends_with(b"+0000\r\n\r\n"));
    assert_ne!(rows[0].email_id, rows[1].email_id);
    assert_eq!(handle.body(appended.folder, 1).await.unwrap().unwrap(), new.bytes);
    assert_eq!(handle.body(appended.folder, 9).await.unwrap(), None);
    let bare = handle.rows(appended.folder, &set("2"), Columns::default(), 0, 10).await.unwrap();
    assert!(bare.len() == 1 && bare[0].envelope.is_none() && bare[0].header.is_none());
}

#[tokio::test]
async fn messages_of_all_sizes_and_shapes() {
    let (_world, handle) = World::open().await;
    let head = b"Subject: big\r\n\r\n";
    for size in [0, 1, 16, 65_535, 65_536, 65_537, 262_144, 262_145, 1_500_000] {
        let mut bytes: Vec<u8> = if size > 20 { head.to_vec() } else { Vec::new() };
        bytes.extend(noise(size));
        let new = NewMessage { bytes: bytes.clone().into(), ..message("") };
        let at = handle.append("Archive", vec![new]).await.unwrap();
        assert_eq!(
            handle.body(at.folder, at.uids[0]).await.unwrap().unwrap()[..],
            bytes[..],
            "{size}"
        );
    }
    for odd in [&b"\r\n"[..], b"no header at all", b"A: b\n\nbare", b"\n", b"A: b\r\n"] {
        let at = handle
            .append("Archive", vec![NewMessage { bytes: Bytes::from_static(odd), ..message("") }])
            .await
            .unwrap();
        assert_eq!(handle.body(at.folder, at.uids[0]).await.unwrap().unwrap()[..], *odd);
    }
}

/// So many octets that do not shrink.
fn noise(size: usize) -> impl Iterator<Item = u8> {
    let mut state = size as u64 | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(size)
}

#[tokio::test]
async fn limits_of_append() {
    let (_world, handle) = World::open().await;
    let huge = NewMessage { bytes: vec![b'x'; (8 << 20) + 1].into(), ..message("") };
    assert!(
        matches!(handle.append("INBOX", vec![huge]).await, Err(MailboxError::TooBig { limit }) if limit == 8 << 20)
    );
    assert!(matches!(
        handle.append("none", vec![message("x")]).await,
        Err(MailboxError::NoSuchFolder)
    ));
    let size = message("x").bytes.len() as u64;
    handle.set_quota(Some(2 * size));
    handle.append("INBOX", vec![message("x"), message("y")]).await.unwrap();
    assert!(matches!(
        handle.append("INBOX", vec![message("z")]).await,
        Err(MailboxError::OverQuota)
    ));
    let folder = inbox(&handle).await.folder;
    assert!(matches!(handle.copy(folder, &set("1"), "Trash").await, Err(MailboxError::OverQuota)));
    handle.move_(folder, &set("1"), "Trash").await.unwrap();
    assert_eq!(handle.usage().await.unwrap().octets, 2 * size);
    handle.set_quota(None);
    handle.copy(folder, &all_uids(), "Trash").await.unwrap();
    assert_eq!(handle.usage().await.unwrap().octets, 3 * size);
}

#[tokio::test]
async fn flags_are_set_added_and_removed() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    let store = |operation, system, words: &'static [&'static str], range: &'static str| {
        let handle = handle.clone();
        async move {
            handle.store(folder, &set(range), change(operation, system, words), None).await.unwrap()
        }
    };
    let one = store(FlagOperation::Add, SEEN, &["Work", "$Label1"], "1:2").await;
    assert_eq!(one.changed.len(), 2);
    assert_eq!(one.changed[0].flags, flags(SEEN, &["$Label1", "Work"]));
    let two = store(FlagOperation::Remove, SEEN, &["WORK", "unknown"], "2").await;
    assert_eq!(two.changed[0].flags, flags(SystemFlags::NONE, &["$Label1"]));
    let three = store(FlagOperation::Set, DELETED, &["work"], "1").await;
    assert_eq!(three.changed[0].flags, flags(DELETED, &["Work"]), "the folder's own spelling");
    let same = store(FlagOperation::Add, DELETED, &[], "1").await;
    assert_eq!(same.changed[0].modseq, three.changed[0].modseq, "nothing changed");
    let status = handle.status("INBOX").await.unwrap();
    assert_eq!((status.unseen, status.deleted), (3, 1));
    assert_eq!(inbox(&handle).await.keywords, ["$Label1", "Work"]);
    let nothing = store(FlagOperation::Add, SEEN, &[], "7:9").await;
    assert!(nothing.changed.is_empty());
}

#[tokio::test]
async fn too_many_keywords_change_nothing() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 1).await;
    let words: Vec<String> = (0..257).map(|n| format!("k{n}")).collect();
    let flags = Flags { system: SEEN, keywords: words.into_iter().collect() };
    let change = letterlock_mailbox::FlagChange { operation: FlagOperation::Add, flags };
    let result = handle.store(folder, &all_uids(), change, None).await;
    assert!(matches!(result, Err(MailboxError::Limit(_))));
    assert!(inbox(&handle).await.keywords.is_empty());
    assert_eq!(handle.status("INBOX").await.unwrap().unseen, 1);
}

#[tokio::test]
async fn unchanged_since_leaves_newer_ones_alone() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    let before = inbox(&handle).await.highest_modseq;
    let newer =
        handle.store(folder, &set("2"), change(FlagOperation::Add, SEEN, &[]), None).await.unwrap();
    let add = change(FlagOperation::Add, DELETED, &[]);
    let outcome = handle.store(folder, &all_uids(), add.clone(), Some(before)).await.unwrap();
    assert_eq!(outcome.modified, [2]);
    assert_eq!(outcome.changed.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 3]);
    let outcome =
        handle.store(folder, &set("2"), add.clone(), Some(newer.changed[0].modseq)).await.unwrap();
    assert_eq!(outcome.modified, [0u32; 0]);
    let outcome = handle.store(folder, &all_uids(), add, Some(ModSeq(0))).await.unwrap();
    assert_eq!(outcome.modified, [1, 2, 3]);
    let since = newer.changed[0].modseq;
    let rows = handle
        .rows_changed_since(folder, &all_uids(), Columns::default(), since, 0, 10)
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 2, 3]);
    let rows = handle
        .rows_changed_since(folder, &set("2:3"), Columns::default(), before, 2, 10)
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn expunge_takes_what_is_deleted() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 6).await;
    handle
        .store(folder, &set("2,4:5"), change(FlagOperation::Add, DELETED, &[]), None)
        .await
        .unwrap();
    assert_eq!(handle.expunge(folder, Some(&set("1:4"))).await.unwrap(), [2, 4]);
    assert_eq!(handle.expunge(folder, None).await.unwrap(), [5]);
    assert_eq!(handle.expunge(folder, None).await.unwrap(), [0u32; 0]);
    assert_eq!(handle.remove(folder, &set("1,2,6")).await.unwrap(), [1, 6]);
    assert_eq!(*inbox(&handle).await.uids, [3]);
    let status = handle.status("INBOX").await.unwrap();
    assert_eq!((status.messages, status.unseen, status.deleted, status.uid_next), (1, 1, 0, 7));
    assert_eq!(status.size, handle.usage().await.unwrap().octets);
    assert_eq!(handle.body(folder, 1).await.unwrap(), None);
}

#[tokio::test]
async fn copies_share_their_body() {
    let (_world, handle) = World::open().await;
    let big = NewMessage { bytes: vec![b'y'; 600_000].into(), ..message("") };
    let at = handle.append("INBOX", vec![big.clone(), message("small")]).await.unwrap();
    let copied = handle.copy(at.folder, &all_uids(), "archive").await;
    assert!(matches!(copied, Err(MailboxError::NoSuchFolder)));
    let copied = handle.copy(at.folder, &all_uids(), "Archive").await.unwrap();
    assert_eq!(copied.pairs, [(1, 1), (2, 2)]);
    let archive = handle.select("Archive", SelectMode::ReadOnly).await.unwrap();
    assert_eq!(copied.uid_validity, archive.uid_validity);
    let ids = |rows: Vec<letterlock_mailbox::Row>| {
        rows.into_iter().map(|row| row.email_id).collect::<Vec<_>>()
    };
    let here = handle.rows(at.folder, &all_uids(), Columns::default(), 0, 9).await.unwrap();
    let there = handle.rows(archive.folder, &all_uids(), Columns::default(), 0, 9).await.unwrap();
    assert_eq!(ids(here), ids(there));
    handle.remove(at.folder, &all_uids()).await.unwrap();
    handle.sweep().await.unwrap();
    assert_eq!(handle.body(archive.folder, 1).await.unwrap().unwrap(), big.bytes);
    handle.remove(archive.folder, &all_uids()).await.unwrap();
    handle.sweep().await.unwrap();
    assert_eq!(handle.body(archive.folder, 1).await.unwrap(), None);
}

#[tokio::test]
async fn copy_and_move_within_one_folder() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    let copied = handle.copy(folder, &all_uids(), "INBOX").await.unwrap();
    assert_eq!(copied.pairs, [(1, 4), (2, 5), (3, 6)]);
    let moved = handle.move_(folder, &set("1,5"), "inbox").await.unwrap();
    assert_eq!(moved.pairs, [(1, 7), (5, 8)]);
    assert_eq!(*inbox(&handle).await.uids, [2, 3, 4, 6, 7, 8]);
    assert_eq!(handle.status("INBOX").await.unwrap().messages, 6);
    let nothing = handle.copy(folder, &UidRanges::new(), "Trash").await.unwrap();
    assert!(nothing.pairs.is_empty() && nothing.uid_validity > 0);
}

#[tokio::test]
async fn moves_keep_flags_and_leave_nothing() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    handle
        .store(folder, &set("2"), change(FlagOperation::Add, SEEN, &["Keep"]), None)
        .await
        .unwrap();
    let moved = handle.move_(folder, &set("2:3"), "Trash").await.unwrap();
    assert_eq!(moved.pairs, [(2, 1), (3, 2)]);
    let trash = handle.select("Trash", SelectMode::ReadOnly).await.unwrap();
    let rows = handle.rows(trash.folder, &all_uids(), Columns::default(), 0, 9).await.unwrap();
    assert_eq!(rows[0].flags, flags(SEEN, &["Keep"]));
    assert_eq!(rows[0].internal_date, date(1_700_000_000));
    assert_eq!(trash.keywords, ["Keep"]);
    assert_eq!((trash.unseen, trash.unseen_count), (Some(2), 1));
    assert_eq!(*inbox(&handle).await.uids, [1]);
    assert!(handle.body(trash.folder, 1).await.unwrap().is_some());
}

#[tokio::test]
async fn long_work_goes_in_slices() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2_500).await;
    let stored = handle
        .store(folder, &all_uids(), change(FlagOperation::Add, SEEN, &[]), None)
        .await
        .unwrap();
    assert_eq!(stored.changed.len(), 2_500);
    let copied = handle.copy(folder, &all_uids(), "Archive").await.unwrap();
    assert_eq!(copied.pairs.len(), 2_500);
    let again = handle.copy(folder, &all_uids(), "INBOX").await.unwrap();
    assert_eq!(again.pairs.last(), Some(&(2_500, 5_000)));
    let moved = handle.move_(folder, &set("1:1200"), "INBOX").await.unwrap();
    assert_eq!((moved.pairs.len(), moved.pairs[0]), (1_200, (1, 5_001)));
    handle
        .store(folder, &all_uids(), change(FlagOperation::Add, DELETED, &[]), None)
        .await
        .unwrap();
    assert_eq!(handle.expunge(folder, None).await.unwrap().len(), 5_000);
    assert_eq!(handle.status("INBOX").await.unwrap().messages, 0);
    let rows = handle
        .rows(copied_folder(&handle).await, &all_uids(), Columns::default(), 2_000, 5_000)
        .await
        .unwrap();
    assert_eq!((rows.len(), rows[0].uid), (500, 2_001));
}

async fn copied_folder(handle: &letterlock_mailbox::Handle) -> letterlock_mailbox::FolderId {
    handle.status("Archive").await.unwrap().folder
}

#[tokio::test]
async fn a_long_copy_that_fails_is_taken_back() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2_200).await;
    let size = handle.usage().await.unwrap().octets;
    handle.append("Archive", vec![message("before")]).await.unwrap();
    // Two slices fit, the third does not.
    handle.set_quota(Some(size * 39 / 20));
    assert!(matches!(
        handle.copy(folder, &all_uids(), "Archive").await,
        Err(MailboxError::OverQuota)
    ));
    assert_eq!(*handle.select("Archive", SelectMode::ReadOnly).await.unwrap().uids, [1]);
    assert_eq!(handle.status("INBOX").await.unwrap().messages, 2_200);
    handle.set_quota(None);
    // Bodies are all still shared rightly.
    handle.copy(folder, &all_uids(), "Archive").await.unwrap();
    handle.remove(folder, &all_uids()).await.unwrap();
    let archive = handle.select("Archive", SelectMode::ReadOnly).await.unwrap();
    assert_eq!(archive.uids.len(), 2_201);
    assert!(handle.body(archive.folder, archive.uids[2_000]).await.unwrap().is_some());
}

#[tokio::test]
async fn recent_is_told_to_one_session() {
    let (_world, handle) = World::open().await;
    fill(&handle, 2).await;
    assert_eq!(handle.status("INBOX").await.unwrap().recent, 2);
    assert_eq!(handle.select("INBOX", SelectMode::ReadOnly).await.unwrap().recent, 1);
    assert_eq!(handle.select("INBOX", SelectMode::ReadWrite).await.unwrap().recent, 1);
    assert_eq!(handle.select("INBOX", SelectMode::ReadWrite).await.unwrap().recent, 3);
    assert_eq!(handle.status("INBOX").await.unwrap().recent, 0);
    handle.append("INBOX", vec![message("new")]).await.unwrap();
    assert_eq!(handle.status("INBOX").await.unwrap().recent, 1);
    assert_eq!(handle.select("INBOX", SelectMode::ReadWrite).await.unwrap().recent, 3);
}

#[tokio::test]
async fn huge_headers_come_a_few_at_a_time() {
    let (_world, handle) = World::open().await;
    let header = format!("Subject: x\r\nX-Pad: {}\r\n\r\n", "y".repeat(3 << 20));
    let bytes = Bytes::from(header.clone() + "body");
    let new = vec![NewMessage { bytes, ..message("x") }; 3];
    let folder = handle.append("INBOX", new).await.unwrap().folder;
    let columns = Columns { header: true, ..Columns::default() };
    let (mut uids, mut after) = (Vec::new(), 0);
    loop {
        let rows = handle.rows(folder, &all_uids(), columns, after, 10).await.unwrap();
        let Some(last) = rows.last() else { break };
        assert!(rows.len() <= 2, "{} rows at once", rows.len());
        assert!(rows.iter().all(|row| row.header.as_deref() == Some(header.as_bytes())));
        after = last.uid;
        uids.extend(rows.iter().map(|row| row.uid));
    }
    assert_eq!(uids, [1, 2, 3]);
}

#[tokio::test]
async fn a_store_tells_when_each_message_had_changed_last() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2).await;
    let start = inbox(&handle).await.highest_modseq;
    let add = |flag| change(FlagOperation::Add, flag, &[]);
    let first = handle.store(folder, &set("2"), add(SystemFlags::SEEN), None).await.unwrap();
    assert_eq!(first.before, [start]);
    let second = handle.store(folder, &set("1:2"), add(SystemFlags::DRAFT), None).await.unwrap();
    assert_eq!(second.before, [start, first.changed[0].modseq]);
}

#[tokio::test]
async fn parts_of_a_large_message_are_read_alone() {
    use letterlock_imap_wire::section::{Section, SectionText, section};
    let (_world, handle) = World::open().await;
    let part = |mark: char| {
        let line = mark.to_string().repeat(76);
        format!("--b\r\nContent-Type: text/plain\r\n\r\n{}", format!("{line}\r\n").repeat(5_000))
    };
    for parts in [0, 1, 4] {
        let all: String = ('a'..).take(parts).map(part).collect();
        let text = format!(
            "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{all}--b--\r\n"
        );
        let new = NewMessage { bytes: text.clone().into(), ..message("") };
        let appended = handle.append("INBOX", vec![new]).await.unwrap();
        let (folder, uid) = (appended.folder, appended.uids[0]);
        let (text, size) = (text.as_bytes(), text.len());
        for (from, to) in [
            (0, 0),
            (0, 10),
            (5, 70),
            (60, 200),
            (65_000, 66_000),
            (131_000, 400_000),
            (size - 3, size + 9),
            (size + 1, size + 2),
        ] {
            let found =
                handle.body_range(folder, uid, from as u64..to as u64).await.unwrap().unwrap();
            assert_eq!(found, text[from.min(size)..to.min(size)], "{from}..{to}");
        }
        let mut reader = handle.reader(folder, uid).await.unwrap().unwrap();
        assert_eq!(reader.size(), size as u64);
        for part in [vec![], vec![1], vec![3], vec![9]] {
            for text_of in
                [SectionText::Whole, SectionText::Mime, SectionText::Text, SectionText::Header]
            {
                let wanted = Section { part: part.clone(), text: text_of };
                let found = match reader.section(&wanted).await.unwrap() {
                    Some(range) => Some(reader.read(range).await.unwrap()),
                    None => None,
                };
                assert_eq!(found.as_deref(), section(text, &wanted).as_deref(), "{wanted:?}");
            }
        }
        // Who reads it reads it to its end.
        let first = reader.next().await.unwrap().unwrap();
        handle.remove(folder, &set(&uid.to_string())).await.unwrap();
        handle.sweep().await.unwrap();
        let mut whole = first.to_vec();
        while let Some(some) = reader.next().await.unwrap() {
            assert!(some.len() <= (512 << 10) + 100);
            whole.extend_from_slice(&some);
        }
        assert!(whole == text);
        drop(reader);
        assert!(handle.reader(folder, uid).await.unwrap().is_none());
    }
}

/// A large MULTIAPPEND is cut into jobs: what others do on the account comes in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_leaves_turns_to_others() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 1).await;
    let import = tokio::spawn({
        let handle = handle.clone();
        async move {
            let many = (0..3_000).map(|n| message(&format!("import {n}"))).collect();
            handle.append("Archive", many).await.unwrap().uids
        }
    });
    let mut turns = 0;
    while !import.is_finished() {
        let flip = [FlagOperation::Add, FlagOperation::Remove][turns % 2];
        let flip = change(flip, SystemFlags::FLAGGED, &[]);
        assert_eq!(handle.store(folder, &set("1"), flip, None).await.unwrap().changed.len(), 1);
        turns += 1;
    }
    assert_eq!(import.await.unwrap().len(), 3_000);
    // In one job it would be a few.
    assert!(turns > 100, "{turns}");
    let archive = handle.status("Archive").await.unwrap();
    assert_eq!((archive.messages, archive.uid_next), (3_000, 3_001));
    assert!(handle.body(archive.folder, 2_999).await.unwrap().is_some());
}
