//! What clients are kept from: too many errors, too many guesses, too much mail; and replies that were lost.

use super::*;

const LETTER: &[u8] = b"From: ann@a.test\r\nMessage-ID: <1@a.test>\r\n\r\ntext\r\n";

/// Sends the message and goes away before the reply can be read; the server has accepted it by then.
async fn lose_the_reply(world: &World, mut client: Client, message: &[u8], entries: usize) {
    let before = world.memory.len();
    client.ask("DATA", "354").await.unwrap();
    client.send_raw(&letterlock_testkit::smtp::stuffed(message)).await.unwrap();
    client.expect("250").await.unwrap();
    drop(client);
    until("the loss is noticed", async || world.memory.len() == before + entries).await;
}

async fn begun(world: &World, from: &str) -> Client {
    let mut client = world.greeted().await;
    client.ask(&format!("MAIL FROM:<{from}>"), "250").await.unwrap();
    client.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
    client
}

#[tokio::test]
async fn a_retry_after_a_lost_reply_is_filed_once() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    lose_the_reply(&world, begun(&world, "a@b.test").await, LETTER, 1).await;
    arrived(&ann).await;
    // The reply to the retry is lost as well.
    let mut retry = begun(&world, "a@b.test").await;
    assert_eq!(retry.data(LETTER).await.unwrap().to_string(), "250 2.0.0 Accepted before");
    assert_eq!(world.memory.len(), 0);
    drop(retry);
    until("the loss is noticed", async || world.memory.len() == 1).await;
    let mut retry = begun(&world, "a@b.test").await;
    assert_eq!(retry.data(LETTER).await.unwrap().to_string(), "250 2.0.0 Accepted before");
    retry.quit().await.unwrap();
    assert_eq!(world.memory.len(), 0, "now it has been read");
    let mut again = begun(&world, "a@b.test").await;
    assert!(again.data(LETTER).await.unwrap().to_string().starts_with("250 2.0.0 Accepted as"));
    until("it is another message", async || messages(&ann).await.len() == 2).await;
}

#[tokio::test]
async fn another_envelope_or_another_text_is_no_retry() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    lose_the_reply(&world, begun(&world, "a@b.test").await, LETTER, 1).await;
    for (from, message) in [("c@b.test", LETTER), ("a@b.test", &LETTER[..LETTER.len() - 2])] {
        let mut client = begun(&world, from).await;
        let reply = client.data(&[message, b" \r\n"].concat()).await.unwrap();
        assert!(reply.to_string().starts_with("250 2.0.0 Accepted as"), "{reply}");
        client.quit().await.unwrap();
    }
    until("all are filed", async || messages(&ann).await.len() == 3).await;
    assert_eq!(world.memory.len(), 1);
}

#[tokio::test]
async fn an_alarm_that_is_the_same_each_time_arrives_each_time() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let alarm = b"From: door@b.test\r\nSubject: open\r\n\r\n";
    for count in 1..=3 {
        let mut client = begun(&world, "door@b.test").await;
        let reply = client.data(alarm).await.unwrap();
        assert!(reply.to_string().starts_with("250 2.0.0 Accepted as"), "{reply}");
        drop(client);
        until("it arrives", async || messages(&ann).await.len() == count).await;
    }
}

#[tokio::test]
async fn who_goes_on_after_the_reply_has_read_it() {
    let world = World::new().await;
    world.add("ann@a.test").await;
    let mut client = begun(&world, "a@b.test").await;
    assert_eq!(client.data(LETTER).await.unwrap().code, 250);
    client.ask("NOOP", "250").await.unwrap();
    drop(client);
    // A refused message leaves nothing to remember either.
    let mut client = begun(&world, "a@b.test").await;
    assert_eq!(client.data(b"a\0b\r\n").await.unwrap().code, 554);
    drop(client);
    lose_the_reply(&world, begun(&world, "last@b.test").await, LETTER, 1).await;
    assert_eq!(world.memory.len(), 1, "only the last of the three");
}

#[tokio::test]
async fn a_lost_reply_to_a_submission_is_known_by_its_account() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let reply = client.deliver("ann@a.test", &["bob@a.test"], LETTER).await.unwrap();
    assert_eq!(reply.code, 250);
    drop(client);
    until("the loss is noticed", async || world.memory.len() == 1).await;
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let reply = client.deliver("ann@a.test", &["bob@a.test"], LETTER).await.unwrap();
    assert_eq!(reply.to_string(), "250 2.0.0 Accepted before");
    assert_eq!(messages(&bob).await.len(), 1);
}

#[tokio::test]
async fn errors_are_answered_late_but_not_to_exempt_networks() {
    let mut world = World::new().await;
    world.bend("tarpit_ms", 40);
    let mut client = world.greeted().await;
    let ask = async |client: &mut Client| {
        let begun = Instant::now();
        client.ask("XYZZY", "500").await.unwrap();
        begun.elapsed()
    };
    ask(&mut client).await;
    assert!(ask(&mut client).await >= Duration::from_millis(40));
    assert!(ask(&mut client).await >= Duration::from_millis(80));
    let begun = Instant::now();
    client.ask("NOOP", "250").await.unwrap();
    let late = begun.elapsed();

    world.bend("tarpit_ms", 60_000);
    let exempt = Limits { exempt: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() };
    world.guard = Guard::new(&exempt, Instant::now());
    let mut client = world.greeted().await;
    for _ in 0..3 {
        assert!(ask(&mut client).await < Duration::from_secs(60));
    }
    assert!(late < Duration::from_secs(60), "what is right is answered at once");
}

