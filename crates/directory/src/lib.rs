//! Who exists: the domains, accounts and aliases of this server, in `directory.db`.
//!
//! [`Directory`] owns the file, under the server key, and writes to it; [`Snapshot`] is the whole of
//! it in memory, which everybody else reads without waiting: RCPT resolves recipients there, login finds
//! slots there, the signer its keys. Each durable write publishes a new snapshot that shares every
//! row it did not change with the one before.
//!
//! What an address means is decided in [`Snapshot::resolve`]. Key material passes through as the opaque bytes that
//! vault made; nothing here opens it. Mail itself and sessions are not known here; of quotas, what was last
//! counted and what a sender is told.

mod accounts;
mod aliases;
mod directory;
mod domains;
mod error;
mod keys;
mod model;
mod quota;
mod resolve;
mod schema;
mod snapshot;

pub use accounts::NewAccount;
pub use directory::Directory;
pub use error::DirectoryError;
pub use keys::AccountKeys;
pub use model::{
    Account, AccountState, Alias, AliasSource, Disabled, DkimAlgorithm, DkimKey, DkimPrivate,
    DkimState, Domain, KeyMode, NamedSlot,
};
pub use quota::{Allowance, Holding, QuotaVerdict, quota_verdict};
pub use resolve::{ROLES, Resolution, Target};
pub use snapshot::Snapshot;
