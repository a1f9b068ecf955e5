//! A server in a folder of its own, and short ways to say what tests do.

pub(crate) use std::net::IpAddr;
pub(crate) use std::sync::Arc;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use jiff::Timestamp;
pub(crate) use letterlock_address::ReversePath;
pub(crate) use letterlock_admin::*;
pub(crate) use letterlock_config::{Limits, MtaSts, Retention, StsMode};
pub(crate) use letterlock_delivery::{Drainer, Folder, Incoming, Intake, Rooms, settler};
pub(crate) use letterlock_directory::{Directory, QuotaVerdict, Resolution};
pub(crate) use letterlock_dns::Resolver;
pub(crate) use letterlock_guard::Guard;
pub(crate) use letterlock_login::{
    Credential, Login, LoginError, Peer, Protocol, Session, Settings,
};
pub(crate) use letterlock_mailbox::{Mailboxes, Options};
pub(crate) use letterlock_queue::{Origin, Queue};
pub(crate) use letterlock_state::State;
pub(crate) use letterlock_testkit::dns::{DnsServer, Zone};
pub(crate) use letterlock_transport_policy::OwnPolicy;
pub(crate) use letterlock_vault::slot::{Argon2Cost, OrganisationKey};
pub(crate) use letterlock_vault::{DeliveryId, Pool, ServerKey};
pub(crate) use tempfile::TempDir;
pub(crate) use tokio::task::JoinHandle;

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct World {
    pub(crate) admin: Arc<Admin>,
    pub(crate) dns: DnsServer,
    pub(crate) dir: TempDir,
    pub(crate) drainer: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with_organisation(None).await
    }

    /// One whose operator holds the organisation's private key.
    pub(crate) async fn with_organisation(organisation: Option<OrganisationKey>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let server_key = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
        let pool = Pool::new("test", 2);
        let directory = Directory::open(dir.path(), &server_key, &pool).await.unwrap();
        let queue = Queue::open(dir.path(), &server_key, &pool).await.unwrap();
        let state =
            State::open(dir.path(), &server_key, &pool, Retention::default()).await.unwrap();
        let mailboxes = Mailboxes::new(dir.path(), pool, Options::default());
        let guard = Guard::new(&Limits::default(), Instant::now());
        let settings =
            Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 2, sessions_per_account: 9 };
        let login =
            Login::new(directory.clone(), mailboxes.clone(), guard, server_key.clone(), settings);
        let login = Arc::new(login.with_organisation(organisation));
        let (sender, _) = settler(queue.clone(), mailboxes.clone());
        let intake = Intake::new(
            directory.clone(),
            mailboxes.clone(),
            queue.clone(),
            login.clone(),
            sender,
            letterlock_delivery::Forwarding::new(&server_key, None),
        );
        let dns = DnsServer::start([]).unwrap();
        let asked = letterlock_config::Dns {
            servers: vec![dns.address()],
            dnssec: letterlock_config::Dnssec::Off,
            ..Default::default()
        };
        let drainer = Drainer {
            directory: directory.clone(),
            mailboxes: mailboxes.clone(),
            queue: queue.clone(),
            login: login.clone(),
            state: None,
            notices: None,
        };
        let admin = Admin {
            data_dir: dir.path().to_owned(),
            hostname: "mx.a.test".into(),
            mta_sts: OwnPolicy::new(
                &MtaSts { mode: StsMode::Testing, ..MtaSts::default() },
                "mx.a.test",
            ),
            directory,
            mailboxes,
            queue,
            state,
            intake: Arc::new(intake),
            login,
            resolver: Arc::new(Resolver::new(&asked).unwrap()),
            server_key,
        };
        let drainer = tokio::spawn(Arc::new(drainer).run());
        World { admin: Arc::new(admin), dns, dir, drainer }
    }

    /// With `a.test` and ann, whose password is known.
    pub(crate) async fn with_ann() -> (World, String) {
        let world = World::new().await;
        world.add_domain("a.test").await;
        let made = world.made(add("ann@a.test", Some(PASSWORD), false)).await;
        assert_eq!(kinds(&made), ["recovery-key"]);
        (world, secret(&made, 0))
    }

    pub(crate) async fn run(&self, request: impl Into<Ask>) -> Result<Response, AdminError> {
        let Ask(request) = request.into();
        self.admin.run(request).await
    }

    pub(crate) async fn ok(&self, request: impl Into<Ask>) -> Response {
        self.run(request).await.unwrap()
    }

    pub(crate) async fn made(&self, request: impl Into<Ask>) -> Vec<NewSecret> {
        match self.ok(request).await {
            Response::Made(made) => made,
            other => panic!("{other:?}"),
        }
    }

    /// The text of the error that is to come.
    pub(crate) async fn refused(&self, request: impl Into<Ask>) -> String {
        self.run(request).await.unwrap_err().to_string()
    }

    pub(crate) async fn add_domain(&self, domain: &str) {
        self.ok(DomainRequest::Add { domain: domain.into(), contact: None }).await;
    }

    pub(crate) async fn log_in(
        &self,
        address: &str,
        password: &str,
    ) -> Result<Session, LoginError> {
        let credential = Credential {
            identity: address.into(),
            authzid: None,
            password: password.to_owned().into(),
        };
        let peer = Peer { ip: IpAddr::from([192, 0, 2, 1]), protocol: Protocol::Imap };
        self.admin.login.authenticate(&credential, peer).await
    }

    pub(crate) async fn show(&self, address: &str) -> AccountDetails {
        match self.ok(AccountRequest::Show { address: address.into() }).await {
            Response::Account(details) => details,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn send(&self, to: &str, origin: Origin) -> DeliveryId {
        let id = DeliveryId::generate();
        let incoming = Incoming {
            id,
            received_at: Timestamp::now(),
            origin,
            reverse_path: ReversePath::Null,
            smtputf8: false,
            eight_bit: false,
            body: "Subject: x\r\n\r\n".into(),
            recipients: vec![to.parse::<letterlock_address::Mailbox>().unwrap().into()],
            folder: Folder::Inbox,
            asked: letterlock_delivery::Asked::default(),
            attested: None,
        };
        self.admin.intake.accept(incoming).await.unwrap();
        id
    }

    pub(crate) async fn inbox(&self, session: &Session) -> u32 {
        session.mailbox.status("INBOX").await.unwrap().messages as u32
    }

    pub(crate) fn folders_of_accounts(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("accounts")).map_or(0, Iterator::count)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.drainer.abort();
    }
}