#[tokio::test]
async fn who_is_held_back_holds_up_nobody_else() {
    let mut world = World::new().await;
    world.bend("tarpit_ms", 600_000);
    let mut slow = world.greeted().await;
    slow.ask("XYZZY", "500").await.unwrap();
    slow.send("XYZZY").await.unwrap();
    let mut other = world.greeted().await;
    other.ask("XYZZY", "500").await.unwrap();
    other.ask("NOOP", "250").await.unwrap();
    // The end of the server does not wait for it either.
    world.shutdown.begin();
    slow.expect("500").await.unwrap();
    assert!(slow.until_closed().await.unwrap().starts_with("421 4.3.2"));
}

#[tokio::test]
async fn who_guesses_recipients_is_put_off() {
    let mut world = World::new().await;
    world.add("ann@a.test").await;
    let limits = Limits { unknown_recipients_per_ip: 3, ..Limits::default() };
    world.guard = Guard::new(&limits, Instant::now());
    let mut client = world.greeted().await;
    client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    for guess in ["x", "y", "z"] {
        client.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
        client.ask(&format!("RCPT TO:<{guess}@a.test>"), "550 5.1.1").await.unwrap();
    }
    for guess in ["x", "ann"] {
        client.ask(&format!("RCPT TO:<{guess}@a.test>"), "450 4.7.1").await.unwrap();
    }
    let mut other = world.greeted().await;
    other.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    other.ask("RCPT TO:<ann@a.test>", "450 4.7.1").await.unwrap();
}

#[tokio::test]
async fn an_account_sends_so_much_and_no_more() {
    let mut world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let limits = Limits {
        messages_per_account_hour: 2,
        recipients_per_account_hour: 3,
        ..Limits::default()
    };
    world.guard = Guard::new(&limits, Instant::now());
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let reply = client.deliver("ann@a.test", &["x@b.test", "y@b.test"], LETTER).await.unwrap();
    assert_eq!(reply.code, 250);
    client.ask("MAIL FROM:<ann@a.test>", "250").await.unwrap();
    client.ask("RCPT TO:<x@b.test>", "250").await.unwrap();
    client.ask("RCPT TO:<y@b.test>", "452 4.7.1").await.unwrap();
    assert_eq!(client.data(LETTER).await.unwrap().code, 250);
    client.ask("MAIL FROM:<ann@a.test>", "452 4.7.1").await.unwrap();
    // In another session too, and for nobody else.
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    client.ask("MAIL FROM:<ann@a.test>", "452 4.7.1").await.unwrap();
    let mut client = world.logged_in(&bob, "bob@a.test").await;
    client.ask("MAIL FROM:<bob@a.test>", "250").await.unwrap();
}

#[tokio::test]
async fn who_writes_for_a_group_is_named_as_its_sender() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    for (alias, members) in
        [("team@a.test", &["ann@a.test", "bob@a.test"][..]), ("annie@a.test", &["ann@a.test"])]
    {
        let alias: Mailbox = alias.parse().unwrap();
        let members = members.iter().map(|member| member.parse().unwrap()).collect();
        world.directory.add_alias(alias, members, Timestamp::now()).await.unwrap();
    }
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    for (from, sender) in [("team@a.test", true), ("annie@a.test", false)] {
        let text = format!("From: {from}\r\nSubject: {from}\r\n\r\n");
        let reply = client.deliver(from, &["bob@a.test"], text.as_bytes()).await.unwrap();
        assert_eq!(reply.code, 250);
        until("it arrives", async || {
            let found = messages(&bob).await;
            let found = found.iter().find(|m| m.contains(&format!("Subject: {from}")));
            found.is_some_and(|m| m.contains("\r\nSender: ann@a.test\r\n") == sender)
        })
        .await;
    }
}

#[tokio::test]
async fn disabled_recipients_are_deferred_refused_or_discarded() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    for (state, answer) in [
        (Disabled::Defer, "450 4.2.1"),
        (Disabled::Refuse, "550 5.2.1"),
        (Disabled::Discard, "250 2.1.5"),
    ] {
        world.directory.set_account_state(ann.id, AccountState::Disabled(state)).await.unwrap();
        let mut client = world.greeted().await;
        client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
        client.ask("RCPT TO:<ann@a.test>", answer).await.unwrap();
        client.ask("RCPT TO:<bob@a.test>", "250").await.unwrap();
        let text = format!("Subject: {answer}\r\n\r\n");
        assert_eq!(client.data(text.as_bytes()).await.unwrap().code, 250);
        // Discarded alone, it is accepted too.
        if state == Disabled::Discard {
            let reply = client.deliver("a@b.test", &["ann@a.test"], b"x: y\r\n\r\n").await.unwrap();
            assert_eq!(reply.code, 250);
        }
        client.quit().await.unwrap();
    }
    until("bob has his copies", async || messages(&bob).await.len() == 3).await;
    assert!(messages(&ann).await.is_empty());
    let counts = world.queue.counts().await.unwrap();
    assert_eq!(counts.due, 0, "nothing is under way to anybody else");
}
