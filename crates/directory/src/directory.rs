//! Opens the file, publishes snapshots, and the one way by which it is changed.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use letterlock_vault::{Database, Hooks, Pool, ServerKey, Spec};
use rusqlite::Transaction;
use tokio::sync::Mutex;

use crate::error::DirectoryError;
use crate::quota::Ledger;
use crate::schema::{self, REMOVING, SCHEMA};
use crate::snapshot::Snapshot;

/// The name of the file in the data directory, and of its keys.
const FILE: &str = "directory.db";

/// The owner of `directory.db`. Reads go through [`Directory::snapshot`]; every method that changes something is
/// durable when it returns, and visible in the next snapshot.
pub struct Directory {
    database: Database,
    snapshot: ArcSwap<Snapshot>,
    /// Held from the check against the snapshot to the publication of the next one.
    writing: Mutex<()>,
    ledger: Ledger,
}

/// The part of a change that writes to the file.
pub(crate) type Store = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send>;

/// How a change is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On disk before the snapshot shows it.
    Synced,
    /// In the log at once, on disk within a second: for what may be lost by a power cut.
    Soon,
}

impl Directory {
    /// Opens or creates `directory.db` in `data_dir` and reads all of it.
    ///
    /// # Errors
    /// [`DirectoryError::Vault`] if the file cannot be opened, [`DirectoryError::Row`] if a row makes no sense.
    pub async fn open(
        data_dir: &Path,
        server_key: &ServerKey,
        pool: &Pool,
    ) -> Result<Arc<Self>, DirectoryError> {
        let spec = Spec {
            path: data_dir.join(FILE),
            keys: server_key.file_keys("directory"),
            schema: SCHEMA,
            cache_kib: 1024,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let database = Database::open(pool, spec).await?;
        let unfinished = database
            .read(|connection| {
                let sql = format!("SELECT count(*) FROM accounts WHERE state = '{REMOVING}'");
                Ok::<i64, DirectoryError>(connection.query_row(&sql, [], |row| row.get(0))?)
            })
            .await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "finishing the removal of accounts");
            database
                .commit(|transaction| {
                    Ok::<_, DirectoryError>(crate::accounts::delete_removed(transaction)?)
                })
                .await?;
        }
        let snapshot = database.read(schema::load).await?;
        let usage = database.read(schema::load_usage).await?;
        Ok(Arc::new(Self {
            database,
            snapshot: ArcSwap::from_pointee(snapshot),
            writing: Mutex::new(()),
            ledger: Ledger::new(usage),
        }))
    }

    /// The directory as it is now. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Closes the file cleanly; later changes fail, the snapshot stays.
    ///
    /// # Errors
    /// [`DirectoryError::Vault`].
    pub async fn close(&self) -> Result<(), DirectoryError> {
        let _writing = self.writing.lock().await;
        Ok(self.database.close().await?)
    }

    /// Checks a change against the newest snapshot, stores it and publishes the snapshot after it.
    ///
    /// `plan` changes the copy of the snapshot that it is given and says what is to be written. It runs in a task of
    /// its own: a caller that stops waiting must not leave file and snapshot different.
    pub(crate) async fn change<P>(
        self: &Arc<Self>,
        durability: Durability,
        plan: P,
    ) -> Result<(), DirectoryError>
    where
        P: FnOnce(&mut Snapshot) -> Result<Store, DirectoryError> + Send + 'static,
    {
        let directory = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _writing = directory.writing.lock().await;
            let mut next = Snapshot::clone(&directory.snapshot.load());
            let store = plan(&mut next)?;
            let job = move |transaction: &Transaction<'_>| {
                store(transaction).map_err(DirectoryError::from)
            };
            let stored = match durability {
                Durability::Synced => directory.database.commit(job).await,
                Durability::Soon => directory.database.write(job).await,
            };
            match stored {
                Ok(()) => directory.snapshot.store(Arc::new(next)),
                // Whether a failed commit is in the file cannot be known, so the file is asked.
                Err(_) => directory.reload().await,
            }
            stored
        });
        task.await.unwrap_or(Err(DirectoryError::CutOff))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes what no snapshot shows and a power cut may take.
    pub(crate) async fn write_soon(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), DirectoryError> {
        self.database.write(move |transaction| job(transaction).map_err(DirectoryError::from)).await
    }

    /// After a credential was removed or replaced: what wrapped the account key before must not be found in the log by
    /// who knows the old credential. The change itself is made already, so a failure is no error of it.
    pub(crate) async fn forget_replaced(&self) {
        if let Err(error) = self.empty_log().await {
            tracing::error!(%error, "the directory's log may still hold a replaced credential");
        }
    }

    /// Checks the file from inside: SQLite's own check, and whether every row can be read. One sentence for each thing
    /// that is wrong. (The outer hashes are checked without opening the file.)
    ///
    /// # Errors
    /// `Vault` if it cannot be looked at at all.
    pub async fn verify(&self) -> Result<Vec<String>, DirectoryError> {
        let mut found = self.database.integrity().await?;
        if let Err(error) = self.database.read(schema::load).await {
            found.push(error.to_string());
        }
        Ok(found)
    }

    /// Leaves nothing of deleted rows in the file's log.
    pub(crate) async fn empty_log(&self) -> Result<(), DirectoryError> {
        Ok(self.database.checkpoint(true).await?)
    }

    async fn reload(&self) {
        match self.database.read(schema::load).await {
            Ok(snapshot) => self.snapshot.store(Arc::new(snapshot)),
            Err(error) => {
                tracing::error!(%error, "the directory could not be read again after a failed write")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use letterlock_address::{Domain, Mailbox};
    use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Key, slot};

    use super::*;
    use crate::{AccountKeys, KeyMode, NamedSlot, NewAccount};

    fn account(server: &ServerKey, address: &str) -> NewAccount {
        let (id, key) = (AccountId::generate(), AccountKey::random());
        let slot = NamedSlot {
            slot: slot::server(id, 1, &key, server),
            name: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            last_used: None,
        };
        let secrets = AccountSecrets::generate(id, &key, server).1;
        NewAccount {
            id,
            address: Mailbox::parse(address).unwrap(),
            keys: AccountKeys { mode: KeyMode::ServerHeld, secrets, slots: vec![slot] },
            quota: None,
            quota_messages: None,
            display_name: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    async fn count(directory: &Directory, table: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let job = move |connection: &rusqlite::Connection| {
            Ok(connection.query_row(&sql, [], |row| row.get(0))?)
        };
        directory.database.read::<i64, DirectoryError>(job).await.unwrap()
    }

    #[tokio::test]
    async fn a_removal_that_was_cut_off_is_finished_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let (server, pool) = (ServerKey::from_key(Key::random()), Pool::new("test", 1));
        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let domain = Domain::parse("example.org").unwrap();
        directory.add_domain(domain, None, vec![], Timestamp::UNIX_EPOCH).await.unwrap();
        let (gone, kept) =
            (account(&server, "gone@example.org"), account(&server, "kept@example.org"));
        let (id, kept_id) = (gone.id, kept.id);
        directory.add_account(gone).await.unwrap();
        directory.add_account(kept).await.unwrap();
        let half = move |transaction: &Transaction<'_>| {
            transaction.execute(
                "UPDATE accounts SET state = ? WHERE id = ?",
                rusqlite::params![REMOVING, id],
            )?;
            Ok::<_, DirectoryError>(())
        };
        directory.database.commit(half).await.unwrap();
        assert_eq!((count(&directory, "accounts").await, count(&directory, "slots").await), (2, 2));
        directory.database.kill();

        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        assert!(
            directory.snapshot().account(id).is_none()
                && directory.snapshot().account(kept_id).is_some()
        );
        assert_eq!((count(&directory, "accounts").await, count(&directory, "slots").await), (1, 1));
    }

    #[tokio::test]
    async fn an_unfinished_removal_does_not_keep_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let (server, pool) = (ServerKey::from_key(Key::random()), Pool::new("test", 1));
        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let domain = Domain::parse("example.org").unwrap();
        directory.add_domain(domain, None, vec![], Timestamp::UNIX_EPOCH).await.unwrap();
        let gone = account(&server, "a@example.org");
        let id = gone.id;
        directory.add_account(gone).await.unwrap();
        // As `remove_account` leaves it if the log cannot be emptied.
        let half = directory.change(Durability::Synced, move |next| {
            next.drop_account(id);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                let sql = "UPDATE accounts SET state = ? WHERE id = ?";
                transaction.execute(sql, rusqlite::params![REMOVING, id]).map(drop)
            }))
        });
        half.await.unwrap();
        directory.add_account(account(&server, "a@example.org")).await.unwrap();
        assert_eq!((count(&directory, "accounts").await, count(&directory, "slots").await), (1, 1));
    }

    async fn change_file(folder: &Path, server: &ServerKey, pool: &Pool, sql: &'static str) {
        let spec = Spec {
            path: folder.join(FILE),
            keys: server.file_keys("directory"),
            schema: SCHEMA,
            cache_kib: 1024,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let database = Database::open(pool, spec).await.unwrap();
        let job = move |transaction: &Transaction<'_>| {
            Ok::<_, DirectoryError>(transaction.execute_batch(sql)?)
        };
        database.commit(job).await.unwrap();
        database.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_of_an_older_version_is_brought_up_to_date_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (server, pool) = (ServerKey::from_key(Key::random()), Pool::new("test", 1));
        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let domain = Domain::parse("example.org").unwrap();
        directory.add_domain(domain, None, vec![], Timestamp::UNIX_EPOCH).await.unwrap();
        let new = account(&server, "a@example.org");
        let id = new.id;
        directory.add_account(new).await.unwrap();
        directory.set_quota(id, Some(500)).await.unwrap();
        directory.note_usage(id, crate::Holding { octets: 70, messages: 3 });
        directory.store_usage().await.unwrap();
        directory.close().await.unwrap();
        // As the step before the last left it.
        let older = "ALTER TABLE accounts DROP COLUMN quota_messages;
                     ALTER TABLE accounts DROP COLUMN disabled_capabilities;
                     ALTER TABLE usage DROP COLUMN messages;
                     PRAGMA user_version = 2;";
        change_file(folder.path(), &server, &pool, older).await;

        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let known = directory.snapshot().account(id).unwrap().allowance();
        assert_eq!((known.octets, known.messages), (Some(500), None));
        let held = directory.known_usage(id).unwrap();
        assert_eq!((held.octets, held.messages), (70, 0), "counted at the next occasion");
        directory.set_message_quota(id, Some(9)).await.unwrap();
        directory.switch_capabilities(id, vec!["SORT".to_owned()], vec![]).await.unwrap();
        directory.close().await.unwrap();
        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let snapshot = directory.snapshot();
        let kept = snapshot.account(id).unwrap();
        assert_eq!((kept.quota_messages, kept.disabled_capabilities.len()), (Some(9), 1));
        directory.close().await.unwrap();

        change_file(folder.path(), &server, &pool, "PRAGMA user_version = 99").await;
        let refused = Directory::open(folder.path(), &server, &pool).await.err().unwrap();
        assert!(refused.to_string().contains("schema version 99"), "{refused}");
    }

    #[tokio::test]
    async fn a_failed_write_leaves_the_snapshot_as_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let (server, pool) = (ServerKey::from_key(Key::random()), Pool::new("test", 1));
        let directory = Directory::open(folder.path(), &server, &pool).await.unwrap();
        let domain = Domain::parse("example.org").unwrap();
        directory.add_domain(domain.clone(), None, vec![], Timestamp::UNIX_EPOCH).await.unwrap();
        let failed = directory
            .change(Durability::Synced, |next| {
                next.drop_domain(&Domain::parse("example.org").unwrap());
                Ok(Box::new(|transaction: &Transaction<'_>| {
                    transaction.execute_batch("DELETE FROM nowhere")
                }))
            })
            .await;
        assert!(matches!(failed, Err(DirectoryError::Vault(_))));
        assert!(directory.snapshot().is_local(&domain));
        directory.close().await.unwrap();
        let closed = directory.set_contact(&domain, None).await;
        assert!(matches!(closed, Err(DirectoryError::Vault(_))));
        assert!(directory.snapshot().is_local(&domain), "the snapshot outlives the file");
    }
}
