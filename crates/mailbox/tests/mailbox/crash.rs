//! What crashes and power cuts leave, and what no session may ever see.

use std::time::Duration;

use letterlock_mailbox::{FlagOperation, MailboxError, NewMessage, Options, SystemFlags, all_uids};

use crate::world::{World, change, delivery, fill, inbox, message, options, set};
use letterlock_mailbox::Filed;
use letterlock_vault::DeliveryId;

const SEEN: SystemFlags = SystemFlags::SEEN;

#[tokio::test]
async fn a_clean_close_goes_on_counting() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 2).await;
    let before = inbox(&handle).await;
    world.mailboxes.lock(world.account()).await.unwrap();
    assert!(matches!(handle.usage().await, Err(MailboxError::Locked)));
    let handle = world.unlock().await;
    let after = inbox(&handle).await;
    assert_eq!((after.uid_next, after.highest_modseq), (before.uid_next, before.highest_modseq));
    let stored =
        handle.store(folder, &set("1"), change(FlagOperation::Add, SEEN, &[]), None).await.unwrap();
    assert_eq!(stored.changed[0].modseq.0, before.highest_modseq.0 + 1);
    assert_eq!(handle.append("INBOX", vec![message("x")]).await.unwrap().uids, [3]);
}

#[tokio::test]
async fn a_crash_of_the_process_loses_nothing_and_skips_the_range() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 2).await;
    let stored =
        handle.store(folder, &set("1"), change(FlagOperation::Add, SEEN, &[]), None).await.unwrap();
    let handle = world.crash().await;
    let after = inbox(&handle).await;
    assert_eq!((after.uids.len(), after.unseen_count), (2, 1));
    assert!(after.uid_next > 1_000, "{}", after.uid_next);
    assert_eq!(after.highest_modseq, stored.changed[0].modseq);
    let changes = handle.changes(folder, stored.changed[0].modseq).await.unwrap();
    assert!(!changes.full, "what a session saw is all there");
    let again =
        handle.store(folder, &set("2"), change(FlagOperation::Add, SEEN, &[]), None).await.unwrap();
    assert!(again.changed[0].modseq.0 > 100_000);
}

#[tokio::test]
async fn after_a_power_cut_no_number_is_used_twice() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    let kept = inbox(&handle).await;
    handle.sync().await.unwrap();
    let disk = world.snapshot();
    // All of this is seen, and lost.
    let seen =
        handle.store(folder, &set("2"), change(FlagOperation::Add, SEEN, &[]), None).await.unwrap();
    let id = DeliveryId::generate();
    let Filed::New { uid: lost_uid, .. } =
        handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap()
    else {
        panic!("a first delivery")
    };
    let lost = inbox(&handle).await;
    assert!(lost.uids.contains(&lost_uid));

    let handle = world.power_cut(disk).await;
    let after = inbox(&handle).await;
    assert_eq!(*after.uids, [1, 2, 3]);
    assert_eq!(after.highest_modseq, kept.highest_modseq);
    assert!(after.uid_next > lost.uid_next);
    // One who saw the lost past gets everything; one who did not, only what changed.
    for since in [seen.changed[0].modseq, lost.highest_modseq] {
        let changes = handle.changes(folder, since).await.unwrap();
        assert!(changes.full);
        assert_eq!((changes.changed.len(), changes.arrived.len()), (3, 0));
        assert!(changes.vanished.contains(lost_uid));
    }
    assert!(!handle.changes(folder, kept.highest_modseq).await.unwrap().full);
    let add = change(FlagOperation::Add, SystemFlags::FLAGGED, &[]);
    let stale =
        handle.store(folder, &all_uids(), add.clone(), Some(lost.highest_modseq)).await.unwrap();
    assert_eq!(stale.modified, [1, 2, 3]);
    let fresh = handle.store(folder, &set("1"), add, Some(kept.highest_modseq)).await.unwrap();
    assert!(fresh.changed[0].modseq > lost.highest_modseq);
    // The queue still has the message, and files it again.
    let Filed::New { uid, .. } = handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap() else {
        panic!("it was not filed")
    };
    assert!(uid > lost_uid);
}

#[tokio::test]
async fn what_was_durable_outlives_a_power_cut() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 4).await;
    let id = DeliveryId::generate();
    handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
    handle.sync().await.unwrap();
    handle.copy(folder, &set("1"), "Trash").await.unwrap();
    handle.remove(folder, &set("2")).await.unwrap();
    handle.create("new", None).await.unwrap();
    let disk = world.snapshot();
    let handle = world.power_cut(disk).await;
    assert_eq!(*inbox(&handle).await.uids, [1, 3, 4, 5]);
    assert_eq!(handle.status("Trash").await.unwrap().messages, 1);
    assert_eq!(handle.status("new").await.unwrap().messages, 0);
    assert_eq!(handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap(), Filed::Already);
}

