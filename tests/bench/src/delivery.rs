//! Mail from another server, over some persistent connections, until it is readable by IMAP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use letterlock_testkit::smtp::stuffed;

use crate::gauge::{Process, sync_cost};
use crate::load::{Prepared, send};
use crate::messages::{HOST, SENDER, Signer, message};
use crate::report::{Figures, median, quantile};
use crate::spent::Start;
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
    let mut readers = if options.locked { Vec::new() } else { log_in(&stage).await? };
    let total = options.warm_up + options.messages;
    let mut mail = prepare(options.size, 0..total, &stage.accounts, signer.as_ref())?;
    let measured = Arc::new(mail.split_off(options.warm_up as usize));
    let clients = connect(options, &stage).await?;

    let (clients, _) = send(clients, Arc::new(mail)).await?;
    if !options.locked {
        until_readable(&mut readers, options.warm_up).await?;
    }
    let process = stage.process()?;
    process.quiet().await?;

    let before = Before::take(process, &stage)?;
    let start = Instant::now();
    let (_clients, times) = send(clients, measured).await?;
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
    start: Start,
    resident: f64,
    questions: f64,
}

impl Before {
    fn take(process: Process, stage: &Stage) -> anyhow::Result<Self> {
        process.reset_peak()?;
        Ok(Self {
            start: Start::take(process, stage.folder())?,
            resident: process.resident()?,
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
        let spent = self.start.spent(stage.folder(), count)?;
        figures.add("server CPU", "ms/message", spent.cpu);
        figures.add("client CPU", "ms/message", spent.own);
        if let Some(flushes) = spent.flushes {
            figures.add("disk flushes", "per message", flushes);
        }
        figures.add("written", "KiB/message", spent.written);
        let questions = (stage.questions() - self.questions) / count;
        figures.add("DNS questions", "per message", questions);
        figures.add("memory before", "MiB", self.resident / 1024.0);
        figures.add("memory at most", "MiB", process.peak()? / 1024.0);
        figures.add("memory after", "MiB", process.resident()? / 1024.0);
        Ok(())
    }
}

/// Messages with these numbers, to the accounts in turn.
pub(crate) fn prepare(
    size: u32,
    numbers: std::ops::Range<u32>,
    accounts: &[Account],
    signer: Option<&Signer>,
) -> anyhow::Result<Vec<Prepared>> {
    let mut mail = Vec::with_capacity(numbers.len());
    for number in numbers {
        let to = number as usize % accounts.len();
        let mut text = message(number, &accounts[to].address, size as usize);
        if let Some(signer) = signer {
            text = signer.signed(text)?;
        }
        mail.push(Prepared::new(SENDER, &accounts[to].address, stuffed(&text)));
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

/// A session of each account.
pub(crate) async fn log_in(stage: &Stage) -> anyhow::Result<Vec<imap::Client>> {
    let mut readers = Vec::new();
    for account in &stage.accounts {
        readers.push(stage.reader(account).await?);
    }
    Ok(readers)
}

/// Asks one account after another until together they have `wanted` messages.
pub(crate) async fn until_readable(
    readers: &mut [imap::Client],
    wanted: u32,
) -> anyhow::Result<()> {
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
