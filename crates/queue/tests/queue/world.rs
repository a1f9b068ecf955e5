//! A queue in a folder of its own, and an account whose owner holds the keys.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_queue::{
    BodyType, Counts, NewEntry, NewRecipient, Origin, Outcome, Parked, Queue, QueueError,
    RequireTls, Route, RowId, Seal, Verdict,
};
use letterlock_vault::{
    AccountId, AccountKey, AccountSecrets, Database, DeliveryId, Hooks, Key, Pool, SealTo,
};
use letterlock_vault::{ServerKey, Spec};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) queue: Arc<Queue>,
    pub(crate) server: ServerKey,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), ServerKey::from_key(Key::random())).await
    }

    async fn open(folder: TempDir, server: ServerKey) -> Self {
        let queue = Queue::open(folder.path(), &server, &Pool::new("test", 1)).await.unwrap();
        Self { queue, server, folder }
    }

    /// The files as a crash of this moment leaves them.
    pub(crate) fn copy(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        folder
    }

    /// What a program finds that starts after this one crashed.
    pub(crate) async fn crash(self) -> Self {
        Self::open(self.copy(), self.server.clone()).await
    }

    /// The file in the hands of somebody who has the server key, and may do to it what he likes.
    pub(crate) async fn stolen(&self) -> (TempDir, Database) {
        let folder = self.copy();
        let database = Self::raw(folder.path().join("queue.db"), &self.server).await;
        (folder, database)
    }

    pub(crate) async fn raw(path: PathBuf, server: &ServerKey) -> Database {
        let spec = Spec {
            path,
            keys: server.file_keys("queue"),
            schema: &["SELECT 'as many migrations as the queue has'"; 3],
            cache_kib: 256,
            idle_close: None,
            hooks: Hooks::default(),
        };
        Database::open(&Pool::new("raw", 1), spec).await.unwrap()
    }

    /// Changes the stored file behind the queue's back, while it is closed.
    pub(crate) async fn tamper(self, sql: &'static str) -> Self {
        self.queue.close().await.unwrap();
        let database = Self::raw(self.folder.path().join("queue.db"), &self.server).await;
        let job = move |transaction: &rusqlite::Transaction<'_>| {
            assert_ne!(transaction.execute(sql, [])?, 0, "{sql} finds something to do");
            Ok::<_, QueueError>(())
        };
        database.commit(job).await.unwrap();
        database.close().await.unwrap();
        Self::open(self.folder, self.server).await
    }

    pub(crate) async fn accept(&self, entry: NewEntry) -> (DeliveryId, Vec<RowId>) {
        let id = entry.id;
        (id, self.queue.accept(entry).await.unwrap().rows)
    }

    pub(crate) async fn counts(&self) -> Counts {
        self.queue.counts().await.unwrap()
    }

    pub(crate) async fn parked(&self, account: AccountId) -> Vec<Parked> {
        self.queue.parked(account, None, 1_000).await.unwrap()
    }

    pub(crate) async fn finish(&self, row: RowId, verdict: Verdict, reply: &str) {
        let outcome = Outcome { row, verdict, reply: reply.to_owned(), security: None };
        self.queue.finish(vec![outcome], None).await.unwrap();
    }

    /// How many pieces of bodies there are.
    pub(crate) async fn chunks(&self) -> i64 {
        let (_folder, database) = self.stolen().await;
        let sql = "SELECT count(*) FROM chunks";
        database
            .read(|connection| {
                Ok::<i64, QueueError>(connection.query_row(sql, [], |row| row.get(0))?)
            })
            .await
            .unwrap()
    }

    /// Waits for the housekeeping that runs by itself.
    pub(crate) async fn tidied(&self) {
        for _ in 0..2_000 {
            if self.counts().await.loose == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("garbage is swept up");
    }
}

/// Somebody with a mailbox here.
pub(crate) struct Owner {
    pub(crate) account: AccountId,
    pub(crate) secrets: AccountSecrets,
}

impl Owner {
    pub(crate) fn new(server: &ServerKey) -> Self {
        let account = AccountId::generate();
        let (secrets, _) = AccountSecrets::generate(account, &AccountKey::random(), server);
        Self { account, secrets }
    }

    /// As sealed for a locked mailbox.
    pub(crate) fn locked(&self) -> Seal {
        Seal::Owner(SealTo::Public { account: self.account, public: self.secrets.sealing_public() })
    }

    /// As sealed for an unlocked one.
    pub(crate) fn unlocked(&self) -> Seal {
        Seal::Owner(self.secrets.seal_to())
    }

    pub(crate) fn route(&self, seal: Seal) -> Route {
        Route::Local {
            account: self.account,
            folder: "Lists/Rust".to_owned(),
            flags: vec!["\\Seen".to_owned(), "$work".to_owned()],
            seal,
        }
    }

    /// The content key of a parked message.
    pub(crate) fn content(&self, parked: &Parked) -> Key {
        self.secrets
            .open_envelope(parked.envelope.as_ref().expect("sealed for the owner"), parked.id)
            .unwrap()
    }

    pub(crate) async fn read(&self, queue: &Queue, parked: &Parked) -> Result<Bytes, QueueError> {
        queue.open_body(parked, &self.content(parked)).await
    }
}

pub(crate) fn entry(body: impl Into<Bytes>, recipients: Vec<NewRecipient>) -> NewEntry {
    NewEntry {
        id: DeliveryId::generate(),
        received_at: at(0),
        origin: Origin::Inbound,
        reverse_path: ReversePath::Mailbox(mailbox("sender@far.example")),
        ret: None,
        envid: None,
        smtputf8: false,
        body_type: BodyType::SevenBit,
        require_tls: RequireTls::Unspecified,
        hold_until: None,
        body: body.into(),
        recipients,
    }
}

pub(crate) fn to(address: &str, route: Route) -> NewRecipient {
    NewRecipient::new(mailbox(address), route)
}

pub(crate) fn remote(address: &str) -> NewRecipient {
    to(address, Route::Remote)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut sealed = Key::random().seal(b"", &vec![0; length]);
    sealed.truncate(length);
    Bytes::from(sealed)
}
