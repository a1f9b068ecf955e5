//! Both listeners over loopback, on a real directory, mailboxes and queue in a folder.

mod chunks;
mod limits;
mod parameters;
mod recipients;
mod script;
mod world;

use world::*;

#[tokio::test]
async fn a_message_from_elsewhere_arrives_with_its_trace() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.inbound().await;
    assert_eq!(client.greeting.to_string(), "220 mx.a.test ESMTP Letterlock");
    let offered = client.ehlo("mail.b.test").await.unwrap();
    for keyword in ["SIZE 20000", "8BITMIME", "PIPELINING", "CHUNKING", "SMTPUTF8", "STARTTLS"] {
        assert!(offered.iter().any(|line| line == keyword), "{keyword} in {offered:?}");
    }
    assert!(!offered.iter().any(|line| line.starts_with("AUTH")));
    let forged = b"Authentication-Results: mx.a.test; spf=pass\r\nSubject: x\r\n\r\n.dot\r\n";
    let reply = client.deliver("bob@b.test", &["Ann+x@a.test"], forged).await.unwrap();
    assert!(reply.to_string().starts_with("250 2.0.0 Accepted as "), "{reply}");
    let id = reply.text().rsplit(' ').next().unwrap().to_owned();
    client.quit().await.unwrap();
    let message = arrived(&ann).await;
    let head = "Return-Path: <bob@b.test>\r\nDelivered-To: Ann+x@a.test\r\nAuthentication-Results: mx.a.test; \
                none\r\nReceived: from mail.b.test ([127.0.0.1])\r\n\tby mx.a.test with ESMTP id ";
    assert!(message.starts_with(head), "{message}");
    assert!(message.contains(&format!("id {id}\r\n\tfor <Ann+x@a.test>;\r\n\t")));
    assert!(message.ends_with("+0000\r\nSubject: x\r\n\r\n.dot\r\n"), "{message}");
}

#[tokio::test]
async fn recipients_are_those_of_the_directory() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    client.ask("MAIL FROM:<>", "250").await.unwrap();
    client.ask("RCPT TO:<nobody@a.test>", "550 5.1.1").await.unwrap();
    client.ask("RCPT TO:<x@b.test>", "550 5.7.1").await.unwrap();
    client.ask("RCPT TO:<ann@[127.0.0.1]>", "550 5.7.1").await.unwrap();
    client.ask("RCPT TO:<abuse@A.test>", "250").await.unwrap();
    client.ask("RCPT TO:<Postmaster>", "250").await.unwrap();
    for (state, answer) in
        [(Disabled::Defer, "450"), (Disabled::Refuse, "550 5.2.1"), (Disabled::Discard, "250")]
    {
        world.directory.set_account_state(ann.id, AccountState::Disabled(state)).await.unwrap();
        client.ask("RCPT TO:<ann@a.test>", answer).await.unwrap();
    }
    world.directory.set_account_state(ann.id, AccountState::Enabled).await.unwrap();
    client.ask("RCPT TO:<ann+1@a.test>", "250").await.unwrap();
    client.ask("RCPT TO:<ann+2@a.test>", "250").await.unwrap();
    client.ask("RCPT TO:<ann+3@a.test>", "452 4.5.3").await.unwrap();
    assert_eq!(client.data(b"Subject: x\r\n\r\n").await.unwrap().code, 250);
    assert!(
        !arrived(&ann).await.contains("\tfor <"),
        "several recipients are not told of each other"
    );
}

#[tokio::test]
async fn pipelined_batches_and_chunks_are_answered_in_order() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    // One packet. The chunks are cut within a line end, and the refused recipient changes nothing.
    let batch = "MAIL FROM:<a@b.test>\r\nRCPT TO:<no@a.test>\r\nRCPT TO:<ann@a.test>\r\n\
                 BDAT 13\r\nSubject: one\r\
                 BDAT 9 LAST\r\n\n\r\nbody\r\n\
                 RSET\r\n";
    client.send_raw(batch.as_bytes()).await.unwrap();
    for code in ["250", "550", "250", "250 2.0.0 Chunk", "250 2.0.0 Accepted", "250 2.0.0 OK"] {
        client.expect(code).await.unwrap();
    }
    assert!(arrived(&ann).await.ends_with("Subject: one\r\n\r\nbody\r\n"));
}

