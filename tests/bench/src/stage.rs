//! What a load needs: a server, the DNS that it asks, and accounts.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use letterlock_testkit::dns::{DnsServer, RecordType, Zone};
use letterlock_testkit::server::{Letterlock, Setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Common;
use crate::gauge::Process;
use crate::messages::{self, Signer};
use crate::peer::Peer;
use crate::wire::Tls;

/// The local domain.
const LOCAL: &str = "example.test";

/// A setting for the server: section, key, value.
pub(crate) type Setting = (String, String, String);

/// Reads `limits.drain="1s"`.
pub(crate) fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').ok_or("SECTION.KEY=VALUE is wanted")?;
    let (section, key) = name.split_once('.').ok_or("SECTION.KEY=VALUE is wanted")?;
    Ok((section.to_owned(), key.to_owned(), value.to_owned()))
}

/// How the stage is to be set.
pub(crate) struct Plan<'a> {
    pub(crate) common: &'a Common,
    pub(crate) accounts: u32,
    /// Publishes this signer's key.
    pub(crate) signer: Option<&'a Signer>,
    /// Time to live of the sender's DNS records, in seconds; with 0 every message asks again.
    pub(crate) ttl: u32,
    /// Settings beside the usual ones; those of the command line come after them.
    pub(crate) settings: Vec<Setting>,
}

/// An account to log in to.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) address: String,
    pub(crate) password: String,
}

/// A running server with its surroundings; dropping it ends and removes everything, except a peer, which its own
/// script ends.
pub(crate) struct Stage {
    server: Server,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tls: Tls,
}

enum Server {
    Letterlock { server: Box<Letterlock>, dns: DnsServer },
    Peer(Peer),
}

impl Stage {
    /// Starts everything. The configuration is the default one but for ports, DNS, and loopback being exempt from
    /// limits.
    pub(crate) async fn start(plan: Plan<'_>) -> anyhow::Result<Self> {
        allow_many_files()?;
        if let Some(file) = &plan.common.peer {
            return Self::peer(Peer::read(file)?, plan.accounts);
        }
        // The parents too: the walk to the organisational domain (RFC 9989 §4.10) asks `test` in vain each time.
        let parents = [".", "test"].map(|origin| Zone::signed(origin).ttl(plan.ttl));
        let zones = parents.into_iter().chain([sender_zone(plan.signer, plan.ttl)]);
        let dns = DnsServer::start(zones)?;
        let binary = plan.common.binary.as_ref().context("--binary")?;
        let mut setup = Setup::new(std::path::absolute(binary)?)
            .dns(&dns)
            .unset("auth", "argon2_memory")
            .set("log", "level", "\"info\"")
            .unset("log", "addresses")
            .unset("log", "format")
            .set("limits", "smtp_messages", "100000");
        for (section, key, value) in plan.settings.iter().chain(&plan.common.settings) {
            setup = setup.set(section, key, value);
        }
        let server = setup.start().await?;
        server.add_domain(LOCAL).await?;
        let mut accounts = Vec::new();
        for number in 0..plan.accounts {
            let address = format!("reader{number}@{LOCAL}");
            let password = server.add_account(&address).await?;
            accounts.push(Account { address, password });
        }
        let tls = Tls { config: server.client_tls()?, name: server.hostname().to_owned() };
        Ok(Self { server: Server::Letterlock { server: Box::new(server), dns }, accounts, tls })
    }

    fn peer(mut peer: Peer, accounts: u32) -> anyhow::Result<Self> {
        peer.take_unused(accounts)?;
        let config = letterlock_testkit::ca::trusting_client_config()?;
        let tls = Tls { config, name: peer.name.clone() };
        let accounts = (0..accounts).map(|number| peer.account(number)).collect();
        Ok(Self { server: Server::Peer(peer), accounts, tls })
    }

    /// The server's process.
    pub(crate) fn process(&self) -> anyhow::Result<Process> {
        Ok(match &self.server {
            Server::Letterlock { server, .. } => {
                Process::new(server.pid().context("the server does not run")?)
            }
            Server::Peer(peer) => Process::several(peer.pid, &peer.others),
        })
    }

    /// The folder of the server's files.
    pub(crate) fn folder(&self) -> &Path {
        match &self.server {
            Server::Letterlock { server, .. } => server.data_dir(),
            Server::Peer(peer) => &peer.folder,
        }
    }

