//! Bodies of many pieces.

use std::time::Duration;

use letterlock_queue::{Counts, QueueError};

use crate::world::{Owner, World, entry, noise, remote, to};

#[tokio::test]
async fn bodies_of_every_size_come_back() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let mut bodies = Vec::new();
    for size in [65_536, 65_537, 262_144, 262_145, 1_700_000] {
        let body = noise(size);
        let recipients =
            vec![to("a@here.example", owner.route(owner.unlocked())), remote("r@far.example")];
        world.accept(entry(body.clone(), recipients)).await;
        bodies.push(body);
    }
    let world = world.crash().await;
    let parked = world.parked(owner.account).await;
    for (parked, body) in parked.iter().zip(&bodies) {
        assert!(owner.read(&world.queue, parked).await.unwrap() == *body, "{} octets", body.len());
        assert!(
            world.queue.server_body(parked.entry).await.unwrap() == *body,
            "{} octets",
            body.len()
        );
    }
    assert_eq!(world.counts().await.loose, 0, "all staged bodies have their entries");
    for parked in &parked {
        world.queue.filed(&[parked.row]);
        let subject = letterlock_queue::Subject::Message(parked.id);
        world.queue.cancel(subject).await.unwrap();
    }
    world.tidied().await;
    assert_eq!(world.counts().await, Counts::default());
    assert_eq!(world.chunks().await, 0);
}

#[tokio::test]
async fn a_large_message_that_is_not_accepted_leaves_nothing() {
    let world = World::new().await;
    let (id, _) = world.accept(entry("small", vec![remote("r@far.example")])).await;
    let mut twice = entry(noise(600_000), vec![remote("r@far.example")]);
    twice.id = id;
    assert!(matches!(world.queue.accept(twice).await, Err(QueueError::Exists(_))));
    world.tidied().await;
    assert_eq!(world.chunks().await, 1);
    // The sender goes away while the body is being stored.
    for millis in [2, 8, 15] {
        let accept = world.queue.accept(entry(noise(2_000_000), vec![remote("r@far.example")]));
        let _ = tokio::time::timeout(Duration::from_millis(millis), accept).await;
    }
    world.tidied().await;
    let left = i64::try_from(world.counts().await.entries - 1).unwrap();
    assert_eq!(world.chunks().await, 1 + left * 31);
}

#[tokio::test]
async fn a_crash_during_a_large_message_leaves_nothing() {
    let world = World::new().await;
    let queue = std::sync::Arc::clone(&world.queue);
    let accept = tokio::spawn(async move {
        queue.accept(entry(noise(6_000_000), vec![remote("r@far.example")])).await.unwrap();
    });
    while world.counts().await.loose == 0 {
        tokio::task::yield_now().await;
    }
    let (_folder, stolen) = world.stolen().await;
    let staged = "SELECT count(*) FROM loose WHERE state = 'staged'";
    let staged = stolen
        .read(|db| Ok::<i64, QueueError>(db.query_row(staged, [], |row| row.get(0))?))
        .await
        .unwrap();
    let crashed =
        World { queue: world.queue.clone(), server: world.server.clone(), folder: _folder };
    stolen.close().await.unwrap();
    let crashed = crashed.crash().await;
    accept.await.unwrap();
    assert_eq!(staged, 1, "the crash came in the middle");
    crashed.tidied().await;
    assert_eq!(crashed.counts().await, Counts::default());
    assert_eq!(crashed.chunks().await, 0);
    assert_eq!(world.counts().await.due, 1, "the one that did not crash has it");
}
