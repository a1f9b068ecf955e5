//! A long queue: messages of their own for many destinations that take none of them now, some held back, some held by
//! an operator; and beside them mail that goes out as ever.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use letterlock_testkit::dns::Zone;
use letterlock_testkit::smtp::stuffed;
use tokio::io::AsyncReadExt as _;

use crate::Common;
use crate::gauge::Process;
use crate::load::{Prepared, send};
use crate::messages::letter;
use crate::outbound::{self, Mail, Way, connect};
use crate::report::Figures;
use crate::sink::{self, Sink};
use crate::stage::{Plan, Stage, setting};

/// Connections that hand mail in.
const CONNECTIONS: u32 = 16;
/// Of so many messages one is held back by its sender.
const HELD_BACK: u32 = 10;
/// Messages that an operator holds.
const HELD: usize = 20;
/// Destinations of the mail that goes out beside them.
const DESTINATIONS: u8 = 8;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Messages in the queue
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    entries: u32,
    /// Domains that they are for
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    domains: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Messages that go out beside them
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        format!("backlog: {} messages for {} domains", self.entries, self.domains)
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    ensure!(options.common.peer.is_none(), "a backlog is Letterlock's own");
    let sink = Sink::start(sink::Kind::Own, DESTINATIONS, None).await?;
    let mut settings = outbound::settings(sink.port())?;
    settings.push(setting("outbound.retry=[\"1d\"]").map_err(anyhow::Error::msg)?);
    let plan = Plan { common: &options.common, accounts: 1, signer: None, ttl: 3600, settings };
    let mut stage = Stage::start(plan).await?;
    outbound::publish(&stage, DESTINATIONS);
    // One exchanger for all: they are destinations of their own all the same.
    let zone = Zone::signed("busy.test").ttl(3600).a("mx", sink::address(1));
    let busy = |zone: Zone, n| zone.mx(&format!("busy{n}"), 10, "mx.busy.test");
    stage.publish((0..options.domains).fold(zone, busy));

    let mut figures = Figures::default();
    pass(options, &stage, &sink, "empty queue", &mut figures).await?;
    fill(options, &stage, &sink, &mut figures).await?;
    let process = stage.process()?;
    process.quiet().await?;
    let begin = Instant::now();
    stage.restart().await?;
    figures.add("restart", "ms", begin.elapsed().as_secs_f64() * 1e3);
    let process = stage.process()?;
    process.quiet().await?;
    figures.add("memory after it", "MiB", process.resident()? / 1024.0);
    list(options, &stage, &mut figures).await?;
    pass(options, &stage, &sink, "full queue", &mut figures).await?;
    figures.add("memory at most since", "MiB", stage.process()?.peak()? / 1024.0);
    Ok(figures)
}

/// Fills the queue, and tells at each quarter how fast that was and what the server takes.
async fn fill(
    options: &Options,
    stage: &Stage,
    sink: &Sink,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let sender = outbound::sender(stage)?.address.clone();
    let mut clients = connect(stage, CONNECTIONS).await?;
    let process = stage.process()?;
    process.reset_peak()?;
    let (mut tried, quarter) = (0, options.entries / 4);
    for part in 0..4 {
        let mut mail = Vec::new();
        for number in part * quarter..(part + 1) * quarter {
            let to = format!("r{number}@busy{}.busy.test", number % options.domains);
            let data = stuffed(&letter(number, &sender, &to, options.size as usize));
            let one = Prepared::new(&sender, &to, data);
            if number % HELD_BACK == 0 {
                mail.push(one.with("HOLDFOR=86400"));
            } else {
                mail.push(one);
                tried += 1;
            }
        }
        let begin = Instant::now();
        (clients, _) = send(clients, Arc::new(mail)).await?;
        let accepted = begin.elapsed();
        while sink.put_off() < tried {
            ensure!(begin.elapsed() < Duration::from_secs(600), "{} of {tried}", sink.put_off());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let name = |what| format!("quarter {}, {what}", part + 1);
        let rate = |time: Duration| f64::from(quarter) / time.as_secs_f64();
        figures.add(name("accepted"), "messages/s", rate(accepted));
        figures.add(name("accepted and tried"), "messages/s", rate(begin.elapsed()));
        process.quiet().await?;
        figures.add(name("memory"), "MiB", process.resident()? / 1024.0);
    }
    figures.add("memory at most meanwhile", "MiB", process.peak()? / 1024.0);
    for client in clients {
        client.quit().await?;
    }
    Ok(())
}

/// Holds some messages, and has all of them listed.
async fn list(options: &Options, stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let server = stage.letterlock().context("Letterlock")?;
    let some = ["queue", "list", "--json", "--limit", &HELD.to_string()];
    let some: serde_json::Value = serde_json::from_str(&server.run(&some).await?)?;
    for row in some.as_array().context("a list")? {
        let id = row["id"].as_str().context("an id")?;
        server.run(&["queue", "hold", id]).await?;
    }
    let process = stage.process()?;
    process.reset_peak()?;
    let begin = Instant::now();
    let mut child =
        tokio::process::Command::new(options.common.binary.as_ref().context("--binary")?)
            .args(["queue", "list", "--json", "--config"])
            .arg(server.config_file())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
    let asker = Process::new(child.id().context("a process")?);
    let mut output = child.stdout.take().context("its output")?;
    let (mut text, mut first, mut most) = (Vec::new(), None, 0.0);
    while output.read_buf(&mut text).await? > 0 {
        first.get_or_insert_with(|| begin.elapsed());
        most = asker.resident().unwrap_or_default().max(most);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    figures.add("queue list, first lines", "ms", ms(first.unwrap_or_default()));
    figures.add("queue list, all of it", "ms", ms(begin.elapsed()));
    figures.add("queue list, memory of the command", "MiB", most / 1024.0);
    figures.add("queue list, most memory of the server", "MiB", process.peak()? / 1024.0);
    ensure!(child.wait().await?.success(), "queue list failed");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&text)?;
    ensure!(rows.len() == options.entries as usize / 4 * 4, "{} rows", rows.len());
    let held = rows.iter().filter(|row| row["states"][0] == "held").count();
    ensure!(held == HELD, "{held} of {HELD} are held");
    Ok(())
}

/// Sends mail that goes out at once.
async fn pass(
    options: &Options,
    stage: &Stage,
    sink: &Sink,
    when: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mail = Mail::new(stage, options.size, DESTINATIONS, options.messages)?;
    let measured = outbound::measure(stage, sink, &mail, CONNECTIONS, Way::Through).await?;
    figures.add(format!("out, {when}"), "messages/s", measured.taken);
    figures.add(format!("server CPU, {when}"), "ms/message", measured.spent.cpu);
    Ok(())
}
