//! The kinds of values that name hosts and networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Value;

use crate::capabilities::imap_capability;
use crate::kinds::{Fault, Kind, list_of, text_of, texts, wrong};
use crate::node::{Data, Node, Shape, quoted};

/// Addresses with port.
pub(crate) struct Addresses;

impl Kind for Addresses {
    type Of = Vec<SocketAddr>;
    const NAME: &'static str = "list of addresses with port";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<SocketAddr>, Fault> {
        list_of(node, "write a list such as [\"[::]:25\"]; [] switches the listener off", |item| {
            text_of(item).and_then(|text| text.parse().ok()).ok_or_else(|| {
                wrong(
                    item,
                    "an address with port",
                    "write a text such as \"[::]:25\" or \"192.0.2.1:25\" (addresses, not names)",
                )
            })
        })
    }

    fn show(value: &Vec<SocketAddr>) -> Value {
        texts(value.iter().map(SocketAddr::to_string))
    }
}

/// Addresses of a listener that this version does not have.
pub(crate) struct NotYet;

impl Kind for NotYet {
    type Of = Vec<SocketAddr>;
    const NAME: &'static str = "empty list";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<SocketAddr>, Fault> {
        let list = Addresses::read(node)?;
        if list.is_empty() {
            return Ok(list);
        }
        Err(Fault::new(
            node,
            "this listener is not available in this version",
            "write [] or remove the key",
        ))
    }

    fn show(value: &Vec<SocketAddr>) -> Value {
        Addresses::show(value)
    }
}

/// Resolvers: addresses with or without port.
pub(crate) struct Servers;

impl Kind for Servers {
    type Of = Vec<SocketAddr>;
    const NAME: &'static str = "list of addresses";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<SocketAddr>, Fault> {
        const DNS: u16 = 53;
        list_of(node, "write a list such as [\"127.0.0.1\"]", |item| {
            let text = text_of(item).unwrap_or_default();
            let bare =
                text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
            text.parse::<SocketAddr>()
                .or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS)))
                .map_err(|_| wrong(item, "an address", "write a text such as \"127.0.0.1\" or \"[::1]:5353\" (addresses, not names)"))
        })
    }

    fn show(value: &Vec<SocketAddr>) -> Value {
        Addresses::show(value)
    }
}

/// Networks.
pub(crate) struct Networks;

impl Kind for Networks {
    type Of = Vec<IpNet>;
    const NAME: &'static str = "list of networks";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<IpNet>, Fault> {
        list_of(node, "write a list such as [\"192.0.2.0/24\"]", |item| {
            let text = text_of(item).unwrap_or_default();
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| {
                    wrong(
                        item,
                        "a network",
                        "write a text such as \"192.0.2.0/24\", \"2001:db8::/32\" or \"192.0.2.1\"",
                    )
                })
        })
    }

    fn show(value: &Vec<IpNet>) -> Value {
        texts(value.iter().map(IpNet::to_string))
    }
}

/// Whether a name may stand in DNS as a host's (RFC 1123 §2.1), in lower case.
fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// A host name.
pub(crate) struct Hostname;

impl Kind for Hostname {
    type Of = String;
    const NAME: &'static str = "host name";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<String, Fault> {
        const FIX: &str = "write a name such as \"mx.example.org\" (ASCII letters, digits, hyphens and dots; no final dot)";
        let name = text_of(node).map(str::to_ascii_lowercase).filter(|name| is_hostname(name));
        name.ok_or_else(|| wrong(node, "a host name", FIX))
    }

    fn show(value: &String) -> Value {
        Value::String(value.clone())
    }
}

/// Names of mail exchangers, perhaps with a wildcard as their first label (RFC 8461 §4.1).
pub(crate) struct Exchangers;

impl Kind for Exchangers {
    type Of = Vec<String>;
    const NAME: &'static str = "list of host names";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<String>, Fault> {
        const FIX: &str = "write a list such as [\"mx.example.org\", \"*.example.net\"]";
        list_of(node, FIX, |item| {
            let name = text_of(item).map(str::to_ascii_lowercase);
            let fits = |name: &String| is_hostname(name.strip_prefix("*.").unwrap_or(name));
            name.filter(fits).ok_or_else(|| wrong(item, "a host name", FIX))
        })
    }

    fn show(value: &Vec<String>) -> Value {
        texts(value.iter().cloned())
    }
}

/// Domain names, as they stand after the `@`: ASCII.
pub(crate) struct Domains;

impl Kind for Domains {
    type Of = Vec<String>;
    const NAME: &'static str = "list of domains";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<String>, Fault> {
        const FIX: &str = "write a list such as [\"example.org\", \"lists.example.net\"]";
        list_of(node, FIX, |item| {
            let name = text_of(item).map(str::to_ascii_lowercase);
            name.filter(|name| is_hostname(name)).ok_or_else(|| wrong(item, "a domain", FIX))
        })
    }

    fn show(value: &Vec<String>) -> Value {
        texts(value.iter().cloned())
    }
}

