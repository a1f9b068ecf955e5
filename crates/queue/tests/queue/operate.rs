//! What operators do.

use letterlock_queue::{
    Adoption, Counts, Filter, QueueError, Route, RowState, Seal, Subject, Verdict,
};
use letterlock_vault::{AccountId, DeliveryId};

use crate::world::{Owner, World, at, entry, mailbox, remote, to};

#[tokio::test]
async fn hold_and_release() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let recipients = vec![
        to("a@here.example", owner.route(owner.unlocked())),
        remote("r@far.example"),
        to("postmaster@here.example", Route::Waiting),
    ];
    let (id, rows) = world.accept(entry("text", recipients)).await;
    assert_eq!(
        world.queue.hold(Subject::Recipient(id, mailbox("R@far.example"))).await.unwrap(),
        1
    );
    assert_eq!(
        world.counts().await,
        Counts { entries: 1, parked: 1, waiting: 1, held: 1, ..Counts::default() }
    );
    assert_eq!(
        world.queue.hold(Subject::Message(id)).await.unwrap(),
        2,
        "those that were not held yet"
    );
    let world = world.crash().await;
    assert_eq!(world.counts().await, Counts { entries: 1, held: 3, ..Counts::default() });
    let usage = world.queue.usage(owner.account).await.unwrap();
    assert_eq!((usage.messages, usage.octets), (1, 4), "what is held counts towards the quota");
    assert!(world.parked(owner.account).await.is_empty());
    assert!(world.queue.due(at(999), 9).await.unwrap().is_empty());
    assert!(world.queue.attempt(rows.clone(), at(1)).await.unwrap().is_empty());
    assert_eq!(world.queue.retry(Subject::Message(id), at(5)).await.unwrap(), 0, "held stays held");
    world.finish(rows[1], Verdict::Deferred { next: at(9), told: false }, "451 later").await;
    assert_eq!(world.counts().await.held, 3, "also when a try was under way");

    assert_eq!(world.queue.release(Subject::Message(id), at(50)).await.unwrap(), 3);
    world.queue.relay_bell().notified().await;
    world.queue.delivery_bell().notified().await;
    assert_eq!(
        world.counts().await,
        Counts { entries: 1, parked: 1, due: 1, waiting: 1, ..Counts::default() }
    );
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(50)));
    assert_eq!(world.queue.release(Subject::Message(id), at(60)).await.unwrap(), 0);
}

#[tokio::test]
async fn retry_and_cancel() {
    let world = World::new().await;
    let (id, rows) =
        world.accept(entry("text", vec![remote("a@far.example"), remote("b@far.example")])).await;
    world.queue.attempt(rows, at(5_000)).await.unwrap();
    assert_eq!(
        world.queue.retry(Subject::Recipient(id, mailbox("b@far.example")), at(7)).await.unwrap(),
        1
    );
    let due = world.queue.due(at(7), 9).await.unwrap();
    assert_eq!((due[0].rows.len(), due[0].rows[0].attempts), (1, 1));

    assert_eq!(
        world.queue.cancel(Subject::Recipient(id, mailbox("b@far.example"))).await.unwrap(),
        1
    );
    let gone = world.queue.cancel(Subject::Recipient(id, mailbox("b@far.example"))).await;
    assert!(matches!(gone, Err(QueueError::NoSuchRecipient { .. })));
    assert_eq!(world.queue.cancel(Subject::Message(id)).await.unwrap(), 1);
    let gone = world.queue.cancel(Subject::Message(id)).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("message {id} is not in the queue"));
    let world = world.crash().await;
    assert_eq!((world.counts().await, world.chunks().await), (Counts::default(), 0));
    for order in [Subject::Message(id), Subject::Recipient(id, mailbox("a@far.example"))] {
        assert!(matches!(world.queue.hold(order).await, Err(QueueError::NoSuchMessage(_))));
    }
}

#[tokio::test]
async fn a_restored_queue_sends_nothing_by_itself() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    for _ in 0..3 {
        let recipients =
            vec![to("a@here.example", owner.route(owner.unlocked())), remote("r@far.example")];
        world.accept(entry("text", recipients)).await;
    }
    assert_eq!(world.queue.hold_outbound().await.unwrap(), 3);
    let world = world.crash().await;
    assert_eq!(
        world.counts().await,
        Counts { entries: 3, parked: 3, held: 3, ..Counts::default() }
    );
}

#[tokio::test]
async fn listing() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let mut ids = Vec::new();
    for number in 0..450 {
        let recipients = match number % 3 {
            0 => vec![to("a@here.example", owner.route(owner.unlocked()))],
            1 => vec![remote("r@far.example"), remote("s@wide.example")],
            _ => vec![to("abuse@here.example", Route::Waiting)],
        };
        ids.push(world.accept(entry("text", recipients)).await.0);
    }
    world.queue.hold(Subject::Recipient(ids[448], mailbox("s@wide.example"))).await.unwrap();
    let list = |filter: Filter| world.queue.list(filter, None, 1_000);

    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = world.queue.list(Filter::default(), after, 199).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.entry);
        all.extend(page.iter().map(|summary| summary.id));
    }
    assert_eq!(all, ids);

    let held = list(Filter { state: Some(RowState::Held), ..Filter::default() }).await.unwrap();
    assert_eq!(held.iter().map(|summary| summary.id).collect::<Vec<_>>(), [ids[448]]);
    let states: Vec<_> = held[0].states.iter().map(|(state, count)| (*state, *count)).collect();
    assert_eq!(states, [(RowState::Due, 1), (RowState::Held, 1)]);
    assert_eq!((held[0].next_attempt, held[0].size), (Some(at(0)), 4));
    let count = async |filter| list(filter).await.unwrap().len();
    assert_eq!(count(Filter { account: Some(owner.account), ..Filter::default() }).await, 150);
    assert_eq!(
        count(Filter { account: Some(AccountId::generate()), ..Filter::default() }).await,
        0
    );
    assert_eq!(
        count(Filter { domain: Some("wide.example".parse().unwrap()), ..Filter::default() }).await,
        150
    );
    assert_eq!(
        count(Filter { recipient: Some(mailbox("Abuse@here.example")), ..Filter::default() }).await,
        150
    );
    let sender = Some(mailbox("Sender@far.example"));
    assert_eq!(
        count(Filter { sender, ..Filter::default() }).await,
        300,
        "sealed senders are not known"
    );
    let both = Filter {
        state: Some(RowState::Held),
        domain: Some("far.example".parse().unwrap()),
        ..Filter::default()
    };
    assert_eq!(count(both).await, 0, "one recipient has to fulfil all conditions");
    assert!(world.queue.show(DeliveryId::generate()).await.unwrap().is_none());
    let shown = world.queue.show(ids[0]).await.unwrap().unwrap();
    assert!(shown.rows[0].sealed && shown.rows[0].account == Some(owner.account));
    assert_eq!((shown.summary.reverse_path, shown.envid), (None, None));
}

