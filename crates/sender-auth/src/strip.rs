//! Fields that somebody wrote in our name: they go before ours are put on.
//!
//! - `Authentication-Results` with our name as its author go, in all spellings (RFC 8601 §5: nobody outside may speak as
//!   we do, and readers believe that name). Those that cannot be read and mention our name go as well, since somebody's
//!   reader may be more lenient than ours.
//! - `Received-SPF` goes by the same rule: where `receiver`, or the comment behind the result, has our name. RFC 7208
//!   §9.1 only says that ours stands above all others; but not every reader stops at the first. Those that name
//!   somebody else, or nobody, stay: they are the trace of servers before us, and stand below our Received.
//! - Of both, those that are longer than any that is real go unread: reading takes many times the memory.
//! - `ARC-Authentication-Results` stay: they are signed, or they count for nothing.
//! - The field by which this server says why a message is in Junk goes.

use std::borrow::Cow;

use letterlock_address::Domain;

use crate::authres;
use crate::results::QUARANTINE;

/// Octets of a field that is read: a real one has a few hundred for each signature of its message.
const LONGEST: usize = 64 * 1024;

/// Removes the fields that claim to be ours, as `hostname`; see the module. Everything else stays octet for octet.
pub fn strip_own_results<'m>(message: &'m [u8], hostname: &str) -> Cow<'m, [u8]> {
    let own = Own::new(hostname);
    let mut kept: Option<Vec<u8>> = None;
    let mut position = 0;
    while let Some(length) = field_length(&message[position..]) {
        let field = &message[position..position + length];
        if claims(field, &own) {
            kept.get_or_insert_with(|| message[..position].to_vec());
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(field);
        }
        position += length;
    }
    match kept {
        Some(mut kept) => {
            kept.extend_from_slice(&message[position..]);
            Cow::Owned(kept)
        }
        None => Cow::Borrowed(message),
    }
}

/// The octets of the field that `rest` begins with, with its continuation lines; `None` at the end of the header.
fn field_length(rest: &[u8]) -> Option<usize> {
    if rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n") {
        return None;
    }
    let mut length = 0;
    loop {
        length += match rest[length..].iter().position(|b| *b == b'\n') {
            Some(end) => end + 1,
            None => return Some(rest.len()),
        };
        if !matches!(rest.get(length), Some(b' ' | b'\t')) {
            return Some(length);
        }
    }
}

/// Our name, in the forms in which it may be written.
struct Own {
    ascii: String,
    unicode: String,
    domain: Option<Domain>,
}

impl Own {
    fn new(hostname: &str) -> Self {
        let domain = Domain::parse(hostname).ok();
        let unicode = domain.as_ref().map(Domain::to_unicode).unwrap_or_default();
        let ascii =
            domain.as_ref().map_or_else(|| hostname.to_ascii_lowercase(), |own| own.to_string());
        Self { ascii, unicode, domain }
    }

    /// Whether this is our name: in any case, with a final dot or without, in A-labels or in Unicode (RFC 8616 §3).
    fn is(&self, text: &str) -> bool {
        let name = text.trim_end_matches('.');
        // Most words are of ASCII, which needs no mapping.
        match &self.domain {
            Some(domain) if !name.is_ascii() => {
                Domain::parse(name).is_ok_and(|name| name == *domain)
            }
            _ => name.eq_ignore_ascii_case(&self.ascii),
        }
    }

    /// Whether it stands anywhere in a text that cannot be read.
    fn is_mentioned(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        text.contains(&self.ascii) || (!self.unicode.is_empty() && text.contains(&self.unicode))
    }
}

fn claims(field: &[u8], own: &Own) -> bool {
    let Some(colon) = field.iter().position(|b| *b == b':') else {
        return false;
    };
    let name = field[..colon].trim_ascii();
    let value = || String::from_utf8_lossy(&field[colon + 1..]);
    if name.eq_ignore_ascii_case(QUARANTINE.as_bytes()) {
        true
    } else if name.eq_ignore_ascii_case(b"Authentication-Results") {
        is_our_result(&value(), own)
    } else if name.eq_ignore_ascii_case(b"Received-SPF") {
        is_our_spf(&value(), own)
    } else {
        false
    }
}

