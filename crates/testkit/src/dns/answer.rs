//! Looks a question up in the served zones, as a recursive server that follows aliases over zone cuts would.

use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};

use super::signing::{Served, ServedZone};

/// The three things that an answer consists of.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
}

/// Follows aliases this far, as resolvers do.
const MAX_ALIASES: usize = 8;

/// Answers one question. `dnssec` is the DO bit: signatures and proofs of absence are given only with it.
pub(super) fn answer(
    served: &Served,
    name: &LowerName,
    record_type: RecordType,
    dnssec: bool,
) -> Answer {
    let mut found =
        Answer { code: ResponseCode::NoError, answers: Vec::new(), authorities: Vec::new() };
    let mut name = name.clone();
    for _ in 0..MAX_ALIASES {
        let Some((origin, zone)) = served.zone_for(&name, record_type) else {
            found.code = ResponseCode::Refused;
            return found;
        };
        if let Some(set) = zone.get(&name, record_type) {
            found.answers.extend(set.records(dnssec).cloned());
            return found;
        }
        let alias = zone.get(&name, RecordType::CNAME);
        let target = alias.and_then(|set| {
            found.answers.extend(set.records(dnssec).cloned());
            match &set.records(false).next()?.data {
                RData::CNAME(target) => Some(LowerName::new(&target.0)),
                _ => None,
            }
        });
        match target {
            Some(target) => name = target,
            None => {
                absent(&mut found, origin, zone, &name, dnssec);
                return found;
            }
        }
    }
    found.code = ResponseCode::ServFail;
    found
}

/// Says that a name, or a type at it, does not exist, with the proof (RFC 4035 §3.1.3).
fn absent(
    found: &mut Answer,
    origin: &LowerName,
    zone: &ServedZone,
    name: &LowerName,
    dnssec: bool,
) {
    let mut proof: Vec<&Arc<RecordSet>> = Vec::new();
    proof.extend(zone.get(origin, RecordType::SOA));
    if zone.exists(name) {
        if dnssec {
            proof.extend(zone.nsec_at_or_before(name));
        }
    } else {
        found.code = ResponseCode::NXDomain;
        if dnssec {
            let mut encloser = name.base_name();
            while !zone.exists(&encloser) && !encloser.is_root() {
                encloser = encloser.base_name();
            }
            let covers_name = zone.nsec_at_or_before(name);
            let wildcard = Name::from(encloser)
                .prepend_label("*")
                .map(|name| LowerName::new(&name))
                .unwrap_or_else(|_| origin.clone());
            let covers_wildcard = zone.nsec_at_or_before(&wildcard);
            proof.extend(covers_name);
            if covers_wildcard.map(|set| set.name()) != covers_name.map(|set| set.name()) {
                proof.extend(covers_wildcard);
            }
        }
    }
    for set in proof {
        found.authorities.extend(set.records(dnssec).cloned());
    }
}

impl ServedZone {
    fn get(&self, name: &LowerName, record_type: RecordType) -> Option<&Arc<RecordSet>> {
        self.sets.get(&RrKey::new(name.clone(), record_type)).filter(|set| !set.is_empty())
    }

    /// Whether the name, or a name below it (an empty non-terminal), holds records.
    fn exists(&self, name: &LowerName) -> bool {
        self.sets.keys().any(|key| name.zone_of(key.name()))
    }

    /// The NSEC record whose owner is `name` or the last one before it in canonical order.
    fn nsec_at_or_before(&self, name: &LowerName) -> Option<&Arc<RecordSet>> {
        if !self.signed {
            return None;
        }
        self.sets
            .iter()
            .rev()
            .find(|(key, _)| key.record_type == RecordType::NSEC && key.name() <= name)
            .map(|(_, set)| set)
    }
}
