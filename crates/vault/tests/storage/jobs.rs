//! Jobs: their order, their groups, and what becomes of those that fail.

use std::sync::atomic::{AtomicU32, Ordering};

use letterlock_vault::{Opened, Slice};

use super::*;

#[tokio::test]
async fn commits_that_wait_share_a_sync() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    insert(&database, 1_000, 10).await.unwrap();
    let before = world.syncs(&log_of(&path));
    let blocked = Blocked::new(&database).await;
    let mut waiting = Vec::new();
    for number in 0..50 {
        let database = database.clone();
        let commit = async move { insert(&database, number, 100).await };
        waiting.push(queued(commit).await);
    }
    blocked.release().await;
    for commit in waiting {
        commit.await.unwrap().unwrap();
    }
    let syncs = world.syncs(&log_of(&path)) - before;
    // One, unless the machine is so slow that the group was cut short by its time.
    assert!((1..=20).contains(&syncs), "{syncs} syncs");
    assert_eq!(contents(&database).await.unwrap().len(), 51);
}

#[tokio::test]
async fn a_failing_job_takes_no_other_of_its_group_with_it() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    let blocked = Blocked::new(&database).await;
    let mut waiting = Vec::new();
    for number in 0..9_i64 {
        let database = database.clone();
        waiting.push(
            queued(async move {
                database
                    .commit(move |tx| {
                        tx.execute("INSERT INTO entry VALUES (?1, x'50')", [number])?;
                        match number % 3 {
                            0 => panic!("as this test wants"),
                            1 => Err(VaultError::Full),
                            _ => Ok(number),
                        }
                    })
                    .await
            })
            .await,
        );
    }
    blocked.release().await;
    for (number, commit) in (0..).zip(waiting) {
        match (number % 3, commit.await.unwrap()) {
            (0, Err(VaultError::Panicked)) | (1, Err(VaultError::Full)) => {}
            (2, Ok(answer)) => assert_eq!(answer, number),
            (_, other) => panic!("{number}: {other:?}"),
        }
    }
    let ids: Vec<i64> = contents(&database).await.unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [2, 5, 8]);
}

#[tokio::test]
async fn a_job_that_ends_the_transaction_itself_is_refused_with_its_group() {
    let world = World::default();
    let (_pool, database) = open(&world, &World::path()).await;
    let met: Result<(), VaultError> = database.commit(|tx| Ok(tx.execute_batch("COMMIT")?)).await;
    assert!(matches!(met, Err(VaultError::RolledBack)), "{met:?}");
    insert(&database, 1, 10).await.unwrap();
}

#[tokio::test]
async fn writes_are_synced_within_a_second_without_anybody_asking() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    // The first write of a connection is synced at once, to note that there are writes.
    insert(&database, 0, 10).await.unwrap();
    let before = world.syncs(&log_of(&path));
    database
        .write(|tx| Ok::<_, VaultError>(tx.execute("INSERT INTO entry VALUES (1, x'50')", [])?))
        .await
        .unwrap();
    assert_eq!(world.syncs(&log_of(&path)), before);
    assert!(eventually(|| world.syncs(&log_of(&path)) > before).await);
    let after = world.syncs(&log_of(&path));
    database.sync().await.unwrap();
    assert_eq!(world.syncs(&log_of(&path)), after, "nothing was left to sync");
}

#[tokio::test]
async fn slices_let_others_between_them() {
    let world = World::default();
    let (_pool, database) = open(&world, &World::path()).await;
    let order = shared(Vec::new());
    let blocked = Blocked::new(&database).await;
    let (inner, note) = (database.clone(), Arc::clone(&order));
    let sliced = queued(async move {
        let mut slices = 0;
        inner
            .sliced(move |conn| {
                slices += 1;
                note.lock().unwrap().push("slice");
                let tx = conn.transaction()?;
                tx.execute("INSERT INTO entry VALUES (?1, x'50')", [slices])?;
                tx.commit()?;
                Ok::<_, VaultError>(if slices == 3 { Slice::Done(slices) } else { Slice::More })
            })
            .await
    })
    .await;
    let mut reads = Vec::new();
    for _ in 0..2 {
        let (inner, note) = (database.clone(), Arc::clone(&order));
        reads.push(
            queued(async move {
                let job = move |_: &rusqlite::Connection| {
                    note.lock().unwrap().push("read");
                    Ok::<_, VaultError>(())
                };
                inner.read(job).await
            })
            .await,
        );
    }
    blocked.release().await;
    assert_eq!(sliced.await.unwrap().unwrap(), 3);
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["slice", "read", "read", "slice", "slice"]);
    assert_eq!(contents(&database).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_transaction_left_open_by_a_slice_is_rolled_back() {
    let world = World::default();
    let (_pool, database) = open(&world, &World::path()).await;
    database
        .sliced(|conn| {
            conn.execute_batch("BEGIN; INSERT INTO entry VALUES (1, x'50')")?;
            Ok::<_, VaultError>(Slice::Done(()))
        })
        .await
        .unwrap();
    assert_eq!(contents(&database).await.unwrap(), []);
}

#[tokio::test]
async fn one_thread_serves_many_databases_in_turn() {
    let world = World::default();
    let pool = Pool::with_storage("test", 1, world.storage());
    let one = Database::new(&pool, spec(&World::path()));
    let two = Database::new(&pool, spec(&World::path()));
    let order = shared(Vec::new());
    let blocked = Blocked::new(&one).await;
    let mut waiting = Vec::new();
    for (database, name) in [(&one, "one"), (&one, "one"), (&two, "two"), (&two, "two")] {
        let (database, order) = (database.clone(), Arc::clone(&order));
        waiting.push(
            queued(async move {
                let job = move |_: &rusqlite::Connection| {
                    order.lock().unwrap().push(name);
                    Ok::<_, VaultError>(())
                };
                database.read(job).await
            })
            .await,
        );
    }
    blocked.release().await;
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["two", "one", "two", "one"]);
}

