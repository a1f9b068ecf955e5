//! One message's FETCH response: which columns and octets its items need, and how they are written.

use std::borrow::Cow;

use jiff::Timestamp;
use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::response::{BodyOctets, FetchResponse, MessageName};
use letterlock_imap_wire::section::{
    UnknownEncoding, binary_of, check_binary, section, section_of,
};
use letterlock_imap_wire::text::preview;
use letterlock_imap_wire::{FetchItem, Flag, InternalDate, Partial, Section, SectionText};
use letterlock_mailbox::{Columns, Row};

use crate::wire::Wire;

/// Pieces up to this size go through the output's buffer.
const SMALL: usize = 16 * 1024;

/// What a FETCH needs of each message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) items: Vec<FetchItem>,
    /// What of the row.
    pub(crate) columns: Columns,
    /// Whether the message itself has to be opened.
    pub(crate) body: bool,
    /// Whether `\Seen` is set by it.
    pub(crate) sets_seen: bool,
    /// Whether the client asked for the flags.
    pub(crate) flags: bool,
    /// How many items name a part: with several, the parts are looked for once.
    parts: usize,
    /// Whether there are BINARY items.
    binary: bool,
    /// Whether PREVIEW is among the items.
    preview: bool,
}

impl Plan {
    /// `uid` adds the UID where the client did not ask for it (RFC 9051 §6.4.9), `modseq` the modification sequence
    /// (RFC 7162 §3.1.4.1).
    pub(crate) fn new(items: &[FetchItem], uid: bool, modseq: bool) -> Self {
        let mut items = items.to_vec();
        if modseq && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        if uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        let mut plan = Self {
            columns: Columns::default(),
            body: false,
            sets_seen: items.iter().any(FetchItem::sets_seen),
            flags: items.contains(&FetchItem::Flags),
            parts: 0,
            binary: false,
            preview: false,
            items: Vec::new(),
        };
        for item in &items {
            match item {
                FetchItem::Envelope => plan.columns.envelope = true,
                FetchItem::Body => plan.columns.body = true,
                FetchItem::BodyStructure => plan.columns.bodystructure = true,
                FetchItem::Rfc822Header => plan.columns.header = true,
                FetchItem::Section { section, .. } if section.is_header_only() => {
                    plan.columns.header = true
                }
                FetchItem::Section { section, .. } => {
                    plan.body = true;
                    plan.parts += usize::from(!section.part.is_empty());
                }
                FetchItem::Rfc822 | FetchItem::Rfc822Text => plan.body = true,
                FetchItem::Binary { .. } | FetchItem::BinarySize { .. } => {
                    plan.body = true;
                    plan.binary = true;
                }
                FetchItem::Preview { .. } => {
                    plan.body = true;
                    plan.preview = true;
                }
                FetchItem::Flags
                | FetchItem::InternalDate
                | FetchItem::Rfc822Size
                | FetchItem::Uid
                | FetchItem::EmailId
                | FetchItem::ThreadId
                | FetchItem::SaveDate
                | FetchItem::ModSeq => {}
            }
        }
        // The header is the message's first octets.
        plan.columns.header &= !plan.body;
        plan.items = items;
        plan
    }

    /// Whether MODSEQ is among the items.
    pub(crate) fn has_modseq(&self) -> bool {
        self.items.contains(&FetchItem::ModSeq)
    }
}

/// A message to be written.
pub(crate) struct Message<'a> {
    /// What the client calls it.
    pub(crate) name: MessageName,
    /// Its row.
    pub(crate) row: &'a Row,
    /// Its flags as they are now, if they are to be told.
    pub(crate) flags: &'a [Flag],
    /// Set if the flags changed by this FETCH; they are told unasked then.
    pub(crate) seen: Option<Seen>,
    /// All of it, if the plan asked for it; else its header, if the plan asked for that.
    pub(crate) octets: &'a [u8],
}

/// A message that became `\Seen` by being fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its new modification sequence.
    pub(crate) modseq: u64,
    /// Whether the client wants to know that in any case (RFC 7162 §3.1).
    pub(crate) tell_modseq: bool,
}

/// What became of a response.
pub(crate) type Written = Result<std::io::Result<()>, UnknownEncoding>;

