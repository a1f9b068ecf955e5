//! What follows from a connection, with the reason.

use std::fmt;

use letterlock_state::{Policy, TlsFailure, TlsLevel};

/// How far a dialogue with a host came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The host does not offer STARTTLS, or refused it.
    NoStartTls,
    /// The handshake failed.
    HandshakeFailed(&'a str),
    /// There is TLS, and the host greeted again.
    Established {
        /// Whether it offers REQUIRETLS (RFC 8689 §2).
        requiretls_offered: bool,
    },
}

/// What may be done with the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The message may go over this connection.
    Accept(Decision),
    /// The message may go in plain text: over this connection, or over a new one if a handshake failed on it.
    Plain(Decision),
    /// This host must not have the message now. Others may.
    Refuse(Refusal),
}

/// Why a message may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What decided.
    pub policy: Policy,
    /// Whether it is proven that the host is the right one.
    pub verified: bool,
    /// Why, in words.
    pub reason: String,
}

/// As it stands in a trace or a header: `DANE: the certificate fits the TLSA record 3 1 1`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy.as_str(), self.reason)
    }
}

/// Why a host must not have a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What decided.
    pub policy: Policy,
    /// The status code (RFC 3463): class, subject, detail. Class 5 is for good, as far as this host goes.
    pub status: (u8, u16, u16),
    /// Why, in words.
    pub reason: String,
    /// The message is to be held for an operator, loudly: it has waited for a day because the domain gave TLS up.
    pub hold: bool,
}

impl Refusal {
    /// Later it may be otherwise (X.7.5, cryptographic failure).
    pub(crate) fn later(policy: Policy, reason: impl Into<String>) -> Self {
        Self { policy, status: (4, 7, 5), reason: reason.into(), hold: false }
    }

    /// REQUIRETLS cannot be had from this host (X.7.30, RFC 8689 §5).
    pub(crate) fn require_tls(policy: Policy, reason: impl fmt::Display) -> Self {
        let reason = format!("REQUIRETLS: {reason}");
        Self { policy, status: (5, 7, 30), reason, hold: false }
    }

    /// Whether it makes no sense to try this host again.
    pub fn is_permanent(&self) -> bool {
        self.status.0 == 5
    }
}

/// As it stands in a trace: `MTA-STS: the certificate has expired`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy.as_str(), self.reason)
    }
}

/// A verdict, and what is to be remembered of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What may be done.
    pub verdict: Verdict,
    /// What reports tell of it; `None` for success.
    pub failure: Option<(TlsFailure, String)>,
    /// The level of TLS that was reached.
    pub level: Option<TlsLevel>,
}
