//! Databases over the encrypting VFS: that they store what SQLite stores, keep what they
//! promise, and serve nothing that was changed behind their back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use letterlock_vault::{Database, FileKeys, Hooks, Key, Pool, Spec, VaultError};

#[path = "storage/copy.rs"]
mod copy;
#[path = "storage/crash.rs"]
mod crash;
#[path = "storage/damage.rs"]
mod damage;
#[path = "storage/jobs.rs"]
mod jobs;
#[path = "storage/model.rs"]
mod model;
#[path = "storage/pages.rs"]
mod pages;
#[path = "storage/replay.rs"]
mod replay;
#[path = "storage/sql.rs"]
mod sql;
#[path = "storage/together.rs"]
mod together;
#[path = "storage/trouble.rs"]
mod trouble;
#[path = "storage/world.rs"]
mod world;

use world::World;

const SCHEMA: &[&str] = &["CREATE TABLE entry (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"];

fn keys() -> FileKeys {
    FileKeys { page: Key::from_bytes([1; 32]), integrity: Key::from_bytes([2; 32]) }
}

fn spec(path: &Path) -> Spec {
    Spec {
        path: path.to_owned(),
        keys: keys(),
        schema: SCHEMA,
        // As small as it gets, so that SQLite has to spill.
        cache_kib: 16,
        idle_close: None,
        hooks: Hooks::default(),
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// A pool on `world`, and a database at `path` on it.
async fn open(world: &World, path: &Path) -> (Pool, Database) {
    let pool = Pool::with_storage("test", 2, world.storage());
    let database = Database::open(&pool, spec(path)).await.unwrap();
    (pool, database)
}

fn body(number: i64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as i64 ^ number.wrapping_mul(31)) as u8).collect()
}

async fn insert(database: &Database, number: i64, length: usize) -> Result<(), VaultError> {
    database
        .commit(move |tx| {
            tx.prepare_cached("INSERT INTO entry VALUES (?1, ?2)")?
                .execute((number, body(number, length)))?;
            Ok(())
        })
        .await
}

/// Everything in the table, and SQLite's own opinion of the file.
async fn contents(database: &Database) -> Result<Vec<(i64, Vec<u8>)>, VaultError> {
    database
        .read(|conn| {
            let opinion: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            assert_eq!(opinion, "ok");
            let mut statement = conn.prepare("SELECT id, body FROM entry ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

#[tokio::test]
async fn what_is_stored_on_a_real_disk_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    let pool = Pool::new("test", 1);
    let database = Database::open(&pool, spec(&path)).await.unwrap();
    for number in 0..20 {
        insert(&database, number, 9_000).await.unwrap();
    }
    database.close().await.unwrap();
    assert!(!log_of(&path).exists());
    let database = Database::open(&pool, spec(&path)).await.unwrap();
    let expected: Vec<_> = (0..20).map(|number| (number, body(number, 9_000))).collect();
    assert_eq!(contents(&database).await.unwrap(), expected);
    let names: Vec<_> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() <= 2, "{names:?}");
    pool.shutdown();
}

#[tokio::test]
async fn nothing_readable_is_in_any_file() {
    const CANARY: &str = "the quick brown canary";
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    database
        .write(|tx| {
            tx.execute_batch(
                "CREATE TABLE secretname (text TEXT); CREATE INDEX hiddenname ON secretname (text)",
            )?;
            for number in 0..200 {
                tx.execute(
                    "INSERT INTO secretname VALUES (?1)",
                    [format!("{CANARY} {number} {}", "x".repeat(number * 30))],
                )?;
            }
            Ok::<_, VaultError>(())
        })
        .await
        .unwrap();
    let search = |world: &World| {
        for file in [path.clone(), log_of(&path)] {
            let octets = world.octets(&file).unwrap_or_default();
            for word in
                [CANARY, "secretname", "hiddenname", "vault_meta", "SQLite format", "xxxxxxxxxxxx"]
            {
                let found = octets.windows(word.len()).any(|part| part == word.as_bytes());
                assert!(!found, "{word} in {}", file.display());
            }
        }
    };
    assert!(world.octets(&log_of(&path)).unwrap().len() > 100_000);
    search(&world);
    database.checkpoint(true).await.unwrap();
    assert_eq!(world.octets(&log_of(&path)).unwrap().len(), 0);
    assert!(world.octets(&path).unwrap().len() > 100_000);
    search(&world);
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    database.close().await.unwrap();
    let mut other = spec(&path);
    other.keys.page = Key::random();
    let refused = Database::open(&pool, other).await.err().unwrap();
    assert!(
        matches!(&refused, VaultError::Damaged { file, page: 1 } if *file == path),
        "{refused}"
    );
}

/// Waits until `done`, for work that the background does.
async fn eventually(done: impl Fn() -> bool) -> bool {
    for _ in 0..300 {
        if done() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Keeps a database's queue from going on, until dropped.
struct Blocked {
    release: Option<std::sync::mpsc::Sender<()>>,
    job: tokio::task::JoinHandle<Result<(), VaultError>>,
}

impl Blocked {
    async fn new(database: &Database) -> Self {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (running, started) = tokio::sync::oneshot::channel();
        let database = database.clone();
        let job = tokio::spawn(async move {
            database
                .read(move |_| {
                    running.send(()).unwrap();
                    let _ = wait.recv();
                    Ok(())
                })
                .await
        });
        started.await.unwrap();
        Self { release: Some(release), job }
    }

    async fn release(mut self) {
        drop(self.release.take());
        self.job.await.unwrap().unwrap();
    }
}

/// Polls a future once, so that its job stands in the queue, and lets it run on.
async fn queued<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let mut future = Box::pin(future);
    let early =
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await;
    match early {
        std::task::Poll::Ready(value) => tokio::spawn(async move { value }),
        std::task::Poll::Pending => tokio::spawn(future),
    }
}

fn shared<T>(value: T) -> Arc<std::sync::Mutex<T>> {
    Arc::new(std::sync::Mutex::new(value))
}