fn is_our_result(value: &str, own: &Own) -> bool {
    if value.len() > LONGEST {
        return true;
    }
    let Some(parts) = authres::parts(value) else { return own.is_mentioned(value) };
    parts.first().is_some_and(|words| {
        // RFC 8601 §2.2: a version may follow the name.
        let ours = |text: &str| own.is(text.split('/').next().unwrap_or(text));
        // A name in pieces is ours too: somebody's reader may put it together.
        words.iter().any(|word| ours(word)) || ours(&words.concat())
    })
}

fn is_our_spf(value: &str, own: &Own) -> bool {
    if value.len() > LONGEST {
        return true;
    }
    let Some(parts) = authres::parts(value) else { return own.is_mentioned(value) };
    let names_us = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(key, name)| key.eq_ignore_ascii_case("receiver") && own.is(name))
    };
    let receiver = parts.iter().enumerate().any(|(place, words)| {
        // The result stands before the first pair; white space and comments may stand around the sign.
        let pair = words.get(usize::from(place == 0)..).unwrap_or_default();
        words.iter().any(|word| names_us(word)) || names_us(&pair.concat())
    });
    receiver || comment_author(value).is_some_and(|name| own.is(name))
}

/// Who says so by the comment of RFC 7208's example: `pass (mx.example.org: domain of … designates …)`.
fn comment_author(value: &str) -> Option<&str> {
    let (_, comment) = value.split_once('(')?;
    comment.trim_start().split([':', ')', ' ', '\t', '\r', '\n']).next()
}

