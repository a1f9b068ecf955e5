//! The relay from its queue to other servers, and back to the sender.

mod flow;
mod reports;
mod transport;
mod world;

use std::time::Duration;

use letterlock_queue::{Counts, Notify};
use letterlock_relay::client::Timeouts;
use letterlock_state::Event;
use letterlock_testkit::ca::TestCa;
use letterlock_testkit::dns::{Fault, Zone};
use letterlock_testkit::mx::{Behaviour, Stage};

use crate::world::{MESSAGE, SOON, World, deferred, entry};

fn reply(text: &str) -> Behaviour {
    Behaviour::Reply(text.to_owned())
}

#[tokio::test]
async fn mail_arrives_and_leaves_the_queue() {
    let world = World::new().await;
    let mx = world.single();
    let early = world.send(&["bob@far.test", "eve@far.test"]).await;
    world.start();
    world.gone(early).await;
    let late = world.send(&["bob@far.test"]).await;
    world.gone(late).await;
    let messages = mx.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].text(), MESSAGE);
    assert_eq!(messages[0].addresses(), ["bob@far.test", "eve@far.test"]);
    assert_eq!(
        (messages[0].from.as_str(), messages[0].helo.as_str()),
        ("ann@here.test", "mx.here.test")
    );
    assert!(!messages[0].tls && messages[0].parameters.contains("SIZE="));
    assert_eq!(world.counts().await, Counts::default());
    let quit =
        |mx: &letterlock_testkit::mx::FakeMx| mx.commands().iter().any(|command| command == "QUIT");
    mx.wait_until(SOON, quit).await.unwrap();
}

#[tokio::test]
async fn everybody_gets_a_message_to_many_once() {
    let world = World::new().await;
    let mx = world.single();
    let addresses: Vec<String> = (0..130).map(|number| format!("r{number}@far.test")).collect();
    let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.send(&recipients).await);
    }
    world.start();
    for id in ids {
        world.gone(id).await;
    }
    let messages = mx.messages();
    assert!(messages.iter().all(|message| message.recipients.len() <= 100));
    let mut told: Vec<&str> = messages.iter().flat_map(|message| message.addresses()).collect();
    told.sort_unstable();
    let mut wanted = recipients.repeat(5);
    wanted.sort_unstable();
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let certificate = TestCa::new().unwrap().issue_expired(&["other.test"]).unwrap();
    let mx = world.host(1, |script| script.with_tls(certificate));
    world.start();
    world.send(&["bob@far.test"]).await;
    assert!(mx.wait_for(1, SOON).await.unwrap()[0].tls, "whatever the certificate");
    // From now on the domain is known to have TLS: a handshake that fails is no reason to go without.
    mx.once(Stage::StartTls, Behaviour::ReplyThenClose("220 go".to_owned()));
    let second = world.send(&["bob@far.test"]).await;
    world.gone(second).await;
    let messages = mx.messages();
    assert_eq!((messages.len(), messages[1].tls), (2, true));
}

#[tokio::test]
async fn a_failed_handshake_leads_to_plain_text_where_nothing_demands_tls() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let certificate = TestCa::new().unwrap().issue(&["h1.far.test"]).unwrap();
    let mx = world.host(1, |script| script.with_tls(certificate));
    mx.once(Stage::StartTls, Behaviour::ReplyThenClose("220 go".to_owned()));
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    assert_eq!((mx.messages().len(), mx.messages()[0].tls), (1, false));
    let events = world.events(id).await;
    let said = |wanted: &str| events.iter().any(|event| event.explain().contains(wanted));
    assert!(said("nothing demands TLS, so in plain text"), "{events:#?}");
}

