//! The fields that tell what was found: `Authentication-Results` (RFC 8601) and `Received-SPF` (RFC 7208 §9.1).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use letterlock_address::ReversePath;

use crate::report::{ArcOutcome, Dkim, Report, Spf, SpfCheck, Verdict};

/// The name of the field that says why a message is in Junk.
pub(crate) const QUARANTINE: &str = "X-Letterlock-Quarantine";

/// Values longer than this are cut: none that is real is longer than a domain name.
const LONGEST_VALUE: usize = 253;

impl Report {
    /// The field with its name, folded, with its final CRLF. Whatever the sender chose is quoted or replaced so that
    /// it cannot end a field, a result or a comment.
    pub fn authentication_results(&self, hostname: &str) -> String {
        let mut text = format!("Authentication-Results: {}", value(hostname));
        let start = text.len();
        if let Some(check) = &self.spf.mail_from {
            spf(&mut text, check, "smtp.mailfrom");
        }
        if let Some(check) = &self.spf.helo {
            spf(&mut text, check, "smtp.helo");
        }
        for signature in &self.dkim {
            dkim(&mut text, signature);
        }
        let arc = match self.arc.outcome {
            ArcOutcome::None => None,
            ArcOutcome::Pass => Some("pass"),
            // RFC 8617 §10.1 knows no temporary error.
            ArcOutcome::Fail | ArcOutcome::TempError => Some("fail"),
        };
        if let Some(outcome) = arc {
            result(&mut text, "arc", outcome, self.arc.reason);
        }
        if let Some(domain) = &self.dmarc.domain {
            result(&mut text, "dmarc", self.dmarc.outcome.as_str(), None);
            if let Some(sealer) = &self.dmarc.overridden_by {
                let reason = format!("overridden by the ARC chain of {sealer}");
                property(&mut text, "reason", &reason);
            }
            property(&mut text, "header.from", domain);
            if let Some(policy) = self.dmarc.policy {
                property(&mut text, "policy.dmarc", policy.as_str());
            }
        }
        if text.len() == start {
            text.push_str("; none");
        }
        text.push_str("\r\n");
        text
    }

    /// The field that says why a message is in Junk, with its final CRLF; `None` unless the verdict is to quarantine.
    pub fn quarantine_field(verdict: &Verdict) -> Option<String> {
        let Verdict::Quarantine { reason } = verdict else { return None };
        let text: String = reason.chars().filter(|c| matches!(c, ' '..='~')).collect();
        Some(format!("{QUARANTINE}: {text}\r\n"))
    }
}

impl Spf {
    /// The `Received-SPF` field (RFC 7208 §9.1) about the identity that counts, with its final CRLF; empty if there was
    /// nothing to check.
    pub fn received(
        &self,
        hostname: &str,
        client: IpAddr,
        helo: &str,
        reverse_path: &ReversePath,
    ) -> String {
        let Some(check) = self.identity() else { return String::new() };
        let identity = if self.mail_from.is_some() { "mailfrom" } else { "helo" };
        let mut text = format!("Received-SPF: {}", check.outcome.as_str());
        let client = client.to_canonical().to_string();
        let path = reverse_path.to_string();
        let pairs = [
            ("receiver", hostname),
            ("client-ip", &client),
            ("identity", identity),
            ("envelope-from", &path),
            ("helo", helo),
        ];
        for (name, held) in pairs {
            property(&mut text, name, held);
            text.push(';');
        }
        text.push_str("\r\n");
        text
    }
}

/// The Authentication-Results field of a message that one of our people submitted: nothing but that they were logged in,
/// and in whose name they send (RFC 8601 §2.7.4).
pub fn submission_results(hostname: &str, reverse_path: &ReversePath) -> String {
    let mut text = format!("Authentication-Results: {}", value(hostname));
    result(&mut text, "auth", "pass", None);
    if let Some(mailbox) = reverse_path.mailbox() {
        property(&mut text, "smtp.mailfrom", &mailbox.to_string());
    }
    text.push_str("\r\n");
    text
}

fn spf(text: &mut String, check: &SpfCheck, identity: &str) {
    result(text, "spf", check.outcome.as_str(), None);
    property(text, identity, &check.domain);
}

fn dkim(text: &mut String, signature: &Dkim) {
    result(text, "dkim", signature.outcome.as_str(), signature.reason);
    let properties = [
        ("header.d", signature.domain.as_deref()),
        ("header.s", signature.selector.as_deref()),
        ("header.a", signature.algorithm),
        ("header.b", signature.signature.as_deref()),
    ];
    for (name, held) in properties {
        if let Some(held) = held {
            property(text, name, held);
        }
    }
}

/// One result on its own line; `reason` is one of our own texts.
fn result(text: &mut String, method: &str, outcome: &str, reason: Option<&'static str>) {
    // Writing to a String cannot fail.
    let _ = write!(text, ";\r\n\t{method}={outcome}");
    if let Some(reason) = reason {
        let _ = write!(text, " ({reason})");
    }
}

fn property(text: &mut String, name: &str, held: &str) {
    let held = value(held);
    let line = text.rfind('\n').map_or(text.len(), |start| text.len() - start);
    // RFC 5322 §2.1.1 asks for lines of at most 78 characters.
    let space = if line + name.len() + held.len() + 2 > 78 { "\r\n\t " } else { " " };
    let _ = write!(text, "{space}{name}={held}");
}

