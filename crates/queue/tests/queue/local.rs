//! Mail for mailboxes of this server.

use std::collections::BTreeSet;
use std::sync::Arc;

use letterlock_address::ReversePath;
use letterlock_queue::{
    Counts, Filing, NewEntry, NewRecipient, Notify, QueueError, Ret, Route, Seal, Usage,
};
use letterlock_vault::{AccountId, DeliveryId};

use crate::world::{Owner, World, entry, mailbox, remote, to};

#[tokio::test]
async fn accepted_mail_survives_a_crash_and_opens_for_its_owner() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let mut new = entry("Subject: hi\r\n\r\nbody\r\n", vec![]);
    (new.ret, new.envid) = (Some(Ret::Headers), Some("env".to_owned()));
    for seal in [owner.locked(), owner.unlocked()] {
        let orcpt = Some("rfc822;o@x.example".to_owned());
        let notify = Notify::On { success: true, failure: false, delay: true };
        new.recipients.push(NewRecipient {
            orcpt,
            notify,
            ..to("Own+x@here.example", owner.route(seal))
        });
    }
    let (id, rows) = world.accept(new).await;
    let world = world.crash().await;
    let parked = world.parked(owner.account).await;
    assert_eq!(parked.iter().map(|parked| parked.row).collect::<Vec<_>>(), rows);
    for parked in &parked {
        assert_eq!((parked.id, parked.recipient.to_string().as_str()), (id, "Own+x@here.example"));
        assert_eq!(parked.notify, Notify::On { success: true, failure: false, delay: true });
        assert_eq!(parked.size, 21);
        let expected = Filing {
            folder: "Lists/Rust".to_owned(),
            flags: vec!["\\Seen".to_owned(), "$work".to_owned()],
            reverse_path: ReversePath::Mailbox(mailbox("sender@far.example")),
            orcpt: Some("rfc822;o@x.example".to_owned()),
            ret: Some(Ret::Headers),
            envid: Some("env".to_owned()),
        };
        assert_eq!(parked.filing(Some(&owner.content(parked))).unwrap(), expected);
        assert!(matches!(parked.filing(None), Err(QueueError::Sealed(_))));
        assert_eq!(owner.read(&world.queue, parked).await.unwrap(), "Subject: hi\r\n\r\nbody\r\n");
        assert!(matches!(world.queue.server_body(parked.entry).await, Err(QueueError::Sealed(_))));
    }
    assert_eq!(world.chunks().await, 1, "one copy, however many recipients");
}

#[tokio::test]
async fn server_held_mail_needs_no_key() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let (_, rows) =
        world.accept(entry("text", vec![to("a@here.example", owner.route(Seal::Server))])).await;
    let world = world.crash().await;
    let parked = world.parked(owner.account).await;
    assert!(parked[0].envelope.is_none());
    let filing = parked[0].filing(None).unwrap();
    assert_eq!((filing.folder.as_str(), filing.flags.len()), ("Lists/Rust", 2));
    assert_eq!(filing.reverse_path.to_string(), "sender@far.example");
    assert_eq!(world.queue.server_body(parked[0].entry).await.unwrap(), "text");
    world.queue.filed(&rows);
    assert!(world.parked(owner.account).await.is_empty());
    assert!(matches!(world.queue.server_body(parked[0].entry).await, Err(QueueError::Gone)));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let world = World::new().await;
    let (owner, other) = (Owner::new(&world.server), Owner::new(&world.server));
    let mut all = Vec::new();
    for number in 0..7 {
        let to_other = to("o@here.example", other.route(other.unlocked()));
        let recipients = vec![to_other, to("a@here.example", owner.route(owner.unlocked()))];
        all.push(world.accept(entry(format!("mail {number}"), recipients)).await.1[1]);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.queue.parked(owner.account, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.row);
        seen.extend(page.iter().map(|parked| parked.row));
    }
    assert_eq!(seen, all);
    let mut accounts = [owner.account, other.account];
    accounts.sort();
    assert_eq!(world.queue.parked_accounts(None, 9).await.unwrap(), accounts);
    assert_eq!(world.queue.parked_accounts(Some(accounts[0]), 9).await.unwrap(), accounts[1..]);
    assert_eq!(world.queue.parked_accounts(None, 1).await.unwrap(), accounts[..1]);
    assert_eq!(world.queue.usage(owner.account).await.unwrap(), Usage { messages: 7, octets: 42 });
    assert_eq!(world.queue.usage(AccountId::generate()).await.unwrap(), Usage::default());
}

