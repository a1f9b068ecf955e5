//! The head of APPEND (RFC 9051 §6.3.12), and of the further messages of MULTIAPPEND (RFC 3502): what stands before
//! a message literal.

use super::{scan_mailbox, scan_tag};
use crate::date::{InternalDate, scan_date_time};
use crate::flag::{self, Flag};
use crate::mailbox_name::MailboxName;
use crate::scan::{LiteralHead, Scanned, Scanner};

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
    pub(crate) message: MessageHead,
}

/// `None` if the octets are no APPEND at all. Otherwise the tag and the head; `Incomplete` says that the literal at
/// the end is the mailbox's name.
pub(crate) fn scan_head(octets: &[u8], max_depth: usize) -> Option<(String, Scanned<AppendHead>)> {
    let mut scanner = Scanner::new(octets, max_depth);
    let tag = scan_tag(&mut scanner).ok()?;
    if !(scanner.eat(b' ') && scanner.eat_keyword("APPEND") && scanner.eat(b' ')) {
        return None;
    }
    Some((tag, scan_append(&mut scanner)))
}

fn scan_append(scanner: &mut Scanner<'_>) -> Scanned<AppendHead> {
    let mailbox = scan_mailbox(scanner)?;
    Ok(AppendHead { mailbox, message: scan_message(scanner)? })
}

/// What stands between a message literal and the next one of the same command.
pub(crate) fn scan_further(octets: &[u8], max_depth: usize) -> Scanned<MessageHead> {
    scan_message(&mut Scanner::new(octets, max_depth))
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
