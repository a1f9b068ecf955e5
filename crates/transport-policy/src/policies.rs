//! Fetches the facts that policies are made of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::{SignedDuration, Timestamp};
use letterlock_config::Downgrade;
use letterlock_dns::{DnsError, HostAnswer, Resolver, Security, Tlsa, Validation};
use letterlock_net::ClientTls;
use letterlock_state::{
    Policy, PolicyType, State, StateError, StoredPolicy, TlsFailure, TlsResult,
};

use crate::dane;
use crate::decision::{Judgement, Refusal};
use crate::domain::{DomainPolicy, Wish};
use crate::fetch::Fetcher;
use crate::host::{HostPolicy, Rule};
use crate::sts;

/// The port under which TLSA records of mail exchangers stand (RFC 7672 §2.2.3).
const SMTP: u16 = 25;
/// A policy older than this is fetched anew, so that it is fresh when it is needed (RFC 8461 §10.2).
const REFRESH: SignedDuration = SignedDuration::from_hours(24);
/// After a failure the next try to fetch waits for so long (RFC 8461 §3.3 suggests five minutes or more).
const PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// Domains whose failures are remembered at most.
const MOST: usize = 4_096;

/// What the policies are fetched with.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Looks up.
    pub dns: Arc<Resolver>,
    /// Remembers.
    pub state: Arc<State>,
    /// Whom the hosts of MTA-STS policies must be vouched for by.
    pub tls: ClientTls,
}

/// What the operator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `[outbound] policy_port`.
    pub policy_port: u16,
    /// `[outbound] port`: TLSA records are looked for there, and at 25.
    pub port: u16,
    /// `[outbound] tls_downgrade`.
    pub downgrade: Downgrade,
}

impl From<&letterlock_config::Outbound> for Options {
    fn from(outbound: &letterlock_config::Outbound) -> Self {
        Self {
            policy_port: outbound.policy_port,
            port: outbound.port,
            downgrade: outbound.tls_downgrade,
        }
    }
}

/// Nothing may be sent to the domain at present, whatever its hosts are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Defer(pub Refusal);

/// Whether a host may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostChoice {
    /// Yes, and how.
    Use(HostPolicy),
    /// No. Others may be.
    Skip(Refusal),
}

/// Finds policies. There is one for a server.
#[derive(Debug)]
pub struct Policies {
    dns: Arc<Resolver>,
    state: Arc<State>,
    fetcher: Fetcher,
    options: Options,
    attempts: Mutex<Attempts>,
}

/// What is under way, and what failed lately.
#[derive(Debug, Default)]
struct Attempts {
    running: HashMap<String, Weak<tokio::sync::Mutex<()>>>,
    /// The record's id and the time of the failure.
    failed: HashMap<String, (String, Timestamp)>,
}

impl Policies {
    /// Puts it together.
    pub fn new(handles: Handles, options: Options) -> Self {
        let Handles { dns, state, tls } = handles;
        let fetcher = Fetcher::new(Arc::clone(&dns), tls, options.policy_port);
        Self { dns, state, fetcher, options, attempts: Mutex::default() }
    }

    /// What holds for a domain whose exchangers were found with this security.
    ///
    /// # Errors
    /// Nobody can validate DNSSEC at present, and the domain is known to have DANE; or what is known of it cannot be
    /// read, and may forbid what nothing else forbids.
    pub async fn domain(
        &self,
        domain: &str,
        mx: Security,
        wish: Wish,
        now: Timestamp,
    ) -> Result<DomainPolicy, Defer> {
        let domain = domain.to_ascii_lowercase();
        if wish == Wish::TlsNotRequired {
            return Ok(DomainPolicy { domain, mx, sts: None, memory: None, wish });
        }
        let memory = self.state.tls_memory(&domain, now).await.map_err(unreadable)?;
        let blind = self.dns.validation() == Validation::Unsupported;
        if blind && memory.is_some_and(|memory| memory.dane) {
            let reason = "the domain has DANE, and DNSSEC cannot be validated at present";
            return Err(Defer(Refusal::later(Policy::Dane, reason)));
        }
        let sts = self.sts(&domain, now).await?;
        let sts = sts.filter(|policy| policy.mode != sts::Mode::None).map(Arc::new);
        Ok(DomainPolicy { domain, mx, sts, memory, wish })
    }

