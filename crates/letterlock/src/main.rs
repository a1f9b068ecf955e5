//! Letterlock's binary: commands, wiring, start, reload, drain.
//!
//! Everything that Letterlock does stands in the crates below; here it is put together.

mod cli;
mod commands;
mod frontends;
mod listing;
mod local;
mod logging;
mod relaying;
mod render;
mod serve;
mod stores;

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use letterlock_vault::ZeroOnFree;

/// What mail leaves behind in memory is zeroed when it is freed; it costs a few per cent at most. SQLite's memory, which
/// has another allocator, is treated alike from `main` on.
#[global_allocator]
static ALLOCATOR: ZeroOnFree<System> = ZeroOnFree(System);

/// Exit codes that scripts rely on: 0 done, 1 failed, 2 usage or configuration.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// Carrying it out failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

fn main() -> ExitCode {
    // Both before threads start and before SQLite is used.
    letterlock_vault::give_freed_memory_back();
    letterlock_vault::wipe_freed_sqlite_memory();
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("letterlock: {failure}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve { local: true, data } => local::serve(data),
        Command::Serve { .. } => serve::run(commands::settings(&cli.config)?),
        Command::Config(command) => commands::config::run(&cli.config, command),
        Command::Verify { address, repair, format } => {
            commands::verify::run(&cli.config, address, repair, format)
        }
        Command::OrganisationKey { file } => commands::organisation::make_key(&file),
        Command::Healthcheck => commands::healthcheck(&cli.config),
        Command::Domain(command) => commands::domain::run(&cli.config, command),
        Command::Account(command) => commands::account::run(&cli.config, command),
        Command::Alias(command) => commands::alias::run(&cli.config, command),
        Command::Queue(command) => commands::queue::run(&cli.config, command),
        Command::Trace { id, format } => commands::queue::trace(&cli.config, id, format),
    }
}
