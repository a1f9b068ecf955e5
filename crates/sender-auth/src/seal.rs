//! Sealing what is forwarded (RFC 8617 §5.1): who gets it sees what we found, and that it is as we sent it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use letterlock_address::Domain;

use crate::arc::{MAX_INSTANCES, instance, kind};
use crate::known;
use crate::report::{ArcOutcome, Report};
use crate::sign::{SignError, check_selector, hash_body, relax_field, select, split};

/// What was found about a message that came in, as it is attested to those to whom it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// The value of our Authentication-Results field: our name and the results.
    results: String,
    /// The state of the chain as the message came.
    arc: ArcOutcome,
}

impl Report {
    /// What a seal says about the message. `hostname` is the server's name.
    pub fn attested(&self, hostname: &str) -> Attested {
        let field = self.authentication_results(hostname);
        let value = field.split_once(':').map_or("", |(_, value)| value);
        Attested { results: value.trim().to_owned(), arc: self.arc.outcome }
    }
}

/// In whose name a seal is made.
#[derive(Clone, Copy)]
pub struct Sealing<'a> {
    /// The domain.
    pub domain: &'a Domain,
    /// The selector of its DKIM key.
    pub selector: &'a str,
    /// The key: PKCS #8 in DER.
    pub private: &'a [u8],
}

/// Makes the three fields of the chain's next member, with their final CRLFs, to be put before `message` (CRLF line
/// ends). `None` if the chain cannot go on: it is broken, could not be checked, or is as long as chains may be. A broken
/// one is not sealed as broken, which would tell nobody more than it does itself.
///
/// # Errors
/// Of the key and the message, as for a signature.
pub fn seal(
    message: &[u8],
    attested: &Attested,
    sealing: Sealing<'_>,
    now: Timestamp,
) -> Result<Option<String>, SignError> {
    let (fields, body) = split(message);
    let held = fields
        .iter()
        .filter_map(|(name, value)| Some((instance(value)?, kind(name)?, *name, *value)));
    let mut chain: Vec<_> = held.collect();
    chain.sort_by_key(|(instance, set, ..)| (*instance, *set));
    let before = chain.len() / 3;
    let cv = match attested.arc {
        ArcOutcome::None if before == 0 => "none",
        ArcOutcome::Pass if before > 0 && before < MAX_INSTANCES => "pass",
        _ => return Ok(None),
    };
    check_selector(sealing.selector)?;
    let key = known::key(sealing.private)?;
    let (i, a, d, s) = (before + 1, key.algorithm_name(), sealing.domain, sealing.selector);
    let t = now.as_second().max(0);

    let results = format!("ARC-Authentication-Results: i={i}; {}\r\n", attested.results);
    let (names, signed) = select(&fields, &["DKIM-Signature"])?;
    let signature = format!(
        "ARC-Message-Signature: i={i}; a={a}; c=relaxed/relaxed;\r\n\
         \td={d};\r\n\
         \ts={s}; t={t};\r\n\
         \th={};\r\n\
         \tbh={};\r\n\
         \tb=",
        names.join(":\r\n\t "),
        STANDARD.encode(hash_body(body)),
    );
    let signature = key.finish(signature, signed)?;

    // RFC 8617 §5.1.1: every set so far in order, then ours, the seal itself last.
    let mut sealed = Vec::with_capacity(2048);
    for (_, _, name, value) in &chain {
        relax_field(name, value, &mut sealed);
        sealed.extend_from_slice(b"\r\n");
    }
    for field in [&results, &signature] {
        let (name, value) = field.split_once(':').ok_or(SignError::Crypto)?;
        relax_field(name.as_bytes(), value.as_bytes(), &mut sealed);
        sealed.extend_from_slice(b"\r\n");
    }
    let seal = format!("ARC-Seal: i={i}; a={a}; cv={cv};\r\n\td={d};\r\n\ts={s}; t={t};\r\n\tb=");
    let seal = key.finish(seal, sealed)?;
    Ok(Some(format!("{seal}{signature}{results}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::Set;
    use crate::sign::{KeyAlgorithm, generate_key};

    #[test]
    fn order_in_a_set() {
        assert!(Set::Results < Set::Signature && Set::Signature < Set::Seal);
    }

    #[test]
    fn broken_chains_do_not_go_on() {
        let key = generate_key(KeyAlgorithm::Ed25519).expect("a key");
        let domain = Domain::parse("f.test").expect("a domain");
        let sealing = Sealing { domain: &domain, selector: "s", private: &key.private };
        let attested = |arc| Attested { results: "mx.f.test; none".into(), arc };
        let plain = b"From: a@a.test\r\n\r\nx\r\n".as_slice();
        let made = |message: &[u8], arc| {
            seal(message, &attested(arc), sealing, Timestamp::UNIX_EPOCH).map(|set| set.is_some())
        };
        assert_eq!(made(plain, ArcOutcome::None), Ok(true));
        assert_eq!(made(plain, ArcOutcome::Fail), Ok(false));
        assert_eq!(made(plain, ArcOutcome::TempError), Ok(false));
        assert_eq!(made(plain, ArcOutcome::Pass), Ok(false));
        assert_eq!(made(b"To: x\r\n\r\n", ArcOutcome::None), Err(SignError::NoFrom));
    }
}