#[tokio::test]
async fn filed_rows_go_with_what_only_they_needed() {
    let world = World::new().await;
    let (a, b) = (Owner::new(&world.server), Owner::new(&world.server));
    let recipients = vec![
        to("a@here.example", a.route(a.unlocked())),
        to("b@here.example", b.route(b.locked())),
        remote("r@far.example"),
    ];
    let (id, rows) = world.accept(entry("text", recipients)).await;
    assert_eq!(world.chunks().await, 2, "a copy for owners and one for the relay");
    world.queue.filed(&rows[..1]);
    assert!(world.parked(a.account).await.is_empty());
    assert_eq!(world.chunks().await, 2);
    world.queue.filed(&rows[1..2]);
    world.queue.sync().await.unwrap();
    assert_eq!(world.chunks().await, 1, "the sealed copy is gone");
    let world = world.crash().await;
    let shown = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!(shown.rows.iter().map(|row| row.row).collect::<Vec<_>>(), rows[2..]);
    assert_eq!(world.queue.server_body(shown.summary.entry).await.unwrap(), "text");
    world.queue.filed(&rows);
    assert_eq!(world.counts().await.due, 1, "a remote row is not filed");
}

#[tokio::test]
async fn filed_rows_ride_on_the_next_accept() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let own = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    let (_, first) = world.accept(entry("one", own())).await;
    world.queue.filed(&first);
    let (second, _) = world.accept(entry("two", own())).await;
    let world = world.crash().await;
    let left: Vec<DeliveryId> =
        world.parked(owner.account).await.iter().map(|parked| parked.id).collect();
    assert_eq!(left, [second]);
    assert_eq!(world.chunks().await, 1);
}

#[tokio::test]
async fn what_was_filed_is_told_after_a_refused_accept_too() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let own = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    let (id, first) = world.accept(entry("one", own())).await;
    world.queue.filed(&first);
    let again = world.queue.accept(NewEntry { id, ..entry("two", own()) }).await;
    assert!(matches!(again, Err(QueueError::Exists(twice)) if twice == id));
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn a_sync_waits_for_rows_whose_ride_fails() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let own = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    let (id, rows) = world.accept(entry("one", own())).await;
    world.queue.filed(&rows);
    let again = world.queue.accept(NewEntry { id, ..entry("two", own()) });
    let (again, synced) = tokio::join!(again, world.queue.sync());
    assert!(again.is_err() && synced.is_ok());
    let world = world.crash().await;
    assert!(world.parked(owner.account).await.is_empty(), "it was told to be gone for good");
}

#[tokio::test]
async fn rows_of_a_ride_that_nobody_waits_for_are_not_forgotten() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let own = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    let (id, rows) = world.accept(entry("one", own())).await;
    world.queue.filed(&rows);
    let again = world.queue.accept(NewEntry { id, ..entry("two", own()) });
    // Begun and dropped, as by a connection that is cut off.
    let cut_off = tokio::time::timeout(std::time::Duration::ZERO, again).await;
    assert!(cut_off.is_err() || cut_off.is_ok_and(|accepted| accepted.is_err()));
    assert!(world.parked(owner.account).await.is_empty());
}

