//! Real signatures and policies over a DNS of the test's own.

mod arc;
mod dmarc;
mod signatures;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_config::{Dns, Dnssec};
use letterlock_dns::{Limits, Resolver};
use letterlock_sender_auth::{
    ArcOutcome, DkimOutcome, DmarcOutcome, KeyAlgorithm, NewKey, Policy, Report, Sealing, Spf,
    SpfOutcome, Verdict, Verifier, generate_key, seal, sign,
};
use letterlock_testkit::dns::{DnsServer, Fault, RecordType, Zone};
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

const GOOD: &str = "192.0.2.1";
const BAD: &str = "198.51.100.9";
const OWN: &str = "mx.receiver.test";

struct World {
    dns: DnsServer,
    verifier: Verifier,
    key: NewKey,
}

/// `reject.test`, `quarantine.test` and `none.test` publish SPF for one client, an Ed25519 key `s` and the policy of
/// their name; `bare.test` publishes nothing.
fn world() -> World {
    let key = generate_key(KeyAlgorithm::Ed25519).expect("a key");
    let zone = |policy: &str| {
        Zone::signed(&format!("{policy}.test"))
            .txt("@", &format!("v=spf1 ip4:{GOOD} -all"))
            .txt("s._domainkey", &key.public_dns)
            .txt("_dmarc", &format!("v=DMARC1; p={policy}"))
            .a("sub", [192, 0, 2, 7].into())
    };
    let zones = [
        zone("reject"),
        zone("quarantine"),
        zone("none"),
        Zone::unsigned("bare.test").txt("@", "hello"),
    ];
    let dns = DnsServer::start(zones).expect("a DNS server");
    let verifier = verifier_of(&dns);
    World { dns, verifier, key }
}

/// A verifier that remembers nothing yet.
fn verifier_of(dns: &DnsServer) -> Verifier {
    let settings = Dns {
        servers: vec![dns.address()],
        dnssec: Dnssec::Require,
        trust_anchors: Some(dns.trust_anchor_file()),
    };
    let limits = Limits { timeout: Duration::from_millis(300), attempts: 1, ..Limits::default() };
    let resolver = Resolver::with_limits(&settings, &limits).expect("a resolver");
    Verifier::new(Arc::new(resolver))
}

fn message(from: &str) -> Vec<u8> {
    format!(
        "From: Someone <{from}>\r\nTo: you@receiver.test\r\nSubject: Hello  there\r\n\
         Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\nSome  text \r\n\r\nand more.\r\n"
    )
    .into_bytes()
}

fn before(header: &str, message: &[u8]) -> Vec<u8> {
    [header.as_bytes(), message].concat()
}

fn path(address: &str) -> ReversePath {
    ReversePath::Mailbox(address.parse::<Mailbox>().expect("an address"))
}

impl World {
    fn signed(&self, domain: &str, message: &[u8]) -> Vec<u8> {
        let domain = Domain::parse(domain).expect("a domain");
        let header =
            sign(message, &domain, "s", &self.key.private, Timestamp::now()).expect("a signature");
        before(&header, message)
    }

    async fn spf(&self, client: &str, sender: &str) -> Spf {
        let client: IpAddr = client.parse().expect("an address");
        self.verifier.spf(client, "client.bare.test", &path(sender)).await
    }

    async fn report(&self, message: &[u8], client: &str, sender: &str) -> Report {
        self.verifier.verify(message, self.spf(client, sender).await).await
    }

    fn zone(&self, origin: &str, change: impl FnOnce(Zone) -> Zone) {
        self.dns.change(origin, change).expect("the zone");
    }
}

fn refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Reject { .. })
}

fn deferred(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Defer { .. })
}

#[tokio::test]
async fn spf_of_both_identities() {
    let world = world();
    let spf = world.spf(GOOD, "a@reject.test").await;
    assert_eq!(spf.mail_from.as_ref().map(|check| check.outcome), Some(SpfOutcome::Pass));
    assert_eq!(spf.helo.as_ref().map(|check| check.outcome), Some(SpfOutcome::None));
    let spf = world.spf(BAD, "a@reject.test").await;
    assert_eq!(spf.mail_from.map(|check| check.outcome), Some(SpfOutcome::Fail));
    let mapped = world.spf(&format!("::ffff:{GOOD}"), "a@reject.test").await;
    assert_eq!(mapped.mail_from.map(|check| check.outcome), Some(SpfOutcome::Pass));
    // The null path is judged by HELO; a literal in HELO is nothing to judge.
    let client = GOOD.parse().expect("an address");
    let null = world.verifier.spf(client, "reject.test", &ReversePath::Null).await;
    assert_eq!(null.mail_from, None);
    assert_eq!(null.identity().map(|check| check.outcome), Some(SpfOutcome::Pass));
    let literal = world.verifier.spf(client, "[192.0.2.1]", &ReversePath::Null).await;
    assert_eq!(literal, Spf::default());
}

/// The library's own cache forgets absences when it validates.
#[tokio::test]
async fn what_does_not_exist_is_asked_once() {
    let world = world();
    world.dns.put(
        Zone::signed("kept.test")
            .ttl(300)
            .txt("_dmarc", "v=DMARC1; p=none")
            .a("sub", [192, 0, 2, 7].into()),
    );
    let message = message("a@sub.kept.test");
    let asked = || {
        let names = ["_dmarc.sub.kept.test", "_dmarc.kept.test", "sub.kept.test"];
        names.map(|name| world.dns.asked(name, RecordType::TXT))
    };
    let first = world.report(&message, BAD, "a@sub.kept.test").await;
    assert_eq!(
        first.dmarc.published.as_ref().map(|found| found.domain.as_str()),
        Some("kept.test")
    );
    let once = asked();
    assert!(once.iter().all(|times| *times > 0), "{once:?}");
    for _ in 0..5 {
        assert_eq!(world.report(&message, BAD, "a@sub.kept.test").await, first);
    }
    assert_eq!(asked(), once);
}
