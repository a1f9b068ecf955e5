//! Many messages at once into one mailbox.

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_filed_whole_and_once() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    let crowd: Vec<_> = (0..300)
        .map(|number| {
            let intake = world.intake.clone();
            let message = incoming(&format!("{number:03}"), &["ann@a.test"]);
            tokio::spawn(async move { intake.accept(message).await.unwrap() })
        })
        .collect();
    for sender in crowd {
        sender.await.unwrap();
    }
    until("all are there", async || subjects(&handle).await.len() >= 300).await;
    let mut found = subjects(&handle).await;
    found.sort_unstable();
    let all: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    assert_eq!(found, all);
    until("the queue forgets them", async || world.queue.counts().await.unwrap().entries == 0)
        .await;
}

/// One that cannot be filed keeps nobody else from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_suffers_for_another() {
    let world = World::new().await;
    let (ann, zoe) = (
        world.add("ann@a.test", KeyMode::UserHeld).await,
        world.add("zoe@a.test", KeyMode::UserHeld).await,
    );
    // Against this mark the file looks like an old copy, to which nothing is written.
    world.directory.reset_mark(zoe.id, 1_000_000).await.unwrap();
    let handle = world.unlock(&ann).await;
    world.unlock(&zoe).await;
    world.settled(&ann).await;
    let senders: Vec<_> = (0..40)
        .map(|number| {
            let intake = world.intake.clone();
            let message = incoming(&number.to_string(), &["ann@a.test", "zoe@a.test"]);
            tokio::spawn(async move { intake.accept(message).await.unwrap() })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    until("ann has hers", async || subjects(&handle).await.len() == 40).await;
    assert_eq!(world.parked(&zoe).await, 40);
}
