//! What a database costs: commits as a delivered message makes them, and reading.
//!
//! Times are processor time of the thread that runs the job, the kernel's share included, so
//! that other load on the machine does not count; no queueing, no sync.
//! `cargo bench -p letterlock-vault`. With `--features bench-plain`, the same without the
//! cipher, for the ratio.

use std::time::Duration;

use criterion::{Criterion, criterion_group};
use letterlock_vault::{Database, FileKeys, Hooks, Key, Pool, Slice, Spec, VaultError};

const SCHEMA: &[&str] = &["CREATE TABLE entry (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
     CREATE TABLE side (id INTEGER PRIMARY KEY, a INT, b TEXT);
     CREATE INDEX side_a ON side (a)"];

/// Processor time that this thread has had.
fn on_processor() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

struct Bed {
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    pool: Pool,
    spec: Spec,
    database: Database,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let spec = Spec {
            path: folder.path().join("bench.db"),
            keys: FileKeys { page: Key::random(), integrity: Key::random() },
            schema: SCHEMA,
            cache_kib: 70,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let pool = Pool::new("bench", 1);
        let database = runtime.block_on(Database::open(&pool, spec.clone())).expect("a database");
        Self { _folder: folder, runtime, pool, spec, database }
    }

    /// The time that `count` calls of `work` take, outside of the log's copying.
    fn time(
        &self,
        count: u64,
        work: impl Fn(&mut rusqlite::Connection) -> rusqlite::Result<()> + Send + Clone + 'static,
    ) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let batch = left.min(50);
            let work = work.clone();
            spent += self
                .runtime
                .block_on(self.database.sliced(move |conn| {
                    let started = on_processor();
                    for _ in 0..batch {
                        work(conn)?;
                    }
                    Ok::<_, VaultError>(Slice::Done(on_processor().saturating_sub(started)))
                }))
                .expect("the job");
            self.runtime.block_on(self.database.checkpoint(false)).expect("a checkpoint");
            left -= batch;
        }
        spent
    }
}

/// The time that copying a log with so many commits of 5 KB takes, without waiting for the disk.
fn checkpoint(bed: &Bed, commits: u64, count: u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let work = insert(5_000);
        spent += bed
            .runtime
            .block_on(bed.database.sliced(move |conn| {
                for _ in 0..commits {
                    work(conn)?;
                }
                let started = on_processor();
                conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                Ok::<_, VaultError>(Slice::Done(on_processor().saturating_sub(started)))
            }))
            .expect("the job");
    }
    spent
}

/// Opens a mailbox of some megabytes that was closed cleanly, reads one row, and closes it: time
/// on the clock, as threads hand each other the work.
fn open(c: &mut Criterion) {
    let bed = Bed::new();
    bed.time(2_000, insert(2_000));
    bed.runtime.block_on(bed.database.close()).expect("a closing");
    c.bench_function("open, read a row, close", |b| {
        b.iter(|| {
            bed.runtime.block_on(async {
                let database =
                    Database::open(&bed.pool, bed.spec.clone()).await.expect("a database");
                let read = |conn: &rusqlite::Connection| {
                    let sql = "SELECT id FROM entry WHERE id = 1000";
                    Ok::<i64, VaultError>(conn.query_row(sql, [], |row| row.get(0))?)
                };
                let found = database.read(read).await.expect("a row");
                database.close().await.expect("a closing");
                found
            })
        });
    });
}

fn insert(length: usize) -> impl Fn(&mut rusqlite::Connection) -> rusqlite::Result<()> + Clone {
    move |conn| {
        let tx = conn.transaction()?;
        let body = vec![0x5a_u8; length];
        tx.prepare_cached("INSERT INTO entry (body) VALUES (?1)")?.execute([&body])?;
        tx.prepare_cached("INSERT INTO side (a, b) VALUES (abs(random() % 100000), 'text')")?
            .execute([])?;
        tx.commit()
    }
}

fn storage(c: &mut Criterion) {
    let bed = Bed::new();
    let mut group = c.benchmark_group("storage");
    group.sample_size(30);
    for (name, length) in [("commit of 5 KB", 5_000), ("commit of 60 KB", 60_000)] {
        group.bench_function(name, |b| b.iter_custom(|count| bed.time(count, insert(length))));
    }
    group.sample_size(10);
    group.bench_function("checkpoint of 200 commits of 5 KB", |b| {
        b.iter_custom(|count| checkpoint(&bed, 200, count));
    });
    group.sample_size(30);
    let bed = Bed::new();
    bed.time(4_000, insert(2_000));
    group.bench_function("scan of 4,000 rows of 2 KB", |b| {
        b.iter_custom(|count| {
            bed.time(count, |conn| {
                conn.query_row("SELECT sum(length(body) + id) FROM entry", [], |_| Ok(()))?;
                conn.query_row("SELECT count(*) FROM entry WHERE body > x'60'", [], |_| Ok(()))
            })
        });
    });
    group.finish();
}

/// What parsing a message does to the heap: many small blocks, some that grow, all given
/// back.
fn parse(c: &mut Criterion) {
    let line =
        "Received: from a.example by b.example with ESMTPS id 7; Mon, 1 Jan 2024 00:00:00\r\n";
    let message = line.repeat(120) + &"words of a message, more or less\r\n".repeat(600);
    c.bench_function("heap of a parser", |b| {
        b.iter(|| {
            let mut headers: Vec<(String, Vec<String>)> = Vec::new();
            let mut text = String::new();
            for line in std::hint::black_box(&message).lines() {
                match line.split_once(": ") {
                    Some((name, value)) => headers
                        .push((name.to_lowercase(), value.split(' ').map(str::to_owned).collect())),
                    None => text.push_str(line),
                }
            }
            (headers.len(), text.len())
        });
    });
}

criterion_group!(benches, storage, open, parse);

pub(crate) fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
