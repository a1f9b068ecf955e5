//! Several servers that find each other by DNS, each with its own domain, zone, address and certificate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::ca::{Issued, TestCa};
use crate::dns::{DnsServer, Zone};
use crate::mx::{FakeMx, Script};
use crate::server::{Letterlock, Setup};

/// A member of the world: a domain and the server of its mail.
#[derive(Debug)]
pub struct Member {
    /// The domain, already local at its server.
    pub domain: String,
    /// The server, called `mx.<domain>`.
    pub server: Letterlock,
}

/// The small world. All servers take SMTP on the same port of different loopback addresses and deliver to that port.
#[derive(Debug)]
pub struct World {
    /// The DNS of the world.
    pub dns: DnsServer,
    /// The authority that all servers trust.
    pub ca: TestCa,
    /// The members, in the order in which their domains were given.
    pub members: Vec<Member>,
    port: u16,
    next_host: u8,
    network: [u8; 3],
}

/// Hosts of a world begin here.
const FIRST_HOST: u8 = 10;
/// As many addresses as a world has.
const HOSTS: u8 = 40;

impl World {
    /// Starts one server for each domain, with the usual setup.
    pub async fn start(binary: impl AsRef<Path>, domains: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(binary, domains, |_, setup| setup).await
    }

    /// Starts one server for each domain; `change` may alter each setup.
    ///
    /// The zone of a domain is signed and holds MX, address, SPF for all of loopback, and `p=reject`. Add the DKIM
    /// record with [`World::publish`]; [`Letterlock::run`] of `domain dns` tells it.
    pub async fn start_with(
        binary: impl AsRef<Path>,
        domains: &[&str],
        change: impl Fn(&str, Setup) -> Setup,
    ) -> anyhow::Result<Self> {
        let network = network();
        let mut world = Self {
            dns: DnsServer::start([])?,
            ca: TestCa::new()?,
            members: Vec::new(),
            port: common_port(network)?,
            next_host: FIRST_HOST,
            network,
        };
        for domain in domains {
            let ip = world.take_address()?;
            let hostname = format!("mx.{domain}");
            world.dns.put(zone(domain, ip));
            let certificate = world.ca.issue(&[&hostname])?;
            let setup = Setup::new(&binary)
                .hostname(&hostname)
                .ip(IpAddr::V4(ip))
                .smtp_port(world.port)
                .dns(&world.dns)
                .certificate(&certificate)
                .set("outbound", "port", &world.port.to_string())
                .set("outbound", "trusted_roots", &format!("{:?}", world.ca.root_file()))
                .set("outbound", "retry", "[\"200ms\", \"500ms\"]");
            let server = change(domain, setup).start().await?;
            server.add_domain(domain).await?;
            world.members.push(Member { domain: (*domain).to_owned(), server });
        }
        Ok(world)
    }

    /// The server of a domain; panics if there is none, which is a mistake in the test.
    pub fn server(&self, domain: &str) -> &Letterlock {
        match self.members.iter().find(|member| member.domain == domain) {
            Some(member) => &member.server,
            None => panic!("no server for {domain} in this world"),
        }
    }

    /// The same, to stop and start it.
    pub fn server_mut(&mut self, domain: &str) -> &mut Letterlock {
        match self.members.iter_mut().find(|member| member.domain == domain) {
            Some(member) => &mut member.server,
            None => panic!("no server for {domain} in this world"),
        }
    }

    /// The port on which every exchanger of the world listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Publishes a TXT record; `name` is relative to the domain (`"s1._domainkey"`).
    pub fn publish(&self, domain: &str, name: &str, text: &str) -> anyhow::Result<()> {
        self.dns.change(domain, |zone| zone.txt(name, text))
    }

    /// Replaces the domain's DMARC record.
    pub fn publish_dmarc(&self, domain: &str, record: &str) -> anyhow::Result<()> {
        self.dns.change(domain, |zone| zone.without("_dmarc", None).txt("_dmarc", record))
    }

    /// Adds a domain whose exchanger is a scripted one, called `mx.<domain>`.
    pub fn fake(&mut self, domain: &str, script: Script) -> anyhow::Result<FakeMx> {
        let ip = self.take_address()?;
        self.dns.put(zone(domain, ip));
        FakeMx::start_on(SocketAddr::from((ip, self.port)), script)
    }

    /// Adds a domain whose scripted exchanger offers STARTTLS with a certificate of the world's authority.
    pub fn fake_with_tls(&mut self, domain: &str) -> anyhow::Result<(FakeMx, Issued)> {
        let hostname = format!("mx.{domain}");
        let issued = self.ca.issue(&[&hostname])?;
        let mx = self.fake(domain, Script::new(&hostname).with_tls(issued.clone()))?;
        Ok((mx, issued))
    }

    /// A loopback address of this world that nobody has yet.
    pub fn take_address(&mut self) -> anyhow::Result<Ipv4Addr> {
        if self.next_host >= FIRST_HOST + HOSTS {
            bail!("a small world has {HOSTS} hosts");
        }
        let [a, b, c] = self.network;
        let ip = Ipv4Addr::new(a, b, c, self.next_host);
        self.next_host += 1;
        Ok(ip)
    }
}

/// The usual zone of a member. Who connects over loopback comes from 127.0.0.1, whatever it listens on.
fn zone(domain: &str, ip: Ipv4Addr) -> Zone {
    Zone::signed(domain)
        .mx("@", 10, &format!("mx.{domain}"))
        .a("mx", ip)
        .txt("@", "v=spf1 ip4:127.0.0.0/8 -all")
        .txt("mx", "v=spf1 ip4:127.0.0.0/8 -all")
        .txt("_dmarc", "v=DMARC1; p=reject")
}

/// A /24 of loopback for this process, so that tests which run side by side seldom meet.
fn network() -> [u8; 3] {
    let id = std::process::id();
    let [_, _, high, low] = id.to_be_bytes();
    [127, 1 + high % 250, low]
}

/// A port that is free on every address of the world.
fn common_port(network: [u8; 3]) -> anyhow::Result<u16> {
    let [a, b, c] = network;
    'port: for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::new(a, b, c, FIRST_HOST), 0))?;
        let port = first.local_addr()?.port();
        for host in FIRST_HOST + 1..FIRST_HOST + HOSTS {
            if TcpListener::bind((Ipv4Addr::new(a, b, c, host), port)).is_err() {
                continue 'port;
            }
        }
        return Ok(port);
    }
    None.context("no port is free on all addresses of the world")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_world_without_servers_has_names_and_exchangers() {
        let mut world = World::start("/bin/false", &[]).await.expect("a world");
        let (mx, _) = world.fake_with_tls("fake.test").expect("an exchanger");
        assert_eq!(mx.address().port(), world.port());
        world.publish("fake.test", "x", "y").expect("a record");
        assert!(world.publish("nobody.test", "x", "y").is_err());
        assert_ne!(world.take_address().expect("an address"), mx.address().ip());
    }
}
