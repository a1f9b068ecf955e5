//! Real signatures and policies over a DNS of the test's own.

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

#[tokio::test]
async fn both_kinds_of_signatures_pass() {
    let world = world();
    let rsa = generate_key(KeyAlgorithm::Rsa2048).expect("a key");
    world.zone("reject.test", |zone| zone.txt("r._domainkey", &rsa.public_dns));
    let domain = Domain::parse("reject.test").expect("a domain");
    let plain = message("a@reject.test");
    let second = sign(&plain, &domain, "r", &rsa.private, Timestamp::now()).expect("a signature");
    let both = before(&second, &world.signed("reject.test", &plain));
    let report = world.report(&both, BAD, "a@bare.test").await;
    let outcomes: Vec<_> = report.dkim.iter().map(|dkim| (dkim.outcome, dkim.algorithm)).collect();
    let expected =
        [(DkimOutcome::Pass, Some("rsa-sha256")), (DkimOutcome::Pass, Some("ed25519-sha256"))];
    assert_eq!(outcomes, expected);
    assert_eq!(report.dmarc.outcome, DmarcOutcome::Pass);
    assert_eq!(report.verdict(), Verdict::Accept);
    let field = report.authentication_results(OWN);
    assert!(field.contains("dkim=pass header.d=reject.test header.s=r"), "{field}");
    assert!(field.contains("dmarc=pass header.from=reject.test policy.dmarc=reject"), "{field}");
}

#[tokio::test]
async fn spf_alone_satisfies_dmarc() {
    let world = world();
    let report = world.report(&message("a@reject.test"), GOOD, "b@reject.test").await;
    assert_eq!((report.dmarc.outcome, report.verdict()), (DmarcOutcome::Pass, Verdict::Accept));
    // Passing for somebody else's domain does not.
    let report = world.report(&message("a@reject.test"), GOOD, "b@none.test").await;
    assert!(refused(&report.verdict()));
}

#[tokio::test]
async fn forged_mail_meets_the_policy() {
    let world = world();
    let report = world.report(&message("a@reject.test"), BAD, "a@reject.test").await;
    assert_eq!(report.dmarc.policy, Some(Policy::Reject));
    assert!(refused(&report.verdict()));
    assert_eq!(report.verdict().reply_codes(), Some((550, "5.7.1")));
    let report = world.report(&message("a@quarantine.test"), BAD, "a@quarantine.test").await;
    assert!(matches!(report.verdict(), Verdict::Quarantine { .. }));
    let report = world.report(&message("a@none.test"), BAD, "a@none.test").await;
    assert_eq!((report.dmarc.outcome, report.verdict()), (DmarcOutcome::Fail, Verdict::Accept));
    let report = world.report(&message("a@bare.test"), BAD, "a@bare.test").await;
    assert_eq!((report.dmarc.outcome, report.verdict()), (DmarcOutcome::None, Verdict::Accept));
}

#[tokio::test]
async fn subdomains_inherit_and_align() {
    let world = world();
    // An existing subdomain is under `sp`, a name that does not exist under `np`.
    let forged = world.report(&message("a@sub.reject.test"), BAD, "a@bare.test").await;
    assert!(refused(&forged.verdict()));
    let signed = world.signed("reject.test", &message("a@sub.reject.test"));
    assert_eq!(world.report(&signed, BAD, "a@bare.test").await.verdict(), Verdict::Accept);
    let record = "v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s";
    world.zone("reject.test", |zone| zone.without("_dmarc", None).txt("_dmarc", record));
    let forged = world.report(&message("a@sub.reject.test"), BAD, "a@bare.test").await;
    assert_eq!(forged.verdict(), Verdict::Accept);
    let forged = world.report(&message("a@ghost.reject.test"), BAD, "a@bare.test").await;
    assert!(matches!(forged.verdict(), Verdict::Quarantine { .. }));
    let strict = world.report(&signed, BAD, "a@bare.test").await;
    assert_eq!(strict.dmarc.outcome, DmarcOutcome::Fail);
    // Test mode asks for one level less.
    let record = "v=DMARC1; p=reject; t=y";
    world.zone("reject.test", |zone| zone.without("_dmarc", None).txt("_dmarc", record));
    let testing = world.report(&message("a@reject.test"), BAD, "a@bare.test").await;
    assert!(matches!(testing.verdict(), Verdict::Quarantine { .. }));
}

