//! How well a connection must be secured for a message, and whether it is: asks `transport-policy` about hosts that
//! DNS names, and knows itself what holds for smarthosts with a login.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_dns::{DnsError, Resolver};
use letterlock_net::ClientTls;
use letterlock_queue::RequireTls;
use letterlock_state::Policy;
use letterlock_transport_policy::{
    self as transport, DomainPolicy, HandshakeCheck, HostChoice, HostPolicy, Outcome, Policies,
    Refusal, Wish,
};
use rustls::ClientConfig;

use crate::client::{Login, Upgrade};
use crate::finding::Finding;
use crate::route::{self, Host, NamedBy, NextHop, Route};

/// The port of submission with TLS from the first octet (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

/// What was decided about a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) policy: Policy,
    pub(crate) verified: bool,
    pub(crate) reason: String,
}

impl Decision {
    /// It did not come to one.
    pub(crate) fn none() -> Self {
        let reason = "the connection ended before it came to that".to_owned();
        Self { policy: Policy::Opportunistic, verified: false, reason }
    }

    fn refused(policy: Policy, reason: &str) -> Self {
        Self { policy, verified: false, reason: format!("refused: {reason}") }
    }
}

impl From<transport::Decision> for Decision {
    fn from(decision: transport::Decision) -> Self {
        let transport::Decision { policy, verified, reason } = decision;
        Self { policy, verified, reason }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy.as_str(), self.reason)
    }
}

/// Whether a message may go over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It may, as the connection is; after a handshake that failed: over one without TLS.
    Go(Decision),
    /// It may not.
    No(Denial),
}

/// Why a message may not go.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) finding: Finding,
    /// An operator is to look before it is tried again.
    pub(crate) hold: bool,
    pub(crate) decision: Decision,
}

impl Denial {
    fn of(host: &str, refusal: &Refusal) -> Self {
        let Refusal { policy, status: (_, subject, detail), reason, hold } = refusal;
        let text = format!("{host}: {}: {reason}", policy.as_str());
        let finding = match refusal.is_permanent() {
            true => Finding::failed(*subject, *detail, text),
            false => Finding::deferred(*subject, *detail, text),
        };
        Self { finding, hold: *hold, decision: Decision::refused(*policy, reason) }
    }
}

/// Who knows what connections must be like.
pub(crate) struct Warden {
    pub(crate) dns: Arc<Resolver>,
    pub(crate) policies: Arc<Policies>,
}

/// What holds for all hosts of a next hop.
pub(crate) enum RoutePolicy {
    /// The configuration or an address literal names the host.
    Named(Wish),
    /// The domain says so.
    Domain(Arc<DomainPolicy>),
}

/// What a connection to a host must be like.
pub(crate) struct Guard {
    domain: Option<Arc<DomainPolicy>>,
    host: HostPolicy,
    /// There is a password to be sent: only to whom it is meant for.
    login: bool,
    implicit: bool,
    require_tls: bool,
}

/// The check of one handshake.
pub(crate) enum Check {
    Policy(HandshakeCheck),
    Strict(Arc<ClientConfig>, String),
}

impl Check {
    pub(crate) fn upgrade(&self) -> Upgrade {
        match self {
            Self::Policy(check) => {
                Upgrade { config: check.config(), name: check.server_name().to_owned() }
            }
            Self::Strict(config, name) => {
                Upgrade { config: Arc::clone(config), name: name.clone() }
            }
        }
    }
}

fn wish(require_tls: RequireTls) -> Wish {
    match require_tls {
        RequireTls::Unspecified => Wish::None,
        RequireTls::Required => Wish::RequireTls,
        RequireTls::Lifted => Wish::TlsNotRequired,
    }
}

impl Warden {
    /// The exchangers of a domain could not be looked up: reports tell it if DNSSEC is why (RFC 8460 §4.3.1).
    pub(crate) fn no_route(&self, hop: &NextHop, error: Option<&DnsError>) {
        if let (NextHop::Domain(domain), Some(error)) = (hop, error) {
            self.policies.note_lookup(domain.as_str(), error, Timestamp::now());
        }
    }

