//! DANE for SMTP (RFC 7672): does a chain of certificates fit the TLSA records?
//!
//! The records must be secure; [`letterlock_dns::Resolver::tlsa`] gives no others.

use letterlock_dns::Tlsa;
use letterlock_state::TlsFailure;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256, Sha512};

use crate::verifier::classify;

/// The usages that mail knows (RFC 7672 §3.1).
const TRUST_ANCHOR: u8 = 2;
const END_ENTITY: u8 = 3;

/// Why no certificate fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DaneError {
    /// As reports tell it.
    pub failure: TlsFailure,
    /// In words.
    pub reason: String,
}

impl DaneError {
    fn new(failure: TlsFailure, reason: impl Into<String>) -> Self {
        Self { failure, reason: reason.into() }
    }
}

/// Whether a record can be used at all: usages 0 and 1 are not for mail (RFC 7672 §3.1.3), and a digest must be as long
/// as its kind.
pub fn is_usable(record: &Tlsa) -> bool {
    let length = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, TRUST_ANCHOR | END_ENTITY) && matches!(record.selector, 0 | 1) && length
}

/// The record that the chain fits.
///
/// - Usage 3 asks for the host's own certificate or key; names and dates do not matter (RFC 7672 §3.1.1).
/// - Usage 2 asks for an authority: the chain must lead to it, and the certificate be for one of `names` and in date
///   (§3.1.2). The authority stands in the chain, or whole in the record.
///
/// # Errors
/// None does, and why.
pub fn verify<'r>(
    records: &'r [Tlsa],
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    names: &[String],
    now: UnixTime,
) -> Result<&'r Tlsa, DaneError> {
    let leaf = ParsedCertificate::try_from(end_entity)
        .map_err(|error| DaneError::new(TlsFailure::ValidationFailure, error.to_string()))?;
    let own = |record: &&Tlsa| record.usage == END_ENTITY && fits(record, end_entity);
    if let Some(record) = records.iter().find(own) {
        return Ok(record);
    }
    let mut nearest = None;
    for record in records.iter().filter(|record| record.usage == TRUST_ANCHOR) {
        for anchor in anchors(record, intermediates) {
            match leads_to(&anchor, &leaf, intermediates, names, now) {
                Ok(()) => return Ok(record),
                Err(error) => drop(nearest.get_or_insert(error)),
            }
        }
    }
    Err(nearest.unwrap_or_else(|| {
        DaneError::new(TlsFailure::TlsaInvalid, "no certificate fits any TLSA record")
    }))
}

/// The certificates that a record of usage 2 means.
fn anchors<'a>(record: &'a Tlsa, chain: &'a [CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    let mut found: Vec<CertificateDer<'a>> =
        chain.iter().filter(|certificate| fits(record, certificate)).cloned().collect();
    if (record.selector, record.matching) == (0, 0) && found.is_empty() {
        found.push(CertificateDer::from_slice(&record.data));
    }
    found
}

fn leads_to(
    anchor: &CertificateDer<'_>,
    leaf: &ParsedCertificate<'_>,
    chain: &[CertificateDer<'_>],
    names: &[String],
    now: UnixTime,
) -> Result<(), DaneError> {
    let failed = |error: rustls::Error| {
        DaneError::new(
            classify(&error),
            format!("the chain to the authority of the TLSA record: {error}"),
        )
    };
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone().into_owned()).map_err(failed)?;
    let algorithms = letterlock_net::crypto_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(leaf, &roots, chain, now, algorithms)
        .map_err(failed)?;
    let named = |name: &String| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| verify_server_name(leaf, &name).is_ok())
    };
    if names.iter().any(named) {
        return Ok(());
    }
    let reason = format!("the certificate is not for {}", names.join(" or "));
    Err(DaneError::new(TlsFailure::CertificateHostMismatch, reason))
}

/// RFC 6698 §2.1.2, §2.1.3.
fn fits(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.to_vec(),
        1 => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => parsed.subject_public_key_info().to_vec(),
            Err(_) => return false,
        },
        _ => return false,
    };
    match record.matching {
        0 => record.data == selected,
        1 => record.data[..] == Sha256::digest(&selected)[..],
        2 => record.data[..] == Sha512::digest(&selected)[..],
        _ => false,
    }
}
