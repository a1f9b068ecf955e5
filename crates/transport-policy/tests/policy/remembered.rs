//! Domains that had TLS before, and DNS servers that drop signatures.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::SignedDuration;
use letterlock_config::{Dnssec, Downgrade};
use letterlock_dns::Validation;
use letterlock_state::{Policy, TlsLevel};
use letterlock_testkit::dns::Zone;
use letterlock_transport_policy::{StartTls, Verdict, Wish};

use crate::world::{World, at};

const HOUR: Duration = Duration::from_secs(3600);

fn zone() -> Zone {
    Zone::signed("example.test").mx("@", 10, "mx.example.test").a("mx", Ipv4Addr::LOCALHOST)
}

#[tokio::test]
async fn tls_that_was_there_is_asked_for_again() {
    for downgrade in [Downgrade::Hold, Downgrade::Deliver] {
        let world = World::with(1, downgrade, Dnssec::Auto).await;
        world.dns.put(zone());
        let good = world.ca.issue(&["mx.example.test"]).unwrap();
        let other = world.ca.issue(&["other.test"]).unwrap();

        let (domain, host) = world.host("example.test", Wish::None, at(0)).await;
        assert_eq!((host.starttls(), host.policy()), (StartTls::Wanted, Policy::Opportunistic));
        let judgement = world.judge(&host, Some(&good), false, Duration::ZERO).await;
        assert_eq!(judgement.level, Some(TlsLevel::Verified));
        let Verdict::Accept(decision) = &judgement.verdict else { panic!("{judgement:?}") };
        assert_eq!(
            decision.to_string(),
            "opportunistic TLS: the certificate is valid for mx.example.test"
        );
        world.policies.note(&domain, &host, &judgement, (None, None), at(0));

        let (_, host) = world.host("example.test", Wish::None, at(1)).await;
        assert_eq!((host.starttls(), host.policy()), (StartTls::Required, Policy::Remembered));
        // Any TLS will do: certificates come and go where nobody promised any.
        let judgement = world.judge(&host, Some(&other), false, Duration::ZERO).await;
        assert!(matches!(judgement.verdict, Verdict::Accept(_)), "{judgement:?}");
        let judgement = world.judge(&host, None, false, 23 * HOUR).await;
        let Verdict::Refuse(refusal) = judgement.verdict else { panic!("{judgement:?}") };
        assert_eq!((refusal.status, refusal.hold), ((4, 7, 5), false));
        assert!(
            refusal
                .to_string()
                .starts_with("remembered TLS: mx.example.test does not offer STARTTLS")
        );
        let judgement = world.judge(&host, None, false, 24 * HOUR).await;
        match (downgrade, judgement.verdict) {
            (Downgrade::Hold, Verdict::Refuse(refusal)) => assert!(refusal.hold),
            (Downgrade::Deliver, Verdict::Plain(decision)) => {
                assert_eq!(decision.policy, Policy::Remembered);
            }
            (_, verdict) => panic!("{verdict:?}"),
        }

        // The sender may not care, and thirty days are enough.
        let (_, host) = world.host("example.test", Wish::TlsNotRequired, at(1)).await;
        assert_eq!((host.starttls(), host.policy()), (StartTls::Wanted, Policy::Lifted));
        let later = at(0) + SignedDuration::from_hours(31 * 24);
        let (_, host) = world.host("example.test", Wish::None, later).await;
        assert_eq!(host.policy(), Policy::Opportunistic);
        world.state.close().await.unwrap();
    }
}

#[tokio::test]
async fn without_signatures_only_domains_with_dane_wait() {
    let world = World::new(1).await;
    let issued = world.ca.issue(&["mx.example.test"]).unwrap();
    world.dns.put(zone().tlsa("_25._tcp.mx", 3, 1, 1, &issued.tlsa(3, 1, 1)));
    let (domain, host) = world.host("example.test", Wish::None, at(0)).await;
    assert_eq!((host.starttls(), host.policy()), (StartTls::Required, Policy::Dane));
    let judgement = world.judge(&host, Some(&issued), false, Duration::ZERO).await;
    assert_eq!(judgement.level, Some(TlsLevel::Dane));
    world.dns.strip_signatures(true);
    assert_eq!(world.resolver.probe().await, Some(Validation::Unsupported));
    // It is not known yet.
    assert!(world.domain("example.test", Wish::None, at(1)).await.is_ok());
    world.policies.note(&domain, &host, &judgement, (None, None), at(1));
    let defer = world.domain("example.test", Wish::None, at(2)).await.unwrap_err();
    assert_eq!(defer.0.status, (4, 7, 5));
    assert!(world.domain("example.test", Wish::TlsNotRequired, at(2)).await.is_ok());
    world.dns.strip_signatures(false);
    assert_eq!(world.resolver.probe().await, Some(Validation::On));
    assert!(world.domain("example.test", Wish::None, at(2)).await.is_ok());
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn while_its_memory_cannot_be_read_nothing_goes_to_a_domain() {
    let world = World::new(1).await;
    world.dns.put(zone());
    assert!(world.domain("example.test", Wish::None, at(0)).await.is_ok());
    // As while the server shuts down.
    world.state.close().await.unwrap();
    let deferred = world.domain("example.test", Wish::None, at(0)).await.unwrap_err();
    assert_eq!(deferred.0.status, (4, 7, 5));
    assert!(deferred.to_string().contains("cannot be read"), "{deferred}");
    // Who does not want policies does not need the memory.
    assert!(world.domain("example.test", Wish::TlsNotRequired, at(0)).await.is_ok());
}
