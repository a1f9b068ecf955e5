//! Changes to what opens an account: slots, wrapped secrets, and the mark of its mailbox.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use letterlock_vault::{AccountId, WrappedSecrets};
use rusqlite::{Transaction, params};

use crate::accounts::find;
use crate::directory::{Directory, Durability, Store};
use crate::error::DirectoryError;
use crate::model::{Account, KeyMode, NamedSlot};
use crate::schema::stored;

/// How exactly a slot's last use is kept.
const LAST_USED_STEP: SignedDuration = SignedDuration::from_hours(1);

/// All key material of an account, wrapped.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    /// Who holds the account key.
    pub mode: KeyMode,
    /// What the account key wraps.
    pub secrets: WrappedSecrets,
    /// What wraps the account key; at least one.
    pub slots: Vec<NamedSlot>,
}

impl Directory {
    /// Adds a credential. Its slot's id is [`Account::next_slot_id`] or above.
    ///
    /// # Errors
    /// `NoSuchAccount`, `SlotTaken`, `Vault`.
    pub async fn add_slot(
        self: &Arc<Self>,
        id: AccountId,
        named: NamedSlot,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            let slot = named.slot.id;
            if slot < account.next_slot {
                return Err(DirectoryError::SlotTaken { account: id, slot });
            }
            let next_slot = slot.saturating_add(1);
            account.next_slot = next_slot;
            account.slots.push(named.clone());
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                insert_slot(transaction, id, &named)?;
                transaction.execute(
                    "UPDATE accounts SET next_slot = ? WHERE id = ?",
                    params![next_slot, id],
                )?;
                Ok(())
            }))
        })
        .await
    }

    /// Replaces a slot by another of the same id: a changed password.
    ///
    /// # Errors
    /// `NoSuchAccount`, `NoSuchSlot`, `Vault`.
    pub async fn replace_slot(
        self: &Arc<Self>,
        id: AccountId,
        named: NamedSlot,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            let at = slot_position(account, named.slot.id)?;
            account.slots[at] = named.clone();
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                delete_slot(transaction, id, named.slot.id)?;
                insert_slot(transaction, id, &named)
            }))
        })
        .await?;
        self.forget_replaced().await;
        Ok(())
    }

    /// Removes a credential.
    ///
    /// # Errors
    /// `NoSuchAccount`, `NoSuchSlot`, `LastSlot`, `Vault`.
    pub async fn remove_slot(
        self: &Arc<Self>,
        id: AccountId,
        slot: u32,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            let at = slot_position(account, slot)?;
            if account.slots.len() == 1 {
                return Err(DirectoryError::LastSlot(id));
            }
            account.slots.remove(at);
            Ok(Box::new(move |transaction: &Transaction<'_>| delete_slot(transaction, id, slot)))
        })
        .await?;
        self.forget_replaced().await;
        Ok(())
    }

    /// Remembers that a slot opened the account. Kept to the hour, so that a login seldom writes; not synced.
    ///
    /// # Errors
    /// `NoSuchAccount`, `NoSuchSlot`, `Vault`.
    pub async fn slot_used(
        self: &Arc<Self>,
        id: AccountId,
        slot: u32,
        now: Timestamp,
    ) -> Result<(), DirectoryError> {
        let fresh = |used: Timestamp| now.duration_since(used).abs() < LAST_USED_STEP;
        let account = self.snapshot().account(id).ok_or(DirectoryError::NoSuchAccount(id))?;
        if account.slot(slot).and_then(|named| named.last_used).is_some_and(fresh) {
            return Ok(());
        }
        self.change(Durability::Soon, move |next| {
            let mut account = find(next, id)?;
            let at = slot_position(&account, slot)?;
            account.slots[at].last_used = Some(now);
            next.put_account(account);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE slots SET last_used = ? WHERE account = ? AND id = ?",
                    params![now.as_microsecond(), id, slot],
                )?;
                Ok(())
            }) as Store)
        })
        .await
    }

    /// Replaces what the account key wraps, the account key being the same: the next epoch's keys.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn set_secrets(
        self: &Arc<Self>,
        id: AccountId,
        secrets: WrappedSecrets,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            account.secrets = secrets.clone();
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                update_secrets(transaction, id, &secrets)
            }))
        })
        .await?;
        self.forget_replaced().await;
        Ok(())
    }

    /// Replaces all key material in one commit: a change of mode, or a new key after the old one was lost or leaked.
    /// Slots keep their ids or take new ones; ids that were in use before are not given again later.
    ///
    /// # Errors
    /// `NoSuchAccount`, `LastSlot` if there is no slot, `SlotTaken` for two of one number, `Vault`.
    pub async fn replace_keys(
        self: &Arc<Self>,
        id: AccountId,
        keys: AccountKeys,
    ) -> Result<(), DirectoryError> {
        self.alter(id, move |account| {
            let AccountKeys { mode, secrets, slots } = keys;
            let (slots, next_slot) = check_slots(id, slots)?;
            account.mode = mode;
            account.secrets = secrets;
            account.slots = slots;
            account.next_slot = account.next_slot.max(next_slot);
            let account = account.clone();
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                update_secrets(transaction, id, &account.secrets)?;
                transaction.execute("DELETE FROM slots WHERE account = ?", [id])?;
                account.slots.iter().try_for_each(|named| insert_slot(transaction, id, named))?;
                transaction.execute(
                    "UPDATE accounts SET mode = ?, next_slot = ? WHERE id = ?",
                    params![account.mode.as_str(), account.next_slot, id],
                )?;
                Ok(())
            }))
        })
        .await?;
        self.forget_replaced().await;
        Ok(())
    }

    /// Raises the mark of one account; see [`Directory::set_marks`].
    ///
    /// # Errors
    /// `Vault`.
    pub async fn set_mark(
        self: &Arc<Self>,
        id: AccountId,
        count: u64,
    ) -> Result<(), DirectoryError> {
        self.set_marks(vec![(id, count)]).await
    }

    /// Raises the marks of accounts to the counts of durable points that their mailboxes have reached on disk.
    /// A mark never sinks, and accounts that are no more are passed over.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn set_marks(
        self: &Arc<Self>,
        marks: Vec<(AccountId, u64)>,
    ) -> Result<(), DirectoryError> {
        self.change(Durability::Synced, move |next| {
            let mut raised = Vec::with_capacity(marks.len());
            for (id, count) in marks {
                if next.account(id).is_some() && next.mark(id) < count {
                    next.put_mark(id, count);
                    raised.push((id, count));
                }
            }
            Ok(store_marks(raised))
        })
        .await
    }

    /// Sets the mark of an account whose mailbox was restored or made anew, lower too.
    ///
    /// # Errors
    /// `NoSuchAccount`, `Vault`.
    pub async fn reset_mark(
        self: &Arc<Self>,
        id: AccountId,
        count: u64,
    ) -> Result<(), DirectoryError> {
        self.change(Durability::Synced, move |next| {
            find(next, id)?;
            next.put_mark(id, count);
            Ok(store_marks(vec![(id, count)]))
        })
        .await
    }
}

