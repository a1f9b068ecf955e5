//! Aliases that lead to other servers, and the way back.

use letterlock_sender_auth::Spf;

use crate::world::*;

/// What would have been found about a message if there were no DNS at all.
async fn attested(message: &[u8]) -> Attested {
    let settings = letterlock_config::Dns {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        dnssec: letterlock_config::Dnssec::Off,
        trust_anchors: None,
    };
    let resolver = letterlock_dns::Resolver::new(&settings).unwrap();
    let verifier = letterlock_sender_auth::Verifier::new(Arc::new(resolver));
    verifier.verify(message, Spf::default()).await.attested("mx.a.test")
}

async fn world() -> World {
    let world = World::new().await;
    world.add_alias("fwd@a.test", &["far@b.test"]).await;
    world
}

fn rewritten(due: &Due) -> Mailbox {
    let forward = due.rows[0].forward.as_ref().expect("it is passed on");
    forward.reverse_path.mailbox().expect("a sender").clone()
}

#[tokio::test]
async fn a_copy_is_passed_on_with_a_return_address_of_ours_and_a_seal() {
    let world = world().await;
    let body = "From: bob\r\nSubject: x\r\n\r\nHello.\r\n";
    let message = Incoming {
        body: body.into(),
        attested: Some(attested(body.as_bytes()).await),
        asked: Asked { envid: Some("E1".into()), ..Asked::default() },
        recipients: vec![Recipient {
            notify: Notify::On { success: true, failure: true, delay: false },
            orcpt: Some("rfc822;fwd@a.test".into()),
            ..mailbox("fwd@a.test").into()
        }],
        ..incoming("", &[])
    };
    let id = message.id;
    world.intake.accept(message).await.unwrap();
    let [(due, sent)] = &world.outgoing().await[..] else { panic!("one copy") };
    assert_eq!(due.id, id, "one message, one name");
    assert_eq!(due.reverse_path, "bob@far.test".parse().unwrap(), "reports go to the sender");
    let row = &due.rows[0];
    assert_eq!(
        (row.address.to_string().as_str(), row.orcpt.as_deref()),
        ("far@b.test", Some("rfc822;fwd@a.test"))
    );
    assert!(row.notify.success() && row.notify.failure() && due.envid.as_deref() == Some("E1"));
    let outside = rewritten(due);
    assert!(outside.local.as_str().starts_with("SRS0=") && outside.domain.as_str() == "a.test");
    let (trace, rest) = sent.split_at(sent.find("From: bob").unwrap());
    assert_eq!(rest, body, "what its sender signed is untouched");
    assert!(trace.starts_with(
        "Delivered-To: fwd@a.test\r\nARC-Seal: i=1; a=ed25519-sha256; cv=none;\r\n\td=a.test"
    ));
    assert!(trace.contains("ARC-Authentication-Results: i=1; mx.a.test; none\r\n"));
    assert_eq!(
        world.trace(id).await,
        [
            Event::Forwarded {
                address: "fwd@a.test".into(),
                to: "far@b.test".into(),
                srs: true,
                arc: true
            },
            Event::Accepted { recipients: 1 },
        ]
    );
}

#[tokio::test]
async fn own_senders_and_reports_keep_their_return_address() {
    let world = world().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let own = ReversePath::Mailbox(mailbox("ann@a.test"));
    let origin = Origin::Submission { account: ann.id };
    let submitted =
        Incoming { origin, reverse_path: own.clone(), ..incoming("x", &["fwd@a.test"]) };
    world.intake.accept(submitted).await.unwrap();
    let report = Incoming { reverse_path: ReversePath::Null, ..incoming("y", &["fwd@a.test"]) };
    world.intake.accept(report).await.unwrap();
    let outgoing = world.outgoing().await;
    let outside: Vec<_> = outgoing
        .iter()
        .map(|(due, _)| due.rows[0].forward.as_ref().unwrap().reverse_path.clone())
        .collect();
    assert_eq!(outside, [own, ReversePath::Null]);
    assert!(!outgoing[0].1.contains("ARC-Seal"), "there was nothing to attest");
}

