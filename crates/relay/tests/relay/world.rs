//! A relay with a real queue, in a world of scripted exchangers on loopback addresses of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_config::{Dns, Dnssec, Outbound, Settings};
use letterlock_directory::Directory;
use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, Shutdown};
use letterlock_queue::{
    BodyType, Counts, Forward, NewEntry, NewRecipient, Origin, Queue, RequireTls, Route, RowState,
    Seal, Shown,
};
use letterlock_relay::client::Timeouts;
use letterlock_relay::{Addressing, BoxFuture, Handles, Options, Relay};
use letterlock_state::{Event, State};
use letterlock_testkit::dns::{DnsServer, Zone};
use letterlock_testkit::mx::{FakeMx, Script};
use letterlock_transport_policy::Policies;
use letterlock_vault::{AccountId, DeliveryId, Key, Pool, ServerKey};
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const MESSAGE: &str =
    "From: ann@here.test\r\nSubject: hello\r\n\r\n.dots\r\n..\r\nend\r\n";

/// Everybody in `here.test` is this account, except `away`, who is elsewhere, and `both`, who is in both places; the
/// rest of the world is elsewhere, except `nobody.test`.
struct Postman(AccountId);

impl Addressing for Postman {
    fn ways<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Vec<NewRecipient>> {
        let here = || Route::Local {
            account: self.0,
            folder: "INBOX".to_owned(),
            flags: Vec::new(),
            seal: Seal::Server,
        };
        let away = || NewRecipient {
            forward: Some(Forward { reverse_path: ReversePath::Null }),
            ..NewRecipient::new("away@far.test".parse().unwrap(), Route::Remote)
        };
        let own = |route| NewRecipient::new(address.clone(), route);
        let ways = match (address.local.as_str(), address.domain.as_str()) {
            ("away", "here.test") => vec![away()],
            ("both", "here.test") => vec![own(here()), away()],
            (_, "here.test") => vec![own(here())],
            (_, "nobody.test") => Vec::new(),
            _ => vec![own(Route::Remote)],
        };
        Box::pin(std::future::ready(ways))
    }
}

pub(crate) struct World {
    pub(crate) queue: Arc<Queue>,
    pub(crate) dns: DnsServer,
    pub(crate) outbound: Outbound,
    pub(crate) timeouts: Timeouts,
    pub(crate) shutdown: Shutdown,
    pub(crate) state: Arc<State>,
    /// Whether DNSSEC is validated.
    pub(crate) validate: bool,
    pub(crate) directory: Arc<Directory>,
    ann: AccountId,
    network: [u8; 3],
    port: u16,
    folder: TempDir,
}

