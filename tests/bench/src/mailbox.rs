//! A very large mailbox: how long each of the steps of a mail program takes, and that memory stays bounded.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::Common;
use crate::gauge::Process;
use crate::imap::{Brought, Client};
use crate::messages::{message, reference};
use crate::report::{Figures, median};
use crate::stage::{Plan, Stage};

/// Messages of one APPEND while the mailbox is filled.
const BATCH: u32 = 64;
/// How often a step is done that concerns one message.
const SINGLE: u32 = 101;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Messages in the mailbox
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Seconds to wait for the search index after filling; searches are measured before and after
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    index: u64,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        format!("mailbox: {} messages of {} octets, over TLS", self.messages, self.size)
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let mut stage = Stage::start(Plan {
        common: &options.common,
        accounts: 1,
        signer: None,
        ttl: 3600,
        settings: Vec::new(),
    })
    .await?;
    let mut watch = Watch { process: stage.process()?, figures: Figures::default() };
    fill(options, &stage, &mut watch).await?;
    stage.restart().await?;
    watch.process = stage.process()?;
    watch.process.quiet().await?;

    let start = Instant::now();
    let mut client = stage.reader(&stage.accounts[0]).await?;
    watch.time("TLS and login with a password", start);
    let start = Instant::now();
    client.command("SELECT INBOX").await?;
    watch.time("SELECT, first", start);
    let mut again = Vec::new();
    for _ in 0..SINGLE {
        let start = Instant::now();
        client.command("SELECT INBOX").await?;
        again.push(start.elapsed().as_secs_f64() * 1e3);
    }
    watch.figures.add("SELECT, again", "ms", median(&again));
    watch.process.reset_peak()?;
    lists(options, &mut client, &mut watch).await?;
    singles(options, &mut client, &mut watch).await?;
    searches(options, &mut client, &mut watch).await?;
    changes(options, &stage, &mut client, &mut watch).await?;
    expunge(options, &mut client, &mut watch).await?;
    Ok(watch.figures)
}

/// Takes the time of steps, and the most memory that they took.
struct Watch {
    process: Process,
    figures: Figures,
}

impl Watch {
    fn time(&mut self, name: &str, start: Instant) {
        self.figures.add(name, "ms", start.elapsed().as_secs_f64() * 1e3);
    }

    fn memory(&mut self, name: &str) -> anyhow::Result<()> {
        self.figures.add(format!("{name}: memory at most"), "MiB", self.process.peak()? / 1024.0);
        self.process.reset_peak()
    }

    async fn step(
        &mut self,
        client: &mut Client,
        name: &str,
        command: &str,
    ) -> anyhow::Result<Brought> {
        let (start, before) = (Instant::now(), self.process.cpu()?);
        let brought = client.command(command).await?;
        self.time(name, start);
        let cpu = (self.process.cpu()? - before).as_secs_f64() * 1e3;
        self.figures.add(format!("{name}: server CPU"), "ms", cpu);
        Ok(brought)
    }
}

async fn fill(options: &Options, stage: &Stage, watch: &mut Watch) -> anyhow::Result<()> {
    let account = &stage.accounts[0];
    let mut client = stage.reader(account).await?;
    watch.process.reset_peak()?;
    let (start, before) = (Instant::now(), watch.process.cpu()?);
    let mut number = 0;
    while number < options.messages {
        let end = options.messages.min(number + BATCH);
        let batch: Vec<Vec<u8>> =
            (number..end).map(|n| message(n, &account.address, options.size as usize)).collect();
        client.append_all(&batch).await?;
        number = end;
    }
    let count = f64::from(options.messages);
    watch.figures.add(
        format!("APPEND of {BATCH} each"),
        "messages/s",
        count / start.elapsed().as_secs_f64(),
    );
    let cpu = (watch.process.cpu()? - before).as_secs_f64() * 1e6 / count;
    watch.figures.add("APPEND: server CPU", "µs/message", cpu);
    watch.memory("APPEND")
}

/// Everything that concerns all messages and changes none.
async fn lists(options: &Options, client: &mut Client, watch: &mut Watch) -> anyhow::Result<()> {
    let headers = "FETCH 1:* (ENVELOPE BODYSTRUCTURE)";
    for (name, command) in [
        ("FLAGS of all", "FETCH 1:* FLAGS"),
        ("ENVELOPE BODYSTRUCTURE of all, first", headers),
        ("ENVELOPE BODYSTRUCTURE of all, again", headers),
        (
            "header fields of all",
            "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)])",
        ),
    ] {
        let brought = watch.step(client, name, command).await?;
        if brought.fetched < options.messages {
            bail!("{command} brought {} messages", brought.fetched);
        }
        watch.memory(name)?;
    }
    Ok(())
}