#[cfg(test)]
mod tests {
    use letterlock_address::ReversePath;
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Spf, SpfCheck, SpfOutcome};
    use crate::results::submission_results;

    const OWN: &str = "mx.example.org";

    fn stripped(field: &str) -> bool {
        let message = format!("Subject: x\r\n{field}\r\nTo: y\r\n\r\nbody {field}\r\n");
        let result = strip_own_results(message.as_bytes(), OWN);
        if result.as_ref() == message.as_bytes() {
            return false;
        }
        let rest = format!("Subject: x\r\nTo: y\r\n\r\nbody {field}\r\n");
        assert_eq!(String::from_utf8_lossy(&result), rest);
        true
    }

    #[test]
    fn forged_results_go() {
        for field in [
            "Authentication-Results: mx.example.org; dkim=pass",
            "AUTHENTICATION-RESULTS: MX.Example.Org; dkim=pass",
            "Authentication-Results : mx.example.org 1; none",
            "Authentication-Results:mx.example.org",
            "Authentication-Results:\r\n\tmx.example.org;\r\n\tspf=pass",
            "Authentication-Results: (a (nested;) comment) mx.example.org; x",
            "Authentication-Results: (com\\)ment) mx.example.org; x",
            "Authentication-Results: \"mx.example.org\"; x",
            "Authentication-Results: \"mx.\\example.org\"; x",
            "Authentication-Results: mx.example.org.; x",
            "Authentication-Results: mx.example.org(c); x",
            "Authentication-Results: (open mx.example.org; dkim=pass",
            "Authentication-Results: \"open MX.example.org; dkim=pass",
            "Authentication-Results: mx.example.org/1; dkim=pass",
            "Authentication-Results: mx . example . org; dkim=pass",
            "Authentication-Results: mx(c).(d)example(e).org; dkim=pass",
            "x-letterlock-quarantine: nobody's business",
        ] {
            assert!(stripped(field), "{field}");
        }
    }

    #[test]
    fn what_others_say_stays() {
        for field in [
            "Authentication-Results: mx.example.net; dkim=pass",
            "Authentication-Results: notmx.example.org; dkim=pass",
            "Authentication-Results: mx.example.org.evil.test; x",
            "Authentication-Results: mx.example.net; x=mx.example.org",
            "X-Authentication-Results: mx.example.org; dkim=pass",
            "ARC-Authentication-Results: i=1; mx.example.org; dkim=pass",
            "Subject: Authentication-Results: mx.example.org; x",
        ] {
            assert!(!stripped(field), "{field}");
        }
    }

    #[test]
    fn forged_spf_goes_and_that_of_servers_before_us_stays() {
        for field in [
            "Received-SPF: pass receiver=mx.example.org; client-ip=192.0.2.1",
            "received-spf : Pass (x) RECEIVER=MX.EXAMPLE.ORG",
            "Received-SPF: pass client-ip=192.0.2.1; receiver=\"mx.example.org\"",
            "Received-SPF: pass client-ip=192.0.2.1;\r\n\treceiver = mx.example.org.;",
            "Received-SPF: pass receiver(c)=(d)mx.example.org",
            "Received-SPF: pass (mx.example.org: domain of a@b.test designates 192.0.2.1)",
            "Received-SPF: pass\r\n (\r\n mx.example.org\r\n says so)",
            "Received-SPF: pass receiver=mx.other.test; receiver=mx.example.org",
            "Received-SPF: pass (open receiver=mx.example.org",
        ] {
            assert!(stripped(field), "{field}");
        }
        for field in [
            "Received-SPF: pass receiver=mx.other.test; client-ip=192.0.2.1",
            "Received-SPF: pass (mx.other.test: domain of a@mx.example.org) receiver=mx.other.test",
            // Mail that went out from here and came back says so.
            "Received-SPF: pass receiver=mx.other.test; helo=mx.example.org; envelope-from=\"a@mx.example.org\"",
            "Received-SPF: pass client-ip=192.0.2.1",
            "Received-SPF: pass receiver=<UNKNOWN>; helo=x",
            "Received-SPF:",
            "X-Received-SPF: pass receiver=mx.example.org",
        ] {
            assert!(!stripped(field), "{field}");
        }
    }

    #[test]
    fn a_field_too_long_to_be_read_hides_nothing() {
        let padding = "x ".repeat(LONGEST / 2);
        assert!(stripped(&format!("Authentication-Results: ({padding}) \"mx.\\example.org\"; x")));
        assert!(stripped(&format!("Received-SPF: pass ({padding}) receiver=\"mx.\\example.org\"")));
        let usual = "; dkim=pass header.d=far.test".repeat(1000);
        assert!(!stripped(&format!("Authentication-Results: mx.far.test{usual}")));
        assert!(!stripped(&format!("X-Filter: ({padding}) mx.example.org")));
    }

    #[test]
    fn our_name_is_ours_in_every_script() {
        let ours = "mx.xn--bcher-kva.example";
        for name in [
            "mx.b\u{fc}cher.example",
            "MX.B\u{dc}CHER.EXAMPLE.",
            "mx.bu\u{308}cher.example",
            "MX.XN--Bcher-KVA.example",
        ] {
            for field in [
                format!("Authentication-Results: {name}; spf=pass\r\n"),
                format!("Authentication-Results: \"{name}\" 1; spf=pass\r\n"),
                format!("Received-SPF: pass receiver={name};\r\n"),
            ] {
                let message = format!("{field}\r\n");
                assert_eq!(
                    strip_own_results(message.as_bytes(), ours).as_ref(),
                    b"\r\n",
                    "{field}"
                );
                // The same where the configuration has it in Unicode.
                let unicode = "mx.b\u{fc}cher.example";
                assert_eq!(
                    strip_own_results(message.as_bytes(), unicode).as_ref(),
                    b"\r\n",
                    "{field}"
                );
            }
        }
        let open = "Authentication-Results: (open mx.b\u{fc}cher.example; spf=pass\r\n\r\n";
        assert_eq!(strip_own_results(open.as_bytes(), ours).as_ref(), b"\r\n");
        let open = format!("Authentication-Results: (open {ours}; spf=pass\r\n\r\n");
        assert_eq!(strip_own_results(open.as_bytes(), "mx.b\u{fc}cher.example").as_ref(), b"\r\n");
        let other = "Authentication-Results: mx.bucher.example; spf=pass\r\n\r\n";
        assert_eq!(strip_own_results(other.as_bytes(), ours).as_ref(), other.as_bytes());
    }

    proptest! {
        #[test]
        fn stripping_never_panics_and_only_removes(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(strip_own_results(&message, OWN).len() <= message.len());
        }

        #[test]
        fn what_we_write_we_strip(domain in "[a-z]{1,10}\\.test") {
            let spf = Spf {
                helo: None,
                mail_from: Some(SpfCheck { domain: domain.clone(), outcome: SpfOutcome::Pass }),
            };
            let path: ReversePath = format!("a@{domain}").parse().expect("a path");
            let received = spf.received(OWN, std::net::IpAddr::from([192, 0, 2, 1]), &domain, &path);
            let results = submission_results(OWN, &path);
            let message = format!("{received}{results}\r\n");
            let rest = strip_own_results(message.as_bytes(), OWN);
            prop_assert_eq!(rest.as_ref(), b"\r\n".as_slice());
        }
    }
}
