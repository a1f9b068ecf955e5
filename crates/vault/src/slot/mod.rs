//! Slots: an account key wrapped once for each credential that opens the account.
//!
//! Every slot's data describes itself: version, method, parameters, then the sealed account key.
//! Bound to the wrap are account, slot id, kind and all that stands before it, so that a slot
//! opens nowhere else and with no other parameters. Which slots an account has, what they are
//! called and when they were used is the directory's affair.
//!
//! Data that makes no sense is [`SlotError::Malformed`], never a panic.

mod organisation;
mod password;
mod scram;
mod server;
mod token;

use std::fmt;

pub use organisation::{
    OrganisationKey, open_organisation, organisation, organisation_fingerprint,
};
pub use password::{Argon2Cost, dummy_password_work, open_password, password, password_cost};
pub use scram::{
    Proven, SCRAM_ITERATIONS, SCRAM_SALT, dummy_scram_work, open_scram, scram_parameters,
};
pub use server::{open_server, server};
pub use token::{
    AppPassword, RecoveryKey, app_password, app_password_with_scram, open_app_password,
    open_recovery, recovery,
};

use crate::{AccountId, AccountKey, Key, OpenError};

/// What kind of credential opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A password that a person chose: Argon2id.
    Password,
    /// A generated password for one program: 128 random bits.
    AppPassword,
    /// The key of last resort, shown once: 256 random bits.
    Recovery,
    /// The server's own key: a server-held account.
    Server,
    /// The organisation's public key, whose private half is kept elsewhere.
    Organisation,
}

impl SlotKind {
    /// The number that stands for the kind at rest; it never changes.
    pub fn code(self) -> u8 {
        match self {
            SlotKind::Password => 1,
            SlotKind::AppPassword => 2,
            SlotKind::Recovery => 3,
            SlotKind::Server => 4,
            SlotKind::Organisation => 5,
        }
    }

    /// The kind that a number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        use SlotKind::{AppPassword, Organisation, Password, Recovery, Server};
        [Password, AppPassword, Recovery, Server, Organisation]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One credential's way to the account key.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    /// Unique in the account; never used again after removal.
    pub id: u32,
    /// Which credential opens it.
    pub kind: SlotKind,
    /// Self-describing and versioned. No secret in itself, but a password can be guessed at
    /// with it, so it stays in the directory.
    pub data: Vec<u8>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why a slot did not give its account key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The credential is not this slot's. (For slots of generated secrets and of the server,
    /// damage looks the same.)
    #[error("wrong credential")]
    Wrong,
    /// The data is no slot of this kind, is damaged, or was moved from another account or slot.
    #[error("the slot is malformed")]
    Malformed,
    /// The data is of another version.
    #[error("slot version {0} is not known")]
    Unsupported(u8),
}

/// Makes the slot: `header`, then the account key sealed under `wrapping`.
fn wrap(
    account: AccountId,
    id: u32,
    kind: SlotKind,
    header: &[u8],
    wrapping: &Key,
    account_key: &AccountKey,
) -> Slot {
    let sealed = wrapping.seal(&additional_data(account, id, kind, header), account_key.0.expose());
    Slot { id, kind, data: [header, &sealed].concat() }
}

/// The account key from the data behind the first `header` octets.
fn unwrap(
    account: AccountId,
    slot: &Slot,
    header: usize,
    wrapping: &Key,
) -> Result<AccountKey, OpenError> {
    let (header, sealed) = slot.data.split_at_checked(header).ok_or(OpenError::Malformed)?;
    let aad = additional_data(account, slot.id, slot.kind, header);
    wrapping.open_key(&aad, sealed).map(AccountKey)
}

/// Checks kind and version, which all slots have in common; gives what follows the version.
fn body(slot: &Slot, kind: SlotKind, version: u8) -> Result<&[u8], SlotError> {
    match slot.data.split_first() {
        _ if slot.kind != kind => Err(SlotError::Malformed),
        None => Err(SlotError::Malformed),
        Some((&other, _)) if other != version => Err(SlotError::Unsupported(other)),
        Some((_, rest)) => Ok(rest),
    }
}

/// What a wrap is bound to. All but the header is of fixed length.
fn additional_data(account: AccountId, id: u32, kind: SlotKind, header: &[u8]) -> Vec<u8> {
    let code = [kind.code()];
    [b"letterlock slot ", &code[..], &id.to_be_bytes(), &account.to_bytes(), header].concat()
}

#[cfg(test)]
mod tests;
