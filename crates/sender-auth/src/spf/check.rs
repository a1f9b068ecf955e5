//! The evaluation of policies: `check_host()` of RFC 7208 §4.

use std::net::IpAddr;
use std::pin::Pin;

use mail_auth::hickory_resolver::proto::rr::{RData, RecordType};

use super::macros::{DomainSpec, Values};
use super::record::{Cidr, Mechanism, Qualifier, Record, is_policy};
use crate::names::{Absent, Names, plain};
use crate::report::SpfOutcome;

/// Terms that may take lookups (RFC 7208 §4.6.4).
const MAX_LOOKUPS: usize = 10;
/// Lookups that may find nothing.
const MAX_VOID: usize = 2;
/// Exchangers, and names of the client, that are looked at.
const MAX_HOSTS: usize = 10;

/// A client and in whose name it sends.
pub(crate) struct Identity<'a> {
    pub(crate) client: IpAddr,
    pub(crate) helo: &'a str,
    pub(crate) sender_local: &'a str,
    pub(crate) sender_domain: &'a str,
}

/// Evaluates the policy of the sender's domain.
pub(crate) async fn check_host(names: &Names, identity: &Identity<'_>) -> SpfOutcome {
    let domain = identity.sender_domain;
    // RFC 7208 §4.3: what is no name of at least two labels has no policy.
    let labels = domain.split('.').all(|label| (1..=63).contains(&label.len()));
    if !labels || !domain.contains('.') || domain.len() > 253 {
        return SpfOutcome::None;
    }
    let mut check = Check { names, identity, lookups: 0, void: 0, validated: None };
    match check.policy(domain).await {
        Ok(outcome) => outcome,
        Err(Stop::Temporary) => SpfOutcome::TempError,
        Err(Stop::Permanent) => SpfOutcome::PermError,
    }
}

/// What ends the whole evaluation.
enum Stop {
    Temporary,
    Permanent,
}

struct Check<'a> {
    names: &'a Names,
    identity: &'a Identity<'a>,
    lookups: usize,
    void: usize,
    /// The client's validated names, once they have been asked for.
    validated: Option<Vec<String>>,
}

