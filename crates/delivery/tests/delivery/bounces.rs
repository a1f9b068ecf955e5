//! Reports of other servers: which of them teach that an address is gone, and which are not believed.

use letterlock_delivery::SUBMISSION;
use letterlock_state::{Privacy, Suppression};

use crate::world::*;

/// A report that says so of this recipient and returns this header.
fn report(recipient: &str, action: &str, status: &str, returned: &str) -> String {
    format!(
        "From: postmaster@far.test\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.far.test\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; 550 \
         {status} moved away\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n--b--\r\n"
    )
}

/// The field that this server put on a message.
fn received(id: DeliveryId) -> String {
    format!(
        "Received: from x ([192.0.2.1])\r\n\tby mx.a.test with ESMTPS id {id}\r\n\tfor <y@b.test>; now\r\n"
    )
}

fn from_null(body: String) -> Incoming {
    Incoming { reverse_path: ReversePath::Null, body: body.into(), ..incoming("", &["ann@a.test"]) }
}

/// A world in which a message of ann's went to `gone@far.test`; the message's id.
async fn world() -> (World, DeliveryId) {
    let world = World::new().await;
    world.add("ann@a.test", KeyMode::UserHeld).await;
    world.add_alias("fwd@a.test", &["passed@far.test"]).await;
    let id = DeliveryId::generate();
    let received = Event::Received {
        listener: SUBMISSION.into(),
        client: None,
        hello: None,
        tls: None,
        account: Some("ann@a.test".into()),
        reverse_path: Privacy::of_recipients(false).show("ann@a.test"),
        size: 1000,
    };
    world.state.record(id, Timestamp::now(), received);
    delivered(&world, id, "gone@far.test");
    (world, id)
}

fn delivered(world: &World, id: DeliveryId, to: &'static str) {
    let event = Event::Delivered { recipient: to.into(), host: "mx.far.test".into() };
    world.state.record(id, Timestamp::now(), event);
}

fn gone(world: &World) -> Vec<Suppression> {
    world.state.suppressions(Timestamp::now())
}

/// Takes a message in; what it teaches is known by then.
async fn take(world: &World, message: Incoming) {
    world.intake.accept(message).await.unwrap();
}

#[tokio::test]
async fn an_address_that_turns_out_to_be_nobodys_is_remembered() {
    let (world, id) = world().await;
    take(&world, from_null(report("Gone@FAR.test", "failed", "5.1.1", &received(id)))).await;
    let [found] = &gone(&world)[..] else { panic!("one address") };
    assert_eq!(found.address, "gone@far.test");
    assert_eq!(found.reason, "reported by mx.far.test: 5.1.1 550 5.1.1 moved away");
    let told = Event::Bounced {
        recipient: "gone@far.test".into(),
        reporter: "mx.far.test".into(),
        status: "5.1.1".into(),
        reason: "550 5.1.1 moved away".into(),
    };
    let trace = world.trace(id).await;
    assert_eq!(trace.last(), Some(&told));
    assert!(told.explain().contains("nobody is at gone@far.test"), "{}", told.explain());
}

#[tokio::test]
async fn so_is_one_that_an_alias_leads_to_and_the_report_goes_on_to_the_sender() {
    let (world, _) = world().await;
    let now = Timestamp::now();
    let out = Incoming { received_at: now, ..incoming("out", &["fwd@a.test", "ann@a.test"]) };
    let id = out.id;
    take(&world, out).await;
    let (due, _) = world.outgoing().await.remove(0);
    assert_ne!(due.id, id, "the copy has another id, and its header names only the first");
    let back = due.rows[0].forward.as_ref().unwrap().reverse_path.mailbox().unwrap().to_string();
    let report = report("passed@far.test", "failed", "5.2.1", &received(id));
    // Its sender knows the id, from our reply, but not the return address of the copy.
    take(&world, from_null(report.clone())).await;
    assert!(gone(&world).is_empty());
    let recipients = vec![mailbox(&back).into()];
    take(&world, Incoming { recipients, ..from_null(report) }).await;
    assert_eq!(gone(&world)[0].address, "passed@far.test");
    assert_eq!(world.outgoing().await.len(), 2, "the report is under way to the sender");
}

