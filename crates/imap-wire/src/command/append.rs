//! The head of APPEND (RFC 9051 §6.3.12), of the further messages of MULTIAPPEND (RFC 3502), of REPLACE (RFC 8508) and of
//! messages that CATENATE makes of parts (RFC 4469): what stands before, between and behind their literals.

use super::{scan_mailbox, scan_tag};
use crate::date::{InternalDate, scan_date_time};
use crate::flag::{self, Flag};
use crate::mailbox_name::MailboxName;
use crate::scan::{LiteralHead, Scanned, Scanner, SyntaxError, syntax};
use crate::sequence::{SequenceNumber, scan_number};

/// The message that REPLACE takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// UID REPLACE: `message` is a UID.
    pub uid: bool,
    /// Which message.
    pub message: SequenceNumber,
}

/// One message's arguments.
#[derive(Debug)]
pub(crate) struct MessageHead {
    pub(crate) flags: Vec<Flag>,
    pub(crate) date: Option<InternalDate>,
    /// The message itself; without it, CATENATE makes one of parts (RFC 4469).
    pub(crate) literal: Option<LiteralHead>,
    /// Wrapped as `UTF8 (~{…}` (RFC 6855 §4); a `)` follows the literal.
    pub(crate) utf8: bool,
}

/// What stands between two literals of the command, in its order.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A message begins.
    Begin(MessageHead),
    /// A part of CATENATE: an IMAP URL.
    Url(Vec<u8>),
    /// CATENATE's last part was there.
    End,
}

/// What a literal is, and so what has to follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// A message.
    Message,
    /// A message in `UTF8 (…)`.
    Utf8,
    /// A part of CATENATE.
    Text,
    /// A part of CATENATE in `UTF8 (…)`.
    TextUtf8,
    /// The URL of a part of CATENATE; what is read next begins with that part.
    Url,
}

/// A stretch of the command up to a literal, or to its end.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    pub(crate) pieces: Vec<Piece>,
    /// The literal at its end; the command is complete without one.
    pub(crate) literal: Option<(LiteralHead, Within)>,
    /// How many octets were read, where the URL of the part that follows is a literal which has not come.
    pub(crate) unread: Option<usize>,
}

/// The head of a whole APPEND.
#[derive(Debug)]
pub(crate) struct AppendHead {
    pub(crate) mailbox: MailboxName,
    pub(crate) replaces: Option<Replaced>,
    pub(crate) stretch: Stretch,
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
    Ok(AppendHead { mailbox, replaces, stretch: scan_stretch(scanner, Next::Message)? })
}

/// What stands behind a literal of the command, up to the next one or to its end.
pub(crate) fn scan_further(octets: &[u8], within: Within, max_depth: usize) -> Scanned<Stretch> {
    let mut scanner = Scanner::new(octets, max_depth);
    if matches!(within, Within::Utf8 | Within::TextUtf8) {
        scanner.expect(b')', "UTF8 does not end")?;
    }
    let next = match within {
        Within::Message | Within::Utf8 => Next::AfterMessage,
        Within::Text | Within::TextUtf8 => Next::AfterPart,
        Within::Url => Next::Part,
    };
    scan_stretch(&mut scanner, next)
}

/// What comes next in a stretch.
enum Next {
    Message,
    AfterMessage,
    Part,
    AfterPart,
}

/// Not by recursion: one line may hold thousands of messages that CATENATE makes.
fn scan_stretch(scanner: &mut Scanner<'_>, first: Next) -> Scanned<Stretch> {
    let mut stretch = Stretch::default();
    let mut next = first;
    loop {
        next = match next {
            Next::AfterMessage if scanner.is_at_end() => return Ok(stretch),
            Next::AfterMessage | Next::Message => {
                let head = scan_message(scanner)?;
                stretch.literal = head.literal.map(|literal| {
                    (literal, if head.utf8 { Within::Utf8 } else { Within::Message })
                });
                stretch.pieces.push(Piece::Begin(head));
                Next::Part
            }
            Next::Part => {
                let start = scanner.position();
                if scanner.eat_prefix("URL ") {
                    match scanner.astring() {
                        Err(SyntaxError::Incomplete) => {
                            stretch.unread = Some(start);
                            return Ok(stretch);
                        }
                        url => stretch.pieces.push(Piece::Url(url?)),
                    }
                } else {
                    stretch.literal = Some(scan_text(scanner)?);
                }
                Next::AfterPart
            }
            Next::AfterPart if scanner.eat(b')') => {
                stretch.pieces.push(Piece::End);
                Next::AfterMessage
            }
            Next::AfterPart => {
                scanner.space()?;
                Next::Part
            }
        };
        if stretch.literal.is_some() {
            scanner.finish()?;
            return Ok(stretch);
        }
    }
}

/// A part of CATENATE that is a literal; with UTF8 as RFC 6855 §4 has it for APPEND.
fn scan_text(scanner: &mut Scanner<'_>) -> Scanned<(LiteralHead, Within)> {
    if scanner.eat_prefix("TEXT ") {
        Ok((scanner.literal_head()?, Within::Text))
    } else if scanner.eat_prefix("UTF8 (") {
        Ok((scanner.literal_head()?, Within::TextUtf8))
    } else {
        syntax("a part of CATENATE is missing")
    }
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
    if scanner.eat_prefix("CATENATE (") {
        return Ok(MessageHead { flags, date, literal: None, utf8: false });
    }
    let utf8 = scanner.eat_prefix("UTF8 (");
    let literal = scanner.literal_head()?;
    Ok(MessageHead { flags, date, literal: Some(literal), utf8 })
}