#[tokio::test]
async fn one_unreadable_row_does_not_keep_the_others_from_being_filed() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let own = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    let (bad, _) = world.accept(entry("one", own())).await;
    let (good, _) = world.accept(entry("two", own())).await;
    let world =
        world.tamper("UPDATE rows SET address = '@' WHERE row = (SELECT min(row) FROM rows)").await;
    let page = world.queue.parked(owner.account, None, 1).await.unwrap();
    assert_eq!(page.iter().map(|parked| parked.id).collect::<Vec<_>>(), [good]);
    let counts = Counts { entries: 2, parked: 1, held: 1, ..Counts::default() };
    assert_eq!(world.counts().await, counts);
    assert!(world.queue.show(bad).await.unwrap().is_some());
    assert_eq!(world.queue.list(Default::default(), None, 9).await.unwrap().len(), 1);
    assert_eq!(world.queue.cancel(letterlock_queue::Subject::Message(bad)).await.unwrap(), 1);
    assert_eq!(world.chunks().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_accepted_at_once() {
    let world = World::new().await;
    let owner = Arc::new(Owner::new(&world.server));
    let mut tasks = Vec::new();
    for number in 0..10 {
        let (queue, owner) = (Arc::clone(&world.queue), Arc::clone(&owner));
        tasks.push(tokio::spawn(async move {
            let recipients = vec![to("a@here.example", owner.route(owner.unlocked()))];
            queue.accept(entry(format!("mail {number}"), recipients)).await.unwrap().rows
        }));
    }
    let mut rows = BTreeSet::new();
    for task in tasks {
        rows.extend(task.await.unwrap());
    }
    let world = world.crash().await;
    let parked = world.parked(owner.account).await;
    assert_eq!(parked.iter().map(|parked| parked.row).collect::<BTreeSet<_>>(), rows);
    let mut bodies = BTreeSet::new();
    for parked in &parked {
        bodies.insert(owner.read(&world.queue, parked).await.unwrap());
    }
    assert_eq!(bodies.len(), 10);
}

#[tokio::test]
async fn impossible_entries_are_refused() {
    let world = World::new().await;
    let nobody = world.queue.accept(entry("text", vec![])).await;
    assert!(matches!(nobody, Err(QueueError::NoRecipients(_))));
    let crowd = world.queue.accept(entry("text", vec![remote("r@far.example"); 65_537])).await;
    assert!(matches!(crowd, Err(QueueError::TooLarge(_))));
    let owner = Owner::new(&world.server);
    let mut public = owner.secrets.sealing_public();
    public.bytes.truncate(7);
    let seal = Seal::Owner(letterlock_vault::SealTo::Public { account: owner.account, public });
    let unsealed =
        world.queue.accept(entry("text", vec![to("a@here.example", owner.route(seal))])).await;
    assert!(matches!(unsealed, Err(QueueError::Seal { .. })));
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn an_account_can_be_dropped() {
    let world = World::new().await;
    let (owner, other) = (Owner::new(&world.server), Owner::new(&world.server));
    for _ in 0..3 {
        let to_other = to("o@here.example", other.route(other.unlocked()));
        world
            .accept(entry(
                "text",
                vec![to_other, to("a@here.example", owner.route(owner.locked()))],
            ))
            .await;
    }
    let (held, _) =
        world.accept(entry("text", vec![to("a@here.example", owner.route(owner.locked()))])).await;
    world.queue.hold(letterlock_queue::Subject::Message(held)).await.unwrap();
    assert_eq!(world.queue.discard_account(owner.account).await.unwrap(), 4);
    let world = world.crash().await;
    assert_eq!(world.counts().await, Counts { entries: 3, parked: 3, ..Counts::default() });
    assert!(world.parked(owner.account).await.is_empty());
    assert_eq!(world.parked(other.account).await.len(), 3);
}

#[tokio::test]
async fn damage_is_named_and_never_served() {
    for (sql, part) in [
        ("UPDATE chunks SET data = zeroblob(length(data))", "its body"),
        ("UPDATE entries SET size = size - 1", "its body"),
        ("UPDATE rows SET private = x'00112233'", "where to file it"),
    ] {
        let world = World::new().await;
        let owner = Owner::new(&world.server);
        let (id, _) = world
            .accept(entry("text", vec![to("a@here.example", owner.route(owner.unlocked()))]))
            .await;
        let world = world.tamper(sql).await;
        let parked = world.parked(owner.account).await.remove(0);
        let error = match parked.filing(Some(&owner.content(&parked))) {
            Err(error) => error,
            Ok(_) => owner.read(&world.queue, &parked).await.unwrap_err(),
        };
        assert_eq!(
            error.to_string(),
            format!("message {id} in the queue cannot be opened: {part}"),
            "{sql}"
        );
    }
    let world = World::new().await;
    let (_, rows) = world.accept(entry("text", vec![remote("r@far.example")])).await;
    let world = world.tamper("UPDATE entries SET server_key = zeroblob(72)").await;
    assert!(matches!(
        world.queue.server_body(rows[0].entry()).await,
        Err(QueueError::Damaged { .. })
    ));
}

#[tokio::test]
async fn bodies_cannot_be_exchanged() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let recipients = || vec![to("a@here.example", owner.route(owner.unlocked()))];
    world.accept(entry("aaaa", recipients())).await;
    world.accept(entry("bbbb", recipients())).await;
    let swap =
        "UPDATE entries SET sealed_body = (SELECT sum(sealed_body) FROM entries) - sealed_body";
    let world = world.tamper(swap).await;
    for parked in world.parked(owner.account).await {
        assert!(matches!(owner.read(&world.queue, &parked).await, Err(QueueError::Damaged { .. })));
    }
}

#[tokio::test]
async fn empty_bodies_are_bodies() {
    let world = World::new().await;
    let (_, rows) = world.accept(entry("", vec![remote("r@far.example")])).await;
    assert_eq!(world.queue.server_body(rows[0].entry()).await.unwrap(), "");
    let waiting = to("postmaster@here.example", Route::Waiting);
    let (_, rows) = world.accept(entry("", vec![waiting])).await;
    assert_eq!(world.queue.server_body(rows[0].entry()).await.unwrap(), "");
}
