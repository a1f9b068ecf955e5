//! STORE, COPY and MOVE, by sequence number or UID.

use super::scan_mailbox;
use crate::flag::{self, Flag};
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};
use crate::sequence::{self, SequenceSet};

/// STORE or UID STORE.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreCommand {
    /// The set holds UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Only messages whose mod-sequence is not above this (RFC 7162 §3.1.3); zero is allowed.
    pub unchanged_since: Option<u64>,
    /// How the flags change.
    pub action: StoreAction,
    /// `.SILENT`: no FETCH responses for what this command changes.
    pub silent: bool,
    /// The flags; may hold [`Flag::Recent`] and [`Flag::Extension`], which cannot be set.
    pub flags: Vec<Flag>,
}

/// How STORE changes flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// COPY, MOVE and their UID forms.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyCommand {
    /// The set holds UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Where to.
    pub mailbox: MailboxName,
}

pub(super) fn scan(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<StoreCommand> {
    let set = sequence::scan(scanner)?;
    scanner.space()?;
    let mut unchanged_since = None;
    if scanner.peek() == Some(b'(') {
        scanner.list(|scanner| {
            if !scanner.eat_keyword("UNCHANGEDSINCE") {
                return syntax("unknown modifier of STORE");
            }
            scanner.space()?;
            unchanged_since = Some(scanner.number64()?);
            Ok(())
        })?;
        scanner.space()?;
    }
    let action = if scanner.eat(b'+') {
        StoreAction::Add
    } else if scanner.eat(b'-') {
        StoreAction::Remove
    } else {
        StoreAction::Replace
    };
    let silent = match scanner.keyword()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return syntax("STORE changes FLAGS only"),
    };
    scanner.space()?;
    Ok(StoreCommand { uid, set, unchanged_since, action, silent, flags: flag::scan_many(scanner)? })
}

pub(super) fn scan_copy(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<CopyCommand> {
    let set = sequence::scan(scanner)?;
    scanner.space()?;
    Ok(CopyCommand { uid, set, mailbox: scan_mailbox(scanner)? })
}