/// Writes the response; nothing of it if a part's encoding is not known (RFC 3516 §4.3). The client is waited for.
pub(crate) async fn write(plan: &Plan, message: &Message<'_>, wire: &mut Wire) -> Written {
    let tree = (plan.parts > 1 || plan.binary || plan.preview).then(|| Tree::parse(message.octets));
    if let Some(tree) = &tree {
        check(plan, tree)?;
    }
    Ok(respond(plan, message, tree, wire).await)
}

/// BINARY items may fail, and then nothing may have been written.
fn check(plan: &Plan, tree: &Tree<'_>) -> Result<(), UnknownEncoding> {
    plan.items.iter().try_for_each(|item| match item {
        FetchItem::Binary { part, .. } | FetchItem::BinarySize { part } => check_binary(tree, part),
        _ => Ok(()),
    })
}

/// A decoded part. One at a time: together they could be many times the message.
fn decoded<'a>(tree: Option<&Tree<'a>>, part: &[u32]) -> Option<Cow<'a, [u8]>> {
    tree.and_then(|tree| binary_of(tree, part)).and_then(Result::ok)
}

/// The response up to the items that were asked for: what became of the flags by asking.
pub(crate) fn begin(plan: &Plan, message: &Message<'_>, out: &mut Vec<u8>) -> FetchResponse {
    let mut response = FetchResponse::begin(out, message.name);
    if message.seen.is_some() && !plan.flags {
        response.flags(out, message.flags);
    }
    if let Some(seen) = message.seen.filter(|seen| seen.tell_modseq && !plan.has_modseq()) {
        response.modseq(out, seen.modseq);
    }
    response
}

async fn respond(
    plan: &Plan,
    message: &Message<'_>,
    tree: Option<Tree<'_>>,
    wire: &mut Wire,
) -> std::io::Result<()> {
    let mut response = begin(plan, message, &mut wire.out);
    for item in &plan.items {
        match item {
            FetchItem::Section { section: wanted, partial, .. } => {
                let piece = match &tree {
                    Some(tree) => section_of(tree, wanted),
                    None => section(message.octets, wanted),
                };
                let piece = cut(piece.as_deref(), *partial);
                let put =
                    |response: &mut FetchResponse, out: &mut Vec<u8>, octets: BodyOctets<'_>| {
                        response.section(out, wanted, *partial, octets);
                    };
                send(&mut response, piece, wire, put).await?;
            }
            FetchItem::Rfc822 | FetchItem::Rfc822Header | FetchItem::Rfc822Text => {
                let (name, text) = legacy(item);
                let wanted = Section { part: Vec::new(), text };
                let piece = section(message.octets, &wanted);
                let put =
                    |response: &mut FetchResponse, out: &mut Vec<u8>, octets: BodyOctets<'_>| {
                        response.rfc822(out, name, octets);
                    };
                send(&mut response, piece.as_deref(), wire, put).await?;
            }
            FetchItem::Binary { part, partial, .. } => {
                let piece = decoded(tree.as_ref(), part);
                response.binary(&mut wire.out, part, *partial, cut(piece.as_deref(), *partial));
                wire.relieve().await?;
            }
            FetchItem::BinarySize { part } => {
                let size = decoded(tree.as_ref(), part).map_or(0, |piece| piece.len() as u64);
                response.binary_size(&mut wire.out, part, size);
            }
            FetchItem::Preview { .. } => {
                let text = tree.as_ref().map(preview).unwrap_or_default();
                response.preview(&mut wire.out, &text);
            }
            plain => write_plain(&mut response, plain, message, &mut wire.out),
        }
    }
    response.finish(&mut wire.out);
    wire.relieve().await
}

/// The names of IMAP4rev1 for whole messages and their halves.
pub(crate) fn legacy(item: &FetchItem) -> (&'static str, SectionText) {
    match item {
        FetchItem::Rfc822Header => ("RFC822.HEADER", SectionText::Header),
        FetchItem::Rfc822Text => ("RFC822.TEXT", SectionText::Text),
        _ => ("RFC822", SectionText::Whole),
    }
}

fn cut(piece: Option<&[u8]>, partial: Option<Partial>) -> Option<&[u8]> {
    piece.map(|piece| partial.map_or(piece, |partial| partial.of(piece)))
}

