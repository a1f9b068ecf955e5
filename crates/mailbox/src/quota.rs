//! How much mail an account has, and how much it may have.

use rusqlite::Connection;

use crate::error::MailboxError;
use crate::messages;
use crate::types::FolderId;

/// How much an account may hold; `None` for no limit. Both limits hold at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets of mail.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// How much mail there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets of all messages.
    pub octets: u64,
    /// How many there are.
    pub messages: u64,
}

impl Quota {
    /// Whether that much is within both limits.
    pub fn holds(self, usage: Usage) -> bool {
        let within = |limit: Option<u64>, used| limit.is_none_or(|limit| used <= limit);
        within(self.octets, usage.octets) && within(self.messages, usage.messages)
    }

    /// Whether there is a limit at all.
    pub(crate) fn limits(self) -> bool {
        self != Self::default()
    }

    /// Refuses what would not fit any more.
    pub(crate) fn check(self, conn: &Connection, added: Usage) -> Result<(), MailboxError> {
        self.check_instead(conn, added, None)
    }

    /// The same where a message goes for what is added.
    pub(crate) fn check_instead(
        self,
        conn: &Connection,
        added: Usage,
        leaving: Option<(FolderId, u32)>,
    ) -> Result<(), MailboxError> {
        if !self.limits() {
            return Ok(());
        }
        let left = Usage::without(conn, leaving)?;
        if self.holds(left.plus(added)) { Ok(()) } else { Err(MailboxError::OverQuota) }
    }
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Usage) -> Usage {
        Usage {
            octets: self.octets.saturating_add(more.octets),
            messages: self.messages.saturating_add(more.messages),
        }
    }
}

impl Usage {
    /// What there is, but for one message.
    pub(crate) fn without(
        conn: &Connection,
        leaving: Option<(FolderId, u32)>,
    ) -> Result<Self, MailboxError> {
        let size = leaving.map(|(folder, uid)| messages::size_of(conn, folder, uid)).transpose()?;
        let freed = size.flatten().map(|octets| Usage { octets, messages: 1 }).unwrap_or_default();
        Ok(messages::usage(conn)?.minus(freed))
    }

    fn minus(self, less: Usage) -> Usage {
        Usage {
            octets: self.octets.saturating_sub(less.octets),
            messages: self.messages.saturating_sub(less.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold() {
        let usage = |octets, messages| Usage { octets, messages };
        let quota = Quota { octets: Some(100), messages: Some(2) };
        assert!(quota.holds(usage(100, 2)));
        assert!(!quota.holds(usage(101, 2)) && !quota.holds(usage(1, 3)));
        assert!(Quota::default().holds(usage(u64::MAX, u64::MAX).plus(usage(1, 1))));
    }
}
