//! Connections: how many, how long, to whom, with which login; and addresses that are gone.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use letterlock_queue::{BodyType, Counts, Forward, NewEntry, Origin};
use letterlock_state::Event;
use letterlock_testkit::ca::TestCa;
use letterlock_testkit::mx::{Behaviour, FakeMx, Stage};

use crate::world::{MESSAGE, SOON, World, deferred, entry};

fn count(mx: &FakeMx, command: &str) -> usize {
    mx.commands().iter().filter(|said| said.starts_with(command)).count()
}

#[tokio::test]
async fn connections_carry_many_messages() {
    let mut world = World::new().await;
    world.outbound.connections_per_destination = 2;
    world.outbound.messages_per_connection = 10;
    let mx = world.single();
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(world.send(&["bob@far.test"]).await);
    }
    world.start();
    for id in ids {
        world.gone(id).await;
    }
    assert_eq!(mx.messages().len(), 40);
    assert!((4..=12).contains(&mx.connections()), "{} connections", mx.connections());
    assert_eq!(count(&mx, "RSET"), 40 - mx.connections(), "each begins anew");
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn the_servers_limits_are_kept() {
    let mut world = World::new().await;
    world.outbound.connections_per_destination = 1;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| script.with("LIMITS MAILMAX=2 RCPTMAX=3"));
    let addresses: Vec<String> = (0..10).map(|number| format!("r{number}@far.test")).collect();
    let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let id = world.send(&recipients).await;
    world.start();
    world.gone(id).await;
    let messages = mx.messages();
    assert_eq!(messages.iter().map(|message| message.recipients.len()).sum::<usize>(), 10);
    assert!(messages.iter().all(|message| message.recipients.len() <= 3));
    assert_eq!((messages.len(), mx.connections()), (4, 2), "two messages a connection");
}

#[tokio::test]
async fn a_kept_connection_that_died_costs_nothing() {
    let mut world = World::new().await;
    world.outbound.connections_per_destination = 1;
    let mx = world.single();
    // The server hangs up behind its answer, while another message waits for the connection.
    mx.once(Stage::EndOfData, Behaviour::Reply("250 ok".to_owned()));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.send(&["bob@far.test"]).await);
    }
    mx.once(Stage::Mail, Behaviour::ReplyThenClose("250 ok".to_owned()));
    world.start();
    for id in ids {
        world.gone(id).await;
    }
    assert!(world.reports().await.is_empty());
}

#[tokio::test]
async fn a_destination_that_has_enough_gets_less() {
    let mut world = World::new().await;
    world.outbound.connections_per_destination = 8;
    let mx = world.single();
    mx.always(Stage::Greeting, Behaviour::ReplyThenClose("421 4.7.0 too many".to_owned()));
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(world.send(&["bob@far.test"]).await);
    }
    world.start();
    for id in &ids {
        world.until(*id, |shown| deferred(shown, "421 4.7.0 too many")).await;
    }
    mx.behave();
    for id in ids {
        world.gone(id).await;
    }
    assert_eq!(mx.messages().len(), 8);
}

#[tokio::test]
async fn a_slow_destination_leaves_room_for_others() {
    let mut world = World::new().await;
    world.timeouts.greeting = Duration::from_secs(600);
    world.exchangers(&[(10, "h1.far.test")]);
    let slow = world.host(1, |script| script);
    slow.always(Stage::Greeting, Behaviour::Hang);
    let quick = world.host(2, |script| script);
    // More than are ever taken for one destination.
    for _ in 0..400 {
        world.send(&["bob@far.test"]).await;
    }
    world.start();
    slow.wait_for_connections(1, SOON).await.unwrap();
    let literal = format!("bob@[{}]", world.address(2).ip());
    let id = world.send(&[&literal]).await;
    world.gone(id).await;
    assert_eq!(quick.messages().len(), 1);
    let most = world.outbound.connections_per_destination;
    slow.wait_for_connections(most, SOON).await.unwrap();
    assert_eq!(slow.connections(), most);
}

#[tokio::test]
async fn binary_mail_goes_to_servers_for_it_or_not_at_all() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test"), (20, "h2.far.test")]);
    let _first = world.host(1, |script| script);
    let second = world.host(2, |script| script.with("BINARYMIME"));
    world.start();
    let binary = || {
        let new = entry("ann@here.test", &["bob@far.test"], "Subject: x\r\n\r\n\0\u{1}");
        NewEntry { body_type: BodyType::Binary, ..new }
    };
    let id = world.accept(binary()).await;
    world.gone(id).await;
    assert!(second.messages()[0].parameters.contains("BODY=BINARYMIME"));
    assert_eq!(second.messages()[0].text(), "Subject: x\r\n\r\n\0\u{1}");
    second.change(|script| script.keywords.retain(|keyword| keyword != "BINARYMIME"));
    let id = world.accept(binary()).await;
    assert!(world.report(id).await.contains("Status: 5.6.3\r\n"));
}