/// Who gets a copy of their own does not learn who else got one.
#[tokio::test]
async fn copies_do_not_tell_of_each_other() {
    let world = world().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    world.add_alias("two@a.test", &["one@c.test", "two@c.test", "ann@a.test"]).await;
    let message = incoming("x", &["ann@a.test", "fwd@a.test", "two@a.test"]);
    let id = message.id;
    world.intake.accept(message).await.unwrap();
    until("ann has hers", async || !subjects(&handle).await.is_empty()).await;
    let [mine] = &messages(&handle, "INBOX").await[..] else { panic!("one copy for her") };
    assert!(mine.contains("Delivered-To: ann@a.test\r\n") && !mine.contains("fwd@a.test"));
    let mut outgoing = world.outgoing().await;
    outgoing.sort_by_key(|(due, _)| due.rows.len());
    let [(first, to_far), (second, to_both)] = &outgoing[..] else { panic!("two copies go out") };
    assert_eq!((first.rows.len(), second.rows.len()), (1, 2));
    assert!(first.id != second.id && first.id != id && second.id != id);
    assert!(to_far.starts_with("Delivered-To: fwd@a.test\r\n") && !to_far.contains("two@a.test"));
    assert!(to_both.starts_with("Delivered-To: two@a.test\r\n") && !to_both.contains("fwd@a.test"));
    let copies = world.trace(id).await;
    assert_eq!(copies.iter().filter(|event| matches!(event, Event::Forwarded { .. })).count(), 3);
    assert_eq!(world.trace(first.id).await.len(), 1, "the copy's trace says where it comes from");
}

#[tokio::test]
async fn what_comes_back_goes_to_the_sender() {
    let world = world().await;
    let now = Timestamp::now();
    let out = Incoming { received_at: now, ..incoming("out", &["fwd@a.test"]) };
    world.intake.accept(out).await.unwrap();
    let back = rewritten(&world.outgoing().await[0].0);
    let snapshot = world.directory.snapshot();
    assert_eq!(
        world.intake.recipient(&snapshot, &back),
        RecipientDecision::Returns(mailbox("bob@far.test"))
    );

    let bounce = Incoming {
        reverse_path: ReversePath::Null,
        ..incoming("bounce", &[&back.to_string().to_lowercase()])
    };
    world.intake.accept(bounce).await.unwrap();
    let outgoing = world.outgoing().await;
    let (due, _) = outgoing.iter().find(|(_, body)| body.contains("Subject: bounce")).unwrap();
    assert_eq!(due.rows[0].address, mailbox("bob@far.test"));
    assert_eq!(due.rows[0].forward.as_ref().unwrap().reverse_path, ReversePath::Null);
}

#[tokio::test]
async fn forged_return_addresses_are_nobody() {
    let world = world().await;
    let snapshot = world.directory.snapshot();
    let forged = "SRS0=AAAAAA=AA=victim.test=joe@a.test";
    let decided =
        |address: &str| world.intake.recipient(&world.directory.snapshot(), &mailbox(address));
    assert!(matches!(decided(forged), RecipientDecision::BadReturn(_)));
    assert!(matches!(
        world.intake.accept(incoming("x", &[forged])).await,
        Err(AcceptError::Changed)
    ));
    // In a domain that is not ours it is an address like any other, and so it is where somebody has it.
    assert!(matches!(
        decided("SRS0=AAAAAA=AA=victim.test=joe@b.test"),
        RecipientDecision::Resolved(_)
    ));
    drop(snapshot);
    let ann = world.add("srs0=x@a.test", KeyMode::UserHeld).await;
    let resolved = letterlock_directory::Resolution::Account(ann.id);
    assert_eq!(decided("SRS0=x@a.test"), RecipientDecision::Resolved(resolved));
}

/// A message that is to be released later is passed on and filed later.
#[tokio::test]
async fn held_mail_is_not_filed_at_once() {
    let world = world().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let handle = world.unlock(&ann).await;
    world.settled(&ann).await;
    let later = Timestamp::now() + Duration::from_secs(3600);
    let asked = Asked { hold_until: Some(later), ..Asked::default() };
    let held = Incoming { asked, ..incoming("later", &["ann@a.test", "fwd@a.test"]) };
    let id = held.id;
    world.intake.accept(held).await.unwrap();
    world.accept("now", &["ann@a.test"]).await;
    until("the other is filed", async || subjects(&handle).await == ["now"]).await;
    assert!(world.outgoing().await.is_empty());
    assert!(!world.trace(id).await.iter().any(|event| matches!(event, Event::Filed { .. })));
}

