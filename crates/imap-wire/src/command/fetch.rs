//! FETCH and its items (RFC 9051 §6.4.5, RFC 3516, RFC 7162).

use crate::scan::{Scanned, Scanner, syntax};
use crate::section::{Partial, Section, SectionText};
use crate::sequence::{self, SequenceSet};
use crate::window::{self, Window};

/// How many numbers a part path may have; deeper ones cannot name anything.
const MAX_PATH: usize = 100;

/// How many items one FETCH may have: each may cost a walk through a large message.
const MAX_ITEMS: usize = 256;

/// FETCH or UID FETCH.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchCommand {
    /// The set holds UIDs, and every response carries the UID.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What of them, in the client's order; ALL, FULL and FAST are expanded.
    pub items: Vec<FetchItem>,
    /// The modifiers.
    pub modifiers: FetchModifiers,
}

/// Modifiers of RFC 7162 and RFC 9394.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchModifiers {
    /// CHANGEDSINCE: only messages with a mod-sequence above this.
    pub changed_since: Option<u64>,
    /// VANISHED: with UID FETCH and CHANGEDSINCE only; the frontend refuses other uses.
    pub vanished: bool,
    /// PARTIAL: only that piece of the set (RFC 9394); UID FETCH only, the frontend refuses other uses.
    pub partial: Option<Window>,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// ENVELOPE
    Envelope,
    /// FLAGS
    Flags,
    /// INTERNALDATE
    InternalDate,
    /// RFC822: as `BODY[]`, sets `\Seen`.
    Rfc822,
    /// RFC822.HEADER: as `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// RFC822.SIZE
    Rfc822Size,
    /// RFC822.TEXT: as `BODY[TEXT]`, sets `\Seen`.
    Rfc822Text,
    /// BODY: the structure without extension data.
    Body,
    /// BODYSTRUCTURE
    BodyStructure,
    /// UID
    Uid,
    /// MODSEQ
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// SAVEDATE (RFC 8514)
    SaveDate,
    /// PREVIEW (RFC 8970)
    Preview {
        /// LAZY: only if it costs little.
        lazy: bool,
    },
    /// `BODY[section]<partial>` and `BODY.PEEK[…]`
    Section {
        /// Which piece.
        section: Section,
        /// Which octets of it.
        partial: Option<Partial>,
        /// Does not set `\Seen`.
        peek: bool,
    },
    /// `BINARY[part]<partial>` and `BINARY.PEEK[…]` (RFC 3516)
    Binary {
        /// The part's path; empty for the message.
        part: Vec<u32>,
        /// Which octets of the decoded part.
        partial: Option<Partial>,
        /// Does not set `\Seen`.
        peek: bool,
    },
    /// `BINARY.SIZE[part]`
    BinarySize {
        /// The part's path; empty for the message.
        part: Vec<u32>,
    },
}

impl FetchItem {
    /// Whether fetching it sets `\Seen` (in a mailbox that is not read-only).
    pub fn sets_seen(&self) -> bool {
        match self {
            Self::Rfc822 | Self::Rfc822Text => true,
            Self::Section { peek, .. } | Self::Binary { peek, .. } => !peek,
            _ => false,
        }
    }
}

