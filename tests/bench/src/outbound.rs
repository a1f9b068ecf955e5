//! Mail to other servers: handed in by people's programs, carried to a sink, one destination or many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;
use letterlock_testkit::dns::Zone;
use letterlock_testkit::smtp::stuffed;

use crate::load::{Prepared, send};
use crate::messages::letter;
use crate::report::Figures;
use crate::sink::{self, Sink};
use crate::spent::{Spent, Start};
use crate::stage::{Account, Plan, Setting, Stage, setting};
use crate::{Common, smtp};

/// Messages for each destination before the clock starts.
const WARM_UP: u32 = 4;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections that hand mail in, each with one transaction at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Destinations, each a domain with an exchanger of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=100))]
    destinations: u8,
    /// Messages of one run
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    size: u32,
    /// Who takes the mail
    #[arg(long, value_enum, default_value_t = sink::Kind::Own)]
    sink: sink::Kind,
    /// Have all of it in the queue before any of it goes, and measure the going
    #[arg(long)]
    backlog: bool,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        format!(
            "outbound: {} messages of {} octets, {} connections, {} destinations{}",
            self.messages,
            self.size,
            self.connections,
            self.destinations,
            if self.backlog { ", from a full queue" } else { "" },
        )
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let port = options.common.peer.as_deref().map(crate::peer::Peer::read).transpose()?;
    let port = port.and_then(|peer| peer.sink);
    let sink = Sink::start(options.sink, options.destinations, port).await?;
    let stage = Stage::start(Plan {
        common: &options.common,
        accounts: 1,
        signer: None,
        ttl: 3600,
        settings: settings(sink.port())?,
    })
    .await?;
    publish(&stage, options.destinations);
    let mail = Mail::new(&stage, options.size, options.destinations, options.messages)?;
    let measured =
        measure(&stage, &sink, &mail, options.connections, Way::new(options.backlog)).await?;
    let mut figures = Figures::default();
    figures.add("accepted", "messages/s", measured.accepted);
    figures.add("taken by the sink", "messages/s", measured.taken);
    figures.add("server CPU", "ms/message", measured.spent.cpu);
    figures.add("client CPU", "ms/message", measured.spent.own);
    if let Some(flushes) = measured.spent.flushes {
        figures.add("disk flushes", "per message", flushes);
    }
    figures.add("written", "KiB/message", measured.spent.written);
    figures.add("memory at most", "MiB", measured.peak / 1024.0);
    Ok(figures)
}

/// How Letterlock is set up for it: programs log in without TLS, as a peer takes mail without, and nobody is capped.
pub(crate) fn settings(port: u16) -> anyhow::Result<Vec<Setting>> {
    let mut texts = vec![format!("outbound.port={port}"), "auth.allow_cleartext=true".to_owned()];
    for what in ["messages", "recipients"] {
        for time in ["hour", "day"] {
            texts.push(format!("limits.{what}_per_account_{time}=100000000"));
        }
    }
    texts.iter().map(|text| setting(text).map_err(anyhow::Error::msg)).collect()
}

/// The domains of so many destinations, signed, each with one exchanger.
pub(crate) fn publish(stage: &Stage, destinations: u8) {
    for number in 1..=destinations {
        let domain = format!("sink{number}.test");
        let zone = Zone::signed(&domain).ttl(3600).mx("@", 10, &format!("mx.{domain}"));
        stage.publish(zone.a("mx", sink::address(number)));
    }
}

/// How the load is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it comes in, so it goes out; the clock runs from the first MAIL.
    Through,
    /// All of it stands in the queue when the clock starts.
    Backlog,
}

impl Way {
    fn new(backlog: bool) -> Self {
        if backlog { Self::Backlog } else { Self::Through }
    }
}

/// Messages to all destinations in turn.
pub(crate) struct Mail {
    warm_up: Arc<Vec<Prepared>>,
    texts: Vec<(String, String, Vec<u8>)>,
}

impl Mail {
    pub(crate) fn new(
        stage: &Stage,
        size: u32,
        destinations: u8,
        messages: u32,
    ) -> anyhow::Result<Self> {
        let sender = sender(stage)?.address.clone();
        let prepared = |number: u32| {
            let from = sender.clone();
            let to = format!("r{number}@sink{}.test", number % u32::from(destinations) + 1);
            let data = stuffed(&letter(number, &from, &to, size as usize));
            (from, to, data)
        };
        let early = u32::from(destinations) * WARM_UP;
        let warm_up = (0..early).map(prepared);
        let warm_up = warm_up.map(|(from, to, data)| Prepared::new(&from, &to, data)).collect();
        let texts = (early..early + messages).map(prepared).collect();
        Ok(Self { warm_up: Arc::new(warm_up), texts })
    }

