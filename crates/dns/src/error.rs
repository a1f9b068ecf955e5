//! What can go wrong with a lookup, told apart by what a mail server does about it.

use std::path::PathBuf;

use hickory_proto::dnssec::Proof;
use hickory_proto::op::ResponseCode;
use hickory_resolver::net::{DnsError as WireError, NetError};

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
    /// The name exists, the type does not (NODATA).
    NoData,
    /// Everything else.
    Failed(DnsError),
}

impl From<NetError> for Missing {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(WireError::NoRecordsFound(none)) => absent(none.response_code),
            // A denial beyond the iteration limits of RFC 9276 §3.2 counts as insecure, not as bogus.
            NetError::Dns(WireError::Nsec { response, proof: Proof::Insecure, .. }) => {
                absent(response.metadata.response_code)
            }
            NetError::Dns(WireError::Nsec { .. } | WireError::DnssecBogus) => {
                Self::Failed(DnsError::Bogus)
            }
            other => Self::Failed(DnsError::Temporary(other.to_string())),
        }
    }
}

fn absent(code: ResponseCode) -> Missing {
    match code {
        ResponseCode::NoError => Missing::NoData,
        ResponseCode::NXDomain => Missing::Failed(DnsError::NotFound),
        other => Missing::Failed(DnsError::Temporary(format!("answer code {other}"))),
    }
}
