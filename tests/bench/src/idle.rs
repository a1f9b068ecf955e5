//! Memory of a server that has nothing to do, and of connections that do nothing.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::task::JoinSet;

use crate::Common;
use crate::gauge::Process;
use crate::imap::Client;
use crate::report::Figures;
use crate::stage::{Plan, Stage, setting};

/// Logins under way at a time.
const AT_ONCE: usize = 8;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// IMAP connections over TLS
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Accounts that the connections log in to in turn
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    accounts: u32,
    /// What the connections do after the login
    #[arg(long, value_enum, default_value_t = Doing::Idle)]
    doing: Doing,
    /// Seconds to wait before memory is read, so that idle files are closed
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    settle: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Doing {
    /// Nothing
    Login,
    /// SELECT INBOX
    Select,
    /// SELECT INBOX and IDLE
    Idle,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        let doing = match self.doing {
            Doing::Login => "logged in",
            Doing::Select => "INBOX selected",
            Doing::Idle => "in IDLE",
        };
        format!(
            "idle: {} connections over TLS, {}, {} accounts",
            self.connections, doing, self.accounts
        )
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let limit = options.connections + 100;
    let settings = [
        format!("limits.connections={limit}"),
        format!("limits.sessions_per_account={limit}"),
        "limits.imap_idle=\"30m\"".to_owned(),
    ];
    let settings: Result<Vec<_>, String> = settings.iter().map(|text| setting(text)).collect();
    let mut stage = Stage::start(Plan {
        common: &options.common,
        accounts: options.accounts,
        signer: None,
        ttl: 3600,
        settings: settings.map_err(anyhow::Error::msg)?,
    })
    .await?;
    let mut figures = Figures::default();
    // The commands that made the accounts left their traces: measure a server that was just started.
    let start = Instant::now();
    stage.restart().await?;
    figures.add("restart until all ports answer", "ms", start.elapsed().as_secs_f64() * 1e3);
    let process = stage.process()?;
    process.quiet().await?;
    figures.add("memory, nobody logged in", "MiB", process.resident()? / 1024.0);

    // One session of each account first: what an account costs is not what a connection costs.
    let mut sessions = open(&stage, options, options.accounts).await?;
    let one_each = settled(process, options).await?;
    figures.add("memory, one session of each account", "MiB", one_each / 1024.0);
    let own = Process::own().resident()?;
    let (start, before) = (Instant::now(), process.cpu()?);
    sessions.extend(open(&stage, options, options.connections).await?);
    let count = f64::from(options.connections);
    figures.add("logins", "per second", count / start.elapsed().as_secs_f64());
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e3 / count;
    figures.add("server CPU of TLS handshake and login", "ms/connection", cpu);
    let all = settled(process, options).await?;
    figures.add("memory, all connections", "MiB", all / 1024.0);
    figures.add("memory of a connection", "KiB", (all - one_each) / count);
    figures.add(
        "client's memory of a connection",
        "KiB",
        (Process::own().resident()? - own) / count,
    );

    let before = process.cpu()?;
    let watch = Duration::from_secs(5);
    tokio::time::sleep(watch).await;
    let idle = (process.cpu()? - before).as_secs_f64() / watch.as_secs_f64() * 1e3;
    figures.add("server CPU while idle", "ms/s", idle);
    drop(sessions);
    let after = settled(process, options).await?;
    figures.add("memory, all gone again", "MiB", after / 1024.0);
    Ok(figures)
}

async fn settled(process: Process, options: &Options) -> anyhow::Result<f64> {
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    process.resident()
}

/// Opens this many sessions, a few at a time.
async fn open(stage: &Stage, options: &Options, count: u32) -> anyhow::Result<Vec<Client>> {
    let mut sessions = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= AT_ONCE {
            sessions.extend(finished(&mut tasks).await?);
        }
        let account = stage.accounts[number as usize % stage.accounts.len()].clone();
        let (address, tls, doing) = (stage.imaps(), stage.tls.clone(), options.doing);
        tasks.spawn(async move {
            let user = &account.address;
            let mut client = Client::login(address, Some(&tls), user, &account.password).await?;
            if !matches!(doing, Doing::Login) {
                client.command("SELECT INBOX").await?;
            }
            if matches!(doing, Doing::Idle) {
                client.idle().await?;
            }
            client.shrink();
            anyhow::Ok(client)
        });
    }
    while let Some(session) = finished(&mut tasks).await? {
        sessions.push(session);
    }
    Ok(sessions)
}

async fn finished(tasks: &mut JoinSet<anyhow::Result<Client>>) -> anyhow::Result<Option<Client>> {
    match tasks.join_next().await {
        Some(done) => Ok(Some(done?.context("an IMAP session")?)),
        None => Ok(None),
    }
}
