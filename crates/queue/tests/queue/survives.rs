//! What a program finds that starts after the one before was killed, whatever state a message was in.

use letterlock_queue::{
    Adoption, Counts, Forward, NewEntry, NewRecipient, Outcome, Route, RowId, RowState, Share,
    Shown, Subject, Verdict,
};
use letterlock_vault::DeliveryId;

use crate::world::{Owner, World, at, entry, noise, remote, to};

/// All that an operator sees of a message, as text.
async fn seen(world: &World, id: DeliveryId) -> String {
    format!("{:#?}", world.queue.show(id).await.unwrap())
}

/// Kills the program, and holds what the next one finds against what was there.
async fn killed(world: World, id: DeliveryId) -> World {
    let (before, counts) = (seen(&world, id).await, world.counts().await);
    let world = world.crash().await;
    assert_eq!(seen(&world, id).await, before);
    assert_eq!(world.counts().await, counts);
    world
}

fn outcome(shown: &Shown, place: usize, verdict: Verdict) -> Outcome {
    Outcome {
        row: shown.rows[place].row,
        verdict,
        reply: "451 4.3.0 words".to_owned(),
        security: Some("DANE: because".to_owned()),
    }
}

#[tokio::test]
async fn every_state_survives_a_kill() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let srs = Forward { reverse_path: "SRS0=a=b=c.example=d@here.example".parse().unwrap() };
    let (id, _) = world
        .accept(entry(
            noise(100_000),
            vec![
                remote("due@far.example"),
                remote("deferred@far.example"),
                remote("held@far.example"),
                remote("crowded@slow.example"),
                NewRecipient { forward: Some(srs), ..remote("copy@far.example") },
                to("parked@here.example", owner.route(owner.locked())),
                remote("done@far.example"),
                remote("gone@far.example"),
            ],
        ))
        .await;
    let mut world = killed(world, id).await;

    let held = Subject::Recipient(id, "held@far.example".parse().unwrap());
    world.queue.hold(held).await.unwrap();
    world = killed(world, id).await;

    // The one for the slow destination finds its lane full.
    let lane_of = |domain: &str| domain.to_owned();
    let mut share = Share { lane_of: std::sync::Arc::new(lane_of), lane: 9, ..Share::all(99) };
    share.taken.insert("slow.example".to_owned(), 9);
    assert!(world.queue.due_page(at(0), share).await.unwrap().more);
    world = killed(world, id).await;

    // A try has begun, and the program dies in its middle.
    let due = world.queue.due(at(0), 99).await.unwrap();
    let rows = due[0].rows.iter().map(|row| row.row).collect();
    world.queue.attempt(rows, at(300)).await.unwrap();
    world = killed(world, id).await;
    assert!(world.queue.due(at(299), 99).await.unwrap().is_empty(), "it is not made again at once");
    assert_eq!(world.queue.due(at(300), 99).await.unwrap()[0].rows.len(), 6);

    let shown = world.queue.show(id).await.unwrap().unwrap();
    let later = Verdict::Deferred { next: at(900), told: true };
    let outcomes = vec![
        outcome(&shown, 1, later),
        outcome(&shown, 6, Verdict::Delivered),
        outcome(&shown, 7, Verdict::Failed),
        outcome(&shown, 4, Verdict::Held),
    ];
    let report = entry("report", vec![to("sender@here.example", owner.route(owner.locked()))]);
    let report_id = report.id;
    world.queue.finish(outcomes, Some(report)).await.unwrap();
    world = killed(world, id).await;
    assert!(world.queue.show(report_id).await.unwrap().is_some(), "outcome and report are one");

    // What is left goes its way, and the body is still whole.
    let due = world.queue.due(at(900), 99).await.unwrap();
    assert_eq!(world.queue.server_body(due[0].entry).await.unwrap().len(), 100_000);
    world.queue.cancel(Subject::Message(id)).await.unwrap();
    world = world.crash().await;
    assert!(world.queue.show(id).await.unwrap().is_none());
    assert_eq!(world.counts().await, Counts { entries: 1, parked: 1, ..Counts::default() });
}

