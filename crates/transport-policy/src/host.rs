//! What holds for one host, and the verdict about a connection to it.

use std::time::Duration;

use letterlock_config::Downgrade;
use letterlock_dns::Tlsa;
use letterlock_net::ClientTls;
use letterlock_state::{Policy, TlsFailure, TlsLevel};

use crate::decision::{Decision, Judgement, Outcome, Refusal, Verdict};
use crate::domain::Wish;
use crate::sts::Mode;
use crate::verifier::{Demand, Finding, HandshakeCheck};

/// After this time of waiting for TLS that was there before, the operator's setting decides.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Whether a dialogue may do without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// No.
    Required,
    /// Yes, if it is not offered.
    Wanted,
}

/// What decides about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// TLSA records that can be used.
    Dane { records: Vec<Tlsa>, names: Vec<String> },
    /// TLSA records, but none that can be used: TLS without verification (RFC 7672 §2.2).
    DaneUnusable,
    /// An MTA-STS policy that names the host, or is in testing. `named` is always true under `enforce`.
    Sts { mode: Mode, named: bool },
    /// Nothing is published.
    Unpublished,
    /// The sender lifted the policies.
    Lifted,
    /// The operator's configuration names the host.
    Configured,
}

/// The policy of a host, for one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPolicy {
    /// The name to connect to and, without DANE, to ask for.
    pub(crate) host: String,
    /// The name that TLSA records were found at, or the host's.
    pub(crate) server_name: String,
    pub(crate) rule: Rule,
    /// The domain had TLS within the last 30 days.
    pub(crate) remembered: bool,
    pub(crate) require_tls: bool,
    pub(crate) downgrade: Downgrade,
}

