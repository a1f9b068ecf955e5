//! Random SQL beside an ordinary SQLite: every statement has the same outcome, and the
//! same schema and rows come of it.

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::model::rounds;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Statements in one transaction, kept or not.
    Run(Vec<String>, bool),
    Checkpoint(bool),
    Reopen,
    Kill,
    /// On into a file under other keys.
    Rotate,
}

fn table() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["t0", "t1", "w0", "w1"]).prop_map(str::to_owned)
}

/// Mostly small, sometimes one page, sometimes a chain of overflow pages.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..60_usize, 2 => 900..4_200_usize, 1 => 9_000..40_000_usize]
}

fn text(key: i64, length: usize) -> String {
    format!("replace(printf('%.*c', {length}, 'x'), 'x', char(65 + {key} % 26)) || {key}")
}

fn rows() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (table(), 0..60_i64, length(), length()).prop_map(|(name, key, a, b)| format!(
            "INSERT OR REPLACE INTO {name} (k, a, b) VALUES ({key}, {}, CAST({} AS BLOB))",
            text(key, a), text(key + 1, b)
        )),
        2 => (table(), 0..200_i64, 1..120_i64, length()).prop_map(|(name, key, count, a)| format!(
            "INSERT OR IGNORE INTO {name} (k, a) WITH RECURSIVE c (x) AS \
             (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {count}) \
             SELECT {key} + x, {} FROM c", text(key, a.min(5_000))
        )),
        2 => (table(), 2..6_i64, length()).prop_map(|(name, part, more)| format!(
            "UPDATE {name} SET b = coalesce(b, x'') || zeroblob({more}) WHERE k % {part} = 1"
        )),
        2 => (table(), 2..6_i64, length()).prop_map(|(name, part, a)| format!(
            "UPDATE {name} SET a = {} WHERE k % {part} = 0", text(part, a)
        )),
        2 => (table(), 2..6_i64).prop_map(|(name, part)| format!(
            "DELETE FROM {name} WHERE k % {part} = 0"
        )),
        1 => table().prop_map(|name| format!("DELETE FROM {name}")),
        1 => (table(), -50..50_i64).prop_map(|(name, by)| format!(
            "UPDATE OR REPLACE {name} SET k = k + {by} WHERE k > 20"
        )),
    ]
}

fn schema() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..2).prop_map(|n| format!("CREATE TABLE t{n} (k INTEGER PRIMARY KEY, a TEXT, b BLOB)")),
        (0..2).prop_map(|n| format!(
            "CREATE TABLE w{n} (k INT, a TEXT DEFAULT '', b BLOB, PRIMARY KEY (k, a)) WITHOUT ROWID"
        )),
        table().prop_map(|name| format!("CREATE INDEX {name}_a ON {name} (a, k DESC)")),
        table().prop_map(|name| format!(
            "CREATE UNIQUE INDEX {name}_u ON {name} (a, k) WHERE length(a) > 3"
        )),
        table().prop_map(|name| format!("DROP INDEX {name}_a")),
        table().prop_map(|name| format!("ALTER TABLE {name} ADD COLUMN c TEXT DEFAULT 'more'")),
        table().prop_map(|name| format!("ALTER TABLE {name} RENAME COLUMN c TO d")),
        table().prop_map(|name| format!("ALTER TABLE {name} DROP COLUMN d")),
        table().prop_map(|name| format!("DROP TABLE {name}")),
        table().prop_map(|name| format!("REINDEX {name}")),
    ]
}

fn savepoints() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"]).prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = Step> {
    let statement = || prop_oneof![12 => rows(), 3 => schema(), 4 => savepoints()];
    prop_oneof![
        12 => (prop::collection::vec(statement(), 1..14), prop::bool::weighted(0.85))
            .prop_map(|(list, keep)| Step::Run(list, keep)),
        2 => any::<bool>().prop_map(Step::Checkpoint),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        1 => Just(Step::Rotate),
    ]
}

