//! The resolver against a signed world of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::dnssec::Proof;
use letterlock_config::{Dns, Dnssec};
use letterlock_dns::{DnsError, Limits, MxAnswer, Resolver, SetupError, Validation};
use letterlock_testkit::dns::{DnsServer, Fault, RecordType, Zone};

const FOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

fn zones() -> Vec<Zone> {
    let fill = |zone: Zone| {
        zone.mx("@", 20, "backup.example.net")
            .mx("@", 10, "Mail.Example.Org")
            .a("mail", FOUR)
            .aaaa("mail", SIX)
            .a("four", FOUR)
            .txt("@", "v=spf1 mx -all")
            .txt("long", &"x".repeat(600))
            .txt("_dmarc", "v=DMARC1; p=reject")
            .cname("alias", "mail.example.org")
            .cname("mxalias", "plain.test")
            .mx("null", 0, ".")
            .txt("deep.below.here", "x")
    };
    vec![
        fill(Zone::signed("example.org")),
        Zone::unsigned("plain.test").mx("@", 5, "mx.plain.test").a("mx", FOUR),
        Zone::unsigned("2.0.192.in-addr.arpa").ptr("1", "mail.example.org"),
    ]
}

fn settings(server: &DnsServer, dnssec: Dnssec) -> Dns {
    Dns { servers: vec![server.address()], dnssec, trust_anchors: Some(server.trust_anchor_file()) }
}

fn resolver(server: &DnsServer, dnssec: Dnssec) -> Resolver {
    let limits = Limits { timeout: Duration::from_millis(200), attempts: 1, ..Limits::default() };
    Resolver::with_limits(&settings(server, dnssec), &limits).expect("a resolver")
}

fn start() -> DnsServer {
    DnsServer::start(zones()).expect("a DNS server")
}

#[tokio::test]
async fn mail_exchangers() {
    let server = start();
    for mode in [Dnssec::Off, Dnssec::Require] {
        let dns = resolver(&server, mode);
        let hosts =
            vec![(10, "mail.example.org".to_owned()), (20, "backup.example.net".to_owned())];
        assert_eq!(dns.mx("example.org").await, Ok(MxAnswer::Hosts(hosts)));
        assert_eq!(dns.mx("null.example.org").await, Ok(MxAnswer::Null));
        assert_eq!(dns.mx("four.example.org").await, Ok(MxAnswer::Implicit));
        assert_eq!(dns.mx("nobody.example.org").await, Err(DnsError::NotFound));
        assert_eq!(dns.mx("nobody.plain.test").await, Err(DnsError::NotFound));
        assert_eq!(dns.mx("no-such-zone.test").await, Err(DnsError::NotFound));
        let plain = vec![(5, "mx.plain.test".to_owned())];
        assert_eq!(dns.mx("plain.test").await, Ok(MxAnswer::Hosts(plain.clone())));
        assert_eq!(dns.mx("mxalias.example.org").await, Ok(MxAnswer::Hosts(plain)));
    }
}

#[tokio::test]
async fn addresses_of_both_families() {
    let server = start();
    for mode in [Dnssec::Off, Dnssec::Require] {
        let dns = resolver(&server, mode);
        let both = Ok(vec![IpAddr::V6(SIX), IpAddr::V4(FOUR)]);
        assert_eq!(dns.addresses("mail.example.org").await, both);
        assert_eq!(dns.addresses("alias.example.org").await, both);
        let four = Ok(vec![IpAddr::V4(FOUR)]);
        assert_eq!(dns.addresses("four.example.org").await, four);
        assert_eq!(dns.addresses("192.0.2.1").await, four);
        // The name exists without addresses, at the apex and as an empty non-terminal.
        assert_eq!(dns.addresses("example.org").await, Ok(vec![]));
        assert_eq!(dns.addresses("below.here.example.org").await, Ok(vec![]));
        assert_eq!(dns.addresses("zzz.example.org").await, Err(DnsError::NotFound));
        assert_eq!(dns.addresses("a.b.c.example.org").await, Err(DnsError::NotFound));
        assert_eq!(dns.addresses("not a name..").await, Err(DnsError::NotFound));
    }
}

#[tokio::test]
async fn text_and_pointers() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    assert_eq!(dns.txt("example.org").await, Ok(vec!["v=spf1 mx -all".to_owned()]));
    assert_eq!(dns.txt("long.example.org").await, Ok(vec!["x".repeat(600)]));
    assert_eq!(dns.txt("mail.example.org").await, Ok(vec![]));
    let names = dns.names_of(IpAddr::V4(FOUR)).await;
    assert_eq!(names, Ok(vec!["mail.example.org".to_owned()]));
}

