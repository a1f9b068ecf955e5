//! Power cuts at any moment: what was promised is there, and nothing out of order.

use super::model::rounds;
use super::world::{Dice, Op};
use super::*;

/// Work in which transaction `n` adds row `n` and changes others, so that the highest row
/// says how far the file got; with checkpoints, closings and unsynced writes in between.
async fn work(world: &World, path: &Path, dice: &mut Dice) {
    let (pool, mut database) = open(world, path).await;
    let mut number = 0;
    for _ in 0..60 {
        match dice.below(20) {
            0 => database.checkpoint(false).await.unwrap(),
            1 => database.checkpoint(true).await.unwrap(),
            2 => {
                database.close().await.unwrap();
                world.promise(number as u64);
                database = Database::open(&pool, spec(path)).await.unwrap();
            }
            3 => {
                database.sync().await.unwrap();
                world.promise(number as u64);
            }
            4 => {
                database.kill();
                database = Database::open(&pool, spec(path)).await.unwrap();
            }
            kind => {
                number += 1;
                let length = [10, 2_000, 9_000, 40_000][dice.below(4)];
                let job = move |tx: &rusqlite::Transaction<'_>| change(tx, number, length);
                if kind < 12 {
                    database.commit(job).await.unwrap();
                    world.promise(number as u64);
                } else {
                    database.write(job).await.unwrap();
                }
            }
        }
    }
    database.kill();
}

fn change(tx: &rusqlite::Transaction<'_>, number: i64, length: usize) -> Result<(), VaultError> {
    tx.execute("INSERT INTO entry VALUES (?1, ?2)", (number, body(number, length)))?;
    tx.execute(
        "UPDATE entry SET body = CAST('older' AS BLOB) WHERE id % 3 = ?1 % 3 AND id < ?1 - 5",
        [number],
    )?;
    Ok(())
}

/// What the table holds after transaction `last`.
fn expected(last: i64, rows: &[(i64, Vec<u8>)]) -> bool {
    rows.len() as i64 == last
        && rows.iter().zip(1..).all(|((id, octets), number)| {
            let older = (number + 6..=last).any(|later| later % 3 == number % 3);
            let as_made = *octets == body(number, octets.len());
            *id == number && if older { octets == b"older" } else { as_made }
        })
}

#[tokio::test]
async fn a_power_cut_leaves_a_prefix_with_all_that_was_promised() {
    for seed in 0..u64::from(rounds(4)) {
        let mut dice = Dice::new(seed);
        let world = World::recording();
        let path = World::path();
        work(&world, &path, &mut dice).await;
        let ops = world.ops();
        for _ in 0..60 {
            let moment = dice.below(ops.len() + 1);
            let (left, promised) = World::after_power_cut(&ops, moment, &mut dice);
            let pool = Pool::with_storage("test", 1, left.storage());
            let database = Database::open(&pool, spec(&path)).await.unwrap_or_else(|error| {
                panic!("seed {seed}, moment {moment}: {error}");
            });
            let rows = contents(&database).await.unwrap();
            let last = rows.last().map_or(0, |(id, _)| *id);
            assert!(last as u64 >= promised, "seed {seed}, moment {moment}: {last} < {promised}");
            assert!(expected(last, &rows), "seed {seed}, moment {moment}: not a prefix");
            // And it goes on from there.
            insert(&database, 10_000, 5_000).await.unwrap();
            database.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_cut_anywhere_gives_a_prefix() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 1..=12 {
        insert(&database, number, 3_000).await.unwrap();
    }
    database.kill();
    let log = world.octets(&log_of(&path)).unwrap();
    let mut dice = Dice::new(7);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60 {
        let length = match round {
            0 => 0,
            1 => log.len(),
            _ => dice.below(log.len()),
        };
        let left = world.copy();
        left.set_octets(&log_of(&path), log[..length].to_vec());
        let (_pool, database) = open(&left, &path).await;
        let rows = contents(&database).await.unwrap_or_else(|error| {
            // So early that the table was not made: opening makes it.
            panic!("{length}: {error}");
        });
        for ((id, octets), number) in rows.iter().zip(1..) {
            assert_eq!((*id, octets), (number, &body(number, 3_000)));
        }
        seen.insert(rows.len());
        database.kill();
    }
    assert!(seen.len() > 8 && seen.contains(&12), "{seen:?}");
}

/// The model itself must be able to find fault: without the vault's syncs, promises break.
#[tokio::test]
async fn the_power_cuts_are_real() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 1..=10 {
        insert(&database, number, 3_000).await.unwrap();
        world.promise(number as u64);
    }
    database.kill();
    let log = world.syncs(&log_of(&path));
    assert!(log >= 10, "{log}");
    let without: Vec<Op> =
        world.ops().into_iter().filter(|op| !matches!(op, Op::Sync(_))).collect();
    let mut dice = Dice::new(1);
    let mut broken = 0;
    for _ in 0..40 {
        let (left, promised) = World::after_power_cut(&without, without.len(), &mut dice);
        let pool = Pool::with_storage("test", 1, left.storage());
        let rows = match Database::open(&pool, spec(&path)).await {
            Ok(database) => contents(&database).await.map_or(0, |rows| rows.len()),
            Err(_) => 0,
        };
        broken += u32::from((rows as u64) < promised);
    }
    assert!(broken > 10, "{broken}");
}

#[tokio::test]
async fn the_name_of_a_log_that_a_crashed_process_made_is_made_durable() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    database.close().await.unwrap();
    let (_pool, database) = open(&world, &path).await;
    // The log was made, and nothing synced since.
    database.kill();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 1, 10).await.unwrap();
    let ops = world.ops();
    database.kill();
    for seed in 0..20 {
        let (left, _) = World::after_power_cut(&ops, ops.len(), &mut Dice::new(seed));
        let (_pool, database) = open(&left, &path).await;
        assert_eq!(contents(&database).await.unwrap().len(), 1);
        database.kill();
    }
}
