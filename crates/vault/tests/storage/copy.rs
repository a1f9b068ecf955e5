//! Copying into a file under other keys, while the database is in use.

use std::sync::atomic::{AtomicU32, Ordering};

use super::world::Dice;
use super::*;

fn new_keys() -> FileKeys {
    FileKeys { page: Key::from_bytes([3; 32]), integrity: Key::from_bytes([4; 32]) }
}

/// The next epoch of the database at `path`.
fn next(path: &Path) -> Spec {
    Spec { path: path.with_extension("1.db"), keys: new_keys(), ..spec(path) }
}

async fn ids(database: &Database) -> Vec<i64> {
    contents(database).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

/// Several slices' worth of rows.
async fn filled(world: &World, path: &Path) -> (Pool, Database) {
    let (pool, database) = open(world, path).await;
    for number in 0..20 {
        insert(&database, number, 500_000).await.unwrap();
    }
    (pool, database)
}

#[tokio::test]
async fn what_is_written_during_a_copy_is_in_it() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = filled(&world, &path).await;
    let slices = AtomicU32::new(0);
    let writes = async {
        let mut written = 0;
        // Until the copy is done: rows that were copied already, new ones, and deletions.
        while slices.load(Ordering::Relaxed) < u32::MAX {
            let number = 100 + written;
            insert(&database, number, 9_000).await.unwrap();
            let rolled_back: Result<(), VaultError> = database
                .write(move |tx| {
                    tx.execute("DELETE FROM entry WHERE id = ?1 - 90", [number])?;
                    tx.execute("UPDATE entry SET body = x'00' WHERE id = ?1 - 105", [number])?;
                    if number % 7 == 0 { Err(VaultError::Full) } else { Ok(()) }
                })
                .await;
            assert_eq!(rolled_back.is_ok(), number % 7 != 0);
            written += 1;
        }
        (written, contents(&database).await.unwrap())
    };
    let copy = async {
        let frozen = database
            .copy_to(next(&path), |done, total| {
                assert!(done <= total);
                slices.fetch_add(1, Ordering::Relaxed);
            })
            .await
            .unwrap();
        assert!(slices.swap(u32::MAX, Ordering::Relaxed) > 3);
        frozen.switch();
    };
    let ((written, before), ()) = tokio::join!(writes, copy);
    assert!(written > 3, "{written}");
    assert_eq!(database.path(), next(&path).path);
    assert_eq!(contents(&database).await.unwrap(), before);
    insert(&database, 1_000, 10).await.unwrap();
    database.close().await.unwrap();

    pool.remove(&path).await.unwrap();
    assert_eq!((world.octets(&path), world.octets(&log_of(&path))), (None, None));
    let database = Database::open(&pool, next(&path)).await.unwrap();
    assert_eq!(ids(&database).await.last(), Some(&1_000));
    database.close().await.unwrap();
    let new = next(&path).path;
    let storage = world.storage();
    let found = letterlock_vault::verify_file(storage.as_ref(), &new, &new_keys().integrity);
    assert_eq!(found.unwrap().damaged, Vec::<u32>::new());
    let other = Spec { keys: keys(), ..next(&path) };
    assert!(matches!(Database::open(&pool, other).await, Err(VaultError::Damaged { .. })));
}

#[tokio::test]
async fn a_frozen_database_waits_and_thaws() {
    let world = World::default();
    let path = World::path();
    let pool = Pool::with_storage("test", 1, world.storage());
    let opened = shared(Vec::new());
    let seen = Arc::clone(&opened);
    let hooks = Hooks {
        opened: Some(Arc::new(move |_, opened| {
            seen.lock().unwrap().push(opened.clean);
            Ok(())
        })),
        closing: Some(Arc::new(|conn| {
            conn.execute("INSERT OR IGNORE INTO entry VALUES (99, x'')", []).map(drop)
        })),
    };
    let database =
        Database::open(&pool, Spec { hooks: hooks.clone(), ..spec(&path) }).await.unwrap();
    insert(&database, 1, 9_000).await.unwrap();

    let new = || Spec { hooks: hooks.clone(), ..next(&path) };
    let frozen = database.copy_to(new(), |_, _| ()).await.unwrap();
    let waiting = {
        let database = database.clone();
        queued(async move { insert(&database, 2, 9_000).await }).await
    };
    assert!(!waiting.is_finished());
    drop(frozen);
    waiting.await.unwrap().unwrap();
    assert_eq!(database.path(), path);
    assert_eq!(ids(&database).await, [1, 2, 99]);

    // The next attempt replaces what the first one left, and what it says counts.
    let frozen = database.copy_to(new(), |_, _| ()).await.unwrap();
    let waiting = {
        let database = database.clone();
        queued(async move { insert(&database, 3, 9_000).await }).await
    };
    frozen.switch();
    waiting.await.unwrap().unwrap();
    assert_eq!(ids(&database).await, [1, 2, 3, 99]);
    let refused = pool.remove(&next(&path).path).await;
    assert!(matches!(refused, Err(VaultError::InUse { .. })));
    pool.remove(&path).await.unwrap();
    database.close().await.unwrap();
    assert_eq!(*opened.lock().unwrap(), [true, true, true], "closed and opened cleanly each time");
}