#[tokio::test]
async fn what_is_changed_under_way_breaks_the_signature() {
    let world = world();
    let signed = world.signed("reject.test", &message("a@reject.test"));
    let text = String::from_utf8(signed).expect("ASCII");
    let changes = [
        text.replace("and more", "and less"),
        text.replace("Hello  there", "Hello you"),
        format!("{text}appended\r\n"),
        format!("Subject: another\r\n{text}"),
        format!("Content-Type: text/html\r\n{text}"),
        text.replace("b=", "b=AA"),
    ];
    for changed in changes {
        let report = world.report(changed.as_bytes(), BAD, "a@reject.test").await;
        assert!(!report.dkim[0].passed(), "{changed}");
        assert!(refused(&report.verdict()), "{changed}");
    }
    // What relays may do does no harm: blanks, folding, and fields of their own.
    let harmless =
        format!("Received: from x\r\n{}", text.replace("Hello  there", "Hello \r\n\tthere"));
    assert_eq!(
        world.report(harmless.as_bytes(), BAD, "a@bare.test").await.verdict(),
        Verdict::Accept
    );
}

#[tokio::test]
async fn temporary_errors_defer_only_where_they_matter() {
    let world = world();
    let forged = message("a@reject.test");
    let signed = world.signed("reject.test", &forged);

    // The policy is unknown: nothing passed for the author, so wait; else take it.
    world.dns.fail("_dmarc.reject.test", Fault::ServFail);
    let report = world.report(&forged, BAD, "a@reject.test").await;
    assert_eq!((report.dmarc.outcome, report.dmarc.policy), (DmarcOutcome::TempError, None));
    assert!(deferred(&report.verdict()));
    assert_eq!(report.verdict().reply_codes(), Some((451, "4.7.0")));
    assert_eq!(world.report(&signed, BAD, "a@bare.test").await.verdict(), Verdict::Accept);
    assert_eq!(world.report(&forged, GOOD, "a@reject.test").await.verdict(), Verdict::Accept);
    // A bogus answer is no better than none.
    world.dns.fail("_dmarc.reject.test", Fault::Bogus);
    assert!(deferred(&world.report(&forged, BAD, "a@reject.test").await.verdict()));
    world.dns.heal("_dmarc.reject.test");

    // The key is unknown.
    world.dns.fail("s._domainkey.reject.test", Fault::Drop);
    let report = world.report(&signed, BAD, "a@bare.test").await;
    assert_eq!(report.dkim[0].outcome, DkimOutcome::TempError);
    assert!(deferred(&report.verdict()));
    assert_eq!(world.report(&signed, GOOD, "a@reject.test").await.verdict(), Verdict::Accept);
    world.dns.heal("s._domainkey.reject.test");

    // SPF is unknown.
    world.dns.fail_type("reject.test", RecordType::TXT, Fault::ServFail);
    assert!(deferred(&world.report(&forged, BAD, "a@reject.test").await.verdict()));
    assert_eq!(world.report(&signed, BAD, "a@reject.test").await.verdict(), Verdict::Accept);
    // Somebody else's broken DNS cannot save the message.
    world.dns.heal("reject.test");
    world.dns.fail_type("none.test", RecordType::TXT, Fault::ServFail);
    assert!(refused(&world.report(&forged, BAD, "a@none.test").await.verdict()));
    // Nor does it matter where nothing is refused anyway.
    let unimportant = world.report(&message("a@none.test"), BAD, "a@none.test").await;
    assert_eq!(unimportant.verdict(), Verdict::Accept);
}

