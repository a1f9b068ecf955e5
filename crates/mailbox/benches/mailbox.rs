//! What a mailbox costs its callers: appending, delivering, lists, one body, flags, searches, expunging.
//!
//! Time on the clock, with the hops between threads and, where a reply promises it, the sync; so a quiet machine and
//! `TMPDIR` on the disk in question. `cargo bench -p letterlock-mailbox`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use letterlock_imap_wire::{SearchKey, SearchProgram};
use letterlock_mailbox::{
    Columns, Delivery, FlagChange, FlagOperation, Flags, FolderId, Handle, InternalDate, Mailboxes,
    NewMessage, Options, SearchContext, SelectMode, SystemFlags, UidRanges, all_uids,
};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, DeliveryId, Pool, ServerKey};

/// Messages in the folder that is read.
const MESSAGES: usize = 10_000;

/// About 4 KiB, with a word that every hundredth message has.
fn text(number: usize) -> String {
    let line = format!("words of message {number}, among them block{}mark\r\n", number % 100);
    format!(
        "From: Ann <ann@example.org>\r\nTo: zoe@example.net\r\nSubject: number {number}\r\n\
         Message-ID: <{number}@example.org>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n{}",
        line.repeat(4_000 / line.len())
    )
}

fn date() -> InternalDate {
    InternalDate::utc(Timestamp::from_second(1_700_000_000).expect("a time"))
}

fn new(number: usize) -> NewMessage {
    NewMessage { bytes: text(number).into(), flags: Flags::default(), internal_date: date() }
}

fn delivery(number: usize) -> Delivery {
    Delivery {
        id: DeliveryId::generate(),
        recipient: "zoe@example.net".to_owned(),
        folder: "Junk".to_owned(),
        flags: Flags::default(),
        internal_date: date(),
        bytes: text(number).into(),
    }
}

struct Bed {
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    _mailboxes: Arc<Mailboxes>,
    handle: Handle,
    folder: FolderId,
}

impl Bed {
    /// INBOX with its messages, indexed.
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let server = ServerKey::load_or_create(dir.path(), None).expect("a key");
        let (secrets, _) =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
        let options = Options { index: false, idle_close: None, ..Options::default() };
        let mailboxes = Mailboxes::new(dir.path(), Pool::new("bench", 2), options);
        let (handle, folder) = runtime.block_on(async {
            mailboxes.create(&secrets).await.expect("a mailbox");
            let handle = mailboxes.unlock(secrets, false).await.expect("unlocked");
            for start in (0..MESSAGES).step_by(100) {
                let some = (start..start + 100).map(new).collect();
                handle.append("INBOX", some).await.expect("appended");
            }
            handle.index_now().await.expect("indexed");
            let selected = handle.select("INBOX", SelectMode::ReadOnly).await.expect("selected");
            (handle, selected.folder)
        });
        Self { _dir: dir, runtime, _mailboxes: mailboxes, handle, folder }
    }

    async fn list(&self, columns: Columns) -> usize {
        let (mut after, mut count) = (0, 0);
        loop {
            let rows = self.handle.rows(self.folder, &all_uids(), columns, after, 1_000).await;
            let rows = rows.expect("rows");
            let Some(last) = rows.last() else { return count };
            (after, count) = (last.uid, count + rows.len());
        }
    }

    async fn search(&self, key: &SearchKey) -> usize {
        let selected = self.handle.select("INBOX", SelectMode::ReadOnly).await.expect("selected");
        let context = SearchContext {
            uids: selected.uids,
            recent: u32::MAX,
            saved: UidRanges::new(),
            now: Timestamp::UNIX_EPOCH,
        };
        let program = SearchProgram { key: key.clone() };
        self.handle.search(self.folder, &program, &context).await.expect("searched").uids.len()
    }
}

fn writing(c: &mut Criterion) {
    let bed = Bed::new();
    let mut group = c.benchmark_group("write");
    group.sample_size(20);
    for count in [1, 16] {
        group.bench_function(format!("append {count}, durable"), |b| {
            let some = || (0..count).map(new).collect::<Vec<_>>();
            let append = |some| {
                bed.runtime.block_on(bed.handle.append("Archive", some)).expect("appended");
            };
            b.iter_batched(some, append, BatchSize::SmallInput);
        });
    }
    group.bench_function("deliver 16, not synced", |b| {
        let deliver = |some| {
            bed.runtime.block_on(bed.handle.deliver_all(some)).expect("delivered");
        };
        b.iter_batched(
            || (0..16).map(delivery).collect::<Vec<_>>(),
            deliver,
            BatchSize::SmallInput,
        );
    });
    group.bench_function("flag of one", |b| {
        let mut uid = 0;
        b.iter(|| {
            uid = uid % MESSAGES as u32 + 1;
            let change = FlagChange {
                operation: FlagOperation::Add,
                flags: Flags { system: SystemFlags::FLAGGED, ..Flags::default() },
            };
            let one = [uid].into_iter().collect();
            bed.runtime.block_on(bed.handle.store(bed.folder, &one, change, None)).expect("stored")
        });
    });
    group.sample_size(10);
    group.bench_function("expunge 1,000, durable", |b| {
        b.iter_custom(|count| expunge(&bed, count));
    });
    group.finish();
}

/// The time until the answer; what is cleared away afterwards is waited for, and does not count.
fn expunge(bed: &Bed, count: u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let some = (0..1_000).map(new).collect();
        let appended = bed.runtime.block_on(bed.handle.append("Trash", some)).expect("appended");
        let started = Instant::now();
        let gone = bed.runtime.block_on(bed.handle.remove(appended.folder, &all_uids()));
        spent += started.elapsed();
        assert_eq!(gone.expect("removed").len(), 1_000);
        bed.runtime.block_on(bed.handle.sweep()).expect("swept");
    }
    spent
}

fn reading(c: &mut Criterion) {
    let bed = Bed::new();
    let mut group = c.benchmark_group("read");
    group.sample_size(20);
    group.bench_function("flags of 10,000", |b| {
        b.iter(|| bed.runtime.block_on(bed.list(Columns::default())));
    });
    group.bench_function("envelopes and structures of 10,000", |b| {
        let columns = Columns { envelope: true, bodystructure: true, ..Columns::default() };
        b.iter(|| bed.runtime.block_on(bed.list(columns)));
    });
    group.bench_function("one body", |b| {
        let mut uid = 0;
        b.iter(|| {
            uid = (uid + 7) % MESSAGES as u32 + 1;
            bed.runtime.block_on(bed.handle.body(bed.folder, uid)).expect("read").expect("there")
        });
    });
    for (name, key) in [
        ("search, a word", SearchKey::Text("block7mark".to_owned())),
        ("search, part of a word", SearchKey::Text("lock7mar".to_owned())),
        ("search, a phrase", SearchKey::Text("them block7mark".to_owned())),
    ] {
        group.bench_function(name, |b| b.iter(|| bed.runtime.block_on(bed.search(&key))));
    }
    group.finish();
}

criterion_group!(benches, writing, reading);
criterion_main!(benches);
