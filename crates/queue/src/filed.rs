//! Rows whose mail is filed, until it is certain that they are deleted.
//!
//! A row that somebody's commit is deleting still counts: if the commit fails, or its caller goes away, the row waits
//! again; and who wants all of them gone does not overlook it meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::RowId;

/// The rows, shared with those that are about to delete some.
#[derive(Clone, Default)]
pub(crate) struct Filed(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    waiting: Vec<RowId>,
    /// By the number of the [`Leaving`] that deletes them.
    leaving: BTreeMap<u64, Vec<RowId>>,
    last: u64,
}

impl Filed {
    pub(crate) fn add(&self, rows: &[RowId]) {
        self.lock().waiting.extend_from_slice(rows);
    }

    /// Up to `limit` of those that nobody deletes yet.
    pub(crate) fn take(&self, limit: usize) -> Leaving {
        let mut held = self.lock();
        let from = held.waiting.len() - limit.min(held.waiting.len());
        let rows = held.waiting.split_off(from);
        held.leave(self, rows)
    }

    /// All, those too that others are deleting: deleting twice does no harm.
    pub(crate) fn take_all(&self) -> Leaving {
        let mut held = self.lock();
        let waiting = std::mem::take(&mut held.waiting);
        let all: BTreeSet<RowId> =
            held.leaving.values().flatten().copied().chain(waiting).collect();
        held.leave(self, all.into_iter().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic cannot leave lists of numbers half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn leave(&mut self, filed: &Filed, rows: Vec<RowId>) -> Leaving {
        self.last += 1;
        if !rows.is_empty() {
            self.leaving.insert(self.last, rows.clone());
        }
        Leaving { filed: filed.clone(), number: self.last, rows }
    }
}

/// Rows that are about to be deleted. Dropped without [`Leaving::gone`], they wait again.
pub(crate) struct Leaving {
    filed: Filed,
    number: u64,
    rows: Vec<RowId>,
}

impl Leaving {
    pub(crate) fn rows(&self) -> &[RowId] {
        &self.rows
    }

    /// They are deleted.
    pub(crate) fn gone(self) {
        self.filed.lock().leaving.remove(&self.number);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut held = self.filed.lock();
        if let Some(rows) = held.leaving.remove(&self.number) {
            held.waiting.extend(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_until_it_is_gone() {
        let filed = Filed::default();
        filed.add(&[RowId(1), RowId(2), RowId(3)]);
        let first = filed.take(2);
        assert_eq!(first.rows(), [RowId(2), RowId(3)]);
        let all = filed.take_all();
        assert_eq!(all.rows(), [RowId(1), RowId(2), RowId(3)]);
        assert!(filed.take(9).rows().is_empty());
        all.gone();
        drop(first);
        let again = filed.take(9);
        assert_eq!(again.rows(), [RowId(2), RowId(3)]);
        again.gone();
        assert!(filed.take_all().rows().is_empty());
    }
}