/// A smarthost that wants a login, with the file that has it.
fn smarthost(world: &mut World, number: u8, mechanism: &str, certificate: &TestCa) -> FakeMx {
    let address = world.address(number);
    let ip = address.ip().to_string();
    let issued = certificate.issue(&[&ip]).unwrap();
    let mechanism = format!("AUTH {mechanism}");
    let smart = world.host(number, |script| {
        let mut script = script.with(&mechanism).with_tls(issued);
        script.login = Some(("me@here.test".to_owned(), "s3cret".to_owned()));
        script
    });
    let file = world.folder().join("login");
    std::fs::write(&file, "me@here.test\ns3cret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.outbound.routes.insert("*".to_owned(), address.to_string());
    world.outbound.credentials.insert(address.to_string(), file);
    smart
}

#[tokio::test]
async fn a_smarthost_gets_the_login_over_verified_tls() {
    for mechanism in ["PLAIN LOGIN", "LOGIN"] {
        let mut world = World::new().await;
        let ca = TestCa::new().unwrap();
        let smart = smarthost(&mut world, 7, mechanism, &ca);
        world.outbound.trusted_roots = Some(ca.root_file());
        world.start();
        let id = world.send(&["a@one.test"]).await;
        world.gone(id).await;
        assert!(smart.messages()[0].tls);
        let shown = format!("{:?}", world.events(id).await);
        assert!(!shown.contains("s3cret") && shown.contains("Configured"), "{shown}");
    }
}

#[tokio::test]
async fn no_password_goes_to_a_host_that_proves_nothing() {
    let mut world = World::new().await;
    let ca = TestCa::new().unwrap();
    let smart = smarthost(&mut world, 7, "PLAIN", &ca);
    let other = TestCa::new().unwrap();
    world.outbound.trusted_roots = Some(other.root_file());
    world.start();
    let id = world.send(&["a@one.test"]).await;
    world.until(id, |shown| deferred(shown, "4.7.5")).await;
    assert_eq!((count(&smart, "AUTH"), count(&smart, "MAIL")), (0, 0));
}

#[tokio::test]
async fn addresses_that_are_gone_get_no_more_reports_and_copies() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| script.recipient("gone@far.test", "550 5.1.1 no such user"));
    world.start();
    let copy = || {
        let mut new = entry("ann@here.test", &["gone@far.test"], MESSAGE);
        let reverse_path = "SRS0=aa=bb=x.test=ann@here.test".parse().unwrap();
        new.recipients[0].forward = Some(Forward { reverse_path });
        new
    };
    let first = world.accept(copy()).await;
    world.gone(first).await;
    assert!(mx.commands().iter().any(|said| said.starts_with("MAIL FROM:<SRS0=")));
    let asked = count(&mx, "RCPT");
    let second = world.accept(copy()).await;
    world.gone(second).await;
    assert!(world.reports().await[1].contains("since the address is gone"));
    assert_eq!(count(&mx, "RCPT"), asked, "it was not asked again");
    let events = world.events(second).await;
    assert!(events.iter().any(|event| matches!(event, Event::Suppressed { .. })), "{events:#?}");
    // What somebody writes is tried, and an operator can let copies go again.
    let third = world.send(&["gone@far.test"]).await;
    world.gone(third).await;
    assert_eq!(count(&mx, "RCPT"), asked + 1);
    assert!(world.state.unsuppress(&"gone@far.test".parse().unwrap()).await.unwrap());
    let fourth = world.accept(copy()).await;
    world.gone(fourth).await;
    assert_eq!(count(&mx, "RCPT"), asked + 2);
}

