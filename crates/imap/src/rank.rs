//! The places of messages in a sorted result that changes (RFC 5267 §4.3).

use std::collections::HashMap;

use letterlock_imap_wire::command::sort::SortCriterion;
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_mailbox::FolderId;

use crate::outcome::Stop;
use crate::session::User;
use crate::sort::{Key, columns, compare, keys};

/// Rows asked for at once.
const ROWS: usize = 1_000;

/// Takes messages out of an order; answers their places, counted from 0, the last one first: each is right whatever was
/// taken out before it.
pub(crate) fn take_out(order: &mut Vec<u32>, gone: &NumberSet) -> Vec<(usize, u32)> {
    if gone.is_empty() {
        return Vec::new();
    }
    let places = order.iter().enumerate().rev().filter(|(_, uid)| gone.contains(**uid));
    let places = places.map(|(at, uid)| (at, *uid)).collect();
    order.retain(|uid| !gone.contains(*uid));
    places
}

/// Finds places by looking at a few messages only: what messages are sorted by never changes.
pub(crate) struct Ranks<'a> {
    user: &'a User,
    folder: FolderId,
    criteria: &'a [SortCriterion],
    /// `None` for messages that are gone.
    known: HashMap<u32, Option<Vec<Key>>>,
}

impl<'a> Ranks<'a> {
    pub(crate) fn new(user: &'a User, folder: FolderId, criteria: &'a [SortCriterion]) -> Self {
        Self { user, folder, criteria, known: HashMap::new() }
    }

    /// Puts messages into the order; answers their places, counted from 0, each as it is when those before it are there.
    /// Those that went meanwhile are left out.
    pub(crate) async fn put_in(
        &mut self,
        order: &mut Vec<u32>,
        new: &NumberSet,
    ) -> Result<Vec<(usize, u32)>, Stop> {
        self.read(new).await?;
        let mut places = Vec::new();
        for uid in new.iter() {
            if let Some(at) = self.place(order, uid).await? {
                order.insert(at, uid);
                places.push((at, uid));
            }
        }
        Ok(places)
    }

    async fn read(&mut self, uids: &NumberSet) -> Result<(), Stop> {
        let mut after = (!uids.is_empty()).then_some(0);
        while let Some(from) = after {
            let (mailbox, columns) = (self.user.mailbox(), columns(self.criteria));
            let rows = mailbox.rows(self.folder, uids, columns, from, ROWS).await?;
            after = rows.last().map(|row| row.uid).filter(|uid| uids.last() > Some(*uid));
            for row in &rows {
                let keys = keys(self.criteria, &NumberSet::new(), row);
                self.known.insert(row.uid, Some(keys));
            }
        }
        Ok(())
    }

    async fn of(&mut self, uid: u32) -> Result<Option<&Vec<Key>>, Stop> {
        if !self.known.contains_key(&uid) {
            self.read(&NumberSet::from_ranges([(uid, uid)])).await?;
        }
        Ok(self.known.entry(uid).or_insert(None).as_ref())
    }

    async fn place(&mut self, order: &[u32], uid: u32) -> Result<Option<usize>, Stop> {
        let Some(own) = self.of(uid).await?.cloned() else { return Ok(None) };
        let (mut low, mut high) = (0, order.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let criteria = self.criteria;
            let other = order[middle];
            let is_before = match self.of(other).await? {
                Some(keys) => compare(criteria, keys, &own).then(other.cmp(&uid)).is_lt(),
                // It went: the client will hear of that, and on which side of it the new one stands is all the same.
                None => true,
            };
            match is_before {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(Some(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_what_goes_are_told_from_the_end() {
        let mut order = vec![9, 2, 7, 4];
        let gone: NumberSet = [9, 7, 5].into_iter().collect();
        assert_eq!(take_out(&mut order, &gone), [(2, 7), (0, 9)]);
        assert_eq!(order, [2, 4]);
    }
}