#[tokio::test]
async fn signatures_that_verify_and_do_not_count() {
    let world = world();
    let plain = message("a@reject.test");
    let signed = world.signed("reject.test", &plain);
    let public = world.key.public_dns.clone();
    for restriction in ["h=sha1", "s=tlsrpt"] {
        let record = public.replace("k=ed25519", &format!("{restriction}; k=ed25519"));
        world.zone("reject.test", |zone| {
            zone.without("s._domainkey", None).txt("s._domainkey", &record)
        });
        let report = world.report(&signed, BAD, "a@bare.test").await;
        assert_eq!(report.dkim[0].outcome, DkimOutcome::Policy, "{restriction}");
        assert!(refused(&report.verdict()), "{restriction}");
    }
    let record = public.replace("k=ed25519", "h=sha1:sha256; s=email; k=ed25519");
    world.zone("reject.test", |zone| {
        zone.without("s._domainkey", None).txt("s._domainkey", &record)
    });
    assert!(world.report(&signed, BAD, "a@bare.test").await.dkim[0].passed());

    // A signature that does not cover From, and one that covers a part of the body.
    let foreign = |signer: fn(DkimSigner<Ed25519Key, _>) -> DkimSigner<Ed25519Key, _>,
                   names: &[&str]| {
        let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(&world.key.private).expect("a key");
        let signer_of = DkimSigner::from_key(key).domain("reject.test").selector("s");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let signature = signer(signer_of.headers(names)).sign(&plain).expect("a signature");
        before(&signature.to_header(), &plain)
    };
    let good = world.report(&foreign(|signer| signer, &["From", "To"]), BAD, "a@bare.test").await;
    assert!(good.dkim[0].passed(), "the other signer is understood: {good:?}");
    let no_from =
        world.report(&foreign(|signer| signer, &["To", "Subject"]), BAD, "a@bare.test").await;
    assert_eq!(no_from.dkim[0].outcome, DkimOutcome::Policy);
    assert!(refused(&no_from.verdict()));
    let partial = foreign(|signer| signer.body_length(true), &["From", "To"]);
    let partial = world.report(&[partial, b"more\r\n".to_vec()].concat(), BAD, "a@bare.test").await;
    assert!(!partial.dkim[0].passed());
    assert!(refused(&partial.verdict()));
}

#[tokio::test]
async fn odd_signatures_do_no_harm() {
    let world = world();
    let plain = message("a@reject.test");
    // A 512-bit RSA key, SHA-1, signatures that are cut short or are none.
    let short = "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKSIuK9rlo+TGhKaNL9SXvO0dDCwxaX0mGbuxmCLnMn6\
                 JwVhDQRDLZIAZ1nV3bHUmIR4OvJTWFI0YU1AkvRBxwUCAwEAAQ==";
    world.zone("reject.test", |zone| zone.txt("short._domainkey", short));
    let empty_hash = "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for tags in [
        format!("v=1; a=rsa-sha256; d=reject.test; s=short; h=from; {empty_hash}; b=AA=="),
        format!("v=1; a=rsa-sha1; d=reject.test; s=short; h=from; {empty_hash}; b=A"),
        format!(
            "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=reject.test; s=s; h=from; {empty_hash}; b=AA=="
        ),
        "v=1; a=rsa-sha256; d=; s=; h=; bh=; b=".to_owned(),
        "v=1; l=1".to_owned(),
        "b=".to_owned(),
        ";;;===".to_owned(),
    ] {
        for body in ["", "\r\n"] {
            let text = format!("DKIM-Signature: {tags}\r\nFrom: a@reject.test\r\n\r\n{body}");
            let report = world.report(text.as_bytes(), BAD, "a@bare.test").await;
            assert!(report.dkim.iter().all(|dkim| !dkim.passed()), "{tags}");
            assert!(refused(&report.verdict()), "{tags}");
        }
    }
    // More signatures than anybody needs are not looked at.
    let mut many = plain.clone();
    for _ in 0..15 {
        many = before(
            "DKIM-Signature: v=1; a=rsa-sha256; d=reject.test; s=none; h=from; bh=AA==; b=AA==\r\n",
            &many,
        );
    }
    assert!(world.report(&many, BAD, "a@bare.test").await.dkim.len() <= 10);
}