#[tokio::test]
async fn what_is_deferred_is_tried_again() {
    let world = World::new().await;
    let mx = world.single();
    mx.once(Stage::Rcpt, reply("451 4.7.1 greylisted"));
    mx.once(Stage::Data, reply("451 4.3.0 later"));
    mx.once(Stage::EndOfData, reply("452 4.3.1 full"));
    mx.once(Stage::Mail, reply("421 4.3.2 closing"));
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    mx.wait_for(1, SOON).await.unwrap();
    world.gone(id).await;
    assert_eq!(mx.connections(), 5);
    assert!(world.reports().await.is_empty());
}

#[tokio::test]
async fn a_refusal_comes_back_to_the_sender() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let refusal = "550 5.1.1 No such user";
    let _mx = world.host(1, |script| script.recipient("nobody@far.test", refusal));
    world.start();
    let id = world.send(&["nobody@far.test"]).await;
    let report = world.report(id).await;
    for wanted in [
        "To: <ann@here.test>\r\n",
        "Final-Recipient: rfc822; nobody@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Remote-MTA: dns; h1.far.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user\r\n",
        "\r\nSubject: hello\r\n",
    ] {
        assert!(report.contains(wanted), "{wanted:?} in\n{report}");
    }
    assert!(!report.contains("dots"));
}

#[tokio::test]
async fn recipients_fare_each_on_their_own() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| {
        script
            .recipient("no@far.test", "550 5.1.1 no")
            .recipient("later@far.test", "451 4.2.1 later")
            .recipient("quiet@far.test", "550 5.1.1 no")
            .recipient("never@far.test", "550 5.1.1 no")
    });
    world.start();
    let recipients =
        ["yes@far.test", "no@far.test", "later@far.test", "never@far.test", "x@null.test"];
    world.dns.put(Zone::unsigned("null.test").mx("@", 0, "."));
    let mut new = entry("ann@here.test", &recipients, MESSAGE);
    new.recipients[3].notify = Notify::Never;
    let id = world.accept(new).await;
    world.until(id, |shown| deferred(shown, "451 4.2.1 later")).await;
    mx.change(|script| script.recipients.clear());
    world.gone(id).await;
    let messages = mx.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].addresses(), ["yes@far.test"]);
    assert_eq!(messages[1].addresses(), ["later@far.test"]);
    let reports = world.reports().await;
    let about = |address: &str| {
        reports.iter().filter(|report| report.contains(&format!("; {address}\r\n"))).count()
    };
    assert_eq!((reports.len(), about("no@far.test"), about("x@null.test")), (2, 1, 1));
    assert_eq!(about("never@far.test"), 0, "its sender does not want to hear");
}

#[tokio::test]
async fn a_dead_exchanger_is_passed_by() {
    let world = World::new().await;
    world.exchangers(&[
        (5, "missing.far.test"),
        (10, "h1.far.test"),
        (20, "h2.far.test"),
        (30, "h3.far.test"),
        (40, "h4.far.test"),
    ]);
    let (two, three) = (world.host(2, |script| script), world.host(3, |script| script));
    let last = world.host(4, |script| script);
    two.always(Stage::Greeting, Behaviour::ReplyThenClose("554 5.3.2 not today".to_owned()));
    three.always(Stage::Ehlo, Behaviour::Close);
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    assert_eq!(last.messages().len(), 1);
    assert_eq!((two.connections(), three.connections()), (1, 1));
}

#[tokio::test]
async fn a_silent_exchanger_is_passed_by() {
    let mut world = World::new().await;
    world.timeouts = Timeouts { greeting: Duration::from_millis(50), ..world.timeouts };
    world.exchangers(&[(10, "h1.far.test"), (20, "h2.far.test")]);
    let (silent, other) = (world.host(1, |script| script), world.host(2, |script| script));
    silent.always(Stage::Greeting, Behaviour::Hang);
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    assert_eq!(other.messages().len(), 1);
}

