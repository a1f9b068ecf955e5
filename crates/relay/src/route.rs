//! Where mail for a domain goes: a smarthost, an address literal, or its mail exchangers (RFC 5321 §5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use letterlock_address::Domain;
use letterlock_config::Outbound;
use letterlock_dns::{DnsError, HostAnswer, MxAnswer, Resolver, Security};

use crate::finding::Finding;

/// The destination of a try. Recipients with the same next hop can share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// The exchangers of this domain, or the host of this address literal.
    Domain(Domain),
    /// A host that takes everything.
    Smarthost {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl NextHop {
    /// The next hop for mail to `domain`.
    pub fn of(domain: &Domain, outbound: &Outbound) -> Self {
        match outbound.route(domain.as_str()).and_then(smarthost) {
            Some(smarthost) => smarthost,
            None => Self::Domain(domain.clone()),
        }
    }
}

/// The lane of a domain in the queue: its next hop, as that writes itself.
pub(crate) fn lane(domain: &str, outbound: &Outbound) -> String {
    match outbound.route(domain).and_then(smarthost) {
        Some(smarthost) => smarthost.to_string(),
        None => domain.to_owned(),
    }
}

fn smarthost(target: &str) -> Option<NextHop> {
    let (host, port) = target.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(NextHop::Smarthost { host: host.to_owned(), port: port.parse().ok()? })
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Smarthost { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name; for an address literal, the address.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Who named it.
    pub named_by: NamedBy,
}

impl Host {
    /// The name for logs, in which addresses have no place.
    pub fn label(&self) -> &str {
        if self.name.parse::<IpAddr>().is_ok() { "(address)" } else { &self.name }
    }
}

/// Why a host is one to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// An MX record.
    Mx,
    /// The recipient's domain itself, which has no MX record.
    Domain,
    /// The configuration, or an address literal.
    Order,
}

/// The way to a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its hosts, in the order in which they are to be tried.
    pub hosts: Vec<Host>,
    /// What DNSSEC says of the exchangers; `None` where DNS was not asked for any.
    pub security: Option<Security>,
}

/// Why there is no host to try.
#[derive(Clone, Debug)]
pub struct NoRoute {
    /// What all recipients come to.
    pub finding: Finding,
    /// Set if DNS was asked for exchangers in vain.
    pub error: Option<DnsError>,
}

/// The hosts of a next hop, in the order in which they are to be tried. `port` is that of mail exchangers, `own` our
/// host name, `random` any source of numbers.
///
/// # Errors
/// If there is no host to try: deferred when DNS has no answer for now, else failed.
pub async fn hosts(
    resolver: &Resolver,
    hop: &NextHop,
    port: u16,
    own: &str,
    random: impl FnMut() -> u32,
) -> Result<Route, NoRoute> {
    let order = |name: String, port| Route {
        hosts: vec![Host { name, port, named_by: NamedBy::Order }],
        security: None,
    };
    match hop {
        NextHop::Smarthost { host, port } => Ok(order(host.clone(), *port)),
        NextHop::Domain(domain) => match domain.literal() {
            Some(address) => Ok(order(address.to_string(), port)),
            None => {
                let (answer, security) = resolver.mx_secured(domain.as_str()).await.map_or_else(
                    |error| (Err(error), None),
                    |(answer, security)| (Ok(answer), Some(security)),
                );
                let error = answer.as_ref().err().cloned();
                match exchangers(answer, domain.as_str(), port, own, random) {
                    Ok(hosts) => Ok(Route { hosts, security }),
                    Err(finding) => Err(NoRoute { finding, error }),
                }
            }
        },
    }
}

/// What an answer about MX records comes to.
fn exchangers(
    answer: Result<MxAnswer, DnsError>,
    domain: &str,
    port: u16,
    own: &str,
    random: impl FnMut() -> u32,
) -> Result<Vec<Host>, Finding> {
    let named = |named_by| move |name: String| Host { name, port, named_by };
    match answer {
        Ok(MxAnswer::Hosts(hosts)) => {
            let mut hosts = before_own(hosts, own).ok_or_else(|| looping(domain))?;
            shuffle_equals(&mut hosts, random);
            Ok(hosts.into_iter().map(|(_, name)| name).map(named(NamedBy::Mx)).collect())
        }
        Ok(MxAnswer::Implicit) if domain.eq_ignore_ascii_case(own) => Err(looping(domain)),
        Ok(MxAnswer::Implicit) => Ok(vec![named(NamedBy::Domain)(domain.to_owned())]),
        // RFC 7505 §4.2.
        Ok(MxAnswer::Null) => {
            Err(Finding::failed(1, 10, format!("the domain {domain} does not accept mail")))
        }
        Err(DnsError::NotFound) => {
            Err(Finding::failed(1, 2, format!("the domain {domain} does not exist")))
        }
        Err(error) => Err(Finding::deferred(4, 3, format!("looking up {domain}: {error}"))),
    }
}

