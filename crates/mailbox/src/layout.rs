//! Where the MIME parts of a message lie, kept for messages of several pieces: so that one part of a large message
//! is read without the others.

use std::ops::Range;

use letterlock_imap_wire::mime::{PartKind, Tree};
use letterlock_imap_wire::section::{Section, SectionText};
use letterlock_imap_wire::structure::Outline;

/// The entities of a message, in the order in which they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    parts: Vec<Place>,
}

/// One entity. Its header ends where its body begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    header: Range<u64>,
    body: Range<u64>,
    kind: PartKind,
}

/// The first octet of a kept layout.
const VERSION: u64 = 1;

impl Layout {
    pub(crate) fn of(message: &[u8]) -> Self {
        let wide = |range: &Range<usize>| range.start as u64..range.end as u64;
        let place = |part: &letterlock_imap_wire::mime::Part| Place {
            header: wide(&part.header),
            body: wide(&part.body),
            kind: part.kind.clone(),
        };
        Self { parts: Tree::parse(message).parts().iter().map(place).collect() }
    }

    /// Of a message that has passed by.
    pub(crate) fn of_outline(outline: &Outline<'_>) -> Self {
        let place = |entity: &letterlock_imap_wire::structure::Entity<'_>| Place {
            header: entity.header.clone(),
            body: entity.body.clone(),
            kind: entity.kind.clone(),
        };
        Self { parts: outline.entities().iter().map(place).collect() }
    }

    /// A message of which nothing but the length of its header and of all is known.
    pub(crate) fn plain(header: u64, size: u64) -> Self {
        let root = Place { header: 0..header, body: header..size, kind: PartKind::Leaf };
        Self { parts: vec![root] }
    }

    /// Numbers in groups of seven bits: the version, then for each entity four ends of ranges and its kind, which
    /// is how many entities it holds and which.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, VERSION);
        for part in &self.parts {
            for number in [part.header.start, part.header.end, part.body.start, part.body.end] {
                put(&mut out, number);
            }
            match &part.kind {
                PartKind::Leaf => put(&mut out, 0),
                PartKind::Message(inner) => {
                    put(&mut out, 1);
                    put(&mut out, *inner as u64);
                }
                PartKind::Multipart(children) => {
                    put(&mut out, 1 + children.len() as u64);
                    children.iter().for_each(|child| put(&mut out, *child as u64));
                }
            }
        }
        out
    }

    /// What [`Layout::to_bytes`] made; None for anything else.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        (take(&mut bytes)? == VERSION).then_some(())?;
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let mut number = || take(&mut bytes);
            let header = number()?..number()?;
            let body = number()?..number()?;
            let kind = match number()? {
                0 => PartKind::Leaf,
                1 => PartKind::Message(usize::try_from(number()?).ok()?),
                more => {
                    let child = |_| usize::try_from(take(&mut bytes)?).ok();
                    PartKind::Multipart((1..more).map(child).collect::<Option<_>>()?)
                }
            };
            parts.push(Place { header, body, kind });
        }
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// Where a section lies. For a choice of header fields it is the header that has them. None if there is no such
    /// section: as `letterlock_imap_wire::section`.
    pub(crate) fn locate(&self, section: &Section) -> Option<Range<u64>> {
        let root = self.parts.first()?;
        if section.part.is_empty() {
            return match section.text {
                SectionText::Whole => Some(root.header.start..root.body.end),
                SectionText::Mime => None,
                SectionText::Text => Some(root.body.clone()),
                _ => Some(root.header.clone()),
            };
        }
        let part = self.part(&section.part)?;
        match (&section.text, &part.kind) {
            (SectionText::Whole, _) => Some(part.body.clone()),
            (SectionText::Mime, _) => Some(part.header.clone()),
            (SectionText::Text, PartKind::Message(inner)) => {
                Some(self.parts.get(*inner)?.body.clone())
            }
            (_, PartKind::Message(inner)) => Some(self.parts.get(*inner)?.header.clone()),
            _ => None,
        }
    }

    /// RFC 9051 §6.4.5.1, as `Tree::locate`.
    fn part(&self, path: &[u32]) -> Option<&Place> {
        let mut found: Option<&Place> = None;
        for number in path {
            let number = usize::try_from(*number).ok()?.checked_sub(1)?;
            let within = match found {
                None => self.parts.first()?,
                Some(part) => match &part.kind {
                    PartKind::Message(inner) => self.parts.get(*inner)?,
                    PartKind::Multipart(_) => part,
                    PartKind::Leaf => return None,
                },
            };
            found = match &within.kind {
                PartKind::Multipart(children) => Some(self.parts.get(*children.get(number)?)?),
                _ if number == 0 => Some(within),
                _ => return None,
            };
        }
        found
    }
}

/// Appends a number in groups of seven bits, the lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use letterlock_imap_wire::section::section;

    use super::*;

    const MESSAGE: &[u8] = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\r\none\r\n--a\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n\r\n\
        two\r\n--b--\r\n--a--\r\n";

    /// Every section is where the wire's own parser finds it.
    #[test]
    fn sections_lie_where_they_lie() {
        let layout = Layout::from_bytes(&Layout::of(MESSAGE).to_bytes()).unwrap();
        assert_eq!(layout, Layout::of(MESSAGE));
        let texts = [SectionText::Whole, SectionText::Header, SectionText::Text, SectionText::Mime];
        let mut found = 0;
        for part in [&[][..], &[1], &[2], &[3], &[1, 1], &[2, 1], &[2, 1, 1], &[2, 2], &[0]] {
            for text in &texts {
                let wanted = Section { part: part.to_vec(), text: text.clone() };
                let range = layout.locate(&wanted);
                let slice = range.map(|range| &MESSAGE[range.start as usize..range.end as usize]);
                assert_eq!(slice, section(MESSAGE, &wanted).as_deref(), "{wanted:?}");
                found += usize::from(slice.is_some());
            }
        }
        assert!(found > 10);
        assert_eq!(Layout::from_bytes(b"\x02"), None);
        assert_eq!(Layout::from_bytes(b"\x01\x80"), None);
    }
}
