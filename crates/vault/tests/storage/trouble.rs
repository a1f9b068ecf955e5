//! Disks that are full, and disks that do not sync.

use super::world::BadRead;
use super::*;

#[tokio::test]
async fn a_full_disk_answers_full_and_all_goes_on_once_there_is_room() {
    for slack in [0, 1, 4_121, 9_000, 20_000] {
        let world = World::default();
        let path = World::path();
        let (pool, database) = open(&world, &path).await;
        for number in 0..5 {
            insert(&database, number, 9_000).await.unwrap();
        }
        world.limit(Some(world.used() + slack));
        let met = insert(&database, 5, 60_000).await;
        assert!(matches!(met, Err(VaultError::Full)), "{met:?}");
        assert_eq!(contents(&database).await.unwrap().len(), 5);
        let met = insert(&database, 6, 60_000).await;
        assert!(matches!(met, Err(VaultError::Full)), "{met:?}");
        // Nor is there room for copying the log.
        let met = database.checkpoint(true).await;
        assert!(matches!(met, Err(VaultError::Full)), "{met:?}");
        world.limit(None);
        insert(&database, 7, 60_000).await.unwrap();
        database.checkpoint(true).await.unwrap();
        let rows = contents(&database).await.unwrap();
        assert_eq!(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 7]);
        database.kill();
        let database = Database::open(&pool, spec(&path)).await.unwrap();
        assert_eq!(contents(&database).await.unwrap(), rows);
    }
}

#[tokio::test]
async fn on_a_full_disk_each_of_a_group_is_answered() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 0, 10).await.unwrap();
    world.limit(Some(world.used() + 30_000));
    let blocked = Blocked::new(&database).await;
    let mut waiting = Vec::new();
    for number in 1..=10 {
        let database = database.clone();
        waiting.push(queued(async move { insert(&database, number, 50_000).await }).await);
    }
    blocked.release().await;
    for commit in waiting {
        let met = commit.await.unwrap();
        assert!(matches!(met, Err(VaultError::Full)), "{met:?}");
    }
    world.limit(None);
    assert_eq!(contents(&database).await.unwrap().len(), 1);
    insert(&database, 1, 50_000).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_the_commit_is_undone_and_others_stay() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 1, 9_000).await.unwrap();
    database
        .write(|tx| Ok::<_, VaultError>(tx.execute("INSERT INTO entry VALUES (2, x'51')", [])?))
        .await
        .unwrap();
    world.fail_syncs(1);
    let met = insert(&database, 3, 9_000).await;
    assert!(matches!(met, Err(VaultError::Io(_))), "{met:?}");
    let ids = async || -> Vec<i64> {
        contents(&database).await.unwrap().into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(ids().await, [1, 2]);
    insert(&database, 4, 9_000).await.unwrap();
    assert_eq!(ids().await, [1, 2, 4]);
    // The log was written anew: what stands in it reaches the disk whatever the kernel
    // made of the old one.
    let ops = world.ops();
    for seed in 0..20 {
        let (left, _) = World::after_power_cut(&ops, ops.len(), &mut world::Dice::new(seed));
        database.kill();
        let (_pool, database) = open(&left, &path).await;
        assert_eq!(contents(&database).await.unwrap().len(), 3);
        database.kill();
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_new_log_generation_undoes_the_group_too() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 1, 9_000).await.unwrap();
    // The next write starts the log anew, and SQLite syncs its header itself.
    database.checkpoint(false).await.unwrap();
    world.fail_syncs(1);
    let met = insert(&database, 2, 9_000).await;
    assert!(met.is_err(), "{met:?}");
    assert_eq!(contents(&database).await.unwrap().len(), 1);
    insert(&database, 3, 9_000).await.unwrap();
    assert_eq!(contents(&database).await.unwrap().len(), 2);
}

#[tokio::test]
async fn twice_in_a_row_stops_writing_but_not_reading() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 9_000).await.unwrap();
    world.fail_syncs(u32::MAX);
    assert!(matches!(insert(&database, 2, 10).await, Err(VaultError::Io(_))));
    for _ in 0..2 {
        let met = insert(&database, 3, 10).await;
        assert!(matches!(met, Err(VaultError::SyncFailed)), "{met:?}");
    }
    assert!(matches!(database.sync().await, Err(VaultError::SyncFailed)));
    assert!(contents(&database).await.unwrap().iter().any(|(id, _)| *id == 1));
    world.fail_syncs(0);
    // Not by itself: somebody has to look at the disk and open it again.
    assert!(matches!(insert(&database, 4, 10).await, Err(VaultError::SyncFailed)));
    assert!(matches!(database.close().await, Err(VaultError::SyncFailed)));
    let database = Database::open(&pool, spec(&path)).await.unwrap();
    insert(&database, 5, 10).await.unwrap();
    assert!(contents(&database).await.unwrap().iter().any(|(id, _)| *id == 1));
}