/// Writes an item with octets; large ones are sent from where they are.
async fn send(
    response: &mut FetchResponse,
    piece: Option<&[u8]>,
    wire: &mut Wire,
    put: impl Fn(&mut FetchResponse, &mut Vec<u8>, BodyOctets<'_>),
) -> std::io::Result<()> {
    match piece {
        None => put(response, &mut wire.out, BodyOctets::Missing),
        Some(octets) if octets.len() <= SMALL => {
            put(response, &mut wire.out, BodyOctets::Octets(octets))
        }
        Some(octets) => {
            put(response, &mut wire.out, BodyOctets::Following(octets.len() as u64));
            wire.send(octets).await?;
        }
    }
    wire.relieve().await
}

/// Items that come from the row as they are.
pub(crate) fn write_plain(
    response: &mut FetchResponse,
    item: &FetchItem,
    message: &Message<'_>,
    out: &mut Vec<u8>,
) {
    let row = message.row;
    match item {
        FetchItem::Uid => response.uid(out, row.uid),
        FetchItem::Flags => response.flags(out, message.flags),
        FetchItem::InternalDate => response.internal_date(out, row.internal_date),
        FetchItem::Rfc822Size => response.size(out, row.size),
        FetchItem::Envelope => {
            response.envelope(out, row.envelope.as_deref().unwrap_or(NO_ENVELOPE))
        }
        FetchItem::Body => response.body(out, row.body.as_deref().unwrap_or(NO_STRUCTURE)),
        FetchItem::BodyStructure => {
            response.body_structure(out, row.bodystructure.as_deref().unwrap_or(NO_STRUCTURE));
        }
        FetchItem::ModSeq => {
            response.modseq(out, message.seen.map_or(row.modseq.0, |seen| seen.modseq));
        }
        FetchItem::EmailId => response.email_id(out, &row.email_id.to_string()),
        // RFC 8474 §5.2: this server does not put messages together to threads when they come.
        FetchItem::ThreadId => response.thread_id(out, None),
        FetchItem::SaveDate => {
            let saved = Timestamp::from_second(row.saved).unwrap_or(Timestamp::UNIX_EPOCH);
            response.save_date(out, InternalDate::utc(saved));
        }
        FetchItem::Section { .. }
        | FetchItem::Preview { .. }
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize { .. } => {}
    }
}

/// What stands for a column that was asked for and did not come: well-formed, and empty.
const NO_ENVELOPE: &[u8] = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
const NO_STRUCTURE: &[u8] = b"(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"7BIT\" 0)";

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::Command;
    use letterlock_imap_wire::command::parse;

    fn plan(items: &str) -> Plan {
        match parse(format!("a FETCH 1 {items}").as_bytes(), 10).unwrap().command {
            Command::Fetch(fetch) => Plan::new(&fetch.items, false, false),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_of_headers_open_no_message() {
        let list = plan(
            "(UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (References)])",
        );
        assert!(!list.body && !list.sets_seen);
        assert_eq!(
            list.columns,
            Columns { envelope: true, bodystructure: true, header: true, ..Columns::default() }
        );
    }

    #[test]
    fn what_opens_a_message_has_its_header_too() {
        let both = plan("(BODY[HEADER] BODY.PEEK[1])");
        assert!(both.body && both.sets_seen && !both.columns.header);
        for item in [
            "RFC822",
            "RFC822.TEXT",
            "BODY.PEEK[]",
            "BODY.PEEK[TEXT]",
            "BINARY.SIZE[1]",
            "BODY.PEEK[1.MIME]",
        ] {
            assert!(plan(item).body, "{item}");
        }
        assert!(!plan("RFC822.HEADER").body && !plan("RFC822.HEADER").sets_seen);
    }

    #[test]
    fn uid_fetch_tells_the_uid_once() {
        assert_eq!(
            Plan::new(&[FetchItem::Flags], true, false).items,
            [FetchItem::Uid, FetchItem::Flags]
        );
        let asked = [FetchItem::Flags, FetchItem::Uid];
        assert_eq!(Plan::new(&asked, true, false).items, asked);
        assert!(Plan::new(&asked, false, true).has_modseq());
    }
}
