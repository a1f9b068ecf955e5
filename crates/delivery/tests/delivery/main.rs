//! From acceptance into mailboxes, with the real directory, mailboxes and queue in a folder.

mod batches;
mod bounces;
mod forward;
mod told;
mod world;

use world::*;

#[tokio::test]
async fn mail_to_an_open_mailbox_is_filed_with_its_envelope() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    world.accept("one", &["Ann+news@A.test"]).await;
    let junk = Incoming {
        folder: Folder::Junk,
        reverse_path: ReversePath::Null,
        ..incoming("two", &["ann@a.test"])
    };
    world.intake.accept(junk).await.unwrap();
    until("both are there", async || {
        messages(&handle, "INBOX").await.len() == 1 && messages(&handle, "Junk").await.len() == 1
    })
    .await;
    assert_eq!(
        messages(&handle, "INBOX").await,
        [
            "Return-Path: <bob@far.test>\r\nDelivered-To: Ann+news@a.test\r\nSubject: one\r\n\r\nHello.\r\n"
        ]
    );
    assert!(
        messages(&handle, "Junk").await[0]
            .starts_with("Return-Path: <>\r\nDelivered-To: ann@a.test\r\n")
    );
    until("the queue forgets them", async || world.queue.counts().await.unwrap().entries == 0)
        .await;
}

#[tokio::test]
async fn mail_to_a_locked_mailbox_waits_for_the_owner_in_order() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let expected: Vec<String> = (0..150).map(|number| format!("number {number}")).collect();
    for subject in &expected[..149] {
        world.accept(subject, &["ann@a.test"]).await;
    }
    assert_eq!(world.parked(&ann).await, 149);
    let handle = world.unlock(&ann).await;
    world.accept(&expected[149], &["ann@a.test"]).await;
    world.settled(&ann).await;
    until("the last one is there", async || subjects(&handle).await.len() == 150).await;
    assert_eq!(subjects(&handle).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mail_is_lost_or_doubled_while_the_owner_comes_and_goes() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let zoe = world.add("zoe@a.test", KeyMode::UserHeld).await;
    world.add_alias("all@a.test", &["ann@a.test", "zoe@a.test"]).await;
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let intake = world.intake.clone();
            tokio::spawn(async move {
                for number in 0..40 {
                    let subject = format!("{sender}.{number}");
                    intake.accept(incoming(&subject, &["all@a.test"])).await.unwrap();
                }
            })
        })
        .collect();
    for round in 0..25 {
        for owner in [&ann, &zoe] {
            world.unlock(owner).await;
            tokio::task::yield_now().await;
            world.mailboxes.drain_again(owner.id);
            if round % 3 == 0 {
                let id = owner.id;
                until("it opens", async || world.mailboxes.state(id) == MailboxState::Open).await;
            }
            world.mailboxes.drain_again(owner.id);
        }
        world.mailboxes.lock(ann.id).await.unwrap();
        if round % 2 == 0 {
            world.mailboxes.kill(zoe.id).await;
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    for owner in [&ann, &zoe] {
        let handle = world.unlock(owner).await;
        world.settled(owner).await;
        until("all are there", async || subjects(&handle).await.len() >= 160).await;
        let mut found = subjects(&handle).await;
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 160);
        assert_eq!(subjects(&handle).await.len(), 160, "none twice");
    }
}

/// A row is filed and forgotten by the drainer only after those who began to file directly have
/// ended: what they file after that would be there twice.
#[tokio::test]
async fn draining_waits_for_direct_filing() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    let filing = world.mailboxes.filing(ann.id).await;
    let Way::Direct(_, seal) = &filing.way else { panic!("it is open") };
    let message = incoming("once", &["ann@a.test"]);
    let entry = NewEntry {
        id: message.id,
        received_at: message.received_at,
        origin: message.origin,
        reverse_path: message.reverse_path,
        ret: None,
        envid: None,
        smtputf8: false,
        body_type: letterlock_queue::BodyType::SevenBit,
        require_tls: letterlock_queue::RequireTls::Unspecified,
        hold_until: None,
        body: message.body,
        recipients: vec![NewRecipient {
            address: mailbox("ann@a.test"),
            notify: Notify::default(),
            orcpt: None,
            forward: None,
            route: Route::Local {
                account: ann.id,
                folder: "INBOX".into(),
                flags: Vec::new(),
                seal: Seal::Owner(seal.clone()),
            },
        }],
    };
    world.queue.accept(entry).await.unwrap();
    assert!(world.mailboxes.drain_again(ann.id));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.parked(&ann).await, 1, "the drainer waits");
    assert!(subjects(&handle).await.is_empty());
    drop(filing);
    world.settled(&ann).await;
    assert_eq!(subjects(&handle).await, ["once"]);
}

