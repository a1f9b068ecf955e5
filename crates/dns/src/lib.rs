//! DNS for a mail server: MX, addresses, text and pointers, validated in process with DNSSEC, and errors told apart
//! by what mail does about them.
//!
//! Where DANE is at stake, an answer comes with its [`Security`]: see [`Resolver::mx_secured`], [`Resolver::host`] and
//! [`Resolver::tlsa`].
//!
//! It does not decide where mail goes (the relay does) and knows nothing of SPF, DKIM or DANE; those who do get the
//! library's resolver by [`Resolver::hickory`].

mod absent;
mod error;
mod secure;
mod setup;

use std::net::IpAddr;
use std::sync::RwLock;
use std::time::Instant;

use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use letterlock_config::{Dns, Dnssec};

pub use error::{DnsError, SetupError};
pub use secure::{HostAnswer, Security, Tlsa};
pub use setup::Limits;

use absent::AbsentTexts;
use error::{Absence, Absent, Missing};

/// Where mail for a domain goes (RFC 5321 §5.1), as far as its MX records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxAnswer {
    /// The exchangers with their preferences, lowest preference first. Names are in lower case without final dot.
    /// Hosts of equal preference stand in the order of the answer: who connects shuffles them.
    Hosts(Vec<(u16, String)>),
    /// The domain takes no mail (null MX, RFC 7505).
    Null,
    /// The domain exists and has no MX record: it is its own exchanger, if it has an address.
    Implicit,
}

/// What became of DNSSEC validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Switched off by `dnssec = "off"`.
    Off,
    /// Answers are validated.
    On,
    /// Switched off by a probe, because the upstream's answers for the root zone do not validate
    /// (`dnssec = "auto"` only). Lookups go on without validation; nothing counts as secure.
    Unsupported,
}

