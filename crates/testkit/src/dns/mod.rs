//! A DNS server in the process of the test: zones signed below a root of its own, faults on demand, UDP and TCP on
//! one loopback port.
//!
//! It answers like a recursive server (aliases are followed, RA is set) and validates nothing. A resolver that is
//! given [`DnsServer::trust_anchor_file`] finds [`Zone::signed`] zones secure and [`Zone::unsigned`] ones insecure.

mod answer;
mod signing;
mod zone;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::{LowerName, Name};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub use hickory_proto::rr::RecordType;
pub use zone::Zone;

use crate::background::Background;
use signing::{Keys, Served};
use zone::absolute;

/// How the server misbehaves for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers SERVFAIL.
    ServFail,
    /// Answers REFUSED.
    Refused,
    /// Answers nothing at all, so that the question times out.
    Drop,
    /// Leaves out the signatures of a signed zone: a validating resolver calls the answer bogus.
    Bogus,
}

/// What a fault applies to: a name, and one type or all of them.
type FaultKey = (LowerName, Option<RecordType>);

#[derive(Default)]
struct State {
    zones: BTreeMap<Name, Zone>,
    keys: Keys,
    served: Option<Arc<Served>>,
    faults: BTreeMap<FaultKey, Fault>,
    strip_signatures: bool,
    asked: Vec<(LowerName, RecordType)>,
}

/// The running server. Dropping it frees the port.
pub struct DnsServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    directory: TempDir,
    _background: Background,
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl DnsServer {
    /// Starts a server for `zones` on 127.0.0.1 and a free port.
    pub fn start(zones: impl IntoIterator<Item = Zone>) -> anyhow::Result<Self> {
        let (udp, tcp, address) = bind()?;
        let mut state = State::default();
        for zone in zones {
            state.zones.insert(zone.origin().clone(), zone);
        }
        let directory = TempDir::new()?;
        let root = state.keys.public(&Name::root())?;
        let key = hickory_proto::dnssec::rdata::DNSKEY::from_key(&root);
        std::fs::write(directory.path().join("root.key"), format!(". 86400 IN DNSKEY {key}\n"))?;
        // Signing now shows a mistake in a zone to the test that made it.
        served(&mut state)?;
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let background = Background::spawn("dns", move || serve(udp, tcp, shared))?;
        Ok(Self { state, address, directory, _background: background })
    }

    /// Where it listens, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file with the DNSKEY record of this server's root, in zone file format.
    pub fn trust_anchor_file(&self) -> PathBuf {
        self.directory.path().join("root.key")
    }

    /// The DNSKEY record of this server's root as text.
    pub fn trust_anchor(&self) -> anyhow::Result<String> {
        read(&self.trust_anchor_file())
    }

    /// Adds a zone or replaces the one of the same name.
    pub fn put(&self, zone: Zone) {
        let mut state = self.lock();
        state.zones.insert(zone.origin().clone(), zone);
        state.served = None;
    }

    /// Changes a zone while the server runs; fails if there is none of that name.
    pub fn change(&self, origin: &str, change: impl FnOnce(Zone) -> Zone) -> anyhow::Result<()> {
        let origin = absolute(origin);
        let mut state = self.lock();
        let Some(zone) = state.zones.get(&origin).cloned() else {
            bail!("no zone {origin}");
        };
        state.zones.insert(origin, change(zone));
        state.served = None;
        Ok(())
    }

    /// Removes a zone; its names do not exist from now on.
    pub fn remove(&self, origin: &str) {
        let mut state = self.lock();
        state.zones.remove(&absolute(origin));
        state.served = None;
    }

    /// Makes every question about exactly this name fail, except those for DS, DNSKEY and NS, which a validating
    /// resolver needs for the names below.
    pub fn fail(&self, name: &str, fault: Fault) {
        let key = (LowerName::new(&absolute(name)), None);
        self.lock().faults.insert(key, fault);
    }

    /// Makes questions for one type at exactly this name fail.
    pub fn fail_type(&self, name: &str, record_type: RecordType, fault: Fault) {
        let key = (LowerName::new(&absolute(name)), Some(record_type));
        self.lock().faults.insert(key, fault);
    }

    /// Ends all faults of a name.
    pub fn heal(&self, name: &str) {
        let name = LowerName::new(&absolute(name));
        self.lock().faults.retain(|(held, _), _| *held != name);
    }

    /// Plays an upstream that knows no DNSSEC: no answer holds a signature or a proof of absence.
    pub fn strip_signatures(&self, strip: bool) {
        self.lock().strip_signatures = strip;
    }

    /// How often a question came, faults included.
    pub fn asked(&self, name: &str, record_type: RecordType) -> usize {
        let wanted = (LowerName::new(&absolute(name)), record_type);
        self.lock().asked.iter().filter(|held| **held == wanted).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One port that is free for both transports.
fn bind() -> anyhow::Result<(std::net::UdpSocket, std::net::TcpListener, SocketAddr)> {
    for _ in 0..64 {
        let tcp = std::net::TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        let address = tcp.local_addr()?;
        if let Ok(udp) = std::net::UdpSocket::bind(address) {
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            return Ok((udp, tcp, address));
        }
    }
    bail!("no port is free for both UDP and TCP")
}

async fn serve(udp: std::net::UdpSocket, tcp: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let udp = tokio::net::UdpSocket::from_std(udp).expect("a bound socket in a runtime");
    let tcp = tokio::net::TcpListener::from_std(tcp).expect("a bound listener in a runtime");
    let mut datagram = vec![0_u8; 65_535];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut datagram) => {
                let Ok((length, peer)) = received else { continue };
                if let Some(reply) = respond(&state, &datagram[..length], Transport::Udp) {
                    // The asker may have gone; there is nobody to tell.
                    let _ = udp.send_to(&reply, peer).await;
                }
            }
            accepted = tcp.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(serve_stream(stream, Arc::clone(&state)));
            }
        }
    }
}

