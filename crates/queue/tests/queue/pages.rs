//! What a message costs in pages of the file, from acceptance to the end of its rows.

use letterlock_queue::{Outcome, Verdict};

use crate::world::{Owner, World, entry, noise, remote, to};

const MESSAGES: u64 = 64;

/// Frames in the file's log: pages that were written.
fn frames(world: &World) -> u64 {
    let log = std::fs::metadata(world.folder.path().join("queue.db-wal")).unwrap().len();
    log.saturating_sub(32) / (4096 + 24)
}

/// One message after the other, so that nothing is shared: the worst case.
#[tokio::test]
async fn a_message_costs_few_pages() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let begun = frames(&world);
    for _ in 0..MESSAGES {
        let route = owner.route(owner.unlocked());
        let (_, rows) = world.accept(entry(noise(3_000), vec![to("o@here.example", route)])).await;
        world.queue.filed(&rows);
    }
    world.queue.sync().await.unwrap();
    let local = (frames(&world) - begun) / MESSAGES;

    let begun = frames(&world);
    for _ in 0..MESSAGES {
        let (_, rows) = world.accept(entry(noise(3_000), vec![remote("a@far.example")])).await;
        let next = jiff::Timestamp::now();
        world.queue.attempt(rows.clone(), next).await.unwrap();
        let reply = "250 ok".to_owned();
        let outcome = Outcome { row: rows[0], verdict: Verdict::Delivered, reply, security: None };
        world.queue.finish(vec![outcome], None).await.unwrap();
    }
    let remote = (frames(&world) - begun) / MESSAGES;
    println!("pages a message: {local} filed here, {remote} sent");
    assert!(local <= 12 && remote <= 22, "pages a message: {local} filed here, {remote} sent");
}
