//! Bytes changed behind the vault's back: found, named, and never served.

use std::collections::BTreeSet;
use std::io;

use letterlock_vault::{OpenMode, Storage, StorageFile};

use super::world::Dice;
use super::*;

const PAGE: usize = 4096;
const FRAME: usize = 4120;

/// A closed database with twenty rows, most of them on several pages.
async fn closed() -> (World, PathBuf, Vec<(i64, Vec<u8>)>) {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..20 {
        insert(&database, number, 9_000).await.unwrap();
    }
    let rows = contents(&database).await.unwrap();
    database.close().await.unwrap();
    (world, path, rows)
}

/// Reads everything there is; the damage that was met, or the rows.
async fn survey(world: &World, path: &Path) -> Result<Vec<(i64, Vec<u8>)>, VaultError> {
    let pool = Pool::with_storage("test", 1, world.storage());
    let database = Database::open(&pool, spec(path)).await?;
    let rows = database
        .read(|conn| {
            let mut statement = conn.prepare("SELECT id, body FROM entry ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            conn.query_row("SELECT clean FROM vault_meta", [], |_| Ok(()))?;
            Ok(rows)
        })
        .await;
    database.kill();
    rows
}

#[tokio::test]
async fn a_changed_page_is_named() {
    let (world, path, _) = closed().await;
    let octets = world.octets(&path).unwrap();
    let mut dice = Dice::new(3);
    for page in 1..=octets.len() / PAGE {
        for _ in 0..2 {
            let left = world.copy();
            let mut changed = octets.clone();
            // The last 16 octets are the outer hash, which reading does not look at.
            changed[(page - 1) * PAGE + dice.below(PAGE - 16)] ^= 1 << dice.below(8);
            left.set_octets(&path, changed);
            let met = survey(&left, &path).await;
            assert!(
                matches!(&met, Err(VaultError::Damaged { file, page: named })
                    if *file == path && *named as usize == page),
                "page {page}: {met:?}"
            );
            let found =
                letterlock_vault::verify_file(left.storage().as_ref(), &path, &keys().integrity);
            assert_eq!(found.unwrap().damaged, vec![page as u32]);
        }
    }
}

#[tokio::test]
async fn exchanged_zeroed_and_missing_pages_are_found() {
    let (world, path, _) = closed().await;
    let octets = world.octets(&path).unwrap();
    let pages = octets.len() / PAGE;
    let check = async |changed: Vec<u8>, what: String| {
        let left = world.copy();
        left.set_octets(&path, changed);
        let met = survey(&left, &path).await;
        assert!(matches!(met, Err(VaultError::Damaged { .. })), "{what}: {met:?}");
    };
    for page in 0..pages {
        let mut zeroed = octets.clone();
        zeroed[page * PAGE..(page + 1) * PAGE].fill(0);
        check(zeroed, format!("zeroed {page}")).await;
        let other = (page + 1) % pages;
        let mut exchanged = octets.clone();
        exchanged[page * PAGE..(page + 1) * PAGE]
            .copy_from_slice(&octets[other * PAGE..(other + 1) * PAGE]);
        exchanged[other * PAGE..(other + 1) * PAGE]
            .copy_from_slice(&octets[page * PAGE..(page + 1) * PAGE]);
        check(exchanged, format!("exchanged {page}")).await;
        check(octets[..page * PAGE].to_vec(), format!("cut to {page} pages")).await;
        check(octets[..page * PAGE + 1_000].to_vec(), format!("cut within page {page}")).await;
    }
}

#[tokio::test]
async fn a_main_file_that_is_gone_is_not_made_anew_beside_its_log() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 10).await.unwrap();
    database.kill();
    let log = world.octets(&log_of(&path)).unwrap();
    let left = World::default();
    left.set_octets(&log_of(&path), log);
    let met = survey(&left, &path).await;
    assert!(matches!(met, Err(VaultError::Damaged { page: 0, .. })), "{met:?}");
    drop(pool);
}

/// A crashed database with twelve commits in its log.
async fn crashed() -> (World, PathBuf) {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..12 {
        insert(&database, number, 3_000).await.unwrap();
    }
    database.kill();
    (world, path)
}

fn is_prefix(rows: &[(i64, Vec<u8>)]) -> bool {
    rows.iter()
        .zip(0..)
        .all(|((id, octets), number)| *id == number && *octets == body(number, 3_000))
}

#[tokio::test]
async fn a_log_ends_where_it_was_changed() {
    let (world, path) = crashed().await;
    let octets = world.octets(&log_of(&path)).unwrap();
    let frames = (octets.len() - 32) / FRAME;
    let mut dice = Dice::new(4);
    let mut lengths = BTreeSet::new();
    for frame in 0..frames {
        let start = 32 + frame * FRAME;
        let mut flipped = octets.clone();
        flipped[start + dice.below(FRAME - 16)] ^= 1 << dice.below(8);
        let mut exchanged = octets.clone();
        let other = 32 + (frame + 1) % frames * FRAME;
        exchanged[start..start + FRAME].copy_from_slice(&octets[other..other + FRAME]);
        exchanged[other..other + FRAME].copy_from_slice(&octets[start..start + FRAME]);
        let mut zeroed = octets.clone();
        zeroed[start..start + FRAME].fill(0);
        for changed in [flipped, exchanged, zeroed] {
            let left = world.copy();
            left.set_octets(&log_of(&path), changed);
            let rows = survey(&left, &path).await.unwrap();
            assert!(rows.len() < 12 && is_prefix(&rows), "frame {frame}: {} rows", rows.len());
            lengths.insert(rows.len());
        }
    }
    assert!(lengths.len() > 8, "{lengths:?}");
}

