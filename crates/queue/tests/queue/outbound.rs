//! Mail to elsewhere.

use letterlock_address::ReversePath;
use letterlock_queue::{
    BodyType, Counts, NewRecipient, Notify, Origin, Outcome, QueueError, Ret, RowState, Verdict,
};
use letterlock_vault::AccountId;

use crate::world::{Owner, World, at, entry, remote, to};

#[tokio::test]
async fn due_mail_tells_all_that_the_relay_needs() {
    let world = World::new().await;
    let account = AccountId::generate();
    let mut new = entry("text", vec![]);
    new.origin = Origin::Submission { account };
    (new.ret, new.envid, new.smtputf8, new.body_type) =
        (Some(Ret::Full), Some("e1".to_owned()), true, BodyType::EightBit);
    let orcpt = Some("rfc822;x".to_owned());
    new.recipients = vec![
        NewRecipient {
            notify: Notify::Never, orcpt: orcpt.clone(), ..remote("jöran@far.example")
        },
        remote("b@far.example"),
    ];
    let bell = world.queue.relay_bell();
    let (id, rows) = world.accept(new).await;
    bell.notified().await;
    let world = world.crash().await;
    let [due] = world.queue.due(at(0), 10).await.unwrap().try_into().expect("one message");
    assert_eq!((due.id, due.entry, due.received_at), (id, rows[0].entry(), at(0)));
    assert_eq!(due.origin, Origin::Submission { account });
    assert_eq!(due.reverse_path.to_string(), "sender@far.example");
    assert_eq!((due.ret, due.envid.as_deref()), (Some(Ret::Full), Some("e1")));
    assert_eq!((due.smtputf8, due.body_type, due.size), (true, BodyType::EightBit, 4));
    assert_eq!((due.rows[0].row, due.rows[1].row), (rows[0], rows[1]));
    assert_eq!(due.rows[0].address.to_string(), "jöran@far.example");
    assert_eq!((due.rows[0].notify, &due.rows[0].orcpt), (Notify::Never, &orcpt));
    assert_eq!((due.rows[1].attempts, &due.rows[1].last_reply), (0, &None));
    assert_eq!(world.queue.server_body(due.entry).await.unwrap(), "text");
}

