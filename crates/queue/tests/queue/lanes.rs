//! A fair share for each destination, and mail that is held back at its sender's wish.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use letterlock_queue::{
    Counts, Forward, NewEntry, NewRecipient, Outcome, Page, RequireTls, RowId, RowState, Share,
    Subject, Verdict,
};

use crate::world::{Owner, World, at, entry, remote, to};

fn share(limit: usize, lane: usize, in_hand: &HashMap<RowId, String>) -> Share {
    let mut taken = HashMap::new();
    for domain in in_hand.values() {
        *taken.entry(domain.clone()).or_default() += 1;
    }
    let in_hand: HashSet<RowId> = in_hand.keys().copied().collect();
    Share {
        limit,
        lane,
        lane_of: Arc::new(str::to_owned),
        in_hand: Arc::new(in_hand),
        taken,
        after: String::new(),
    }
}

fn rows(page: &Page) -> HashMap<RowId, String> {
    let rows = page.due.iter().flat_map(|due| &due.rows);
    rows.map(|row| (row.row, row.address.domain.to_string())).collect()
}

async fn fill(world: &World, domain: &str, messages: usize) {
    for chunk in 0..messages.div_ceil(100) {
        let count = (messages - chunk * 100).min(100);
        let all = (0..count).map(|number| remote(&format!("r{number}@{domain}"))).collect();
        world.accept(entry("text", all)).await;
    }
}

#[tokio::test]
async fn a_slow_destination_holds_nobody_up() {
    let world = World::new().await;
    fill(&world, "slow.example", 3_000).await;
    fill(&world, "fast.example", 1).await;
    let mut in_hand = HashMap::new();
    let page = world.queue.due_page(at(0), share(64, 8, &in_hand)).await.unwrap();
    in_hand.extend(rows(&page));
    // However much stands before it, whoever has room is found.
    for _ in 0..4 {
        let page = world.queue.due_page(at(0), share(64, 8, &in_hand)).await.unwrap();
        in_hand.extend(rows(&page));
    }
    let mut lanes = BTreeMap::new();
    for domain in in_hand.values() {
        *lanes.entry(domain.as_str()).or_insert(0) += 1;
    }
    assert_eq!(lanes, BTreeMap::from([("fast.example", 1), ("slow.example", 8)]));
    assert_eq!(world.counts().await.due, 3_001, "the crowded ones count");

    // What was passed over comes when its lane has room, and nothing comes twice.
    let mut done: Vec<RowId> = Vec::new();
    let world = world.crash().await;
    loop {
        let page = world.queue.due_page(at(0), share(64, 8, &HashMap::new())).await.unwrap();
        let rows: Vec<RowId> = rows(&page).into_keys().collect();
        if rows.is_empty() {
            assert!(!page.more);
            break;
        }
        assert!(rows.len() <= 9);
        let outcome = |row: &RowId| Outcome {
            row: *row,
            verdict: Verdict::Delivered,
            reply: "250".to_owned(),
            security: None,
        };
        world.queue.finish(rows.iter().map(outcome).collect(), None).await.unwrap();
        done.extend(rows);
    }
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), 3_001);
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn every_crowded_destination_gets_its_turn() {
    let world = World::new().await;
    for domain in ["a.example", "b.example", "c.example"] {
        fill(&world, domain, 4).await;
    }
    world.queue.due_page(at(0), share(9, 0, &HashMap::new())).await.unwrap();
    let (mut after, mut turns) = (String::new(), Vec::new());
    for _ in 0..6 {
        let asked = Share { after, ..share(1, 9, &HashMap::new()) };
        let page = world.queue.due_page(at(0), asked).await.unwrap();
        turns.extend(rows(&page).into_values());
        after = page.last;
    }
    let wanted = ["a.example", "b.example", "c.example"].repeat(2);
    assert_eq!(turns, wanted);
}

#[tokio::test]
async fn crowded_rows_obey_like_others() {
    let world = World::new().await;
    let (id, _) =
        world.accept(entry("text", vec![remote("a@x.example"), remote("b@x.example")])).await;
    let none = || share(9, 0, &HashMap::new());
    assert!(world.queue.due_page(at(0), none()).await.unwrap().due.is_empty());
    assert_eq!(world.queue.next_due().await.unwrap(), None, "nobody waits for a time");
    world.queue.retry(Subject::Message(id), at(5)).await.unwrap();
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(5)));
    assert!(world.queue.due_page(at(5), none()).await.unwrap().more);
    assert_eq!(world.queue.hold_outbound().await.unwrap(), 2);
    assert_eq!(world.queue.release(Subject::Message(id), at(7)).await.unwrap(), 2);
    assert_eq!(world.queue.due(at(7), 9).await.unwrap()[0].rows.len(), 2);
}