/// Looks names up. It holds the cache; there is one for a server, shared by reference.
pub struct Resolver {
    plain: TokioResolver,
    validating: Option<TokioResolver>,
    mode: Dnssec,
    state: RwLock<Validation>,
    absent: AbsentTexts,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("validation", &self.validation()).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Makes a resolver from the settings with the usual limits. It asks nothing yet: call [`Resolver::probe`] at
    /// start and hourly.
    pub fn new(settings: &Dns) -> Result<Self, SetupError> {
        Self::with_limits(settings, &Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(settings: &Dns, limits: &Limits) -> Result<Self, SetupError> {
        let servers = setup::servers(&settings.servers)?;
        let plain = setup::resolver(&servers, None, limits)?;
        let (validating, state) = match settings.dnssec {
            Dnssec::Off => (None, Validation::Off),
            Dnssec::Auto | Dnssec::Require => {
                let anchors = setup::trust_anchors(settings.trust_anchors.as_deref())?;
                let validating = setup::resolver(&servers, Some(anchors), limits)?;
                (Some(validating), Validation::On)
            }
        };
        Ok(Self {
            plain,
            validating,
            mode: settings.dnssec,
            state: RwLock::new(state),
            absent: AbsentTexts::default(),
        })
    }

    /// What becomes of validation at present.
    pub fn validation(&self) -> Validation {
        *self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The library's resolver in its present mode, a cheap handle on the same cache. Take it anew for each message:
    /// a probe may switch validation.
    pub fn hickory(&self) -> TokioResolver {
        self.active().clone()
    }

    fn active(&self) -> &TokioResolver {
        match (&self.validating, self.validation()) {
            (Some(validating), Validation::On) => validating,
            _ => &self.plain,
        }
    }

    /// Asks for the root zone's SOA record and sees whether it validates.
    ///
    /// With `dnssec = "auto"` an answer that does not validate switches validation off and a later one that does
    /// switches it on again, both loudly. With `"require"` it stays on. A probe that gets no answer changes nothing
    /// and gives `None`: it should be repeated soon, since until then nobody knows whether answers can be validated.
    pub async fn probe(&self) -> Option<Validation> {
        let Some(validating) = &self.validating else {
            return Some(self.validation());
        };
        validating.clear_lookup_cache(Name::root(), RecordType::SOA);
        let outcome = validating.lookup(Name::root(), RecordType::SOA).await;
        let secure = match outcome.map_err(Missing::from) {
            Ok(lookup) => lookup
                .answers()
                .iter()
                .any(|record| record.record_type() == RecordType::SOA && record.proof.is_secure()),
            Err(Missing::Failed(DnsError::Bogus) | Missing::Absent(_)) => false,
            Err(Missing::Failed(error)) => {
                tracing::warn!(%error, "DNSSEC probe got no answer");
                return None;
            }
        };
        Some(self.judge(secure))
    }

    fn judge(&self, secure: bool) -> Validation {
        let before = self.validation();
        let after = match (secure, self.mode) {
            (true, _) => Validation::On,
            (false, Dnssec::Auto) => Validation::Unsupported,
            (false, _) => before,
        };
        if !secure {
            tracing::error!(
                still_validating = after == Validation::On,
                "the DNS servers' answers for the root zone fail DNSSEC validation: they strip signatures, or the \
                 trust anchors are not theirs. No answer counts as secure until this is mended; use a resolver that \
                 passes DNSSEC records on"
            );
        } else if before != after {
            tracing::warn!("the DNS servers pass DNSSEC records on again: validation is on");
        }
        *self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner) = after;
        after
    }

    /// The exchangers of a domain. Aliases are followed.
    pub async fn mx(&self, domain: &str) -> Result<MxAnswer, DnsError> {
        Ok(self.mx_secured(domain).await?.0)
    }

    /// The addresses of a host, IPv6 before IPv4; empty if the name exists without any. An address as the name is
    /// its own answer. If one family fails and the other has addresses, those are the answer.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let (six, four) =
            tokio::join!(self.family(host, RecordType::AAAA), self.family(host, RecordType::A));
        match (six, four) {
            (Ok(mut six), Ok(four)) => {
                six.extend(four);
                Ok(six)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn family(&self, host: &str, record_type: RecordType) -> Result<Vec<IpAddr>, DnsError> {
        self.collect(host, record_type, |data| data.ip_addr()).await
    }

    /// The texts at a name, the strings of each record joined; octets that are not UTF-8 are replaced.
    ///
    /// That there is none is remembered for as long as the zone allows and at most a quarter of an hour: the library
    /// remembers no denial while it validates, and every message asks for policies that most domains do not have.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let now = Instant::now();
        if let Some(what) = self.absent.get(name, now) {
            return nothing(what);
        }
        match self.ask(name, RecordType::TXT).await {
            Ok(lookup) => Ok(lookup.answers().iter().filter_map(text).collect()),
            Err(Missing::Absent(Absence { what, ttl, .. })) => {
                self.absent.put(name, what, ttl, now);
                nothing(what)
            }
            Err(Missing::Failed(error)) => Err(error),
        }
    }

    /// Whether [`Resolver::txt`] found lately that there is no text at this name, without asking anybody. Those who
    /// look texts up by [`Resolver::hickory`] can spare themselves the question.
    pub fn knows_no_text(&self, name: &str) -> bool {
        self.absent.get(name, Instant::now()).is_some()
    }

    /// The names that an address points back to, without final dot.
    pub async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, DnsError> {
        let name = plain_name(&Name::from(address));
        self.collect(&name, RecordType::PTR, |data| match data {
            RData::PTR(target) => Some(plain_name(&target.0)),
            _ => None,
        })
        .await
    }

    async fn collect<T>(
        &self,
        name: &str,
        record_type: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        match self.ask(name, record_type).await {
            Ok(lookup) => {
                Ok(lookup.answers().iter().filter_map(|record| pick(&record.data)).collect())
            }
            Err(Missing::Absent(Absence { what, .. })) => nothing(what),
            Err(Missing::Failed(error)) => Err(error),
        }
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Result<Lookup, Missing> {
        let Ok(mut name) = Name::from_ascii(name) else {
            return Err(Missing::Failed(DnsError::NotFound));
        };
        name.set_fqdn(true);
        self.active().lookup(name, record_type).await.map_err(Missing::from)
    }
}

/// The answer of a lookup that found nothing.
fn nothing<T>(what: Absent) -> Result<Vec<T>, DnsError> {
    match what {
        Absent::Type => Ok(Vec::new()),
        Absent::Name => Err(DnsError::NotFound),
    }
}

fn text(record: &Record) -> Option<String> {
    match &record.data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}

/// A name in lower case without its final dot; the root is the empty string.
fn plain_name(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}