#[tokio::test]
async fn an_opening_with_another_key_does_not_delete_the_log() {
    let (world, path) = crashed().await;
    let log = world.octets(&log_of(&path)).unwrap();
    let (page, integrity) = (Key::from_bytes([9; 32]), Key::from_bytes([2; 32]));
    let pool = Pool::with_storage("test", 1, world.storage());
    let other = Spec { keys: FileKeys { page, integrity }, ..spec(&path) };
    let refused = Database::open(&pool, other).await;
    assert!(matches!(refused, Err(VaultError::Damaged { .. })));
    assert_eq!(world.octets(&log_of(&path)), Some(log));
}

#[tokio::test]
async fn a_changed_log_header_is_damage_and_not_an_empty_log() {
    let (world, path) = crashed().await;
    let octets = world.octets(&log_of(&path)).unwrap();
    for at in 0..32 {
        let left = world.copy();
        let mut changed = octets.clone();
        changed[at] ^= 0x10;
        left.set_octets(&log_of(&path), changed);
        let met = survey(&left, &path).await;
        assert!(
            matches!(&met, Err(VaultError::Damaged { file, page: 0 }) if *file == log_of(&path)),
            "octet {at}: {met:?}"
        );
    }
}

#[tokio::test]
async fn a_frame_changed_under_an_open_database_is_named() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..12 {
        insert(&database, number, 9_000).await.unwrap();
    }
    let mut octets = world.octets(&log_of(&path)).unwrap();
    let frames = (octets.len() - 32) / FRAME;
    for frame in 0..frames {
        octets[32 + frame * FRAME + 100] ^= 1;
    }
    world.set_octets(&log_of(&path), octets);
    // More than the cache holds, so some of it has to be read.
    let met: Result<Vec<Vec<u8>>, VaultError> = database
        .read(|conn| {
            let mut statement = conn.prepare("SELECT body FROM entry")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await;
    assert!(
        matches!(&met, Err(VaultError::Damaged { file, page }) if *file == log_of(&path) && *page > 0),
        "{met:?}"
    );
    // It is not copied into the main file either.
    let met = database.checkpoint(false).await;
    assert!(matches!(met, Err(VaultError::Damaged { .. })), "{met:?}");
}

#[tokio::test]
async fn a_torn_first_page_does_not_keep_the_log_from_being_read() {
    let (world, path) = crashed().await;
    // As a checkpoint leaves it that is cut short in the middle of page 1.
    let mut octets = world.octets(&path).unwrap();
    octets[512..2_048].fill(0x5a);
    world.set_octets(&path, octets);
    let rows = survey(&world, &path).await.unwrap();
    assert_eq!(rows.len(), 12);
    assert!(is_prefix(&rows));
}

#[tokio::test]
async fn random_garbage_never_panics() {
    let (world, path, _) = closed().await;
    let octets = world.octets(&path).unwrap();
    let mut dice = Dice::new(5);
    for _ in 0..40 {
        let left = world.copy();
        let mut garbage: Vec<u8> = (0..octets.len()).map(|_| dice.next() as u8).collect();
        garbage.truncate(dice.below(octets.len()));
        let file = if dice.below(2) == 0 { path.clone() } else { log_of(&path) };
        left.set_octets(&file, garbage);
        // A log of garbage is damage when it is long enough to have held something.
        match survey(&left, &path).await {
            Ok(rows) => assert!(file != path && rows.len() == 20),
            Err(VaultError::Damaged { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_file_is_read_and_nothing_is_written() {
    let (world, path, rows) = closed().await;
    let octets = world.octets(&path).unwrap();
    let mut readable = 0;
    for page in 1..=octets.len() / PAGE {
        let left = world.copy();
        let mut changed = octets.clone();
        changed[(page - 1) * PAGE + 700] ^= 1;
        left.set_octets(&path, changed.clone());
        let pool = Pool::with_storage("test", 1, left.storage());
        let database = match Database::open_read_only(&pool, spec(&path)).await {
            Ok(database) => database,
            Err(VaultError::Damaged { page: 1, .. }) if page == 1 => continue,
            Err(other) => panic!("page {page}: {other}"),
        };
        let mut found = Vec::new();
        for number in 0..20 {
            let row = database
                .read(move |conn| {
                    let sql = "SELECT id, body FROM entry WHERE id = ?1";
                    Ok(conn.query_row(sql, [number], |row| Ok((row.get(0)?, row.get(1)?)))?)
                })
                .await;
            match row {
                Ok(row) => found.push(row),
                Err(VaultError::Damaged { file, page: named }) => {
                    assert_eq!((file, named as usize), (path.clone(), page));
                }
                Err(other) => panic!("page {page}: {other}"),
            }
        }
        assert!(found.iter().all(|row| rows.contains(row)), "page {page}");
        readable += found.len();
        let refused = insert(&database, 99, 10).await;
        assert!(matches!(refused, Err(VaultError::ReadOnly)), "{refused:?}");
        let job = |conn: &mut rusqlite::Connection| {
            conn.execute("DELETE FROM entry", [])?;
            Ok::<_, VaultError>(letterlock_vault::Slice::Done(()))
        };
        assert!(matches!(database.sliced(job).await, Err(VaultError::ReadOnly)));
        assert!(matches!(database.checkpoint(true).await, Err(VaultError::ReadOnly)));
        database.sync().await.unwrap();
        database.close().await.unwrap();
        assert_eq!((left.octets(&path), left.octets(&log_of(&path))), (Some(changed), None));
    }
    let all = 20 * (octets.len() / PAGE);
    assert!(readable > all * 4 / 5, "{readable} of {all}");
}

#[tokio::test]
async fn a_log_whose_header_is_damaged_can_still_be_read() {
    let (world, path) = crashed().await;
    let octets = world.octets(&log_of(&path)).unwrap();
    let read_only = async |left: &World| {
        let pool = Pool::with_storage("test", 1, left.storage());
        let database = Database::open_read_only(&pool, spec(&path)).await.unwrap();
        let rows = contents(&database).await;
        database.close().await.unwrap();
        rows
    };
    for at in 0..32 {
        let left = world.copy();
        let mut changed = octets.clone();
        changed[at] ^= 0x10;
        left.set_octets(&log_of(&path), changed.clone());
        let rows = read_only(&left).await.unwrap();
        assert!(rows.len() == 12 && is_prefix(&rows), "octet {at}: {} rows", rows.len());
        assert_eq!(left.octets(&log_of(&path)), Some(changed));
    }
    // More than that cannot be mended: the main file alone is read, where the table is not
    // yet.
    let left = world.copy();
    let mut changed = octets.clone();
    changed[16..24].fill(0);
    left.set_octets(&log_of(&path), changed);
    let met = read_only(&left).await;
    assert!(matches!(met, Err(VaultError::Sqlite(_))), "{met:?}");
    // An intact one is read as ever, and what its damaged frames hide is missing.
    assert_eq!(read_only(&world.copy()).await.unwrap().len(), 12);
}

#[tokio::test]
async fn reading_what_is_left_of_an_emptied_file_does_not_delete_its_log() {
    let (world, path) = crashed().await;
    let log = world.octets(&log_of(&path)).unwrap();
    world.set_octets(&path, Vec::new());
    let pool = Pool::with_storage("test", 1, world.storage());
    let met = Database::open_read_only(&pool, spec(&path)).await;
    assert!(met.is_err());
    drop(met);
    pool.shutdown();
    assert_eq!(world.octets(&log_of(&path)), Some(log));
}

/// A log of which the first look still sees the header of an earlier generation.
struct Restarted {
    world: World,
    header: std::sync::Mutex<Option<Vec<u8>>>,
}

struct RestartedFile {
    inner: Arc<dyn StorageFile>,
    header: std::sync::Mutex<Option<Vec<u8>>>,
}

impl Storage for Restarted {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.world.storage().open(path, mode)?;
        let is_log = path.to_string_lossy().ends_with("-wal");
        let header = if is_log { self.header.lock().unwrap().take() } else { None };
        Ok(Arc::new(RestartedFile { inner, header: std::sync::Mutex::new(header) }))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.world.storage().exists(path)
    }
    fn delete(&self, path: &Path) -> io::Result<()> {
        self.world.storage().delete(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world.storage().rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.world.storage().sync_dir(path)
    }
}

impl StorageFile for RestartedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut old = self.header.lock().unwrap();
        if offset >= 32 {
            // From the first frame on, the new generation is seen.
            *old = None;
        }
        match (offset, &*old) {
            (0, Some(header)) => {
                buf.copy_from_slice(&header[..buf.len()]);
                Ok(buf.len())
            }
            _ => self.inner.read_at(buf, offset),
        }
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[tokio::test]
async fn a_log_that_is_started_anew_while_it_is_checked_is_not_called_damaged() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..12 {
        insert(&database, number, 9_000).await.unwrap();
    }
    let header = world.octets(&log_of(&path)).unwrap()[..32].to_vec();
    database.checkpoint(false).await.unwrap();
    insert(&database, 100, 10).await.unwrap();
    let octets = world.octets(&log_of(&path)).unwrap();
    assert!(octets[..32] != header[..] && octets.len() > 32 + 20 * FRAME);
    let seen = Restarted { world: world.copy(), header: std::sync::Mutex::new(Some(header)) };
    let found = letterlock_vault::verify_file(&seen, &path, &keys().integrity).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert!(found.frames >= 1);
    database.close().await.unwrap();
}
