//! Results of TLS with other servers, counted by day in the terms of RFC 8460, from which TLS reports are made.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::state::{State, counts, day, facts};

/// What policy a session was judged by (RFC 8460 §4.4, `policy-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyType {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// The domain has none.
    NoPolicyFound,
}

impl PolicyType {
    /// As a report writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tlsa => "tlsa",
            Self::Sts => "sts",
            Self::NoPolicyFound => "no-policy-found",
        }
    }
}

/// Why a session failed (RFC 8460 §4.3, `result-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TlsFailure {
    /// STARTTLS was not offered.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate has expired.
    CertificateExpired,
    /// Nobody that is trusted vouches for the certificate.
    CertificateNotTrusted,
    /// Anything else that went wrong in the handshake.
    ValidationFailure,
    /// No certificate fits the TLSA records.
    TlsaInvalid,
    /// DNSSEC validation failed.
    DnssecInvalid,
    /// DANE was asked for, but no TLSA record can be used.
    DaneRequired,
    /// The policy could not be fetched.
    StsPolicyFetchError,
    /// The policy could not be understood.
    StsPolicyInvalid,
    /// The certificate of the policy's host is not valid.
    StsWebpkiInvalid,
}

impl TlsFailure {
    /// As a report writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// One session, or one failure to find a policy: everything that a report lists apart.
///
/// Stored by position: its fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsResult {
    /// The type of the policy.
    pub policy_type: PolicyType,
    /// The policy's lines: those of the MTA-STS policy, or the TLSA records (`policy-string`).
    pub policy: Vec<String>,
    /// The names of exchangers in the policy (`mx-host`).
    pub mx_hosts: Vec<String>,
    /// `None` for success.
    pub failure: Option<TlsFailure>,
    /// Our own address (`sending-mta-ip`).
    pub sending_ip: Option<IpAddr>,
    /// The exchanger's name (`receiving-mx-hostname`).
    pub receiving_mx: Option<String>,
    /// The exchanger's address (`receiving-ip`).
    pub receiving_ip: Option<IpAddr>,
    /// More about the failure (`failure-reason-code`).
    pub reason: Option<String>,
}

/// Sessions of one day with the same result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCount {
    /// The domain whose policy it is, or which has none (`policy-domain`).
    pub domain: String,
    /// What they had in common.
    pub result: TlsResult,
    /// How many there were.
    pub sessions: u64,
}

impl State {
    /// Counts a session. Never waits.
    pub fn count_tls(&self, domain: &str, result: &TlsResult, at: Timestamp) {
        let Ok(facts) = postcard::to_stdvec(result) else { return };
        let key = (day(at), domain.to_ascii_lowercase(), facts);
        self.buffer.add(|notes| *notes.tls_results.entry(key).or_default() += 1);
    }

    /// The sessions of the UTC day in which `at` lies, by domain.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub async fn tls_results(&self, at: Timestamp) -> Result<Vec<TlsCount>, StateError> {
        let sql =
            "SELECT domain, facts, sessions FROM tls_results WHERE day = ? ORDER BY domain, facts";
        let rows = counts(self, sql, day(at)).await?;
        let read = |(domain, stored, sessions): (String, Vec<u8>, u64)| {
            Some(TlsCount { result: facts(&domain, &stored)?, domain, sessions })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}