    fn prepared(&self, parameter: Option<&str>) -> Arc<Vec<Prepared>> {
        let all = self.texts.iter().map(|(from, to, data)| {
            let one = Prepared::new(from, to, data.clone());
            match parameter {
                Some(parameter) => one.with(parameter),
                None => one,
            }
        });
        Arc::new(all.collect())
    }
}

/// What was measured.
pub(crate) struct Measured {
    /// Messages a second until the last one was accepted.
    pub(crate) accepted: f64,
    /// Messages a second until the sink had the last one.
    pub(crate) taken: f64,
    pub(crate) spent: Spent,
    /// The most memory meanwhile, in KiB.
    pub(crate) peak: f64,
}

/// Puts the load on, once.
pub(crate) async fn measure(
    stage: &Stage,
    sink: &Sink,
    mail: &Mail,
    connections: u32,
    way: Way,
) -> anyhow::Result<Measured> {
    let process = stage.process()?;
    let clients = connect(stage, connections).await?;
    let there = sink.taken();
    let (clients, _) = send(clients, Arc::clone(&mail.warm_up)).await?;
    let there = there + mail.warm_up.len() as u64;
    sink.until(there).await?;

    let count = mail.texts.len() as f64;
    let release = match way {
        Way::Through => None,
        Way::Backlog => Some(Release::prepare(stage, mail.texts.len()).await?),
    };
    let parameter = release.as_ref().and_then(Release::parameter);
    let prepared = mail.prepared(parameter.as_deref());
    process.quiet().await?;
    process.reset_peak()?;
    let (mut start, mut clock) = (Start::take(process, stage.folder())?, Instant::now());
    let (clients, _) = send(clients, prepared).await?;
    let accepted = clock.elapsed();
    if let Some(release) = release {
        process.quiet().await?;
        ensure!(sink.taken() == there, "some of it went before all of it was there");
        release.wait().await?;
        (start, clock) = (Start::take(process, stage.folder())?, Instant::now());
        release.go().await?;
    }
    sink.until(there + mail.texts.len() as u64).await?;
    let taken = clock.elapsed();
    process.quiet().await?;
    let spent = start.spent(stage.folder(), count)?;
    for client in clients {
        client.quit().await?;
    }
    Ok(Measured {
        accepted: count / accepted.as_secs_f64(),
        taken: count / taken.as_secs_f64(),
        spent,
        peak: process.peak()?,
    })
}

/// Who sends: a session may only send as who it is.
pub(crate) fn sender(stage: &Stage) -> anyhow::Result<&Account> {
    stage.accounts.first().context("an account")
}

/// Logged-in connections.
pub(crate) async fn connect(stage: &Stage, connections: u32) -> anyhow::Result<Vec<smtp::Client>> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client =
            smtp::Client::connect(stage.submission()?, "client.test", None, false).await?;
        if stage.letterlock().is_some() {
            let account = sender(stage)?;
            client.log_in(&account.address, &account.password).await?;
        }
        clients.push(client);
    }
    Ok(clients)
}

/// What keeps a full queue back, and lets it go.
enum Release {
    /// FUTURERELEASE (RFC 4865).
    At(Timestamp),
    /// Postfix: its deliveries are switched off, then on again, and the queue is flushed.
    Postfix(std::path::PathBuf),
}

impl Release {
    async fn prepare(stage: &Stage, messages: usize) -> anyhow::Result<Self> {
        if stage.letterlock().is_some() {
            let seconds = 5 + i64::try_from(messages / 200)?;
            let at = Timestamp::from_second(Timestamp::now().as_second() + seconds)?;
            return Ok(Self::At(at));
        }
        let folder = stage.folder().join("postfix");
        let release = Self::Postfix(folder);
        release.postfix("postconf", &["-e", "defer_transports=smtp"]).await?;
        release.postfix("postfix", &["reload"]).await?;
        Ok(release)
    }

    fn parameter(&self) -> Option<String> {
        match self {
            Self::At(at) => Some(format!("HOLDUNTIL={at}")),
            Self::Postfix(_) => None,
        }
    }

    async fn wait(&self) -> anyhow::Result<()> {
        match self {
            Self::At(at) => {
                let left = Duration::try_from(at.duration_since(Timestamp::now()));
                let left = left.context("it took too long to fill the queue")?;
                tokio::time::sleep(left).await;
            }
            Self::Postfix(_) => {
                self.postfix("postconf", &["-X", "defer_transports"]).await?;
                self.postfix("postfix", &["reload"]).await?;
            }
        }
        Ok(())
    }

    async fn go(&self) -> anyhow::Result<()> {
        match self {
            Self::At(_) => Ok(()),
            Self::Postfix(_) => self.postfix("postqueue", &["-f"]).await,
        }
    }

    async fn postfix(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let Self::Postfix(folder) = self else { return Ok(()) };
        let mut command = tokio::process::Command::new(program);
        let output = command.arg("-c").arg(folder).args(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program}: {}: {said}", output.status);
        Ok(())
    }
}