pub(super) fn scan(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<FetchCommand> {
    let set = sequence::scan(scanner)?;
    scanner.space()?;
    let items = scan_items(scanner)?;
    let mut modifiers = FetchModifiers::default();
    if scanner.eat(b' ') {
        scanner.list(|scanner| {
            match scanner.keyword()?.as_str() {
                "CHANGEDSINCE" => {
                    scanner.space()?;
                    modifiers.changed_since = Some(scanner.number64()?);
                }
                "VANISHED" => modifiers.vanished = true,
                "PARTIAL" if modifiers.partial.is_none() => {
                    scanner.space()?;
                    modifiers.partial = Some(window::scan(scanner)?);
                }
                _ => return syntax("unknown modifier of FETCH"),
            }
            Ok(())
        })?;
    }
    Ok(FetchCommand { uid, set, items, modifiers })
}

/// `[SP "(" fetch-att *(SP fetch-att) ")"]` behind a word; another word may follow the space instead.
pub(super) fn scan_attached(scanner: &mut Scanner<'_>) -> Scanned<Vec<FetchItem>> {
    if scanner.peek() != Some(b' ') || scanner.peek_at(1) != Some(b'(') {
        return Ok(Vec::new());
    }
    scanner.space()?;
    scan_item_list(scanner)
}

fn scan_item_list(scanner: &mut Scanner<'_>) -> Scanned<Vec<FetchItem>> {
    let items = scanner.list(scan_item)?;
    match items.len() {
        0 => syntax("FETCH needs an item"),
        1..=MAX_ITEMS => Ok(items),
        _ => syntax("FETCH has too many items"),
    }
}

fn scan_items(scanner: &mut Scanner<'_>) -> Scanned<Vec<FetchItem>> {
    if scanner.peek() == Some(b'(') {
        return scan_item_list(scanner);
    }
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    let extra: &[FetchItem] = if scanner.eat_keyword("FAST") {
        &[]
    } else if scanner.eat_keyword("ALL") {
        &[FetchItem::Envelope]
    } else if scanner.eat_keyword("FULL") {
        &[FetchItem::Envelope, FetchItem::Body]
    } else {
        return Ok(vec![scan_item(scanner)?]);
    };
    Ok(fast.iter().chain(extra).cloned().collect())
}

fn scan_item(scanner: &mut Scanner<'_>) -> Scanned<FetchItem> {
    // Not an atom: `[` belongs to atoms, so that BODY[TEXT] would come in one piece.
    let name = scanner
        .take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'.')
        .to_ascii_uppercase();
    let bracket = scanner.peek() == Some(b'[');
    Ok(match (name.as_slice(), bracket) {
        (b"ENVELOPE", false) => FetchItem::Envelope,
        (b"FLAGS", false) => FetchItem::Flags,
        (b"INTERNALDATE", false) => FetchItem::InternalDate,
        (b"RFC822", false) => FetchItem::Rfc822,
        (b"RFC822.HEADER", false) => FetchItem::Rfc822Header,
        (b"RFC822.SIZE", false) => FetchItem::Rfc822Size,
        (b"RFC822.TEXT", false) => FetchItem::Rfc822Text,
        (b"BODY", false) => FetchItem::Body,
        (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        (b"UID", false) => FetchItem::Uid,
        (b"MODSEQ", false) => FetchItem::ModSeq,
        (b"EMAILID", false) => FetchItem::EmailId,
        (b"THREADID", false) => FetchItem::ThreadId,
        (b"SAVEDATE", false) => FetchItem::SaveDate,
        (b"PREVIEW", false) => FetchItem::Preview { lazy: scan_preview_modifiers(scanner)? },
        (b"BODY" | b"BODY.PEEK", true) => {
            let section = scan_section(scanner)?;
            FetchItem::Section { section, partial: scan_partial(scanner)?, peek: name.len() > 4 }
        }
        (b"BINARY" | b"BINARY.PEEK", true) => {
            let part = scan_binary_part(scanner)?;
            FetchItem::Binary { part, partial: scan_partial(scanner)?, peek: name.len() > 6 }
        }
        (b"BINARY.SIZE", true) => FetchItem::BinarySize { part: scan_binary_part(scanner)? },
        _ => return syntax("unknown item of FETCH"),
    })
}

/// `[SP "(" [LAZY] ")"]` (RFC 8970 §6); another item may follow the space instead.
fn scan_preview_modifiers(scanner: &mut Scanner<'_>) -> Scanned<bool> {
    if scanner.peek() != Some(b' ') || scanner.peek_at(1) != Some(b'(') {
        return Ok(false);
    }
    // As the last item without parentheses around the items, what follows may be FETCH's own modifiers.
    if !scanner.rest()[2..].to_ascii_uppercase().starts_with(b"LAZY") {
        return Ok(false);
    }
    scanner.space()?;
    let words = scanner.list(|scanner| {
        if scanner.eat_keyword("LAZY") { Ok(()) } else { syntax("unknown modifier of PREVIEW") }
    })?;
    Ok(!words.is_empty())
}

/// `[section-spec]`
pub(crate) fn scan_section(scanner: &mut Scanner<'_>) -> Scanned<Section> {
    scanner.expect(b'[', "a section is missing")?;
    let (part, dot) = scan_path(scanner)?;
    let text = if dot || part.is_empty() && scanner.peek() != Some(b']') {
        scan_section_text(scanner, !part.is_empty())?
    } else {
        SectionText::Whole
    };
    scanner.expect(b']', "the section does not end")?;
    Ok(Section { part, text })
}

/// Numbers with dots between them; `true` if a dot follows the last one.
fn scan_path(scanner: &mut Scanner<'_>) -> Scanned<(Vec<u32>, bool)> {
    let mut path = Vec::new();
    while scanner.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        if path.len() == MAX_PATH {
            return syntax("the part's path is too long");
        }
        path.push(scanner.nz_number()?);
        if !scanner.eat(b'.') {
            return Ok((path, false));
        }
    }
    let dot = !path.is_empty();
    Ok((path, dot))
}

fn scan_section_text(scanner: &mut Scanner<'_>, in_part: bool) -> Scanned<SectionText> {
    let name = scanner
        .take_while(|octet| octet.is_ascii_alphabetic() || octet == b'.')
        .to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"HEADER" => SectionText::Header,
        b"TEXT" => SectionText::Text,
        b"MIME" if in_part => SectionText::Mime,
        b"HEADER.FIELDS" => SectionText::HeaderFields(scan_field_names(scanner)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(scan_field_names(scanner)?),
        _ => return syntax("unknown section"),
    })
}

fn scan_field_names(scanner: &mut Scanner<'_>) -> Scanned<Vec<String>> {
    scanner.space()?;
    let names = scanner.list(|scanner| match String::from_utf8(scanner.astring()?) {
        // A field's name is printable ASCII (RFC 5322 §2.2); nothing else can match, nor be echoed in every session.
        Ok(name)
            if !name.is_empty()
                && name.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ') =>
        {
            Ok(name)
        }
        _ => syntax("a header field's name is malformed"),
    })?;
    if names.is_empty() { syntax("a header field's name is missing") } else { Ok(names) }
}

fn scan_binary_part(scanner: &mut Scanner<'_>) -> Scanned<Vec<u32>> {
    scanner.expect(b'[', "a section is missing")?;
    let (part, dot) = scan_path(scanner)?;
    if dot {
        return syntax("the section is malformed");
    }
    scanner.expect(b']', "the section does not end")?;
    Ok(part)
}

/// `<offset.length>`
fn scan_partial(scanner: &mut Scanner<'_>) -> Scanned<Option<Partial>> {
    if !scanner.eat(b'<') {
        return Ok(None);
    }
    let offset = scanner.number64()?;
    scanner.expect(b'.', "the partial range is malformed")?;
    let length = scanner.number64()?;
    if length == 0 {
        return syntax("a partial range must not be empty");
    }
    scanner.expect(b'>', "the partial range does not end")?;
    Ok(Some(Partial { offset, length }))
}
