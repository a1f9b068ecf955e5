//! Mail from another server, over some persistent connections, until it is readable by IMAP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use letterlock_testkit::smtp::stuffed;
use tokio::task::JoinSet;

use crate::gauge::{Process, flushes, sync_cost};
use crate::messages::{HOST, SENDER, Signer, message};
use crate::report::{Figures, median, quantile};
use crate::stage::{Account, Plan, Stage};
use crate::{Common, imap, smtp};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// SMTP connections, each with one transaction at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Messages of one run
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    size: u32,
    /// Accounts that get the messages in turn, each message one recipient
    #[arg(long, value_name = "ACCOUNTS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    recipients: u32,
    /// Messages sent before the clock starts, so that DNS answers are cached and files are open
    #[arg(long, value_name = "MESSAGES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    warm_up: u32,
    /// Send with STARTTLS
    #[arg(long)]
    tls: bool,
    /// Sign the mail with DKIM (RSA-2048), so that the server has a signature to verify
    #[arg(long)]
    signed: bool,
    /// Nobody is logged in while the mail comes; its filing is measured at the logins afterwards
    #[arg(long)]
    locked: bool,
    /// Wait for each reply before the next command instead of pipelining
    #[arg(long)]
    lockstep: bool,
    /// Time to live of the sender's DNS records in seconds; with 0 every message asks again
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    dns_ttl: u32,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        let on = |flag, name| if flag { name } else { "" };
        format!(
            "delivery: {} messages of {} octets, {} connections, {} accounts{}{}{}{}",
            self.messages,
            self.size,
            self.connections,
            self.recipients,
            on(self.tls, ", TLS"),
            on(self.signed, ", signed"),
            on(self.locked, ", locked"),
            on(self.lockstep, ", lockstep"),
        )
    }
}

/// A message ready for the wire, and the number of its account.
struct Prepared {
    to: usize,
    data: Vec<u8>,
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let signer = if options.signed { Some(Signer::new()?) } else { None };
    let grace = options.locked.then(|| crate::stage::setting("auth.grace=\"0s\""));
    let stage = Stage::start(Plan {
        common: &options.common,
        accounts: options.recipients,
        signer: signer.as_ref(),
        ttl: options.dns_ttl,
        settings: grace.transpose().map_err(anyhow::Error::msg)?.into_iter().collect(),
    })
    .await?;
    let sync = sync_cost(stage.folder())?;
    let accounts: Arc<[Account]> = stage.accounts.clone().into();
    let mut readers = if options.locked { Vec::new() } else { log_in(&stage).await? };
    let total = options.warm_up + options.messages;
    let mut mail = prepare(options, 0..total, &accounts, signer.as_ref())?;
    let measured = Arc::new(mail.split_off(options.warm_up as usize));
    let clients = connect(options, &stage).await?;

    let (clients, _) = send(clients, Arc::new(mail), &accounts).await?;
    if !options.locked {
        until_readable(&mut readers, options.warm_up).await?;
    }
    let process = stage.process()?;
    process.quiet().await?;

    let before = Before::take(process, &stage)?;
    let start = Instant::now();
    let (_clients, times) = send(clients, measured, &accounts).await?;
    let accepted = start.elapsed();
    let at_login = Instant::now();
    if options.locked {
        readers = log_in(&stage).await?;
    }
    until_readable(&mut readers, total).await?;
    let (readable, filed) = (start.elapsed(), at_login.elapsed());
    process.quiet().await?;

    let count = f64::from(options.messages);
    let mut figures = Figures::default();
    figures.add("accepted", "messages/s", count / accepted.as_secs_f64());
    if options.locked {
        let filed_count = f64::from(total);
        figures.add("filed after login", "messages/s", filed_count / filed.as_secs_f64());
    } else {
        figures.add("readable", "messages/s", count / readable.as_secs_f64());
    }
    figures.add("transaction, median", "ms", median(&times));
    figures.add("transaction, 99 %", "ms", quantile(&times, 0.99));
    before.compare(process, &stage, count, &mut figures)?;
    figures.add("one sync of this disk", "ms", sync);
    Ok(figures)
}