/// After a 451 the client brings all of it again: a copy that had gone out by then would go out twice.
#[tokio::test]
async fn of_the_copies_of_a_message_all_are_accepted_or_none() {
    let world = world().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    world.add_alias("more@a.test", &["far@c.test"]).await;
    let first = incoming("first", &["ann@a.test"]);
    let id = first.id;
    world.intake.accept(first).await.unwrap();
    let all = ["ann@a.test", "fwd@a.test", "more@a.test"];
    let second = Incoming { id, ..incoming("second", &all) };
    assert!(world.intake.accept(second).await.is_err());
    assert!(world.outgoing().await.is_empty());
    assert_eq!(world.parked(&ann).await, 1);
    world.accept("third", &all).await;
    assert_eq!((world.outgoing().await.len(), world.parked(&ann).await), (2, 2));
}

/// Otherwise RCPT would be answered with 250 and the message with 451, for days.
#[tokio::test]
async fn what_comes_back_to_a_domain_that_is_ours_by_now_is_resolved_there() {
    let world = world().await;
    let out = Incoming { received_at: Timestamp::now(), ..incoming("out", &["fwd@a.test"]) };
    world.intake.accept(out).await.unwrap();
    let back = rewritten(&world.outgoing().await[0].0);
    world.add_domain("far.test").await;
    let decided = || world.intake.recipient(&world.directory.snapshot(), &back);
    let nobody = letterlock_directory::Resolution::NoSuchUser;
    assert_eq!(decided(), RecipientDecision::Resolved(nobody));
    let bob = world.add("bob@far.test", KeyMode::UserHeld).await;
    let resolved = letterlock_directory::Resolution::Account(bob.id);
    assert_eq!(decided(), RecipientDecision::Resolved(resolved));
    world.accept("bounce", &[&back.to_string()]).await;
    assert_eq!(world.parked(&bob).await, 1);
}

/// A report to a sender takes the ways of any mail.
#[tokio::test]
async fn what_is_written_here_goes_where_any_mail_goes() {
    let world = world().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    world.add_alias("both@a.test", &["ann@a.test", "one@c.test", "two@c.test"]).await;
    let ways = |address: &str| -> Vec<String> {
        let ways = world.intake.ways(&mailbox(address));
        let told = ways.iter().map(|way| {
            let passed = way.forward.as_ref().map(|forward| forward.reverse_path.is_null());
            let here = match way.route {
                Route::Local { account, .. } => account == ann.id,
                _ => false,
            };
            format!("{} {:?} {passed:?}", way.address, here)
        });
        told.collect()
    };
    assert_eq!(ways("ann@a.test"), ["ann@a.test true None"]);
    assert_eq!(ways("ann+x@a.test"), ["ann+x@a.test true None"]);
    assert_eq!(ways("bob@far.test"), ["bob@far.test false None"]);
    assert_eq!(ways("fwd@a.test"), ["far@b.test false Some(true)"]);
    assert_eq!(
        ways("both@a.test"),
        ["both@a.test true None", "one@c.test false Some(true)", "two@c.test false Some(true)"]
    );
    assert!(ways("nobody@a.test").is_empty());
    assert!(matches!(world.intake.ways(&mailbox("postmaster@a.test"))[..], [_]));
    // A return address of ours leads back to whom it was made for.
    let out = Incoming { received_at: Timestamp::now(), ..incoming("out", &["fwd@a.test"]) };
    world.intake.accept(out).await.unwrap();
    let back = rewritten(&world.outgoing().await[0].0).to_string();
    assert_eq!(ways(&back), ["bob@far.test false Some(true)"]);
    for (state, count) in [(Disabled::Discard, 0), (Disabled::Refuse, 0), (Disabled::Defer, 0)] {
        world.directory.set_account_state(ann.id, AccountState::Disabled(state)).await.unwrap();
        assert_eq!(ways("ann@a.test").len(), count, "{state:?}");
    }
}