#[tokio::test]
async fn too_big_messages_are_read_to_their_end_and_refused() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    client.ask(&format!("MAIL FROM:<a@b.test> SIZE={}", SIZE + 1), "552 5.3.4").await.unwrap();
    let line = [b'x'; 98].iter().chain(b"\r\n").copied().collect::<Vec<u8>>();
    let big = line.repeat(250);
    let reply = client.deliver("a@b.test", &["ann@a.test"], &big).await.unwrap();
    assert!(reply.to_string().starts_with("552 5.3.4"), "{reply}");

    client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    client.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
    client.send_raw(format!("BDAT {}\r\n", big.len()).as_bytes()).await.unwrap();
    client.send_raw(&big).await.unwrap();
    client.expect("552 5.3.4").await.unwrap();
    // The rest of the series is skipped, and is no command.
    client.send_raw(b"BDAT 6 LAST\r\nQUIT\r\n").await.unwrap();
    client.expect("503").await.unwrap();
    // Through the temporary file, and the largest that fits.
    let mut whole = b"Subject: large\r\n\r\n".to_vec();
    whole.extend_from_slice(&line.repeat(199));
    let reply = client.deliver("a@b.test", &["ann@a.test"], &whole).await.unwrap();
    assert_eq!(reply.code, 250);
    assert!(arrived(&ann).await.as_bytes().ends_with(&whole));
    assert_eq!(std::fs::read_dir(world.dir.path().join("spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn bare_line_ends_are_refused_and_the_connection_closed() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    for smuggled in [
        &b"NOOP\nNOOP\r\n"[..],
        b"MAIL FROM:<a@b.test>\r\nRCPT TO:<ann@a.test>\r\nDATA\r\nx\n.\nMAIL FROM:<evil@b.test>\r\n.\r\n",
        b"MAIL FROM:<a@b.test>\r\nRCPT TO:<ann@a.test>\r\nBDAT 2 LAST\r\nx\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = world.greeted().await;
        client.send_raw(smuggled).await.unwrap();
        let said = client.until_closed().await.unwrap();
        assert!(said.lines().last().unwrap().starts_with("521 5.5."), "{said}");
    }
    assert_eq!(world.queue.counts().await.unwrap().entries, 0);
    assert!(messages(&ann).await.is_empty());
}

#[tokio::test]
async fn messages_that_cannot_be_taken_are_refused_and_count_as_errors() {
    let world = World::new().await;
    world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    let loops = "Received: x\r\n".repeat(6);
    let seen = "delivered-to:\r\n Ann@a.test\r\n\r\n".to_owned();
    for (message, answer) in
        [(loops, "554 5.4.6"), (seen, "554 5.4.6"), ("a\0b\r\n".to_owned(), "554 5.6.0")]
    {
        let reply = client.deliver("a@b.test", &["ann@a.test"], message.as_bytes()).await.unwrap();
        assert!(reply.to_string().starts_with(answer), "{reply}");
    }
    // Seen by somebody else, or not too often: no loop.
    let fine = format!("{}Delivered-To: bob@a.test\r\n\r\n", "Received: x\r\n".repeat(5));
    assert_eq!(client.deliver("", &["ann@a.test"], fine.as_bytes()).await.unwrap().code, 250);
    client.ask("XYZZY", "500").await.unwrap();
    client.ask("XYZZY", "500").await.unwrap();
    client.ask("XYZZY", "421 4.7.0").await.unwrap();
    assert_eq!(client.until_closed().await.unwrap(), "");
}

#[tokio::test]
async fn starttls_forgets_what_was_said_and_what_came_behind_it() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.greeted().await;
    client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    client.starttls(trusting_client_config().unwrap(), "mx.a.test").await.unwrap();
    client.ask("RCPT TO:<ann@a.test>", "503").await.unwrap();
    client.ask("MAIL FROM:<a@b.test>", "503").await.unwrap();
    let offered = client.ehlo("c.test").await.unwrap();
    assert!(!offered.contains(&"STARTTLS".to_owned()));
    client.ask("STARTTLS", "503").await.unwrap();
    assert_eq!(
        client.deliver("a@b.test", &["ann@a.test"], b"x: y\r\n\r\n").await.unwrap().code,
        250
    );
    let message = arrived(&ann).await;
    assert!(
        message.contains(" with ESMTPS id ")
            && message.contains("\r\n\ttls TLS_")
            && message.contains(" group X25519 (TLS1.3);"),
        "{message}"
    );

    // Injected in the clear behind the command (CVE-2011-0411): never answered.
    let mut client = world.greeted().await;
    client.send_raw(b"STARTTLS\r\nNOOP\r\n").await.unwrap();
    client.expect("220").await.unwrap();
    client.send_raw(b"no handshake").await.unwrap();
    assert_eq!(client.until_closed().await.unwrap().matches("250").count(), 0);
}

