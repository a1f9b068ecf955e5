//! Quotas: how much of its own an account has used, since when it is full, and what a sender is told.
//!
//! What counts is all mail of an account: what is in its mailbox, and what waits sealed in the queue. Nobody can be asked
//! for the former while the mailbox is locked, and nobody shall be asked at RCPT: so the sum is kept here. Each accepted
//! message adds to it, and each count of an unlocked mailbox corrects it. It changes with every message, so it stands
//! apart from the snapshot, in memory, and is written behind ([`Directory::store_usage`]): a crash forgets a minute of
//! it, which the next count makes good.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use letterlock_vault::AccountId;
use rusqlite::{Transaction, params};

use crate::directory::Directory;
use crate::error::DirectoryError;
use crate::schema::stored;

/// Whether there is room for a message, and how a sender is told if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaVerdict {
    /// It fits.
    Room,
    /// The mailbox is full: trying later makes sense (452 4.2.2).
    Full,
    /// The mailbox has been full for so long, or the message is so large, that trying again does not (552 5.2.2).
    FullForLong,
}

/// Judges one message. `quota`, `used` and `incoming` are octets; `incoming` is what the sender declared, or 0.
/// `full_since` is since when the account has been at or above its quota. A message that was not declared still needs
/// one octet, so that a full mailbox takes nothing.
pub fn quota_verdict(
    quota: Option<u64>,
    used: u64,
    incoming: u64,
    full_since: Option<Timestamp>,
    now: Timestamp,
    patience: Duration,
) -> QuotaVerdict {
    let Some(quota) = quota else { return QuotaVerdict::Room };
    if used.saturating_add(incoming.max(1)) <= quota {
        return QuotaVerdict::Room;
    }
    // Such a message would not even fit into an empty mailbox.
    if incoming > quota {
        return QuotaVerdict::FullForLong;
    }
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    match full_since {
        Some(since) if used >= quota && now.duration_since(since) >= patience => {
            QuotaVerdict::FullForLong
        }
        _ => QuotaVerdict::Full,
    }
}

/// What is known of one account's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// Octets of its mail: as last counted, and what came since.
    pub(crate) octets: u64,
    /// Since when a verdict found it full.
    pub(crate) full_since: Option<Timestamp>,
}

/// The use of all accounts, and of which of them the file does not know yet.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    known: HashMap<AccountId, Use>,
    unsaved: HashSet<AccountId>,
}

impl Ledger {
    pub(crate) fn new(known: HashMap<AccountId, Use>) -> Self {
        Self(Mutex::new(Entries { known, unsaved: HashSet::new() }))
    }

    pub(crate) fn forget(&self, account: AccountId) {
        let mut entries = self.entries();
        entries.known.remove(&account);
        entries.unsaved.remove(&account);
    }

    fn change(&self, account: AccountId, change: impl FnOnce(&mut Use)) -> Use {
        let mut entries = self.entries();
        let known = entries.known.entry(account).or_default();
        let before = *known;
        change(known);
        let after = *known;
        if after != before {
            entries.unsaved.insert(account);
        }
        after
    }

    /// Each change to the tables is a single step: a panic elsewhere spoils nothing.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    /// Remembers a count of an account's mail, in its mailbox and in the queue together. Where there is room again, it
    /// is not full any more, whether a sender asks meanwhile or not.
    pub fn note_usage(&self, account: AccountId, octets: u64) {
        let quota = self.snapshot().account(account).and_then(|account| account.quota);
        self.know(account, |known| {
            known.octets = octets;
            known.full_since =
                known.full_since.filter(|_| quota.is_some_and(|quota| octets >= quota));
        });
    }

    /// Adds a message that was accepted for an account.
    pub fn note_accepted(&self, account: AccountId, octets: u64) {
        self.know(account, |known| known.octets = known.octets.saturating_add(octets));
    }