fn slot_position(account: &Account, slot: u32) -> Result<usize, DirectoryError> {
    let at = account.slots.iter().position(|named| named.slot.id == slot);
    at.ok_or(DirectoryError::NoSuchSlot { account: account.id, slot })
}

/// The slots in the order of their ids, and the first id above them.
pub(crate) fn check_slots(
    account: AccountId,
    mut slots: Vec<NamedSlot>,
) -> Result<(Vec<NamedSlot>, u32), DirectoryError> {
    slots.sort_by_key(|named| named.slot.id);
    if let Some(pair) = slots.windows(2).find(|pair| pair[0].slot.id == pair[1].slot.id) {
        return Err(DirectoryError::SlotTaken { account, slot: pair[0].slot.id });
    }
    match slots.last().map(|named| named.slot.id) {
        Some(last) => Ok((slots, last.saturating_add(1))),
        None => Err(DirectoryError::LastSlot(account)),
    }
}

pub(crate) fn insert_slot(
    transaction: &Transaction<'_>,
    account: AccountId,
    named: &NamedSlot,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO slots (account, id, kind, name, data, created_at, last_used) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            account,
            named.slot.id,
            named.slot.kind.code(),
            named.name,
            named.slot.data,
            named.created_at.as_microsecond(),
            named.last_used.map(Timestamp::as_microsecond),
        ],
    )?;
    Ok(())
}

fn delete_slot(
    transaction: &Transaction<'_>,
    account: AccountId,
    slot: u32,
) -> rusqlite::Result<()> {
    transaction
        .execute("DELETE FROM slots WHERE account = ? AND id = ?", params![account, slot])?;
    Ok(())
}

fn update_secrets(
    transaction: &Transaction<'_>,
    id: AccountId,
    secrets: &WrappedSecrets,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE accounts SET epoch = ?, data_key = ?, sealing_public = ?, sealing_secret = ? WHERE id = ?",
        params![secrets.epoch, secrets.data_key, secrets.sealing_public, secrets.sealing_secret, id],
    )?;
    Ok(())
}

fn store_marks(marks: Vec<(AccountId, u64)>) -> Store {
    Box::new(move |transaction| {
        let mut update = transaction.prepare_cached("UPDATE accounts SET mark = ? WHERE id = ?")?;
        for (id, count) in marks {
            update.execute(params![stored(count), id])?;
        }
        Ok(())
    })
}