#[tokio::test]
async fn silent_clients_are_sent_away_also_when_they_drip() {
    let mut world = World::new().await;
    world.add("ann@a.test").await;
    world.patience = Duration::from_millis(300);
    let mut silent = world.greeted().await;
    assert!(silent.until_closed().await.unwrap().starts_with("421 4.4.2"));
    let mut in_data = world.greeted().await;
    in_data.ask("MAIL FROM:<>", "250").await.unwrap();
    in_data.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
    in_data.ask("DATA", "354").await.unwrap();
    in_data.send("Subject: never").await.unwrap();
    assert!(in_data.until_closed().await.unwrap().starts_with("421 4.4.2"));

    let dripping = TcpStream::connect(world.port_25().await).await.unwrap();
    let (mut read, mut write) = dripping.into_split();
    let drops = tokio::spawn(async move {
        while write.write_all(b"N").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut said = String::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), read.read_to_string(&mut said)).await;
    assert!(ended.is_ok(), "drops are no command");
    assert!(said.lines().last().unwrap().starts_with("421 4.4.2"), "{said}");
    drops.abort();
}

#[tokio::test]
async fn draining_ends_idle_sessions_and_lets_transactions_end() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let (mut idle, mut busy) = (world.greeted().await, world.greeted().await);
    busy.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    world.shutdown.begin();
    assert!(idle.until_closed().await.unwrap().starts_with("421 4.3.2"));
    busy.ask("RCPT TO:<ann@a.test>", "250").await.unwrap();
    assert_eq!(busy.data(b"Subject: last\r\n\r\n").await.unwrap().code, 250);
    assert!(busy.until_closed().await.unwrap().starts_with("421 4.3.2"));
    arrived(&ann).await;
}

#[tokio::test]
async fn submission_wants_tls_and_a_login() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.submission().await;
    let offered = client.ehlo("c.test").await.unwrap();
    assert!(!offered.iter().any(|line| line.starts_with("AUTH")));
    assert_eq!(client.auth_plain("ann@a.test", &ann.token).await.unwrap().code, 538);
    client.ask("MAIL FROM:<ann@a.test>", "530 5.7.0 Must issue").await.unwrap();
    client.starttls(trusting_client_config().unwrap(), "mx.a.test").await.unwrap();
    let offered = client.ehlo("c.test").await.unwrap();
    assert!(
        offered.iter().any(|line| line.starts_with("AUTH ") && line.contains(" PLAIN LOGIN")),
        "{offered:?}"
    );
    client.ask("MAIL FROM:<ann@a.test>", "530 5.7.0 Auth").await.unwrap();
    assert!(
        client
            .auth_plain("ann@a.test", "wrong")
            .await
            .unwrap()
            .to_string()
            .starts_with("535 5.7.8")
    );
    client.ask("AUTH LOGIN", "334").await.unwrap();
    client.ask("*", "501").await.unwrap();
    assert_eq!(client.auth_login("ANN@a.test", &ann.token).await.unwrap().code, 235);
    assert_eq!(world.login.sessions(ann.id).len(), 1);
    client.quit().await.unwrap();
    until("the session ends", async || world.login.sessions(ann.id).is_empty()).await;
}

