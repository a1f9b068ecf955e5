//! A large mailbox over IMAP: filled by APPEND, then read by a server that was started anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::task::JoinSet;

use crate::Common;
use crate::gauge::Process;
use crate::imap::Client;
use crate::messages::message;
use crate::report::Figures;
use crate::stage::{Plan, Stage, setting};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Messages in the mailbox
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Connections that fill it
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=50))]
    connections: u32,
    /// Bodies to fetch
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    bodies: u32,
    /// Without TLS
    #[arg(long)]
    plain: bool,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        let tls = if self.plain { "without TLS" } else { "over TLS" };
        format!("read: {} messages of {} octets, {tls}", self.messages, self.size)
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let clear = options.plain.then(|| setting("auth.allow_cleartext=true"));
    let mut stage = Stage::start(Plan {
        common: &options.common,
        accounts: 1,
        signer: None,
        ttl: 3600,
        settings: clear.transpose().map_err(anyhow::Error::msg)?.into_iter().collect(),
    })
    .await?;
    let mut watch = Watch { process: stage.process()?, figures: Figures::default() };
    fill(options, &stage, &mut watch).await?;

    stage.restart().await?;
    watch.process = stage.process()?;
    let mut client = login(options, &stage).await?;
    watch.process.quiet().await?;
    let start = Instant::now();
    client.command("SELECT INBOX").await?;
    watch.figures.add("SELECT, first", "ms", start.elapsed().as_secs_f64() * 1e3);

    let all = options.messages;
    let headers = "FETCH 1:* (ENVELOPE BODYSTRUCTURE)";
    watch.fetch(&mut client, "ENVELOPE BODYSTRUCTURE, first", headers, all).await?;
    watch.fetch(&mut client, "ENVELOPE BODYSTRUCTURE, again", headers, all).await?;
    watch.fetch(&mut client, "FLAGS", "FETCH 1:* FLAGS", all).await?;
    let bodies = options.bodies.min(all);
    watch.single_bodies(&mut client, bodies, all).await?;
    let command = format!("FETCH 1:{bodies} BODY.PEEK[]");
    watch.fetch(&mut client, "bodies, one command", &command, bodies).await?;
    watch.fetch(&mut client, "STORE", "STORE 1:* +FLAGS (\\Flagged)", all).await?;
    let start = Instant::now();
    client.command("SELECT INBOX").await?;
    watch.figures.add("SELECT, again", "ms", start.elapsed().as_secs_f64() * 1e3);
    watch.figures.add("memory at most", "MiB", watch.process.peak()? / 1024.0);
    watch.figures.add("memory after", "MiB", watch.process.resident()? / 1024.0);
    Ok(watch.figures)
}

/// Takes time and CPU of what is done with the server.
struct Watch {
    process: Process,
    figures: Figures,
}

impl Watch {
    /// Notes a step that dealt with `count` messages since `start`, when the server had used `before` of CPU.
    fn note(&mut self, name: &str, count: u32, start: Instant, before: f64) -> anyhow::Result<()> {
        let count = f64::from(count);
        self.figures.add(name, "messages/s", count / start.elapsed().as_secs_f64());
        let cpu = (self.cpu()? - before) * 1e6 / count;
        self.figures.add(format!("{name}: server CPU"), "µs/message", cpu);
        Ok(())
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        Ok(self.process.cpu()?.as_secs_f64())
    }

    /// One command that deals with all messages and has to bring at least `least` FETCH responses.
    async fn fetch(
        &mut self,
        client: &mut Client,
        name: &str,
        command: &str,
        least: u32,
    ) -> anyhow::Result<()> {
        let (start, before) = (Instant::now(), self.cpu()?);
        let brought = client.command(command).await?;
        if brought.fetched < least {
            bail!("{command} brought {} messages, not {least}", brought.fetched);
        }
        self.note(name, least, start, before)
    }

    /// Bodies from all over the mailbox, each by a command of its own.
    async fn single_bodies(
        &mut self,
        client: &mut Client,
        bodies: u32,
        all: u32,
    ) -> anyhow::Result<()> {
        let (start, before) = (Instant::now(), self.cpu()?);
        for number in 0..bodies {
            let sequence = u64::from(number) * u64::from(all) / u64::from(bodies) + 1;
            let brought = client.command(&format!("FETCH {sequence} BODY.PEEK[]")).await?;
            if brought.literals == 0 {
                bail!("message {sequence} has no body");
            }
        }
        self.note("bodies, one command each", bodies, start, before)
    }
}

/// Appends all messages over some connections, one message a command.
async fn fill(options: &Options, stage: &Stage, watch: &mut Watch) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let (messages, size) = (options.messages, options.size as usize);
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        clients.push(login(options, stage).await?);
    }
    let (start, before) = (Instant::now(), watch.cpu()?);
    for mut client in clients {
        let (next, to) = (Arc::clone(&next), stage.accounts[0].address.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return anyhow::Ok(());
                }
                client.append(&message(number, &to, size)).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?.context("an appending connection")?;
    }
    watch.note(&format!("APPEND, {} connections", options.connections), messages, start, before)
}

async fn login(options: &Options, stage: &Stage) -> anyhow::Result<Client> {
    if !options.plain {
        return stage.reader(&stage.accounts[0]).await;
    }
    let account = &stage.accounts[0];
    Client::login(stage.imap()?, None, &account.address, &account.password).await
}