/// Everything that concerns one message: medians.
async fn singles(options: &Options, client: &mut Client, watch: &mut Watch) -> anyhow::Result<()> {
    let place = |number: u32| u64::from(number) * u64::from(options.messages) / 101 + 1;
    for (name, item) in [
        ("one body", "FETCH # BODY.PEEK[]"),
        ("one header list line", "FETCH # (ENVELOPE BODYSTRUCTURE FLAGS)"),
        ("flag of one", "STORE # +FLAGS (\\Flagged)"),
    ] {
        let mut times = Vec::new();
        for number in 0..SINGLE {
            let command = item.replace('#', &place(number).to_string());
            let start = Instant::now();
            client.command(&command).await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        watch.figures.add(name, "ms", median(&times));
    }
    Ok(())
}

/// Searches for a word of every hundredth message, for part of it, for a phrase and for what is nowhere; before the
/// server had time to index, and after.
async fn searches(options: &Options, client: &mut Client, watch: &mut Watch) -> anyhow::Result<()> {
    let (word, some) = (reference(7), options.messages / 100);
    let part = &word[1..];
    search(client, watch, "SEARCH TEXT, not indexed", &word, some).await?;
    indexed(options, watch).await?;
    for (name, pattern, hits) in [
        ("SEARCH TEXT, a word", word.as_str(), some),
        ("SEARCH TEXT, part of a word", part, some),
        ("SEARCH TEXT, a phrase", &format!("Reference {word}"), some),
        ("SEARCH TEXT, in every message", "reference", options.messages),
        ("SEARCH TEXT, nowhere", "notthereatall", 0),
    ] {
        search(client, watch, name, pattern, hits).await?;
    }
    watch.step(client, "SEARCH SUBJECT", "SEARCH SUBJECT \"Number 777:\"").await?;
    watch.step(client, "SEARCH UNSEEN FLAGGED", "SEARCH UNSEEN FLAGGED").await?;
    watch.memory("SEARCH")
}

async fn search(
    client: &mut Client,
    watch: &mut Watch,
    name: &str,
    pattern: &str,
    least: u32,
) -> anyhow::Result<()> {
    let brought = watch.step(client, name, &format!("SEARCH TEXT \"{pattern}\"")).await?;
    if brought.hits < least || (least == 0 && brought.hits > 0) {
        bail!("SEARCH TEXT {pattern} found {}, not {least}", brought.hits);
    }
    Ok(())
}

/// Waits until the server is quiet, which it is when everything is indexed. Its CPU is the index's price.
async fn indexed(options: &Options, watch: &mut Watch) -> anyhow::Result<()> {
    let (start, first) = (Instant::now(), watch.process.cpu()?);
    let mut before = first;
    while start.elapsed() < Duration::from_secs(options.index) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = watch.process.cpu()?;
        if now.saturating_sub(before) < Duration::from_millis(40) {
            break;
        }
        before = now;
    }
    let cpu = (before - first).as_secs_f64() * 1e6 / f64::from(options.messages);
    watch.figures.add("index: server CPU", "µs/message", cpu);
    watch.time("index: time until quiet", start);
    watch.memory("index")
}

/// One per cent of the messages change; another session asks what did. Then all change.
async fn changes(
    options: &Options,
    stage: &Stage,
    client: &mut Client,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    let mut other = stage.reader(&stage.accounts[0]).await?;
    let selected = other.command("SELECT INBOX (CONDSTORE)").await?;
    let since = selected.modseq.context("SELECT (CONDSTORE) without HIGHESTMODSEQ")?;
    let set: Vec<String> =
        (1..=options.messages).step_by(100).map(|number| number.to_string()).collect();
    for part in set.chunks(1000) {
        client.command(&format!("STORE {} +FLAGS.SILENT (\\Answered)", part.join(","))).await?;
    }
    // What the other session has not been told yet is not to be measured.
    other.command("NOOP").await?;
    let command = format!("FETCH 1:* (FLAGS) (CHANGEDSINCE {since})");
    let brought = watch.step(&mut other, "changes since, 1 %", &command).await?;
    if (brought.fetched as usize) < set.len() {
        bail!("{command} brought {} messages", brought.fetched);
    }
    drop(other);
    watch.step(client, "flag of all", "STORE 1:* +FLAGS.SILENT (\\Seen)").await?;
    watch.memory("flag of all")
}

/// Half of the messages, every second one.
async fn expunge(options: &Options, client: &mut Client, watch: &mut Watch) -> anyhow::Result<()> {
    let odd: Vec<String> =
        (1..=options.messages).step_by(2).map(|number| number.to_string()).collect();
    for part in odd.chunks(1000) {
        client.command(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", part.join(","))).await?;
    }
    watch.step(client, "EXPUNGE of half", "EXPUNGE").await?;
    watch.memory("EXPUNGE")
}