#[tokio::test]
async fn from_fields_that_are_not_one() {
    let world = world();
    let with_from = |fields: &str| format!("{fields}Subject: x\r\n\r\nbody\r\n").into_bytes();
    // None, or none with a domain: DMARC has nothing to judge.
    for fields in ["", "From: nobody\r\n", "From:\r\n"] {
        let report = world.report(&with_from(fields), BAD, "a@bare.test").await;
        assert_eq!(
            (report.dmarc.outcome, report.from_domain.clone()),
            (DmarcOutcome::None, None),
            "{fields}"
        );
        assert_eq!(report.verdict(), Verdict::Accept);
    }
    // Two authors of one domain are judged, of different domains exempt.
    let same = world
        .report(&with_from("From: a@reject.test, b@reject.test\r\n"), BAD, "a@bare.test")
        .await;
    assert!(refused(&same.verdict()));
    let exempt =
        world.report(&with_from("From: a@bare.test, b@reject.test\r\n"), BAD, "a@bare.test").await;
    assert_eq!(exempt.dmarc.outcome, DmarcOutcome::None);
    // Two fields are no way round a policy, in either order.
    for fields in [
        "From: a@bare.test\r\nFrom: b@reject.test\r\n",
        "From: b@reject.test\r\nFrom: a@bare.test\r\n",
    ] {
        let report = world.report(&with_from(fields), BAD, "a@bare.test").await;
        assert!(refused(&report.verdict()), "{fields}");
        assert_eq!(report.dmarc.domain.as_deref(), Some("reject.test"));
    }
    // An empty message and one without a header.
    for message in [b"".as_slice(), b"\r\n", b"no header at all"] {
        assert_eq!(world.report(message, BAD, "a@bare.test").await.verdict(), Verdict::Accept);
    }
}

/// The bodies of long messages are hashed apart from what else the runtime does.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_message_is_verified_too() {
    let world = world();
    let long = [message("a@reject.test"), b"line of text\r\n".repeat(50_000)].concat();
    let good = world.signed("reject.test", &long);
    assert!(good.len() > 512 * 1024);
    let report = world.report(&good, BAD, "a@bare.test").await;
    assert_eq!(report.dmarc.outcome, DmarcOutcome::Pass);
    let report = world.report(&[good, b"more\r\n".to_vec()].concat(), BAD, "a@bare.test").await;
    assert_eq!(report.dmarc.outcome, DmarcOutcome::Fail);
}

/// A forwarder's seal on a message that came to it, as it goes out again: under a Received field, with a changed subject.
async fn forwarded(
    world: &World,
    by: &str,
    message: &[u8],
    client: &str,
    sender: &str,
    footer: &str,
) -> Vec<u8> {
    let report = world.report(message, client, sender).await;
    let domain = Domain::parse(by).expect("a domain");
    let sealing = Sealing { domain: &domain, selector: "s", private: &world.key.private };
    let changed = [b"Received: by list\r\n".as_slice(), message, footer.as_bytes()].concat();
    let attested = report.attested(&format!("mx.{by}"));
    let set =
        seal(&changed, &attested, sealing, Timestamp::now()).expect("a seal").expect("a chain");
    before(&set, &changed)
}

#[tokio::test]
async fn seals_verify_until_something_changes() {
    let world = world();
    let signed = world.signed("reject.test", &message("a@reject.test"));
    let once = forwarded(&world, "none.test", &signed, BAD, "a@reject.test", "").await;
    let twice =
        forwarded(&world, "quarantine.test", &once, BAD, "x@none.test", "--\r\nlist\r\n").await;
    let report = world.report(&twice, BAD, "x@quarantine.test").await;
    assert_eq!((report.arc.outcome, report.arc.reason), (ArcOutcome::Pass, None));
    let sealers: Vec<_> = report.arc.sealers.iter().map(|sealer| sealer.domain.as_str()).collect();
    assert_eq!(sealers, ["none.test", "quarantine.test"]);
    assert_eq!(report.arc.sealers[0].dmarc_passed, ["reject.test"]);
    assert!(report.authentication_results(OWN).contains("\tarc=pass;"));

    let text = String::from_utf8(twice).expect("ASCII");
    for changed in [
        text.replace("list\r\n", "lust\r\n"),
        text.replace("Hello  there", "Hello you"),
        text.replace("cv=pass", "cv=fail"),
        text.replace("dmarc=pass", "dmarc=none"),
        text.replacen("ARC-Seal:", "X-Seal:", 1),
        text.replacen("ARC-Authentication-Results: i=2", "ARC-Authentication-Results: i=3", 1),
    ] {
        assert_ne!(changed, text);
        let report = world.report(changed.as_bytes(), BAD, "x@quarantine.test").await;
        assert_eq!(report.arc.outcome, ArcOutcome::Fail, "{changed}");
        assert!(report.arc.sealers.is_empty());
    }
    // Nobody seals what is broken, and a key that cannot be asked for now is no proof.
    world.dns.fail("s._domainkey.none.test", Fault::ServFail);
    let fresh = World { verifier: verifier_of(&world.dns), ..world };
    let report = fresh.report(text.as_bytes(), BAD, "x@quarantine.test").await;
    assert_eq!(report.arc.outcome, ArcOutcome::TempError);
}