/// A request of any kind.
pub(crate) struct Ask(pub(crate) Request);

macro_rules! ask {
    ($($kind:ident: $request:ident),+) => {
        $(impl From<$request> for Ask {
            fn from(request: $request) -> Ask {
                Ask(Request::$kind(request))
            }
        })+
    };
}

impl From<Request> for Ask {
    fn from(request: Request) -> Ask {
        Ask(request)
    }
}

ask!(Domain: DomainRequest, Account: AccountRequest, Alias: AliasRequest, Queue: QueueRequest);

pub(crate) fn add(address: &str, password: Option<&str>, server_held: bool) -> AccountRequest {
    let password = password.map(|text| Secret::new(text.into()));
    let (name, quota) = (None, Quota::Unlimited);
    AccountRequest::Add {
        address: address.into(),
        password,
        server_held,
        name,
        quota,
        quota_messages: Quota::Unlimited,
    }
}

pub(crate) fn new_password(
    password: Option<&str>,
    unlock: Option<&str>,
    discard_mail: bool,
) -> AccountRequest {
    let secret = |text: &str| Secret::new(text.into());
    let (password, unlock) = (password.map(secret), unlock.map(secret));
    AccountRequest::Password { address: "ann@a.test".into(), password, unlock, discard_mail }
}

pub(crate) fn kinds(made: &[NewSecret]) -> Vec<&str> {
    made.iter().map(|secret| secret.kind.as_str()).collect()
}

pub(crate) fn secret(made: &[NewSecret], at: usize) -> String {
    made[at].secret.expose().to_string()
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