/// A specification whose hooks note what they see.
fn watched(path: &Path, seen: &Arc<std::sync::Mutex<Vec<String>>>) -> Spec {
    let (opened, closing) = (Arc::clone(seen), Arc::clone(seen));
    let mut spec = spec(path);
    spec.hooks = Hooks {
        opened: Some(Arc::new(move |_, Opened { clean }| {
            opened
                .lock()
                .unwrap()
                .push(format!("opened {}", if clean { "clean" } else { "unclean" }));
            Ok(())
        })),
        closing: Some(Arc::new(move |_| {
            closing.lock().unwrap().push("closing".to_owned());
            Ok(())
        })),
    };
    spec
}

#[tokio::test]
async fn opening_tells_whether_the_last_closing_was_clean() {
    let world = World::default();
    let path = World::path();
    let seen = shared(Vec::new());
    let pool = Pool::with_storage("test", 1, world.storage());
    let reopen = || Database::open(&pool, watched(&path, &seen));
    let written = async |database: &Database| {
        let job = |tx: &rusqlite::Transaction<'_>| {
            tx.execute("INSERT INTO entry (body) VALUES (x'50')", [])
        };
        database.write(move |tx| Ok::<_, VaultError>(job(tx)?)).await.unwrap();
    };
    reopen().await.unwrap().close().await.unwrap();
    let database = reopen().await.unwrap();
    written(&database).await;
    database.close().await.unwrap();
    // A crash without a write hurts nobody.
    reopen().await.unwrap().kill();
    let database = reopen().await.unwrap();
    written(&database).await;
    database.kill();
    let database = reopen().await.unwrap();
    database.read(|_| Ok::<_, VaultError>(())).await.unwrap();
    // Still not clean if it crashes again before anything was written.
    database.kill();
    reopen().await.unwrap().close().await.unwrap();
    reopen().await.unwrap().close().await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "opened clean",
            "closing",
            "opened clean",
            "closing",
            "opened clean",
            "opened clean",
            "opened unclean",
            "opened unclean",
            "closing",
            "opened clean",
            "closing",
        ]
    );
}

#[tokio::test]
async fn the_mark_goes_before_anybody_sees_a_write_even_in_a_power_cut() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    database.close().await.unwrap();
    let (_pool, database) = open(&world, &path).await;
    // Unsynced, and yet the answer to it must not come before the mark is gone.
    database
        .write(|tx| Ok::<_, VaultError>(tx.execute("INSERT INTO entry VALUES (1, x'50')", [])?))
        .await
        .unwrap();
    let ops = world.ops();
    database.kill();
    for seed in 0..20 {
        let mut dice = world::Dice::new(seed);
        let (left, _) = World::after_power_cut(&ops, ops.len(), &mut dice);
        let seen = shared(Vec::new());
        let pool = Pool::with_storage("test", 1, left.storage());
        Database::open(&pool, watched(&path, &seen)).await.unwrap().kill();
        assert_eq!(*seen.lock().unwrap(), ["opened unclean"]);
    }
}

#[tokio::test]
async fn an_idle_database_closes_and_opens_again() {
    let world = World::default();
    let path = World::path();
    let seen = shared(Vec::new());
    let pool = Pool::with_storage("test", 1, world.storage());
    let mut spec = watched(&path, &seen);
    spec.idle_close = Some(Duration::from_millis(20));
    let database = Database::open(&pool, spec).await.unwrap();
    insert(&database, 1, 10).await.unwrap();
    assert!(eventually(|| world.octets(&log_of(&path)).is_none()).await);
    assert_eq!(*seen.lock().unwrap(), ["opened clean", "closing"]);
    assert_eq!(contents(&database).await.unwrap().len(), 1);
    assert_eq!(seen.lock().unwrap()[2], "opened clean");
}

