//! How a server is set up: the configuration that is written for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::ca::Issued;
use crate::dns::DnsServer;

/// The listeners that are configured, in the order of [`Setup`]'s ports.
pub(super) const LISTENERS: [&str; 7] =
    ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"];

/// How a server is to be set up. Everything has a default that works without network.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) binary: PathBuf,
    pub(super) hostname: String,
    pub(super) ip: IpAddr,
    smtp_port: Option<u16>,
    pub(super) sections: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) environment: BTreeMap<String, String>,
}

impl Setup {
    /// A server of this binary (tests pass `env!("CARGO_BIN_EXE_letterlock")`) on 127.0.0.1, called
    /// `mx.example.test`, with a self-signed certificate, DNS that refuses all questions, loopback exempt from all
    /// limits, and cheap password hashing.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        let setup = Self {
            binary: binary.as_ref().to_owned(),
            hostname: "mx.example.test".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            smtp_port: None,
            sections: BTreeMap::new(),
            environment: BTreeMap::new(),
        };
        setup
            .set("dns", "servers", "[\"127.0.0.1:9\"]")
            .set("dns", "dnssec", "\"off\"")
            .set("limits", "exempt", "[\"127.0.0.0/8\"]")
            .set("auth", "argon2_memory", "\"8MiB\"")
            .set("log", "level", "\"info,letterlock=debug\"")
            .set("log", "format", "\"text\"")
            .set("log", "addresses", "\"clear\"")
    }

    /// The name of the server.
    pub fn hostname(mut self, name: &str) -> Self {
        self.hostname = name.to_owned();
        self
    }

    /// The loopback address of all listeners.
    pub fn ip(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// The port of SMTP, which other servers of a small world expect. The other ports are free ones.
    pub fn smtp_port(mut self, port: u16) -> Self {
        self.smtp_port = Some(port);
        self
    }

    /// Asks this DNS server and validates with its root.
    pub fn dns(self, dns: &DnsServer) -> Self {
        self.set("dns", "servers", &format!("[\"{}\"]", dns.address()))
            .set("dns", "dnssec", "\"require\"")
            .set("dns", "trust_anchors", &string(&dns.trust_anchor_file()))
    }

    /// Shows this certificate.
    pub fn certificate(self, issued: &Issued) -> Self {
        self.set("tls", "certificate", &string(&issued.certificate)).set(
            "tls",
            "key",
            &string(&issued.key),
        )
    }

    /// Sets a key to a value as TOML writes it (`"true"`, `"\"5s\""`, `"[]"`). The section of top-level keys is `""`.
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves a key to its default.
    pub fn unset(mut self, section: &str, key: &str) -> Self {
        if let Some(section) = self.sections.get_mut(section) {
            section.remove(key);
        }
        self
    }

    /// Sets a variable of the server's environment, which is empty otherwise.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One free port for each listener. All are held until the last is found, so that they differ.
    pub(super) fn ports(&self) -> anyhow::Result<[u16; 7]> {
        let mut ports = [0; 7];
        let mut held = Vec::new();
        for (index, port) in ports.iter_mut().enumerate() {
            *port = match self.smtp_port {
                Some(fixed) if index == 0 => fixed,
                _ => loop {
                    let listener = TcpListener::bind((self.ip, 0))?;
                    let port = listener.local_addr()?.port();
                    held.push(listener);
                    if self.smtp_port != Some(port) {
                        break port;
                    }
                },
            };
        }
        Ok(ports)
    }

    pub(super) fn toml(&self, data_dir: &Path, ports: &[u16; 7]) -> anyhow::Result<String> {
        let mut sections = self.sections.clone();
        let top = sections.entry(String::new()).or_default();
        top.entry("hostname".to_owned()).or_insert(format!("{:?}", self.hostname));
        top.entry("data_dir".to_owned()).or_insert(string(data_dir));
        let listen = sections.entry("listen".to_owned()).or_default();
        for (name, port) in LISTENERS.iter().zip(ports) {
            let address = SocketAddr::new(self.ip, *port);
            listen.entry((*name).to_owned()).or_insert(format!("[\"{address}\"]"));
        }
        let mut text = String::new();
        // The nameless section sorts first, as TOML wants it.
        for (section, keys) in sections {
            if !section.is_empty() {
                writeln!(text, "[{section}]")?;
            }
            for (key, value) in keys {
                writeln!(text, "{key} = {value}")?;
            }
        }
        Ok(text)
    }
}

/// A path as a TOML string.
fn string(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_top_level_keys_first() {
        let setup =
            Setup::new("/bin/true").set("limits", "drain", "\"1s\"").set("", "data_dir", "\"/x\"");
        let text = setup.toml(Path::new("/data"), &[1, 2, 3, 4, 5, 6, 7]).expect("text");
        assert!(
            text.starts_with("data_dir = \"/x\"\nhostname = \"mx.example.test\"\n[auth]\n"),
            "{text}"
        );
        assert!(text.contains("[listen]\nimap = [\"127.0.0.1:4\"]\n"), "{text}");
        assert!(text.contains("drain = \"1s\"\n"), "{text}");
    }

    #[test]
    fn the_server_accepts_what_is_written() {
        let dns = DnsServer::start([]).expect("a DNS server");
        let ca = crate::ca::TestCa::new().expect("an authority");
        let setup = Setup::new("/bin/true")
            .dns(&dns)
            .certificate(&ca.issue(&["mx.example.test"]).expect("a certificate"))
            .set("auth", "allow_cleartext", "true")
            .set("outbound", "retry", "[\"200ms\", \"500ms\"]");
        let text = setup.toml(Path::new("/data"), &[1, 2, 3, 4, 5, 6, 7]).expect("text");
        let settings = letterlock_config::Settings::parse(&text, "test", std::iter::empty());
        let settings = settings.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(settings.dns.servers, [dns.address()]);
        assert_eq!(settings.listen.pop3s, ["127.0.0.1:7".parse().expect("an address")]);
    }

    #[test]
    fn ports_differ() {
        let mut ports = Setup::new("/bin/true").smtp_port(1).ports().expect("ports");
        assert_eq!(ports[0], 1);
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