#[tokio::test]
async fn proofs_follow_the_delegations() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require).hickory();
    for (name, expected) in
        [("mail.example.org.", Proof::Secure), ("mx.plain.test.", Proof::Insecure)]
    {
        let lookup = dns.lookup(name, RecordType::A).await.expect("an address");
        let proofs: Vec<Proof> = lookup
            .answers()
            .iter()
            .filter(|record| record.record_type() == RecordType::A)
            .map(|record| record.proof)
            .collect();
        assert_eq!(proofs, vec![expected], "{name}");
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    server.fail("example.org", Fault::ServFail);
    assert!(matches!(dns.mx("example.org").await, Err(DnsError::Temporary(_))));
    server.fail("example.org", Fault::Drop);
    assert!(matches!(dns.mx("example.org").await, Err(DnsError::Temporary(_))));
    server.fail("example.org", Fault::Bogus);
    assert_eq!(dns.mx("example.org").await, Err(DnsError::Bogus));
    server.fail("missing.example.org", Fault::Bogus);
    assert_eq!(dns.mx("missing.example.org").await, Err(DnsError::Bogus));
    server.heal("example.org");
    assert!(dns.mx("example.org").await.is_ok());

    // One family that fails does not hide the other.
    server.fail_type("mail.example.org", RecordType::AAAA, Fault::ServFail);
    assert_eq!(dns.addresses("mail.example.org").await, Ok(vec![IpAddr::V4(FOUR)]));
    // But a failure is no absence.
    server.fail_type("four.example.org", RecordType::A, Fault::ServFail);
    let failed = dns.addresses("four.example.org").await;
    assert!(matches!(failed, Err(DnsError::Temporary(_))), "{failed:?}");
}

#[tokio::test]
async fn records_change_under_way_and_are_cached_by_their_ttl() {
    let server = start();
    let dns = resolver(&server, Dnssec::Require);
    assert_eq!(dns.txt("new.example.org").await, Err(DnsError::NotFound));
    server.change("example.org", |zone| zone.txt("new", "here")).expect("the zone");
    assert_eq!(dns.txt("new.example.org").await, Ok(vec!["here".to_owned()]));
    server.put(Zone::signed("kept.test").ttl(300).txt("@", "kept"));
    for _ in 0..3 {
        assert_eq!(dns.txt("kept.test").await, Ok(vec!["kept".to_owned()]));
    }
    assert_eq!(server.asked("kept.test", RecordType::TXT), 1);
}

#[tokio::test]
async fn invalid_is_not_even_asked_for() {
    let server = start();
    let dns = resolver(&server, Dnssec::Off);
    assert_eq!(dns.mx("anything.invalid").await, Err(DnsError::NotFound));
    assert_eq!(server.asked("anything.invalid", RecordType::MX), 0);
}

#[tokio::test]
async fn the_probe_switches_validation() {
    let server = start();
    let dns = resolver(&server, Dnssec::Auto);
    assert_eq!(dns.probe().await, Some(Validation::On));
    server.strip_signatures(true);
    assert_eq!(dns.mx("example.org").await, Err(DnsError::Bogus));
    assert_eq!(dns.probe().await, Some(Validation::Unsupported));
    assert!(dns.mx("example.org").await.is_ok());
    server.strip_signatures(false);
    assert_eq!(dns.probe().await, Some(Validation::On));

    let strict = resolver(&server, Dnssec::Require);
    server.strip_signatures(true);
    assert_eq!(strict.probe().await, Some(Validation::On));
    assert_eq!(strict.mx("example.org").await, Err(DnsError::Bogus));
    assert_eq!(resolver(&server, Dnssec::Off).probe().await, Some(Validation::Off));

    // No answer is no verdict.
    server.fail_type(".", RecordType::SOA, Fault::ServFail);
    let unanswered = resolver(&server, Dnssec::Auto);
    assert_eq!(unanswered.probe().await, None);
    assert_eq!(unanswered.validation(), Validation::On);
}

#[tokio::test]
async fn without_its_anchor_a_private_root_validates_nothing() {
    let server = start();
    let mut settings = settings(&server, Dnssec::Auto);
    settings.trust_anchors = None;
    let dns = Resolver::new(&settings).expect("a resolver");
    assert_eq!(dns.probe().await, Some(Validation::Unsupported));
    assert!(dns.mx("example.org").await.is_ok());
}

#[tokio::test]
async fn bad_anchors_stop_the_start() {
    let server = start();
    let mut settings = settings(&server, Dnssec::Auto);
    settings.trust_anchors = Some("/nonexistent/anchors".into());
    assert!(matches!(Resolver::new(&settings), Err(SetupError::TrustAnchors { .. })));
    let file = server.trust_anchor_file().with_file_name("empty.key");
    std::fs::write(&file, "; nothing\n").expect("a file");
    settings.trust_anchors = Some(file);
    assert!(matches!(Resolver::new(&settings), Err(SetupError::TrustAnchors { .. })));
}
