//! TLSA records in all their forms, aliases, and what reports hear.

use std::net::Ipv4Addr;
use std::time::Duration;

use letterlock_dns::{DnsError, Tlsa};
use letterlock_state::{Policy, PolicyType, TlsFailure, TlsLevel};
use letterlock_testkit::ca::TestCa;
use letterlock_testkit::dns::{Fault, Zone};
use letterlock_transport_policy::dane::is_usable;
use letterlock_transport_policy::{HostChoice, HostPolicy, Outcome, Verdict, Wish};

use crate::world::{World, at};

fn zone() -> Zone {
    Zone::signed("example.test").mx("@", 10, "mx.example.test").a("mx", Ipv4Addr::LOCALHOST)
}

#[tokio::test]
async fn every_form_of_record() {
    let world = World::new(1).await;
    let stranger = TestCa::new().unwrap();
    // Nobody trusts its authority, and yet DANE may.
    let shown = stranger.issue(&["mx.example.test"]).unwrap();
    for usage in [2, 3] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let data = shown.tlsa(usage, selector, matching);
                let kind = format!("{usage} {selector} {matching}");
                // One that fits is enough.
                world.dns.put(zone().tlsa("_25._tcp.mx", usage, selector, matching, &data).tlsa(
                    "_25._tcp.mx",
                    3,
                    1,
                    1,
                    &[9; 32],
                ));
                let (_, host) = world.host("example.test", Wish::None, at(0)).await;
                let judgement = world.judge(&host, Some(&shown), false, Duration::ZERO).await;
                let Verdict::Accept(decision) = judgement.verdict else {
                    panic!("{kind}: {judgement:?}")
                };
                let words = format!("DANE: the certificate fits the TLSA record {kind}");
                assert_eq!((decision.to_string(), decision.verified), (words, true));
                assert_eq!(judgement.level, Some(TlsLevel::Dane));
            }
        }
    }
    // An authority that the host does not send may stand in the record.
    world.dns.put(zone().tlsa("_25._tcp.mx", 2, 0, 0, &shown.tlsa(2, 0, 0)));
    let (_, host) = world.host("example.test", Wish::None, at(0)).await;
    let judgement = world.judge(&host, Some(&shown.alone()), false, Duration::ZERO).await;
    assert_eq!(judgement.level, Some(TlsLevel::Dane), "{judgement:?}");
    // Of a digest nobody can make an authority.
    world.dns.put(zone().tlsa("_25._tcp.mx", 2, 0, 1, &shown.tlsa(2, 0, 1)));
    let (_, host) = world.host("example.test", Wish::None, at(0)).await;
    let judgement = world.judge(&host, Some(&shown.alone()), false, Duration::ZERO).await;
    assert_eq!(judgement.failure.map(|failure| failure.0), Some(TlsFailure::TlsaInvalid));
    world.state.close().await.unwrap();
}

#[test]
fn records_that_can_be_used() {
    let record = |usage, selector, matching, length| Tlsa {
        usage,
        selector,
        matching,
        data: vec![1; length],
    };
    for good in [(3, 1, 1, 32), (2, 0, 2, 64), (3, 0, 0, 1), (2, 1, 0, 400)] {
        assert!(is_usable(&record(good.0, good.1, good.2, good.3)), "{good:?}");
    }
    for bad in [
        (0, 1, 1, 32),
        (1, 1, 1, 32),
        (4, 1, 1, 32),
        (3, 2, 1, 32),
        (3, 1, 3, 32),
        (3, 1, 1, 31),
        (3, 1, 2, 32),
        (3, 1, 0, 0),
        (255, 1, 1, 32),
    ] {
        assert!(!is_usable(&record(bad.0, bad.1, bad.2, bad.3)), "{bad:?}");
    }
}