/// RFC 1035 §4.2.2: each message is preceded by its length in two octets.
async fn serve_stream(mut stream: tokio::net::TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        if let Some(reply) = respond(&state, &question, Transport::Tcp) {
            let Ok(length) = u16::try_from(reply.len()) else { return };
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&reply);
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The reply to one message; `None` drops it.
fn respond(state: &Mutex<State>, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    let query = request.queries.first()?.clone();
    let dnssec = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    let mut reply =
        Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(dnssec);
        reply.set_edns(edns);
    }

    let name = LowerName::new(query.name());
    let mut held = lock(state);
    held.asked.push((name.clone(), query.query_type()));
    let fault = held.fault(&name, query.query_type());
    match fault {
        Some(Fault::Drop) => return None,
        Some(Fault::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Fault::Refused) => reply.metadata.response_code = ResponseCode::Refused,
        Some(Fault::Bogus) | None => {
            let signatures = dnssec && fault.is_none() && !held.strip_signatures;
            match served(&mut held) {
                Ok(zones) => {
                    let answer = answer::answer(&zones, &name, query.query_type(), signatures);
                    reply.metadata.response_code = answer.code;
                    reply.add_answers(answer.answers);
                    reply.add_authorities(answer.authorities);
                }
                Err(_) => reply.metadata.response_code = ResponseCode::ServFail,
            }
        }
    }
    drop(held);
    encode(&reply, &request, transport)
}

/// Cuts a datagram that is too long down to a truncated reply, which makes the asker come back by TCP.
fn encode(reply: &Message, request: &Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    let limit = request.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload().max(512)));
    if transport == Transport::Udp && bytes.len() > limit {
        return reply.truncate().to_vec().ok();
    }
    Some(bytes)
}

impl State {
    fn fault(&self, name: &LowerName, record_type: RecordType) -> Option<Fault> {
        let exact = self.faults.get(&(name.clone(), Some(record_type)));
        let chain = matches!(record_type, RecordType::DS | RecordType::DNSKEY | RecordType::NS);
        exact.or_else(|| self.faults.get(&(name.clone(), None)).filter(|_| !chain)).copied()
    }
}

/// The signed zones, signed anew if something changed since the last question.
fn served(state: &mut State) -> anyhow::Result<Arc<Served>> {
    if let Some(served) = &state.served {
        return Ok(Arc::clone(served));
    }
    let built = Arc::new(signing::build(&state.zones, &mut state.keys)?);
    state.served = Some(Arc::clone(&built));
    Ok(built)
}
