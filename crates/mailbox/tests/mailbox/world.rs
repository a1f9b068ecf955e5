//! A data folder with one account, and short ways to say what tests do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_mailbox::{
    Delivery, FlagChange, FlagOperation, Flags, FolderId, Handle, InternalDate, Mailboxes,
    NewMessage, Options, SelectMode, Selected, SystemFlags, UidRanges,
};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, DeliveryId, Pool, ServerKey};

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) secrets: AccountSecrets,
}

pub(crate) fn options() -> Options {
    Options {
        grace: Duration::from_secs(60),
        idle_close: None,
        message_size: 8 << 20,
        ..Options::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let (secrets, _) =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
        let mailboxes = Mailboxes::new(dir.path(), Pool::new("test", 2), options);
        mailboxes.create(&secrets).await.unwrap();
        Self { dir, mailboxes, secrets }
    }

    /// A world and the handle of its account, open.
    pub(crate) async fn open() -> (Self, Handle) {
        let world = Self::new().await;
        let handle = world.unlock().await;
        (world, handle)
    }

    pub(crate) fn account(&self) -> AccountId {
        self.secrets.account()
    }

    pub(crate) async fn unlock(&self) -> Handle {
        self.mailboxes.unlock(self.secrets.clone(), false).await.unwrap()
    }

    /// A crash of the process: what was written stays, nothing is closed.
    pub(crate) async fn crash(&self) -> Handle {
        self.mailboxes.kill(self.account()).await;
        self.unlock().await
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let dir = self.dir.path().join("accounts").join(self.account().to_string());
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The same files in another data folder.
    pub(crate) fn elsewhere(&self) -> tempfile::TempDir {
        let other = tempfile::tempdir().unwrap();
        let dir = other.path().join("accounts").join(self.account().to_string());
        std::fs::create_dir_all(&dir).unwrap();
        for path in self.files() {
            std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
        other
    }

    /// What is on the disk at this moment.
    pub(crate) fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.files().into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// A power cut that takes all that was written after the snapshot.
    pub(crate) async fn power_cut(&self, snapshot: Vec<(PathBuf, Vec<u8>)>) -> Handle {
        self.mailboxes.kill(self.account()).await;
        for path in self.files() {
            std::fs::remove_file(path).unwrap();
        }
        for (path, content) in snapshot {
            std::fs::write(path, content).unwrap();
        }
        self.unlock().await
    }
}

pub(crate) fn date(seconds: i64) -> InternalDate {
    InternalDate::utc(Timestamp::from_second(seconds).unwrap())
}

pub(crate) fn text(subject: &str, body: &str) -> Bytes {
    format!("From: a@example.org\r\nTo: b@example.net\r\nSubject: {subject}\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n{body}\r\n").into()
}

pub(crate) fn message(subject: &str) -> NewMessage {
    NewMessage {
        bytes: text(subject, "Hello."),
        flags: Flags::default(),
        internal_date: date(1_700_000_000),
    }
}

pub(crate) fn delivery(id: DeliveryId, recipient: &str, folder: &str) -> Delivery {
    Delivery {
        id,
        recipient: recipient.to_owned(),
        folder: folder.to_owned(),
        flags: Flags::default(),
        internal_date: date(1_700_000_000),
        bytes: text("delivered", "Hello."),
    }
}

pub(crate) fn set(text: &str) -> UidRanges {
    letterlock_imap_wire::SequenceSet::parse(text).unwrap().resolve(u32::MAX).unwrap()
}

pub(crate) fn flags(system: SystemFlags, keywords: &[&str]) -> Flags {
    Flags { system, keywords: keywords.iter().map(|word| (*word).to_owned()).collect() }
}

pub(crate) fn change(
    operation: FlagOperation,
    system: SystemFlags,
    keywords: &[&str],
) -> FlagChange {
    FlagChange { operation, flags: flags(system, keywords) }
}

pub(crate) async fn inbox(handle: &Handle) -> Selected {
    handle.select("INBOX", SelectMode::ReadOnly).await.unwrap()
}

/// Puts so many messages into INBOX.
pub(crate) async fn fill(handle: &Handle, count: usize) -> FolderId {
    for start in (0..count).step_by(500) {
        let some =
            (start..count.min(start + 500)).map(|n| message(&format!("Number {n}"))).collect();
        handle.append("INBOX", some).await.unwrap();
    }
    inbox(handle).await.folder
}