#[tokio::test]
async fn held_back_mail_is_released_in_time() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let new = NewEntry {
        hold_until: Some(at(600)),
        require_tls: RequireTls::Required,
        ..entry(
            "text",
            vec![remote("a@x.example"), to("o@here.example", owner.route(owner.locked()))],
        )
    };
    let (id, _) = world.accept(new).await;
    let world = world.crash().await;
    assert!(world.parked(owner.account).await.is_empty());
    assert!(world.queue.due(at(599), 9).await.unwrap().is_empty());
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(600)));
    let due = world.queue.due(at(600), 9).await.unwrap();
    assert_eq!((due.len(), due[0].rows.len(), due[0].since()), (1, 1, at(600)));
    assert_eq!((due[0].hold_until, due[0].require_tls), (Some(at(600)), RequireTls::Required));
    world.queue.delivery_bell().notified().await;
    assert_eq!(world.parked(owner.account).await.len(), 1);
    let shown = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!(shown.rows[1].state, RowState::Parked);
}

#[tokio::test]
async fn what_is_held_back_can_be_cancelled_and_hurried() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let held = || {
        let route = owner.route(owner.locked());
        NewEntry { hold_until: Some(at(600)), ..entry("text", vec![to("o@here.example", route)]) }
    };
    let (first, _) = world.accept(held()).await;
    let (second, _) = world.accept(held()).await;
    world.accept(held()).await;
    world.queue.cancel(Subject::Message(first)).await.unwrap();
    world.queue.retry(Subject::Message(second), at(1)).await.unwrap();
    assert_eq!(world.parked(owner.account).await.len(), 1);
    assert_eq!(world.queue.discard_account(owner.account).await.unwrap(), 2);
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn a_forwarded_copy_has_its_own_sender() {
    let world = World::new().await;
    let srs = "SRS0=x=y=far.example=ann@here.example";
    let forward = Some(Forward { reverse_path: srs.parse().unwrap() });
    let copy = NewRecipient { forward: forward.clone(), ..remote("a@x.example") };
    world.accept(entry("text", vec![copy, remote("b@x.example")])).await;
    let due = world.crash().await.queue.due(at(0), 9).await.unwrap();
    assert_eq!((&due[0].rows[0].forward, &due[0].rows[1].forward), (&forward, &None));
}

#[tokio::test]
async fn outcomes_tell_of_security_and_delay() {
    let world = World::new().await;
    let (id, rows) =
        world.accept(entry("text", vec![remote("a@x.example"), remote("b@x.example")])).await;
    let outcome = |row, verdict, security: Option<&str>| Outcome {
        row,
        verdict,
        reply: "451".to_owned(),
        security: security.map(str::to_owned),
    };
    let later = Verdict::Deferred { next: at(9), told: true };
    let outcomes =
        vec![outcome(rows[0], later, Some("DANE")), outcome(rows[1], Verdict::Held, None)];
    world.queue.finish(outcomes, None).await.unwrap();
    let later = Verdict::Deferred { next: at(10), told: false };
    world.queue.finish(vec![outcome(rows[0], later, None)], None).await.unwrap();
    let shown = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!(shown.rows[0].security.as_deref(), Some("DANE"), "it stays until there is news");
    assert_eq!(shown.rows[1].state, RowState::Held);
    assert!(world.queue.due(at(10), 9).await.unwrap()[0].rows[0].delay_told);
}

/// What waits for its turn stays due: five slow destinations have more of it in hand than one look takes in.
#[tokio::test]
async fn what_is_in_hand_does_not_hide_what_is_due_behind_it() {
    let world = World::new().await;
    for number in 0..5 {
        fill(&world, &format!("slow{number}.example"), 256).await;
    }
    let mut in_hand = HashMap::new();
    loop {
        let page = world.queue.due_page(at(0), share(256, 256, &in_hand)).await.unwrap();
        if page.due.is_empty() {
            break;
        }
        in_hand.extend(rows(&page));
    }
    assert_eq!(in_hand.len(), 5 * 256);
    fill(&world, "fast.example", 1).await;
    let page = world.queue.due_page(at(0), share(256, 256, &in_hand)).await.unwrap();
    assert_eq!(rows(&page).into_values().collect::<Vec<_>>(), ["fast.example"]);
}
