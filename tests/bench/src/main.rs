//! Load programs for Letterlock: how fast a release build takes, files and gives mail, and what that costs.
//!
//! Each command starts the given binary in a temporary folder on free loopback ports, puts a bounded load on it,
//! prints a table (or JSON) and stops. Nothing leaves the machine. What the figures mean stands in README.md.

mod accounts;
mod backlog;
mod compare;
mod delivery;
mod gauge;
mod generator;
mod idle;
mod imap;
mod import;
mod load;
mod mailbox;
mod messages;
mod outbound;
mod peer;
mod plain;
mod read;
mod report;
mod sink;
mod smtp;
mod spent;
mod stage;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use report::{Figures, Report};

/// Puts a bounded load on a Letterlock binary, over loopback only, and prints what it did and what it cost.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Mail from another server: accepted and readable a second, CPU, syncs and memory
    Delivery(delivery::Options),
    /// Mail to other servers: accepted, carried to a sink, CPU, syncs
    Outbound(outbound::Options),
    /// A long queue, and mail that goes out beside it
    Backlog(backlog::Options),
    /// Memory of the idle server and of each idle IMAP connection
    Idle(idle::Options),
    /// A large mailbox over IMAP: APPEND, SELECT, FETCH, STORE
    Read(read::Options),
    /// A very large mailbox: lists, changes, searches, expunge; how long each step takes
    Mailbox(mailbox::Options),
    /// Many messages through APPEND, and what other sessions of the account notice of it
    Import(import::Options),
    /// Many accounts of which some are in use: memory, open files, what opening and closing costs
    Accounts(accounts::Options),
    /// Letterlock beside another server, on the same mail in the same run
    #[command(subcommand)]
    Compare(compare::Command),
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// The letterlock binary, a release build
    #[arg(long, value_name = "PATH", required_unless_present = "peer", conflicts_with = "peer")]
    binary: Option<PathBuf>,
    /// A build whose cipher is off (README): every step with both in turns, and the ratio of each figure
    #[arg(long, value_name = "PATH", conflicts_with = "peer")]
    plain_binary: Option<PathBuf>,
    /// Another server that runs already, as `peers/start` describes it in a file, in place of Letterlock
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    /// How often to measure, each time with a new server; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Give up after this many seconds, all runs together
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    time_limit: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// A further setting of the server as SECTION.KEY=VALUE, the value as TOML writes it (repeatable)
    #[arg(long = "set", value_name = "SETTING", value_parser = stage::setting)]
    settings: Vec<stage::Setting>,
}

/// The load comes from one thread, so that it leaves as much of the machine to the server as it can.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let (Some(title), Some(common)) = (cli.command.title(), cli.command.common().cloned()) else {
        return match &cli.command {
            Command::Compare(command) => compare::run(command).await,
            _ => bail!("nothing to run"),
        };
    };
    if common.plain_binary.is_some() {
        return plain::run(cli.command).await;
    }
    let limit = Duration::from_secs(common.time_limit);
    // Whatever ends this, the server ends with it: dropping the future drops the stage.
    let figures = tokio::select! {
        figures = all(&cli.command, common.runs) => figures?,
        () = tokio::time::sleep(limit) => bail!("not done after {} s", limit.as_secs()),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let report = Report::new(title, figures);
    println!("{}", if common.json { report.json()? } else { report.table() });
    Ok(())
}

async fn all(command: &Command, runs: u32) -> anyhow::Result<Vec<Figures>> {
    let mut figures = Vec::new();
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        figures.push(once(command).await?);
    }
    Ok(figures)
}

/// One run with a new server.
async fn once(command: &Command) -> anyhow::Result<Figures> {
    match command {
        Command::Delivery(options) => delivery::run(options).await,
        Command::Outbound(options) => outbound::run(options).await,
        Command::Backlog(options) => backlog::run(options).await,
        Command::Idle(options) => idle::run(options).await,
        Command::Read(options) => read::run(options).await,
        Command::Accounts(options) => accounts::run(options).await,
        Command::Import(options) => import::run(options).await,
        Command::Mailbox(options) => mailbox::run(options).await,
        // It takes its rounds in turns of two servers, and prints its own table.
        Command::Compare(_) => bail!("a comparison has no runs"),
    }
}

impl Command {
    /// What the table is called; None for a comparison.
    fn title(&self) -> Option<String> {
        Some(match self {
            Self::Delivery(options) => options.title(),
            Self::Outbound(options) => options.title(),
            Self::Backlog(options) => options.title(),
            Self::Idle(options) => options.title(),
            Self::Read(options) => options.title(),
            Self::Accounts(options) => options.title(),
            Self::Import(options) => options.title(),
            Self::Mailbox(options) => options.title(),
            Self::Compare(_) => return None,
        })
    }

    fn common(&self) -> Option<&Common> {
        match self {
            Self::Delivery(options) => Some(&options.common),
            Self::Outbound(options) => Some(&options.common),
            Self::Backlog(options) => Some(&options.common),
            Self::Idle(options) => Some(&options.common),
            Self::Read(options) => Some(&options.common),
            Self::Accounts(options) => Some(&options.common),
            Self::Import(options) => Some(&options.common),
            Self::Mailbox(options) => Some(&options.common),
            Self::Compare(_) => None,
        }
    }

    fn common_mut(&mut self) -> Option<&mut Common> {
        match self {
            Self::Delivery(options) => Some(&mut options.common),
            Self::Outbound(options) => Some(&mut options.common),
            Self::Backlog(options) => Some(&mut options.common),
            Self::Idle(options) => Some(&mut options.common),
            Self::Read(options) => Some(&mut options.common),
            Self::Accounts(options) => Some(&mut options.common),
            Self::Import(options) => Some(&mut options.common),
            Self::Mailbox(options) => Some(&mut options.common),
            Self::Compare(_) => None,
        }
    }
}
