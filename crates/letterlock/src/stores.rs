//! Everything that stands in `data_dir`, opened and put together.
//!
//! A server and a command without a server use the same: whoever opens the files holds
//! the lock on them.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use letterlock_address::Domain;
use letterlock_admin::Admin;
use letterlock_config::Settings;
use letterlock_delivery::{Forwarding, Intake, Rooms, Settler, settler};
use letterlock_directory::Directory;
use letterlock_dns::Resolver;
use letterlock_guard::Guard;
use letterlock_login::Login;
use letterlock_mailbox::{Mailboxes, Options};
use letterlock_queue::Queue;
use letterlock_state::State;
use letterlock_transport_policy::OwnPolicy;
use letterlock_vault::slot::{Argon2Cost, OrganisationKey};
use letterlock_vault::{Pool, ServerKey};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::relaying::ByRelay;

/// Threads that run the mailboxes' SQLite. More than cores: they also wait for the disk.
const MAILBOX_THREADS: usize = 8;

/// Threads for directory and queue, which must not wait for mailboxes.
const CORE_THREADS: usize = 2;

/// SQLite's page cache for each open mailbox, in KiB.
const MAILBOX_CACHE_KIB: u32 = 1024;

/// How long the last filed messages may take to settle at shutdown.
const SETTLING: Duration = Duration::from_secs(10);

/// How many mailboxes may be open at a time: a quarter of the files that this process may have open, two for each
/// mailbox, and no more than memory is worth. Opening and closing costs far more than delivering.
fn mailbox_files() -> usize {
    const MOST: u64 = 1024;
    const LEAST: u64 = 64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(MOST, |files| files / 8).clamp(LEAST, MOST);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Whoever holds this works on the files; released when dropped, or when the process dies.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    /// Takes the lock; makes the data directory (0700) if it is not there.
    pub(crate) fn take(data_dir: &Path) -> Result<Lock, Failure> {
        let place = data_dir.display();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .with_context(|| format!("cannot make the data directory {place}"))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(data_dir.join("lock"))
            .with_context(|| format!("cannot write to the data directory {place}"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |_| {
                anyhow::anyhow!(
                    "another letterlock works on {place}: stop it first, or wait until it answers"
                )
            },
        )?;
        Ok(Lock(file))
    }
}

/// The open files and what is built on them.
pub(crate) struct Stores {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: Arc<State>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) login: Arc<Login>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) rooms: Arc<Rooms>,
    /// Who tells senders that their mail was filed.
    pub(crate) reports: Arc<ByRelay>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) server_key: Arc<ServerKey>,
    settling: JoinHandle<()>,
    pools: [Pool; 2],
    lock: Lock,
}

impl Stores {
    /// Opens everything.
    pub(crate) async fn open(settings: &Settings, lock: Lock) -> Result<Stores, Failure> {
        let data_dir = &settings.data_dir;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let server_key = ServerKey::load_or_create(data_dir, credentials.as_deref())
            .context("the server key")?;
        let server_key = Arc::new(server_key);
        // Before any file is opened, which would then not be closed in order.
        let resolver = Arc::new(Resolver::new(&settings.dns).context("cannot set up DNS")?);
        let core = Pool::new("core", CORE_THREADS);
        let pool = Pool::new("mailbox", MAILBOX_THREADS);
        let directory = Directory::open(data_dir, &server_key, &core)
            .await
            .context("cannot open the directory")?;
        let queue =
            Queue::open(data_dir, &server_key, &core).await.context("cannot open the queue")?;
        let state = State::open(data_dir, &server_key, &core, settings.retention.clone())
            .await
            .context("cannot open what is remembered")?;
        let options = Options {
            grace: settings.auth.grace,
            cache_kib: MAILBOX_CACHE_KIB,
            message_size: settings.limits.message_size,
            open_files: mailbox_files(),
            ..Options::default()
        };
        let mailboxes = Mailboxes::new(data_dir, pool.clone(), options);
        let guard = Guard::new(&settings.limits, Instant::now());
        let organisation = organisation_key(settings)?;
        let login = Login::new(
            directory.clone(),
            mailboxes.clone(),
            guard.clone(),
            server_key.clone(),
            letterlock_login::Settings {
                argon2: argon2_cost(settings),
                argon2_parallel: settings.auth.argon2_parallel,
                sessions_per_account: settings.limits.sessions_per_account,
            },
        );
        let login = Arc::new(login.with_organisation(organisation).with_scram(settings.auth.scram));
        let rooms = Rooms::new(
            directory.clone(),
            mailboxes.clone(),
            queue.clone(),
            settings.limits.quota_patience,
        );
        let (sender, settling): (Settler, _) = settler(queue.clone(), mailboxes.clone());
        let forwarding =
            Forwarding::new(&server_key, domain(settings.outbound.srs_domain.as_deref())?);
        let intake = Intake::new(
            directory.clone(),
            mailboxes.clone(),
            queue.clone(),
            login.clone(),
            sender,
            forwarding,
        );
        let reports = Arc::new(ByRelay::new(queue.clone(), directory.clone()));
        let intake = Arc::new(intake.traced(state.clone()).noticed(reports.clone()));
        let pools = [pool, core];
        Ok(Stores {
            directory,
            mailboxes,
            queue,
            state,
            guard,
            login,
            intake,
            rooms: Arc::new(rooms),
            reports,
            resolver,
            server_key,
            settling,
            pools,
            lock,
        })
    }