#[tokio::test]
async fn trusted_sealers_override_dmarc() {
    let mut world = world();
    let signed = world.signed("reject.test", &message("a@reject.test"));
    let footer = "--\r\nthe list\r\n";
    let passed = forwarded(&world, "none.test", &signed, BAD, "a@reject.test", footer).await;
    // The signature does not survive the footer, and nobody is trusted.
    let report = world.report(&passed, BAD, "list@none.test").await;
    assert_eq!((report.dmarc.outcome, report.arc.outcome), (DmarcOutcome::Fail, ArcOutcome::Pass));
    assert!(refused(&report.verdict()));
    world.verifier = verifier_of(&world.dns).trusting(vec!["none.test".parse().expect("a domain")]);
    let report = world.report(&passed, BAD, "list@none.test").await;
    assert_eq!(report.dmarc.overridden_by.as_deref(), Some("none.test"));
    assert_eq!(report.verdict(), Verdict::Accept);
    let field = report.authentication_results(OWN);
    assert!(field.contains("reason=\"overridden by the ARC chain of none.test\""), "{field}");
    // A chain that cannot be checked for now could still save it.
    world.dns.fail("s._domainkey.none.test", Fault::ServFail);
    let report = world.report(&passed, BAD, "list@none.test").await;
    assert_eq!(report.arc.outcome, ArcOutcome::TempError);
    assert!(deferred(&report.verdict()));
    world.dns.heal("s._domainkey.none.test");
    // What had failed already when it came to the list is not saved by it.
    let forged =
        forwarded(&world, "none.test", &message("a@reject.test"), BAD, "a@bare.test", footer).await;
    let report = world.report(&forged, BAD, "list@none.test").await;
    assert_eq!(report.arc.outcome, ArcOutcome::Pass);
    assert!(refused(&report.verdict()));
    // Nor what somebody else passed on after the list, whom nobody trusts.
    let later = forwarded(&world, "quarantine.test", &passed, BAD, "list@none.test", "").await;
    let report = world.report(&later, BAD, "x@quarantine.test").await;
    assert_eq!(report.arc.outcome, ArcOutcome::Pass);
    assert!(refused(&report.verdict()));
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

/// `_dmarc.test` is asked although the policy was found below it.
#[tokio::test]
async fn a_top_level_domain_that_fails_does_not_defer_what_is_decided_below_it() {
    let world = world();
    world.dns.fail("_dmarc.test", Fault::ServFail);
    let report = world.report(&message("a@reject.test"), BAD, "a@reject.test").await;
    assert_eq!(
        (report.dmarc.outcome, report.dmarc.policy),
        (DmarcOutcome::Fail, Some(Policy::Reject))
    );
    assert!(refused(&report.verdict()));
    let report = world.report(&message("a@sub.quarantine.test"), BAD, "a@bare.test").await;
    assert_eq!(report.dmarc.policy, Some(Policy::Quarantine));
    // Where nothing was found below, the policy may stand there.
    let report = world.report(&message("a@bare.test"), BAD, "a@reject.test").await;
    assert_eq!(report.dmarc.outcome, DmarcOutcome::TempError);
    assert!(deferred(&report.verdict()));
}

/// A seal covers the From that was there. Readers show the one above it.
#[tokio::test]
async fn nobody_vouches_for_a_from_that_was_put_above_a_sealed_message() {
    let mut world = world();
    world.verifier = verifier_of(&world.dns).trusting(vec!["none.test".parse().expect("a domain")]);
    let signed = world.signed("reject.test", &message("a@reject.test"));
    let footer = "--\r\nthe list\r\n";
    let passed = forwarded(&world, "none.test", &signed, BAD, "a@reject.test", footer).await;
    assert_eq!(world.report(&passed, BAD, "list@none.test").await.verdict(), Verdict::Accept);
    for above in ["From: boss@quarantine.test\r\n", "From : boss@bare.test\r\n"] {
        let report = world.report(&before(above, &passed), BAD, "list@none.test").await;
        assert_eq!(report.dmarc.overridden_by, None, "{above}");
        assert!(refused(&report.verdict()), "{above}");
    }
}
