//! DNS with a memory of its own, for the names that mail keeps asking for.
//!
//! The library's cache forgets what does not exist when it validates, and mail asks for policies and parents of
//! policies that mostly do not exist. So answers are kept here as well, those that say "nothing" no longer than the
//! zone's SOA allows (RFC 2308 §5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::net::{DnsError as WireError, NetError};
use mail_auth::hickory_resolver::proto::dnssec::Proof;
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::hickory_resolver::proto::rr::{Name, RData, RecordType};

/// Answers that are kept.
const MAX_ANSWERS: usize = 16_384;
/// Octets of them, about. Most answers are a few hundred; who wants to fill the memory publishes 64 KiB.
const MAX_OCTETS: usize = 16 << 20;
/// The longest time that an answer is kept.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The name does not exist.
    NoName,
    /// The name has no records of this type.
    NoData,
    /// DNS failed, or the answer was bogus.
    Temporary,
}

/// Records, or why there are none.
pub(crate) type Answer = Result<Arc<[RData]>, Absent>;

/// What was answered lately. One for a server.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    kept: HashMap<(String, RecordType), Kept>,
    /// What they take together.
    octets: usize,
}

struct Kept {
    answer: Answer,
    until: Instant,
    octets: usize,
}

impl Answers {
    fn retain(&mut self, keep: impl FnMut(&(String, RecordType), &mut Kept) -> bool) {
        self.kept.retain(keep);
        self.octets = self.kept.values().map(|kept| kept.octets).sum();
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= MAX_ANSWERS || self.octets >= MAX_OCTETS
    }
}

impl Memory {
    fn recall(&self, key: &(String, RecordType), now: Instant) -> Option<Answer> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.kept.get(key).filter(|kept| kept.until > now).map(|kept| kept.answer.clone())
    }

    fn keep(&self, key: (String, RecordType), answer: Answer, now: Instant, until: Instant) {
        if until <= now {
            return;
        }
        let octets = key.0.len() + OVERHEAD + answer.as_deref().map_or(0, size);
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.is_full() {
            answers.retain(|_, kept| kept.until > now);
            // Nothing to tell the good from the bad by: half of them go, so that this is rare.
            while answers.is_full() {
                let mut odd = false;
                answers.retain(|_, _| {
                    odd = !odd;
                    odd
                });
            }
        }
        answers.octets += octets;
        let kept = Kept { answer, until: until.min(now + LONGEST), octets };
        if let Some(before) = answers.kept.insert(key, kept) {
            answers.octets -= before.octets;
        }
    }
}

/// What an answer takes besides its records, about.
const OVERHEAD: usize = 128;

/// What records take, about.
fn size(records: &[RData]) -> usize {
    let one = |data: &RData| match data {
        RData::TXT(text) => text.txt_data.iter().map(|part| part.len() + 16).sum(),
        // A name or an address.
        _ => 256,
    };
    records.iter().map(|data| OVERHEAD + one(data)).sum()
}

/// A resolver and what it has answered.
#[derive(Clone)]
pub(crate) struct Names {
    resolver: TokioResolver,
    memory: Arc<Memory>,
}

impl Names {
    pub(crate) fn new(resolver: TokioResolver, memory: Arc<Memory>) -> Self {
        Self { resolver, memory }
    }

    /// The records of a name, aliases followed. Labels may hold any octets; what is no name does not exist.
    pub(crate) async fn lookup(&self, name: &str, kind: RecordType) -> Answer {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let Some(asked) = to_name(&name) else { return Err(Absent::NoName) };
        let key = (name, kind);
        if let Some(answer) = self.memory.recall(&key, Instant::now()) {
            return answer;
        }
        let (answer, until) = self.ask(asked, kind).await;
        self.memory.keep(key, answer.clone(), Instant::now(), until);
        answer
    }

