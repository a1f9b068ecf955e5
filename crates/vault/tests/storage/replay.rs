//! Damage that is found without the page key, and older versions put back in their place.
//!
//! An older page, or a whole older file, authenticates: the hash and the tag know places,
//! not times. What is asserted here is what the threat model says of it: what is served
//! was all written by the vault at some time, a log that was put back is a prefix of the
//! commits, and only the count of durable points, which the directory keeps, tells a whole
//! old file.

use std::collections::{BTreeMap, BTreeSet};

use letterlock_vault::{Verified, verify_file};

use super::world::{Dice, Op};
use super::*;

const PAGE: usize = 4096;
const FRAME: usize = 4120;

fn verified(world: &World, path: &Path) -> Verified {
    verify_file(world.storage().as_ref(), path, &keys().integrity).unwrap()
}

async fn survey(world: &World, path: &Path) -> Result<Vec<(i64, Vec<u8>)>, VaultError> {
    let pool = Pool::with_storage("test", 1, world.storage());
    let database = Database::open(&pool, spec(path)).await?;
    let rows = database
        .read(|conn| {
            let mut statement = conn.prepare("SELECT id, body FROM entry ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await;
    database.kill();
    rows
}

/// A crashed database: pages in the main file, and frames in a log of its second generation.
async fn crashed() -> (World, PathBuf) {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..8 {
        insert(&database, number, 9_000).await.unwrap();
    }
    database.checkpoint(false).await.unwrap();
    for number in 8..12 {
        insert(&database, number, 9_000).await.unwrap();
    }
    database.kill();
    (world, path)
}

#[tokio::test]
async fn every_changed_page_and_frame_is_named_without_the_page_key() {
    let (world, path) = crashed().await;
    let log = log_of(&path);
    let before = verified(&world, &path);
    assert!(before.is_whole() && before.pages > 10 && before.frames > 8, "{before:?}");
    let mut dice = Dice::new(21);
    let pages = world.octets(&path).unwrap();
    for page in 1..=pages.len() / PAGE {
        let start = (page - 1) * PAGE;
        let left = world.copy();
        let mut changed = pages.clone();
        changed[start + dice.below(PAGE)] ^= 1 << dice.below(8);
        left.set_octets(&path, changed);
        assert_eq!(verified(&left, &path).damaged, [page as u32]);

        // A page of another place is whole there, and not here.
        let other = page % (pages.len() / PAGE) * PAGE;
        let mut moved = pages.clone();
        moved.copy_within(other..other + PAGE, start);
        left.set_octets(&path, moved);
        assert_eq!(verified(&left, &path).damaged, [page as u32]);

        left.set_octets(&path, pages[..start + 1 + dice.below(PAGE - 1)].to_vec());
        assert_eq!(verified(&left, &path).damaged, [page as u32]);
    }
    let frames = world.octets(&log).unwrap();
    for frame in 1..=before.frames as usize {
        let start = 32 + (frame - 1) * FRAME;
        let other = 32 + frame % before.frames as usize * FRAME;
        let mut flipped = frames.clone();
        flipped[start + dice.below(FRAME)] ^= 1 << dice.below(8);
        let mut moved = frames.clone();
        moved.copy_within(other..other + FRAME, start);
        for changed in [flipped, moved] {
            let left = world.copy();
            left.set_octets(&log, changed);
            let found = verified(&left, &path);
            assert_eq!(found.frames as usize, frame - 1);
            let last = frame == before.frames as usize;
            assert_eq!(found.damaged_frames, if last { vec![] } else { vec![frame as u32] });
            assert!(found.damaged.is_empty());
        }
    }
    for at in 0..32 {
        let left = world.copy();
        let mut changed = frames.clone();
        changed[at] ^= 1 << dice.below(8);
        left.set_octets(&log, changed);
        assert_eq!(verified(&left, &path).damaged_frames, [0], "octet {at} of the header");
    }
}

/// All that any version of the row with this number held.
type Versions = BTreeMap<i64, BTreeSet<Vec<u8>>>;

#[tokio::test]
async fn an_older_page_in_its_place_authenticates_and_gives_only_what_was_once_written() {
    let world = World::default();
    let path = World::path();
    let (pool, mut database) = open(&world, &path).await;
    let (mut files, mut versions) = (Vec::new(), Versions::new());
    for round in 0..4 {
        for number in 0..12 {
            let octets = body(number + 1_000 * round, 300 + 900 * (number as usize % 3));
            versions.entry(number).or_default().insert(octets.clone());
            let job = move |tx: &rusqlite::Transaction<'_>| {
                tx.execute("INSERT OR REPLACE INTO entry VALUES (?1, ?2)", (number, octets))?;
                Ok::<_, VaultError>(())
            };
            database.commit(job).await.unwrap();
        }
        database.close().await.unwrap();
        files.push(world.octets(&path).unwrap());
        database = Database::open(&pool, spec(&path)).await.unwrap();
    }
    database.close().await.unwrap();
    let now = files.pop().unwrap();
    let (mut older, mut refused) = (0, 0);
    let current = survey(&world, &path).await.unwrap();
    for then in &files {
        for page in 0..now.len().min(then.len()) / PAGE {
            let place = page * PAGE..(page + 1) * PAGE;
            let left = world.copy();
            let mut replayed = now.clone();
            replayed[place.clone()].copy_from_slice(&then[place]);
            left.set_octets(&path, replayed);
            assert!(verified(&left, &path).is_whole(), "a replayed page is whole");
            match survey(&left, &path).await {
                Ok(rows) => {
                    older += u32::from(rows != current);
                    let known = |(id, octets): &(i64, Vec<u8>)| versions[id].contains(octets);
                    assert!(rows.iter().all(known), "page {page}");
                }
                // Pages of different times beside each other that SQLite cannot make
                // sense of.
                Err(VaultError::Damaged { page: 0, .. }) => refused += 1,
                Err(other) => panic!("page {page}: {other}"),
            }
        }
        // The whole file: everything is as it was then. Only the mark tells.
        let left = World::default();
        left.set_octets(&path, then.clone());
        let rows = survey(&left, &path).await.unwrap();
        assert_ne!(rows, current);
    }
    assert!(older > 0, "{older} older, {refused} refused");
}

#[tokio::test]
async fn an_older_frame_in_its_place_ends_the_log() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    let change = |number: i64| {
        move |tx: &rusqlite::Transaction<'_>| {
            tx.execute("INSERT INTO entry VALUES (?1, ?2)", (number, body(number, 30_000)))?;
            tx.query_row("SELECT sum(length(body)) FROM entry", [], |_| Ok(()))?;
            tx.execute("UPDATE entry SET body = body || x'41' WHERE id = ?1", [number])?;
            tx.query_row("SELECT sum(length(body)) FROM entry", [], |_| Ok(()))?;
            tx.execute("UPDATE entry SET body = ?2 WHERE id = ?1", (number, body(number, 30_000)))?;
            Ok::<_, VaultError>(())
        }
    };
    // A first generation of the log, and a second over it.
    for number in 0..6 {
        database.commit(change(number)).await.unwrap();
    }
    database.checkpoint(false).await.unwrap();
    for number in 6..10 {
        database.commit(change(number)).await.unwrap();
    }
    database.kill();
    let log = world.octets(&log_of(&path)).unwrap();
    // Every version that any frame of the log ever had, in its place.
    let mut replays = Vec::new();
    for op in world.ops() {
        let Op::Write(_, offset, octets) = op else { continue };
        let mut at = offset as usize;
        for part in octets.chunks(FRAME) {
            let place = at..at + part.len();
            let is_frame = part.len() == FRAME && at >= 32 && (at - 32).is_multiple_of(FRAME);
            if is_frame && log.get(place.clone()).is_some_and(|now| now != part) {
                replays.push((place, part.to_vec()));
            }
            at += part.len();
        }
    }
    assert!(replays.len() > 20, "{}", replays.len());
    let mut counts = BTreeSet::new();
    for (place, older) in replays {
        let left = world.copy();
        let mut replayed = log.clone();
        replayed[place.clone()].copy_from_slice(&older);
        left.set_octets(&log_of(&path), replayed);
        let rows = survey(&left, &path).await.unwrap();
        let prefix = rows
            .iter()
            .zip(0..)
            .all(|((id, octets), number)| *id == number && *octets == body(number, 30_000));
        assert!(prefix && (6..=10).contains(&rows.len()), "{place:?}: {} rows", rows.len());
        counts.insert(rows.len());
    }
    assert!(counts.len() > 2, "{counts:?}");
}