#[tokio::test]
async fn a_hook_that_writes_is_durable_before_the_first_job() {
    static OPENINGS: AtomicU32 = AtomicU32::new(0);
    let world = World::recording();
    let path = World::path();
    let mut spec = spec(&path);
    spec.hooks.opened = Some(Arc::new(|conn, _| {
        OPENINGS.fetch_add(1, Ordering::Relaxed);
        conn.execute("INSERT INTO entry (body) VALUES (x'52')", []).map(|_| ())
    }));
    let pool = Pool::with_storage("test", 1, world.storage());
    let database = Database::open(&pool, spec).await.unwrap();
    let ops = world.ops();
    database.kill();
    assert_eq!(OPENINGS.load(Ordering::Relaxed), 1);
    for seed in 0..20 {
        let (left, _) = World::after_power_cut(&ops, ops.len(), &mut world::Dice::new(seed));
        let (_pool, database) = open(&left, &path).await;
        assert_eq!(contents(&database).await.unwrap().len(), 1);
        database.kill();
    }
}

#[tokio::test]
async fn migrations_run_once_and_newer_files_are_refused() {
    const TWO: &[&str] = &[SCHEMA[0], "ALTER TABLE entry ADD COLUMN note TEXT"];
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 10).await.unwrap();
    database.close().await.unwrap();
    for _ in 0..2 {
        let database = Database::open(&pool, Spec { schema: TWO, ..spec(&path) }).await.unwrap();
        let noted = database
            .read(|conn| {
                Ok::<i64, VaultError>(conn.query_row(
                    "SELECT count(note) + count(*) FROM entry",
                    [],
                    |row| row.get(0),
                )?)
            })
            .await;
        assert_eq!(noted.unwrap(), 1);
        database.close().await.unwrap();
    }
    let refused = Database::open(&pool, spec(&path)).await.err().unwrap();
    assert!(matches!(refused, VaultError::Newer { found: 2, known: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_file_is_open_once() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    let refused = Database::open(&pool, spec(&path)).await.err().unwrap();
    assert!(matches!(&refused, VaultError::InUse { file } if *file == path), "{refused}");
    database.close().await.unwrap();
    Database::open(&pool, spec(&path)).await.unwrap();
}

#[tokio::test]
async fn the_journal_mode_stays() {
    let world = World::default();
    let (_pool, database) = open(&world, &World::path()).await;
    for mode in ["DELETE", "memory", "OFF", "TRUNCATE"] {
        let met: Result<(), VaultError> = database
            .sliced(move |conn| {
                conn.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(()))?;
                Ok(Slice::Done(()))
            })
            .await;
        assert!(matches!(met, Err(VaultError::Sqlite(_))), "{mode}: {met:?}");
    }
    insert(&database, 1, 10).await.unwrap();
}

#[tokio::test]
async fn a_closed_database_answers_so_and_the_last_handle_closes_cleanly() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    let other = database.clone();
    database.close().await.unwrap();
    other.close().await.unwrap();
    let met = insert(&other, 1, 10).await;
    assert!(matches!(met, Err(VaultError::Closed)), "{met:?}");
    let seen = shared(Vec::new());
    let database = Database::open(&pool, watched(&path, &seen)).await.unwrap();
    insert(&database, 1, 10).await.unwrap();
    drop(database);
    assert!(eventually(|| seen.lock().unwrap().len() == 2).await);
    assert!(eventually(|| world.octets(&log_of(&path)).is_none()).await);
}

#[tokio::test]
async fn shutting_the_pool_down_closes_cleanly_after_the_jobs_that_wait() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    let blocked = Blocked::new(&database).await;
    let inner = database.clone();
    let waiting = queued(async move { insert(&inner, 1, 10).await }).await;
    let ending = {
        let pool = pool.clone();
        tokio::task::spawn_blocking(move || pool.shutdown())
    };
    blocked.release().await;
    ending.await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(matches!(insert(&database, 2, 10).await, Err(VaultError::Closed)));
    assert!(world.octets(&log_of(&path)).is_none());
    let (_pool, database) = open(&world, &path).await;
    assert_eq!(contents(&database).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_large_log_is_copied_in_the_background() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    let before = world.octets(&path).unwrap().len();
    for number in 0..12 {
        insert(&database, number, 500_000).await.unwrap();
    }
    assert!(eventually(|| world.octets(&path).unwrap().len() > before + 4_000_000).await);
    assert_eq!(contents(&database).await.unwrap().len(), 12);
}
