//! LIST, basic and extended (RFC 9051 §6.3.9), and the items of STATUS.

use super::account::scan_entries;
use super::scan_mailbox;
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};

/// LIST. The basic form is `LIST reference pattern` with nothing else: both options are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct ListCommand {
    /// Selection options, `None` if there is no such list.
    pub selection: Option<ListSelection>,
    /// The reference name.
    pub reference: MailboxName,
    /// The patterns; one in the basic form. `LIST "" ""` (the separator is asked for) is one empty pattern. In the extended
    /// form there are no empty ones, and so perhaps none at all.
    pub patterns: Vec<MailboxName>,
    /// Return options, `None` if there is no RETURN.
    pub returns: Option<ListReturn>,
}

/// Which mailboxes are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListSelection {
    /// SUBSCRIBED
    pub subscribed: bool,
    /// REMOTE
    pub remote: bool,
    /// RECURSIVEMATCH; only together with SUBSCRIBED or SPECIAL-USE.
    pub recursive_match: bool,
    /// SPECIAL-USE (RFC 6154)
    pub special_use: bool,
}

/// What is to be told of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// SUBSCRIBED
    pub subscribed: bool,
    /// CHILDREN
    pub children: bool,
    /// SPECIAL-USE
    pub special_use: bool,
    /// STATUS (…): a STATUS response per selectable mailbox (RFC 5819).
    pub status: Option<Vec<StatusItem>>,
    /// MYRIGHTS: a MYRIGHTS response per selectable mailbox (RFC 8440).
    pub my_rights: bool,
    /// METADATA (…): a METADATA response per mailbox that has any of these entries (RFC 9590).
    pub metadata: Option<Vec<String>>,
}

/// An item of STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// MESSAGES
    Messages,
    /// RECENT (IMAP4rev1)
    Recent,
    /// UIDNEXT
    UidNext,
    /// UIDVALIDITY
    UidValidity,
    /// UNSEEN
    Unseen,
    /// DELETED (IMAP4rev2)
    Deleted,
    /// SIZE (IMAP4rev2)
    Size,
    /// HIGHESTMODSEQ (RFC 7162)
    HighestModSeq,
    /// MAILBOXID (RFC 8474)
    MailboxId,
    /// APPENDLIMIT (RFC 7889)
    AppendLimit,
    /// DELETED-STORAGE (RFC 9208)
    DeletedStorage,
}

impl StatusItem {
    /// The item's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::Size => "SIZE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::MailboxId => "MAILBOXID",
            Self::AppendLimit => "APPENDLIMIT",
            Self::DeletedStorage => "DELETED-STORAGE",
        }
    }
}

pub(super) fn scan(scanner: &mut Scanner<'_>) -> Scanned<ListCommand> {
    let mut selection = None;
    if scanner.peek() == Some(b'(') {
        selection = Some(scan_selection(scanner)?);
        scanner.space()?;
    }
    let reference = scan_mailbox_or_pattern(scanner)?;
    scanner.space()?;
    let several = scanner.peek() == Some(b'(');
    let mut patterns = if several {
        scanner.list(scan_mailbox_or_pattern)?
    } else {
        vec![scan_mailbox_or_pattern(scanner)?]
    };
    if patterns.is_empty() {
        return syntax("LIST needs a pattern");
    }
    let mut returns = None;
    if scanner.eat(b' ') {
        if !scanner.eat_keyword("RETURN") {
            return syntax("RETURN is missing");
        }
        scanner.space()?;
        returns = Some(scan_returns(scanner)?);
    }
    if several || selection.is_some() || returns.is_some() {
        // RFC 9051 §6.3.9: only in the basic form is an empty name a question of its own.
        patterns.retain(|pattern| !pattern.as_wire().is_empty());
    }
    Ok(ListCommand { selection, reference, patterns, returns })
}

/// References are read like patterns: clients send `LIST % %` and the like.
fn scan_mailbox_or_pattern(scanner: &mut Scanner<'_>) -> Scanned<MailboxName> {
    match scanner.peek() {
        Some(b'"' | b'{') => scan_mailbox(scanner),
        _ => scanner.list_mailbox().map(MailboxName::from_wire),
    }
}

fn scan_selection(scanner: &mut Scanner<'_>) -> Scanned<ListSelection> {
    let mut selection = ListSelection::default();
    scanner.list(|scanner| {
        match scanner.keyword()?.as_str() {
            "SUBSCRIBED" => selection.subscribed = true,
            "REMOTE" => selection.remote = true,
            "RECURSIVEMATCH" => selection.recursive_match = true,
            "SPECIAL-USE" => selection.special_use = true,
            _ => return syntax("unknown selection option of LIST"),
        }
        Ok(())
    })?;
    // RFC 9051 §6.3.9.1: RECURSIVEMATCH modifies another option; REMOTE is not enough.
    if selection.recursive_match && !(selection.subscribed || selection.special_use) {
        return syntax("RECURSIVEMATCH needs another selection option");
    }
    Ok(selection)
}

fn scan_returns(scanner: &mut Scanner<'_>) -> Scanned<ListReturn> {
    let mut returns = ListReturn::default();
    scanner.list(|scanner| {
        match scanner.keyword()?.as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                scanner.space()?;
                returns.status = Some(scan_status_items(scanner)?);
            }
            "MYRIGHTS" => returns.my_rights = true,
            "METADATA" => {
                scanner.space()?;
                returns.metadata = Some(scan_entries(scanner)?);
            }
            _ => return syntax("unknown return option of LIST"),
        }
        Ok(())
    })?;
    Ok(returns)
}

pub(super) fn scan_status_items(scanner: &mut Scanner<'_>) -> Scanned<Vec<StatusItem>> {
    let items = scanner.list(|scanner| {
        Ok(match scanner.keyword()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            "MAILBOXID" => StatusItem::MailboxId,
            "APPENDLIMIT" => StatusItem::AppendLimit,
            "DELETED-STORAGE" => StatusItem::DeletedStorage,
            _ => return syntax("unknown item of STATUS"),
        })
    })?;
    if items.is_empty() { syntax("STATUS needs an item") } else { Ok(items) }
}
