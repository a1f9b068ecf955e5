//! Durable points of many databases at once, bulk jobs, and what temporary files may hold.

use super::world::{Dice, Op};
use super::*;

async fn unsynced(database: &Database, number: i64) {
    database
        .write(move |tx| {
            tx.execute("INSERT INTO entry VALUES (?1, ?2)", (number, body(number, 3_000)))?;
            Ok::<_, VaultError>(())
        })
        .await
        .unwrap();
}

/// `count` databases, each with a durable row and one that is not.
async fn many(world: &World, count: usize) -> (Pool, Vec<Database>) {
    let pool = Pool::with_storage("test", 2, world.storage());
    let mut databases = Vec::new();
    for _ in 0..count {
        let database = Database::open(&pool, spec(&World::path())).await.unwrap();
        insert(&database, 1, 10).await.unwrap();
        unsynced(&database, 2).await;
        databases.push(database);
    }
    (pool, databases)
}

fn syncs(world: &World, databases: &[Database]) -> u64 {
    databases.iter().map(|database| world.syncs(&log_of(&database.path()))).sum()
}

#[tokio::test]
async fn many_are_synced_at_once_and_few_one_by_one() {
    for (count, at_once) in [(3, false), (40, true)] {
        let world = World::recording();
        world.as_one_filesystem();
        let (_pool, databases) = many(&world, count).await;
        let before = syncs(&world, &databases);
        let answers = Database::sync_many(&databases).await;
        assert!(answers.len() == count && answers.iter().all(Result::is_ok));
        let ops = world.ops();
        let one_by_one = if at_once { 0 } else { count as u64 };
        assert_eq!(syncs(&world, &databases) - before, one_by_one);
        assert_eq!(world.whole_syncs(), u64::from(at_once));
        // What has nothing to sync is left alone.
        assert!(Database::sync_many(&databases).await.iter().all(Result::is_ok));
        assert_eq!(world.ops().len(), ops.len());
        // It was no empty promise.
        let paths: Vec<_> = databases.iter().map(Database::path).collect();
        databases.iter().for_each(Database::kill);
        for seed in 0..3 {
            let (left, _) = World::after_power_cut(&ops, ops.len(), &mut Dice::new(seed));
            for path in &paths {
                let (_pool, database) = open(&left, path).await;
                assert_eq!(contents(&database).await.unwrap().len(), 2);
                database.kill();
            }
        }
    }
}

#[tokio::test]
async fn what_is_written_after_the_point_is_not_taken_for_synced() {
    let world = World::recording();
    world.as_one_filesystem();
    let (_pool, databases) = many(&world, 40).await;
    assert!(Database::sync_many(&databases).await.iter().all(Result::is_ok));
    unsynced(&databases[7], 3).await;
    let before = syncs(&world, &databases);
    assert!(Database::sync_many(&databases).await.iter().all(Result::is_ok));
    assert_eq!((syncs(&world, &databases) - before, world.whole_syncs()), (1, 1));
}

#[tokio::test]
async fn where_syncing_all_at_once_fails_each_is_answered_for_itself() {
    let world = World::recording();
    world.as_one_filesystem();
    let (_pool, databases) = many(&world, 40).await;
    databases[4].close().await.unwrap();
    // The whole, and then one of the files.
    world.fail_syncs(2);
    let answers = Database::sync_many(&databases).await;
    assert!(matches!(answers[4], Err(VaultError::Closed)));
    let failed = answers.iter().filter(|answer| matches!(answer, Err(VaultError::Io(_)))).count();
    assert_eq!((failed, world.whole_syncs()), (1, 0));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 38);
    for (at, database) in databases.iter().enumerate().filter(|(at, _)| *at != 4) {
        assert!(!contents(database).await.unwrap().is_empty(), "{at}");
    }
}

#[tokio::test]
async fn a_bulk_job_writes_nothing_twice() {
    let written = async |bulk: bool| {
        let world = World::recording();
        let path = World::path();
        let (_pool, database) = open(&world, &path).await;
        insert(&database, 0, 10).await.unwrap();
        let _bulk = bulk.then(|| database.bulk());
        let before = world.ops().len();
        database
            .write(|tx| {
                for round in 0..5_i64 {
                    for id in 1..40_i64 {
                        tx.execute(
                            "INSERT OR REPLACE INTO entry VALUES (?1, ?2)",
                            (id, body(id + round, 8_000)),
                        )?;
                    }
                }
                Ok::<_, VaultError>(())
            })
            .await
            .unwrap();
        let octets = |op: &Op| if let Op::Write(_, _, octets) = op { octets.len() } else { 0 };
        let sum: usize = world.ops()[before..].iter().map(octets).sum();
        assert_eq!(contents(&database).await.unwrap().len(), 40);
        let limits = database.read(|conn| {
            let cache: i64 = conn.query_row("PRAGMA cache_size", [], |row| row.get(0))?;
            let spill: i64 = conn.query_row("PRAGMA cache_spill", [], |row| row.get(0))?;
            Ok::<_, VaultError>((cache, spill > 0))
        });
        assert_eq!(limits.await.unwrap() == (-16_384, false), bulk);
        (sum, database)
    };
    let (usual, _database) = written(false).await;
    let (bulk, database) = written(true).await;
    assert!(bulk * 2 < usual, "{bulk} octets, {usual} usually");
    // The guard is gone: everything is as it was.
    let cache = database.read(|conn| {
        Ok::<_, VaultError>(conn.query_row("PRAGMA cache_size", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(cache.await.unwrap(), -16);
}

#[tokio::test]
async fn a_bulk_job_goes_on_after_the_file_was_closed_when_idle() {
    let world = World::default();
    let pool = Pool::with_storage("test", 1, world.storage());
    let idle_close = Some(Duration::from_millis(20));
    let path = World::path();
    let database = Database::open(&pool, Spec { idle_close, ..spec(&path) }).await.unwrap();
    let bulk = database.bulk();
    insert(&database, 1, 10).await.unwrap();
    assert!(eventually(|| world.octets(&log_of(&path)).is_none()).await, "closed when idle");
    let cache = async || -> i64 {
        let job = |conn: &rusqlite::Connection| {
            Ok::<_, VaultError>(conn.query_row("PRAGMA cache_size", [], |row| row.get(0))?)
        };
        database.read(job).await.unwrap()
    };
    assert_eq!(cache().await, -16_384);
    drop(bulk);
    assert_eq!(cache().await, -16);
}

#[tokio::test]
async fn temporary_tables_and_sorting_end_at_their_cap_and_leave_the_file_as_it_was() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 1, 10).await.unwrap();
    let used = world.used();
    let rows = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 90)
                SELECT x, zeroblob(1000000) AS b FROM c";
    for sql in [
        format!("CREATE TEMP TABLE side AS {rows}"),
        format!("SELECT count(*) FROM (SELECT x, b FROM ({rows}) ORDER BY x % 7, b LIMIT -1)"),
    ] {
        let met = database
            .sliced(move |conn| {
                conn.execute_batch(&sql)?;
                Ok::<_, VaultError>(letterlock_vault::Slice::Done(()))
            })
            .await;
        assert!(matches!(met, Err(VaultError::Full)), "{met:?}");
    }
    assert_eq!(world.used(), used);
    insert(&database, 2, 10).await.unwrap();
    assert_eq!(contents(&database).await.unwrap().len(), 2);
}