#[tokio::test]
async fn domains_that_take_no_mail() {
    let world = World::new().await;
    world.dns.put(Zone::unsigned("null.test").mx("@", 0, "."));
    world.dns.put(Zone::unsigned("loop.test").mx("@", 10, "mx.here.test").mx(
        "@",
        20,
        "h1.far.test",
    ));
    world.start();
    for (address, status) in
        [("x@null.test", "5.1.10"), ("x@no-such.test", "5.1.2"), ("x@loop.test", "5.4.6")]
    {
        let before = world.reports().await.len();
        let id = world.send(&[address]).await;
        world.gone(id).await;
        let reports = world.reports().await;
        assert_eq!(reports.len(), before + 1, "{address}");
        let wanted = format!("Action: failed\r\nStatus: {status}\r\n");
        assert!(reports[before].contains(&wanted), "{wanted} in\n{}", reports[before]);
    }
}

#[tokio::test]
async fn a_failing_lookup_is_no_verdict() {
    let world = World::new().await;
    let mx = world.single();
    world.dns.fail("far.test", Fault::ServFail);
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.until(id, |shown| deferred(shown, "4.4.3 looking up far.test")).await;
    world.dns.heal("far.test");
    world.gone(id).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test"), (20, "h2.far.test")]);
    let (mx, other) = (world.host(1, |script| script), world.host(2, |script| script));
    mx.once(Stage::EndOfData, Behaviour::Close);
    mx.once(Stage::EndOfData, Behaviour::KeepThenClose);
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.until(id, |shown| deferred(shown, "after the message")).await;
    world.gone(id).await;
    assert_eq!((mx.messages().len(), other.connections()), (2, 0), "not at once by another host");
}

#[tokio::test]
async fn old_mail_goes_back() {
    let mut world = World::new().await;
    world.outbound.expire = Duration::from_millis(350);
    let mx = world.single();
    mx.always(Stage::Mail, reply("451 4.3.0 never today"));
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    let report = world.report(id).await;
    assert!(report.contains("Status: 4.4.7\r\n"), "{report}");
    assert!(report.contains("Diagnostic-Code: smtp; 451 4.3.0 never today\r\n"), "{report}");
    assert!(mx.connections() >= 2, "it was tried more than once");
}

#[tokio::test]
async fn no_report_goes_out_where_none_may() {
    let world = World::new().await;
    world.dns.put(Zone::unsigned("null.test").mx("@", 0, "."));
    world.start();
    for from in ["", "x@nobody.test"] {
        let id = world.accept(entry(from, &["x@null.test"], MESSAGE)).await;
        world.gone(id).await;
    }
    assert_eq!(world.counts().await, Counts::default());
}

#[tokio::test]
async fn a_report_goes_to_senders_elsewhere() {
    let world = World::new().await;
    world.dns.put(Zone::unsigned("null.test").mx("@", 0, "."));
    let mx = world.single();
    world.start();
    world.accept(entry("remote@far.test", &["x@null.test"], MESSAGE)).await;
    let messages = mx.wait_for(1, SOON).await.unwrap();
    assert_eq!((messages[0].from.as_str(), messages[0].addresses()), ("", vec!["remote@far.test"]));
    assert!(
        messages[0].text().contains("From: Mail Delivery System <postmaster@mx.here.test>\r\n")
    );
}

#[tokio::test]
async fn eight_bit_mail_looks_for_a_host_that_takes_it() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test"), (20, "h2.far.test")]);
    let (_old, new) = (
        world.host(1, |script| script.without("8BITMIME").without("SMTPUTF8")),
        world.host(2, |script| script),
    );
    world.start();
    let body = "Subject: x\r\n\r\ngrüße\r\n";
    let id = world.accept(entry("ann@here.test", &["bob@far.test"], body)).await;
    world.gone(id).await;
    assert!(new.messages()[0].parameters.contains("BODY=8BITMIME"));
    assert_eq!(new.messages()[0].text(), body);
    new.change(|script| {
        script.keywords.retain(|keyword| keyword != "8BITMIME" && keyword != "SMTPUTF8")
    });
    let id = world.accept(entry("ann@here.test", &["bob@far.test"], body)).await;
    assert!(world.report(id).await.contains("Status: 5.6.3\r\n"));
    let id = world.send(&["jö@far.test", "bob@far.test"]).await;
    world.gone(id).await;
    assert_eq!(world.reports().await.len(), 2);
    assert!(world.reports().await[1].contains("Status: 5.6.7\r\n"));
}

