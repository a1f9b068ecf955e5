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

/// How much an account may hold; `None` for no limit. Both limits hold at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Octets of mail.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

impl Allowance {
    /// Whether that much is within both limits.
    fn holds(self, held: Holding) -> bool {
        self.octets.is_none_or(|limit| held.octets <= limit)
            && self.messages.is_none_or(|limit| held.messages <= limit)
    }

    /// Whether nothing more fits.
    fn is_used_up(self, held: Holding) -> bool {
        self.octets.is_some_and(|limit| held.octets >= limit)
            || self.messages.is_some_and(|limit| held.messages >= limit)
    }
}

/// How much mail an account has, as last counted, and what came since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Octets of its messages.
    pub octets: u64,
    /// How many they are.
    pub messages: u64,
}

impl Holding {
    fn and_one_of(self, octets: u64) -> Holding {
        Holding {
            octets: self.octets.saturating_add(octets),
            messages: self.messages.saturating_add(1),
        }
    }
}

/// Judges one message of `incoming` octets, as the sender declared, or 0. `full_since` is since when nothing more fits.
/// A message that was not declared still needs one octet, so that a full mailbox takes nothing.
pub fn quota_verdict(
    allowed: Allowance,
    held: Holding,
    incoming: u64,
    full_since: Option<Timestamp>,
    now: Timestamp,
    patience: Duration,
) -> QuotaVerdict {
    if allowed.holds(held.and_one_of(incoming.max(1))) {
        return QuotaVerdict::Room;
    }
    // Such a message would not even fit into an empty mailbox.
    if allowed.octets.is_some_and(|limit| incoming > limit) {
        return QuotaVerdict::FullForLong;
    }
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    match full_since {
        Some(since) if allowed.is_used_up(held) && now.duration_since(since) >= patience => {
            QuotaVerdict::FullForLong
        }
        _ => QuotaVerdict::Full,
    }
}

/// What is known of one account's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) held: Holding,
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
    pub fn note_usage(&self, account: AccountId, held: Holding) {
        let allowed = self.allowance(account);
        self.know(account, |known| {
            known.held = held;
            known.full_since = known.full_since.filter(|_| allowed.is_used_up(held));
        });
    }

    /// Adds a message that was accepted for an account, with its octets.
    pub fn note_accepted(&self, account: AccountId, octets: u64) {
        self.know(account, |known| known.held = known.held.and_one_of(octets));
    }

    /// How much mail the account has; `None` if nothing was ever counted or accepted.
    pub fn known_usage(&self, account: AccountId) -> Option<Holding> {
        self.ledger().entries().known.get(&account).map(|known| known.held)
    }

    fn allowance(&self, account: AccountId) -> Allowance {
        self.snapshot()
            .account(account)
            .map_or_else(Allowance::default, |account| account.allowance())
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
        let allowed = self.allowance(account);
        if allowed == Allowance::default() {
            return QuotaVerdict::Room;
        }
        let known = self.ledger().change(account, |known| {
            let full = allowed.is_used_up(known.held);
            known.full_since = full.then(|| known.full_since.unwrap_or(now));
        });
        quota_verdict(allowed, known.held, incoming, known.full_since, now, patience)
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
        "INSERT OR REPLACE INTO usage (account, octets, messages, full_since)
         SELECT id, ?, ?, ? FROM accounts WHERE id = ?",
    )?;
    for (id, known) in rows {
        let since = known.full_since.map(Timestamp::as_microsecond);
        put.execute(params![stored(known.held.octets), stored(known.held.messages), since, id])?;
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
        let allowed = Allowance { octets: Some(100), messages: None };
        let judge = |octets, incoming, hour| {
            let held = Holding { octets, messages: 7 };
            quota_verdict(allowed, held, incoming, Some(at(0)), at(hour), DAY)
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
    fn messages_are_counted_like_octets() {
        let allowed = Allowance { octets: Some(100), messages: Some(3) };
        let judge = |octets, messages, incoming, hour| {
            let held = Holding { octets, messages };
            quota_verdict(allowed, held, incoming, Some(at(0)), at(hour), DAY)
        };
        assert_eq!(judge(0, 2, 100, 99), QuotaVerdict::Room);
        assert_eq!(judge(0, 3, 0, 23), QuotaVerdict::Full);
        assert_eq!(judge(0, 3, 0, 24), QuotaVerdict::FullForLong);
        assert_eq!(judge(100, 2, 0, 24), QuotaVerdict::FullForLong);
        assert_eq!(judge(60, 2, 60, 24), QuotaVerdict::Full, "smaller ones fit");
        assert_eq!(judge(0, u64::MAX, u64::MAX, 0), QuotaVerdict::FullForLong);
    }

    #[test]
    fn without_a_quota_there_is_always_room() {
        let much = Holding { octets: u64::MAX, messages: u64::MAX };
        let verdict = quota_verdict(Allowance::default(), much, u64::MAX, Some(at(0)), at(99), DAY);
        assert_eq!(verdict, QuotaVerdict::Room);
        let nothing = Allowance { octets: Some(0), messages: None };
        let just_found = quota_verdict(nothing, Holding::default(), 0, None, at(0), Duration::ZERO);
        assert_eq!(just_found, QuotaVerdict::Full);
    }
}
