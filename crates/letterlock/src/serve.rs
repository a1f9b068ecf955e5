//! `letterlock serve`: start, listen, reload, drain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use letterlock_admin::control;
use letterlock_config::Settings;
use letterlock_delivery::Drainer;
use letterlock_net::{Shutdown, Tls, bind};
use letterlock_relay::Relay;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::Failure;
use crate::frontends::Frontends;
use crate::stores::{Lock, Stores, store_marks};
use crate::{logging, relaying};

/// How often limits are tidied and mailboxes without sessions are locked.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How often the mailboxes' marks are stored (at most once a minute).
const MARKS: Duration = Duration::from_secs(60);

/// How often what was remembered long enough is deleted.
const FORGETTING: Duration = Duration::from_secs(3600);

/// How often it is looked whether DNS answers can be validated.
const PROBING: Duration = Duration::from_secs(3600);

/// The same while DNS does not answer, as when the server is up before the network.
const PROBING_AGAIN: Duration = Duration::from_secs(30);

/// How long connections that are cut off may take to let go of what they hold.
const CUTTING: Duration = Duration::from_secs(1);

/// Whom the server talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Other servers, by DNS.
    World,
    /// Nobody but local clients: mail to the outside stays in the queue, and where a message
    /// comes from is not verified.
    Loopback,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    logging::start(&settings.log)?;
    start(settings, Reach::World, async |_| Ok(()))
}

/// Serves; `ready` is run when everything is up and may ask the server for things.
pub(crate) fn start(
    settings: Settings,
    reach: Reach,
    ready: impl AsyncFnOnce(&letterlock_admin::Admin) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    // Neither is possible everywhere; both are said, and the server goes on.
    if let Err(error) = letterlock_vault::forbid_core_dumps() {
        tracing::warn!(%error, "cannot forbid core dumps");
    }
    if let Err(error) = letterlock_vault::lock_process_memory() {
        tracing::warn!(%error, "keys in memory may be swapped to the disk");
    }
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(Arc::new(settings), reach, ready))
}

/// Raises the soft limit of open files to the hard one: every connection is one, every open mailbox two, and the usual
/// soft limit (1,024) is for programs that use `select`.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(
    settings: Arc<Settings>,
    reach: Reach,
    ready: impl AsyncFnOnce(&letterlock_admin::Admin) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let signals = Signals::new()?;
    let lock = Lock::take(&settings.data_dir)?;
    // Before anything else is opened: a port that is taken stops the start.
    let listeners = listeners(&settings)?;
    let tls = Arc::new(Tls::load(&settings.tls, &settings.hostname).context("TLS")?);
    let trust = relaying::trust(&settings)?;
    let stores = Stores::open(&settings, lock).await?;
    for warning in stores.warnings(&settings) {
        tracing::warn!("{warning}");
    }
    let relay = relaying::relay(&settings, &stores, trust)?;
    stores.reports.begin(&relay);
    // From here on nothing stops the start: a socket without a server behind it would mislead.
    let control = control::bind(&settings.data_dir.join(control::SOCKET))
        .context("cannot make the control socket")?;
    let admin = Arc::new(stores.admin(&settings));

    let shutdown = Shutdown::new();
    let mut tasks = JoinSet::new();
    background(&mut tasks, &stores);
    match reach {
        Reach::World => outside(&mut tasks, &stores, relay.clone(), &shutdown),
        Reach::Loopback => {}
    }
    let frontends = Frontends::new(&settings, &stores, tls.clone(), reach);
    for (name, listener) in listeners {
        frontends.listen(name, listener, &shutdown, &mut tasks);
    }
    tasks.spawn(control::serve(control, admin.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), hostname = %settings.hostname, "ready");
    let prepared = ready(&admin).await;
    drop(admin);
    if prepared.is_ok() {
        signals.wait(&tls).await;
    }
    drain(&settings, &shutdown, tasks).await;
    drop((frontends, relay));
    let lock = stores.close().await;
    // While nobody else can have made one in its place. Whoever finds it gone may start another server.
    if let Err(error) = std::fs::remove_file(settings.data_dir.join(control::SOCKET)) {
        tracing::debug!(%error, "control socket");
    }
    drop(lock);
    tracing::info!("stopped");
    prepared
}

/// Binds every configured address.
fn listeners(settings: &Settings) -> Result<Vec<(&'static str, TcpListener)>, Failure> {
    let mut bound = Vec::new();
    for (name, addresses) in settings.listen.by_name() {
        let listeners = bind(addresses).with_context(|| format!("[listen] {name}"))?;
        for listener in listeners {
            let address = listener.local_addr().context("a listener without an address")?;
            tracing::info!(listener = name, %address, "listening");
            bound.push((name, listener));
        }
    }
    Ok(bound)
}

/// Everything that goes on by itself.
fn background(tasks: &mut JoinSet<()>, stores: &Stores) {
    let drainer = Drainer {
        directory: stores.directory.clone(),
        mailboxes: stores.mailboxes.clone(),
        queue: stores.queue.clone(),
        login: stores.login.clone(),
        state: Some(stores.state.clone()),
        notices: Some(stores.reports.clone()),
    };
    tasks.spawn(Arc::new(drainer).run());
    let (guard, mailboxes) = (stores.guard.clone(), stores.mailboxes.clone());
    tasks.spawn(every(HOUSEKEEPING, async move || {
        let now = Instant::now();
        guard.evict(now);
        letterlock_sender_auth::forget_idle_keys(now);
        mailboxes.tick(now).await;
    }));
    let (mailboxes, directory) = (stores.mailboxes.clone(), stores.directory.clone());
    tasks.spawn(every(MARKS, async move || store_marks(&mailboxes, &directory).await));
    let rooms = stores.rooms.clone();
    tasks.spawn(every(HOUSEKEEPING, async move || rooms.recount().await));
    let state = stores.state.clone();
    tasks.spawn(every(FORGETTING, async move || {
        if let Err(error) = state.prune(Timestamp::now()).await {
            tracing::warn!(%error, "what is old cannot be deleted");
        }
    }));
}

/// What reaches out to other servers.
fn outside(tasks: &mut JoinSet<()>, stores: &Stores, relay: Arc<Relay>, shutdown: &Shutdown) {
    let resolver = stores.resolver.clone();
    tasks.spawn(async move {
        loop {
            let answered = resolver.probe().await.is_some();
            tokio::time::sleep(if answered { PROBING } else { PROBING_AGAIN }).await;
        }
    });
    tasks.spawn(relay.run(shutdown.clone()));
}

async fn every(period: Duration, mut work: impl AsyncFnMut()) {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        work().await;
    }
}

/// No new connections; what is under way may end within the time for it; then all is cut.
async fn drain(settings: &Settings, shutdown: &Shutdown, mut tasks: JoinSet<()>) {
    tracing::info!(connections = shutdown.tasks(), "draining");
    shutdown.begin();
    let left = shutdown.wait_idle(settings.limits.drain).await;
    if left > 0 {
        tracing::warn!(connections = left, "cut off");
        shutdown.cut();
        shutdown.wait_idle(CUTTING).await;
    }
    tasks.shutdown().await;
}

/// The signals that a server listens to.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when the server is to stop. SIGHUP reloads the certificate meanwhile.
    async fn wait(mut self, tls: &Tls) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match tls.reload() {
                    Ok(()) => tracing::info!("certificate loaded anew"),
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                },
            }
        }
    }
}
