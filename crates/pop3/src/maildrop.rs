//! The maildrop: a snapshot of INBOX with the marks of one session.

use std::num::NonZeroU32;

/// A message as it was at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its UID in INBOX.
    pub uid: u32,
    /// Octets, with CRLF line ends.
    pub size: u64,
}

/// The messages of a session, numbered from 1, and which of them QUIT is to remove.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Maildrop {
    uid_validity: u32,
    messages: Vec<Message>,
    deleted: Vec<bool>,
}

impl Maildrop {
    pub(crate) fn new(uid_validity: u32, messages: Vec<Message>) -> Maildrop {
        let deleted = vec![false; messages.len()];
        Maildrop { uid_validity, messages, deleted }
    }

    /// The message with this number, unless it is marked as deleted (RFC 1939 §5).
    pub(crate) fn get(&self, number: NonZeroU32) -> Option<Message> {
        let index = number.get() as usize - 1;
        self.messages.get(index).copied().filter(|_| !self.deleted[index])
    }

    /// Marks a message; false if there is none.
    pub(crate) fn delete(&mut self, number: NonZeroU32) -> bool {
        let present = self.get(number).is_some();
        if present {
            self.deleted[number.get() as usize - 1] = true;
        }
        present
    }

    /// Takes all marks back.
    pub(crate) fn reset(&mut self) {
        self.deleted.fill(false);
    }

    /// Number and message of all that are not marked.
    pub(crate) fn remaining(&self) -> impl Iterator<Item = (usize, Message)> + '_ {
        self.messages
            .iter()
            .zip(&self.deleted)
            .enumerate()
            .filter(|(_, (_, deleted))| !**deleted)
            .map(|(i, (m, _))| (i + 1, *m))
    }

    /// Count and octets of all that are not marked.
    pub(crate) fn totals(&self) -> (usize, u64) {
        self.remaining().fold((0, 0), |(count, size), (_, m)| (count + 1, size + m.size))
    }

    /// The UIDs that are marked, ascending.
    pub(crate) fn marked(&self) -> Vec<u32> {
        self.messages
            .iter()
            .zip(&self.deleted)
            .filter(|(_, deleted)| **deleted)
            .map(|(m, _)| m.uid)
            .collect()
    }

    /// The unique id: never another message's, in this drop's whole life (RFC 1939 §7).
    pub(crate) fn unique_id(&self, message: Message) -> String {
        format!("{:08x}{:08x}", self.uid_validity, message.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_messages_are_gone_from_sight_until_reset() {
        let mut drop =
            Maildrop::new(7, vec![Message { uid: 3, size: 10 }, Message { uid: 9, size: 20 }]);
        let two = NonZeroU32::new(2).unwrap();
        assert_eq!(drop.totals(), (2, 30));
        assert!(drop.delete(two));
        assert!(!drop.delete(two), "a marked message cannot be marked again");
        assert!(!drop.delete(NonZeroU32::new(3).unwrap()));
        assert_eq!((drop.totals(), drop.get(two)), ((1, 10), None));
        assert_eq!(drop.marked(), [9]);
        assert_eq!(drop.unique_id(Message { uid: 9, size: 20 }), "0000000700000009");
        drop.reset();
        assert_eq!((drop.totals(), drop.marked()), ((2, 30), vec![]));
    }
}