    /// What holds for the hosts of this route.
    pub(crate) async fn policy(
        &self,
        hop: &NextHop,
        route: &Route,
        require_tls: RequireTls,
    ) -> Result<RoutePolicy, Denial> {
        let wish = wish(require_tls);
        let (NextHop::Domain(domain), Some(security)) = (hop, route.security) else {
            return Ok(RoutePolicy::Named(wish));
        };
        let found = self.policies.domain(domain.as_str(), security, wish, Timestamp::now()).await;
        match found {
            Ok(policy) => Ok(RoutePolicy::Domain(Arc::new(policy))),
            Err(defer) => Err(Denial::of(domain.as_str(), &defer.0)),
        }
    }

    /// What a connection to this host must be like, and its addresses.
    pub(crate) async fn host(
        &self,
        policy: &RoutePolicy,
        host: &Host,
        login: Option<&Login>,
        most: usize,
    ) -> Result<(Guard, Vec<SocketAddr>), Denial> {
        let denied = |finding: Finding| Denial {
            decision: Decision::refused(Policy::Opportunistic, &finding.text),
            finding,
            hold: false,
        };
        let answer = self.dns.host(&host.name).await;
        let (answer, addresses) = route::addresses(answer, host, most).map_err(denied)?;
        let implicit = host.named_by == NamedBy::Order && host.port == SUBMISSIONS;
        let (domain, chosen, require_tls) = match policy {
            RoutePolicy::Named(wish) => {
                (None, HostPolicy::configured(&host.name, *wish), *wish == Wish::RequireTls)
            }
            RoutePolicy::Domain(domain) => {
                let choice = self.policies.host(domain, &host.name, &answer, Timestamp::now());
                match choice.await {
                    HostChoice::Use(chosen) => {
                        let require_tls = domain.wish() == Wish::RequireTls;
                        (Some(Arc::clone(domain)), chosen, require_tls)
                    }
                    HostChoice::Skip(refusal) => return Err(Denial::of(&host.name, &refusal)),
                }
            }
        };
        let login = login.is_some();
        Ok((Guard { domain, host: chosen, login, implicit, require_tls }, addresses))
    }

    /// Judges a connection, and remembers what it was like. `ends` are its own and its peer's address.
    pub(crate) fn judge(
        &self,
        guard: &Guard,
        check: &Check,
        outcome: Outcome<'_>,
        age: Duration,
        ends: (Option<IpAddr>, Option<IpAddr>),
    ) -> Verdict {
        let Check::Policy(check) = check else { return guard.judge_login(outcome) };
        let judgement = guard.host.judge(check, outcome, age);
        if let Some(domain) = &guard.domain {
            self.policies.note(domain, &guard.host, &judgement, ends, Timestamp::now());
        }
        match judgement.verdict {
            transport::Verdict::Accept(decision) | transport::Verdict::Plain(decision) => {
                Verdict::Go(decision.into())
            }
            transport::Verdict::Refuse(refusal) => {
                Verdict::No(Denial::of(guard.host.host(), &refusal))
            }
        }
    }
}

impl Guard {
    /// Whether TLS begins with the first octet.
    pub(crate) fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// The TLS side of a new connection.
    pub(crate) fn check(&self, tls: &ClientTls) -> Check {
        match self.login {
            true => Check::Strict(tls.verified(), self.host.host().to_owned()),
            false => Check::Policy(self.host.check(tls)),
        }
    }

    /// A host that gets a password must have proven who it is.
    fn judge_login(&self, outcome: Outcome<'_>) -> Verdict {
        let host = self.host.host();
        let refuse = |status: (u8, u16, u16), reason: String| {
            let refusal = Refusal { policy: Policy::Configured, status, reason, hold: false };
            Verdict::No(Denial::of(host, &refusal))
        };
        match outcome {
            Outcome::NoStartTls => {
                refuse((4, 7, 5), "no STARTTLS, and a password must not go in the clear".into())
            }
            Outcome::HandshakeFailed(words) => {
                refuse((4, 7, 5), format!("the TLS handshake failed: {words}"))
            }
            Outcome::Established { requiretls_offered: false } if self.require_tls => {
                refuse((5, 7, 30), "REQUIRETLS: the smarthost does not offer it".into())
            }
            Outcome::Established { .. } => Verdict::Go(Decision {
                policy: Policy::Configured,
                verified: true,
                reason: format!("the certificate is valid for {host}"),
            }),
        }
    }
}