impl World {
    /// Hosts are `h1.far.test`, `h2.far.test` and so on, with addresses that nobody else on this machine uses.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, pool) = (ServerKey::from_key(Key::random()), Pool::new("test", 2));
        let queue = Queue::open(folder.path(), &key, &pool).await.unwrap();
        let directory = Directory::open(folder.path(), &key, &pool).await.unwrap();
        let retention = Settings::local(folder.path()).retention;
        let state = State::open(folder.path(), &key, &pool, retention).await.unwrap();
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let network = [127, 1 + high % 250, low];
        let [a, b, c] = network;
        let zone = (1..10).fold(Zone::unsigned("far.test"), |zone, host| {
            zone.a(&format!("h{host}"), Ipv4Addr::new(a, b, c, host))
        });
        let mut outbound = Settings::local(folder.path()).outbound;
        outbound.retry = vec![Duration::from_millis(100)];
        let free = std::net::TcpListener::bind((Ipv4Addr::new(a, b, c, 250), 0)).unwrap();
        outbound.port = free.local_addr().unwrap().port();
        Self {
            queue,
            dns: DnsServer::start([zone]).unwrap(),
            timeouts: Timeouts { greeting: Duration::from_secs(2), ..Timeouts::default() },
            shutdown: Shutdown::new(),
            state,
            validate: false,
            directory,
            ann: AccountId::generate(),
            network,
            port: outbound.port,
            outbound,
            folder,
        }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: u8) -> SocketAddr {
        let [a, b, c] = self.network;
        SocketAddr::from((Ipv4Addr::new(a, b, c, host), self.port))
    }

    /// A scripted exchanger at the address of this host.
    pub(crate) fn host(&self, host: u8, change: impl FnOnce(Script) -> Script) -> FakeMx {
        let script = change(Script::new(&format!("h{host}.far.test")));
        FakeMx::start_on(self.address(host), script).unwrap()
    }

    /// Publishes the exchangers of `far.test`.
    pub(crate) fn exchangers(&self, hosts: &[(u16, &str)]) {
        let add = |zone| {
            hosts
                .iter()
                .fold(zone, |zone: Zone, (preference, host)| zone.mx("@", *preference, host))
        };
        self.dns.change("far.test", add).unwrap();
    }

    /// One exchanger, polite.
    pub(crate) fn single(&self) -> FakeMx {
        self.exchangers(&[(10, "h1.far.test")]);
        self.host(1, |script| script)
    }

    /// Where files of the test can lie.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Lets the relay run until the world ends.
    pub(crate) fn start(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.relay().run(self.shutdown.clone()))
    }

    pub(crate) fn relay(&self) -> Arc<Relay> {
        let mut settings =
            Dns { servers: vec![self.dns.address()], dnssec: Dnssec::Off, trust_anchors: None };
        if self.validate {
            settings.dnssec = Dnssec::Require;
            settings.trust_anchors = Some(self.dns.trust_anchor_file());
        }
        let dns = Arc::new(Resolver::new(&settings).unwrap());
        let tls = ClientTls::load(self.outbound.trusted_roots.as_deref()).unwrap();
        let state = Arc::clone(&self.state);
        let policies = Policies::new(
            letterlock_transport_policy::Handles {
                dns: Arc::clone(&dns),
                state: Arc::clone(&state),
                tls: tls.clone(),
            },
            letterlock_transport_policy::Options::from(&self.outbound),
        );
        let handles = Handles {
            queue: Arc::clone(&self.queue),
            directory: Arc::clone(&self.directory),
            dns,
            tls,
            addressing: Arc::new(Postman(self.ann)),
            state,
            policies: Arc::new(policies),
        };
        let mut options = Options::new("mx.here.test", self.outbound.clone());
        options.timeouts = self.timeouts;
        Relay::new(handles, options).unwrap()
    }

    pub(crate) async fn send(&self, recipients: &[&str]) -> DeliveryId {
        self.accept(entry("ann@here.test", recipients, MESSAGE)).await
    }

    pub(crate) async fn accept(&self, entry: NewEntry) -> DeliveryId {
        let id = entry.id;
        self.queue.accept(entry).await.unwrap();
        id
    }

    /// What the trace tells of a message.
    pub(crate) async fn events(&self, id: DeliveryId) -> Vec<Event> {
        self.state.trace(id).await.unwrap().into_iter().map(|(_, event)| event).collect()
    }

    /// Waits until a message is out of the queue.
    pub(crate) async fn gone(&self, id: DeliveryId) {
        self.until(id, |shown| shown.is_none()).await;
    }

    /// Waits until a message stands so in the queue.
    pub(crate) async fn until(&self, id: DeliveryId, condition: impl Fn(&Option<Shown>) -> bool) {
        let waiting = async {
            loop {
                let shown = self.queue.show(id).await.unwrap();
                if condition(&shown) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(SOON, waiting).await.is_err() {
            panic!("waited in vain: {:#?}", self.queue.show(id).await);
        }
    }

    /// The reports that wait for ann, oldest first.
    pub(crate) async fn reports(&self) -> Vec<String> {
        let mut reports = Vec::new();
        for parked in self.queue.parked(self.ann, None, 100).await.unwrap() {
            let body: Bytes = self.queue.server_body(parked.entry).await.unwrap();
            reports.push(String::from_utf8(body.to_vec()).unwrap());
        }
        reports
    }

    /// The only report, once the message is gone.
    pub(crate) async fn report(&self, id: DeliveryId) -> String {
        self.gone(id).await;
        let mut reports = self.reports().await;
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }

    pub(crate) async fn counts(&self) -> Counts {
        self.queue.counts().await.unwrap()
    }
}

pub(crate) fn entry(from: &str, recipients: &[&str], body: &str) -> NewEntry {
    let recipient =
        |address: &&str| NewRecipient::new(Mailbox::parse(address).unwrap(), Route::Remote);
    NewEntry {
        id: DeliveryId::generate(),
        received_at: Timestamp::now(),
        origin: Origin::Inbound,
        reverse_path: from.parse().unwrap(),
        ret: None,
        envid: None,
        smtputf8: false,
        body_type: if body.is_ascii() { BodyType::SevenBit } else { BodyType::EightBit },
        require_tls: RequireTls::Unspecified,
        hold_until: None,
        body: Bytes::from(body.to_owned()),
        recipients: recipients.iter().map(recipient).collect(),
    }
}

/// Whether the reply to some recipient that is still due says this.
pub(crate) fn deferred(shown: &Option<Shown>, text: &str) -> bool {
    let says = |reply: &Option<String>| reply.as_ref().is_some_and(|reply| reply.contains(text));
    shown.as_ref().is_some_and(|shown| {
        shown.rows.iter().any(|row| row.state == RowState::Due && says(&row.last_reply))
    })
}