#[tokio::test]
async fn a_frozen_database_can_be_closed_instead() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 9_000).await.unwrap();
    let frozen = database.copy_to(next(&path), |_, _| ()).await.unwrap();
    assert_eq!(frozen.path(), next(&path).path);
    let waiting = {
        let database = database.clone();
        queued(async move { insert(&database, 2, 10).await }).await
    };
    frozen.close();
    assert!(matches!(waiting.await.unwrap(), Err(VaultError::Closed)));
    assert!(matches!(insert(&database, 3, 10).await, Err(VaultError::Closed)));
    let database = Database::open(&pool, next(&path)).await.unwrap();
    assert_eq!(ids(&database).await, [1]);
}

#[tokio::test]
async fn a_pool_that_ends_does_not_wait_for_a_frozen_database() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    let frozen = database.copy_to(next(&path), |_, _| ()).await.unwrap();
    let waiting = {
        let database = database.clone();
        queued(async move { insert(&database, 2, 10).await }).await
    };
    pool.shutdown();
    drop(frozen);
    assert!(matches!(waiting.await.unwrap(), Err(VaultError::Closed)));
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_is_taken_back() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = filled(&world, &path).await;
    let unfinished = PathBuf::from(format!("{}.new", next(&path).path.display()));
    let (told, hears) = tokio::sync::oneshot::channel();
    let mut told = Some(told);
    let copy = database.copy_to(next(&path), |_, _| {
        let _ = told.take().map(|told| told.send(()));
    });
    tokio::select! {
        biased;
        _ = copy => panic!("the copy takes several slices"),
        heard = hears => heard.unwrap(),
    }
    // Behind the taking back in the queue.
    assert_eq!(ids(&database).await.len(), 20);
    assert_eq!(world.octets(&unfinished), None);
    // Also while the last step is under way: it thaws by itself.
    let blocked = Blocked::new(&database).await;
    let mut copy = Box::pin(database.copy_to(next(&path), |_, _| ()));
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(copy.as_mut().poll(context).is_pending())
    });
    assert!(polled.await);
    blocked.release().await;
    drop(copy);
    assert_eq!(ids(&database).await.len(), 20);
    database.copy_to(next(&path), |_, _| ()).await.unwrap().switch();
    assert_eq!(ids(&database).await.len(), 20);
}

#[tokio::test]
async fn a_source_that_shrinks_below_what_was_copied_is_copied_anew() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = filled(&world, &path).await;
    let slices = AtomicU32::new(0);
    let shrink = async {
        while slices.load(Ordering::Relaxed) < 2 {
            database.read(|_| Ok::<_, VaultError>(())).await.unwrap();
        }
        database
            .sliced(|conn| {
                conn.execute_batch("DELETE FROM entry WHERE id > 1; VACUUM")?;
                Ok::<_, VaultError>(letterlock_vault::Slice::Done(()))
            })
            .await
            .unwrap();
        insert(&database, 50, 9_000).await.unwrap();
    };
    let copy = async {
        let heard = |_, _| {
            slices.fetch_add(1, Ordering::Relaxed);
        };
        let frozen = database.copy_to(next(&path), heard).await.unwrap();
        slices.store(100, Ordering::Relaxed);
        frozen.switch();
    };
    tokio::join!(copy, shrink);
    assert_eq!(ids(&database).await, [0, 1, 50]);
    database.close().await.unwrap();
    let length = world.octets(&next(&path).path).unwrap().len();
    assert!(length < 2_000_000, "{length}");
}

