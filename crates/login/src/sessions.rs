//! Who is logged in right now: listed for the operator, counted against the limit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use letterlock_directory::Account;
use letterlock_mailbox::{Handle, SessionLease};
use letterlock_vault::AccountId;

/// The protocol through which somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IMAP, port 143 or 993.
    Imap,
    /// POP3, port 110 or 995.
    Pop3,
    /// Message submission, port 587 or 465.
    Submission,
}

impl Protocol {
    /// The name that operators see.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop3",
            Protocol::Submission => "submission",
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address, as limits count it.
    pub ip: IpAddr,
    /// What it speaks.
    pub protocol: Protocol,
}

/// A session as `account sessions` lists it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// A number that is unique while the server runs.
    pub id: u64,
    /// Whose session it is.
    pub account: AccountId,
    /// Where it comes from and what it speaks.
    pub peer: Peer,
    /// When it logged in.
    pub since: std::time::SystemTime,
}

/// A logged-in client: its account, its open mailbox, and what keeps the keys alive.
///
/// Dropping it ends the session; the keys follow after the grace time.
pub struct Session {
    /// The account, as the directory knew it at login.
    pub account: Arc<Account>,
    /// The account's mail.
    pub mailbox: Handle,
    pub(crate) _lease: SessionLease,
    pub(crate) _entry: Entry,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("account", &self.account.id).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Table {
    next: u64,
    live: BTreeMap<u64, SessionInfo>,
}

/// The table of live sessions.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Table>>);

/// A row of the table; goes when dropped.
pub(crate) struct Entry {
    id: u64,
    sessions: Sessions,
}

impl Sessions {
    /// Adds a session unless the account already has `limit` of them.
    pub(crate) fn enter(&self, account: AccountId, peer: Peer, limit: usize) -> Option<Entry> {
        let mut table = self.table();
        if table.live.values().filter(|s| s.account == account).count() >= limit {
            return None;
        }
        table.next += 1;
        let id = table.next;
        let since = std::time::SystemTime::now();
        table.live.insert(id, SessionInfo { id, account, peer, since });
        drop(table);
        Some(Entry { id, sessions: self.clone() })
    }

    /// The sessions of one account, oldest first.
    pub(crate) fn of(&self, account: AccountId) -> Vec<SessionInfo> {
        self.table().live.values().filter(|s| s.account == account).cloned().collect()
    }

    /// A poisoned lock is taken as it is: each change to the table is a single step.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.table().live.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_live_sessions_of_one_account() {
        let sessions = Sessions::default();
        let peer = Peer { ip: IpAddr::from([127, 0, 0, 1]), protocol: Protocol::Imap };
        let (ann, bob) = (AccountId::generate(), AccountId::generate());
        let first = sessions.enter(ann, peer, 2).unwrap();
        let _second = sessions.enter(ann, peer, 2).unwrap();
        assert!(sessions.enter(ann, peer, 2).is_none());
        assert!(sessions.enter(bob, peer, 2).is_some());
        drop(first);
        assert_eq!(sessions.of(ann).len(), 1);
        assert!(sessions.enter(ann, peer, 2).is_some());
    }
}