    /// How many octets of mail the account has; `None` if nothing was ever counted or accepted.
    pub fn known_usage(&self, account: AccountId) -> Option<u64> {
        self.ledger().entries().known.get(&account).map(|known| known.octets)
    }

    /// Judges a message of `incoming` octets (0 if the sender declared none) for an account, and remembers since when
    /// it has been full. Never waits; asked at RCPT.
    pub fn judge_quota(
        &self,
        account: AccountId,
        incoming: u64,
        now: Timestamp,
        patience: Duration,
    ) -> QuotaVerdict {
        let Some(quota) = self.snapshot().account(account).and_then(|account| account.quota) else {
            return QuotaVerdict::Room;
        };
        let known = self.ledger().change(account, |known| {
            known.full_since = (known.octets >= quota).then(|| known.full_since.unwrap_or(now));
        });
        quota_verdict(Some(quota), known.octets, incoming, known.full_since, now, patience)
    }

    fn know(&self, account: AccountId, change: impl FnOnce(&mut Use)) {
        if self.snapshot().account(account).is_some() {
            self.ledger().change(account, change);
        }
    }

    /// Writes what changed since the last call. Not synced: it may be lost by a power cut, and is looked up again.
    ///
    /// # Errors
    /// `Vault`; what was to be written is tried again with the next call.
    pub async fn store_usage(&self) -> Result<(), DirectoryError> {
        let snapshot = self.snapshot();
        let rows: Vec<(AccountId, Use)> = {
            let mut entries = self.ledger().entries();
            let unsaved = std::mem::take(&mut entries.unsaved);
            let rows = unsaved.into_iter().filter(|id| snapshot.account(*id).is_some());
            rows.filter_map(|id| Some((id, *entries.known.get(&id)?))).collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<AccountId> = rows.iter().map(|(id, _)| *id).collect();
        let written = self.write_soon(move |transaction| store(transaction, &rows)).await;
        if written.is_err() {
            self.ledger().entries().unsaved.extend(ids);
        }
        written
    }
}

fn store(transaction: &Transaction<'_>, rows: &[(AccountId, Use)]) -> rusqlite::Result<()> {
    // An account that was removed meanwhile gets no row again.
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO usage (account, octets, full_since)
         SELECT id, ?, ? FROM accounts WHERE id = ?",
    )?;
    for (id, known) in rows {
        let since = known.full_since.map(Timestamp::as_microsecond);
        put.execute(params![stored(known.octets), since, id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    #[test]
    fn a_full_mailbox_is_first_a_matter_of_time_and_then_final() {
        let judge = |used, incoming, hour| {
            quota_verdict(Some(100), used, incoming, Some(at(0)), at(hour), DAY)
        };
        assert_eq!(judge(99, 0, 1), QuotaVerdict::Room);
        assert_eq!(judge(99, 1, 1), QuotaVerdict::Room);
        assert_eq!(judge(99, 2, 1), QuotaVerdict::Full);
        assert_eq!(judge(100, 0, 1), QuotaVerdict::Full);
        assert_eq!(judge(100, 0, 23), QuotaVerdict::Full);
        assert_eq!(judge(100, 0, 24), QuotaVerdict::FullForLong);
        assert_eq!(judge(99, 2, 24), QuotaVerdict::Full, "smaller ones fit");
        assert_eq!(judge(0, 101, 0), QuotaVerdict::FullForLong, "never fits");
        assert_eq!(judge(u64::MAX, u64::MAX, 0), QuotaVerdict::FullForLong);
    }

    #[test]
    fn without_a_quota_there_is_always_room() {
        let verdict = quota_verdict(None, u64::MAX, u64::MAX, Some(at(0)), at(99), DAY);
        assert_eq!(verdict, QuotaVerdict::Room);
        let just_found = quota_verdict(Some(0), 0, 0, None, at(0), Duration::ZERO);
        assert_eq!(just_found, QuotaVerdict::Full);
    }
}