#[tokio::test]
async fn a_submitted_message_is_completed_signed_and_goes_everywhere() {
    let world = World::new().await;
    let pair = generate_key(KeyAlgorithm::Ed25519).unwrap();
    let key = DkimKey {
        selector: "s1".into(),
        algorithm: DkimAlgorithm::Ed25519,
        private: DkimPrivate::new(pair.private),
        public_dns: pair.public_dns,
        state: DkimState::Active,
        created_at: Timestamp::now(),
    };
    world.directory.add_dkim_key(&Domain::parse("a.test").unwrap(), key).await.unwrap();
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let message = [b"Bcc: bob@a.test\r\n", MESSAGE].concat();
    let reply =
        client.deliver("ann@a.test", &["bob@a.test", "far@b.test"], &message).await.unwrap();
    assert_eq!(reply.code, 250);
    let message = arrived(&bob).await;
    assert!(!message.contains("Bcc") && !message.contains("127.0.0.1"), "{message}");
    for part in [
        "Received: from mx.a.test\r\n\tby mx.a.test with ESMTPSA id ",
        "\r\nDate: ",
        "@a.test>\r\nFrom: Ann <ann@a.test>",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(message.contains("\r\nDKIM-Signature: ") && message.contains("d=a.test;"), "{message}");
    assert!(message.ends_with("\r\n\r\n.dot\r\nHello.\r\n"));
    assert_eq!(world.queue.counts().await.unwrap().due, 1);
}

#[tokio::test]
async fn people_send_in_a_name_of_their_own() {
    let world = World::new().await;
    let (ann, _bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let alias: Mailbox = "team@a.test".parse().unwrap();
    world
        .directory
        .add_alias(alias, vec!["ann@a.test".parse().unwrap()], Timestamp::now())
        .await
        .unwrap();
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    for sender in ["bob@a.test", "ann@b.test"] {
        client.ask(&format!("MAIL FROM:<{sender}>"), "553 5.7.1").await.unwrap();
    }
    for sender in ["ann@a.test", "ann+x@a.test", "team@a.test", ""] {
        let reply = client.deliver(sender, &["far@b.test"], MESSAGE).await.unwrap();
        assert_eq!(reply.code, 250, "{sender}");
    }
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    for (from, answer) in [
        ("From: bob@a.test\r\n", "553 5.7.1"),
        ("From: ann@a.test\r\nFrom: bob@a.test\r\n", "550 5.6.0"),
        ("From: ann@a.test, bob@a.test\r\n", "550 5.6.0"),
        ("Subject: x\r\n", "550 5.6.0"),
    ] {
        let message = format!("{from}\r\nbody\r\n");
        let reply =
            client.deliver("ann@a.test", &["far@b.test"], message.as_bytes()).await.unwrap();
        assert!(reply.to_string().starts_with(answer), "{from}: {reply}");
    }
    assert_eq!(world.queue.counts().await.unwrap().due, 4);
}

#[tokio::test]
async fn a_lock_ends_submission_sessions() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut idle = world.logged_in(&ann, "ann@a.test").await;
    let mut busy = world.logged_in(&ann, "ann@a.test").await;
    busy.ask("MAIL FROM:<ann@a.test>", "250").await.unwrap();
    busy.ask("RCPT TO:<far@b.test>", "250").await.unwrap();
    world.mailboxes.lock(ann.id).await.unwrap();
    assert!(idle.until_closed().await.unwrap().starts_with("421 4.3.0"));
    assert!(busy.data(MESSAGE).await.unwrap().to_string().starts_with("530"));
    assert!(busy.until_closed().await.unwrap().starts_with("421 4.3.0"));
    assert_eq!(world.queue.counts().await.unwrap().entries, 0);
}

#[tokio::test]
async fn an_overlong_answer_ends_the_exchange_and_not_the_session() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.submission().await;
    client.ehlo("c.test").await.unwrap();
    client.starttls(trusting_client_config().unwrap(), "mx.a.test").await.unwrap();
    client.ehlo("c.test").await.unwrap();
    client.ask("AUTH PLAIN", "334").await.unwrap();
    client.ask(&STANDARD.encode([b'x'; 12_000]), "500 5.5.2").await.unwrap();
    client.ask("NOOP", "250").await.unwrap();
    assert_eq!(client.auth_plain("ann@a.test", &ann.token).await.unwrap().code, 235);
}