/// What the gauges said when the clock started.
struct Before {
    cpu: Duration,
    own: Duration,
    resident: f64,
    written: f64,
    flushes: Option<f64>,
    questions: f64,
}

impl Before {
    fn take(process: Process, stage: &Stage) -> anyhow::Result<Self> {
        process.reset_peak()?;
        Ok(Self {
            cpu: process.cpu()?,
            own: Process::own().cpu()?,
            resident: process.resident()?,
            written: process.written()?,
            flushes: flushes(stage.folder()),
            questions: stage.questions(),
        })
    }

    fn compare(
        &self,
        process: Process,
        stage: &Stage,
        count: f64,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let each = |now: Duration, then: Duration| (now - then).as_secs_f64() * 1e3 / count;
        figures.add("server CPU", "ms/message", each(process.cpu()?, self.cpu));
        figures.add("client CPU", "ms/message", each(Process::own().cpu()?, self.own));
        if let (Some(then), Some(now)) = (self.flushes, flushes(stage.folder())) {
            figures.add("disk flushes", "per message", (now - then) / count);
        }
        let written = (process.written()? - self.written) / 1024.0 / count;
        figures.add("written", "KiB/message", written);
        let questions = (stage.questions() - self.questions) / count;
        figures.add("DNS questions", "per message", questions);
        figures.add("memory before", "MiB", self.resident / 1024.0);
        figures.add("memory at most", "MiB", process.peak()? / 1024.0);
        figures.add("memory after", "MiB", process.resident()? / 1024.0);
        Ok(())
    }
}

fn prepare(
    options: &Options,
    numbers: std::ops::Range<u32>,
    accounts: &[Account],
    signer: Option<&Signer>,
) -> anyhow::Result<Vec<Prepared>> {
    let mut mail = Vec::with_capacity(numbers.len());
    for number in numbers {
        let to = number as usize % accounts.len();
        let mut text = message(number, &accounts[to].address, options.size as usize);
        if let Some(signer) = signer {
            text = signer.signed(text)?;
        }
        mail.push(Prepared { to, data: stuffed(&text) });
    }
    Ok(mail)
}

async fn connect(options: &Options, stage: &Stage) -> anyhow::Result<Vec<smtp::Client>> {
    let tls = options.tls.then_some(&stage.tls);
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        let address = stage.smtp()?;
        clients.push(smtp::Client::connect(address, HOST, tls, options.lockstep).await?);
    }
    Ok(clients)
}

/// Sends all messages, each connection taking the next one when it is done with its last. Gives the connections back,
/// and how long each transaction took, in milliseconds.
async fn send(
    clients: Vec<smtp::Client>,
    mail: Arc<Vec<Prepared>>,
    accounts: &Arc<[Account]>,
) -> anyhow::Result<(Vec<smtp::Client>, Vec<f64>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (mail, next, accounts) = (Arc::clone(&mail), Arc::clone(&next), Arc::clone(accounts));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while let Some(Prepared { to, data }) = mail.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                client.deliver(SENDER, &accounts[*to].address, data).await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok((client, times))
        });
    }
    let (mut clients, mut all) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (client, times) = done?.context("a sending connection")?;
        clients.push(client);
        all.extend(times);
    }
    Ok((clients, all))
}

async fn log_in(stage: &Stage) -> anyhow::Result<Vec<imap::Client>> {
    let mut readers = Vec::new();
    for account in &stage.accounts {
        readers.push(stage.reader(account).await?);
    }
    Ok(readers)
}

/// Asks one account after another until together they have `wanted` messages.
async fn until_readable(readers: &mut [imap::Client], wanted: u32) -> anyhow::Result<()> {
    loop {
        let mut found = 0;
        for reader in &mut *readers {
            found += reader.messages().await?;
        }
        if found >= wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
