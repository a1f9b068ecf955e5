//! Many messages through APPEND into one account, and what its other sessions notice: how long a flag change takes,
//! and how soon a session in IDLE hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio::task::JoinSet;

use crate::Common;
use crate::imap::Client;
use crate::messages::message;
use crate::report::{Figures, median, quantile};
use crate::stage::{Plan, Stage};

/// Pause between two flag changes.
const PAUSE: Duration = Duration::from_millis(50);
/// Flag changes before the import begins, for comparison.
const CALM: usize = 100;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Messages to import
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    messages: u32,
    /// Octets of a message
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Connections that import
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    connections: u32,
    /// Messages of one APPEND
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
}

impl Options {
    pub(crate) fn title(&self) -> String {
        format!(
            "import: {} messages of {} octets, {} connections, {} an APPEND",
            self.messages, self.size, self.connections, self.batch
        )
    }
}

/// One run with a new server.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Figures> {
    let stage = Stage::start(Plan {
        common: &options.common,
        accounts: 1,
        signer: None,
        ttl: 3600,
        settings: Vec::new(),
    })
    .await?;
    let account = &stage.accounts[0];
    let mut pair = Pair::open(&stage).await?;
    let process = stage.process()?;
    let mut figures = Figures::default();
    let mut calm = Times::default();
    for _ in 0..CALM {
        pair.change(&mut calm).await?;
    }
    calm.report("before", &mut figures);

    let next = Arc::new(AtomicU32::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections {
        let mut client = stage.reader(account).await?;
        let (next, to) = (Arc::clone(&next), account.address.clone());
        let (messages, size, batch) = (options.messages, options.size as usize, options.batch);
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(batch, Ordering::Relaxed);
                if first >= messages {
                    return anyhow::Ok(());
                }
                let last = messages.min(first + batch);
                let mail: Vec<_> = (first..last).map(|n| message(n, &to, size)).collect();
                client.append_all(&mail).await?;
            }
        });
    }
    let (start, before) = (Instant::now(), process.cpu()?);
    process.reset_peak()?;
    let watcher = tokio::spawn(watch(pair, Arc::clone(&done)));
    let mut quarters = Vec::new();
    while !tasks.is_empty() {
        let reached = next.load(Ordering::Relaxed);
        if quarters.len() < 4 && reached >= options.messages / 4 * (quarters.len() as u32 + 1) {
            quarters.push((start.elapsed(), process.resident()?));
        }
        tokio::select! {
            ended = tasks.join_next() => { ended.context("an importing connection")???; }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    let took = start.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let busy = watcher.await??;
    let count = f64::from(options.messages);
    figures.add("imported", "messages/s", count / took);
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e6 / count;
    figures.add("server CPU", "µs/message", cpu);
    let mut earlier = Duration::ZERO;
    for (quarter, (at, resident)) in quarters.into_iter().enumerate() {
        let name = format!("quarter {}", quarter + 1);
        let speed = count / 4.0 / (at - earlier).as_secs_f64();
        figures.add(format!("{name}: speed"), "messages/s", speed);
        figures.add(format!("{name}: memory"), "MiB", resident / 1024.0);
        earlier = at;
    }
    figures.add("memory at most", "MiB", process.peak()? / 1024.0);
    busy.report("meanwhile", &mut figures);
    Ok(figures)
}

/// Two sessions of the account: one changes a flag of the first message, the other is in IDLE and hears of it.
struct Pair {
    changes: Client,
    hears: Client,
    set: bool,
}

#[derive(Default)]
struct Times {
    store: Vec<f64>,
    notice: Vec<f64>,
}

impl Times {
    fn report(&self, when: &str, figures: &mut Figures) {
        for (name, times) in [("STORE", &self.store), ("IDLE notice", &self.notice)] {
            figures.add(format!("{name} {when}, median"), "ms", median(times));
            figures.add(format!("{name} {when}, 99 %"), "ms", quantile(times, 0.99));
            figures.add(format!("{name} {when}, most"), "ms", quantile(times, 1.0));
        }
    }
}

impl Pair {
    async fn open(stage: &Stage) -> anyhow::Result<Self> {
        let account = &stage.accounts[0];
        let mut changes = stage.reader(account).await?;
        changes.append(&message(0, &account.address, 1000)).await?;
        changes.command("SELECT INBOX").await?;
        let mut hears = stage.reader(account).await?;
        hears.command("SELECT INBOX").await?;
        hears.idle().await?;
        Ok(Self { changes, hears, set: false })
    }

    /// Changes the flag and waits for both: the answer and the notice.
    async fn change(&mut self, times: &mut Times) -> anyhow::Result<()> {
        self.set = !self.set;
        let sign = if self.set { '+' } else { '-' };
        let start = Instant::now();
        let command = format!("STORE 1 {sign}FLAGS.SILENT (\\Flagged)");
        let store = async {
            self.changes.command(&command).await?;
            anyhow::Ok(start.elapsed())
        };
        let hear = async {
            self.hears.until(b"* 1 FETCH ").await?;
            anyhow::Ok(start.elapsed())
        };
        let (stored, heard) = tokio::try_join!(store, hear)?;
        times.store.push(stored.as_secs_f64() * 1e3);
        times.notice.push(heard.as_secs_f64() * 1e3);
        Ok(())
    }
}

async fn watch(mut pair: Pair, done: Arc<AtomicBool>) -> anyhow::Result<Times> {
    let mut times = Times::default();
    while !done.load(Ordering::Relaxed) {
        pair.change(&mut times).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}