#[tokio::test]
async fn aliases_fan_out_and_nobody_gets_two_copies() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let bob = world.add("bob@a.test", KeyMode::UserHeld).await;
    world.add_alias("team@a.test", &["ann@a.test", "bob@a.test", "far@b.test"]).await;
    let (at_ann, at_bob) = (world.unlock(&ann).await, world.unlock(&bob).await);
    world.accept("team", &["team@a.test", "ann@a.test", "ann+x@a.test", "bob@a.test"]).await;
    until("each has it", async || {
        !subjects(&at_ann).await.is_empty() && !subjects(&at_bob).await.is_empty()
    })
    .await;
    world.settled(&ann).await;
    world.settled(&bob).await;
    assert_eq!(subjects(&at_ann).await.len(), 1);
    assert_eq!(subjects(&at_bob).await.len(), 1);
    assert!(messages(&at_ann, "INBOX").await[0].contains("Delivered-To: team@a.test\r\n"));
    assert_eq!(world.queue.counts().await.unwrap().due, 1, "one copy goes elsewhere");

    let elsewhere = incoming("out", &["far@b.test"]);
    assert!(
        matches!(world.intake.accept(elsewhere.clone()).await, Err(AcceptError::Changed)),
        "strangers may not relay"
    );
    let submitted = Incoming { origin: Origin::Submission { account: ann.id }, ..elsewhere };
    world.intake.accept(submitted).await.unwrap();
    assert_eq!(world.queue.counts().await.unwrap().due, 2);
}

#[tokio::test]
async fn mail_to_a_disabled_account_is_dropped_or_not_accepted() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let state = AccountState::Disabled;
    world.directory.set_account_state(ann.id, state(Disabled::Discard)).await.unwrap();
    world.accept("gone", &["ann@a.test"]).await;
    assert_eq!(world.queue.counts().await.unwrap().entries, 0);
    world.directory.set_account_state(ann.id, state(Disabled::Refuse)).await.unwrap();
    let refused = world.intake.accept(incoming("no", &["ann@a.test"])).await;
    assert!(matches!(refused, Err(AcceptError::Changed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_held_mailbox_needs_nobody_to_log_in() {
    let world = World::new().await;
    let bot = world.add("bot@a.test", KeyMode::ServerHeld).await;
    world.accept("first", &["bot@a.test"]).await;
    world.settled(&bot).await;
    assert_eq!(subjects(&world.unlock(&bot).await).await, ["first"]);

    // Locked just while mail comes, as the end of the time of grace may do. It is large, so that
    // accepting it takes a while, and nothing comes after it that would open the mailbox.
    for round in 0..12 {
        world.unlock(&bot).await;
        world.settled(&bot).await;
        let (mailboxes, id) = (world.mailboxes.clone(), bot.id);
        let locking = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(round)).await;
            mailboxes.lock(id).await
        });
        let large = Incoming {
            body: format!("Subject: {round}\r\n\r\n{}", "x".repeat(1 << 20)).into(),
            ..incoming("", &["bot@a.test"])
        };
        world.intake.accept(large).await.unwrap();
        locking.await.unwrap().unwrap();
        let begun = Instant::now();
        until("it is filed", async || {
            if world.parked(&bot).await == 0 {
                return true;
            }
            // Filed directly just before the lock: then the row stays until the next unlock.
            if world.mailboxes.state(bot.id) != MailboxState::Locked
                || begun.elapsed() < Duration::from_millis(300)
            {
                return false;
            }
            let secrets =
                world.account(&bot).secrets.open(bot.id, &bot.key, &world.server).unwrap();
            let handle = world.mailboxes.unlock(secrets, false).await.unwrap();
            assert!(subjects(&handle).await.contains(&round.to_string()), "nobody files it");
            world.mailboxes.drain_again(bot.id)
        })
        .await;
    }
    let mut found = subjects(&world.unlock(&bot).await).await;
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 13);
}

#[tokio::test]
async fn a_crash_between_filing_and_settling_doubles_nothing() {
    for _ in 0..20 {
        let world = World::new().await;
        let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
        let handle = world.unlock(&ann).await;
        world.settled(&ann).await;
        world.accept("once", &["ann@a.test"]).await;
        until("it is filed", async || !subjects(&handle).await.is_empty()).await;
        let mut after = world.crashed().await;
        if after.parked(&ann).await == 0 {
            // The settler was quicker than the crash: that is not what is tried here.
            continue;
        }
        after.start();
        let handle = after.unlock(&ann).await;
        after.settled(&ann).await;
        assert_eq!(subjects(&handle).await, ["once"]);
        return;
    }
    panic!("the crash never came in time");
}

