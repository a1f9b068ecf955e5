//! Keys, and SQLite databases that are encrypted on disk.
//!
//! Everything that Letterlock keeps at rest passes through this crate: it owns the
//! VFS under SQLite that seals every page and every WAL frame, the executor that runs
//! SQLite away from the async workers, the keys of accounts and the slots that open
//! them, and the envelopes in which mail waits for an owner who is away.
//!
//! It knows nothing of mail: what stands in the tables is its callers' affair.

// The search of memory is a test's module that is used inside of the crate too.
#[cfg(test)]
extern crate self as letterlock_vault;

mod ids;
mod key;
mod keyring;
mod memory;
mod seal;
mod secrets;
mod server_key;
pub mod slot;

mod database;
mod pool;
mod storage;
mod vfs;
mod wipe;

pub use database::{
    Bulk, ClosingHook, Database, Frozen, Hooks, Opened, OpenedHook, Slice, Spec, VaultError,
};
pub use ids::{AccountId, DeliveryId, IdError};
pub use key::{FileKeys, Key, OpenError, SEAL_OVERHEAD};
pub use keyring::{Keyring, Lease};
pub use memory::{MemoryError, forbid_core_dumps, lock_process_memory};
pub use pool::Pool;
pub use seal::{DoorKey, Envelope, SealError, SealTo, SealingPublic, SealingSecret};
pub use secrets::{AccountKey, AccountSecrets, WrappedSecrets};
pub use server_key::{ServerKey, ServerKeyError};
pub use slot::{Argon2Cost, Slot, SlotError, SlotKind};
pub use storage::{Disk, OpenMode, Storage, StorageFile};
pub use vfs::pages::Pages;
pub use vfs::verify::{Verified, verify_file};
pub use wipe::{ZeroOnFree, give_freed_memory_back, wipe_freed_sqlite_memory};
