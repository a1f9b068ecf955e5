//! Bodies of which many went at once are cleared away in the background, and nothing depends on when.

use letterlock_mailbox::{Expected, Handle, Report, SelectMode, all_uids};

use crate::world::{World, fill, inbox, message, set};

async fn verify(world: &World) -> Report {
    let account = world.account();
    world.mailboxes.verify(account, &Expected::default(), Box::new(|_, _| ())).await.unwrap()
}

async fn readable(handle: &Handle, name: &str) -> usize {
    let selected = handle.select(name, SelectMode::ReadOnly).await.unwrap();
    for uid in selected.uids.iter() {
        assert!(handle.body(selected.folder, *uid).await.unwrap().is_some());
    }
    selected.uids.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_go_at_once_and_their_bodies_later() {
    let (world, handle) = World::open().await;
    let folder = fill(&handle, 2_500).await;
    handle.copy(folder, &set("1:50"), "Archive").await.unwrap();
    let before = handle.usage().await.unwrap();
    let kept = handle.status("Archive").await.unwrap();
    assert_eq!(handle.remove(folder, &all_uids()).await.unwrap().len(), 2_500);
    // Counted right at once, whatever is cleared already.
    let usage = handle.usage().await.unwrap();
    assert_eq!((usage.messages, usage.octets), (50, kept.size));
    assert!(before.octets > kept.size);
    assert_eq!(verify(&world).await.findings, []);
    // A crash on the way, and others: it goes on where it was.
    let mut handle = world.crash().await;
    for _ in 0..3 {
        assert_eq!(verify(&world).await.findings, []);
        assert_eq!(readable(&handle, "Archive").await, 50);
        handle = world.crash().await;
    }
    // A copy of what lost one of its messages, while that is still to be let go of.
    let archive = handle.status("Archive").await.unwrap().folder;
    handle.copy(archive, &set("1:20"), "INBOX").await.unwrap();
    handle.sweep().await.unwrap();
    let report = verify(&world).await;
    assert_eq!((report.findings, report.messages, report.bodies), (vec![], 70, 50));
    assert_eq!(readable(&handle, "Archive").await + readable(&handle, "INBOX").await, 70);
}

#[tokio::test]
async fn a_folder_goes_with_its_bodies_and_others_keep_theirs() {
    let (world, handle) = World::open().await;
    handle.create("Old", None).await.unwrap();
    let some = (0..1_500).map(|number| message(&format!("Number {number}"))).collect();
    let old = handle.append("Old", some).await.unwrap().folder;
    handle.move_(old, &set("1:1200"), "INBOX").await.unwrap();
    handle.copy(inbox(&handle).await.folder, &set("1:1100"), "Old").await.unwrap();
    handle.delete("Old").await.unwrap();
    assert_eq!(handle.usage().await.unwrap().messages, 1_200);
    assert_eq!(verify(&world).await.findings, []);
    handle.sweep().await.unwrap();
    let report = verify(&world).await;
    assert_eq!((report.findings, report.messages, report.bodies), (vec![], 1_200, 1_200));
}
