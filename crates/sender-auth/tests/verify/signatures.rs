//! DKIM: which signatures verify, and which of them count.

use super::*;

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