/// States that an operator's word, a new account and filing lead to.
#[tokio::test]
async fn every_change_of_state_survives_a_kill() {
    let mut world = World::new().await;
    let owner = Owner::new(&world.server);
    let filed = to("filed@here.example", owner.route(owner.locked()));
    let waiting = |address| to(address, Route::Waiting);
    let (id, rows) = world
        .accept(entry(
            "text",
            vec![
                remote("held@far.example"),
                remote("hurried@far.example"),
                remote("cancelled@far.example"),
                waiting("abuse@here.example"),
                waiting("postmaster@here.example"),
                waiting("hostmaster@here.example"),
                filed,
            ],
        ))
        .await;
    world = killed(world, id).await;
    let one = |address: &str| Subject::Recipient(id, address.parse().unwrap());
    let attempted = world.queue.begin(rows[0].entry(), vec![rows[1]], at(9_000)).await.unwrap();
    assert_eq!(
        (attempted.rows, attempted.message.unwrap().as_ref()),
        (vec![rows[1]], &b"text"[..])
    );
    world.queue.hold(one("held@far.example")).await.unwrap();
    world.queue.cancel(one("cancelled@far.example")).await.unwrap();
    world = killed(world, id).await;
    world.queue.release(one("held@far.example"), at(5)).await.unwrap();
    world.queue.retry(one("hurried@far.example"), at(6)).await.unwrap();
    world = killed(world, id).await;
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(5)), "released");
    assert_eq!(world.queue.due(at(6), 9).await.unwrap()[0].rows.len(), 2, "and hurried");

    let account = Adoption::Local { account: owner.account, seal: owner.locked() };
    let away = Adoption::Remote("new@far.example".parse().unwrap());
    for (address, adoption) in [("abuse@here.example", account), ("postmaster@here.example", away)]
    {
        let address = address.parse().unwrap();
        assert_eq!(world.queue.adopt_waiting(&address, adoption, at(7)).await.unwrap(), 1);
    }
    world = killed(world, id).await;
    // Filed, and the program dies before the row went: it is offered again, and the mailbox knows it.
    world.queue.filed(&rows[6..]);
    world = world.crash().await;
    assert_eq!(world.parked(owner.account).await.len(), 2);
    world.queue.filed(&rows[6..]);
    world.queue.sync().await.unwrap();
    world = killed(world, id).await;
    assert_eq!(world.parked(owner.account).await.len(), 1);
    let counts = Counts { entries: 1, parked: 1, due: 3, waiting: 1, ..Counts::default() };
    assert_eq!(world.counts().await, counts);
    let due = world.queue.due(at(7), 9).await.unwrap();
    let left = due[0].rows.iter().map(|row| outcome_of(row.row, Verdict::Failed)).collect();
    world.queue.finish(left, None).await.unwrap();
    world = killed(world, id).await;
    assert_eq!(world.counts().await, Counts { due: 0, ..counts });
}

fn outcome_of(row: RowId, verdict: Verdict) -> Outcome {
    Outcome { row, verdict, reply: "550 5.1.1 words".to_owned(), security: None }
}

#[tokio::test]
async fn what_is_held_back_survives_a_kill() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let rows = vec![remote("a@far.example"), to("o@here.example", owner.route(owner.locked()))];
    let new = NewEntry { hold_until: Some(at(600)), ..entry("text", rows) };
    let (id, _) = world.accept(new).await;
    let world = killed(world, id).await;
    world.queue.due(at(600), 9).await.unwrap();
    let world = killed(world, id).await;
    let shown = world.queue.show(id).await.unwrap().unwrap();
    let states: Vec<RowState> = shown.rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [RowState::Due, RowState::Parked]);
}

#[tokio::test]
async fn of_several_entries_all_are_accepted_or_none() {
    let world = World::new().await;
    let (held, _) = world.accept(entry("there", vec![remote("r@far.example")])).await;
    let large = || entry(noise(300_000), vec![remote("r@far.example")]);
    let twice = NewEntry { id: held, ..entry("again", vec![remote("r@far.example")]) };
    let refused = world.queue.accept_all(vec![large(), large(), twice]).await;
    assert!(matches!(refused, Err(letterlock_queue::QueueError::Exists(id)) if id == held));
    world.tidied().await;
    assert_eq!((world.counts().await.entries, world.chunks().await), (1, 1));

    let both = world.queue.accept_all(vec![entry("one", vec![remote("a@b.c")]), large()]).await;
    let [one, other] = &both.unwrap()[..] else { panic!("two are accepted") };
    assert!(one.entry < other.entry && one.rows.len() == 1);
    let world = world.crash().await;
    assert_eq!(world.counts().await.entries, 3);
    assert_eq!(world.queue.server_body(one.entry).await.unwrap(), "one");
    assert_eq!(world.queue.server_body(other.entry).await.unwrap().len(), 300_000);
}
