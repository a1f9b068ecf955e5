//! A directory in a folder of its own.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_directory::{
    AccountKeys, Directory, DirectoryError, KeyMode, NamedSlot, NewAccount,
};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Key, Pool, ServerKey, slot};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) server: ServerKey,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), ServerKey::from_key(Key::random())).await
    }

    pub(crate) async fn with_domain(name: &str) -> Self {
        let world = Self::new().await;
        world.directory.add_domain(domain(name), None, vec![], at(0)).await.unwrap();
        world
    }

    async fn open(folder: TempDir, server: ServerKey) -> Self {
        let directory =
            Directory::open(folder.path(), &server, &Pool::new("test", 1)).await.unwrap();
        Self { directory, server, folder }
    }

    /// What a program finds that starts after this one crashed: the files as they are now.
    pub(crate) async fn crash(self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        Self::open(folder, self.server.clone()).await
    }

    pub(crate) async fn account(&self, address: &str) -> AccountId {
        self.try_account(address).await.unwrap()
    }

    pub(crate) async fn try_account(&self, address: &str) -> Result<AccountId, DirectoryError> {
        let id = AccountId::generate();
        self.directory.add_account(self.new_account(id, address)).await?;
        Ok(id)
    }

    pub(crate) fn new_account(&self, id: AccountId, address: &str) -> NewAccount {
        NewAccount {
            id,
            address: mailbox(address),
            keys: self.keys(id, &[1]),
            quota: None,
            quota_messages: None,
            display_name: None,
            created_at: at(10),
        }
    }

    /// Fresh keys with server-held slots of these ids.
    pub(crate) fn keys(&self, id: AccountId, slots: &[u32]) -> AccountKeys {
        let account_key = AccountKey::random();
        let (_, secrets) = AccountSecrets::generate(id, &account_key, &self.server);
        let slots = slots.iter().map(|slot| self.slot(id, *slot, "main")).collect();
        AccountKeys { mode: KeyMode::ServerHeld, secrets, slots }
    }

    pub(crate) fn slot(&self, id: AccountId, number: u32, name: &str) -> NamedSlot {
        NamedSlot {
            slot: slot::server(id, number, &AccountKey::random(), &self.server),
            name: name.to_owned(),
            created_at: at(20),
            last_used: None,
        }
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}