#[tokio::test]
async fn mail_to_a_mailbox_that_cannot_be_written_stays_parked() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    // Against this mark the file looks like an old copy, to which nothing is written.
    world.directory.reset_mark(ann.id, 1_000_000).await.unwrap();
    let handle = world.unlock(&ann).await;
    until("it opens", async || world.mailboxes.state(ann.id) == MailboxState::Open).await;
    world.accept("patience", &["ann@a.test"]).await;
    until("it drains again", async || world.mailboxes.state(ann.id) == MailboxState::Draining)
        .await;
    world.accept("more", &["ann@a.test"]).await;
    assert_eq!(world.parked(&ann).await, 2);
    assert!(subjects(&handle).await.is_empty());

    world.directory.reset_mark(ann.id, 0).await.unwrap();
    world.mailboxes.lock(ann.id).await.unwrap();
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    assert_eq!(subjects(&handle).await, ["patience", "more"]);
}

#[tokio::test]
async fn mail_for_a_role_waits_for_the_first_account() {
    let world = World::new().await;
    world.accept("hello?", &["postmaster@a.test"]).await;
    world.accept("spam!", &["abuse@a.test"]).await;
    assert_eq!(world.queue.counts().await.unwrap().waiting, 2);
    let domain = Domain::parse("a.test").unwrap();
    assert_eq!(world.intake.adopt_waiting(&domain).await.unwrap(), 0);
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;

    // A crash before it is adopted: the next start does it.
    let mut later = world.crashed().await;
    later.start();
    until("it is adopted", async || later.parked(&ann).await == 2).await;

    assert_eq!(world.intake.adopt_waiting(&domain).await.unwrap(), 2);
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    assert_eq!(subjects(&handle).await, ["hello?", "spam!"]);
}

/// Mail that waited for abuse went to postmaster, whoever that was.
#[tokio::test]
async fn waiting_mail_for_abuse_goes_to_abuse_and_not_to_postmaster() {
    let world = World::new().await;
    world.add_domain("b.test").await;
    world.accept("hello?", &["postmaster@a.test"]).await;
    world.accept("spam!", &["abuse@a.test"]).await;
    let ann = world.add("ann@b.test", KeyMode::UserHeld).await;
    world.add_alias("abuse@a.test", &["ann@b.test"]).await;
    let domain = Domain::parse("a.test").unwrap();
    assert_eq!(world.intake.adopt_waiting(&domain).await.unwrap(), 1);
    assert_eq!(world.queue.counts().await.unwrap().waiting, 1, "nobody is postmaster yet");
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    assert_eq!(subjects(&handle).await, ["spam!"]);
}

#[tokio::test]
async fn a_mailbox_that_was_unlocked_before_the_drainer_listened_opens() {
    let mut world = World::open(tempfile::tempdir().unwrap()).await;
    world.add_domain("a.test").await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.start();
    world.settled(&ann).await;
    world.accept("direct", &["ann@a.test"]).await;
    until("it is filed", async || subjects(&handle).await == ["direct"]).await;
}

#[tokio::test]
async fn parked_mail_of_a_removed_account_goes_at_the_next_start() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    world.accept("nobody's", &["ann@a.test"]).await;
    world.directory.remove_account(ann.id).await.unwrap();
    let mut later = world.crashed().await;
    assert_eq!(later.parked(&ann).await, 1);
    later.start();
    until("it is gone", async || later.queue.counts().await.unwrap().entries == 0).await;
}

#[tokio::test]
async fn the_settler_ends_when_nobody_files_any_more() {
    let mut world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let (sender, settling) = settler(world.queue.clone(), world.mailboxes.clone());
    world.intake = Arc::new(Intake::new(
        world.directory.clone(),
        world.mailboxes.clone(),
        world.queue.clone(),
        world.login.clone(),
        sender,
        Forwarding::new(&world.server, None),
    ));
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    world.accept("last words", &["ann@a.test"]).await;
    let World { queue, .. } = &world;
    let queue = queue.clone();
    drop(world);
    settling.await.unwrap();
    assert_eq!(queue.usage(ann.id).await.unwrap().messages, 0);
    assert_eq!(subjects(&handle).await, ["last words"]);
}