    /// What is remembered of a name.
    pub(crate) fn recall(&self, name: &str, kind: RecordType) -> Option<Answer> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.memory.recall(&(name, kind), Instant::now())
    }

    /// The names that an address points to, without final dot.
    pub(crate) async fn pointers(&self, address: IpAddr) -> Result<Vec<String>, Absent> {
        let answer = self.lookup(&Name::from(address).to_ascii(), RecordType::PTR).await?;
        let names = answer.iter().filter_map(|data| match data {
            RData::PTR(target) => Some(plain(&target.0)),
            _ => None,
        });
        Ok(names.collect())
    }

    /// Asks, and says how long the answer may be kept.
    async fn ask(&self, name: Name, kind: RecordType) -> (Answer, Instant) {
        let now = Instant::now();
        let absent = |code, negative: Option<u32>| {
            let until = now + Duration::from_secs(negative.unwrap_or(0).into());
            match code {
                ResponseCode::NoError => (Err(Absent::NoData), until),
                ResponseCode::NXDomain => (Err(Absent::NoName), until),
                _ => (Err(Absent::Temporary), now),
            }
        };
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let wanted = lookup.answers().iter().filter(|record| record.record_type() == kind);
                let records: Arc<[RData]> = wanted.map(|record| record.data.clone()).collect();
                match records.is_empty() {
                    true => (Err(Absent::NoData), now),
                    false => (Ok(records), lookup.valid_until()),
                }
            }
            Err(NetError::Dns(WireError::NoRecordsFound(none))) => {
                // The library takes its figure back when it validates; the SOA is still there.
                let soa = none.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
                absent(none.response_code, none.negative_ttl.or(soa))
            }
            // A denial beyond the iteration limits of RFC 9276 §3.2 counts as insecure, not as bogus.
            Err(NetError::Dns(WireError::Nsec { response, proof: Proof::Insecure, .. })) => {
                let negative = response.negative_ttl();
                absent(response.metadata.response_code, negative)
            }
            Err(_) => (Err(Absent::Temporary), now),
        }
    }
}

/// A name's labels joined by dots, as they are, without a final dot.
pub(crate) fn plain(name: &Name) -> String {
    name.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(".")
}

/// A name of whatever octets; `None` if a label is empty or anything too long.
fn to_name(text: &str) -> Option<Name> {
    let mut name = Name::from_labels(text.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    text.split('.').all(|label| !label.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_auth::hickory_resolver::proto::rr::rdata::TXT;

    fn key(number: usize) -> (String, RecordType) {
        (format!("{number}.test"), RecordType::TXT)
    }

    #[test]
    fn answers_are_kept_for_their_time_and_no_longer_than_an_hour() {
        let (memory, now) = (Memory::default(), Instant::now());
        let day = now + Duration::from_secs(86_400);
        memory.keep(key(1), Err(Absent::NoName), now, now + Duration::from_secs(60));
        memory.keep(key(2), Ok([].into()), now, day);
        memory.keep(key(3), Err(Absent::NoData), now, now);
        assert_eq!(memory.recall(&key(1), now), Some(Err(Absent::NoName)));
        assert_eq!(memory.recall(&key(1), now + Duration::from_secs(61)), None);
        assert_eq!(memory.recall(&key(2), now + LONGEST), None);
        assert_eq!(memory.recall(&key(3), now), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (memory, now) = (Memory::default(), Instant::now());
        for number in 0..MAX_ANSWERS * 2 {
            memory.keep(key(number), Err(Absent::NoName), now, now + LONGEST);
        }
        assert!(memory.0.lock().unwrap().kept.len() <= MAX_ANSWERS);
        assert!(memory.recall(&key(MAX_ANSWERS * 2 - 1), now).is_some());
    }

    /// Anybody can publish 64 KiB under each of any number of names, and send mail that makes us ask for them.
    #[test]
    fn long_answers_do_not_fill_the_memory() {
        let (memory, now) = (Memory::default(), Instant::now());
        let long = RData::TXT(TXT::new(vec!["x".repeat(255); 250]));
        for number in 0..1000 {
            let again = key(number / 2);
            memory.keep(again, Ok([long.clone()].into()), now, now + LONGEST);
        }
        let answers = memory.0.lock().unwrap();
        let octets = answers.kept.values().map(|kept| kept.octets).sum::<usize>();
        assert_eq!(answers.octets, octets);
        assert!(octets <= MAX_OCTETS + 70_000 && octets > MAX_OCTETS / 4, "{octets}");
    }

    #[test]
    fn odd_names() {
        assert!(to_name("a b._x.test").is_some());
        for text in ["", "a..b", ".a", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert!(to_name(text).is_none(), "{text}");
        }
    }
}
