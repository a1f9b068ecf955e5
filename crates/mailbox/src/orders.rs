//! Orders of a folder's messages that were worked out once and will be asked for again: SORT and THREAD.
//!
//! What orders messages never changes with them, so an order stays right for as long as its UIDs are there. Orders are
//! kept while the account's file is open, for all sessions together, and never reach the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::MailboxError;
use crate::handle::Handle;
use crate::types::FolderId;

/// Numbers that the orders of an account have together, about: a megabyte of them.
const MOST: usize = 256 * 1024;
/// What an order takes beside its numbers and its question, in numbers.
const OVERHEAD: usize = 64;

/// The orders of an account, the one used longest ago first.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<VecDeque<Order>>);

#[derive(Debug)]
struct Order {
    folder: FolderId,
    question: String,
    numbers: Arc<[u32]>,
}

impl Order {
    /// What it takes, in numbers: an order of no messages takes room too.
    fn weight(&self) -> usize {
        self.numbers.len() + self.question.len() / size_of::<u32>() + OVERHEAD
    }
}

impl Orders {
    fn list(&self) -> MutexGuard<'_, VecDeque<Order>> {
        // An entry is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        *self.list() = VecDeque::new();
    }

    fn find(&self, folder: FolderId, question: &str) -> Option<Arc<[u32]>> {
        let mut list = self.list();
        let place = list.iter().position(|one| one.folder == folder && one.question == question)?;
        let order = list.remove(place)?;
        let numbers = Arc::clone(&order.numbers);
        list.push_back(order);
        Some(numbers)
    }

    fn keep(&self, folder: FolderId, question: String, numbers: Arc<[u32]>) {
        let mut list = self.list();
        list.retain(|one| one.folder != folder || one.question != question);
        list.push_back(Order { folder, question, numbers });
        while list.iter().map(Order::weight).sum::<usize>() > MOST {
            list.pop_front();
        }
    }
}

impl Handle {
    /// What was [kept](Handle::keep_order) for the folder under this question, if it is still there.
    ///
    /// # Errors
    /// [`MailboxError::Locked`].
    pub fn kept_order(
        &self,
        folder: FolderId,
        question: &str,
    ) -> Result<Option<Arc<[u32]>>, MailboxError> {
        Ok(self.live()?.memory.orders.find(folder, question))
    }

    /// Keeps numbers for whoever asks the same question next, in place of what was kept under it. Whoever takes them has
    /// to see whether they still fit: messages come and go.
    ///
    /// # Errors
    /// [`MailboxError::Locked`].
    pub fn keep_order(
        &self,
        folder: FolderId,
        question: String,
        numbers: Vec<u32>,
    ) -> Result<(), MailboxError> {
        self.live()?.memory.orders.keep(folder, question, numbers.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let (orders, half) =
            (Orders::default(), Arc::<[u32]>::from(vec![7; MOST / 2 - OVERHEAD - 1]));
        let (one, other) = (FolderId(1), FolderId(2));
        orders.keep(one, "a".to_owned(), Arc::clone(&half));
        orders.keep(one, "b".to_owned(), Arc::clone(&half));
        assert!(orders.find(one, "a").is_some() && orders.find(other, "a").is_none());
        orders.keep(other, "a".to_owned(), Arc::from([1]));
        assert!(orders.find(one, "a").is_some() && orders.find(one, "b").is_none());
        orders.keep(one, "a".to_owned(), Arc::from([3, 2]));
        assert_eq!(orders.find(one, "a").as_deref(), Some(&[3, 2][..]));
        orders.clear();
        assert!(orders.find(one, "a").is_none());
    }

    #[test]
    fn questions_without_an_answer_do_not_heap_up() {
        let orders = Orders::default();
        for number in 0..100 {
            let question = format!("{number} {}", "q".repeat(MOST / 4));
            orders.keep(FolderId(1), question, Arc::default());
        }
        assert!((10..20).contains(&orders.list().len()), "{}", orders.list().len());
        orders.keep(FolderId(1), "q".repeat(5 * MOST), Arc::default());
        assert!(orders.list().is_empty(), "larger than all may be together");
    }
}
