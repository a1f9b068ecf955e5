//! The change feed: what one session does, all the others see.

use letterlock_mailbox::{Columns, FlagOperation, ModSeq, SelectMode, SystemFlags, all_uids};

use crate::world::{World, change, fill, inbox, message, set};

fn uids(rows: &[letterlock_mailbox::FlagRow]) -> Vec<u32> {
    rows.iter().map(|row| row.uid).collect()
}

#[tokio::test]
async fn two_sessions_see_each_other() {
    let (world, one) = World::open().await;
    let folder = fill(&one, 5).await;
    let two = world.mailboxes.handle(world.account()).unwrap();
    let mut watch = two.watch(folder);
    watch.borrow_and_update();
    let start = inbox(&two).await.highest_modseq;

    one.store(folder, &set("2"), change(FlagOperation::Add, SystemFlags::SEEN, &[]), None)
        .await
        .unwrap();
    one.remove(folder, &set("4")).await.unwrap();
    one.append("INBOX", vec![message("new"), message("newer")]).await.unwrap();
    one.remove(folder, &set("7")).await.unwrap();
    watch.changed().await.unwrap();
    let told = *watch.borrow_and_update();

    let changes = two.changes(folder, start).await.unwrap();
    assert_eq!(changes.to, told);
    assert_eq!(uids(&changes.changed), [2]);
    assert!(changes.changed[0].flags.system.contains(SystemFlags::SEEN));
    assert_eq!(uids(&changes.arrived), [6]);
    assert_eq!(changes.vanished, set("4,7"));
    assert!(!changes.full);
    let nothing = two.changes(folder, changes.to).await.unwrap();
    assert!(
        nothing.changed.is_empty() && nothing.arrived.is_empty() && nothing.vanished.is_empty()
    );
    assert_eq!(nothing.to, changes.to);
    assert!(!watch.has_changed().unwrap());
}

#[tokio::test]
async fn copies_and_moves_tell_both_folders() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2).await;
    let trash = handle.status("Trash").await.unwrap();
    let (mut here, mut there) = (handle.watch(folder), handle.watch(trash.folder));
    handle.copy(folder, &set("1"), "Trash").await.unwrap();
    assert!(!here.has_changed().unwrap() && there.has_changed().unwrap());
    there.borrow_and_update();
    handle.move_(folder, &set("1"), "Trash").await.unwrap();
    assert!(here.has_changed().unwrap() && there.has_changed().unwrap());
    here.borrow_and_update();
    let changes = handle.changes(trash.folder, trash.highest_modseq).await.unwrap();
    assert_eq!(uids(&changes.arrived), [1, 2]);
    handle.delete("Trash").await.unwrap();
    there.borrow_and_update();
    assert!(there.changed().await.is_err(), "the channel of a deleted folder closes");
}

#[tokio::test]
async fn an_abandoned_call_is_done_and_told() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 1).await;
    let mut watch = handle.watch(folder);
    watch.borrow_and_update();
    let ranges = all_uids();
    let change = change(FlagOperation::Add, SystemFlags::SEEN, &[]);
    let call = handle.store(folder, &ranges, change, None);
    // Polled once, then dropped: as when a session's connection breaks.
    let mut call = Box::pin(call);
    std::future::poll_fn(|context| {
        let _ = call.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(call);
    watch.changed().await.unwrap();
    assert_eq!(handle.status("INBOX").await.unwrap().unseen, 0);
}

#[tokio::test]
async fn long_lists_of_changes_are_whole() {
    let (_world, handle) = World::open().await;
    let start = inbox(&handle).await;
    let folder = fill(&handle, 2_600).await;
    let add = |range: &'static str| {
        let handle = handle.clone();
        async move {
            let seen = change(FlagOperation::Add, SystemFlags::SEEN, &[]);
            handle.store(folder, &set(range), seen, None).await.unwrap();
        }
    };
    add("1:1500").await;
    let middle = inbox(&handle).await;
    add("1000:2600").await;
    handle.remove(folder, &set("5:6,2000:2001")).await.unwrap();
    let changes = handle.changes(folder, start.highest_modseq).await.unwrap();
    assert_eq!(changes.arrived.len(), 2_596);
    assert!(changes.changed.is_empty());
    let changes = handle.changes(folder, middle.highest_modseq).await.unwrap();
    assert_eq!((changes.changed.len(), changes.arrived.len()), (1_098, 0));
    assert_eq!(changes.vanished, set("5:6,2000:2001"));
    let all = handle.changes(folder, ModSeq(0)).await.unwrap();
    assert_eq!((all.arrived.len(), all.full), (2_596, false));
}

#[tokio::test]
async fn a_sequence_never_given_out_gets_everything() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 3).await;
    handle.remove(folder, &set("2")).await.unwrap();
    let changes = handle.changes(folder, ModSeq(1 << 40)).await.unwrap();
    assert!(changes.full);
    assert_eq!((uids(&changes.changed), uids(&changes.arrived)), (vec![1, 3], vec![]));
    assert_eq!(changes.vanished, set("2"));
}

#[tokio::test]
async fn selecting_again_follows_what_changed() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 5_600).await;
    let first = inbox(&handle).await;
    assert_eq!(first.uids.len(), 5_600);
    let again = inbox(&handle).await;
    assert!(std::sync::Arc::ptr_eq(&first.uids, &again.uids), "nothing changed, nothing is read");
    handle
        .store(folder, &set("1"), change(FlagOperation::Add, SystemFlags::SEEN, &[]), None)
        .await
        .unwrap();
    let flagged = inbox(&handle).await;
    assert!(std::sync::Arc::ptr_eq(&first.uids, &flagged.uids));
    assert_eq!(flagged.unseen, Some(2));
    handle.remove(folder, &set("1:2,5600")).await.unwrap();
    handle.append("INBOX", vec![message("x")]).await.unwrap();
    let expected: Vec<u32> = (3..5_600).chain([5_601]).collect();
    assert_eq!(*inbox(&handle).await.uids, expected);
    assert_eq!(first.uids.len(), 5_600, "an older snapshot stays what it was");
}

#[tokio::test]
async fn many_tombstones_are_forgotten_and_told_in_full() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 21_000 * 2 / 10).await;
    let start = inbox(&handle).await.highest_modseq;
    // Every other one, so that each leaves a tombstone of its own; ten times over.
    for _ in 0..11 {
        let selected = inbox(&handle).await;
        let odd = selected.uids.iter().copied().step_by(2).collect();
        handle.move_(folder, &odd, "INBOX").await.unwrap();
    }
    let changes = handle.changes(folder, start).await.unwrap();
    assert!(changes.full);
    let selected = handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
    let mut all = uids(&changes.changed);
    all.extend(uids(&changes.arrived));
    all.sort_unstable();
    assert_eq!(all, *selected.uids);
    assert!(selected.uids.iter().all(|uid| !changes.vanished.contains(*uid)));
    assert_eq!(
        changes.vanished.len() + selected.uids.len() as u64,
        u64::from(selected.uid_next) - 1
    );
    let rows = handle.rows(folder, &all_uids(), Columns::default(), 0, 1).await.unwrap();
    assert_eq!(rows.len(), 1);
}