#[tokio::test]
async fn one_bad_sync_between_good_ones_is_forgiven() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..6 {
        world.fail_syncs(1);
        assert!(matches!(insert(&database, number, 10).await, Err(VaultError::Io(_))));
        insert(&database, 100 + number, 10).await.unwrap();
    }
    assert_eq!(contents(&database).await.unwrap().len(), 6);
}

#[tokio::test]
async fn an_opening_that_could_not_sync_leaves_a_log_written_anew() {
    let world = World::recording();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 9_000).await.unwrap();
    database.kill();
    let reserve = |conn: &mut rusqlite::Connection, _| {
        conn.execute("INSERT INTO entry VALUES (2, x'00')", []).map(drop)
    };
    let hooks = Hooks { opened: Some(Arc::new(reserve)), ..Hooks::default() };
    world.fail_syncs(1);
    let before = world.ops().len();
    let met = Database::open(&pool, Spec { hooks, ..spec(&path) }).await;
    assert!(matches!(met, Err(VaultError::Io(_))));
    let anew = |op: &world::Op| matches!(op, world::Op::Rename(_, name) if *name == log_of(&path));
    assert!(world.ops()[before..].iter().any(anew));
    let database = Database::open(&pool, spec(&path)).await.unwrap();
    assert_eq!(contents(&database).await.unwrap().len(), 2);
    database.kill();
}

#[tokio::test]
async fn a_sync_after_a_closing_that_could_not_sync_keeps_its_promise() {
    let world = Arc::new(World::recording());
    let path = World::path();
    let pool = Pool::with_storage("test", 1, world.storage());
    let closing = Arc::new(tokio::sync::Notify::new());
    let (disk, told) = (Arc::clone(&world), Arc::clone(&closing));
    let hooks = Hooks {
        closing: Some(Arc::new(move |_| {
            disk.fail_syncs(1);
            told.notify_one();
            Ok(())
        })),
        ..Hooks::default()
    };
    let idle_close = Some(Duration::from_millis(200));
    let database = Database::open(&pool, Spec { hooks, idle_close, ..spec(&path) }).await.unwrap();
    insert(&database, 1, 10).await.unwrap();
    let unsynced = |tx: &rusqlite::Transaction<'_>| {
        tx.execute("INSERT INTO entry VALUES (2, x'00')", [])?;
        Ok::<_, VaultError>(())
    };
    database.write(unsynced).await.unwrap();
    closing.notified().await;
    database.sync().await.unwrap();
    database.kill();
    let ops = world.ops();
    for seed in 0..8 {
        let (left, _) = World::after_power_cut(&ops, ops.len(), &mut world::Dice::new(seed));
        let (_pool, database) = open(&left, &path).await;
        assert_eq!(contents(&database).await.unwrap().len(), 2, "seed {seed}");
        database.kill();
    }
}

