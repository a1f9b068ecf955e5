//! From zones to what is served: delegations, keys, NSEC chains and signatures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, PublicKeyBuf, SigningKey};
use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, ZoneType};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::zone::{Zone, absolute};

/// The record sets of a zone with their signatures, in canonical order (RFC 4034 §6.1).
pub(super) type Sets = BTreeMap<RrKey, Arc<RecordSet>>;

/// Every zone that is served, ready for lookups.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) zones: BTreeMap<LowerName, ServedZone>,
}

/// One zone, signed if it is to be.
#[derive(Debug)]
pub(super) struct ServedZone {
    pub(super) signed: bool,
    pub(super) sets: Sets,
}

/// The keys that zones are signed with. They live as long as the server, so that a trust anchor stays good while
/// records change.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<Name, PrivatePkcs8KeyDer<'static>>);

const ALGORITHM: Algorithm = Algorithm::ECDSAP256SHA256;

impl Keys {
    fn of(&mut self, origin: &Name) -> anyhow::Result<EcdsaSigningKey> {
        if !self.0.contains_key(origin) {
            let key = EcdsaSigningKey::generate_pkcs8(ALGORITHM)?;
            self.0.insert(origin.clone(), key);
        }
        let der = self.0.get(origin).context("the key made above")?;
        Ok(EcdsaSigningKey::from_pkcs8(der, ALGORITHM)?)
    }

    /// The public key of a zone.
    pub(super) fn public(&mut self, origin: &Name) -> anyhow::Result<PublicKeyBuf> {
        Ok(self.of(origin)?.to_public_key()?)
    }
}

/// Delegates and signs `zones` below a signed root.
pub(super) fn build(zones: &BTreeMap<Name, Zone>, keys: &mut Keys) -> anyhow::Result<Served> {
    let mut all = zones.clone();
    all.entry(Name::root()).or_insert_with(|| Zone::signed("."));
    let mut served = Served::default();
    for (origin, zone) in &all {
        let mut records = vec![(
            origin.clone(),
            RData::SOA(SOA::new(
                server_name(),
                absolute("hostmaster.dns.test"),
                1,
                3600,
                600,
                86_400,
                zone.time_to_live(),
            )),
        )];
        records.push((origin.clone(), RData::NS(NS(server_name()))));
        records.extend(zone.records().iter().cloned());
        for (child, child_zone) in &all {
            if parent(child, &all) == Some(origin) {
                records.push((child.clone(), RData::NS(NS(server_name()))));
                if child_zone.is_signed() && zone.is_signed() {
                    let ds = DS::from_key(&keys.public(child)?, child, DigestType::SHA256)?;
                    records.push((child.clone(), RData::DNSSEC(DNSSECRData::DS(ds))));
                }
            }
        }
        served.zones.insert(origin.into(), sign(zone, records, keys)?);
    }
    Ok(served)
}

fn server_name() -> Name {
    absolute("ns.dns.test")
}

/// The closest zone that encloses `child`.
fn parent<'a>(child: &Name, all: &'a BTreeMap<Name, Zone>) -> Option<&'a Name> {
    all.keys()
        .filter(|candidate| *candidate != child && candidate.zone_of(child))
        .max_by_key(|candidate| candidate.num_labels())
}

fn sign(zone: &Zone, records: Vec<(Name, RData)>, keys: &mut Keys) -> anyhow::Result<ServedZone> {
    let origin = zone.origin();
    let mut handler = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
        zone.is_signed().then_some(NxProofKind::Nsec),
    );
    for (owner, data) in records {
        let record = Record::from_rdata(owner.clone(), zone.time_to_live(), data);
        if !handler.upsert_mut(record, 0) {
            return Err(anyhow!("zone {origin} takes no second record at {owner}"));
        }
    }
    if zone.is_signed() {
        let key = keys.of(origin)?;
        let signer = DnssecSigner::new(
            DNSKEY::from_key(&key.to_public_key()?),
            Box::new(key),
            origin.clone(),
            Duration::from_secs(7 * 86_400),
        );
        handler.add_zone_signing_key_mut(signer)?;
        handler.secure_zone_mut()?;
    }
    Ok(ServedZone { signed: zone.is_signed(), sets: std::mem::take(handler.records_get_mut()) })
}

impl Served {
    /// The zone that answers for `name`; for DS it is the parent's side of a zone cut (RFC 4035 §3.1.4.1).
    pub(super) fn zone_for(
        &self,
        name: &LowerName,
        record_type: RecordType,
    ) -> Option<(&LowerName, &ServedZone)> {
        let mut candidate = name.clone();
        if record_type == RecordType::DS && !name.is_root() {
            candidate = candidate.base_name();
        }
        loop {
            if let Some(found) = self.zones.get_key_value(&candidate) {
                return Some(found);
            }
            if candidate.is_root() {
                return None;
            }
            candidate = candidate.base_name();
        }
    }
}
