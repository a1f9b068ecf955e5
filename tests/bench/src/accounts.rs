//! Many accounts of which some are in use: memory, open files, and what opening and closing a mailbox costs.

use std::time::{Duration, Instant};

use clap::Args;

use crate::Common;
use crate::report::{Figures, median};
use crate::stage::{Plan, Stage, setting};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Accounts
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    accounts: u32,
    /// Accounts with a session and INBOX selected
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    active: u32,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        format!("accounts: {}, {} of them in use", self.accounts, self.active)
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    // Without a grace time a mailbox closes when its last session goes, so that closing can be measured.
    let settings = vec![setting("auth.grace=\"0s\"").map_err(anyhow::Error::msg)?];
    let mut stage = Stage::start(Plan {
        common: &options.common,
        accounts: options.accounts,
        signer: None,
        ttl: 3600,
        settings,
    })
    .await?;
    let mut figures = Figures::default();
    let start = Instant::now();
    stage.restart().await?;
    figures.add("restart", "ms", start.elapsed().as_secs_f64() * 1e3);
    let process = stage.process()?;
    process.quiet().await?;
    figures.add("memory, nobody there", "MiB", process.resident()? / 1024.0);
    figures.add("open files, nobody there", "", process.open_files()?);

    let active = &stage.accounts[..stage.accounts.len().min(options.active as usize)];
    let (mut sessions, mut logins, mut selects) = (Vec::new(), Vec::new(), Vec::new());
    let before = process.cpu()?;
    for account in active {
        let start = Instant::now();
        let mut session = stage.reader(account).await?;
        logins.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        session.command("SELECT INBOX").await?;
        selects.push(start.elapsed().as_secs_f64() * 1e3);
        sessions.push(session);
    }
    let count = sessions.len() as f64;
    figures.add("TLS, password and opening", "ms", median(&logins));
    figures.add("first SELECT", "ms", median(&selects));
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e3 / count;
    figures.add("server CPU of all that", "ms/account", cpu);
    figures.add("memory, sessions there", "MiB", process.resident()? / 1024.0);
    figures.add("open files, sessions there", "", process.open_files()?);

    process.quiet().await?;
    let (start, before) = (Instant::now(), process.cpu()?);
    drop(sessions);
    let files = process.open_files()?;
    let mut left = files;
    // Each session is a socket; a mailbox that is open is two files more.
    while left > files - count * 2.0 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        left = process.open_files()?;
    }
    process.quiet().await?;
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e3 / count;
    figures.add("server CPU of closing", "ms/account", cpu);
    figures.add("memory, all gone again", "MiB", process.resident()? / 1024.0);
    figures.add("open files, all gone again", "", process.open_files()?);
    Ok(figures)
}