#[tokio::test]
async fn ranges_of_numbers_are_extended_in_time() {
    let (world, handle) = World::open().await;
    let mut last = 0;
    for _ in 0..26 {
        let some = (0..100).map(|_| delivery(DeliveryId::generate(), "a@b", "INBOX")).collect();
        for filed in handle.deliver_all(some).await.unwrap() {
            let Filed::New { uid, .. } = filed else { panic!("a first delivery") };
            assert_eq!(uid, last + 1);
            last = uid;
        }
    }
    let handle = world.crash().await;
    assert!(inbox(&handle).await.uid_next > last);
}

#[tokio::test]
async fn uploads_cut_short_are_cleared() {
    let (world, handle) = World::open().await;
    let big = NewMessage { bytes: vec![b'z'; 3 << 20].into(), ..message("") };
    let id = handle.append("INBOX", vec![big.clone()]).await.unwrap();
    let call = handle.append("INBOX", vec![big]);
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_millis(1)) => {}
        _ = call => {}
    }
    let handle = world.crash().await;
    handle.sweep().await.unwrap();
    assert!(handle.body(id.folder, id.uids[0]).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_cut_short_is_taken_back_at_the_next_unlock() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 6_000).await;
    let copy = tokio::spawn({
        let handle = handle.clone();
        async move { handle.copy(folder, &all_uids(), "Archive").await }
    });
    while handle.status("Archive").await.unwrap().messages == 0 {}
    let handle = world.crash().await;
    let expected = if copy.await.unwrap().is_ok() { 6_000 } else { 0 };
    assert_eq!(handle.status("Archive").await.unwrap().messages, expected);
    handle.copy(folder, &all_uids(), "Archive").await.unwrap();
    handle.remove(folder, &all_uids()).await.unwrap();
    let archive = handle.select("Archive", letterlock_mailbox::SelectMode::ReadOnly).await.unwrap();
    assert!(
        handle.body(archive.folder, archive.uids[5_000]).await.unwrap().is_some(),
        "still shared rightly"
    );
}

#[tokio::test]
async fn an_idle_file_closes_and_opens_again() {
    let world =
        World::with(Options { idle_close: Some(Duration::from_millis(10)), ..options() }).await;
    let handle = world.unlock().await;
    let folder = fill(&handle, 3).await;
    let mut last = inbox(&handle).await.highest_modseq;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let flip = change(FlagOperation::Add, SystemFlags::NONE, &[&format!("k{last}")]);
        let stored = handle.store(folder, &set("1"), flip, None).await.unwrap();
        assert_eq!(stored.changed[0].modseq.0, last.0 + 1);
        last = stored.changed[0].modseq;
    }
    assert_eq!(inbox(&handle).await.uids.len(), 3);
}

#[tokio::test]
async fn an_older_file_is_read_only() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 1).await;
    let disk = world.snapshot();
    handle.append("INBOX", vec![message("later")]).await.unwrap();
    let marks = world.mailboxes.marks();
    assert_eq!(marks, [(world.account(), handle.durable_points().unwrap())]);
    assert!(world.mailboxes.marks().is_empty(), "nothing new");
    handle.check_mark(marks[0].1).unwrap();
    let handle = world.power_cut(disk).await;
    assert!(matches!(handle.check_mark(marks[0].1), Err(MailboxError::RolledBack)));
    let stored = handle.store(folder, &set("1"), change(FlagOperation::Add, SEEN, &[]), None).await;
    assert!(matches!(stored, Err(MailboxError::RolledBack)));
    assert!(matches!(
        handle.append("INBOX", vec![message("x")]).await,
        Err(MailboxError::RolledBack)
    ));
    let select = handle.select("INBOX", letterlock_mailbox::SelectMode::ReadWrite).await.unwrap();
    assert_eq!(select.uids.len(), 1);
}

#[tokio::test]
async fn a_second_power_cut_does_not_hide_what_it_took() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 2).await;
    let disk = world.snapshot();
    let handle = world.power_cut(disk).await;
    // Reserves a new range, durably, and changes nothing.
    let add = change(FlagOperation::Add, SEEN, &[]);
    handle.store(folder, &set("99"), add.clone(), None).await.unwrap();
    let disk = world.snapshot();
    let seen = handle.store(folder, &set("1"), add, None).await.unwrap().changed[0].modseq;
    let handle = world.power_cut(disk).await;
    assert_eq!(inbox(&handle).await.unseen_count, 2);
    let changes = handle.changes(folder, seen).await.unwrap();
    assert!(changes.full, "{seen} was seen, and lost");
}
