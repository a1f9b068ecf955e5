//! ARC (RFC 8617): what those say through whom a message came.
//!
//! The library checks hashes and signatures. What it lets pass and the standard does not (tags that are doubled,
//! malformed or missing, keys that do not count) is checked here.

use mail_auth::arc::Set as ChainSet;
use mail_auth::common::verify::VerifySignature;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};

use crate::authres;
use crate::dkim::{self, Worth};
use crate::names::Names;
use crate::report::{Arc, ArcOutcome, Sealer};
use crate::txt::Texts;

/// The longest chain (RFC 8617 §4.2.1).
pub(crate) const MAX_INSTANCES: usize = 50;

/// A field of a set, in the order in which seals cover them (RFC 8617 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    Results,
    Signature,
    Seal,
}

pub(crate) fn kind(name: &[u8]) -> Option<Set> {
    let name = name.trim_ascii();
    [
        (&b"ARC-Authentication-Results"[..], Set::Results),
        (b"ARC-Message-Signature", Set::Signature),
        (b"ARC-Seal", Set::Seal),
    ]
    .into_iter()
    .find_map(|(known, kind)| name.eq_ignore_ascii_case(known).then_some(kind))
}

/// Verifies a message's chain.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    names: &Names,
    texts: &Texts,
    message: &AuthenticatedMessage<'_>,
) -> Arc {
    let mut fields = message.headers.iter().filter_map(|(name, value)| Some((kind(name)?, *value)));
    let mut found = false;
    if let Some(reason) = fields.find_map(|(kind, value)| {
        found = true;
        malformed(kind, value)
    }) {
        return broken(ArcOutcome::Fail, reason);
    }
    if !found {
        return Arc::default();
    }
    let output = authenticator.verify_arc(texts.parameters(message)).await;
    match output.result() {
        DkimResult::Pass => {}
        DkimResult::TempError(_) => {
            return broken(ArcOutcome::TempError, "key lookup failed for now");
        }
        DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
            return broken(ArcOutcome::Fail, dkim::why(error));
        }
        DkimResult::None => return broken(ArcOutcome::Fail, "the chain is not whole"),
    }
    if let Some((outcome, reason)) = worthless_key(names, output.sets()).await {
        return broken(outcome, reason);
    }
    let sealers = output.sets().iter().map(|set| Sealer {
        domain: set.seal.header.d.to_ascii_lowercase(),
        dmarc_passed: authres::dmarc_passed(&String::from_utf8_lossy(set.results.value)),
    });
    Arc { outcome: ArcOutcome::Pass, sealers: sealers.collect(), ..Arc::default() }
}

fn broken(outcome: ArcOutcome, reason: &'static str) -> Arc {
    Arc { outcome, reason: Some(reason), ..Arc::default() }
}

/// The seals' keys, and that of the last message signature, must be such as DKIM counts.
async fn worthless_key(names: &Names, sets: &[ChainSet<'_>]) -> Option<(ArcOutcome, &'static str)> {
    let mut asked: Vec<String> = sets.iter().map(|set| set.seal.header.domain_key()).collect();
    asked.extend(sets.last().map(|set| set.signature.header.domain_key()));
    asked.sort_unstable();
    asked.dedup();
    for name in asked {
        match dkim::worth_of_key(names, &name).await {
            Worth::Counts => {}
            Worth::DoesNotCount(reason) => return Some((ArcOutcome::Fail, reason)),
            Worth::Unknown => return Some((ArcOutcome::TempError, "key lookup failed for now")),
        }
    }
    None
}

/// What is wrong with a field, if anything.
fn malformed(kind: Set, value: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(value) else { return Some("a field is not text") };
    if kind == Set::Results {
        // RFC 8617 §4.1.1: the instance comes first.
        let instance = text.split_once(';').and_then(|(first, _)| first.split_once('='));
        let good = instance.is_some_and(|(name, number)| name.trim() == "i" && is_instance(number));
        return (!good).then_some("a field has no instance");
    }
    let Some(tags) = tags(text) else { return Some("a field is malformed") };
    let tag = |name: &str| tags.iter().find(|(held, _)| *held == name).map(|(_, value)| *value);
    let needed: &[&str] = match kind {
        Set::Seal => &["i", "a", "b", "cv", "d", "s"],
        _ => &["i", "a", "b", "bh", "d", "h", "s"],
    };
    if needed.iter().any(|name| tag(name).is_none_or(str::is_empty)) {
        return Some("a field misses a tag");
    }
    if !tag("i").is_some_and(is_instance) {
        return Some("a field has no instance");
    }
    if !tag("a").is_some_and(|a| matches!(a, "rsa-sha256" | "ed25519-sha256")) {
        return Some("unsupported algorithm");
    }
    if tag("t").is_some_and(|t| t.is_empty() || !t.bytes().all(|b| b.is_ascii_digit())) {
        return Some("a field is malformed");
    }
    match kind {
        // RFC 8617 §4.1.3.
        Set::Seal if tag("h").is_some() => Some("a seal names fields"),
        // RFC 8617 §4.1.2: seals are not for message signatures to cover.
        Set::Signature if names(tag("h")).any(|name| name.eq_ignore_ascii_case("arc-seal")) => {
            Some("a message signature covers a seal")
        }
        Set::Signature if tag("l").is_some() => Some("only a part of the body is signed"),
        _ => None,
    }
}

/// The instance that a field says it belongs to.
pub(crate) fn instance(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    let instance = text.split(';').find_map(|tag| {
        let (name, number) = tag.split_once('=')?;
        (name.trim() == "i").then_some(number)
    })?;
    is_instance(instance).then(|| instance.trim().parse().ok())?
}

fn names(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|list| list.split(':')).map(str::trim)
}

fn is_instance(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits && text.parse().is_ok_and(|number: usize| (1..=MAX_INSTANCES).contains(&number))
}

/// A tag list (RFC 6376 §3.2): names and trimmed values, no name twice.
fn tags(text: &str) -> Option<Vec<(&str, &str)>> {
    let text = text.trim();
    let text = text.strip_suffix(';').unwrap_or(text);
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for tag in text.split(';') {
        let (name, value) = tag.split_once('=')?;
        let name = name.trim();
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_name = name.as_bytes().first()?.is_ascii_alphabetic() && name.bytes().all(inner);
        if !is_name || tags.iter().any(|(held, _)| *held == name) {
            return None;
        }
        tags.push((name, value.trim()));
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_lists_are_strict() {
        assert_eq!(tags(" a=b ;\r\n c = d=e;"), Some(vec![("a", "b"), ("c", "d=e")]));
        for text in ["", "a", "a=b;;c=d", "a=b; a=c", "1=2", "a-b=c"] {
            assert_eq!(tags(text), None, "{text}");
        }
    }
}