#[tokio::test]
async fn due_is_ordered_and_paged() {
    let world = World::new().await;
    for second in [30, 10, 20] {
        let mut new = entry("text", vec![remote("a@far.example"), remote("b@far.example")]);
        new.received_at = at(second);
        world.accept(new).await;
    }
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(10)));
    assert!(world.queue.due(at(9), 10).await.unwrap().is_empty());
    let times =
        |due: &[letterlock_queue::Due]| due.iter().map(|due| due.received_at).collect::<Vec<_>>();
    assert_eq!(times(&world.queue.due(at(20), 10).await.unwrap()), [at(10), at(20)]);
    let page = world.queue.due(at(99), 3).await.unwrap();
    assert_eq!(
        page.iter().map(|due| due.rows.len()).collect::<Vec<_>>(),
        [2, 1],
        "the limit counts recipients"
    );
    let rows = page.iter().flat_map(|due| due.rows.iter().map(|row| row.row)).collect();
    world.queue.attempt(rows, at(500)).await.unwrap();
    assert_eq!(times(&world.queue.due(at(99), 10).await.unwrap()), [at(20), at(30)]);
    assert_eq!(World::new().await.queue.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn one_unreadable_row_does_not_keep_the_others_from_being_sent() {
    let world = World::new().await;
    world.accept(entry("one", vec![remote("a@far.example")])).await;
    let (good, _) = world.accept(entry("two", vec![remote("b@far.example")])).await;
    let world = world
        .tamper(
            "UPDATE entries SET reverse_path = '@' WHERE entry = (SELECT min(entry) FROM entries)",
        )
        .await;
    let due = world.queue.due(at(0), 1).await.unwrap();
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [good]);
    assert_eq!(world.counts().await, Counts { entries: 2, due: 1, held: 1, ..Counts::default() });
    assert_eq!(world.queue.list(Default::default(), None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_attempt_is_written_before_the_try() {
    let world = World::new().await;
    let (id, rows) =
        world.accept(entry("text", vec![remote("a@far.example"), remote("b@far.example")])).await;
    let target = letterlock_queue::Subject::Recipient(id, "b@far.example".parse().unwrap());
    world.queue.cancel(target).await.unwrap();
    let left = world.queue.attempt(rows.clone(), at(300)).await.unwrap();
    assert_eq!(left, rows[..1], "the cancelled one is not tried");
    let world = world.crash().await;
    assert!(
        world.queue.due(at(299), 9).await.unwrap().is_empty(),
        "a crash does not bring the try forward"
    );
    let due = world.queue.due(at(300), 9).await.unwrap();
    assert_eq!(due[0].rows[0].attempts, 1);
}

#[tokio::test]
async fn outcomes_end_an_entry() {
    let world = World::new().await;
    let addresses = ["a@far.example", "b@far.example", "c@far.example"];
    let (id, rows) = world.accept(entry("text", addresses.map(remote).to_vec())).await;
    world.finish(rows[0], Verdict::Delivered, "250 ok").await;
    world.finish(rows[1], Verdict::Failed, "550 no").await;
    world.finish(rows[2], Verdict::Deferred { next: at(77), told: false }, "451 later").await;
    let world = world.crash().await;
    let shown = world.queue.show(id).await.unwrap().unwrap();
    let seen: Vec<_> = shown
        .rows
        .iter()
        .map(|row| (row.state, row.last_reply.as_deref().unwrap(), row.next_attempt))
        .collect();
    assert_eq!(
        seen,
        [
            (RowState::Delivered, "250 ok", None),
            (RowState::Failed, "550 no", None),
            (RowState::Due, "451 later", Some(at(77))),
        ]
    );
    assert_eq!(world.queue.next_due().await.unwrap(), Some(at(77)));
    assert!(world.queue.due(at(76), 9).await.unwrap().is_empty());
    // A late word about a recipient that has its outcome changes nothing.
    world.finish(rows[0], Verdict::Deferred { next: at(1), told: false }, "421 what?").await;
    assert_eq!(world.counts().await.due, 1);
    world.finish(rows[2], Verdict::Delivered, "250 ok").await;
    assert!(world.queue.show(id).await.unwrap().is_none());
    assert_eq!((world.counts().await, world.chunks().await), (Counts::default(), 0));
    world.finish(rows[2], Verdict::Failed, "never").await;
}

#[tokio::test]
async fn an_outcome_and_its_notification_are_one_commit() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let (_, rows) = world.accept(entry("text", vec![remote("a@far.example")])).await;
    let notification = || {
        let mut dsn = entry("it failed", vec![to("s@here.example", owner.route(owner.unlocked()))]);
        (dsn.origin, dsn.reverse_path) = (Origin::Dsn, ReversePath::Null);
        dsn
    };
    let failed = || {
        vec![Outcome {
            row: rows[0],
            verdict: Verdict::Failed,
            reply: "550".to_owned(),
            security: None,
        }]
    };

    let mut impossible = notification();
    impossible.id = world.accept(entry("other", vec![remote("b@far.example")])).await.0;
    assert!(matches!(
        world.queue.finish(failed(), Some(impossible)).await,
        Err(QueueError::Exists(_))
    ));
    assert_eq!(world.counts().await.due, 2, "without its notification the outcome is not stored");

    let accepted = world.queue.finish(failed(), Some(notification())).await.unwrap().unwrap();
    world.queue.delivery_bell().notified().await;
    let world = world.crash().await;
    assert_eq!(world.counts().await, Counts { entries: 2, parked: 1, due: 1, ..Counts::default() });
    let parked = world.parked(owner.account).await;
    assert_eq!(parked[0].row, accepted.rows[0]);
    assert!(parked[0].filing(Some(&owner.content(&parked[0]))).unwrap().reverse_path.is_null());
    assert_eq!(owner.read(&world.queue, &parked[0]).await.unwrap(), "it failed");
}

#[tokio::test]
async fn the_servers_copy_goes_with_the_last_recipient_that_needs_it() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let recipients =
        vec![to("a@here.example", owner.route(owner.locked())), remote("r@far.example")];
    let (id, rows) = world.accept(entry("text", recipients)).await;
    assert_eq!(world.chunks().await, 2);
    let before = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!(before.summary.reverse_path.unwrap().to_string(), "sender@far.example");
    world.finish(rows[1], Verdict::Delivered, "250").await;
    assert_eq!(world.chunks().await, 1);
    assert!(matches!(world.queue.server_body(rows[0].entry()).await, Err(QueueError::Sealed(_))));
    let after = world.queue.show(id).await.unwrap().unwrap();
    assert!(after.summary.reverse_path.is_none(), "from here on only the owner knows the sender");
    assert_eq!(after.rows.len(), 1);
    let parked = world.parked(owner.account).await;
    assert_eq!(owner.read(&world.queue, &parked[0]).await.unwrap(), "text");
}