    pub(crate) fn smtp(&self) -> anyhow::Result<SocketAddr> {
        match &self.server {
            Server::Letterlock { server, .. } => Ok(server.smtp()),
            Server::Peer(peer) => peer.smtp.context("this peer has no SMTP"),
        }
    }

    /// Where people's programs hand mail in; a peer takes it where it takes all mail, without a login.
    pub(crate) fn submission(&self) -> anyhow::Result<SocketAddr> {
        match &self.server {
            Server::Letterlock { server, .. } => Ok(server.submission()),
            Server::Peer(_) => self.smtp(),
        }
    }

    /// Letterlock itself, for what peers do not have.
    pub(crate) fn letterlock(&self) -> Option<&Letterlock> {
        match &self.server {
            Server::Letterlock { server, .. } => Some(server),
            Server::Peer(_) => None,
        }
    }

    /// Publishes another domain. A peer asks no DNS.
    pub(crate) fn publish(&self, zone: Zone) {
        if let Server::Letterlock { dns, .. } = &self.server {
            dns.put(zone);
        }
    }

    pub(crate) fn imaps(&self) -> SocketAddr {
        match &self.server {
            Server::Letterlock { server, .. } => server.imaps(),
            Server::Peer(peer) => peer.imaps,
        }
    }

    /// IMAP that begins without TLS.
    pub(crate) fn imap(&self) -> anyhow::Result<SocketAddr> {
        match &self.server {
            Server::Letterlock { server, .. } => Ok(server.imap()),
            Server::Peer(_) => bail!("a peer is measured over TLS"),
        }
    }

    /// Starts Letterlock anew, so that nothing is cached; a peer goes on, and its figures say "first" of a session.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Letterlock { server, .. } => server.restart().await,
            Server::Peer(_) => Ok(()),
        }
    }

    /// How often the server asked for the texts that SPF, DKIM and DMARC need. What it has in its cache does not count.
    pub(crate) fn questions(&self) -> f64 {
        let prefixes = ["", "mx.", "_dmarc.", "bench._domainkey."];
        let names = prefixes.map(|prefix| format!("{prefix}{}", messages::DOMAIN));
        let Server::Letterlock { dns, .. } = &self.server else { return 0.0 };
        let asked = |name: &str| dns.asked(name, RecordType::TXT) as f64;
        names.iter().map(|name| asked(name)).sum::<f64>() + asked("_dmarc.test")
    }

    /// A login of little cost to the account with this number: an app password. `None` for a peer without such.
    pub(crate) async fn light(&self, number: usize) -> anyhow::Result<Option<Account>> {
        let server = match &self.server {
            Server::Peer(peer) => return Ok(peer.light(u32::try_from(number)?)),
            Server::Letterlock { server, .. } => server,
        };
        let Account { address, password } = self.accounts.get(number).context("no such account")?;
        let add = ["account", "app-password", address, "add", "--name", "bench", "--unlock-stdin"];
        let printed = server.run_with_input(&add, &format!("{password}\n")).await?;
        let password =
            printed.lines().find(|line| !line.contains(' ')).context("no app password")?;
        Ok(Some(Account { address: address.clone(), password: password.to_owned() }))
    }

    /// An IMAP session over TLS.
    pub(crate) async fn reader(&self, account: &Account) -> anyhow::Result<crate::imap::Client> {
        let Account { address, password } = account;
        crate::imap::Client::login(self.imaps(), Some(&self.tls), address, password).await
    }
}

/// A domain as they are today: signed, with SPF, DMARC and, if there is a signer, DKIM.
fn sender_zone(signer: Option<&Signer>, ttl: u32) -> Zone {
    let spf = "v=spf1 ip4:127.0.0.0/8 -all";
    let zone = Zone::signed(messages::DOMAIN)
        .ttl(ttl)
        .mx("@", 10, messages::HOST)
        .a("mx", std::net::Ipv4Addr::LOCALHOST)
        .txt("@", spf)
        .txt("mx", spf)
        .txt("_dmarc", "v=DMARC1; p=reject");
    match signer {
        Some(signer) => zone.txt(&format!("{}._domainkey", messages::SELECTOR), &signer.record),
        None => zone,
    }
}

/// Raises the soft limit of open files to the hard one, here and so in the server.
fn allow_many_files() -> anyhow::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })
        .context("the limit of open files")
}
