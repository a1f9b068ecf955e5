//! The texts that one message's checks need, fetched side by side beforehand, and handed to the library as if from a
//! cache.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mail_auth::common::cache::NoCache;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dmarc::Dmarc;
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::hickory_resolver::proto::rr::{RData, RecordType};
use mail_auth::{DnsError, Error, MX, Parameters, RecordSet, ResolverCache, Txt};
use tokio::task::JoinSet;

use crate::names::{Absent, Answer, Names};

/// Labels of a name above which the DMARC tree walk leaves some out (RFC 9989 §4.10).
const WALK_LABELS: usize = 8;

/// What kind of text is expected at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A DKIM key.
    Key,
    /// A DMARC policy.
    Policy,
}

/// What was fetched, by fully qualified name in lower case.
#[derive(Default)]
pub(crate) struct Texts(Mutex<HashMap<Box<str>, Txt>>);

/// The library's parameters with these texts as the cache.
pub(crate) type With<'x, P> = Parameters<
    'x,
    P,
    Texts,
    NoCache<Box<str>, RecordSet<MX>>,
    NoCache<Box<str>, RecordSet<Ipv4Addr>>,
    NoCache<Box<str>, RecordSet<Ipv6Addr>>,
    NoCache<IpAddr, RecordSet<Box<str>>>,
>;

impl Texts {
    /// The library's parameters for a check.
    pub(crate) fn parameters<P>(&self, check: P) -> With<'_, P> {
        Parameters {
            params: check,
            cache_txt: Some(self),
            cache_mx: None,
            cache_ptr: None,
            cache_ipv4: None,
            cache_ipv6: None,
        }
    }

    /// Fetches what is not there yet, all at once.
    pub(crate) async fn fetch(
        &self,
        names: &Names,
        wanted: impl IntoIterator<Item = (String, Kind)>,
    ) {
        let mut lookups = JoinSet::new();
        for (name, kind) in wanted {
            if self.get(name.as_str()).is_some() {
                continue;
            }
            if let Some(answer) = names.recall(&name, RecordType::TXT) {
                self.put(name, kind, &answer);
                continue;
            }
            let names = names.clone();
            lookups.spawn(async move {
                let answer = names.lookup(&name, RecordType::TXT).await;
                (name, kind, answer)
            });
        }
        while let Some(done) = lookups.join_next().await {
            if let Ok((name, kind, answer)) = done {
                self.put(name, kind, &answer);
            }
        }
    }

    /// A top-level domain whose record cannot be looked up counts as one without, where every walk from an author
    /// found a policy below it: the policy is decided, and so is the Organizational Domain, unless the top-level domain
    /// claims to be one itself.
    pub(crate) fn forgive_tops(&self, authors: &[String]) {
        let walks: Vec<_> = authors.iter().map(|author| walk(author)).collect();
        let found = |name: &str| matches!(self.get(name), Some(Txt::Dmarc(_)));
        for (top, _) in walks.iter().filter_map(|walk| walk.last()) {
            let failed = match self.get(top.as_str()) {
                None => true,
                Some(Txt::Error(Error::Dns(DnsError::Resolver(_)))) => true,
                Some(_) => false,
            };
            let mut below =
                walks.iter().filter(|walk| walk.last().is_some_and(|(name, _)| name == top));
            if failed && below.all(|walk| walk.iter().any(|(name, _)| found(name))) {
                self.put(top.clone(), Kind::Policy, &Err(Absent::NoData));
            }
        }
    }

    /// The domain, on the walk from `author`, at which a policy was found.
    pub(crate) fn found_policy(&self, author: &str, policy: &Dmarc) -> Option<String> {
        walk(author).into_iter().find_map(|(name, _)| match self.get(name.as_str()) {
            Some(Txt::Dmarc(held)) if *held == *policy => {
                Some(name.trim_start_matches("_dmarc.").trim_end_matches('.').to_owned())
            }
            _ => None,
        })
    }

    fn put(&self, name: String, kind: Kind, answer: &Answer) {
        let text = match (kind, answer) {
            (Kind::Key, Ok(records)) => key(records),
            (Kind::Policy, Ok(records)) => policy(records),
            (_, Err(Absent::NoName)) => not_found(ResponseCode::NXDomain),
            (_, Err(Absent::NoData)) => not_found(ResponseCode::NoError),
            (_, Err(Absent::Temporary)) => {
                Txt::Error(Error::Dns(DnsError::Resolver(String::new())))
            }
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), text);
    }
}

fn not_found(code: ResponseCode) -> Txt {
    Txt::Error(Error::Dns(DnsError::RecordNotFound(code)))
}

fn texts(records: &[RData]) -> impl Iterator<Item = Vec<u8>> {
    records.iter().filter_map(|data| match data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    })
}

/// The first that is a key. Several at one name are undefined (RFC 6376 §3.6.2.2).
fn key(records: &[RData]) -> Txt {
    let mut outcome = Err(Error::Dns(DnsError::InvalidRecordType));
    for text in texts(records) {
        outcome = DomainKey::parse(&text);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.map_or_else(Txt::Error, |key| Txt::DomainKey(key.into()))
}

/// The policy, if there is exactly one: several are all discarded (RFC 9989 §4.10).
fn policy(records: &[RData]) -> Txt {
    let mut policies = texts(records).filter_map(|text| Dmarc::parse(&text).ok());
    match (policies.next(), policies.next()) {
        (Some(policy), None) => Txt::Dmarc(policy.into()),
        _ => not_found(ResponseCode::NoError),
    }
}

impl ResolverCache<Box<str>, Txt> for Texts {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn remove<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    fn insert(&self, name: Box<str>, text: Txt, _: Instant) {
        // What was looked up in spite of this: it lives as long as the message's checks.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, text);
    }
}

/// The names at which the tree walk from a domain asks for policies (RFC 9989 §4.10).
pub(crate) fn walk(domain: &str) -> Vec<(String, Kind)> {
    let labels: Vec<&str> = domain.split('.').filter(|label| !label.is_empty()).collect();
    let from = |skipped: usize| (format!("_dmarc.{}.", labels[skipped..].join(".")), Kind::Policy);
    if labels.len() < 2 {
        return Vec::new();
    }
    let climbed = (1..labels.len()).filter(|skipped| labels.len() - skipped < WALK_LABELS);
    std::iter::once(0).chain(climbed).map(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_auth::hickory_resolver::proto::rr::rdata::TXT;

    fn names(domain: &str) -> Vec<String> {
        walk(domain).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn walks_climb() {
        assert_eq!(names("a.b.test"), ["_dmarc.a.b.test.", "_dmarc.b.test.", "_dmarc.test."]);
        assert!(names("test").is_empty() && names("").is_empty());
        let long = names("a.b.c.d.e.f.g.h.i.j.test");
        assert_eq!((long.len(), long[1].as_str()), (8, "_dmarc.e.f.g.h.i.j.test."));
        assert_eq!(names("a.b.c.d.e.f.g.test").len(), 8);
    }

    #[test]
    fn of_several_policies_none_counts() {
        let record = |text: &str| RData::TXT(TXT::new(vec![text.to_owned()]));
        let one = [record("v=DMARC1; p=reject"), record("other")];
        assert!(matches!(policy(&one), Txt::Dmarc(_)));
        let two = [record("v=DMARC1; p=reject"), record("v=DMARC1; p=none")];
        assert!(matches!(policy(&two), Txt::Error(_)));
    }
}
