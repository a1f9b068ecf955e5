//! Answers with what DNSSEC says of them, as DANE needs them (RFC 7672 §2.1).
//!
//! An answer that fails validation is an error, and so is one that does not come: whoever stands in between could
//! otherwise do away with DANE by dropping a datagram.

use std::fmt;
use std::net::IpAddr;

use hickory_proto::dnssec::Proof;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::lookup::Lookup;

use crate::error::{Absence, Absent, DnsError, Missing};
use crate::{MxAnswer, Resolver, plain_name};

/// What DNSSEC says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Validated from the trust anchor to the last record, every alias on the way included.
    Secure,
    /// The zone is not signed, or nobody validates at present.
    Insecure,
}

impl Security {
    /// Whether it is secure.
    pub fn is_secure(self) -> bool {
        self == Self::Secure
    }

    pub(crate) fn when(secure: bool) -> Self {
        if secure { Self::Secure } else { Self::Insecure }
    }
}

/// The addresses of a host, and the way to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// IPv6 before IPv4; empty if the name exists without any.
    pub addresses: Vec<IpAddr>,
    /// Whether the addresses of one family are secure, with all aliases on the way.
    pub security: Security,
    /// Where aliases lead, if the name is one: in lower case without final dot.
    pub canonical: Option<String>,
    /// What holds for the first alias alone, if the name is one. It may be secure while its target is not.
    pub alias: Option<Security>,
}

/// A TLSA record (RFC 6698 §2.1), its numbers as they stand in DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// 2 is an authority (DANE-TA), 3 the host's own certificate or key (DANE-EE).
    pub usage: u8,
    /// 0 is the certificate, 1 its public key.
    pub selector: u8,
    /// 0 is the thing itself, 1 its SHA-256, 2 its SHA-512.
    pub matching: u8,
    /// The thing, or its digest.
    pub data: Vec<u8>,
}

/// As in a zone file: `3 1 1 0123…`.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Resolver {
    /// The exchangers of a domain, and whether nobody can have changed them. A proven absence of MX records makes the
    /// implicit MX secure (RFC 7672 §2.2.1).
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn mx_secured(&self, domain: &str) -> Result<(MxAnswer, Security), DnsError> {
        match self.ask(domain, RecordType::MX).await {
            Ok(lookup) => Ok((exchangers(&lookup), security(&lookup, RecordType::MX))),
            Err(Missing::Absent(Absence { what: Absent::Type, security, .. })) => {
                Ok((MxAnswer::Implicit, security))
            }
            Err(Missing::Absent(Absence { what: Absent::Name, .. })) => Err(DnsError::NotFound),
            Err(Missing::Failed(error)) => Err(error),
        }
    }

    /// The addresses of a host with their security. An address as the name is its own answer, and insecure. If one
    /// family fails and the other has addresses, those are the answer.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub async fn host(&self, name: &str) -> Result<HostAnswer, DnsError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            let addresses = vec![address];
            return Ok(HostAnswer {
                addresses,
                security: Security::Insecure,
                canonical: None,
                alias: None,
            });
        }
        let (six, four) =
            tokio::join!(self.host_by(name, RecordType::AAAA), self.host_by(name, RecordType::A));
        match (six, four) {
            (Ok(six), Ok(four)) => Ok(six.and(four)),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.addresses.is_empty() => Ok(found),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn host_by(&self, name: &str, family: RecordType) -> Result<HostAnswer, DnsError> {
        match self.ask(name, family).await {
            Ok(lookup) => Ok(HostAnswer::of(&lookup, family)),
            Err(Missing::Absent(Absence { what: Absent::Type, security, .. })) => {
                Ok(HostAnswer { addresses: Vec::new(), security, canonical: None, alias: None })
            }
            Err(Missing::Absent(Absence { what: Absent::Name, .. })) => Err(DnsError::NotFound),
            Err(Missing::Failed(error)) => Err(error),
        }
    }

    /// The TLSA records of `_port._tcp.host`, if they are secure; empty if there are none, or none that count
    /// (RFC 7672 §2.1.1). Aliases are followed.
    ///
    /// # Errors
    /// The answer does not validate, or does not come. The host must not be used then (RFC 7672 §2.1.2).
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Vec<Tlsa>, DnsError> {
        match self.ask(&format!("_{port}._tcp.{host}"), RecordType::TLSA).await {
            Ok(lookup) if security(&lookup, RecordType::TLSA).is_secure() => {
                Ok(lookup.answers().iter().filter_map(tlsa).collect())
            }
            Ok(_) | Err(Missing::Absent(_)) => Ok(Vec::new()),
            Err(Missing::Failed(error)) => Err(error),
        }
    }
}

impl HostAnswer {
    fn of(lookup: &Lookup, family: RecordType) -> Self {
        let answers = lookup.answers();
        let aliases: Vec<&Record> =
            answers.iter().filter(|record| record.record_type() == RecordType::CNAME).collect();
        // The question's own alias; the others follow from it, in whatever order they stand.
        let first = aliases.iter().find(|record| &record.name == lookup.query().name());
        let last = answers.iter().find(|record| record.record_type() == family);
        Self {
            addresses: answers.iter().filter_map(|record| record.data.ip_addr()).collect(),
            security: security(lookup, family),
            canonical: first.and(last).map(|record| plain_name(&record.name)),
            alias: first.map(|record| Security::when(record.proof == Proof::Secure)),
        }
    }

    /// Both families together. One that has no addresses says nothing about the security of the other.
    fn and(mut self, other: Self) -> Self {
        if self.addresses.is_empty() {
            return other;
        }
        if !other.addresses.is_empty() {
            let secure = self.security.is_secure() || other.security.is_secure();
            self.security = Security::when(secure);
            self.addresses.extend(other.addresses);
        }
        self
    }
}

/// Whether every record that led to the answer is secure.
fn security(lookup: &Lookup, wanted: RecordType) -> Security {
    let counts = |record: &&Record| [wanted, RecordType::CNAME].contains(&record.record_type());
    let mut records = lookup.answers().iter().filter(counts).peekable();
    Security::when(records.peek().is_some() && records.all(|record| record.proof.is_secure()))
}

fn exchangers(lookup: &Lookup) -> MxAnswer {
    let mut hosts: Vec<(u16, String)> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, plain_name(&mx.exchange))),
            _ => None,
        })
        .collect();
    if hosts.is_empty() {
        return MxAnswer::Implicit;
    }
    // RFC 7505 §3: a null MX stands alone; beside others the root is merely a host that cannot be reached.
    hosts.retain(|(_, host)| !host.is_empty());
    if hosts.is_empty() {
        return MxAnswer::Null;
    }
    hosts.sort_by_key(|(preference, _)| *preference);
    MxAnswer::Hosts(hosts)
}

fn tlsa(record: &Record) -> Option<Tlsa> {
    match &record.data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
    }
}