#[tokio::test]
async fn its_own_file_and_open_ones_are_no_place_for_a_copy() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1, 10).await.unwrap();
    let met = database.copy_to(Spec { keys: new_keys(), ..spec(&path) }, |_, _| ()).await;
    assert!(matches!(met, Err(VaultError::InUse { .. })));
    let other = Database::open(&pool, next(&path)).await.unwrap();
    let met = database.copy_to(next(&path), |_, _| ()).await;
    assert!(matches!(met, Err(VaultError::InUse { .. })));
    insert(&other, 7, 10).await.unwrap();
    assert_eq!((ids(&database).await, ids(&other).await), (vec![1], vec![7]));
}

/// Rotation with every change of the disk as the last one before a power cut: the file that
/// counts is whole, and a new attempt goes through.
#[tokio::test]
async fn a_power_cut_at_any_step_leaves_a_file_that_counts() {
    let world = World::recording();
    let path = World::path();
    let (_pool, database) = open(&world, &path).await;
    for number in 0..4 {
        insert(&database, number, 100_000).await.unwrap();
    }
    let begun = world.ops().len();
    let frozen = database.copy_to(next(&path), |_, _| ()).await.unwrap();
    let flip = world.ops().len();
    frozen.switch();
    for number in 4..6 {
        insert(&database, number, 9_000).await.unwrap();
        world.promise(number as u64);
    }
    database.kill();
    let ops = world.ops();
    let mut dice = Dice::new(11);
    let stride = (ops.len() - begun) / 150 + 1;
    for moment in (begun..=ops.len()).step_by(stride).chain(flip - 6..flip + 6) {
        // The flip itself stands in another file: before it, the old one counts, and
        // from then on the new one.
        for flipped in [false, true] {
            if (flipped && moment < flip) || (!flipped && moment > flip) {
                continue;
            }
            let (left, promised) = World::after_power_cut(&ops, moment, &mut dice);
            let pool = Pool::with_storage("test", 1, left.storage());
            let counts = if flipped { next(&path) } else { spec(&path) };
            let database = Database::open(&pool, counts).await.unwrap_or_else(|error| {
                panic!("moment {moment}, flipped {flipped}: {error}");
            });
            let found = ids(&database).await;
            assert!(found.len() >= 4.max(promised as usize), "moment {moment}: {found:?}");
            if !flipped {
                let frozen = database.copy_to(next(&path), |_, _| ()).await.unwrap();
                frozen.switch();
                assert_eq!(ids(&database).await, found);
            }
            database.close().await.unwrap();
        }
    }
}

/// Any one change of the disk refused: the copy fails or is good, and the old file goes on.
#[tokio::test]
async fn any_one_failure_of_the_disk_leaves_the_database_as_it_was() {
    let origin = World::default();
    let path = World::path();
    let (_pool, database) = open(&origin, &path).await;
    for number in 0..3 {
        insert(&database, number, 25_000).await.unwrap();
    }
    database.kill();
    let mut failed = 0;
    for moment in 0.. {
        let world = origin.copy();
        let pool = Pool::with_storage("test", 1, world.storage());
        let database = Database::open(&pool, spec(&path)).await.unwrap();
        world.fail_after(moment);
        match database.copy_to(next(&path), |_, _| ()).await {
            Ok(frozen) => frozen.switch(),
            Err(VaultError::Io(_)) => {
                failed += 1;
                assert_eq!(database.path(), path);
            }
            Err(other) => panic!("moment {moment}: {other}"),
        }
        if world.failure_pending() {
            break;
        }
        assert_eq!(ids(&database).await, [0, 1, 2], "moment {moment}");
        insert(&database, 3, 10).await.unwrap();
        database.close().await.unwrap();
    }
    assert!(failed > 10, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_grows_all_the_time_is_copied_all_the_same() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = filled(&world, &path).await;
    let steps = AtomicU32::new(0);
    let frozen = database
        .copy_to(next(&path), |_, _| {
            let step = steps.fetch_add(1, Ordering::Relaxed);
            assert!(step < 2_000, "it comes to no end");
            let more = insert(&database, 1_000 + i64::from(step), 20_000);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(more))
                .unwrap();
        })
        .await
        .unwrap();
    frozen.switch();
    let grown = steps.load(Ordering::Relaxed) as usize;
    assert_eq!(ids(&database).await.len(), 20 + grown);
}

#[tokio::test]
async fn a_switch_after_the_end_brings_no_keys_back() {
    let world = World::default();
    let path = World::path();
    let (_pool, database) = filled(&world, &path).await;
    let frozen = database.copy_to(next(&path), |_, _| ()).await.unwrap();
    database.kill();
    frozen.switch();
    assert_eq!(database.path(), path, "the new file's keys stand beside its path");
    assert!(matches!(insert(&database, 99, 10).await, Err(VaultError::Closed)));
}
