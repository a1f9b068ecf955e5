//! The slot of a server-held account: its key is wrapped under the server key.
//!
//! Data: version (1 octet, 1), sealed key (72).

use super::{Slot, SlotError, SlotKind, body, unwrap, wrap};
use crate::{AccountId, AccountKey, OpenError, ServerKey};

const VERSION: u8 = 1;

/// Makes the slot that lets the server open the account by itself.
pub fn server(account: AccountId, id: u32, account_key: &AccountKey, server: &ServerKey) -> Slot {
    wrap(account, id, SlotKind::Server, &[VERSION], &server.slot_key(account), account_key)
}

/// Opens a server-held account.
///
/// # Errors
/// [`SlotError::Wrong`] for another server's key, another account or slot, or damage;
/// [`SlotError::Malformed`], [`SlotError::Unsupported`] by the data's shape.
pub fn open_server(
    account: AccountId,
    slot: &Slot,
    server: &ServerKey,
) -> Result<AccountKey, SlotError> {
    body(slot, SlotKind::Server, VERSION)?;
    unwrap(account, slot, 1, &server.slot_key(account)).map_err(|error| match error {
        OpenError::Unauthentic => SlotError::Wrong,
        _ => SlotError::Malformed,
    })
}
