//! An unlocked account's file and keys, and the three ways to work on it: reading, durable and loose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use letterlock_vault::{AccountSecrets, Database, Hooks, Key, Pool, Spec, VaultError};
use rusqlite::{Connection, params};

use crate::error::MailboxError;
use crate::folder_row::{FolderRow, signed};
use crate::index;
use crate::registry::Options;
use crate::schema::SCHEMA;
use crate::types::Folder;
use crate::work::{Attempt, Ends, MODSEQ_RANGE, Memory, Work};

/// How often an unsynced job may find its ranges used up: others may be quicker after each reservation.
const ATTEMPTS: usize = 16;

/// What is dropped when the account is locked.
pub(crate) struct Live {
    pub(crate) db: Database,
    pub(crate) memory: Arc<Memory>,
    pub(crate) secrets: Arc<AccountSecrets>,
    /// The key of the bodies' hashes; it stands in the file.
    pub(crate) hash_key: Key,
    /// Whether the sealing key in the file is the one that the directory has.
    pub(crate) sealing_agrees: bool,
    pub(crate) index: Arc<index::Gate>,
    read_only: Arc<AtomicBool>,
}

/// The folders of a new account: name and use.
const FIRST_FOLDERS: [(&str, Option<&str>); 6] = [
    ("INBOX", None),
    ("Drafts", Some("\\Drafts")),
    ("Sent", Some("\\Sent")),
    ("Junk", Some("\\Junk")),
    ("Trash", Some("\\Trash")),
    ("Archive", Some("\\Archive")),
];

fn spec(
    path: std::path::PathBuf,
    secrets: &AccountSecrets,
    options: &Options,
    hooks: Hooks,
) -> Spec {
    Spec {
        path,
        keys: secrets.file_keys(),
        schema: SCHEMA,
        cache_kib: options.cache_kib,
        idle_close: options.idle_close,
        hooks,
    }
}

/// Writes a new file with its first folders at `path`, synced and closed.
pub(crate) async fn make_file(
    pool: &Pool,
    path: std::path::PathBuf,
    secrets: &AccountSecrets,
    options: &Options,
    now: Timestamp,
) -> Result<(), MailboxError> {
    let db = Database::open(pool, spec(path, secrets, options, Hooks::default())).await?;
    let (account, public) = (secrets.account(), secrets.sealing_public());
    let made = db
        .commit::<_, MailboxError>(move |tx| {
            let start = FIRST_FOLDERS.len() as u64 + 1;
            // From the clock, so that a file made anew under the same id gives none of the old numbers.
            let uid_validity = u32::try_from(now.as_second().max(1)).unwrap_or(u32::MAX / 2);
            tx.execute(
                "INSERT INTO meta(id, account, hash_key, modseq_next, modseq_reserved, uid_validity_next, points, \
                 sealing_epoch, sealing_public) VALUES (1, ?1, ?2, ?3, ?4, ?5, 1, ?6, ?7)",
                params![
                    account,
                    Key::random().expose(),
                    signed(start),
                    signed(start + MODSEQ_RANGE),
                    uid_validity + FIRST_FOLDERS.len() as u32,
                    public.epoch,
                    public.bytes
                ],
            )?;
            for (number, (name, special)) in (0..).zip(FIRST_FOLDERS) {
                let special = special.and_then(letterlock_imap_wire::SpecialUse::parse);
                FolderRow::insert(tx, name, special, uid_validity + number, u64::from(number) + 1)?;
                tx.execute("INSERT INTO subscriptions(name) VALUES (?1)", [name])?;
            }
            Ok(())
        })
        .await;
    let closed = db.close().await;
    made?;
    Ok(closed?)
}

fn hooks(memory: &Arc<Memory>) -> Hooks {
    let (at_open, at_close) = (Arc::clone(memory), Arc::clone(memory));
    Hooks {
        opened: Some(Arc::new(move |conn, opened| at_open.opened(conn, opened.clean))),
        closing: Some(Arc::new(move |conn| at_close.closing(conn))),
    }
}

impl Live {
    /// Opens the file, which must exist, and reads what is needed of it.
    pub(crate) async fn open(
        pool: &Pool,
        path: std::path::PathBuf,
        secrets: AccountSecrets,
        options: &Options,
    ) -> Result<Self, MailboxError> {
        let memory = Arc::new(Memory::default());
        let db = Database::open(pool, spec(path, &secrets, options, hooks(&memory))).await?;
        let opened = Self::of(db.clone(), memory, secrets).await;
        if opened.is_err() {
            // Nobody else has it, and it may be opened anew at once.
            drop(db.close().await);
        }
        opened
    }

    async fn of(
        db: Database,
        memory: Arc<Memory>,
        secrets: AccountSecrets,
    ) -> Result<Self, MailboxError> {
        let account = secrets.account();
        let (owner, hash_key, sealing) = db
            .read::<_, MailboxError>(|conn| {
                let sql = "SELECT account, hash_key, sealing_epoch, sealing_public FROM meta";
                Ok(conn.query_row(sql, [], |row| {
                    let key: [u8; 32] = row.get(1)?;
                    let sealing = (row.get::<_, u32>(2)?, row.get::<_, Vec<u8>>(3)?);
                    Ok((row.get(0)?, Key::from_bytes(key), sealing))
                })?)
            })
            .await?;
        if account != owner {
            return Err(MailboxError::damaged("the file belongs to another account"));
        }
        let expected = secrets.sealing_public();
        let mut live = Self {
            db,
            memory,
            sealing_agrees: sealing == (expected.epoch, expected.bytes),
            secrets: Arc::new(secrets),
            hash_key,
            index: Arc::default(),
            read_only: Arc::default(),
        };
        if !live.sealing_agrees {
            live.sealing_agrees = live.adopt_sealing().await?;
        }
        Ok(live)
    }

