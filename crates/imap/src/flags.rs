//! Flags between the wire and the mailbox.

use letterlock_imap_wire::Flag;
use letterlock_mailbox::{Flags, SystemFlags};

/// The flags that every mailbox has, in the order in which they are told.
pub(crate) const SYSTEM: [(SystemFlags, Flag); 5] = [
    (SystemFlags::ANSWERED, Flag::Answered),
    (SystemFlags::FLAGGED, Flag::Flagged),
    (SystemFlags::DELETED, Flag::Deleted),
    (SystemFlags::SEEN, Flag::Seen),
    (SystemFlags::DRAFT, Flag::Draft),
];

/// A message's flags for FETCH; `\Recent` belongs to the session.
pub(crate) fn to_wire(flags: &Flags, recent: bool) -> Vec<Flag> {
    let system =
        SYSTEM.iter().filter(|(bit, _)| flags.system.contains(*bit)).map(|(_, flag)| flag.clone());
    let keywords = flags.keywords.iter().cloned().map(Flag::Keyword);
    system.chain(keywords).chain(recent.then_some(Flag::Recent)).collect()
}

/// The flags that a client names. `\Recent` is left out: no client can set it (RFC 3501 §2.3.2). `None` if there is one
/// with a backslash that does not exist.
pub(crate) fn from_wire(list: &[Flag]) -> Option<Flags> {
    let mut flags = Flags::default();
    for flag in list {
        match flag {
            Flag::Keyword(name) => {
                flags.keywords.insert(name.clone());
            }
            Flag::Recent => {}
            Flag::Extension(_) => return None,
            system => {
                let bit = SYSTEM.iter().find(|(_, flag)| flag == system).map(|(bit, _)| *bit);
                flags.system |= bit.unwrap_or_default();
            }
        }
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_both_ways() {
        let list = [Flag::Seen, Flag::Keyword("$Work".into()), Flag::Answered, Flag::Recent];
        let flags = from_wire(&list).unwrap();
        assert_eq!(flags.system, SystemFlags::SEEN | SystemFlags::ANSWERED);
        let words: Vec<String> = to_wire(&flags, true).iter().map(Flag::to_string).collect();
        assert_eq!(words, ["\\Answered", "\\Seen", "$Work", "\\Recent"]);
        assert_eq!(from_wire(&[Flag::Extension("XY".into())]), None);
    }
}