#[tokio::test]
async fn broken_line_ends_go_by_bdat_or_not_at_all() {
    let world = World::new().await;
    let mx = world.single();
    world.start();
    let body = "Subject: x\r\n\r\none\n.\ntwo\r\n";
    let id = world.accept(entry("ann@here.test", &["bob@far.test"], body)).await;
    world.gone(id).await;
    assert_eq!(mx.messages()[0].text(), body);
    mx.change(|script| script.keywords.retain(|keyword| keyword != "CHUNKING"));
    let id = world.accept(entry("ann@here.test", &["bob@far.test"], body)).await;
    assert!(world.report(id).await.contains("Status: 5.6.0\r\n"));
}

#[tokio::test]
async fn large_mail_keeps_its_octets() {
    let world = World::new().await;
    let mx = world.single();
    world.start();
    let body = format!("Subject: x\r\n\r\n{}", ".a line with a dot\r\n".repeat(40_000));
    world.accept(entry("ann@here.test", &["bob@far.test"], &body)).await;
    assert!(mx.wait_for(1, SOON).await.unwrap()[0].text() == body);
}

#[tokio::test]
async fn a_smarthost_takes_everything() {
    let mut world = World::new().await;
    let smart = world.host(7, |script| script);
    world.outbound.routes.insert("*".to_owned(), world.address(7).to_string());
    world.start();
    let id = world.send(&["a@one.test", "b@two.test", "c@[127.0.0.1]"]).await;
    world.gone(id).await;
    let messages = smart.messages();
    assert_eq!((messages.len(), messages[0].recipients.len()), (1, 3));
}

#[tokio::test]
async fn address_literals_need_no_lookup() {
    let world = World::new().await;
    let mx = world.host(8, |script| script);
    world.start();
    world.send(&[&format!("bob@[{}]", world.address(8).ip())]).await;
    mx.wait_for(1, SOON).await.unwrap();
}

#[tokio::test]
async fn draining_ends_what_was_begun_and_begins_nothing() {
    let mut world = World::new().await;
    world.timeouts.data_end = Duration::from_millis(300);
    let mx = world.single();
    mx.once(Stage::EndOfData, Behaviour::Hang);
    let running = world.start();
    let first = world.send(&["bob@far.test"]).await;
    mx.wait_until(SOON, |mx| mx.commands().iter().any(|command| command == "DATA")).await.unwrap();
    assert_eq!(world.shutdown.tasks(), 1);
    world.shutdown.begin();
    let second = world.send(&["bob@far.test"]).await;
    tokio::time::timeout(SOON, running).await.expect("it ends").unwrap();
    assert_eq!((world.shutdown.tasks(), mx.connections()), (0, 1));
    world.until(first, |shown| deferred(shown, "no answer in time")).await;
    let second = world.queue.show(second).await.unwrap().unwrap();
    assert_eq!(second.rows[0].attempts, 0);
}

#[tokio::test]
async fn where_ipv6_leads_nowhere_ipv4_is_tried() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    world.dns.change("far.test", |zone| zone.aaaa("h1", std::net::Ipv6Addr::LOCALHOST)).unwrap();
    let mx = world.host(1, |script| script);
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    assert_eq!(mx.messages().len(), 1);
    let attempts = world.events(id).await;
    let tries = attempts.iter().filter(|event| matches!(event, Event::Attempt { .. })).count();
    assert_eq!(tries, 1, "within one try: {attempts:#?}");
}
