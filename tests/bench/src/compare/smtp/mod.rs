//! SMTP beside another server: mail that comes in until it is readable, and mail that goes out until a sink has it,
//! in all sizes and numbers of connections, the two servers taking turns.
//!
//! Both servers run all the time, and each row begins when both are quiet, so that what one does is not measured as
//! the other's. Mail, connections and sink are the same for both, without TLS on either side.

mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use self::table::{Measure, Table};
use crate::delivery::{log_in, prepare, until_readable};
use crate::generator::{self, smtp_source};
use crate::load::{Prepared, send};
use crate::messages::{HOST, Signer};
use crate::outbound::{self, Mail, Way};
use crate::peer::Peer;
use crate::sink::{self, Sink};
use crate::spent::Start;
use crate::stage::{Plan, Setting, Stage};
use crate::{Common, imap, smtp};

/// Accounts that get mail, in turn.
const ACCOUNTS: u32 = 8;
/// Messages before the clock of a row starts: files are open then, and what DNS says is known.
const WARM_UP: u32 = 40;

#[derive(Args)]
pub(crate) struct Options {
    /// The letterlock binary, a release build
    #[arg(long, value_name = "PATH")]
    binary: PathBuf,
    /// The other server, as `peers/dovecot-postfix` describes it in its `smtp.json`
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    /// Rounds through all rows; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Who sends what comes in
    #[arg(long, value_enum, default_value_t = generator::Kind::Own)]
    generator: generator::Kind,
    /// Who takes what goes out
    #[arg(long, value_enum, default_value_t = sink::Kind::Own)]
    sink: sink::Kind,
    /// Only rows whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    time_limit: u64,
    /// Print JSON, with the figures of all rounds, instead of a Markdown table
    #[arg(long)]
    json: bool,
    /// A further setting of Letterlock as SECTION.KEY=VALUE, the value as TOML writes it (repeatable)
    #[arg(long = "set", value_name = "SETTING", value_parser = crate::stage::setting)]
    settings: Vec<Setting>,
}

/// What is measured at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    /// Mail from elsewhere for accounts here.
    Inbound { connections: u32, size: u32, messages: u32 },
    /// Mail from here for as many destinations.
    Outbound { connections: u32, destinations: u8, size: u32, messages: u32, way: Way },
}

impl Row {
    pub(crate) fn name(&self) -> String {
        let count = |count: u32, what: &str| match count {
            1 => format!("1 {what}"),
            many => format!("{many} {what}s"),
        };
        match *self {
            Self::Inbound { connections, size, .. } => {
                format!("in, {} KiB, {}", size / 1024, count(connections, "connection"))
            }
            Self::Outbound { connections, destinations, size, way, .. } => {
                let to = count(u32::from(destinations), "destination");
                let from = match way {
                    Way::Through => count(connections, "connection"),
                    Way::Backlog => "from a full queue".to_owned(),
                };
                format!("out, {} KiB, {from}, {to}", size / 1024)
            }
        }
    }
}

/// All rows, with as many messages as take the slower server some seconds.
fn rows(only: Option<&str>) -> Vec<Row> {
    const SMALL: u32 = 4 * 1024;
    const LARGE: u32 = 100 * 1024;
    let mut rows = Vec::new();
    for (size, share) in [(SMALL, 1), (LARGE, 4)] {
        for (connections, messages) in [(1, 500), (8, 1600), (32, 2400)] {
            rows.push(Row::Inbound { connections, size, messages: messages / share });
        }
    }
    for (size, share) in [(SMALL, 1), (LARGE, 4)] {
        for (connections, messages) in [(1_u8, 500), (8, 1600), (32, 2400)] {
            rows.push(Row::Outbound {
                connections: u32::from(connections),
                destinations: connections,
                size,
                messages: messages / share,
                way: Way::Through,
            });
        }
    }
    for destinations in [1, 8, 32] {
        let (connections, size, messages, way) = (32, SMALL, 2400, Way::Backlog);
        rows.push(Row::Outbound { connections, destinations, size, messages, way });
    }
    rows.retain(|row| only.is_none_or(|only| row.name().contains(only)));
    rows
}

/// One server, with a session of each account.
struct Side {
    stage: Stage,
    readers: Vec<imap::Client>,
    /// Messages that the accounts have.
    there: u32,
}

impl Side {
    async fn start(
        options: &Options,
        peer: Option<&PathBuf>,
        signer: &Signer,
        port: u16,
    ) -> anyhow::Result<Self> {
        let common = Common {
            plain_binary: None,
            binary: peer.is_none().then(|| options.binary.clone()),
            peer: peer.cloned(),
            runs: 1,
            time_limit: options.time_limit,
            json: false,
            settings: options.settings.clone(),
        };
        let stage = Stage::start(Plan {
            common: &common,
            accounts: ACCOUNTS,
            signer: Some(signer),
            ttl: 3600,
            settings: outbound::settings(port)?,
        })
        .await?;
        outbound::publish(&stage, DESTINATIONS);
        let mut readers = log_in(&stage).await?;
        let mut there = 0;
        for reader in &mut readers {
            there += reader.messages().await?;
        }
        Ok(Self { stage, readers, there })
    }

