//! What senders hear: of failure, delay, and success, and when they hear nothing.

use std::time::Duration;

use letterlock_address::Mailbox;
use letterlock_queue::{NewEntry, Notify, RequireTls, Ret};
use letterlock_relay::{Arrived, Subject};
use letterlock_state::{DsnKind, Event};
use letterlock_testkit::mx::{Behaviour, Stage};

use crate::world::{MESSAGE, World, deferred, entry};

const SUCCESS: Notify = Notify::On { success: true, failure: false, delay: false };

fn later() -> Behaviour {
    Behaviour::Reply("451 4.3.0 later".to_owned())
}

#[tokio::test]
async fn success_is_reported_here_where_the_next_server_does_not() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| script.without("DSN"));
    world.start();
    let mut new = entry("ann@here.test", &["bob@far.test", "eve@far.test"], MESSAGE);
    (new.envid, new.ret) = (Some("env-1".to_owned()), Some(Ret::Full));
    new.recipients[0].notify = SUCCESS;
    new.recipients[0].orcpt = Some("rfc822;first@list.test".to_owned());
    let id = world.accept(new).await;
    let report = world.report(id).await;
    for wanted in [
        "Subject: Your message was passed on\r\n",
        "Original-Envelope-Id: env-1\r\n",
        "Original-Recipient: rfc822; first@list.test\r\nFinal-Recipient: rfc822; bob@far.test\r\nAction: relayed\r\n",
        "Remote-MTA: dns; h1.far.test\r\n",
    ] {
        assert!(report.contains(wanted), "{wanted:?} in\n{report}");
    }
    assert!(!report.contains("eve@far.test\r\nAction") && !report.contains(".dots"));
    assert!(!mx.messages()[0].parameters.contains("RET="));
    let events = world.events(id).await;
    let told = |event: &Event| matches!(event, Event::DsnSent { kind: DsnKind::Relayed, .. });
    assert!(events.iter().any(told), "{events:#?}");
}

#[tokio::test]
async fn a_server_with_dsn_takes_the_wishes_over() {
    let world = World::new().await;
    let mx = world.single();
    world.start();
    let mut new = entry("ann@here.test", &["bob@far.test"], MESSAGE);
    (new.envid, new.ret) = (Some("e 1".to_owned()), Some(Ret::Headers));
    new.recipients[0].notify = Notify::On { success: true, failure: true, delay: false };
    new.recipients[0].orcpt = Some("rfc822;first@list.test".to_owned());
    let id = world.accept(new).await;
    world.gone(id).await;
    assert!(world.reports().await.is_empty(), "they will come from there");
    let message = &mx.messages()[0];
    assert!(message.parameters.contains("RET=HDRS ENVID=e+201"), "{}", message.parameters);
    let recipient = &message.recipients[0].parameters;
    assert!(
        recipient.contains("NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@list.test"),
        "{recipient}"
    );
}

#[tokio::test]
async fn delay_is_told_once() {
    let mut world = World::new().await;
    world.outbound.delay_notice = Duration::from_millis(150);
    let mx = world.single();
    mx.always(Stage::Mail, later());
    world.start();
    let mut new =
        entry("ann@here.test", &["bob@far.test", "eve@far.test", "zoe@far.test"], MESSAGE);
    new.recipients[1].notify = Notify::Never;
    new.recipients[2].notify = Notify::On { success: false, failure: true, delay: false };
    let id = world.accept(new).await;
    while world.reports().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = mx.connections();
    // Several tries later there is still one report.
    mx.wait_for_connections(told + 3, crate::world::SOON).await.unwrap();
    world.until(id, |shown| deferred(shown, "451 4.3.0 later")).await;
    let reports = world.reports().await;
    assert_eq!(reports.len(), 1);
    for wanted in [
        "Subject: Delayed mail",
        "Final-Recipient: rfc822; bob@far.test\r\nAction: delayed\r\nStatus: 4.3.0\r\n",
        "Will-Retry-Until: ",
    ] {
        assert!(reports[0].contains(wanted), "{wanted:?} in\n{}", reports[0]);
    }
    assert!(
        !reports[0].contains("eve@far.test\r\nAction")
            && !reports[0].contains("zoe@far.test\r\nAction")
    );
    mx.behave();
    world.gone(id).await;
    assert_eq!(world.reports().await.len(), 1);
}

#[tokio::test]
async fn nobody_hears_of_delay_who_switched_it_off() {
    let mut world = World::new().await;
    world.outbound.delay_notice = Duration::ZERO;
    let mx = world.single();
    for _ in 0..4 {
        mx.once(Stage::Mail, later());
    }
    world.start();
    let id = world.send(&["bob@far.test"]).await;
    world.gone(id).await;
    assert!(world.reports().await.is_empty());
}