    /// What holds for one of the domain's exchangers, whose addresses were found like this.
    pub async fn host(
        &self,
        domain: &DomainPolicy,
        host: &str,
        answer: &HostAnswer,
        now: Timestamp,
    ) -> HostChoice {
        let found = match domain.wish {
            Wish::TlsNotRequired => Ok(None),
            _ => self.tlsa(domain, host, answer).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if error == DnsError::Bogus {
                    let told = (TlsFailure::DnssecInvalid, error.to_string());
                    self.count(domain, Some(host), Kind::Tlsa(&[]), Some(told), now);
                }
                let reason =
                    format!("whether {host} has TLSA records cannot be found out: {error}");
                return HostChoice::Skip(Refusal::later(Policy::Dane, reason));
            }
        };
        let choice = choose(domain, host, found, self.options.downgrade);
        if let (HostChoice::Skip(refusal), Some(policy)) = (&choice, domain.sts())
            && refusal.policy == Policy::MtaSts
        {
            let told = (TlsFailure::ValidationFailure, refusal.reason.clone());
            self.count(domain, Some(host), Kind::Sts(policy), Some(told), now);
        }
        choice
    }

    /// The TLSA records of a host, and the name that they stand at (RFC 7672 §2.2.2, §2.2.3).
    async fn tlsa(
        &self,
        domain: &DomainPolicy,
        host: &str,
        answer: &HostAnswer,
    ) -> Result<Option<(Vec<Tlsa>, String)>, DnsError> {
        if !domain.mx.is_secure() {
            return Ok(None);
        }
        let expanded = answer.canonical.as_deref().unwrap_or(host);
        let mut bases = Vec::new();
        if answer.security.is_secure() {
            bases.push(expanded);
        }
        // An alias in a signed zone counts by its own name, wherever it leads.
        if answer.alias == Some(Security::Secure) && host != expanded {
            bases.push(host);
        }
        for base in bases {
            let mut ports = vec![self.options.port, SMTP];
            ports.dedup();
            for port in ports {
                let records = self.dns.tlsa(base, port).await?;
                if !records.is_empty() {
                    return Ok(Some((records, base.to_owned())));
                }
            }
        }
        Ok(None)
    }

    /// Notes how a connection went: for the memory of the domain's TLS, and for reports. Never waits. `own` and `peer`
    /// are the addresses of the connection.
    pub fn note(
        &self,
        domain: &DomainPolicy,
        host: &HostPolicy,
        judgement: &Judgement,
        (own, peer): (Option<IpAddr>, Option<IpAddr>),
        now: Timestamp,
    ) {
        if let Some(level) = judgement.level {
            self.state.remember_tls(&domain.domain, level, now);
        }
        let kind = match (&host.rule, domain.sts()) {
            (Rule::Dane { records, .. }, _) => Kind::Tlsa(records),
            (Rule::DaneUnusable, _) => Kind::Tlsa(&[]),
            (Rule::Sts { .. }, Some(policy)) => Kind::Sts(policy),
            _ => Kind::None,
        };
        let mut result = result(kind, Some(host.host()), judgement.failure.clone());
        (result.sending_ip, result.receiving_ip) = (own, peer);
        self.state.count_tls(&domain.domain, &result, now);
    }

    /// Notes that the exchangers of a domain could not be found, for reports: they tell of DNSSEC that does not validate.
    pub fn note_lookup(&self, domain: &str, error: &DnsError, now: Timestamp) {
        if *error == DnsError::Bogus {
            let told = (TlsFailure::DnssecInvalid, error.to_string());
            self.state.count_tls(domain, &result(Kind::Tlsa(&[]), None, Some(told)), now);
        }
    }

    fn count(
        &self,
        domain: &DomainPolicy,
        host: Option<&str>,
        kind: Kind<'_>,
        failure: Option<(TlsFailure, String)>,
        now: Timestamp,
    ) {
        self.state.count_tls(&domain.domain, &result(kind, host, failure), now);
    }

    /// The MTA-STS policy that is in force for a domain (RFC 8461 §5.1).
    async fn sts(&self, domain: &str, now: Timestamp) -> Result<Option<sts::Policy>, Defer> {
        let stored = self.stored(domain, now).await?;
        // A record that is gone or cannot be had does not end a policy; only its age does.
        let texts = self.dns.txt(&format!("_mta-sts.{domain}")).await.unwrap_or_default();
        let record = sts::find(&texts);
        let Some(record) = record else { return Ok(stored.map(|(_, policy)| policy)) };
        if let Some((row, policy)) = &stored
            && row.id == record.id
            && now.duration_since(row.fetched_at) < REFRESH
        {
            return Ok(Some(policy.clone()));
        }
        let turn = self.turn(domain);
        let _turn = turn.lock().await;
        // Another message may have fetched it meanwhile.
        let stored = self.stored(domain, now).await?;
        let current = stored.as_ref().is_some_and(|(row, _)| {
            row.id == record.id && now.duration_since(row.fetched_at) < REFRESH
        });
        if current || self.failed_lately(domain, &record.id, now) {
            return Ok(stored.map(|(_, policy)| policy));
        }
        Ok(match self.fetcher.fetch(domain).await {
            Ok(policy) => {
                self.keep(domain, record.id, &policy, now).await;
                Some(policy)
            }
            Err(error) => {
                let id = record.id;
                tracing::info!(%domain, %error, stale = stored.is_some(), "MTA-STS policy not fetched");
                let told = (error.failure(), error.to_string());
                let result = TlsResult {
                    failure: Some(told.0),
                    reason: Some(told.1),
                    policy_type: PolicyType::Sts,
                    ..result(Kind::None, None, None)
                };
                self.state.count_tls(domain, &result, now);
                self.attempts().note(domain, id, now);
                stored.map(|(_, policy)| policy)
            }
        })
    }

    async fn stored(
        &self,
        domain: &str,
        now: Timestamp,
    ) -> Result<Option<(StoredPolicy, sts::Policy)>, Defer> {
        let row = self.state.policy(domain, now).await.map_err(unreadable)?;
        Ok(row.and_then(|row| {
            let policy = sts::Policy::parse(row.policy.as_bytes()).ok()?;
            Some((row, policy))
        }))
    }

    async fn keep(&self, domain: &str, id: String, policy: &sts::Policy, now: Timestamp) {
        let age = SignedDuration::try_from(policy.max_age).unwrap_or(SignedDuration::MAX);
        let row = StoredPolicy {
            domain: domain.to_owned(),
            id,
            policy: policy.to_string(),
            fetched_at: now,
            expires_at: now.checked_add(age).unwrap_or(Timestamp::MAX),
        };
        if let Err(error) = self.state.put_policy(row).await {
            tracing::warn!(%error, "an MTA-STS policy cannot be stored");
        }
    }

    fn failed_lately(&self, domain: &str, id: &str, now: Timestamp) -> bool {
        self.attempts()
            .failed
            .get(domain)
            .is_some_and(|(failed, at)| failed == id && now.duration_since(*at) < PAUSE)
    }

    /// One fetches for a domain at a time; the others wait and take what it found.
    fn turn(&self, domain: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut attempts = self.attempts();
        if let Some(turn) = attempts.running.get(domain).and_then(Weak::upgrade) {
            return turn;
        }
        attempts.running.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        attempts.running.insert(domain.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    fn note(&mut self, domain: &str, id: String, now: Timestamp) {
        if self.failed.len() >= MOST {
            self.failed.retain(|_, (_, at)| now.duration_since(*at) < PAUSE);
        }
        if self.failed.len() < MOST {
            self.failed.insert(domain.to_owned(), (id, now));
        }
    }
}

/// Without its memory, a server that shuts down would send in plain text what it otherwise would not.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
fn unreadable(error: StateError) -> Defer {
    tracing::warn!(%error, "what is remembered of a domain's TLS cannot be read");
    let reason = format!("what is remembered of the domain's TLS cannot be read: {error}");
    Defer(Refusal::later(Policy::Remembered, reason))
}

/// Judges what was found about a host.
fn choose(
    domain: &DomainPolicy,
    host: &str,
    tlsa: Option<(Vec<Tlsa>, String)>,
    downgrade: Downgrade,
) -> HostChoice {
    let require_tls = domain.wish == Wish::RequireTls;
    let mut server_name = host.to_owned();
    let rule = match (tlsa, domain.sts()) {
        _ if domain.wish == Wish::TlsNotRequired => Rule::Lifted,
        (Some((records, base)), sts) => {
            let names = vec![base.clone(), domain.domain.clone(), host.to_owned()];
            let records: Vec<Tlsa> = records.into_iter().filter(dane::is_usable).collect();
            match sts {
                // Without a usable record the other policy says more, if it demands anything.
                Some(policy) if records.is_empty() && policy.mode == sts::Mode::Enforce => {
                    sts_rule(policy, host)
                }
                _ if records.is_empty() => Rule::DaneUnusable,
                _ => {
                    server_name = base;
                    Rule::Dane { records, names }
                }
            }
        }
        (None, Some(policy)) => sts_rule(policy, host),
        (None, None) => Rule::Unpublished,
    };
    if matches!(rule, Rule::Sts { mode: sts::Mode::Enforce, named: false }) {
        let reason = format!("the policy does not name {host}");
        return HostChoice::Skip(Refusal::later(Policy::MtaSts, reason));
    }
    let enforced = matches!(rule, Rule::Sts { mode: sts::Mode::Enforce, .. });
    // RFC 8689 §4.2.1: that the host is the domain's must be proven too.
    if require_tls && !domain.mx.is_secure() && !enforced {
        let reason = format!(
            "neither DNSSEC nor MTA-STS proves that {host} is an exchanger of {}",
            domain.domain
        );
        return HostChoice::Skip(Refusal::require_tls(Policy::Opportunistic, reason));
    }
    HostChoice::Use(HostPolicy {
        host: host.to_owned(),
        server_name,
        rule,
        remembered: domain.memory.is_some(),
        require_tls,
        downgrade,
    })
}

fn sts_rule(policy: &sts::Policy, host: &str) -> Rule {
    Rule::Sts { mode: policy.mode, named: policy.names(host) }
}

/// The policy that a result is counted under.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Tlsa(&'a [Tlsa]),
    Sts(&'a sts::Policy),
    None,
}

fn result(kind: Kind<'_>, host: Option<&str>, failure: Option<(TlsFailure, String)>) -> TlsResult {
    let (policy_type, policy, mx_hosts) = match kind {
        Kind::Tlsa(records) => {
            let mut lines: Vec<String> = records.iter().map(ToString::to_string).collect();
            // DNS gives them in any order, which makes no difference to a report.
            lines.sort();
            (PolicyType::Tlsa, lines, host.map(ToOwned::to_owned).into_iter().collect())
        }
        Kind::Sts(policy) => (PolicyType::Sts, policy.lines(), policy.mx.clone()),
        Kind::None => (PolicyType::NoPolicyFound, Vec::new(), Vec::new()),
    };
    let (failure, reason) = failure.unzip();
    TlsResult {
        policy_type,
        policy,
        mx_hosts,
        failure,
        sending_ip: None,
        receiving_mx: host.map(ToOwned::to_owned),
        receiving_ip: None,
        reason,
    }
}
