//! What an author's domain asks for, and what follows from it.

use super::*;

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
async fn temporary_errors_defer_only_where_they_matter() {
    let world = world();
    let forged = message("a@reject.test");
    let signed = world.signed("reject.test", &forged);

    // The policy is unknown: nothing passed for the author, so wait; else take it.
    world.dns.fail("_dmarc.reject.test", Fault::ServFail);
    let report = world.report(&forged, BAD, "a@reject.test").await;
    assert_eq!((report.dmarc.outcome, report.dmarc.policy), (DmarcOutcome::TempError, None));
    assert!(deferred(&report.verdict()));
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
