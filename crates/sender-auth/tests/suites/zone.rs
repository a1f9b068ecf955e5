//! A DNS server for the suites: it answers from a table of names, whatever labels and octets they hold.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use letterlock_config::{Dns, Dnssec};
use letterlock_dns::{Limits, Resolver};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What a name has.
#[derive(Default)]
struct Entry {
    records: Vec<RData>,
    /// Lookups fail. The suites mean an answer that never comes; to the checks one that says "failed" is the same.
    fails: bool,
}

/// The names in lower case, labels joined by dots.
#[derive(Default)]
pub(crate) struct Table(HashMap<String, Entry>);

/// The server, for as long as it is held.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Text of the suites in which each character stands for one octet.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("an octet")).collect()
}

fn name(text: &str) -> Name {
    let labels = text.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    let mut name = Name::from_labels(labels.map(octets)).expect("a name");
    name.set_fqdn(true);
    name
}

fn text(value: &Value) -> TXT {
    let strings = match value {
        Value::String(one) => vec![octets(one)],
        Value::Array(many) => {
            many.iter().map(|part| octets(part.as_str().expect("text"))).collect()
        }
        other => panic!("{other}"),
    };
    // A string of DNS has 255 octets at most, and a record has at least one string.
    let strings = if strings.is_empty() { vec![Vec::new()] } else { strings };
    let split = strings.iter().flat_map(|string| match string.is_empty() {
        true => vec![string.as_slice()],
        false => string.chunks(255).collect(),
    });
    TXT::from_bytes(split.collect())
}

impl Table {
    /// A zone of the SPF suite. Records of the type SPF, which is no longer in use (RFC 7208 §3.1), stand for TXT
    /// records wherever a name has none of these.
    pub(crate) fn of_spf(zone: &Value) -> Table {
        let mut table = Table::default();
        for (owner, records) in zone.as_object().expect("a zone") {
            let records = records.as_array().expect("records");
            let has_text = records.iter().any(|record| record.get("TXT").is_some());
            let entry = table.0.entry(owner.to_lowercase()).or_default();
            for record in records {
                let Some(record) = record.as_object() else {
                    entry.fails = true;
                    continue;
                };
                for (kind, value) in record {
                    let target = || name(value.as_str().expect("a name"));
                    entry.records.push(match kind.as_str() {
                        "SPF" if has_text => continue,
                        "TXT" if value == "NONE" => continue,
                        "SPF" | "TXT" => RData::TXT(text(value)),
                        "A" => RData::A(A(value.as_str().unwrap().parse().unwrap())),
                        "AAAA" => RData::AAAA(AAAA(value.as_str().unwrap().parse().unwrap())),
                        "PTR" => RData::PTR(PTR(target())),
                        "CNAME" => RData::CNAME(CNAME(target())),
                        "MX" => RData::MX(MX::new(
                            u16::try_from(value[0].as_u64().unwrap()).unwrap(),
                            name(value[1].as_str().unwrap()),
                        )),
                        other => panic!("{other}"),
                    });
                }
            }
        }
        table
    }

    /// Texts by name.
    pub(crate) fn of_texts(texts: &Value) -> Table {
        let mut table = Table::default();
        for (owner, value) in texts.as_object().expect("texts") {
            table.0.entry(owner.to_lowercase()).or_default().records.push(RData::TXT(text(value)));
        }
        table
    }

    /// Serves the table on a port of its own.
    pub(crate) async fn serve(self) -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        let address = socket.local_addr().expect("an address");
        let table = Arc::new(self);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = table.answer(&buffer[..length]) {
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        Server { address, task }
    }

    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut message = Message::from_vec(packet).ok()?;
        let query = message.queries.first()?.clone();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message.metadata.response_code = ResponseCode::NoError;
        let mut owner = query.name().clone();
        for _ in 0..8 {
            let key = owner
                .iter()
                .map(|label| label.iter().map(|b| char::from(b.to_ascii_lowercase())).collect())
                .collect::<Vec<String>>()
                .join(".");
            let Some(entry) = self.0.get(&key) else {
                let below = format!(".{key}");
                if !self.0.keys().any(|name| name.ends_with(&below)) {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                break;
            };
            let wanted = |data: &&RData| data.record_type() == query.query_type();
            let found: Vec<_> = entry.records.iter().filter(wanted).collect();
            if entry.fails && found.is_empty() {
                message.metadata.response_code = ResponseCode::ServFail;
            }
            for data in &found {
                message.add_answer(Record::from_rdata(owner.clone(), 60, (*data).clone()));
            }
            let alias = entry.records.iter().find_map(|data| match data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias.filter(|_| query.query_type() != RecordType::CNAME) else {
                break;
            };
            message.add_answer(Record::from_rdata(owner, 60, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        message.to_vec().ok()
    }
}

impl Server {
    /// A resolver that asks this server only.
    pub(crate) fn resolver(&self) -> Arc<Resolver> {
        let settings =
            Dns { servers: vec![self.address], dnssec: Dnssec::Off, trust_anchors: None };
        Arc::new(Resolver::with_limits(&settings, &Limits::default()).expect("a resolver"))
    }
}