/// A domain name or none.
pub(crate) struct DomainName;

impl Kind for DomainName {
    type Of = Option<String>;
    const NAME: &'static str = "domain";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<Option<String>, Fault> {
        const FIX: &str = "write a domain in quotes, or \"\" for none";
        let name = text_of(node).map(str::to_ascii_lowercase);
        match name.filter(|name| name.is_empty() || is_hostname(name)) {
            Some(name) => Ok(Some(name).filter(|name| !name.is_empty())),
            None => Err(wrong(node, "a domain", FIX)),
        }
    }

    fn show(value: &Option<String>) -> Value {
        Value::String(value.clone().unwrap_or_default())
    }
}

/// Names of IMAP's capabilities, as IMAP spells them.
pub(crate) struct Capabilities;

impl Kind for Capabilities {
    type Of = Vec<String>;
    const NAME: &'static str = "list of capabilities";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<String>, Fault> {
        const FIX: &str = "write a list such as [\"COMPRESS=DEFLATE\", \"SORT\"]";
        list_of(node, FIX, |item| {
            let name = text_of(item).ok_or_else(|| wrong(item, "the name of a capability", FIX))?;
            imap_capability(name).map(str::to_owned).map_err(|unknown| {
                let fix = unknown.nearest.map(|name| format!("did you mean {name}?"));
                let found = format!("{} cannot be switched off", item.describe());
                Fault::new(item, &found, fix.as_deref().unwrap_or(FIX))
            })
        })
    }

    fn show(value: &Vec<String>) -> Value {
        texts(value.iter().cloned())
    }
}

/// Smarthosts by domain.
pub(crate) struct Routes;

impl Kind for Routes {
    type Of = BTreeMap<String, String>;
    const NAME: &'static str = "table of `\"domain\" = \"host:port\"`";
    const SHAPE: Shape = Shape::Table;

    fn read(node: &Node) -> Result<BTreeMap<String, String>, Fault> {
        const FIX: &str =
            "write \"example.org\" = \"smtp.example.net:587\", or \"*\" for every domain";
        let Data::Table(entries) = &node.data else {
            return Err(wrong(node, "a table of routes", FIX));
        };
        let mut routes = BTreeMap::new();
        for entry in entries {
            let domain = entry.key.to_ascii_lowercase();
            if domain != "*" && !is_hostname(&domain) {
                let found = format!("{} is not a domain", quoted(&entry.key));
                return Err(Fault { span: entry.span.clone(), found, fix: FIX.to_owned() });
            }
            let target = text_of(&entry.node).filter(|text| is_target(text));
            let target = target.ok_or_else(|| wrong(&entry.node, "a host with port", FIX))?;
            routes.insert(domain, target.to_ascii_lowercase());
        }
        Ok(routes)
    }

    fn show(value: &BTreeMap<String, String>) -> Value {
        Value::Table(
            value
                .iter()
                .map(|(domain, target)| (domain.clone(), Value::String(target.clone())))
                .collect(),
        )
    }
}

/// Files with logins, by smarthost.
pub(crate) struct Credentials;

impl Kind for Credentials {
    type Of = BTreeMap<String, PathBuf>;
    const NAME: &'static str = "table of `\"host:port\" = \"FILE\"`";
    const SHAPE: Shape = Shape::Table;

    fn read(node: &Node) -> Result<BTreeMap<String, PathBuf>, Fault> {
        const FIX: &str = "write \"smtp.example.net:587\" = \"/etc/letterlock/smarthost\"";
        let Data::Table(entries) = &node.data else {
            return Err(wrong(node, "a table of files", FIX));
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            if !is_target(&entry.key) {
                let found = format!("{} is not a host with port", quoted(&entry.key));
                return Err(Fault { span: entry.span.clone(), found, fix: FIX.to_owned() });
            }
            let file = text_of(&entry.node).filter(|text| !text.is_empty());
            let file = file.ok_or_else(|| wrong(&entry.node, "the path of a file", FIX))?;
            files.insert(entry.key.to_ascii_lowercase(), PathBuf::from(file));
        }
        Ok(files)
    }

    fn show(value: &BTreeMap<String, PathBuf>) -> Value {
        let text = |file: &PathBuf| Value::String(file.display().to_string());
        Value::Table(value.iter().map(|(host, file)| (host.clone(), text(file))).collect())
    }
}

/// Whether this is `host:port`, the host a name or an address (IPv6 in brackets).
fn is_target(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    is_hostname(&host.to_ascii_lowercase()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}
