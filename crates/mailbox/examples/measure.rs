//! Measures a large mailbox without a server around it: import, indexing, searches, single bodies, deliveries,
//! opening and closing. `cargo run --release -p letterlock-mailbox --example measure -- 100000`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_imap_wire::{SearchKey, SearchProgram};
use letterlock_mailbox::{
    Delivery, Flags, Handle, InternalDate, Mailboxes, NewMessage, Options, SearchContext,
    SelectMode, UidRanges,
};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, DeliveryId, Pool, ServerKey};

/// Words by rank, frequent ones more often, as in a language.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> String {
        let spread = (self.next() % 1_000_000) as f64 / 1_000_000.0;
        let rank = (60_000f64.powf(spread)) as u64;
        let letters = "etaoinshrdlucmfwypvbgkjqxz".as_bytes();
        let (mut rest, mut word) = (rank * 7 + 11, String::new());
        while rest > 0 {
            word.push(char::from(letters[(rest % 19) as usize]));
            rest /= 19;
        }
        word
    }

    fn mail(&mut self, number: usize) -> String {
        let mut body = String::new();
        for at in 1..(100 + self.next() % 400) {
            body.push_str(&self.word());
            body.push_str(if at % 12 == 0 { "\r\n" } else { " " });
        }
        let (id, other, mark) = (self.next(), self.next(), number / 1_000);
        format!(
            "Received: from mx{}.example.org (mx.example.org [192.0.2.{}]) by mail.example.net with ESMTPS id {other:016X}\r\n\
             From: {} <{}@example.org>\r\nTo: me@example.net\r\nSubject: {} {} number {number}\r\n\
             Message-ID: <{id:016x}@example.org>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n{body} block{mark}mark end.\r\n",
            other % 9,
            other % 250,
            self.word(),
            self.word(),
            self.word(),
            self.word()
        )
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1024
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn say(what: &str, count: usize, began: Instant, cpu_before: Duration) {
    let (time, spent) = (began.elapsed(), cpu() - cpu_before);
    println!(
        "{what:<34} {count:>8} {:>10.1} ms {:>9.1} us each, CPU {:>9.1} us each, RSS {} MiB",
        time.as_secs_f64() * 1e3,
        time.as_secs_f64() * 1e6 / count.max(1) as f64,
        spent.as_secs_f64() * 1e6 / count.max(1) as f64,
        resident()
    );
}

async fn search(handle: &Handle, what: &str, key: SearchKey) {
    let selected = handle.select("INBOX", SelectMode::ReadOnly).await.expect("select");
    let context = SearchContext {
        uids: Arc::clone(&selected.uids),
        recent: u32::MAX,
        saved: UidRanges::new(),
        now: Timestamp::UNIX_EPOCH,
    };
    let program = SearchProgram { key };
    let mut best = Duration::MAX;
    let mut hits = 0;
    for _ in 0..3 {
        let began = Instant::now();
        hits = handle.search(selected.folder, &program, &context).await.expect("search").uids.len();
        best = best.min(began.elapsed());
    }
    println!("  {what:<32} {hits:>8} hits {:>9.2} ms", best.as_secs_f64() * 1e3);
}

async fn searches(handle: &Handle) {
    let text = |part: &str| SearchKey::Text(part.to_owned());
    search(handle, "TEXT, 1000 hits", text("block7mark")).await;
    search(handle, "TEXT inside a word", text("ock7mar")).await;
    search(handle, "TEXT, none", text("nothingthere")).await;
    search(handle, "TEXT, common word", text("th")).await;
    search(handle, "TEXT, one letter", text("e")).await;
    search(handle, "TEXT, two words", text("block7mark end")).await;
    search(handle, "BODY, 1000 hits", SearchKey::Body("block8mark".into())).await;
    search(handle, "SUBJECT", SearchKey::Subject("number 4321".into())).await;
    search(handle, "FROM", SearchKey::From("tat@example".into())).await;
}

#[tokio::main]
async fn main() {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a folder");
    let server = ServerKey::load_or_create(dir.path(), None).expect("a key");
    let (secrets, _) =
        AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
    let options = Options { index: false, idle_close: None, ..Options::default() };
    let mailboxes = Mailboxes::new(dir.path(), Pool::new("measure", 2), options);
    mailboxes.create(&secrets).await.expect("a mailbox");
    let handle = mailboxes.unlock(secrets.clone(), false).await.expect("unlocked");
    let mut words = Words(0x1234_5678_9abc_def1);

    let messages: Vec<String> = (0..2_000).map(|number| words.mail(number)).collect();
    let date = InternalDate::utc(Timestamp::from_second(1_700_000_000).expect("a time"));
    let (began, before) = (Instant::now(), cpu());
    for some in messages.chunks(32) {
        let all = some
            .iter()
            .map(|text| Delivery {
                id: DeliveryId::generate(),
                recipient: "me@example.net".into(),
                folder: "INBOX".into(),
                flags: Flags::default(),
                internal_date: date,
                bytes: text.clone().into(),
            })
            .collect();
        handle.deliver_all(all).await.expect("delivered");
    }
    handle.sync().await.expect("synced");
    say("deliver, 32 at once", messages.len(), began, before);

    let (mut octets, mut making) = (0, Duration::ZERO);
    let (began, before) = (Instant::now(), cpu());
    let mut number = messages.len();
    while number < count {
        let making_began = Instant::now();
        let some: Vec<NewMessage> = (number..count.min(number + 100))
            .map(|number| NewMessage {
                bytes: words.mail(number).into(),
                flags: Flags::default(),
                internal_date: date,
            })
            .collect();
        making += making_began.elapsed();
        number += some.len();
        octets += some.iter().map(|message| message.bytes.len()).sum::<usize>();
        handle.append("INBOX", some).await.expect("appended");
    }
    say("append, 100 at once", count.saturating_sub(messages.len()), began, before);
    println!("  of it {:.1} s for making up {} MiB", making.as_secs_f64(), octets >> 20);

    let folder = handle.select("INBOX", SelectMode::ReadOnly).await.expect("select").folder;
    let (began, before) = (Instant::now(), cpu());
    for at in 0..2_000u32 {
        let uid = 1 + at * 7 % messages.len() as u32;
        handle.body(folder, uid).await.expect("read").expect("there");
    }
    say("one body", 2_000, began, before);

    if std::env::var_os("SCAN").is_some() {
        println!("without an index");
        searches(&handle).await;
    }
    let (began, before) = (Instant::now(), cpu());
    let state = handle.index_now().await.expect("indexed");
    say("index", count, began, before);
    println!(
        "  {state:?}, {:.2} of the text; CPU {:?}",
        state.bytes as f64 / octets.max(1) as f64,
        mailboxes.index_cpu()
    );
    searches(&handle).await;

    let (began, before) = (Instant::now(), cpu());
    drop(handle);
    for _ in 0..20 {
        mailboxes.lock(secrets.account()).await.expect("locked");
        let handle = mailboxes.unlock(secrets.clone(), false).await.expect("unlocked");
        handle.status("INBOX").await.expect("status");
    }
    say("close and open", 20, began, before);
    mailboxes.close_all().await;
}