impl HostPolicy {
    /// For a host that the configuration names: a smarthost, or an address literal. There is no policy to find.
    pub fn configured(host: &str, wish: Wish) -> Self {
        Self {
            host: host.to_owned(),
            server_name: host.to_owned(),
            rule: Rule::Configured,
            remembered: false,
            require_tls: wish == Wish::RequireTls,
            downgrade: Downgrade::Hold,
        }
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What decides.
    pub fn policy(&self) -> Policy {
        match &self.rule {
            Rule::Dane { .. } | Rule::DaneUnusable => Policy::Dane,
            Rule::Sts { mode: Mode::Enforce, .. } => Policy::MtaSts,
            Rule::Sts { .. } | Rule::Unpublished if self.remembered => Policy::Remembered,
            Rule::Sts { .. } => Policy::MtaSts,
            Rule::Unpublished => Policy::Opportunistic,
            Rule::Lifted => Policy::Lifted,
            Rule::Configured => Policy::Configured,
        }
    }

    /// Whether a dialogue with the host may go on without TLS. Where it may not, MAIL must not be sent without it.
    pub fn starttls(&self) -> StartTls {
        let required = self.require_tls
            || self.is_published()
            || (self.remembered && !matches!(self.rule, Rule::Lifted | Rule::Configured));
        if required { StartTls::Required } else { StartTls::Wanted }
    }

    /// Whether the domain itself demands TLS.
    fn is_published(&self) -> bool {
        matches!(
            self.rule,
            Rule::Dane { .. } | Rule::DaneUnusable | Rule::Sts { mode: Mode::Enforce, .. }
        )
    }

    /// Whether the host must be proven by its certificate.
    fn wants_proof(&self) -> bool {
        self.require_tls
            || matches!(self.rule, Rule::Dane { .. } | Rule::Sts { mode: Mode::Enforce, .. })
    }

    /// The TLS side of a new connection.
    pub fn check(&self, tls: &ClientTls) -> HandshakeCheck {
        let demand = match &self.rule {
            Rule::Dane { records, names } => {
                Demand::Dane { records: records.clone(), names: names.clone() }
            }
            Rule::Sts { mode: Mode::Enforce, .. } => Demand::Public,
            // RFC 8689 §4.2.1: the certificate must be valid.
            _ if self.require_tls => Demand::Public,
            _ => Demand::Any,
        };
        HandshakeCheck::new(tls, self.server_name.clone(), demand)
    }

    /// Judges a connection. `waiting` is how long the message has waited already.
    pub fn judge(
        &self,
        check: &HandshakeCheck,
        outcome: Outcome<'_>,
        waiting: Duration,
    ) -> Judgement {
        match outcome {
            Outcome::NoStartTls => {
                let reason = format!("{} does not offer STARTTLS", self.host);
                self.without_tls(TlsFailure::StarttlsNotSupported, reason, true, waiting)
            }
            Outcome::HandshakeFailed(words) => match check.found() {
                Some(Finding::Failed { failure, reason }) => {
                    self.without_tls(*failure, reason.clone(), true, waiting)
                }
                _ => {
                    let reason = format!("the TLS handshake failed: {words}");
                    self.without_tls(TlsFailure::ValidationFailure, reason, false, waiting)
                }
            },
            Outcome::Established { requiretls_offered } => {
                self.with_tls(check.found(), requiretls_offered)
            }
        }
    }

    /// `telling`: whether this is what the host is like, and not trouble of the moment.
    fn without_tls(
        &self,
        failure: TlsFailure,
        reason: String,
        telling: bool,
        waiting: Duration,
    ) -> Judgement {
        let policy = self.policy();
        let verdict = if self.require_tls && telling {
            Verdict::Refuse(Refusal::require_tls(policy, &reason))
        } else if self.require_tls || self.is_published() {
            Verdict::Refuse(Refusal::later(policy, reason.clone()))
        } else if policy == Policy::Remembered {
            self.downgraded(&reason, waiting)
        } else {
            let reason = format!("{reason}; nothing demands TLS, so in plain text");
            Verdict::Plain(Decision { policy, verified: false, reason })
        };
        Judgement { verdict, failure: Some((failure, reason)), level: None }
    }

    /// The domain had TLS before.
    fn downgraded(&self, reason: &str, waiting: Duration) -> Verdict {
        let policy = Policy::Remembered;
        let lately = format!("{reason}, though the domain had TLS within the last 30 days");
        if waiting < PATIENCE {
            return Verdict::Refuse(Refusal::later(policy, lately));
        }
        match self.downgrade {
            Downgrade::Hold => {
                Verdict::Refuse(Refusal { hold: true, ..Refusal::later(policy, lately) })
            }
            Downgrade::Deliver => {
                let reason = format!("{lately}; in plain text after a day, as configured");
                Verdict::Plain(Decision { policy, verified: false, reason })
            }
        }
    }

    fn with_tls(&self, found: Option<&Finding>, requiretls_offered: bool) -> Judgement {
        let policy = self.policy();
        let level = Some(match found {
            Some(Finding::Dane(_)) => TlsLevel::Dane,
            Some(Finding::Public) => TlsLevel::Verified,
            _ => TlsLevel::Encrypted,
        });
        if self.require_tls && !requiretls_offered {
            let reason = format!("{} does not offer it", self.host);
            let verdict = Verdict::Refuse(Refusal::require_tls(policy, reason));
            return Judgement { verdict, failure: None, level };
        }
        let verified = matches!(found, Some(Finding::Dane(_) | Finding::Public));
        if !verified && self.wants_proof() {
            // The handshake does not get here without it; what comes by another way proves nothing.
            let reason = "the host's certificate was not seen";
            let failure = Some((TlsFailure::ValidationFailure, reason.to_owned()));
            return Judgement {
                verdict: Verdict::Refuse(Refusal::later(policy, reason)),
                failure,
                level,
            };
        }
        let verdict = Verdict::Accept(Decision { policy, verified, reason: self.reason(found) });
        Judgement { verdict, failure: self.shortfall(found), level }
    }

    fn reason(&self, found: Option<&Finding>) -> String {
        let certificate = match found {
            Some(Finding::Dane(record)) => format!("the certificate fits the TLSA record {record}"),
            Some(Finding::Public) => format!("the certificate is valid for {}", self.server_name),
            Some(Finding::Failed { reason, .. }) => {
                format!("TLS without proof of the host ({reason})")
            }
            None => "TLS without proof of the host".to_owned(),
        };
        let mut reason = match &self.rule {
            Rule::DaneUnusable => {
                format!("no TLSA record can be used, so TLS without verification; {certificate}")
            }
            Rule::Sts { mode: Mode::Enforce, .. } => {
                format!("the policy names {}, and {certificate}", self.host)
            }
            Rule::Sts { named: true, .. } => format!("the policy is in testing; {certificate}"),
            Rule::Sts { named: false, .. } => {
                format!("the policy is in testing and does not name {}; {certificate}", self.host)
            }
            Rule::Lifted => format!("the sender asked to deliver in any case; {certificate}"),
            _ => certificate,
        };
        if self.require_tls {
            reason.push_str("; REQUIRETLS is met");
        }
        reason
    }

    /// What the domain wants to hear of although the message goes out.
    fn shortfall(&self, found: Option<&Finding>) -> Option<(TlsFailure, String)> {
        match (&self.rule, found) {
            (Rule::DaneUnusable, _) => {
                Some((TlsFailure::TlsaInvalid, "no TLSA record can be used".to_owned()))
            }
            (Rule::Sts { named: false, .. }, _) => Some((
                TlsFailure::ValidationFailure,
                format!("the policy does not name {}", self.host),
            )),
            (Rule::Sts { .. }, Some(Finding::Failed { failure, reason })) => {
                Some((*failure, reason.clone()))
            }
            _ => None,
        }
    }
}
