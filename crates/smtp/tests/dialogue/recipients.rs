//! Whom a message is for, where that is not plain: return addresses of our making, and who had it before; and what a
//! message may not say in our name.

use letterlock_delivery::Forwarding;

use super::*;

/// A return address of this server for somebody.
fn rewritten(world: &World, sender: &str) -> String {
    let srs = Forwarding::new(&world.server, None).srs;
    let domain = Domain::parse("a.test").unwrap();
    let now = Timestamp::now().as_second();
    srs.forward(&sender.parse().unwrap(), &domain, now).unwrap().to_string()
}

#[tokio::test]
async fn return_addresses_of_ours_work_on_both_ports() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let good = rewritten(&world, "far@b.test");
    let forged = good.replace("=far@", "=near@");
    assert_ne!(good, forged);
    for (mut client, sender) in
        [(world.greeted().await, ""), (world.logged_in(&ann, "ann@a.test").await, "ann@a.test")]
    {
        client.ask(&format!("MAIL FROM:<{sender}>"), "250").await.unwrap();
        client.ask(&format!("RCPT TO:<{forged}>"), "550 5.1.1 This return").await.unwrap();
        client.ask(&format!("RCPT TO:<{good}>"), "250").await.unwrap();
        assert_eq!(client.data(MESSAGE).await.unwrap().code, 250);
    }
    let due = world.queue.due(Timestamp::now(), 10).await.unwrap();
    let to: Vec<String> = due.iter().map(|entry| entry.rows[0].address.to_string()).collect();
    assert_eq!(to, ["far@b.test", "far@b.test"]);
}

#[tokio::test]
async fn a_return_address_for_somebody_who_is_gone_is_refused_for_good() {
    let world = World::new().await;
    world.add("ann@a.test").await;
    let gone = rewritten(&world, "gone@a.test");
    let mut client = world.greeted().await;
    client.ask("MAIL FROM:<>", "250").await.unwrap();
    client.ask(&format!("RCPT TO:<{gone}>"), "550 5.1.1").await.unwrap();
    let back = rewritten(&world, "ann@a.test");
    client.ask(&format!("RCPT TO:<{back}>"), "250").await.unwrap();
}

#[tokio::test]
async fn who_had_a_message_before_does_not_take_it_from_the_others() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let mut client = world.greeted().await;
    let seen = b"Delivered-To: Ann@a.test\r\nSubject: again\r\n\r\n";
    let both = &["ann@a.test", "bob@a.test"];
    assert_eq!(client.deliver("x@b.test", both, seen).await.unwrap().code, 250);
    assert!(arrived(&bob).await.contains("\tfor <bob@a.test>;"));
    assert!(messages(&ann).await.is_empty());
    let reply = client.deliver("x@b.test", &both[..1], seen).await.unwrap();
    assert!(reply.to_string().starts_with("554 5.4.6"), "{reply}");
}

#[tokio::test]
async fn nobody_vouches_for_a_submission_in_our_name() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let forged = b"Authentication-Results: MX.a.test; dkim=pass header.d=bank.test\r\n\
                   Authentication-Results: mx.c.test; spf=pass\r\nFrom: ann@a.test\r\n\r\n";
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let reply = client.deliver("ann+x@a.test", &["bob@a.test"], forged).await.unwrap();
    assert_eq!(reply.code, 250);
    let message = arrived(&bob).await;
    assert!(!message.contains("bank.test"), "{message}");
    assert!(message.contains("Authentication-Results: mx.c.test; spf=pass\r\n"), "{message}");
    let ours = "Authentication-Results: mx.a.test;\r\n\tauth=pass smtp.mailfrom=";
    assert_eq!(message.matches(ours).count(), 1, "{message}");
}

#[tokio::test]
async fn a_second_author_cannot_hide_behind_half_a_line_end() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    for header in [
        &b"From: ann@a.test\r\nX: y\rFrom: bob@a.test\r\n\r\n"[..],
        b"From: ann@a.test\r\n\nFrom: bob@a.test\r\n\r\n",
        b"From: ann@a.test\r\nX: \0\r\n\r\n",
    ] {
        client.ask("MAIL FROM:<ann@a.test> BODY=BINARYMIME", "250").await.unwrap();
        client.ask("RCPT TO:<far@b.test>", "250").await.unwrap();
        client.send_raw(format!("BDAT {} LAST\r\n", header.len()).as_bytes()).await.unwrap();
        client.send_raw(header).await.unwrap();
        client.expect("554 5.6.0").await.unwrap();
    }
    assert_eq!(world.queue.counts().await.unwrap().entries, 0);
}

#[tokio::test]
async fn a_name_is_its_owners_in_any_case_and_any_form_and_a_look_alike_is_not() {
    let world = World::new().await;
    let jorg = world.add("jörg@a.test").await;
    world.add("ann@a.test").await;
    let mut client = world.logged_in(&jorg, "jörg@a.test").await;
    // Upper case; a letter and its dots apart; a detail; the domain in upper case.
    for own in ["JÖRG@a.test", "jo\u{308}rg@a.test", "Jörg+List@A.TEST"] {
        let message = format!("From: {own}\r\n\r\n");
        client.ask(&format!("MAIL FROM:<{own}> SMTPUTF8"), "250").await.unwrap();
        client.ask("RCPT TO:<far@b.test>", "250").await.unwrap();
        assert_eq!(client.data(message.as_bytes()).await.unwrap().code, 250, "{own}");
    }
    // Without the dots; with a Cyrillic letter; quoted; somebody else's detail.
    for other in ["jorg@a.test", "jörg@а.test", "\"jörg \"@a.test", "ann+jörg@a.test"] {
        let refused = format!("MAIL FROM:<{other}> SMTPUTF8");
        client.ask(&refused, "553 5.7.1").await.unwrap();
    }
}
