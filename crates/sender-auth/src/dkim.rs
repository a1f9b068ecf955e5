//! From the library's results for DKIM signatures to ours: what it accepts and we do not, and reasons in our words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::arc::ArcError;
use mail_auth::common::crypto::{Algorithm, CryptoError};
use mail_auth::common::headers::Header;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::{DomainKey, VerifySignature as _};
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::hickory_resolver::proto::rr::{RData, RecordType};
use mail_auth::{DkimOutput, DkimResult, DnsError, Error};

use crate::names::{Absent, Names};
use crate::report::{Dkim, DkimOutcome};

/// The smallest RSA key that counts, in bits (RFC 8301 §3.2).
const SMALLEST_RSA: usize = 1024;

/// Why a signature did not pass, in our words.
type Reason = Option<&'static str>;

/// What a signature that verified is worth.
pub(crate) enum Worth {
    Counts,
    DoesNotCount(&'static str),
    /// DNS failed on the way.
    Unknown,
}

/// Judges one result. If the signature is not to be trusted although it verified, the library's result is replaced
/// as well, so that DMARC does not count it.
pub(crate) async fn judge<'x>(
    names: &Names,
    output: DkimOutput<'x>,
    signatures: &'x [Header<'x, Signature>],
) -> (DkimOutput<'x>, Dkim) {
    let (outcome, reason) = explain(output.result());
    let Some(signature) = output.signature() else {
        let unreadable = Dkim {
            outcome,
            reason,
            domain: None,
            selector: None,
            algorithm: None,
            signature: None,
        };
        return (output, unreadable);
    };
    let mut described = Dkim { outcome, reason, ..describe(signature) };
    if outcome != DkimOutcome::Pass {
        return (output, described);
    }
    let worth = match distrust_signature(signature) {
        Some(reason) => Worth::DoesNotCount(reason),
        None => worth_of_key(names, &signature.domain_key()).await,
    };
    let replaced = match worth {
        Worth::Counts => return (output, described),
        Worth::DoesNotCount(reason) => {
            described.outcome = DkimOutcome::Policy;
            described.reason = Some(reason);
            DkimOutput::perm_err(Error::Dkim(DkimError::UnsupportedAlgorithm))
        }
        Worth::Unknown => {
            let failed = Error::Dns(DnsError::Resolver(String::new()));
            described.outcome = DkimOutcome::TempError;
            described.reason = Some(why(&failed));
            DkimOutput::temp_err(failed)
        }
    };
    // The borrow of the output's own signature ends with it; the message's list holds the same one.
    let same = signatures.iter().map(|held| &held.header).find(|held| *held == signature);
    let replaced = match same {
        Some(signature) => replaced.with_signature(signature),
        None => replaced,
    };
    (replaced, described)
}

fn describe(signature: &Signature) -> Dkim {
    let encoded = STANDARD.encode(signature.b.get(..6).unwrap_or(&signature.b));
    Dkim {
        outcome: DkimOutcome::Neutral,
        domain: Some(signature.d.to_ascii_lowercase()),
        selector: Some(signature.s.clone()),
        algorithm: Some(match signature.a {
            Algorithm::RsaSha1 => "rsa-sha1",
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }),
        signature: Some(encoded.chars().take(8).collect()),
        reason: None,
    }
}

/// What the signature's own tags must hold.
fn distrust_signature(signature: &Signature) -> Reason {
    if signature.a == Algorithm::RsaSha1 {
        // RFC 8301 §3.1.
        return Some("SHA-1 is not secure");
    }
    if signature.v != 1 {
        return Some("no version");
    }
    if !signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        // RFC 6376 §6.1.1: such a signature says nothing about who wrote the message.
        return Some("From is not signed");
    }
    if signature.l > 0 {
        return Some("only a part of the body is signed");
    }
    None
}

