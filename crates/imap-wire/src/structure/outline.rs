//! What the structure of a message is written from: where its entities lie, and the few header fields that count.
//!
//! It is made of a message in memory ([`Outline::of`]) or while the message passes by ([`super::Outliner`]), with the
//! same result. It takes a few megabytes at most, however large and hostile the message is.

use std::borrow::Cow;
use std::ops::Range;

use crate::mime::header::{LONGEST_VALUE, fields};
use crate::mime::value::MediaType;
use crate::mime::{PartKind, Tree};

/// What the values of all fields that are kept may have together, in octets; what goes beyond is left out.
pub(super) const ROOM: usize = 2 << 20;

/// The fields that BODYSTRUCTURE tells of a part, besides Content-Type.
const DESCRIBED: [&str; 7] = [
    "content-id",
    "content-description",
    "content-transfer-encoding",
    "content-md5",
    "content-disposition",
    "content-language",
    "content-location",
];

/// The fields of ENVELOPE, in its order.
const ENVELOPE: [&str; 10] = [
    "date",
    "subject",
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "in-reply-to",
    "message-id",
];

/// The longest name of a field that is kept.
pub(super) const LONGEST_NAME: usize = 25;

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline<'a> {
    pub(super) entities: Vec<Entity<'a>>,
}

/// One entity: the message, a part of a multipart, or the message in a message/rfc822 part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity<'a> {
    /// Where its header block lies in the message, with the empty line.
    pub header: Range<u64>,
    /// Where its body lies, exactly.
    pub body: Range<u64>,
    /// What it is; numbers are places in [`Outline::entities`].
    pub kind: PartKind,
    pub(super) media_type: Cow<'a, MediaType>,
    /// The body's lines where the structure tells them, else 0.
    pub(super) lines: u64,
    pub(super) kept: Kept<'a>,
}

type Value<'a> = Option<Cow<'a, [u8]>>;

/// The first field of each name, raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    described: [Value<'a>; DESCRIBED.len()],
    /// Of a message only.
    envelope: Option<Box<[Value<'a>; ENVELOPE.len()]>>,
}

impl<'a> Outline<'a> {
    /// Of a message that was taken apart in memory.
    pub fn of(tree: &'a Tree<'_>) -> Self {
        let mut is_message = vec![false; tree.parts().len()];
        is_message[0] = true;
        for part in tree.parts() {
            if let PartKind::Message(inner) = part.kind {
                is_message[inner] = true;
            }
        }
        let wide = |range: &Range<usize>| range.start as u64..range.end as u64;
        let mut room = ROOM;
        let entities = tree.parts().iter().zip(is_message).map(|(part, is_message)| {
            let mut kept = Kept::new(is_message);
            for field in fields(tree.header(part)) {
                kept.offer(field.name, || Cow::Borrowed(field.value), &mut room);
            }
            let counts = counts_lines(&part.kind, &part.media_type);
            let lines = |body| memchr::memchr_iter(b'\n', body).count() as u64;
            Entity {
                header: wide(&part.header),
                body: wide(&part.body),
                kind: part.kind.clone(),
                media_type: Cow::Borrowed(&part.media_type),
                lines: if counts { lines(tree.body(part)) } else { 0 },
                kept,
            }
        });
        Self { entities: entities.collect() }
    }

    /// All entities, in the order in which they begin; the first is the message itself.
    pub fn entities(&self) -> &[Entity<'a>] {
        &self.entities
    }
}

/// Whether BODYSTRUCTURE says how many lines an entity has.
pub(super) fn counts_lines(kind: &PartKind, media_type: &MediaType) -> bool {
    match kind {
        PartKind::Leaf => media_type.is("text", "*"),
        PartKind::Message(_) => true,
        PartKind::Multipart(_) => false,
    }
}

impl<'a> Kept<'a> {
    pub(super) fn new(is_message: bool) -> Self {
        let envelope = is_message.then(|| Box::new([const { None }; ENVELOPE.len()]));
        Self { described: [const { None }; DESCRIBED.len()], envelope }
    }

    /// The place of a field of that name, if it is wanted still.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Value<'a>> {
        let place = |names: &[&str]| {
            names.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        };
        let slot = match (place(&DESCRIBED), &mut self.envelope) {
            (Some(at), _) => &mut self.described[at],
            (None, Some(envelope)) => &mut envelope[place(&ENVELOPE)?],
            (None, None) => return None,
        };
        slot.is_none().then_some(slot)
    }

    pub(super) fn wants(&mut self, name: &[u8]) -> bool {
        self.slot(name).is_some()
    }

    /// Keeps the field's value if it is wanted and there is room.
    pub(super) fn offer(
        &mut self,
        name: &[u8],
        value: impl FnOnce() -> Cow<'a, [u8]>,
        room: &mut usize,
    ) {
        let Some(slot) = self.slot(name) else { return };
        let mut value = value();
        match &mut value {
            Cow::Borrowed(value) => *value = &value[..value.len().min(LONGEST_VALUE)],
            Cow::Owned(value) => value.truncate(LONGEST_VALUE),
        }
        if let Some(left) = room.checked_sub(value.len()) {
            *room = left;
            *slot = Some(value);
        }
    }

    pub(super) fn described(&self) -> [Option<&[u8]>; DESCRIBED.len()] {
        self.described.each_ref().map(Option::as_deref)
    }

    /// Nothing where the entity is no message.
    pub(super) fn envelope(&self) -> [Option<&[u8]>; ENVELOPE.len()] {
        let none = [None; ENVELOPE.len()];
        self.envelope.as_ref().map_or(none, |kept| kept.each_ref().map(Option::as_deref))
    }
}

/// The fields of ENVELOPE in a header block.
pub(super) fn envelope_of(header: &[u8]) -> Kept<'_> {
    let (mut kept, mut room) = (Kept::new(true), ROOM);
    for field in fields(header) {
        kept.offer(field.name, || Cow::Borrowed(field.value), &mut room);
    }
    kept
}