/// The same work with every single change of the disk refused once, in turn: what was
/// answered with `Ok` is there, what was not is not, and the next opening finds it so too,
/// even after a power cut.
#[tokio::test]
async fn any_one_failure_of_the_disk_loses_nothing_that_was_promised() {
    let mut moment = 0;
    loop {
        let world = World::recording();
        let path = World::path();
        let pool = Pool::with_storage("test", 1, world.storage());
        world.fail_after(moment);
        let mut kept = Vec::new();
        let mut database = Database::new(&pool, spec(&path));
        for number in 0..8 {
            if number == 3 {
                // Failing is allowed, losing is not.
                let _ = database.checkpoint(false).await;
            }
            if number == 6 {
                let _ = database.close().await;
                database = Database::new(&pool, spec(&path));
            }
            // Longer than the cache: frames are written before the commit, and again.
            if insert(&database, number, 25_000).await.is_ok() {
                kept.push(number);
            }
        }
        let over = world.failure_pending();
        let ids = async |database: &Database| -> Vec<i64> {
            contents(database).await.unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert!(kept.len() >= 7, "moment {moment}: {kept:?}");
        assert_eq!(ids(&database).await, kept, "moment {moment}");
        database.kill();
        let ops = world.ops();
        for seed in 0..4 {
            let (left, _) = World::after_power_cut(&ops, ops.len(), &mut world::Dice::new(seed));
            let (_pool, database) = open(&left, &path).await;
            assert_eq!(ids(&database).await, kept, "moment {moment}, seed {seed}");
            database.kill();
        }
        if over {
            break;
        }
        moment += 1;
    }
    assert!(moment > 50, "{moment}");
}

/// The same work with every single read refused once, or cut short, in turn: it is an error
/// and never the end of the data, and afterwards everything is there.
#[tokio::test]
async fn any_one_bad_read_is_an_error_and_loses_nothing() {
    let origin = World::default();
    let path = World::path();
    let (_pool, database) = open(&origin, &path).await;
    for number in 0..6 {
        insert(&database, number, 25_000).await.unwrap();
    }
    database.checkpoint(false).await.unwrap();
    for number in 6..9 {
        insert(&database, number, 25_000).await.unwrap();
    }
    database.kill();
    for kind in [BadRead::Refused, BadRead::Short] {
        let mut met = 0;
        for moment in 0.. {
            let world = origin.copy();
            world.bad_read_after(moment, kind);
            let pool = Pool::with_storage("test", 1, world.storage());
            let database = Database::new(&pool, spec(&path));
            let mut expected: Vec<i64> = (0..9).collect();
            for number in 9..12 {
                match insert(&database, number, 25_000).await {
                    Ok(()) => expected.push(number),
                    Err(VaultError::Io(_)) => met += 1,
                    Err(other) => panic!("{kind:?} {moment}: {other}"),
                }
                let read = database.read(|conn| {
                    let mut statement = conn.prepare("SELECT id, body FROM entry ORDER BY id")?;
                    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    Ok(rows.collect::<Result<Vec<(i64, Vec<u8>)>, _>>()?)
                });
                match read.await {
                    Ok(rows) => assert!(rows.iter().map(|row| row.0).eq(expected.clone())),
                    Err(VaultError::Io(_)) => met += 1,
                    Err(other) => panic!("{kind:?} {moment}: {other}"),
                }
                if number == 10 {
                    match database.checkpoint(true).await {
                        Ok(()) => {}
                        Err(VaultError::Io(_)) => met += 1,
                        Err(other) => panic!("{kind:?} {moment}: {other}"),
                    }
                }
            }
            let over = world.call_off_bad_read();
            let rows = contents(&database).await.unwrap();
            assert!(rows.iter().map(|row| row.0).eq(expected.clone()), "{kind:?} {moment}");
            assert!(rows.iter().all(|(id, octets)| *octets == body(*id, 25_000)));
            // And the next opening finds it so.
            database.kill();
            let database = Database::open(&pool, spec(&path)).await.unwrap();
            assert_eq!(contents(&database).await.unwrap(), rows, "{kind:?} {moment}");
            database.close().await.unwrap();
            if over {
                break;
            }
        }
        assert!(met > 50, "{kind:?}: {met}");
    }
}

/// A job that does not look at its own errors. SQLite may have ended its transaction at the
/// first of them, and takes each statement for one of its own then; but what is there can
/// be read ever after.
#[tokio::test]
async fn a_job_that_ignores_a_refused_write_leaves_no_hole_in_the_log() {
    let mut failed = 0;
    for moment in 0.. {
        let world = World::default();
        let path = World::path();
        let (pool, database) = open(&world, &path).await;
        insert(&database, 0, 25_000).await.unwrap();
        database.read(|_| Ok::<_, VaultError>(())).await.unwrap();
        world.fail_after(moment);
        let outcome = database
            .write(|tx| {
                for number in 1..8_i64 {
                    for length in [40_000, 20_000] {
                        let sql = "INSERT OR REPLACE INTO entry VALUES (?1, ?2)";
                        let _ = tx.execute(sql, (number, body(number, length)));
                        let sum = "SELECT sum(length(body)) FROM entry";
                        let _ = tx.query_row(sum, [], |_| Ok(()));
                    }
                }
                Ok::<_, VaultError>(())
            })
            .await;
        if world.failure_pending() {
            break;
        }
        let rows = contents(&database).await.unwrap();
        failed += u32::from(outcome.is_err());
        assert!(rows.iter().all(|(id, octets)| *octets == body(*id, octets.len())));
        insert(&database, 100, 9_000).await.unwrap();
        let rows = contents(&database).await.unwrap();
        database.kill();
        let database = Database::open(&pool, spec(&path)).await.unwrap();
        assert_eq!(contents(&database).await.unwrap(), rows, "moment {moment}");
        database.close().await.unwrap();
    }
    assert!(failed > 20, "{failed}");
}