fn looping(domain: &str) -> Finding {
    let text = format!("mail for {domain} loops back: this server is named as its mail exchanger");
    Finding::failed(4, 6, text)
}

/// RFC 5321 §5.1: a host in the list sends only to those that are preferred to itself. `None` if there are none.
fn before_own(mut hosts: Vec<(u16, String)>, own: &str) -> Option<Vec<(u16, String)>> {
    hosts.sort_by_key(|(preference, _)| *preference);
    let limit =
        hosts.iter().find(|(_, name)| name.eq_ignore_ascii_case(own)).map(|(limit, _)| *limit);
    if let Some(limit) = limit {
        hosts.retain(|(preference, _)| *preference < limit);
    }
    (!hosts.is_empty()).then_some(hosts)
}

/// RFC 5321 §5.1: hosts of equal preference are taken in random order, to spread the load.
fn shuffle_equals(hosts: &mut [(u16, String)], mut random: impl FnMut() -> u32) {
    for equals in hosts.chunk_by_mut(|a, b| a.0 == b.0) {
        for last in (1..equals.len()).rev() {
            let other = usize::try_from(random()).unwrap_or_default() % (last + 1);
            equals.swap(last, other);
        }
    }
}

/// The addresses of a host, IPv6 first and at most `most` of each family, with the answer that they are from.
///
/// # Errors
/// The finding for this host if it has none: deferred when DNS has no answer for now, else failed.
pub fn addresses(
    answer: Result<HostAnswer, DnsError>,
    host: &Host,
    most: usize,
) -> Result<(HostAnswer, Vec<SocketAddr>), Finding> {
    let answer = match answer {
        Ok(answer) if !answer.addresses.is_empty() => answer,
        Ok(_) => return Err(nowhere(None, host)),
        Err(error) => return Err(nowhere(Some(error), host)),
    };
    let family =
        |six: bool| answer.addresses.iter().filter(move |ip| ip.is_ipv6() == six).take(most);
    let addresses = family(true).chain(family(false)).map(|ip| SocketAddr::new(*ip, host.port));
    let addresses = addresses.collect();
    Ok((answer, addresses))
}