/// What the key record must hold (RFC 6376 §3.6.1). The library has used the same record a moment ago, so this is
/// answered from memory.
pub(crate) async fn worth_of_key(names: &Names, name: &str) -> Worth {
    let answer = match names.lookup(name, RecordType::TXT).await {
        Ok(answer) => answer,
        Err(Absent::NoName | Absent::NoData) => return Worth::DoesNotCount("no key"),
        Err(Absent::Temporary) => return Worth::Unknown,
    };
    let record = answer.iter().find_map(|data| match data {
        RData::TXT(txt) => {
            let text = txt.txt_data.concat();
            DomainKey::parse(&text).ok().map(|key| (text, key))
        }
        _ => None,
    });
    let Some((text, key)) = record else {
        return Worth::DoesNotCount("no key");
    };
    if key.p.public_key_bits() < SMALLEST_RSA {
        return Worth::DoesNotCount("the key is too short");
    }
    let text = String::from_utf8_lossy(&text);
    if !allows(&text, "h", &["sha256"]) {
        return Worth::DoesNotCount("the key is for other hash algorithms");
    }
    if !allows(&text, "s", &["*", "email"]) {
        return Worth::DoesNotCount("the key is not for mail");
    }
    Worth::Counts
}

/// Whether a tag that lists values separated by colons is absent or holds one of `wanted`.
fn allows(record: &str, tag: &str, wanted: &[&str]) -> bool {
    let value = record.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == tag).then_some(value)
    });
    value.is_none_or(|value| {
        value
            .split(':')
            .any(|held| wanted.iter().any(|wanted| held.trim().eq_ignore_ascii_case(wanted)))
    })
}

fn explain(result: &DkimResult) -> (DkimOutcome, Reason) {
    match result {
        DkimResult::Pass => (DkimOutcome::Pass, None),
        DkimResult::Fail(error) => (DkimOutcome::Fail, Some(why(error))),
        DkimResult::Neutral(error) => (DkimOutcome::Neutral, Some(why(error))),
        DkimResult::PermError(error) => (DkimOutcome::PermError, Some(why(error))),
        DkimResult::TempError(error) => (DkimOutcome::TempError, Some(why(error))),
        DkimResult::None => (DkimOutcome::Neutral, Some("not checked")),
    }
}

/// Our words for the library's errors. Its own may quote what the sender wrote.
pub(crate) fn why(error: &Error) -> &'static str {
    match error {
        Error::Dns(DnsError::Resolver(_)) => "key lookup failed for now",
        Error::Dns(DnsError::RecordNotFound(_)) => "no key",
        Error::Dns(DnsError::InvalidRecordType) | Error::ParseError => "unusable key",
        Error::Crypto(CryptoError::IncompatibleAlgorithms) => "the key is of another kind",
        Error::Crypto(_) => "signature did not verify",
        Error::Dkim(DkimError::FailedBodyHashMatch) => "body hash did not verify",
        Error::Dkim(DkimError::FailedAuidMatch) => "agent identifier not in the signing domain",
        Error::Dkim(DkimError::RevokedPublicKey) => "key revoked",
        Error::Dkim(DkimError::SignatureExpired) => "signature expired",
        Error::Dkim(DkimError::SignatureLength) => "only a part of the body is signed",
        Error::Dkim(_) => "unsupported signature",
        Error::Arc(ArcError::FailedBodyHashMatch) => "body hash did not verify",
        Error::Arc(ArcError::SignatureExpired) => "signature expired",
        Error::Arc(ArcError::InvalidCV) => "a sealer found the chain broken",
        Error::Arc(_) => "the chain is not whole",
        _ => "unusable signature",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_a_key_bind() {
        assert!(allows("v=DKIM1; p=abc", "h", &["sha256"]));
        assert!(allows("v=DKIM1; h=sha1 : SHA256; p=abc", "h", &["sha256"]));
        assert!(!allows("v=DKIM1; h=sha1; p=abc", "h", &["sha256"]));
        assert!(!allows("v=DKIM1; h=; p=abc", "h", &["sha256"]));
        assert!(allows("s=*", "s", &["*", "email"]));
        assert!(!allows("s=tlsrpt", "s", &["*", "email"]));
    }
}
