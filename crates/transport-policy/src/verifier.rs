//! The handshake with a host: which certificates end it, and what was found about the one that came.

use std::sync::{Arc, OnceLock};

use letterlock_dns::Tlsa;
use letterlock_net::{CertificateJudge, Presented, Trust};
use letterlock_state::TlsFailure;
use rustls::{CertificateError, ClientConfig, Error};

use crate::dane;

/// Which certificates are good enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Any. What a strict verifier would say is noted.
    Any,
    /// One that is valid for the host's name.
    Public,
    /// One that fits a TLSA record.
    Dane {
        /// Usable ones.
        records: Vec<Tlsa>,
        /// Names that a certificate below an authority may be for (RFC 7672 §3.2.3).
        names: Vec<String>,
    },
}

/// What was found about the host's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is valid for the host's name.
    Public,
    /// It fits this record.
    Dane(String),
    /// It is not what was asked for, or would not be.
    Failed { failure: TlsFailure, reason: String },
}

/// The TLS side of one connection to a host. Made anew for each.
#[derive(Clone, Debug)]
pub struct HandshakeCheck {
    config: Arc<ClientConfig>,
    server_name: String,
    found: Arc<OnceLock<Finding>>,
}

impl HandshakeCheck {
    pub(crate) fn new(
        tls: &letterlock_net::ClientTls,
        server_name: String,
        demand: Demand,
    ) -> Self {
        let found = Arc::<OnceLock<Finding>>::default();
        let config = tls.judged(Arc::new(Judge { demand, found: Arc::clone(&found) }));
        Self { config, server_name, found }
    }

    /// What the handshake is made with. It fails on certificates that the policy does not allow.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name to ask for (RFC 7672 §8.1, RFC 8461 §4.1).
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// What was found about the certificate; `None` if none was seen.
    pub(crate) fn found(&self) -> Option<&Finding> {
        self.found.get()
    }
}

#[derive(Debug)]
struct Judge {
    demand: Demand,
    found: Arc<OnceLock<Finding>>,
}

impl CertificateJudge for Judge {
    fn judge(&self, presented: &Presented<'_>) -> Result<Trust, Error> {
        let (finding, verdict) = match &self.demand {
            Demand::Any => match presented.verify_public() {
                Ok(()) => (Finding::Public, Ok(Trust::Proven)),
                Err(error) => (failed(&error), Ok(Trust::Unproven)),
            },
            Demand::Public => match presented.verify_public() {
                Ok(()) => (Finding::Public, Ok(Trust::Proven)),
                Err(error) => (failed(&error), Err(error)),
            },
            Demand::Dane { records, names } => {
                let (end_entity, intermediates) = (presented.end_entity, presented.intermediates);
                match dane::verify(records, end_entity, intermediates, names, presented.now) {
                    Ok(record) => (Finding::Dane(short(record)), Ok(Trust::Proven)),
                    Err(dane::DaneError { failure, reason }) => {
                        let refused = CertificateError::ApplicationVerificationFailure;
                        (Finding::Failed { failure, reason }, Err(refused.into()))
                    }
                }
            }
        };
        // There is one certificate a connection.
        let _ = self.found.set(finding);
        verdict
    }
}

fn failed(error: &Error) -> Finding {
    let reason = match error {
        Error::InvalidCertificate(inner) => format!("the certificate: {inner}"),
        other => other.to_string(),
    };
    Finding::Failed { failure: classify(error), reason }
}

/// The record without its data, which says nothing to people.
fn short(record: &Tlsa) -> String {
    format!("{} {} {}", record.usage, record.selector, record.matching)
}

/// What TLS reports call an error (RFC 8460 §4.3).
pub(crate) fn classify(error: &Error) -> TlsFailure {
    use CertificateError as Wrong;
    match error {
        Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => TlsFailure::CertificateExpired,
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                TlsFailure::CertificateHostMismatch
            }
            _ => TlsFailure::CertificateNotTrusted,
        },
        _ => TlsFailure::ValidationFailure,
    }
}
