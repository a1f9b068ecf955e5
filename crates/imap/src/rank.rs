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
        let mut place = Place::among(order.len());
        while let Some(at) = place.question() {
            let (criteria, other) = (self.criteria, order[at]);
            let keys = self.of(other).await?;
            place.learn(
                keys.map(|keys| compare(criteria, keys, &own).then(other.cmp(&uid)).is_lt()),
            );
        }
        Ok(Some(place.low))
    }
}

/// The search for a place by halves, among messages of which some may be gone: they stay in the order until the client has
/// heard of it, but what they were sorted by is not known any more.
#[derive(Debug)]
struct Place {
    low: usize,
    high: usize,
    /// Which message decides next: the middle one, or the next one before it that is there.
    asked: usize,
}

impl Place {
    fn among(count: usize) -> Self {
        Self { low: 0, high: count, asked: count / 2 }
    }

    /// The message to be compared with; `None` when [`Self::low`] is the place.
    fn question(&self) -> Option<usize> {
        (self.low < self.high).then_some(self.asked)
    }

    fn middle(&self) -> usize {
        self.low + (self.high - self.low) / 2
    }

    /// Whether that message stands before; `None` if it is gone.
    fn learn(&mut self, is_before: Option<bool>) {
        match is_before {
            None if self.asked > self.low => {
                self.asked -= 1;
                return;
            }
            Some(false) => self.high = self.asked,
            // Up to the middle there is nothing before which it could stand.
            Some(true) | None => self.low = self.middle() + 1,
        }
        self.asked = self.middle();
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

    /// The place of a number among others, of which `None` is gone.
    fn place(order: &[Option<u32>], number: u32) -> usize {
        let mut place = Place::among(order.len());
        while let Some(at) = place.question() {
            place.learn(order[at].map(|other| other < number));
        }
        place.low
    }

    #[test]
    fn a_message_that_is_gone_misleads_nobody() {
        assert_eq!(place(&[Some(3), None, Some(7)], 1), 0);
        assert_eq!(place(&[Some(3), None, None, Some(7)], 9), 4);
        assert_eq!(place(&[None, None], 9), 2);
        assert_eq!(place(&[], 9), 0);
        // Whatever is gone, those that are there are on the right side.
        for gone in 0u32..1 << 7 {
            let there = |at: u32| (gone >> at & 1 == 0).then_some(2 * at + 1);
            let order: Vec<Option<u32>> = (0..7).map(there).collect();
            for number in 0..8 {
                let (before, behind) = order.split_at(place(&order, 2 * number));
                assert!(before.iter().flatten().all(|other| *other < 2 * number), "{order:?}");
                assert!(behind.iter().flatten().all(|other| *other > 2 * number), "{order:?}");
            }
        }
    }
}
