//! Looks through the memory of this very process, and uses a database in between.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use letterlock_vault::{
    AccountId, Database, FileKeys, Hooks, Key, Keyring, Pool, Slice, Spec, VaultError,
};

/// What is looked for, in a form that is not found by the search itself.
pub(crate) struct Masked(Vec<u8>);

const MASK: u8 = 0xa5;

impl Masked {
    pub(crate) fn new(octets: &[u8]) -> Self {
        Self(octets.iter().map(|octet| octet ^ MASK).collect())
    }

    fn stands_at(&self, place: &[u8]) -> bool {
        place.len() >= self.0.len() && self.0.iter().zip(place).all(|(m, o)| *m == *o ^ MASK)
    }

    pub(crate) fn unmasked(&self) -> Vec<u8> {
        self.0.iter().map(|octet| octet ^ MASK).collect()
    }
}

/// In which writable regions each of them stands, and how often.
pub(crate) fn find(wanted: &[&Masked]) -> Vec<Vec<String>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = vec![Vec::new(); wanted.len()];
    let mut buffer = vec![0; 1 << 20];
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let name = words.nth(3).unwrap_or("").to_owned();
        let (start, end) = range.split_once('-').unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        let mut at = u64::from_str_radix(start, 16).unwrap();
        while at < end {
            let length = buffer.len().min((end - at) as usize);
            let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
            for offset in 0..read {
                let address = at + offset as u64;
                if own.contains(&address) {
                    continue;
                }
                for (masked, places) in wanted.iter().zip(&mut found) {
                    if masked.stands_at(&buffer[offset..read]) {
                        places.push(format!("{address:x} {name}"));
                    }
                }
            }
            // A little again, for what lies across the border.
            let step = if read == buffer.len() { read - 64 } else { read };
            at += step.max(1) as u64;
        }
    }
    buffer.fill(0);
    found
}

/// What is left of a mailbox.
pub(crate) struct Outcome {
    /// Where the key of its pages still stands.
    pub(crate) key: Vec<String>,
    /// Where words of its mail do.
    pub(crate) text: Vec<String>,
}

fn spec(path: &Path, page: &Masked) -> Spec {
    let mut octets = page.unmasked();
    let page = Key::from_slice(&octets).unwrap();
    octets.fill(0);
    std::hint::black_box(&octets);
    Spec {
        path: path.to_owned(),
        keys: FileKeys { page, integrity: Key::random() },
        schema: &["CREATE TABLE entry (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"],
        cache_kib: 70,
        idle_close: None,
        hooks: Hooks::default(),
    }
}

/// Random octets that stand nowhere else, and not in the clear.
fn secret() -> Masked {
    let key = Key::random();
    Masked::new(key.expose())
}

/// Works in a mailbox, locks it, and tells what is left of it in memory.
pub(crate) fn after_locking() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let page = secret();
    let text = Masked::new(b"the words of a letter, 7f31c9");
    let pool = Pool::new("memory", 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let account = AccountId::generate();
    let ring: Keyring<(Key, Database)> = Keyring::new();
    runtime.block_on(async {
        let spec = spec(&folder.path().join("mailbox.db"), &page);
        let key = spec.keys.page.clone();
        let database = Database::open(&pool, spec).await.unwrap();
        for number in 0..200_i64 {
            let mut body = text.unmasked();
            body.resize(3_000 + number as usize * 10, b'x');
            let insert = move |tx: &rusqlite::Transaction<'_>| {
                tx.execute("INSERT INTO entry VALUES (?1, ?2)", (number, body))?;
                Ok::<_, VaultError>(())
            };
            if number % 5 == 0 {
                database.commit(insert).await.unwrap();
            } else {
                database.write(insert).await.unwrap();
            }
        }
        database.checkpoint(true).await.unwrap();
        let read = |conn: &mut rusqlite::Connection| {
            let mut statement = conn.prepare("SELECT body FROM entry ORDER BY body, id DESC")?;
            let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            let sum: usize = rows.map(|row| row.map_or(0, |body| body.len())).sum();
            Ok::<_, VaultError>(Slice::Done(sum))
        };
        assert!(database.sliced(read).await.unwrap() > 600_000);
        ring.insert(account, (key, database.clone()), Instant::now());
        let open = find(&[&page, &text]);
        assert!(open.iter().all(|places| !places.is_empty()), "the search finds what is there");
        // A session that has not gone yet holds a handle still.
        let (key, kept) = ring.remove(account).unwrap();
        drop(key);
        database.close().await.unwrap();
        let left = find(&[&page, &text]);
        drop((database, kept));
        let [key, text] = <[_; 2]>::try_from(left).unwrap();
        Outcome { key, text }
    })
}
