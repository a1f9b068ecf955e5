//! What holds for a domain, before any of its hosts is known.

use std::sync::Arc;

use letterlock_dns::Security;
use letterlock_state::TlsMemory;

use crate::sts;

/// What the sender asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    #[default]
    None,
    /// REQUIRETLS (RFC 8689 §2): better bounced than badly secured.
    RequireTls,
    /// `TLS-Required: No` (RFC 8689 §3): better delivered than well secured. REQUIRETLS wins where both stand.
    TlsNotRequired,
}

/// The policy of a domain at one moment, for one message.
#[derive(Clone, Debug)]
pub struct DomainPolicy {
    /// The domain, in lower case.
    pub(crate) domain: String,
    /// Whether its exchangers are what the domain says.
    pub(crate) mx: Security,
    /// Its MTA-STS policy, in force; never one of mode `none`.
    pub(crate) sts: Option<Arc<sts::Policy>>,
    /// What TLS it had.
    pub(crate) memory: Option<TlsMemory>,
    /// What the sender asked for.
    pub(crate) wish: Wish,
}

impl DomainPolicy {
    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Its MTA-STS policy, if one is in force.
    pub fn sts(&self) -> Option<&sts::Policy> {
        self.sts.as_deref()
    }

    /// What the sender asked for.
    pub fn wish(&self) -> Wish {
        self.wish
    }
}
