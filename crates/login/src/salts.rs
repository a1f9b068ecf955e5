//! The salt of every name, whether it is somebody's or nobody's.

use std::sync::Arc;

use letterlock_address::Mailbox;
use letterlock_directory::{Account, Directory};
use letterlock_vault::ServerKey;
use letterlock_vault::slot::{self, SCRAM_ITERATIONS, SCRAM_SALT};

/// Tells SCRAM clients the salt of the name that they gave. Cheap to clone.
///
/// An account's salt is the one that stands in its app passwords' slots. Where there is none, it is derived from the
/// name under a key of the server's, so that asking twice gives the same one and asking tells nothing of who exists. The
/// first app password of an account takes the derived one.
#[derive(Clone)]
pub struct Salts {
    directory: Arc<Directory>,
    server_key: Arc<ServerKey>,
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salts(..)")
    }
}

impl Salts {
    pub(crate) fn new(directory: Arc<Directory>, server_key: Arc<ServerKey>) -> Salts {
        Salts { directory, server_key }
    }

    /// Salt and iterations for what a client calls itself.
    pub fn of(&self, identity: &str) -> ([u8; SCRAM_SALT], u32) {
        let address = identity.parse::<Mailbox>().ok();
        let account = address
            .as_ref()
            .and_then(|address| self.directory.snapshot().account_by_address(address));
        match (account, address) {
            (Some(account), _) => self.of_account(&account),
            (None, Some(address)) => (self.derived(&address.canonical()), SCRAM_ITERATIONS),
            (None, None) => (self.derived(identity), SCRAM_ITERATIONS),
        }
    }

    /// Those of an account, for its next app password.
    pub fn of_account(&self, account: &Account) -> ([u8; SCRAM_SALT], u32) {
        let stored = account.slots.iter().find_map(|named| slot::scram_parameters(&named.slot));
        stored.unwrap_or_else(|| (self.derived(&account.address.canonical()), SCRAM_ITERATIONS))
    }

    fn derived(&self, name: &str) -> [u8; SCRAM_SALT] {
        let key = self.server_key.derive("scram salt", name.as_bytes());
        let mut salt = [0; SCRAM_SALT];
        salt.copy_from_slice(&key.expose()[..SCRAM_SALT]);
        salt
    }
}
