//! What a test says about a zone, before it is signed and served.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, TLSA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

/// One zone with its records, built by chaining.
///
/// Owner names are relative to the zone (`"mail"`, `"_dmarc"`), `"@"` for its apex, or absolute when they end in a
/// dot. Names inside record data (an MX host, a CNAME target) are always absolute; the final dot may be left out.
/// SOA and NS of the apex are made by the server, likewise the delegation from the parent.
///
/// A name that cannot be written in DNS panics: it is a mistake in the test.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Name,
    signed: bool,
    ttl: u32,
    records: Vec<(Name, RData)>,
}

impl Zone {
    /// A zone that is signed and whose parent holds a DS record: a validating resolver finds it secure.
    pub fn signed(origin: &str) -> Self {
        Self::new(origin, true)
    }

    /// A zone without signatures, delegated without DS: a validating resolver finds it insecure.
    pub fn unsigned(origin: &str) -> Self {
        Self::new(origin, false)
    }

    fn new(origin: &str, signed: bool) -> Self {
        Self { origin: absolute(origin), signed, ttl: 0, records: Vec::new() }
    }

    /// Sets the time to live of every record in seconds. It is 0 at first, so that nothing is cached and a record
    /// that a test changes is seen at once.
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// Adds an IPv4 address.
    pub fn a(self, name: &str, address: Ipv4Addr) -> Self {
        self.record(name, RData::A(A(address)))
    }

    /// Adds an IPv6 address.
    pub fn aaaa(self, name: &str, address: Ipv6Addr) -> Self {
        self.record(name, RData::AAAA(AAAA(address)))
    }

    /// Adds a mail exchanger. `host` may be `"."` (null MX, RFC 7505).
    pub fn mx(self, name: &str, preference: u16, host: &str) -> Self {
        self.record(name, RData::MX(MX::new(preference, absolute(host))))
    }

    /// Adds a text, split into character strings of 255 octets as RFC 1035 §3.3 wants.
    pub fn txt(self, name: &str, text: &str) -> Self {
        let parts: Vec<&[u8]> =
            if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(255).collect() };
        self.record(name, RData::TXT(TXT::from_bytes(parts)))
    }

    /// Adds a TLSA record (RFC 6698) with its four fields as numbers and octets.
    pub fn tlsa(self, name: &str, usage: u8, selector: u8, matching: u8, data: &[u8]) -> Self {
        self.record(
            name,
            RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec())),
        )
    }

    /// Adds an alias.
    pub fn cname(self, name: &str, target: &str) -> Self {
        self.record(name, RData::CNAME(CNAME(absolute(target))))
    }

    /// Adds a pointer, for reverse zones.
    pub fn ptr(self, name: &str, target: &str) -> Self {
        self.record(name, RData::PTR(PTR(absolute(target))))
    }

    /// Adds a name server; at a name below the apex this makes a delegation.
    pub fn ns(self, name: &str, host: &str) -> Self {
        self.record(name, RData::NS(NS(absolute(host))))
    }

    /// Removes all records of `record_type` (or of every type, with `None`) at `name`.
    pub fn without(mut self, name: &str, record_type: Option<RecordType>) -> Self {
        let owner = self.owner(name);
        self.records.retain(|(held, data)| {
            *held != owner || record_type.is_some_and(|wanted| data.record_type() != wanted)
        });
        self
    }

    fn record(mut self, name: &str, data: RData) -> Self {
        let owner = self.owner(name);
        assert!(self.origin.zone_of(&owner), "{owner} is not in zone {}", self.origin);
        self.records.push((owner, data));
        self
    }

    fn owner(&self, name: &str) -> Name {
        match name {
            "@" | "" => self.origin.clone(),
            name if name.ends_with('.') => absolute(name),
            name if self.origin.is_root() => absolute(name),
            name => absolute(&format!("{name}.{}", self.origin)),
        }
    }

    pub(super) fn origin(&self) -> &Name {
        &self.origin
    }

    pub(super) fn is_signed(&self) -> bool {
        self.signed
    }

    pub(super) fn time_to_live(&self) -> u32 {
        self.ttl
    }

    pub(super) fn records(&self) -> &[(Name, RData)] {
        &self.records
    }
}

/// A name with its final dot, in lower case.
pub(super) fn absolute(name: &str) -> Name {
    let mut parsed = match Name::from_ascii(name) {
        Ok(parsed) => parsed.to_lowercase(),
        Err(error) => panic!("{name:?} is no DNS name: {error}"),
    };
    parsed.set_fqdn(true);
    parsed
}