/// Such a copy goes on under its sender's own path, and a report of it would not come here.
#[tokio::test]
async fn a_stranger_silences_no_target_of_an_alias_with_a_sender_that_is_not_rewritten() {
    let (world, _) = world().await;
    // A return address of ours that the stranger has seen on another message.
    let out = Incoming { received_at: Timestamp::now(), ..incoming("out", &["fwd@a.test"]) };
    take(&world, out).await;
    let (due, _) = world.outgoing().await.remove(0);
    let back = due.rows[0].forward.as_ref().unwrap().reverse_path.mailbox().unwrap().to_string();
    let long = format!("{}@far.test", "x".repeat(60));
    for sender in ["", "ann@a.test", &long] {
        let reverse_path = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(mailbox(sender)),
        };
        let mine = Incoming { reverse_path, ..incoming("mine", &["fwd@a.test"]) };
        let id = mine.id;
        take(&world, mine).await;
        delivered(&world, id, "passed@far.test");
        let forged = report("passed@far.test", "failed", "5.1.1", &received(id));
        for to in ["ann@a.test", &back] {
            let recipients = vec![mailbox(to).into()];
            take(&world, Incoming { recipients, ..from_null(forged.clone()) }).await;
            assert!(gone(&world).is_empty(), "{sender:?} by {to}");
        }
    }
}

#[tokio::test]
async fn a_recipient_that_a_report_names_again_and_again_is_noted_once() {
    let (world, id) = world().await;
    let once = report("gone@far.test", "failed", "5.1.1", &received(id));
    let (before, rest) = once.split_once("Final-Recipient").unwrap();
    let (fields, behind) = rest.split_once("--b\r\n").unwrap();
    let group = format!("Final-Recipient{fields}\r\n");
    let often = format!("{before}{}--b\r\n{behind}", group.repeat(100));
    take(&world, from_null(often)).await;
    let trace = world.trace(id).await;
    assert_eq!(trace.iter().filter(|event| matches!(event, Event::Bounced { .. })).count(), 1);
}

#[tokio::test]
async fn a_message_id_of_ours_tells_as_well() {
    let (world, id) = world().await;
    let returned = format!("Message-ID: <{}@a.test>\r\n", id.to_string().to_lowercase());
    take(&world, from_null(report("gone@far.test", "failed", "5.1.10", &returned))).await;
    assert_eq!(gone(&world).len(), 1);
}

#[tokio::test]
async fn nobody_is_silenced_by_a_report_that_proves_nothing() {
    let (world, id) = world().await;
    let good = || report("gone@far.test", "failed", "5.1.1", &received(id));
    let stranger = received(DeliveryId::generate());
    let origin = Origin::Submission { account: AccountId::generate() };
    let sender = ReversePath::Mailbox(mailbox("postmaster@far.test"));
    for (why, message) in [
        ("nothing is returned", from_null(report("gone@far.test", "failed", "5.1.1", ""))),
        ("nobody knows the id", from_null(report("gone@far.test", "failed", "5.1.1", &stranger))),
        ("it went to others", from_null(report("eve@far.test", "failed", "5.1.1", &received(id)))),
        (
            "it is not given up",
            from_null(report("gone@far.test", "delayed", "4.1.1", &received(id))),
        ),
        (
            "the mailbox is full",
            from_null(report("gone@far.test", "failed", "5.2.2", &received(id))),
        ),
        ("it is content", from_null(report("gone@far.test", "failed", "5.7.1", &received(id)))),
        ("it has a sender", Incoming { reverse_path: sender, ..from_null(good()) }),
        ("it is disowned", Incoming { folder: Folder::Junk, ..from_null(good()) }),
        ("one of us wrote it", Incoming { origin, ..from_null(good()) }),
        ("it is no report", from_null(good().replace("multipart/report", "multipart/mixed"))),
    ] {
        take(&world, message).await;
        assert!(gone(&world).is_empty(), "{why}");
    }
    // Was all of that in vain for another reason?
    take(&world, from_null(good())).await;
    assert_eq!(gone(&world).len(), 1);
}
