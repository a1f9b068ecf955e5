//! Seals, and whom they vouch for.

use super::*;

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