#[tokio::test]
async fn one_unreadable_row_does_not_keep_the_others_from_being_adopted() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    for text in ["one", "two"] {
        world.accept(entry(text, vec![to("abuse@here.example", Route::Waiting)])).await;
    }
    let world = world
        .tamper(
            "UPDATE entries SET reverse_path = '@' WHERE entry = (SELECT min(entry) FROM entries)",
        )
        .await;
    let adoption = Adoption::Local { account: owner.account, seal: owner.locked() };
    let adopted = world.queue.adopt_waiting(&mailbox("abuse@here.example"), adoption, at(1)).await;
    assert_eq!(adopted.unwrap(), 1);
    let counts = world.counts().await;
    assert_eq!((counts.parked, counts.held, counts.waiting), (1, 1, 0));
}

#[tokio::test]
async fn waiting_mail_finds_its_owner() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let here = "here.example".parse().unwrap();
    let roles = ["postmaster@here.example", "abuse@here.example"].map(mailbox);
    let waiting = |address| to(address, Route::Waiting);
    let recipients = vec![waiting("postmaster@here.example"), waiting("abuse@there.example")];
    let (_, rows) = world.accept(entry("text", recipients)).await;
    world.accept(entry("more", vec![waiting("abuse@here.example")])).await;
    let domains = world.queue.waiting_domains().await.unwrap();
    assert_eq!(
        domains.iter().map(|domain| domain.as_str()).collect::<Vec<_>>(),
        ["here.example", "there.example"]
    );

    let adoption = || Adoption::Local { account: owner.account, seal: owner.locked() };
    assert_eq!(world.queue.waiting_addresses(&here).await.unwrap(), roles);
    for role in &roles {
        assert_eq!(world.queue.adopt_waiting(role, adoption(), at(1)).await.unwrap(), 1);
    }
    world.queue.delivery_bell().notified().await;
    assert_eq!(world.queue.adopt_waiting(&roles[0], adoption(), at(1)).await.unwrap(), 0);
    assert_eq!(world.queue.waiting_addresses(&here).await.unwrap(), []);
    let world = world.crash().await;
    assert_eq!(
        world.counts().await,
        Counts { entries: 2, parked: 2, waiting: 1, ..Counts::default() }
    );
    let parked = world.parked(owner.account).await;
    for (parked, text) in parked.iter().zip(["text", "more"]) {
        let filing = parked.filing(Some(&owner.content(parked))).unwrap();
        assert_eq!(
            (filing.folder.as_str(), filing.reverse_path.to_string().as_str()),
            ("INBOX", "sender@far.example")
        );
        assert_eq!(owner.read(&world.queue, parked).await.unwrap(), text);
    }
    assert_eq!(parked[0].row, rows[0]);
    let readable = world.queue.server_body(parked[0].entry).await;
    assert_eq!(readable.unwrap(), "text", "the other role still waits for it");
    let sealed = world.queue.server_body(parked[1].entry).await;
    assert!(matches!(sealed, Err(QueueError::Sealed(_))), "nobody else needs it readable");
    world.queue.filed(&[parked[0].row, parked[1].row]);
    assert_eq!(world.counts().await, Counts { entries: 1, waiting: 1, ..Counts::default() });
}

#[tokio::test]
async fn waiting_mail_may_also_be_server_held_or_leave() {
    let world = World::new().await;
    let account = AccountId::generate();
    let waiting = |address| entry("text", vec![to(address, Route::Waiting)]);
    world.accept(waiting("abuse@one.example")).await;
    world.accept(waiting("abuse@two.example")).await;
    let adoption = Adoption::Local { account, seal: Seal::Server };
    assert_eq!(
        world.queue.adopt_waiting(&mailbox("abuse@one.example"), adoption, at(1)).await.unwrap(),
        1
    );
    let parked = world.parked(account).await;
    assert_eq!(parked[0].filing(None).unwrap().folder, "INBOX");
    assert_eq!(world.queue.server_body(parked[0].entry).await.unwrap(), "text");

    let adoption = Adoption::Remote(mailbox("noc@far.example"));
    assert_eq!(
        world.queue.adopt_waiting(&mailbox("abuse@two.example"), adoption, at(8)).await.unwrap(),
        1
    );
    let due = world.queue.due(at(8), 9).await.unwrap();
    assert_eq!(due[0].rows[0].address, mailbox("noc@far.example"));
    assert_eq!(world.queue.server_body(due[0].entry).await.unwrap(), "text");
}
