//! Transport security over real sockets: MTA-STS × DANE × what the sender wishes × what the host shows, each cell with
//! its outcome. DNS is signed, policies come over HTTPS, and hosts listen on addresses of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use letterlock_queue::{NewEntry, RequireTls};
use letterlock_state::Event;
use letterlock_testkit::ca::{Issued, TestCa};
use letterlock_testkit::dns::{DnsServer, Zone};
use letterlock_testkit::https::{Answer, PolicyHost};
use letterlock_testkit::mx::{Behaviour, FakeMx, Stage};
use letterlock_vault::DeliveryId;

use crate::world::{MESSAGE, World, entry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sts {
    None,
    Testing,
    Enforce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dane {
    /// The zone is not signed.
    None,
    /// A record that fits the certificate.
    Fits,
    Mismatch,
    /// A record of a kind that does not count (usage 1).
    Unusable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Valid,
    Expired,
    WrongName,
    /// By an authority that nobody trusts.
    Untrusted,
    NoStartTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Tls,
    Plain,
    Deferred,
    Failed,
}

const STS: [Sts; 3] = [Sts::None, Sts::Testing, Sts::Enforce];
const DANE: [Dane; 4] = [Dane::None, Dane::Fits, Dane::Mismatch, Dane::Unusable];
const SHOWN: [Shown; 5] =
    [Shown::Valid, Shown::Expired, Shown::WrongName, Shown::Untrusted, Shown::NoStartTls];
const WISHES: [RequireTls; 3] = [RequireTls::Unspecified, RequireTls::Required, RequireTls::Lifted];

/// What the RFCs say: 7672 for DANE, 8461 for MTA-STS, 8689 for what the sender wishes.
fn expected(sts: Sts, dane: Dane, wish: RequireTls, shown: Shown) -> Outcome {
    if wish == RequireTls::Lifted {
        return if shown == Shown::NoStartTls { Outcome::Plain } else { Outcome::Tls };
    }
    // RFC 8689 §5: better bounced than badly secured.
    let insecure = if wish == RequireTls::Required { Outcome::Failed } else { Outcome::Deferred };
    let good = match dane {
        Dane::Fits => shown != Shown::NoStartTls,
        Dane::Mismatch => false,
        Dane::None | Dane::Unusable if sts == Sts::Enforce => shown == Shown::Valid,
        // Nobody vouches for the exchangers (RFC 8689 §4.2.1).
        Dane::None if wish == RequireTls::Required => false,
        Dane::None | Dane::Unusable if wish == RequireTls::Required => shown == Shown::Valid,
        // Records but none usable: TLS without verification (RFC 7672 §2.2).
        Dane::Unusable => shown != Shown::NoStartTls,
        Dane::None if shown == Shown::NoStartTls => return Outcome::Plain,
        Dane::None => true,
    };
    if good { Outcome::Tls } else { insecure }
}

fn label(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn host_name(dane: Dane, shown: Shown) -> String {
    format!("{}-{}.mxs.test", label(shown), label(dane))
}

fn domain(sts: Sts, dane: Dane, shown: Shown) -> String {
    let zone = if dane == Dane::None { "plain.test" } else { "signed.test" };
    format!("{}-{}-{}.{zone}", label(sts), label(dane), label(shown))
}

/// The exchangers, with the TLSA records of their zone.
fn exchangers(world: &World, ca: &TestCa) -> (Zone, Vec<FakeMx>) {
    let stranger = TestCa::new().unwrap();
    let mut zone = Zone::signed("mxs.test");
    let mut hosts = Vec::new();
    let pairs = DANE.into_iter().flat_map(|dane| SHOWN.map(|shown| (dane, shown)));
    for (number, (dane, shown)) in (20..).zip(pairs) {
        let name = host_name(dane, shown);
        let certificate: Option<Issued> = match shown {
            Shown::Valid => Some(ca.issue(&[&name]).unwrap()),
            Shown::Expired => Some(ca.issue_expired(&[&name]).unwrap()),
            Shown::WrongName => Some(ca.issue(&["other.test"]).unwrap()),
            Shown::Untrusted => Some(stranger.issue(&[&name]).unwrap()),
            Shown::NoStartTls => None,
        };
        let address = world.address(number);
        let IpAddr::V4(ip) = address.ip() else { panic!("IPv4") };
        let digest = certificate.as_ref().map_or_else(|| vec![1; 32], Issued::tlsa_3_1_1);
        let label = name.trim_end_matches(".mxs.test");
        let owner = format!("_{}._tcp.{label}", address.port());
        zone = zone.a(label, ip);
        zone = match dane {
            Dane::None => zone,
            Dane::Fits => zone.tlsa(&owner, 3, 1, 1, &digest),
            Dane::Mismatch => zone.tlsa(&owner, 3, 1, 1, &[7; 32]),
            Dane::Unusable => zone.tlsa(&owner, 1, 1, 1, &digest),
        };
        hosts.push(world.host(number, |script| match certificate {
            Some(certificate) => script.with("REQUIRETLS").with_tls(certificate),
            None => script.with("REQUIRETLS"),
        }));
    }
    (zone, hosts)
}

/// The hosts of policies, on one port.
fn policy_hosts(world: &World, ca: &TestCa) -> (u16, [PolicyHost; 2], [Ipv4Addr; 2]) {
    let mut names: Vec<String> = Vec::new();
    for (dane, shown) in DANE.into_iter().flat_map(|dane| SHOWN.map(|shown| (dane, shown))) {
        names.extend(
            [Sts::Testing, Sts::Enforce].map(|sts| format!("mta-sts.{}", domain(sts, dane, shown))),
        );
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let certificate = ca.issue(&names).unwrap();
    let answer = |mode| {
        Answer::Text(format!(
            "version: STSv1\r\nmode: {mode}\r\nmx: *.mxs.test\r\nmax_age: 86400\r\n"
        ))
    };
    let ips = [240, 241].map(|number| match world.address(number).ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => panic!("IPv4"),
    });
    let start = |ip: Ipv4Addr, port, mode| {
        PolicyHost::start_on(SocketAddr::from((ip, port)), &certificate, answer(mode))
    };
    for _ in 0..50 {
        let testing = start(ips[0], 0, "testing").unwrap();
        let port = testing.address().port();
        if let Ok(enforce) = start(ips[1], port, "enforce") {
            return (port, [testing, enforce], ips);
        }
    }
    panic!("no port is free on both addresses");
}

/// The zones of the recipients' domains.
fn recipients(ips: [Ipv4Addr; 2]) -> [Zone; 2] {
    let mut zones = [Zone::unsigned("plain.test"), Zone::signed("signed.test")];
    for sts in STS {
        for (dane, shown) in DANE.into_iter().flat_map(|dane| SHOWN.map(|shown| (dane, shown))) {
            let name = domain(sts, dane, shown);
            let (label, _) = name.split_once('.').unwrap();
            let zone = &mut zones[usize::from(dane != Dane::None)];
            let mut changed = zone.clone().mx(label, 10, &host_name(dane, shown));
            if sts != Sts::None {
                let ip = ips[usize::from(sts == Sts::Enforce)];
                changed = changed
                    .txt(&format!("_mta-sts.{label}"), "v=STSv1; id=1;")
                    .a(&format!("mta-sts.{label}"), ip);
            }
            *zone = changed;
        }
    }
    zones
}

/// What became of a message at its first try.
async fn outcome(world: &World, id: DeliveryId) -> (Outcome, Vec<Event>) {
    loop {
        let events = world.events(id).await;
        let tls = events.iter().any(|event| matches!(event, Event::Host { tls: Some(_), .. }));
        let end = events.iter().find_map(|event| match event {
            Event::Delivered { .. } if tls => Some(Outcome::Tls),
            Event::Delivered { .. } => Some(Outcome::Plain),
            Event::Deferred { status, .. } => {
                assert_eq!(status, "4.7.5", "{events:#?}");
                Some(Outcome::Deferred)
            }
            Event::Failed { status, .. } => {
                assert_eq!(status, "5.7.30", "{events:#?}");
                Some(Outcome::Failed)
            }
            _ => None,
        });
        match end {
            Some(end) => return (end, events),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// A world in which certificates of the test's authority count, and DNSSEC is validated.
async fn secured(ca: &TestCa, zones: impl IntoIterator<Item = Zone>) -> World {
    let mut world = World::new().await;
    world.dns = DnsServer::start(zones).unwrap();
    world.validate = true;
    world.outbound.trusted_roots = Some(ca.root_file());
    world.outbound.retry = vec![Duration::from_secs(3_600)];
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_has_its_outcome() {
    let ca = TestCa::new().unwrap();
    let mut world = secured(&ca, []).await;
    let (zone, hosts) = exchangers(&world, &ca);
    let (port, _policies, ips) = policy_hosts(&world, &ca);
    world.outbound.policy_port = port;
    world.dns = DnsServer::start(recipients(ips).into_iter().chain([zone])).unwrap();
    world.start();
    let mut sent = Vec::new();
    for sts in STS {
        for (dane, shown) in DANE.into_iter().flat_map(|dane| SHOWN.map(|shown| (dane, shown))) {
            for wish in WISHES {
                let address = format!("{}@{}", label(wish), domain(sts, dane, shown));
                let new = entry("ann@here.test", &[&address], MESSAGE);
                let id = world.accept(NewEntry { require_tls: wish, ..new }).await;
                sent.push((id, sts, dane, wish, shown));
            }
        }
    }
    let mut wrong = Vec::new();
    let mut delivered = 0;
    for (id, sts, dane, wish, shown) in sent {
        let (found, events) = outcome(&world, id).await;
        let wanted = expected(sts, dane, wish, shown);
        delivered += usize::from(matches!(wanted, Outcome::Tls | Outcome::Plain));
        if found != wanted {
            wrong.push((sts, dane, wish, shown, wanted, found, events));
        }
    }
    assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
    let messages: Vec<_> = hosts.iter().flat_map(FakeMx::messages).collect();
    assert_eq!(messages.len(), delivered, "what was refused was not sent");
    for message in messages {
        let required = message.addresses()[0].starts_with("required@");
        assert_eq!(message.parameters.contains("REQUIRETLS"), required, "{message:?}");
        assert!(message.tls || !required);
    }
}

#[tokio::test]
async fn requiretls_wants_a_server_that_passes_it_on() {
    let ca = TestCa::new().unwrap();
    let mut world = secured(&ca, []).await;
    let IpAddr::V4(ip) = world.address(1).ip() else { panic!("IPv4") };
    let zone = Zone::signed("safe.test").mx("@", 10, "mx.safe.test").a("mx", ip);
    world.dns = DnsServer::start([zone]).unwrap();
    let certificate = ca.issue(&["mx.safe.test"]).unwrap();
    let mx = world.host(1, |script| script.with_tls(certificate));
    world.start();
    let wished = || {
        let new = entry("ann@here.test", &["bob@safe.test"], MESSAGE);
        NewEntry { require_tls: RequireTls::Required, ..new }
    };
    let id = world.accept(wished()).await;
    assert!(world.report(id).await.contains("Status: 5.7.30\r\n"));
    mx.change(|script| script.keywords.push("REQUIRETLS".to_owned()));
    let id = world.accept(wished()).await;
    assert_eq!(outcome(&world, id).await.0, Outcome::Tls);
    assert!(mx.messages()[0].parameters.contains("REQUIRETLS"));
}

#[tokio::test]
async fn remembered_tls_is_not_given_up_silently() {
    let mut world = World::new().await;
    world.outbound.retry = vec![Duration::from_secs(3_600)];
    world.exchangers(&[(10, "h1.far.test")]);
    let certificate = TestCa::new().unwrap().issue(&["h1.far.test"]).unwrap();
    let mx = world.host(1, |script| script.with_tls(certificate));
    world.start();
    let first = world.send(&["bob@far.test"]).await;
    assert_eq!(outcome(&world, first).await.0, Outcome::Tls);
    mx.always(Stage::StartTls, Behaviour::Reply("454 4.7.0 not now".to_owned()));
    let second = world.send(&["bob@far.test"]).await;
    let (found, events) = outcome(&world, second).await;
    assert_eq!(found, Outcome::Deferred, "{events:#?}");
    let told =
        |event: &Event| event.explain().contains("the domain had TLS within the last 30 days");
    assert!(events.iter().any(told), "{events:#?}");
    let shown = world.queue.show(second).await.unwrap().unwrap();
    assert!(shown.rows[0].security.as_ref().is_some_and(|why| why.starts_with("remembered TLS: ")));
    // After a day the operator decides: it is held, loudly.
    let old = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25);
    let new = entry("ann@here.test", &["bob@far.test"], MESSAGE);
    let third = world.accept(NewEntry { received_at: old, ..new }).await;
    world
        .until(third, |shown| {
            shown
                .as_ref()
                .is_some_and(|shown| shown.rows[0].state == letterlock_queue::RowState::Held)
        })
        .await;
}