/// Runs each statement; which of them went well.
fn apply(conn: &Connection, statements: &[String]) -> Vec<bool> {
    let run = |sql: &String| {
        let outcome = conn.execute_batch(sql);
        // SQLite's own mind, not the disk's.
        if let Err(error) = &outcome {
            let own = match error {
                rusqlite::Error::SqlInputError { .. } => true,
                other => matches!(
                    other.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::Unknown | rusqlite::ErrorCode::ConstraintViolation)
                ),
            };
            assert!(own, "{sql}: {error}");
        }
        outcome.is_ok()
    };
    statements.iter().map(run).collect()
}

type Dump = Vec<(String, Vec<Vec<Value>>)>;

/// The whole schema and every row, and what SQLite thinks of the file.
fn dump(conn: &Connection) -> rusqlite::Result<Dump> {
    let opinion: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(opinion, "ok");
    let mut found = Vec::new();
    let mut schema = conn.prepare(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema \
         WHERE name NOT IN ('vault_meta', 'entry') ORDER BY name",
    )?;
    let entries = schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for entry in entries.collect::<rusqlite::Result<Vec<(String, String, String)>>>()? {
        let (kind, name, sql) = entry;
        let mut rows = Vec::new();
        if kind == "table" {
            let mut statement = conn.prepare(&format!("SELECT * FROM {name} ORDER BY k, a"))?;
            let columns = statement.column_count();
            let all =
                statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect())?;
            rows = all.collect::<rusqlite::Result<_>>()?;
        }
        found.push((sql, rows));
    }
    Ok(found)
}

fn epoch_of(path: &Path, epoch: u32) -> Spec {
    let key = |kind: u8| Key::from_bytes([kind; 32]).derive("epoch", &epoch.to_be_bytes());
    let keys = FileKeys { page: key(5), integrity: key(6) };
    Spec { path: path.with_extension(format!("{epoch}.db")), keys, ..spec(path) }
}

async fn run(steps: Vec<Step>) {
    let world = World::default();
    let path = World::path();
    let mut epoch = 0;
    let mut model = Connection::open_in_memory().unwrap();
    let pool = Pool::with_storage("test", 1, world.storage());
    let mut database = Database::open(&pool, epoch_of(&path, epoch)).await.unwrap();
    for step in steps {
        match step {
            Step::Run(statements, keep) => {
                let tx = model.transaction().unwrap();
                let expected = apply(&tx, &statements);
                if keep { tx.commit() } else { tx.rollback() }.unwrap();
                let job = move |tx: &rusqlite::Transaction<'_>| {
                    assert_eq!(apply(tx, &statements), expected, "{statements:?}");
                    if keep { Ok(()) } else { Err(VaultError::Full) }
                };
                assert_eq!(database.write(job).await.is_ok(), keep);
            }
            Step::Checkpoint(truncate) => database.checkpoint(truncate).await.unwrap(),
            Step::Reopen => {
                database.close().await.unwrap();
                database = Database::open(&pool, epoch_of(&path, epoch)).await.unwrap();
            }
            Step::Kill => {
                database.kill();
                database = Database::open(&pool, epoch_of(&path, epoch)).await.unwrap();
            }
            Step::Rotate => {
                epoch += 1;
                let frozen = database.copy_to(epoch_of(&path, epoch), |_, _| ()).await.unwrap();
                frozen.switch();
                pool.remove(&epoch_of(&path, epoch - 1).path).await.unwrap();
            }
        }
        let found = database.read(|conn| Ok::<_, VaultError>(dump(conn)?)).await.unwrap();
        assert_eq!(found, dump(&model).unwrap());
    }
    database.close().await.unwrap();
    let Spec { path, keys, .. } = epoch_of(&path, epoch);
    let found = letterlock_vault::verify_file(world.storage().as_ref(), &path, &keys.integrity);
    assert!(found.unwrap().is_whole());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(32), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sql_does_what_it_does_in_sqlite(steps in prop::collection::vec(step(), 1..24)) {
        let tables = ["CREATE TABLE t0 (k INTEGER PRIMARY KEY, a TEXT, b BLOB)",
            "CREATE TABLE w0 (k INT, a TEXT DEFAULT '', b BLOB, PRIMARY KEY (k, a)) WITHOUT ROWID"];
        let first = Step::Run(tables.map(str::to_owned).to_vec(), true);
        let steps = std::iter::once(first).chain(steps).collect();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