#[tokio::test]
async fn the_certificate_below_an_authority_is_for_one_of_three_names() {
    let world = World::new(1).await;
    let data = world.ca.issue(&["x.test"]).unwrap().tlsa(2, 1, 1);
    world.dns.put(
        Zone::signed("example.test")
            .mx("@", 10, "alias.example.test")
            .cname("alias", "mx.other.test")
            .tlsa("_25._tcp.alias", 3, 1, 1, &[9; 32]),
    );
    world.dns.put(Zone::signed("other.test").a("mx", Ipv4Addr::LOCALHOST).tlsa(
        "_25._tcp.mx",
        2,
        1,
        1,
        &data,
    ));
    // The expanded name is asked first (RFC 7672 §2.2.3), and is what the host is asked for.
    let (_, host) = world.host("example.test", Wish::None, at(0)).await;
    assert_eq!(host.check(&world.tls).server_name(), "mx.other.test");
    for (name, fits) in [
        ("mx.other.test", true),
        ("example.test", true),
        ("alias.example.test", true),
        ("other.test", false),
    ] {
        let shown = world.ca.issue(&[name]).unwrap();
        let judgement = world.judge(&host, Some(&shown), false, Duration::ZERO).await;
        assert_eq!(matches!(judgement.verdict, Verdict::Accept(_)), fits, "{name}");
        if !fits {
            let failure = judgement.failure.map(|failure| failure.0);
            assert_eq!(failure, Some(TlsFailure::CertificateHostMismatch));
        }
    }
    // Without a record there, the alias's own counts.
    world.dns.put(Zone::signed("other.test").a("mx", Ipv4Addr::LOCALHOST));
    let (_, host) = world.host("example.test", Wish::None, at(0)).await;
    assert_eq!(host.policy(), Policy::Dane);
    assert_eq!(host.check(&world.tls).server_name(), "alias.example.test");
    // Also if it leads into a zone that is not signed, whose own records do not count.
    world.dns.put(Zone::unsigned("other.test").a("mx", Ipv4Addr::LOCALHOST).tlsa(
        "_25._tcp.mx",
        2,
        1,
        1,
        &data,
    ));
    let (_, host) = world.host("example.test", Wish::None, at(0)).await;
    assert_eq!(host.check(&world.tls).server_name(), "alias.example.test");
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn a_domain_that_is_its_own_exchanger_may_have_dane() {
    let world = World::new(1).await;
    let issued = world.ca.issue(&["own.test"]).unwrap();
    world.dns.put(Zone::signed("own.test").a("@", Ipv4Addr::LOCALHOST).tlsa(
        "_25._tcp",
        3,
        0,
        1,
        &issued.tlsa(3, 0, 1),
    ));
    let (_, host) = world.host("own.test", Wish::None, at(0)).await;
    assert_eq!(host.policy(), Policy::Dane);
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn reports_hear_of_each_session() {
    let world = World::new(1).await;
    let issued = world.ca.issue(&["mx.example.test"]).unwrap();
    world.dns.put(zone().tlsa("_25._tcp.mx", 3, 1, 1, &[9; 32]));
    let (domain, host) = world.host("example.test", Wish::None, at(0)).await;
    let judgement = world.judge(&host, Some(&issued), false, Duration::ZERO).await;
    let Verdict::Refuse(refusal) = &judgement.verdict else { panic!("{judgement:?}") };
    assert_eq!(refusal.to_string(), "DANE: no certificate fits any TLSA record");
    let (own, peer) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
    world.policies.note(&domain, &host, &judgement, (Some(own), Some(peer)), at(0));
    world.dns.fail("_25._tcp.mx.example.test", Fault::Bogus);
    assert!(matches!(world.choose("example.test", Wish::None, at(0)).await.1, HostChoice::Skip(_)));
    world.policies.note_lookup("bogus.test", &DnsError::Bogus, at(0));
    world.policies.note_lookup("slow.test", &DnsError::Temporary("x".into()), at(0));
    let mut found = world.state.tls_results(at(0)).await.unwrap();
    found.sort_by_key(|count| count.result.failure);
    let bogus = found.extract_if(.., |count| count.domain == "bogus.test").next().unwrap();
    assert_eq!(bogus.result.failure, Some(TlsFailure::DnssecInvalid));
    let failures: Vec<_> = found.iter().map(|count| count.result.failure.unwrap()).collect();
    assert_eq!(failures, [TlsFailure::TlsaInvalid, TlsFailure::DnssecInvalid]);
    let first = &found[0].result;
    assert_eq!(first.policy_type, PolicyType::Tlsa);
    assert_eq!(first.policy, [format!("3 1 1 {}", "09".repeat(32))]);
    assert_eq!((first.sending_ip, first.receiving_ip), (Some(own), Some(peer)));
    assert_eq!(first.receiving_mx.as_deref(), Some("mx.example.test"));
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn requiretls_must_be_offered() {
    let world = World::new(1).await;
    let issued = world.ca.issue(&["mx.example.test"]).unwrap();
    world.dns.put(zone());
    let (_, host) = world.host("example.test", Wish::RequireTls, at(0)).await;
    let judgement = world.judge(&host, Some(&issued), false, Duration::ZERO).await;
    let Verdict::Refuse(refusal) = judgement.verdict else { panic!("{judgement:?}") };
    assert_eq!((refusal.status, refusal.is_permanent()), ((5, 7, 30), true));
    let judgement = world.judge(&host, Some(&issued), true, Duration::ZERO).await;
    let Verdict::Accept(decision) = judgement.verdict else { panic!("{judgement:?}") };
    assert!(decision.reason.ends_with("REQUIRETLS is met"), "{decision}");
    // Trouble of the moment is no reason to bounce.
    let check = host.check(&world.tls);
    let judgement = host.judge(&check, Outcome::HandshakeFailed("reset"), Duration::ZERO);
    let Verdict::Refuse(refusal) = judgement.verdict else { panic!("{judgement:?}") };
    assert!(!refusal.is_permanent());
    // What the operator names is the right host by that.
    let host = HostPolicy::configured("mx.example.test", Wish::RequireTls);
    let judgement = world.judge(&host, Some(&issued), true, Duration::ZERO).await;
    assert!(matches!(judgement.verdict, Verdict::Accept(_)), "{judgement:?}");
    let host = HostPolicy::configured("mx.example.test", Wish::None);
    let judgement = world.judge(&host, None, false, Duration::ZERO).await;
    assert!(matches!(judgement.verdict, Verdict::Plain(_)), "{judgement:?}");
    world.state.close().await.unwrap();
}