impl Check<'_> {
    /// The outcome of one domain's policy. Boxed, because policies include others.
    fn policy<'s>(
        &'s mut self,
        domain: &'s str,
    ) -> Pin<Box<dyn Future<Output = Result<SpfOutcome, Stop>> + Send + 's>> {
        Box::pin(async move {
            let Some(record) = self.record(domain).await? else { return Ok(SpfOutcome::None) };
            for (qualifier, mechanism) in &record.directives {
                if self.matches(mechanism, domain).await? {
                    return Ok(match qualifier {
                        Qualifier::Pass => SpfOutcome::Pass,
                        Qualifier::Fail => SpfOutcome::Fail,
                        Qualifier::SoftFail => SpfOutcome::SoftFail,
                        Qualifier::Neutral => SpfOutcome::Neutral,
                    });
                }
            }
            let Some(redirect) = &record.redirect else { return Ok(SpfOutcome::Neutral) };
            self.count()?;
            let target = self.target(Some(redirect), domain).await;
            match self.policy(&target).await? {
                // RFC 7208 §6.1.
                SpfOutcome::None => Err(Stop::Permanent),
                outcome => Ok(outcome),
            }
        })
    }

    /// The policy as it is published: none, exactly one, or an error (RFC 7208 §4.5).
    async fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        let answer = match self.names.lookup(domain, RecordType::TXT).await {
            Ok(answer) => answer,
            Err(Absent::Temporary) => return Err(Stop::Temporary),
            Err(_) => return Ok(None),
        };
        let texts = answer.iter().filter_map(|data| match data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        let mut policies = texts.filter(|text| is_policy(text));
        match (policies.next(), policies.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => Record::parse(&text).map(Some).map_err(|_| Stop::Permanent),
            (Some(_), Some(_)) => Err(Stop::Permanent),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => {
                Ok(within(self.identity.client, (*network).into(), *bits))
            }
            Mechanism::Ip6(network, bits) => {
                Ok(within(self.identity.client, (*network).into(), *bits))
            }
            Mechanism::Include(spec) => self.includes(spec, domain).await,
            Mechanism::A(spec, cidr) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await;
                self.has_client(&target, *cidr).await
            }
            Mechanism::Mx(spec, cidr) => self.exchanger(spec.as_ref(), *cidr, domain).await,
            Mechanism::Ptr(spec) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await;
                let validated = self.validated().await;
                Ok(validated.iter().any(|name| is_within(name, &target)))
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let target = self.target(Some(spec), domain).await;
                // RFC 7208 §5.7: always A, whatever the client's address is.
                Ok(!self.ask(&target, RecordType::A).await?.is_empty())
            }
        }
    }

    /// RFC 7208 §5.2.
    async fn includes(&mut self, spec: &DomainSpec, domain: &str) -> Result<bool, Stop> {
        self.count()?;
        let target = self.target(Some(spec), domain).await;
        match self.policy(&target).await? {
            SpfOutcome::Pass => Ok(true),
            SpfOutcome::Fail | SpfOutcome::SoftFail | SpfOutcome::Neutral => Ok(false),
            SpfOutcome::TempError => Err(Stop::Temporary),
            SpfOutcome::None | SpfOutcome::PermError => Err(Stop::Permanent),
        }
    }

    /// RFC 7208 §5.4.
    async fn exchanger(
        &mut self,
        spec: Option<&DomainSpec>,
        cidr: Cidr,
        domain: &str,
    ) -> Result<bool, Stop> {
        self.count()?;
        let target = self.target(spec, domain).await;
        let answer = self.ask(&target, RecordType::MX).await?;
        let hosts: Vec<String> = answer
            .iter()
            .filter_map(|data| match data {
                RData::MX(mx) => Some(plain(&mx.exchange)),
                _ => None,
            })
            .collect();
        if hosts.len() > MAX_HOSTS {
            return Err(Stop::Permanent);
        }
        for host in hosts {
            if self.has_client(&host, cidr).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the client's address is near one of the host's.
    async fn has_client(&mut self, host: &str, cidr: Cidr) -> Result<bool, Stop> {
        let client = self.identity.client;
        let (kind, bits) = match client {
            IpAddr::V4(_) => (RecordType::A, cidr.four),
            IpAddr::V6(_) => (RecordType::AAAA, cidr.six),
        };
        let answer = self.ask(host, kind).await?;
        Ok(answer.iter().filter_map(RData::ip_addr).any(|address| within(client, address, bits)))
    }

    /// A lookup that counts as void when it finds nothing; the answer is empty then.
    async fn ask(&mut self, name: &str, kind: RecordType) -> Result<std::sync::Arc<[RData]>, Stop> {
        match self.names.lookup(name, kind).await {
            Ok(answer) => Ok(answer),
            Err(Absent::Temporary) => Err(Stop::Temporary),
            Err(Absent::NoName | Absent::NoData) => {
                self.void += 1;
                if self.void > MAX_VOID { Err(Stop::Permanent) } else { Ok([].into()) }
            }
        }
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS { Err(Stop::Permanent) } else { Ok(()) }
    }

    /// The name that a term is about.
    async fn target(&mut self, spec: Option<&DomainSpec>, domain: &str) -> String {
        let Some(spec) = spec else { return domain.to_owned() };
        let validated = match spec.needs_validated() {
            true => best(self.validated().await, domain).to_owned(),
            false => String::new(),
        };
        let Identity { client, helo, sender_local, sender_domain } = *self.identity;
        let values =
            Values { client, helo, sender_local, sender_domain, domain, validated: &validated };
        spec.expand(&values)
    }

    /// The client's names that lead back to it (RFC 7208 §5.5). What fails on the way is no name.
    async fn validated(&mut self) -> &[String] {
        if self.validated.is_none() {
            self.validated = Some(self.validate().await);
        }
        self.validated.as_deref().unwrap_or_default()
    }

    async fn validate(&self) -> Vec<String> {
        let client = self.identity.client;
        let kind = if client.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let Ok(pointers) = self.names.pointers(client).await else { return Vec::new() };
        let mut validated = Vec::new();
        for name in pointers.into_iter().take(MAX_HOSTS) {
            if let Ok(answer) = self.names.lookup(&name, kind).await
                && answer.iter().filter_map(RData::ip_addr).any(|address| address == client)
            {
                validated.push(name);
            }
        }
        validated
    }
}

/// The validated name for `%{p}`: the domain itself, else one below it, else any (RFC 7208 §7.3).
fn best<'n>(validated: &'n [String], domain: &str) -> &'n str {
    let equal = validated.iter().find(|name| name.eq_ignore_ascii_case(domain));
    let below = || validated.iter().find(|name| is_within(name, domain));
    equal.or_else(below).or(validated.first()).map_or("unknown", String::as_str)
}

/// Whether a name is the domain or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether two addresses of one family have the first `bits` in common.
fn within(client: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (client, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.checked_shr(128 - u32::from(bits.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(within(ip("192.0.2.1"), ip("192.0.2.255"), 24));
        assert!(!within(ip("192.0.2.1"), ip("192.0.2.255"), 25));
        assert!(within(ip("192.0.2.1"), ip("8.8.8.8"), 0));
        assert!(within(ip("2001:db8::1"), ip("2001:db8::2"), 126));
        assert!(!within(ip("2001:db8::1"), ip("2001:db8::2"), 128));
        assert!(!within(ip("192.0.2.1"), ip("::ffff:192.0.2.1"), 0));
    }

    #[test]
    fn names_below_a_domain() {
        assert!(is_within("MX.a.test", "a.test") && is_within("a.test", "A.test"));
        assert!(!is_within("aa.test", "a.test") && !is_within("test", "a.test"));
    }
}
