//! What DNSSEC says of answers, against a signed world with unsigned corners.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use letterlock_config::{Dns, Dnssec};
use letterlock_dns::{DnsError, Limits, MxAnswer, Resolver, Security, Tlsa, Validation};
use letterlock_testkit::dns::{DnsServer, Fault, RecordType, Zone};

use Security::{Insecure, Secure};

const FOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

fn start() -> DnsServer {
    let fill = |zone: Zone| {
        zone.mx("@", 10, "mx.signed.test")
            .mx("null", 0, ".")
            .a("mx", FOUR)
            .aaaa("mx", SIX)
            .a("four", FOUR)
            .tlsa("_25._tcp.mx", 3, 1, 1, &[7; 32])
            .tlsa("_25._tcp.mx", 2, 0, 0, &[1, 2])
            .cname("alias-in", "mx.signed.test")
            .cname("alias-out", "mx.plain.test")
            .cname("_25._tcp.alias-in", "_25._tcp.mx.signed.test")
    };
    DnsServer::start([fill(Zone::signed("signed.test")), fill(Zone::unsigned("plain.test"))])
        .expect("a DNS server")
}

fn resolver(server: &DnsServer, dnssec: Dnssec) -> Resolver {
    let settings = Dns {
        servers: vec![server.address()],
        dnssec,
        trust_anchors: Some(server.trust_anchor_file()),
    };
    let limits = Limits { timeout: Duration::from_millis(200), attempts: 1, ..Limits::default() };
    Resolver::with_limits(&settings, &limits).expect("a resolver")
}

#[tokio::test]
async fn exchangers_and_their_proven_absence() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    let hosts = MxAnswer::Hosts(vec![(10, "mx.signed.test".into())]);
    for (name, answer, security) in [
        ("signed.test", hosts.clone(), Secure),
        ("plain.test", hosts.clone(), Insecure),
        ("null.signed.test", MxAnswer::Null, Secure),
        ("four.signed.test", MxAnswer::Implicit, Secure),
        ("four.plain.test", MxAnswer::Implicit, Insecure),
    ] {
        assert_eq!(dns.mx_secured(name).await, Ok((answer, security)), "{name}");
    }
    assert_eq!(dns.mx_secured("none.signed.test").await, Err(DnsError::NotFound));
    let dns = resolver(&server, Dnssec::Off);
    assert_eq!(dns.mx_secured("signed.test").await, Ok((hosts, Insecure)));
    assert_eq!(dns.mx_secured("four.signed.test").await, Ok((MxAnswer::Implicit, Insecure)));
}

#[tokio::test]
async fn hosts_and_where_aliases_lead() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    let both = [IpAddr::V6(SIX), IpAddr::V4(FOUR)];
    for (name, security, canonical, alias) in [
        ("mx.signed.test", Secure, None, None),
        ("mx.plain.test", Insecure, None, None),
        ("alias-in.signed.test", Secure, Some("mx.signed.test"), Some(Secure)),
        ("alias-out.signed.test", Insecure, Some("mx.plain.test"), Some(Secure)),
        ("alias-in.plain.test", Insecure, Some("mx.signed.test"), Some(Insecure)),
    ] {
        let found = dns.host(name).await.expect(name);
        assert_eq!(found.addresses, both, "{name}");
        assert_eq!(found.security, security, "{name}");
        assert_eq!((found.canonical.as_deref(), found.alias), (canonical, alias), "{name}");
    }
    let four = dns.host("four.signed.test").await.expect("an address");
    assert_eq!((four.addresses, four.security), (vec![IpAddr::V4(FOUR)], Secure));
    assert_eq!(dns.host("signed.test").await.expect("no address").addresses, [] as [IpAddr; 0]);
    assert_eq!(dns.host("none.signed.test").await, Err(DnsError::NotFound));
    let literal = dns.host("192.0.2.1").await.expect("itself");
    assert_eq!((literal.addresses, literal.security), (vec![IpAddr::V4(FOUR)], Insecure));
    // One family that does not validate does not hide the other.
    server.fail_type("mx.signed.test", RecordType::AAAA, Fault::Bogus);
    let found = dns.host("mx.signed.test").await.expect("the other family");
    assert_eq!((found.addresses, found.security), (vec![IpAddr::V4(FOUR)], Secure));
    server.fail_type("mx.signed.test", RecordType::A, Fault::Bogus);
    assert_eq!(dns.host("mx.signed.test").await, Err(DnsError::Bogus));
}

