//! Letterlock and another server, step by step in one run: the same commands on the same mail, in turn.

mod imap;
mod letters;
mod memory;
mod session;
mod smtp;
mod steps;
mod table;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};

pub(crate) use table::{Table, Whose};

/// What is compared.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// A reader's steps over IMAP, and the memory of idle sessions
    Imap(imap::Options),
    /// Mail that comes in and goes out over SMTP, in all sizes and numbers of connections
    Smtp(smtp::Options),
}

/// How a table is printed.
#[derive(Args)]
pub(crate) struct Output {
    /// Print JSON, with the figures of all rounds
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print a Markdown table of the medians
    #[arg(long)]
    markdown: bool,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    time_limit: u64,
}

/// Runs a comparison and prints its table.
pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    let options = match command {
        Command::Imap(options) => options,
        Command::Smtp(options) => return smtp::run(options).await,
    };
    let (title, output) = (options.title(), &options.output);
    let limit = Duration::from_secs(output.time_limit);
    let table = tokio::select! {
        table = imap::run(options) => table?,
        () = tokio::time::sleep(limit) => bail!("not done after {} s", limit.as_secs()),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    println!(
        "{}",
        if output.json {
            table.json(&title)?
        } else if output.markdown {
            table.markdown(&title)
        } else {
            table.text(&title)
        }
    );
    Ok(())
}
