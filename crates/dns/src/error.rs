//! What can go wrong with a lookup, told apart by what a mail server does about it.

use std::path::PathBuf;

use hickory_proto::dnssec::Proof;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use hickory_resolver::net::{DnsError as WireError, NetError};

use crate::secure::Security;

/// Why a lookup has no answer.
///
/// A name that exists without records of the type asked for is not an error: the lookups answer an empty list, or
/// [`MxAnswer::Implicit`](crate::MxAnswer::Implicit).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN), or is not a DNS name. Asking again will not help soon.
    #[error("no such name in DNS")]
    NotFound,
    /// No usable answer at the moment: SERVFAIL, REFUSED, time-out, network trouble. Try later.
    #[error("DNS lookup failed for now: {0}")]
    Temporary(String),
    /// The answer failed DNSSEC validation. It must not be used; it may be mended by its owner, so try later.
    #[error("DNS answer failed DNSSEC validation")]
    Bogus,
}

impl DnsError {
    /// Whether the same lookup may succeed later, so that mail waits instead of being returned.
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Self::NotFound)
    }
}

/// Why no resolver could be made from the settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's `/etc/resolv.conf` cannot be read or names no server.
    #[error("cannot use the system's DNS servers ({0}); name some in [dns] servers")]
    System(String),
    /// The trust anchor file cannot be read, is malformed, or holds no DNSKEY record.
    #[error("cannot use trust anchors from {path}: {reason}", path = path.display())]
    TrustAnchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The resolver library refused the settings.
    #[error("cannot set up the DNS resolver: {0}")]
    Build(String),
}

/// A failed lookup, or an absence that the caller turns into an empty answer.
pub(crate) enum Missing {
    /// There is nothing, as far as the answer says.
    Absent(Absence),
    /// Nobody knows.
    Failed(DnsError),
}

/// Something that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(crate) what: Absent,
    /// Whether that was proven.
    pub(crate) security: Security,
    /// Seconds for which that may be remembered (RFC 2308 §5).
    pub(crate) ttl: u32,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The name (NXDOMAIN).
    Name,
    /// The type at this name (NODATA).
    Type,
}

impl From<NetError> for Missing {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(WireError::NoRecordsFound(none)) => {
                let security = proven(none.authorities.as_deref().unwrap_or_default());
                let ttl = none.soa.as_ref().map_or(0, |soa| soa.ttl.min(soa.data.minimum));
                absent(none.response_code, security, ttl)
            }
            // A denial beyond the iteration limits of RFC 9276 §3.2 counts as insecure, not as bogus.
            NetError::Dns(WireError::Nsec { response, proof: Proof::Insecure, .. }) => {
                absent(response.metadata.response_code, Security::Insecure, 0)
            }
            NetError::Dns(WireError::Nsec { .. } | WireError::DnssecBogus) => {
                Self::Failed(DnsError::Bogus)
            }
            other => Self::Failed(DnsError::Temporary(other.to_string())),
        }
    }
}

/// The library lets a denial pass only if it is proven or need not be; the proof, NSEC or NSEC3, tells which.
fn proven(authorities: &[Record]) -> Security {
    let denies = |record: &Record| {
        matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
            && record.proof.is_secure()
    };
    Security::when(authorities.iter().any(denies))
}

fn absent(code: ResponseCode, security: Security, ttl: u32) -> Missing {
    match code {
        ResponseCode::NoError => Missing::Absent(Absence { what: Absent::Type, security, ttl }),
        ResponseCode::NXDomain => Missing::Absent(Absence { what: Absent::Name, security, ttl }),
        other => Missing::Failed(DnsError::Temporary(format!("answer code {other}"))),
    }
}