#[tokio::test]
async fn tlsa_records_count_only_if_they_are_secure() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    let mut found = dns.tlsa("mx.signed.test", 25).await.expect("records");
    found.sort_by_key(|record| record.usage);
    let ours = [
        Tlsa { usage: 2, selector: 0, matching: 0, data: vec![1, 2] },
        Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] },
    ];
    assert_eq!(found, ours);
    assert_eq!(ours[0].to_string(), "2 0 0 0102");
    assert_eq!(dns.tlsa("alias-in.signed.test", 25).await.expect("an alias").len(), 2);
    for none in ["mx.plain.test", "four.signed.test", "alias-in.plain.test", "none.test"] {
        assert_eq!(dns.tlsa(none, 25).await, Ok(vec![]), "{none}");
    }
    assert_eq!(dns.tlsa("mx.signed.test", 26).await, Ok(vec![]));
    server.fail("_25._tcp.mx.signed.test", Fault::Bogus);
    assert_eq!(dns.tlsa("mx.signed.test", 25).await, Err(DnsError::Bogus));
    for fault in [Fault::ServFail, Fault::Drop, Fault::Refused] {
        server.fail("_25._tcp.mx.signed.test", fault);
        let failed = dns.tlsa("mx.signed.test", 25).await;
        assert!(matches!(failed, Err(DnsError::Temporary(_))), "{fault:?}: {failed:?}");
    }
}

#[tokio::test]
async fn without_signatures_nothing_is_secure_and_mail_goes_on() {
    let server = start();
    server.strip_signatures(true);
    let dns = resolver(&server, Dnssec::Auto);
    assert_eq!(dns.mx_secured("signed.test").await, Err(DnsError::Bogus), "until it is known");
    assert_eq!(dns.probe().await, Some(Validation::Unsupported));
    assert_eq!(dns.mx_secured("signed.test").await.map(|found| found.1), Ok(Insecure));
    assert_eq!(dns.host("mx.signed.test").await.map(|found| found.security), Ok(Insecure));
    assert_eq!(dns.tlsa("mx.signed.test", 25).await, Ok(vec![]));
    server.strip_signatures(false);
    assert_eq!(dns.probe().await, Some(Validation::On));
    assert_eq!(dns.mx_secured("signed.test").await.map(|found| found.1), Ok(Secure));
}

#[tokio::test]
async fn texts_that_are_not_there_are_asked_for_once() {
    let server = DnsServer::start([
        Zone::signed("kept.test").ttl(300).a("host", FOUR),
        Zone::signed("quick.test"),
    ])
    .expect("a DNS server");
    for mode in [Dnssec::Require, Dnssec::Off] {
        let dns = resolver(&server, mode);
        let asked = |name: &str| server.asked(name, RecordType::TXT);
        let before = asked("_dmarc.kept.test");
        assert!(!dns.knows_no_text("_dmarc.kept.test"));
        for _ in 0..3 {
            assert_eq!(dns.txt("_dmarc.kept.test").await, Err(DnsError::NotFound));
            assert_eq!(dns.txt("host.kept.test").await, Ok(vec![]));
        }
        assert!(dns.knows_no_text("_DMARC.kept.test."));
        assert_eq!(asked("_dmarc.kept.test") - before, 1);
        // A zone that allows no time is asked each time.
        assert_eq!(dns.txt("_dmarc.quick.test").await, Err(DnsError::NotFound));
        assert!(!dns.knows_no_text("_dmarc.quick.test"));
    }
}

#[tokio::test]
async fn trouble_of_the_moment_is_never_remembered_as_absence() {
    let server = DnsServer::start([Zone::signed("kept.test").ttl(300).a("host", FOUR)])
        .expect("a DNS server");
    for mode in [Dnssec::Require, Dnssec::Off] {
        for fault in [Fault::ServFail, Fault::Drop] {
            let dns = resolver(&server, mode);
            // First at a name that does not exist, where SERVFAIL would be easy to mistake.
            server.fail("_dmarc.kept.test", fault);
            let failed = dns.txt("_dmarc.kept.test").await;
            assert!(matches!(failed, Err(DnsError::Temporary(_))), "{failed:?}");
            assert!(!dns.knows_no_text("_dmarc.kept.test"));
            server.heal("_dmarc.kept.test");
            server.change("kept.test", |zone| zone.txt("_dmarc", "v=DMARC1; p=none")).unwrap();
            let found = dns.txt("_dmarc.kept.test").await;
            assert_eq!(found, Ok(vec!["v=DMARC1; p=none".to_owned()]), "{mode:?}");
            server.change("kept.test", |zone| zone.without("_dmarc", None)).unwrap();
        }
    }
}
