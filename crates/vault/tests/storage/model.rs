//! Random work beside an ordinary SQLite in memory: the contents must be the same.

use proptest::prelude::*;
use rusqlite::{Connection, Transaction};

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Put(i64, usize),
    Delete(i64),
    Move(i64, i64),
    Grow(i64, usize),
}

#[derive(Clone, Debug)]
enum Step {
    /// A transaction, kept or not.
    Change(Vec<Change>, bool),
    Durable(Vec<Change>),
    Checkpoint(bool),
    Reopen,
    /// A crash of the process: nothing is lost.
    Kill,
    /// Temporary tables and sorting, which must not touch the files.
    Sort,
}

fn change() -> impl Strategy<Value = Change> {
    let length = prop_oneof![0..200_usize, 3_000..5_000_usize, 9_000..30_000_usize];
    prop_oneof![
        4 => (0..30_i64, length.clone()).prop_map(|(id, length)| Change::Put(id, length)),
        2 => (0..30_i64).prop_map(Change::Delete),
        1 => (0..30_i64, 0..30_i64).prop_map(|(from, to)| Change::Move(from, to)),
        2 => (0..30_i64, length).prop_map(|(id, length)| Change::Grow(id, length)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec(change(), 1..12);
    prop_oneof![
        6 => (changes(), prop::bool::weighted(0.8)).prop_map(|(list, keep)| Step::Change(list, keep)),
        3 => changes().prop_map(Step::Durable),
        1 => any::<bool>().prop_map(Step::Checkpoint),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        1 => Just(Step::Sort),
    ]
}

/// The same changes on either side. Each ends with rereading what it touched, so that a
/// small cache has to spill in the middle of the transaction.
fn apply(tx: &Transaction<'_>, changes: &[Change]) -> rusqlite::Result<()> {
    for change in changes {
        match *change {
            Change::Put(id, length) => {
                tx.execute("INSERT OR REPLACE INTO entry VALUES (?1, ?2)", (id, body(id, length)))?
            }
            Change::Delete(id) => tx.execute("DELETE FROM entry WHERE id = ?1", [id])?,
            Change::Move(from, to) => {
                tx.execute("UPDATE OR REPLACE entry SET id = ?2 WHERE id = ?1", [from, to])?
            }
            Change::Grow(id, length) => tx.execute(
                "UPDATE entry SET body = CAST(body || ?2 AS BLOB) WHERE id = ?1 AND length(body) < 60000",
                (id, body(id + 1, length)),
            )?,
        };
        tx.query_row("SELECT sum(length(body)) FROM entry", [], |_| Ok(()))?;
    }
    Ok(())
}

async fn run(steps: Vec<Step>) {
    let world = World::default();
    let path = World::path();
    let mut model = Connection::open_in_memory().unwrap();
    model.execute_batch(SCHEMA[0]).unwrap();
    let (pool, mut database) = open(&world, &path).await;
    for step in steps {
        match step {
            Step::Change(changes, keep) => {
                if keep {
                    let tx = model.transaction().unwrap();
                    apply(&tx, &changes).unwrap();
                    tx.commit().unwrap();
                }
                let outcome: Result<(), VaultError> = database
                    .write(move |tx| {
                        apply(tx, &changes)?;
                        if keep { Ok(()) } else { Err(VaultError::Full) }
                    })
                    .await;
                assert_eq!(outcome.is_ok(), keep);
            }
            Step::Durable(changes) => {
                let tx = model.transaction().unwrap();
                apply(&tx, &changes).unwrap();
                tx.commit().unwrap();
                database.commit(move |tx| Ok::<_, VaultError>(apply(tx, &changes)?)).await.unwrap();
            }
            Step::Checkpoint(truncate) => database.checkpoint(truncate).await.unwrap(),
            Step::Reopen => {
                database.close().await.unwrap();
                database = Database::open(&pool, spec(&path)).await.unwrap();
            }
            Step::Kill => {
                database.kill();
                database = Database::open(&pool, spec(&path)).await.unwrap();
            }
            Step::Sort => {
                let sorted: i64 = database
                    .read(|conn| {
                        conn.execute_batch(
                            "CREATE TEMP TABLE IF NOT EXISTS side AS SELECT * FROM entry",
                        )?;
                        let sql =
                            "SELECT count(*) FROM (SELECT body FROM entry ORDER BY body DESC)";
                        Ok::<_, VaultError>(conn.query_row(sql, [], |row| row.get(0))?)
                    })
                    .await
                    .unwrap();
                let expected: i64 =
                    model.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap();
                assert_eq!(sorted, expected);
            }
        }
        assert_eq!(contents(&database).await.unwrap(), rows(&model));
    }
    database.close().await.unwrap();
    let found = letterlock_vault::verify_file(world.storage().as_ref(), &path, &keys().integrity);
    assert_eq!(found.unwrap().damaged, Vec::<u32>::new());
}

fn rows(model: &Connection) -> Vec<(i64, Vec<u8>)> {
    let mut statement = model.prepare("SELECT id, body FROM entry ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(24), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stores_what_sqlite_stores(steps in prop::collection::vec(step(), 1..20)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}

/// More of them by `LETTERLOCK_ROUNDS`, a factor.
pub(crate) fn rounds(usual: u32) -> u32 {
    let factor = std::env::var("LETTERLOCK_ROUNDS").ok().and_then(|text| text.parse().ok());
    usual * factor.unwrap_or(1)
}

/// One transaction many times larger than the cache writes over its own frames in the
/// log, and renews their checksums before it commits. Recovery must accept them.
#[tokio::test]
async fn a_spilled_transaction_survives_a_crash() {
    let world = World::default();
    let path = World::path();
    let (pool, database) = open(&world, &path).await;
    insert(&database, 1_000, 20_000).await.unwrap();
    database
        .write(|tx| {
            for round in 0..6_usize {
                for id in 0..40_i64 {
                    let length = 500 + 700 * round + 20 * id as usize;
                    tx.execute("INSERT OR REPLACE INTO entry VALUES (?1, ?2)", (id, body(id, length)))?;
                }
                tx.execute_batch("SAVEPOINT inner; DELETE FROM entry WHERE id % 2 = 0; ROLLBACK TO inner; RELEASE inner")?;
            }
            Ok::<_, VaultError>(())
        })
        .await
        .unwrap();
    insert(&database, 1_001, 10).await.unwrap();
    let before = contents(&database).await.unwrap();
    assert_eq!(before.len(), 42);
    database.kill();
    let database = Database::open(&pool, spec(&path)).await.unwrap();
    assert_eq!(contents(&database).await.unwrap(), before);
}