/// Why a host cannot be connected to: it has no addresses, or the lookup failed.
fn nowhere(error: Option<DnsError>, host: &Host) -> Finding {
    let name = &host.name;
    match (error, host.named_by) {
        (Some(error), _) if error.is_temporary() => {
            Finding::deferred(4, 3, format!("looking up {name}: {error}"))
        }
        // Whoever wrote the configuration can mend it, and the mail should not be lost by then.
        (_, NamedBy::Order) => Finding::deferred(4, 4, format!("the host {name} has no address")),
        (_, NamedBy::Mx) => {
            Finding::failed(4, 4, format!("the mail exchanger {name} has no address"))
        }
        (_, NamedBy::Domain) => Finding::failed(
            1,
            2,
            format!("the domain {name} has neither a mail exchanger nor an address"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Fate;

    const OWN: &str = "mx.here.test";

    fn outbound(routes: &[(&str, &str)]) -> Outbound {
        let mut settings = letterlock_config::Settings::local("/nowhere").outbound;
        settings.routes = routes.iter().map(|(d, t)| ((*d).into(), (*t).into())).collect();
        settings
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn order(hosts: &[(u16, &str)], random: u32) -> Result<Vec<String>, Finding> {
        let hosts = hosts.iter().map(|(preference, name)| (*preference, (*name).into())).collect();
        let hosts = exchangers(Ok(MxAnswer::Hosts(hosts)), "far.test", 25, OWN, || random)?;
        assert!(hosts.iter().all(|host| (host.port, host.named_by) == (25, NamedBy::Mx)));
        Ok(hosts.into_iter().map(|host| host.name).collect())
    }

    fn verdict(answer: Result<MxAnswer, DnsError>, domain: &str) -> (Fate, String) {
        let finding = exchangers(answer, domain, 25, OWN, || 0).unwrap_err();
        (finding.fate, finding.status.to_string())
    }

    #[test]
    fn smarthosts() {
        let all = outbound(&[("*", "smart.test:587"), ("six.test", "[2001:db8::1]:26")]);
        let hop = NextHop::of(&domain("far.test"), &all);
        assert_eq!(hop, NextHop::Smarthost { host: "smart.test".into(), port: 587 });
        assert_eq!(hop.to_string(), "smart.test:587");
        let hop = NextHop::of(&domain("six.test"), &all);
        assert_eq!(hop, NextHop::Smarthost { host: "2001:db8::1".into(), port: 26 });
        let direct = NextHop::of(&domain("far.test"), &outbound(&[]));
        assert_eq!(direct, NextHop::Domain(domain("far.test")));
    }

    #[test]
    fn exchangers_by_preference_and_equals_by_chance() {
        let hosts = [(20, "c"), (10, "a"), (10, "b"), (30, "d")];
        assert_eq!(order(&hosts, 1).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(order(&hosts, 0).unwrap(), ["b", "a", "c", "d"]);
    }

    #[test]
    fn only_hosts_that_are_preferred_to_us() {
        let hosts = [(10, "a"), (20, "MX.here.test"), (20, "b"), (30, "c")];
        assert_eq!(order(&hosts, 1).unwrap(), ["a"]);
        let finding = order(&hosts[1..], 1).unwrap_err();
        assert_eq!((finding.fate, finding.status.to_string()), (Fate::Failed, "5.4.6".into()));
    }

    #[test]
    fn answers_without_hosts() {
        assert_eq!(verdict(Ok(MxAnswer::Null), "far.test"), (Fate::Failed, "5.1.10".into()));
        assert_eq!(verdict(Err(DnsError::NotFound), "far.test"), (Fate::Failed, "5.1.2".into()));
        assert_eq!(verdict(Err(DnsError::Bogus), "far.test"), (Fate::Deferred, "4.4.3".into()));
        let servfail = Err(DnsError::Temporary("SERVFAIL".into()));
        assert_eq!(verdict(servfail, "far.test"), (Fate::Deferred, "4.4.3".into()));
        assert_eq!(verdict(Ok(MxAnswer::Implicit), OWN), (Fate::Failed, "5.4.6".into()));
        let implicit = exchangers(Ok(MxAnswer::Implicit), "far.test", 25, OWN, || 0).unwrap();
        assert_eq!(
            (implicit[0].name.as_str(), implicit[0].named_by),
            ("far.test", NamedBy::Domain)
        );
    }

    #[test]
    fn addresses_of_both_families_get_their_turn() {
        let ips = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3", "2001:db8::2"];
        let answer = HostAnswer {
            addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            security: Security::Insecure,
            canonical: None,
            alias: None,
        };
        let host = Host { name: "h.test".into(), port: 25, named_by: NamedBy::Mx };
        let (_, found) = addresses(Ok(answer), &host, 2).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let wanted = ["[2001:db8::1]:25", "[2001:db8::2]:25", "192.0.2.1:25", "192.0.2.2:25"];
        assert_eq!(found, wanted);
    }

    #[test]
    fn hosts_without_addresses() {
        let host = |named_by| Host { name: "h.test".into(), port: 25, named_by };
        let status = |found: Result<HostAnswer, DnsError>, named_by| {
            addresses(found, &host(named_by), 3).unwrap_err().status.to_string()
        };
        let none = HostAnswer {
            addresses: Vec::new(),
            security: Security::Insecure,
            canonical: None,
            alias: None,
        };
        assert_eq!(status(Ok(none), NamedBy::Mx), "5.4.4");
        assert_eq!(status(Err(DnsError::NotFound), NamedBy::Domain), "5.1.2");
        assert_eq!(status(Err(DnsError::NotFound), NamedBy::Order), "4.4.4");
        assert_eq!(status(Err(DnsError::Bogus), NamedBy::Mx), "4.4.3");
    }
}