    /// Has mail sent to it until all of it is readable.
    async fn inbound(&mut self, load: &Inbound) -> anyhow::Result<Measure> {
        let process = self.stage.process()?;
        let (clients, warm_up) = match load.generator {
            generator::Kind::Own => {
                let mut clients = Vec::new();
                for _ in 0..load.connections {
                    let address = self.stage.smtp()?;
                    clients.push(smtp::Client::connect(address, HOST, None, false).await?);
                }
                let (clients, _) = send(clients, load.warm_up.clone()).await?;
                (clients, WARM_UP)
            }
            generator::Kind::SmtpSource => {
                self.source(load, WARM_UP).await?;
                (Vec::new(), WARM_UP)
            }
        };
        self.there += warm_up;
        until_readable(&mut self.readers, self.there).await?;
        process.quiet().await?;
        let (start, clock) = (Start::take(process, self.stage.folder())?, Instant::now());
        let clients = match load.generator {
            generator::Kind::Own => send(clients, load.mail.clone()).await?.0,
            generator::Kind::SmtpSource => {
                self.source(load, load.messages).await?;
                clients
            }
        };
        let accepted = clock.elapsed();
        self.there += load.messages;
        until_readable(&mut self.readers, self.there).await?;
        let readable = clock.elapsed();
        process.quiet().await?;
        let count = f64::from(load.messages);
        let spent = start.spent(self.stage.folder(), count)?;
        for client in clients {
            client.quit().await?;
        }
        let rate = |time: Duration| count / time.as_secs_f64();
        Ok(Measure::new(rate(readable), rate(accepted), spent))
    }

    async fn source(&self, load: &Inbound, messages: u32) -> anyhow::Result<()> {
        let recipients: Vec<String> =
            self.stage.accounts.iter().map(|account| account.address.clone()).collect();
        let how = (load.connections as usize, messages, load.size);
        smtp_source(self.stage.smtp()?, &recipients, how).await
    }

    async fn outbound(
        &self,
        sink: &Sink,
        (connections, destinations, size, messages): (u32, u8, u32, u32),
        way: Way,
    ) -> anyhow::Result<Measure> {
        let mail = Mail::new(&self.stage, size, destinations, messages)?;
        let measured = outbound::measure(&self.stage, sink, &mail, connections, way).await?;
        Ok(Measure::new(measured.taken, measured.accepted, measured.spent))
    }
}

/// Addresses of the sink.
const DESTINATIONS: u8 = 32;

/// An inbound load, the same for both servers but for whom it is for: what is sent first, and what is measured.
struct Inbound {
    generator: generator::Kind,
    connections: u32,
    messages: u32,
    size: u32,
    warm_up: Arc<Vec<Prepared>>,
    mail: Arc<Vec<Prepared>>,
}

impl Inbound {
    fn new(
        options: &Options,
        side: &Side,
        signer: &Signer,
        (connections, size, messages): (u32, u32, u32),
    ) -> anyhow::Result<Self> {
        let generator = options.generator;
        let mut mail = match generator {
            generator::Kind::Own => {
                prepare(size, 0..WARM_UP + messages, &side.stage.accounts, Some(signer))?
            }
            generator::Kind::SmtpSource => Vec::new(),
        };
        let measured = mail.split_off(mail.len().min(WARM_UP as usize));
        let (warm_up, mail) = (Arc::new(mail), Arc::new(measured));
        Ok(Self { generator, connections, messages, size, warm_up, mail })
    }
}

/// Goes through all rows, round by round, and prints the table.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let limit = Duration::from_secs(options.time_limit);
    let table = tokio::select! {
        table = measure(options) => table?,
        () = tokio::time::sleep(limit) => anyhow::bail!("not done after {} s", limit.as_secs()),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    println!("{}", if options.json { table.json()? } else { table.markdown() });
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Table> {
    let peer = options.peer.as_deref().map(Peer::read).transpose()?;
    let port = peer.and_then(|peer| peer.sink);
    let sink = Sink::start(options.sink, DESTINATIONS, port).await?;
    let signer = Signer::new()?;
    let mut ours = Side::start(options, None, &signer, sink.port()).await?;
    let mut theirs = match &options.peer {
        Some(peer) => Some(Side::start(options, Some(peer), &signer, sink.port()).await?),
        None => None,
    };
    let rows = rows(options.only.as_deref());
    let generator = match options.generator {
        generator::Kind::Own => "the load program",
        generator::Kind::SmtpSource => "smtp-source",
    };
    let taker = match options.sink {
        sink::Kind::Own => "the load program",
        sink::Kind::SmtpSink => "smtp-sink",
    };
    let title = format!("In from {generator}, out to {taker}; medians of {}.", options.runs);
    let mut table = Table::new(title, &rows);
    for round in 1..=options.runs {
        for (place, row) in rows.iter().enumerate() {
            eprintln!("round {round} of {}: {}", options.runs, row.name());
            let line = table.line(place);
            match *row {
                Row::Inbound { connections, size, messages } => {
                    let load = (connections, size, messages);
                    let mail = Inbound::new(options, &ours, &signer, load)?;
                    line.ours.push(ours.inbound(&mail).await?);
                    if let Some(theirs) = &mut theirs {
                        let mail = Inbound::new(options, theirs, &signer, load)?;
                        line.theirs.push(theirs.inbound(&mail).await?);
                    }
                }
                Row::Outbound { connections, destinations, size, messages, way } => {
                    let load = (connections, destinations, size, messages);
                    line.ours.push(ours.outbound(&sink, load, way).await?);
                    if let Some(theirs) = &theirs {
                        line.theirs.push(theirs.outbound(&sink, load, way).await?);
                    }
                }
            }
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_and_chosen_by_name() {
        let mut names: Vec<String> = rows(None).iter().map(Row::name).collect();
        assert_eq!(names.len(), 15);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 15);
        assert_eq!(rows(Some("in, 4 KiB")).len(), 3);
    }
}