#[tokio::test]
async fn ret_full_returns_what_failed() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let _mx = world.host(1, |script| script.recipient("no@far.test", "550 5.1.1 no"));
    world.start();
    let new = entry("ann@here.test", &["no@far.test"], MESSAGE);
    let id = world.accept(NewEntry { ret: Some(Ret::Full), ..new }).await;
    let report = world.report(id).await;
    assert!(report.contains("Content-Type: message/rfc822\r\n") && report.contains(".dots"));
}

#[tokio::test]
async fn arrival_here_is_reported_when_it_was_asked_for() {
    let world = World::new().await;
    let relay = world.relay();
    let (ann, list): (Mailbox, Mailbox) =
        ("bob@here.test".parse().unwrap(), "all@here.test".parse().unwrap());
    let sender = "ann@here.test".parse().unwrap();
    let subject = Subject {
        id: letterlock_vault::DeliveryId::generate(),
        received_at: jiff::Timestamp::now(),
        reverse_path: &sender,
        envid: Some("env"),
        ret: None,
        message: MESSAGE.as_bytes(),
    };
    let arrived = |recipient, notify, expanded| Arrived {
        recipient,
        orcpt: Some("rfc822;x@y.test"),
        notify,
        expanded,
    };
    let now = jiff::Timestamp::now();
    let both = [arrived(&ann, SUCCESS, false), arrived(&list, SUCCESS, true)];
    assert!(relay.reporter().arrived(&subject, &both, now).await.unwrap());
    let report = world.reports().await.pop().unwrap();
    for wanted in [
        "Final-Recipient: rfc822; bob@here.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
        "Final-Recipient: rfc822; all@here.test\r\nAction: expanded\r\nStatus: 2.0.0\r\n",
        "Original-Envelope-Id: env\r\n",
    ] {
        assert!(report.contains(wanted), "{wanted:?} in\n{report}");
    }
    let quiet = [arrived(&ann, Notify::Unspecified, false)];
    assert!(!relay.reporter().arrived(&subject, &quiet, now).await.unwrap());
    let nobody = letterlock_address::ReversePath::Null;
    let subject = Subject { reverse_path: &nobody, ..subject };
    assert!(!relay.reporter().arrived(&subject, &both, now).await.unwrap());
    assert_eq!(world.reports().await.len(), 1);
}

#[tokio::test]
async fn a_report_about_requiretls_tells_nobody_on_the_way_what_was_sent() {
    let world = World::new().await;
    let mx = world.single();
    world.start();
    let guarded = |sender: &str| NewEntry {
        require_tls: RequireTls::Required,
        ret: Some(Ret::Full),
        ..entry(
            sender,
            &["bob@far.test"],
            "Subject: secret\r\nMessage-ID: <1@x.test>\r\n\r\nhidden\r\n",
        )
    };
    // It stays here: with the header, but never whole (RFC 8689 §5).
    let id = world.accept(guarded("ann@here.test")).await;
    let report = world.report(id).await;
    assert!(report.contains("Status: 5.7.30\r\n") && report.contains("Subject: secret\r\n"));
    assert!(!report.contains("hidden"), "{report}");
    // It goes elsewhere, where nothing is secured: without the header, and not lost.
    world.accept(guarded("eve@far.test")).await;
    let sent = mx.wait_for(1, crate::world::SOON).await.unwrap();
    let text = sent[0].text();
    assert!(text.contains("Status: 5.7.30\r\n") && text.contains("Message-ID: <1@x.test>"));
    assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_sender_who_is_an_alias_is_told_wherever_that_leads() {
    let world = World::new().await;
    world.exchangers(&[(10, "h1.far.test")]);
    let mx = world.host(1, |script| script.recipient("no@far.test", "550 5.1.1 no"));
    world.start();
    let away = world.accept(entry("away@here.test", &["no@far.test"], MESSAGE)).await;
    let told = mx.wait_for(1, crate::world::SOON).await.unwrap().remove(0);
    assert_eq!((told.from.as_str(), told.addresses()), ("", vec!["away@far.test"]));
    assert!(told.text().starts_with("Delivered-To: away@here.test\r\n"), "{}", told.text());
    assert!(
        told.text().contains("To: <away@here.test>\r\n")
            && told.text().contains("Status: 5.1.1\r\n")
    );
    world.gone(away).await;
    assert!(world.reports().await.is_empty(), "nobody of that name is here");

    let both = world.accept(entry("both@here.test", &["no@far.test"], MESSAGE)).await;
    world.gone(both).await;
    assert_eq!(world.reports().await.len(), 1);
    assert_eq!(mx.wait_for(2, crate::world::SOON).await.unwrap()[1].addresses(), ["away@far.test"]);
}