    /// How the file of these secrets is opened at `path`, with the memory of the one that is open.
    pub(crate) fn next_spec(
        &self,
        path: std::path::PathBuf,
        secrets: &AccountSecrets,
        options: &Options,
    ) -> Spec {
        spec(path, secrets, options, hooks(&self.memory))
    }

    /// The same open file under the secrets of another epoch.
    pub(crate) fn with_secrets(&self, secrets: AccountSecrets) -> Self {
        Self {
            db: self.db.clone(),
            memory: Arc::clone(&self.memory),
            secrets: Arc::new(secrets),
            hash_key: self.hash_key.clone(),
            sealing_agrees: true,
            index: Arc::clone(&self.index),
            read_only: Arc::clone(&self.read_only),
        }
    }

    /// Notes the sealing key that a rotation is to bring, so that an unlock after it knows that it is right.
    pub(crate) async fn expect_sealing(&self, next: &AccountSecrets) -> Result<(), MailboxError> {
        let public = next.sealing_public();
        self.durable(move |work| {
            work.tx.execute(
                "INSERT OR REPLACE INTO sealing_next(id, epoch, public) VALUES (1, ?1, ?2)",
                params![public.epoch, public.bytes],
            )?;
            Ok(())
        })
        .await
    }

    /// Makes the noted sealing key the present one, if it is that of the secrets; answers whether it is.
    pub(crate) async fn adopt_sealing(&self) -> Result<bool, MailboxError> {
        let public = self.secrets.sealing_public();
        self.loose(move |work| {
            let adopted = work.tx.execute(
                "UPDATE meta SET sealing_epoch = ?1, sealing_public = ?2 WHERE EXISTS \
                 (SELECT 1 FROM sealing_next WHERE epoch = ?1 AND public = ?2)",
                params![public.epoch, public.bytes],
            )?;
            if adopted > 0 {
                work.tx.execute("DELETE FROM sealing_next", [])?;
            }
            Ok(Attempt::Done(adopted > 0))
        })
        .await
    }

    /// From now on nothing is written any more.
    pub(crate) fn forbid_writing(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check_writable(&self) -> Result<(), MailboxError> {
        if self.read_only.load(Ordering::Relaxed) { Err(MailboxError::RolledBack) } else { Ok(()) }
    }

    /// Reads, with nothing else running beside it.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &Memory) -> Result<R, MailboxError> + Send + 'static,
    ) -> Result<R, MailboxError> {
        let memory = Arc::clone(&self.memory);
        self.db.read(move |conn| job(conn, &memory)).await
    }

    /// Changes something; when this returns it is on stable storage. Counts as a durable point.
    pub(crate) async fn durable<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Work<'_>) -> Result<R, MailboxError> + Send + 'static,
    ) -> Result<R, MailboxError> {
        self.check_writable()?;
        let memory = Arc::clone(&self.memory);
        let (done, point) = self
            .db
            .commit::<_, MailboxError>(move |tx| {
                let work = Work { tx, memory: &memory, ends: Ends::Durable };
                let done = job(&work)?;
                Ok((done, work.count_point()?))
            })
            .await?;
        self.memory.reached(point);
        Ok(done)
    }

    /// Changes something without a sync. When a range of numbers is used up, a synced commit extends it and the
    /// job runs again.
    pub(crate) async fn loose<R: Send + 'static>(
        &self,
        job: impl Fn(&Work<'_>) -> Result<Attempt<R>, MailboxError> + Send + Sync + 'static,
    ) -> Result<R, MailboxError> {
        self.check_writable()?;
        let job = Arc::new(job);
        for _ in 0..ATTEMPTS {
            let (memory, job) = (Arc::clone(&self.memory), Arc::clone(&job));
            let attempt = self
                .db
                .write::<_, MailboxError>(move |tx| {
                    job(&Work { tx, memory: &memory, ends: Ends::Loose })
                })
                .await?;
            match attempt {
                Attempt::Done(done) => return Ok(done),
                Attempt::Reserve(shortage) => {
                    self.durable(move |work| work.reserve(shortage)).await?
                }
            }
        }
        Err(MailboxError::Storage(VaultError::SyncFailed))
    }

    /// A durable point: all that was changed before is on stable storage when this returns.
    pub(crate) async fn sync(&self) -> Result<(), MailboxError> {
        self.durable(|_| Ok(())).await
    }
}

/// A real folder as LIST shows it.
pub(crate) fn shown(row: &FolderRow, subscribed: bool, has_children: bool) -> Folder {
    Folder {
        id: Some(row.folder_id()),
        name: row.name.clone(),
        uid_validity: row.uid_validity,
        special_use: row.special_use,
        subscribed,
        has_children,
    }
}
