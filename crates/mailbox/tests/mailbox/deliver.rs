//! Filing: exactly once, where it belongs.

use letterlock_mailbox::{Delivery, Filed, Flags, SelectMode, SystemFlags, all_uids};
use letterlock_vault::DeliveryId;

use crate::world::{World, delivery, inbox};

fn is_new(filed: Filed) -> bool {
    matches!(filed, Filed::New { .. })
}

#[tokio::test]
async fn once_for_each_recipient() {
    let (_world, handle) = World::open().await;
    let id = DeliveryId::generate();
    assert!(is_new(handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap()));
    assert_eq!(handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap(), Filed::Already);
    assert_eq!(handle.deliver(delivery(id, "a@x", "Junk")).await.unwrap(), Filed::Already);
    assert!(is_new(handle.deliver(delivery(id, "b@x", "INBOX")).await.unwrap()));
    assert!(is_new(
        handle.deliver(delivery(DeliveryId::generate(), "a@x", "INBOX")).await.unwrap()
    ));
    assert_eq!(inbox(&handle).await.uids.len(), 3);
}

#[tokio::test]
async fn deleting_the_message_does_not_bring_it_back() {
    let (_world, handle) = World::open().await;
    let id = DeliveryId::generate();
    handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap();
    handle.remove(inbox(&handle).await.folder, &all_uids()).await.unwrap();
    assert_eq!(handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap(), Filed::Already);
    handle.prune_delivered(&[(id, "b@x".into())]).await.unwrap();
    assert_eq!(handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap(), Filed::Already);
    handle.prune_delivered(&[(id, "a@x".into())]).await.unwrap();
    assert!(is_new(handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap()));
}

#[tokio::test]
async fn a_missing_folder_is_inbox() {
    let (_world, handle) = World::open().await;
    let inbox_id = inbox(&handle).await.folder;
    for folder in ["gone", "", "a//b", "inbox"] {
        let filed = handle.deliver(delivery(DeliveryId::generate(), "a@x", folder)).await.unwrap();
        assert!(matches!(filed, Filed::New { folder, .. } if folder == inbox_id));
    }
    handle.create("Lists/rust", None).await.unwrap();
    let filed =
        handle.deliver(delivery(DeliveryId::generate(), "a@x", "Lists/rust")).await.unwrap();
    assert!(matches!(filed, Filed::New { folder, uid: 1 } if folder != inbox_id));
}

#[tokio::test]
async fn several_at_once_with_flags_and_large_ones() {
    let (_world, handle) = World::open().await;
    let (one, two, big) = (DeliveryId::generate(), DeliveryId::generate(), DeliveryId::generate());
    handle.deliver(delivery(one, "a@x", "INBOX")).await.unwrap();
    let large = Delivery { bytes: vec![b'l'; 900_000].into(), ..delivery(big, "a@x", "INBOX") };
    let flagged =
        Delivery { flags: Flags::from(SystemFlags::FLAGGED), ..delivery(two, "a@x", "Junk") };
    let twice = delivery(two, "a@x", "INBOX");
    let some = vec![delivery(one, "a@x", "INBOX"), large.clone(), flagged, twice];
    let filed = handle.deliver_all(some).await.unwrap();
    assert_eq!(
        filed.iter().map(|filed| is_new(*filed)).collect::<Vec<_>>(),
        [false, true, true, false]
    );
    assert_eq!(handle.deliver(large.clone()).await.unwrap(), Filed::Already);
    let Filed::New { folder, uid } = filed[1] else { panic!("the large one is new") };
    assert_eq!(handle.body(folder, uid).await.unwrap().unwrap(), large.bytes);
    assert_eq!(handle.select("Junk", SelectMode::ReadOnly).await.unwrap().uids.len(), 1);
    assert_eq!(handle.deliver_all(Vec::new()).await.unwrap(), []);
}

#[tokio::test]
async fn many_at_once_race_and_file_once() {
    let (_world, handle) = World::open().await;
    let ids: Vec<DeliveryId> = (0..20).map(|_| DeliveryId::generate()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        for id in ids.clone() {
            let handle = handle.clone();
            tasks.spawn(async move { handle.deliver(delivery(id, "a@x", "INBOX")).await.unwrap() });
        }
    }
    let filed = tasks.join_all().await;
    assert_eq!(filed.into_iter().filter(|filed| is_new(*filed)).count(), 20);
    assert_eq!(*inbox(&handle).await.uids, (1..=20).collect::<Vec<u32>>());
}