    /// What operators should know about settings that do not fit the directory.
    pub(crate) fn warnings(&self, settings: &Settings) -> Vec<String> {
        let name = settings.outbound.srs_domain.as_deref();
        let foreign = name.filter(|name| {
            let domain = Domain::parse(name);
            domain.is_ok_and(|domain| !self.directory.snapshot().is_local(&domain))
        });
        let warning = foreign.map(|name| {
            format!(
                "[outbound] srs_domain: {name} is no domain of this server, so that bounces of forwarded mail would not \
                 come back; it is not used. `letterlock domain add {name}` makes it one"
            )
        });
        warning.into_iter().collect()
    }

    /// What carries out operators' requests.
    pub(crate) fn admin(&self, settings: &Settings) -> Admin {
        Admin {
            data_dir: settings.data_dir.clone(),
            hostname: settings.hostname.clone(),
            mta_sts: OwnPolicy::new(&settings.mta_sts, &settings.hostname),
            directory: self.directory.clone(),
            mailboxes: self.mailboxes.clone(),
            queue: self.queue.clone(),
            state: self.state.clone(),
            intake: self.intake.clone(),
            login: self.login.clone(),
            resolver: self.resolver.clone(),
            server_key: self.server_key.clone(),
        }
    }

    /// Closes everything cleanly: what was filed is settled, keys are zeroed, logs are
    /// merged into their files. Other holders of the intake have let go of it before, or
    /// what they file now is found in the queue at the next start.
    ///
    /// Gives the lock back: until it is dropped, nobody else begins.
    pub(crate) async fn close(self) -> Lock {
        let Stores {
            directory,
            mailboxes,
            queue,
            state,
            login,
            intake,
            rooms,
            settling,
            pools,
            lock,
            ..
        } = self;
        drop(intake);
        if tokio::time::timeout(SETTLING, settling).await.is_err() {
            tracing::warn!("the last filed messages are not settled; their rows stay in the queue");
        }
        rooms.recount().await;
        mailboxes.close_all().await;
        store_marks(&mailboxes, &directory).await;
        drop(login);
        let queue = queue.close().await.map_err(anyhow::Error::from);
        let directory = directory.close().await.map_err(anyhow::Error::from);
        let state = state.close().await.map_err(anyhow::Error::from);
        for (name, closed) in [("queue", queue), ("state", state), ("directory", directory)] {
            if let Err(error) = closed {
                tracing::error!(%error, "the {name} was not closed cleanly");
            }
        }
        // Blocks until each database is closed.
        let ended = tokio::task::spawn_blocking(move || pools.iter().for_each(Pool::shutdown));
        if ended.await.is_err() {
            tracing::error!("the database threads did not end");
        }
        lock
    }
}

/// Stores how many durable points each mailbox counts, so that an older file in its place
/// is noticed; and how full the accounts are.
pub(crate) async fn store_marks(mailboxes: &Mailboxes, directory: &Arc<Directory>) {
    let marks = mailboxes.marks();
    if !marks.is_empty()
        && let Err(error) = directory.set_marks(marks).await
    {
        tracing::warn!(%error, "cannot store the mailboxes' marks");
    }
    if let Err(error) = directory.store_usage().await {
        tracing::warn!(%error, "cannot store how full the accounts are");
    }
}

/// A domain of the settings.
pub(crate) fn domain(name: Option<&str>) -> Result<Option<Domain>, Failure> {
    let read = |name| Domain::parse(name).with_context(|| format!("{name} is no domain"));
    Ok(name.map(read).transpose()?)
}

/// The public half of the organisation's key, if one is configured.
fn organisation_key(settings: &Settings) -> Result<Option<OrganisationKey>, Failure> {
    let Some(path) = &settings.auth.organisation_key else { return Ok(None) };
    let place = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("[auth] organisation_key: cannot read {place}"))?;
    let key = OrganisationKey::parse(&text).with_context(|| {
        format!("[auth] organisation_key: {place} holds no public key of an organisation")
    })?;
    Ok(Some(key))
}

/// What a main password costs to try.
fn argon2_cost(settings: &Settings) -> Argon2Cost {
    let memory_kib = u32::try_from(settings.auth.argon2_memory / 1024).unwrap_or(u32::MAX);
    Argon2Cost { memory_kib, ..Argon2Cost::FLOOR }
}
