//! A reader's steps, each by both servers in turn.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::session::Side;
use super::{Output, Table, Whose, memory, steps};
use crate::Common;
use crate::stage::{Plan, Setting, Stage, setting};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) output: Output,
    /// The letterlock binary, a release build
    #[arg(long, value_name = "PATH")]
    binary: PathBuf,
    /// The other server, which runs already, as its start script describes it
    #[arg(long, value_name = "FILE")]
    peer: PathBuf,
    /// How often everything is measured, each time with an account of its own; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Messages in the mailbox
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2000..=100_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    size: u32,
    /// Numbers of idle connections at which memory is measured, ascending; 0 for none
    #[arg(long, value_delimiter = ',', default_value = "2000,10000")]
    idle: Vec<u32>,
    /// Only rows whose name holds this; what has no name is done all the same
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// A further setting of Letterlock as SECTION.KEY=VALUE (repeatable)
    #[arg(long = "set", value_name = "SETTING", value_parser = setting)]
    settings: Vec<Setting>,
}

impl Options {
    pub(super) fn title(&self) -> String {
        format!(
            "IMAP over TLS, {} messages of {} octets, medians of {}",
            self.messages, self.size, self.rounds
        )
    }

    fn common(&self, peer: bool) -> Common {
        Common {
            plain_binary: None,
            binary: (!peer).then(|| self.binary.clone()),
            peer: peer.then(|| self.peer.clone()),
            runs: 1,
            time_limit: 0,
            json: false,
            settings: self.settings.clone(),
        }
    }

    async fn side(&self, peer: bool) -> anyhow::Result<Side> {
        let connections = self.idle.iter().max().copied().unwrap_or(0) + 100;
        let settings = [
            format!("limits.connections={connections}"),
            format!("limits.sessions_per_account={connections}"),
            "limits.imap_idle=\"30m\"".to_owned(),
        ];
        let settings: Result<Vec<_>, String> = settings.iter().map(|text| setting(text)).collect();
        let mut stage = Stage::start(Plan {
            common: &self.common(peer),
            accounts: self.rounds + u32::try_from(steps::LOGINS)?,
            signer: None,
            ttl: 3600,
            settings: settings.map_err(anyhow::Error::msg)?,
        })
        .await?;
        // A session that is resumed saves most of the handshake, and not every client does it.
        let mut tls = (*stage.tls.config).clone();
        tls.resumption = rustls::client::Resumption::disabled();
        stage.tls.config = tls.into();
        Ok(Side::new(stage, self.size as usize))
    }

    fn wants(&self, row: &str) -> bool {
        !row.is_empty() && self.only.as_ref().is_none_or(|only| row.contains(only.as_str()))
    }
}

/// All rounds, then the memory of idle sessions.
pub(super) async fn run(options: &Options) -> anyhow::Result<Table> {
    let mut sides = [
        (Whose::Ours, options.side(false).await.context("Letterlock")?),
        (Whose::Theirs, options.side(true).await.context("the other server")?),
    ];
    let mut table = Table::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for (_, side) in &mut sides {
            side.begin(round as usize);
        }
        for step in steps::all() {
            if step.row().is_some_and(|row| !options.wants(row)) {
                continue;
            }
            for (whose, side) in &mut sides {
                let figures = step.take(side, options.messages).await;
                let figures = figures.with_context(|| format!("{whose:?}, {:?}", step.row()))?;
                for (row, unit, value) in figures {
                    if options.wants(row) {
                        table.note(row, unit, *whose, value);
                    }
                }
            }
            // Whoever was second is first in the next step.
            sides.reverse();
        }
    }
    for (_, side) in &mut sides {
        side.begin(0);
    }
    for (whose, side) in &mut sides {
        memory::measure(&options.idle, *whose, side, &mut table).await?;
    }
    Ok(table)
}
