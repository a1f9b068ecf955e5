//! Pages read one by one are those that SQLite reads.

use letterlock_vault::Pages;

use super::*;

const PAGE: usize = 4096;
const FRAME: usize = 4120;

fn open_pages(world: &World, path: &Path) -> Pages {
    Pages::open(world.storage().as_ref(), path, &keys()).unwrap()
}

fn all(world: &World, path: &Path) -> Vec<Option<Vec<u8>>> {
    let pages = open_pages(world, path);
    (1..=pages.count()).map(|page| pages.read(page).unwrap().map(|page| page.to_vec())).collect()
}

#[tokio::test]
async fn what_the_log_committed_is_what_a_checkpoint_copies() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..12 {
        insert(&database, number, 9_000).await.unwrap();
    }
    let from_log = all(&world, &path);
    assert!(from_log.len() > 25 && from_log.iter().all(Option::is_some));
    // More than the cache holds, so it is in the log, and then it is taken back.
    let failed: Result<(), VaultError> = database
        .write(|tx| {
            for number in 100..130 {
                tx.execute("INSERT INTO entry VALUES (?1, ?2)", (number, body(number, 9_000)))?;
            }
            Err(VaultError::ReadOnly)
        })
        .await;
    assert!(failed.is_err());
    assert!(all(&world, &path) == from_log, "what was rolled back does not count");
    database.checkpoint(true).await.unwrap();
    assert!(all(&world, &path) == from_log);
    assert_eq!(
        open_pages(&world, &path).count() as usize,
        world.octets(&path).unwrap().len() / PAGE
    );
}

#[tokio::test]
async fn a_damaged_page_is_none_and_a_damaged_frame_ends_the_log() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..12 {
        insert(&database, number, 3_000).await.unwrap();
    }
    database.kill();
    let (whole, log) = (all(&world, &path), world.octets(&log_of(&path)).unwrap());
    let frames = (log.len() - 32) / FRAME;
    for frame in 0..frames {
        let left = world.copy();
        let mut changed = log.clone();
        changed[32 + frame * FRAME + 500] ^= 1;
        left.set_octets(&log_of(&path), changed);
        // As an opening sees it: the commits before.
        let found = all(&left, &path);
        assert!(found.len() <= whole.len() && found.iter().all(Option::is_some), "frame {frame}");
    }
    let (_pool, database) = open(&world, &path).await;
    database.close().await.unwrap();
    let octets = world.octets(&path).unwrap();
    for page in 1..=octets.len() / PAGE {
        let left = world.copy();
        let mut changed = octets.clone();
        changed[page * PAGE - 100] ^= 1;
        left.set_octets(&path, changed);
        let found = all(&left, &path);
        let missing: Vec<usize> = (1..=found.len()).filter(|at| found[at - 1].is_none()).collect();
        assert_eq!(missing, [page]);
    }
    assert!(open_pages(&world, &path).read(0).unwrap().is_none());
    assert!(open_pages(&world, &path).read(1_000_000).unwrap().is_none());
}