/// A `value` of RFC 8601 §2.2 (RFC 2045 §5.1): a token as it stands, else a quoted string of printable ASCII.
fn value(held: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+!#$&*^|~".contains(&b);
    if !held.is_empty() && held.len() <= LONGEST_VALUE && held.bytes().all(plain) {
        return Cow::Borrowed(held);
    }
    let mut quoted = String::from("\"");
    for c in held.chars().take(LONGEST_VALUE) {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Arc, DkimOutcome, Dmarc, DmarcOutcome, Policy, SpfOutcome};

    const OWN: &str = "mx.example.org";

    fn report(domain: &str) -> Report {
        let check = |outcome| SpfCheck { domain: domain.to_owned(), outcome };
        Report {
            spf: Spf {
                helo: Some(check(SpfOutcome::None)),
                mail_from: Some(check(SpfOutcome::Pass)),
            },
            dkim: vec![Dkim {
                outcome: DkimOutcome::Fail,
                domain: Some(domain.to_owned()),
                selector: Some(domain.to_owned()),
                algorithm: Some("rsa-sha256"),
                signature: Some("AbC+/123".to_owned()),
                reason: Some("body hash did not verify"),
            }],
            dmarc: Dmarc {
                outcome: DmarcOutcome::Pass,
                domain: Some(domain.to_owned()),
                policy: Some(Policy::Reject),
                ..Dmarc::none(None)
            },
            arc: Arc::default(),
            from_domain: Some(domain.to_owned()),
        }
    }

    #[test]
    fn all_results_in_one_field() {
        assert_eq!(
            report("a.test").authentication_results(OWN),
            "Authentication-Results: mx.example.org;\r\n\
             \tspf=pass smtp.mailfrom=a.test;\r\n\
             \tspf=none smtp.helo=a.test;\r\n\
             \tdkim=fail (body hash did not verify) header.d=a.test header.s=a.test\r\n\
             \t header.a=rsa-sha256 header.b=\"AbC+/123\";\r\n\
             \tdmarc=pass header.from=a.test policy.dmarc=reject\r\n"
        );
        let nothing = Report {
            spf: Spf::default(),
            dkim: vec![],
            dmarc: Dmarc::none(None),
            arc: Arc::default(),
            from_domain: None,
        };
        assert_eq!(
            nothing.authentication_results(OWN),
            "Authentication-Results: mx.example.org; none\r\n"
        );
    }

    #[test]
    fn what_spf_found_has_a_field_of_its_own() {
        let path: ReversePath = "\"a b\"@a.test".parse().expect("a path");
        let client = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(
            report("a.test").spf.received(OWN, client, "mail.a.test", &path),
            "Received-SPF: pass receiver=mx.example.org; client-ip=192.0.2.1;\r\n\
             \t identity=mailfrom; envelope-from=\"\\\"a b\\\"@a.test\"; helo=mail.a.test;\r\n"
        );
        assert_eq!(Spf::default().received(OWN, client, "x", &ReversePath::Null), "");
        let odd =
            report("a.test").spf.received(OWN, client, "[x]\r\nX: y; b=c", &ReversePath::Null);
        assert!(odd.contains("helo=\"[x]??X: y; b=c\";"), "{odd}");
    }

    #[test]
    fn an_override_is_told() {
        let mut report = report("a.test");
        report.dmarc.outcome = DmarcOutcome::Fail;
        assert!(matches!(report.verdict(), Verdict::Reject { .. }));
        report.arc.outcome = ArcOutcome::Pass;
        report.dmarc.overridden_by = Some("lists.test".into());
        assert_eq!(report.verdict(), Verdict::Accept);
        let field = report.authentication_results(OWN);
        assert!(field.contains("\r\n\tarc=pass;\r\n\tdmarc=fail reason=\"overridden by the ARC chain of lists.test\""), "{field}");
    }

    #[test]
    fn submissions_and_quarantine() {
        let path: ReversePath = "ann@a.test".parse().expect("a path");
        assert_eq!(
            submission_results(OWN, &path),
            "Authentication-Results: mx.example.org;\r\n\tauth=pass smtp.mailfrom=\"ann@a.test\"\r\n"
        );
        let verdict = Verdict::Quarantine { reason: "DMARC policy of a.test is quarantine".into() };
        assert_eq!(
            Report::quarantine_field(&verdict).as_deref(),
            Some("X-Letterlock-Quarantine: DMARC policy of a.test is quarantine\r\n")
        );
        assert_eq!(Report::quarantine_field(&Verdict::Accept), None);
    }

    proptest! {
        #[test]
        fn nothing_the_sender_chose_escapes(domain in "\\PC{0,40}|[a-z.\\r\\n;()\"\\\\= ]{0,40}") {
            let field = report(&domain).authentication_results(OWN);
            prop_assert!(field.is_ascii());
            let lines: Vec<&str> = field.split("\r\n").collect();
            prop_assert_eq!(lines.last().copied(), Some(""));
            for line in &lines[1..lines.len() - 1] {
                prop_assert!(line.starts_with('\t'));
            }
            prop_assert!(!field.replace("\r\n", "").contains(['\r', '\n']));
            // Outside quoted strings there are the semicolons of the four results and no more.
            let mut quoted = false;
            let mut escaped = false;
            let mut semicolons = 0;
            for c in field.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if quoted => escaped = true,
                    '"' => quoted = !quoted,
                    ';' if !quoted => semicolons += 1,
                    _ => {}
                }
            }
            prop_assert!(!quoted);
            prop_assert_eq!(semicolons, 4);
        }
    }
}
