//! Changes to accounts, except to their keys.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_vault::AccountId;
use rusqlite::{Connection, Transaction, params};

use crate::directory::{Directory, Durability, Store};
use crate::error::DirectoryError;
use crate::keys::{AccountKeys, check_slots, insert_slot};
use crate::model::{Account, AccountState};
use crate::schema::{REMOVING, stored};
use crate::snapshot::Snapshot;

/// An account that is to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// A new id.
    pub id: AccountId,
    /// Its address, in a domain of this server.
    pub address: Mailbox,
    /// Who holds its keys, and the keys.
    pub keys: AccountKeys,
    /// How many octets of mail it may hold; `None` for no limit.
    pub quota: Option<u64>,
    /// How many messages it may hold; `None` for no limit.
    pub quota_messages: Option<u64>,
    /// The owner's name.
    pub display_name: Option<String>,
    /// Now.
    pub created_at: Timestamp,
}

impl Directory {
    /// Adds an account. Names of role addresses may be given: the account then receives that mail.
    ///
    /// # Errors
    /// `NoSuchDomain`, `AddressTaken`, `AccountExists`, `LastSlot` if it has no slot, `SlotTaken` for two of one
    /// number, `Vault`.
    pub async fn add_account(self: &Arc<Self>, new: NewAccount) -> Result<(), DirectoryError> {
        self.change(Durability::Synced, move |next| {
            let NewAccount { id, address, keys, quota, quota_messages, display_name, created_at } =
                new;
            if !next.is_local(&address.domain) {
                return Err(DirectoryError::NoSuchDomain(address.domain));
            }
            if next.account(id).is_some() {
                return Err(DirectoryError::AccountExists(id));
            }
            if next.account_by_address(&address).is_some() || next.alias(&address).is_some() {
                return Err(DirectoryError::AddressTaken(address));
            }
            let AccountKeys { mode, secrets, slots } = keys;
            let (slots, next_slot) = check_slots(id, slots)?;
            let account = Account {
                id,
                address,
                mode,
                state: AccountState::Enabled,
                secrets,
                slots,
                quota,
                quota_messages,
                disabled_capabilities: Vec::new(),
                display_name,
                created_at,
                seq: next.take_seq(),
                next_slot,
            };
            next.put_account(account.clone());
            Ok(Box::new(move |transaction: &Transaction<'_>| insert(transaction, &account))
                as Store)
        })
        .await
    }

    /// Removes an account for ever. Its key material is destroyed first, in a commit of its own, so that from then on
    /// nobody can open what may be left of its mail; a crash in between is made good at the next start. The mailbox
    /// file is not touched, nor are aliases that led here.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn remove_account(self: &Arc<Self>, id: AccountId) -> Result<(), DirectoryError> {
        self.change(Durability::Synced, move |next| {
            find(next, id)?;
            next.drop_account(id);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                // secure_delete is on: what is deleted or replaced is overwritten with zeros.
                transaction.execute("DELETE FROM slots WHERE account = ?", [id])?;
                transaction.execute(
                    "UPDATE accounts SET state = ?, data_key = x'', sealing_secret = x'' WHERE id = ?",
                    params![REMOVING, id],
                )?;
                Ok(())
            }) as Store)
        })
        .await?;
        self.ledger().forget(id);
        // The log may still hold the slots as they were.
        self.empty_log().await?;
        self.change(Durability::Synced, |_| {
            Ok(Box::new(|transaction: &Transaction<'_>| delete_removed(transaction)) as Store)
        })
        .await
    }

    /// Enables or disables an account.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn set_account_state(
        self: &Arc<Self>,
        id: AccountId,
        state: AccountState,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            account.state = state;
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE accounts SET state = ? WHERE id = ?",
                    params![state.as_str(), id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// Sets how many octets of mail an account may hold.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn set_quota(
        self: &Arc<Self>,
        id: AccountId,
        quota: Option<u64>,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            account.quota = quota;
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE accounts SET quota = ? WHERE id = ?",
                    params![quota.map(stored), id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// Sets how many messages an account may hold.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn set_message_quota(
        self: &Arc<Self>,
        id: AccountId,
        quota: Option<u64>,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            account.quota_messages = quota;
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE accounts SET quota_messages = ? WHERE id = ?",
                    params![quota.map(stored), id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// Switches IMAP capabilities off and on for an account's next sessions. Which names there are is
    /// not known here. What is in both lists is on.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn switch_capabilities(
        self: &Arc<Self>,
        id: AccountId,
        off: Vec<String>,
        on: Vec<String>,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            let mut names = std::mem::take(&mut account.disabled_capabilities);
            names.extend(off);
            names.retain(|name| !on.contains(name));
            names.sort_unstable();
            names.dedup();
            account.disabled_capabilities.clone_from(&names);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE accounts SET disabled_capabilities = ? WHERE id = ?",
                    params![names.join(" "), id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// Sets the owner's name.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn set_display_name(
        self: &Arc<Self>,
        id: AccountId,
        name: Option<String>,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            account.display_name.clone_from(&name);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE accounts SET display_name = ? WHERE id = ?",
                    params![name, id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// A durable change to one account's row.
    pub(crate) async fn alter<P>(
        self: &Arc<Self>,
        id: AccountId,
        plan: P,
    ) -> Result<(), DirectoryError>
    where
        P: FnOnce(&mut Account) -> Result<Store, DirectoryError> + Send + 'static,
    {
        self.change(Durability::Synced, move |next| {
            let mut account = find(next, id)?;
            let store = plan(&mut account)?;
            next.put_account(account);
            Ok(store)
        })
        .await
    }
}

/// A copy of the account's row, to change.
pub(crate) fn find(snapshot: &Snapshot, id: AccountId) -> Result<Account, DirectoryError> {
    match snapshot.account(id) {
        Some(account) => Ok(Account::clone(&account)),
        None => Err(DirectoryError::NoSuchAccount(id)),
    }
}

fn insert(transaction: &Transaction<'_>, account: &Account) -> rusqlite::Result<()> {
    // The row of an account whose removal is not finished may hold this one's address.
    delete_removed(transaction)?;
    transaction.execute(
        "INSERT INTO accounts (seq, id, address, canonical, mode, state, epoch, data_key, sealing_public,
             sealing_secret, quota, quota_messages, display_name, created_at, next_slot)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            account.seq,
            account.id,
            account.address.to_string(),
            account.address.canonical(),
            account.mode.as_str(),
            account.state.as_str(),
            account.secrets.epoch,
            account.secrets.data_key,
            account.secrets.sealing_public,
            account.secrets.sealing_secret,
            account.quota.map(stored),
            account.quota_messages.map(stored),
            account.display_name,
            account.created_at.as_microsecond(),
            account.next_slot,
        ],
    )?;
    account.slots.iter().try_for_each(|named| insert_slot(transaction, account.id, named))
}

/// Deletes the rows of accounts whose keys were destroyed.
pub(crate) fn delete_removed(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM slots WHERE account IN (SELECT id FROM accounts WHERE state = ?)",
        [REMOVING],
    )?;
    connection.execute("DELETE FROM accounts WHERE state = ?", [REMOVING])?;
    connection.execute("DELETE FROM usage WHERE account NOT IN (SELECT id FROM accounts)", [])?;
    Ok(())
}
