//! The head of APPEND (RFC 9051 §6.3.12), of the further messages of MULTIAPPEND (RFC 3502) and of REPLACE (RFC 8508):
//! what stands before a message literal.

use super::{scan_mailbox, scan_tag};
use crate::date::{InternalDate, scan_date_time};
use crate::flag::{self, Flag};
use crate::mailbox_name::MailboxName;
use crate::scan::{LiteralHead, Scanned, Scanner};
use crate::sequence::{SequenceNumber, scan_number};

/// The message that REPLACE takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// UID REPLACE: `message` is a UID.
    pub uid: bool,
    /// Which message.
    pub message: SequenceNumber,
}

/// One message's arguments; `literal` is the message itself.
#[derive(Debug)]
pub(crate) struct MessageHead {
    pub(crate) flags: Vec<Flag>,
    pub(crate) date: Option<InternalDate>,
    /// Wrapped as `UTF8 (~{…}` (RFC 6855 §4); a `)` follows the literal.
    pub(crate) utf8: bool,
    pub(crate) literal: LiteralHead,
}

/// The head of a whole APPEND.
#[derive(Debug)]
pub(crate) struct AppendHead {
    pub(crate) mailbox: MailboxName,
    pub(crate) replaces: Option<Replaced>,
    pub(crate) message: MessageHead,
}

/// `None` if the octets are neither APPEND nor REPLACE. Otherwise the tag and the head; `Incomplete` says that the literal at
/// the end is the mailbox's name.
pub(crate) fn scan_head(octets: &[u8], max_depth: usize) -> Option<(String, Scanned<AppendHead>)> {
    let mut scanner = Scanner::new(octets, max_depth);
    let tag = scan_tag(&mut scanner).ok()?;
    if !scanner.eat(b' ') {
        return None;
    }
    let uid = scanner.eat_keyword("UID") && scanner.eat(b' ');
    let replaces = scanner.eat_keyword("REPLACE");
    if !(replaces || !uid && scanner.eat_keyword("APPEND")) || !scanner.eat(b' ') {
        return None;
    }
    Some((tag, scan_append(&mut scanner, replaces.then_some(uid))))
}

/// `replaces` says of REPLACE whether it has a UID.
fn scan_append(scanner: &mut Scanner<'_>, replaces: Option<bool>) -> Scanned<AppendHead> {
    let replaces = match replaces {
        Some(uid) => {
            let message = scan_number(scanner)?;
            scanner.space()?;
            Some(Replaced { uid, message })
        }
        None => None,
    };
    let mailbox = scan_mailbox(scanner)?;
    Ok(AppendHead { mailbox, replaces, message: scan_message(scanner)? })
}

/// What stands between a message literal and the next one of the same command; `utf8` says that the first one was
/// wrapped, so that its `)` comes first.
pub(crate) fn scan_further(octets: &[u8], utf8: bool, max_depth: usize) -> Scanned<MessageHead> {
    let mut scanner = Scanner::new(octets, max_depth);
    if utf8 {
        scanner.expect(b')', "UTF8 does not end")?;
    }
    scan_message(&mut scanner)
}

fn scan_message(scanner: &mut Scanner<'_>) -> Scanned<MessageHead> {
    scanner.space()?;
    let mut flags = Vec::new();
    if scanner.peek() == Some(b'(') {
        flags = scanner.list(flag::scan)?;
        scanner.space()?;
    }
    let mut date = None;
    if scanner.peek() == Some(b'"') {
        date = Some(scan_date_time(scanner)?);
        scanner.space()?;
    }
    let utf8 = scanner.eat_prefix("UTF8 (");
    let literal = scanner.literal_head()?;
    scanner.finish()?;
    Ok(MessageHead { flags, date, utf8, literal })
}
