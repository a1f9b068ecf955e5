//! A resolver, a state, authorities and hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_config::{Dns, Dnssec, Downgrade, Retention};
use letterlock_dns::{Limits, MxAnswer, Resolver};
use letterlock_net::{ClientTls, connect};
use letterlock_state::State;
use letterlock_testkit::ca::{Issued, TestCa};
use letterlock_testkit::dns::DnsServer;
use letterlock_testkit::https::{Answer, PolicyHost};
use letterlock_transport_policy::{
    Defer, DomainPolicy, Handles, HostChoice, HostPolicy, Judgement, Options, Outcome, Policies,
    Wish,
};
use letterlock_vault::{Pool, ServerKey};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) dns: DnsServer,
    pub(crate) ca: TestCa,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) state: Arc<State>,
    pub(crate) policies: Policies,
    pub(crate) tls: ClientTls,
    _dir: TempDir,
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

impl World {
    pub(crate) async fn new(policy_port: u16) -> Self {
        Self::with(policy_port, Downgrade::Hold, Dnssec::Auto).await
    }

    pub(crate) async fn with(policy_port: u16, downgrade: Downgrade, dnssec: Dnssec) -> Self {
        let dns = DnsServer::start([]).unwrap();
        let ca = TestCa::new().unwrap();
        let settings = Dns {
            servers: vec![dns.address()],
            dnssec,
            trust_anchors: Some(dns.trust_anchor_file()),
        };
        let limits =
            Limits { timeout: Duration::from_millis(500), attempts: 1, ..Limits::default() };
        let resolver = Arc::new(Resolver::with_limits(&settings, &limits).unwrap());
        let dir = TempDir::new().unwrap();
        let key = ServerKey::load_or_create(dir.path(), None).unwrap();
        let pool = Pool::new("state", 1);
        let state = State::open(dir.path(), &key, &pool, Retention::default()).await.unwrap();
        let tls = ClientTls::load(Some(&ca.root_file())).unwrap();
        let handles = Handles { dns: resolver.clone(), state: state.clone(), tls: tls.clone() };
        let policies = Policies::new(handles, Options { policy_port, port: 25, downgrade });
        Self { dns, ca, resolver, state, policies, tls, _dir: dir }
    }

    /// The policy of a domain, by its exchangers.
    pub(crate) async fn domain(
        &self,
        domain: &str,
        wish: Wish,
        now: Timestamp,
    ) -> Result<DomainPolicy, Defer> {
        let (_, security) = self.resolver.mx_secured(domain).await.unwrap();
        self.policies.domain(domain, security, wish, now).await
    }

    /// The first exchanger of a domain, judged before the connection.
    pub(crate) async fn choose(
        &self,
        domain: &str,
        wish: Wish,
        now: Timestamp,
    ) -> (DomainPolicy, HostChoice) {
        let (answer, _) = self.resolver.mx_secured(domain).await.unwrap();
        let host = match answer {
            MxAnswer::Hosts(hosts) => hosts[0].1.clone(),
            _ => domain.to_owned(),
        };
        let policy = self.domain(domain, wish, now).await.unwrap();
        let addresses = self.resolver.host(&host).await.unwrap();
        let choice = self.policies.host(&policy, &host, &addresses, now).await;
        (policy, choice)
    }

    pub(crate) async fn host(
        &self,
        domain: &str,
        wish: Wish,
        now: Timestamp,
    ) -> (DomainPolicy, HostPolicy) {
        match self.choose(domain, wish, now).await {
            (policy, HostChoice::Use(host)) => (policy, host),
            (_, HostChoice::Skip(refusal)) => panic!("{domain}: {refusal}"),
        }
    }

    /// Connects to a server that shows this certificate, or offers no TLS.
    pub(crate) async fn judge(
        &self,
        host: &HostPolicy,
        certificate: Option<&Issued>,
        requiretls_offered: bool,
        waiting: Duration,
    ) -> Judgement {
        let check = host.check(&self.tls);
        let Some(certificate) = certificate else {
            return host.judge(&check, Outcome::NoStartTls, waiting);
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(certificate.server_config().unwrap());
        let server = async {
            let (socket, _) = listener.accept().await.unwrap();
            acceptor.accept(socket).await
        };
        let client = async {
            let stream = connect(address, LIMIT).await.unwrap();
            stream.start_tls_client(check.config(), check.server_name(), LIMIT).await
        };
        let (_server, client) = tokio::join!(server, client);
        match client {
            Ok(_) => host.judge(&check, Outcome::Established { requiretls_offered }, waiting),
            Err(error) => host.judge(&check, Outcome::HandshakeFailed(&error.to_string()), waiting),
        }
    }
}

/// Hosts of policies on several addresses with one port, each with its answer.
pub(crate) fn policy_hosts(ca: &Issued, answers: &[Answer]) -> (u16, Vec<PolicyHost>) {
    let ip = |place: usize| IpAddr::V4(Ipv4Addr::new(127, 77, 0, u8::try_from(place + 1).unwrap()));
    'port: for _ in 0..50 {
        let mut hosts = Vec::new();
        let mut port = 0;
        for (place, answer) in answers.iter().enumerate() {
            let address = SocketAddr::new(ip(place), port);
            let Ok(host) = PolicyHost::start_on(address, ca, answer.clone()) else {
                continue 'port;
            };
            port = host.address().port();
            hosts.push(host);
        }
        return (port, hosts);
    }
    panic!("no port is free on all addresses");
}

impl World {
    /// Takes policies from another port.
    pub(crate) fn move_policies_to(&mut self, policy_port: u16) {
        let handles = Handles {
            dns: self.resolver.clone(),
            state: self.state.clone(),
            tls: self.tls.clone(),
        };
        self.policies =
            Policies::new(handles, Options { policy_port, port: 25, downgrade: Downgrade::Hold });
    }
}