#[tokio::test]
async fn the_trace_tells_the_whole_way() {
    let world = World::new().await;
    let mx = world.single();
    mx.once(Stage::Rcpt, Behaviour::Reply("451 4.7.1 greylisted".to_owned()));
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    let told: Vec<&str> = world
        .events(id)
        .await
        .iter()
        .map(|event| match event {
            Event::Attempt { number: 1, .. } => "attempt 1",
            Event::Attempt { number: 2, .. } => "attempt 2",
            Event::Host { tls: None, .. } => "host",
            Event::Reply { text, .. } if text.starts_with("451 ") => "451",
            Event::Reply { text, .. } if text.starts_with("250 ") => "250",
            Event::Deferred { .. } => "deferred",
            Event::Delivered { .. } => "delivered",
            _ => "other",
        })
        .collect();
    let wanted = ["attempt 1", "host", "451", "deferred", "attempt 2", "host", "250", "delivered"];
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn own_mail_is_converted_where_nobody_takes_eight_bits() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| script.without("8BITMIME").without("SMTPUTF8"));
    world.start();
    let body = "From: Zöe <ann@here.test>\r\nSubject: Grüße\r\n\r\nSchön, dass das geht.\r\n";
    let account = letterlock_vault::AccountId::generate();
    let own = || NewEntry {
        origin: Origin::Submission { account },
        smtputf8: true,
        ..entry("ann@here.test", &["bob@far.test"], body)
    };
    let id = world.accept(own()).await;
    world.gone(id).await;
    let message = mx.messages()[0].text();
    assert!(message.contains("\r\nSch=C3=B6n, dass") && message.is_ascii(), "{message}");
    assert!(message.contains("=?utf-8?B?"), "{message}");
    // What is passed on stays as it is, and so does what can be sent as it is.
    let mut copy = own();
    copy.recipients[0].forward = Some(Forward { reverse_path: copy.reverse_path.clone() });
    let id = world.accept(copy).await;
    assert!(world.report(id).await.contains("Status: 5.6.7\r\n"));
    mx.change(|script| script.keywords.extend(["8BITMIME".to_owned(), "SMTPUTF8".to_owned()]));
    let id = world.accept(own()).await;
    world.gone(id).await;
    assert_eq!(mx.messages()[1].text(), body);
}

#[tokio::test]
async fn tls_from_the_first_octet() {
    use letterlock_relay::client::{
        Content, Conversation, Dialogue, End, Job, Login, Means, Recipient, Security, Timeouts,
        Upgrade, converse_tls,
    };
    let ca = TestCa::new().unwrap();
    let mut script = letterlock_testkit::mx::Script::new("smart.test").with("AUTH PLAIN");
    script.login = Some(("me".to_owned(), "s3cret".to_owned()));
    script.implicit_tls = true;
    let smart = FakeMx::start(script.with_tls(ca.issue(&["smart.test"]).unwrap())).unwrap();
    let recipient =
        Recipient { address: "bob@far.test".parse().unwrap(), notify: None, orcpt: None };
    let job = Job {
        own: letterlock_address::Domain::parse("mx.here.test").unwrap().into(),
        reverse_path: "ann@here.test".parse().unwrap(),
        ret: None,
        envid: None,
        recipients: vec![recipient],
        content: Content::of(MESSAGE.as_bytes(), false, false),
        require_tls: false,
    };
    let login = Login { user: "me".to_owned(), password: "s3cret".to_owned().into() };
    let dialogue =
        Dialogue::new(&job, [0], "smart.test", Security::Active).with_login(Some(&login));
    let tls = letterlock_net::ClientTls::load(Some(&ca.root_file())).unwrap();
    let timeouts = Timeouts::default();
    let stream = letterlock_net::connect(smart.address(), SOON).await.unwrap();
    let means = Means {
        upgrade: Upgrade { config: tls.verified(), name: "smart.test".to_owned() },
        judge: &mut |look| {
            assert!(look.tls.is_some());
            Ok(())
        },
        message: MESSAGE.as_bytes(),
        timeouts: &timeouts,
    };
    let Conversation::Held { report, kept, .. } = converse_tls(stream, dialogue, means).await
    else {
        panic!("no handshake")
    };
    assert_eq!((report.end, kept.is_some()), (End::Complete, true));
    assert!(smart.messages()[0].tls);
}

#[tokio::test]
async fn what_people_send_is_tried_whatever_its_return_address() {
    let world = World::new().await;
    let mx = world.single();
    let now = jiff::Timestamp::now();
    world.state.suppress(&"bob@far.test".parse().unwrap(), "550 gone", now).await.unwrap();
    world.start();
    let without_sender = || NewEntry {
        reverse_path: letterlock_address::ReversePath::Null,
        ..entry("ann@here.test", &["bob@far.test"], MESSAGE)
    };
    let report = world.accept(without_sender()).await;
    world.gone(report).await;
    assert!(mx.messages().is_empty(), "a report of another server's is not");
    let account = letterlock_vault::AccountId::generate();
    let origin = Origin::Submission { account };
    let id = world.accept(NewEntry { origin, ..without_sender() }).await;
    world.gone(id).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_connection_is_not_left_open_when_whoever_waited_for_it_was_cancelled() {
    let mut world = World::new().await;
    world.outbound.connections_per_destination = 1;
    world.outbound.messages_per_minute = 60;
    let mx = world.single();
    let first = world.send(&["bob@far.test"]).await;
    let second = world.send(&["bob@far.test"]).await;
    world.start();
    world.gone(first).await;
    let cancelled = letterlock_queue::Subject::Message(second);
    assert_eq!(world.queue.cancel(cancelled).await.unwrap(), 1, "it waits for its second");
    mx.wait_until(SOON, |mx| count(mx, "QUIT") == 1).await.unwrap();
    assert_eq!(mx.messages().len(), 1);
}
