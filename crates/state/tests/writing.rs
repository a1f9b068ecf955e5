//! How notes come into the file: whoever goes away in the middle, and when the disk is full.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use letterlock_state::{Event, Retention, State, TlsLevel};
use letterlock_vault::{DeliveryId, Disk, OpenMode, Pool, ServerKey, Storage, StorageFile};
use tempfile::TempDir;

/// A disk that may be full.
#[derive(Clone, Default)]
struct Tight(Arc<AtomicBool>);

struct TightFile(Arc<dyn StorageFile>, Arc<AtomicBool>);

impl Storage for Tight {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(TightFile(Disk.open(path, mode)?, Arc::clone(&self.0))))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Disk.exists(path)
    }
    fn delete(&self, path: &Path) -> io::Result<()> {
        Disk.delete(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }
}

impl StorageFile for TightFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.0.write_at(buf, offset),
        }
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

struct Place {
    dir: TempDir,
    key: ServerKey,
    disk: Tight,
    pool: Pool,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let key = ServerKey::load_or_create(dir.path(), None).unwrap();
        let disk = Tight::default();
        let pool = Pool::with_storage("state", 1, Arc::new(disk.clone()));
        Self { dir, key, disk, pool }
    }

    async fn open(&self) -> Arc<State> {
        State::open(self.dir.path(), &self.key, &self.pool, Retention::default()).await.unwrap()
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap()
}

const MANY: usize = 9_000;

fn record_many(state: &State) -> DeliveryId {
    let id = DeliveryId::generate();
    for _ in 0..MANY {
        state.record(id, now(), Event::Released);
    }
    id
}

#[tokio::test]
async fn what_is_being_written_is_not_lost_when_its_asker_goes_away_or_at_closing() {
    let place = Place::new();
    let state = place.open().await;
    let one = record_many(&state);
    {
        let mut flush = Box::pin(state.flush());
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(flush.as_mut().poll(context).is_pending())
        });
        assert!(polled.await, "the disk takes its time");
    }
    assert_eq!(state.trace(one).await.unwrap().len(), MANY);
    let other = record_many(&state);
    // The writer begins, as there is plenty.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    state.close().await.unwrap();
    let state = place.open().await;
    assert_eq!(state.trace(other).await.unwrap().len(), MANY);
    state.close().await.unwrap();
}

#[tokio::test]
async fn a_domains_tls_is_known_at_every_moment_of_its_writing() {
    let place = Place::new();
    let state = place.open().await;
    state.remember_tls("example.net", TlsLevel::Verified, now());
    record_many(&state);
    let look = async {
        for _ in 0..200 {
            let memory = state.tls_memory("example.net", now()).await.unwrap();
            assert_eq!(memory.map(|memory| memory.level), Some(TlsLevel::Verified));
        }
    };
    let (flushed, ()) = tokio::join!(state.flush(), look);
    flushed.unwrap();
    state.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_traces_but_not_what_decides_about_mail() {
    let place = Place::new();
    let state = place.open().await;
    state.remember_unconfirmed([1; 32], now());
    state.flush().await.unwrap();
    place.disk.0.store(true, Ordering::Relaxed);
    state.remember_tls("example.net", TlsLevel::Dane, now());
    state.remember_unconfirmed([2; 32], now());
    assert!(state.take_unconfirmed(&[1; 32], now()));
    let id = DeliveryId::generate();
    state.record(id, now(), Event::Released);
    assert!(state.flush().await.is_err());
    let known = async |state: &State| {
        let memory = state.tls_memory("example.net", now()).await.unwrap();
        memory.is_some_and(|memory| memory.dane)
    };
    assert!(known(&state).await);
    place.disk.0.store(false, Ordering::Relaxed);
    assert!(state.trace(id).await.unwrap().is_empty());
    state.close().await.unwrap();

    let state = place.open().await;
    assert!(known(&state).await);
    assert!(!state.take_unconfirmed(&[1; 32], now()), "it was taken");
    assert!(state.take_unconfirmed(&[2; 32], now()));
    state.close().await.unwrap();
}
