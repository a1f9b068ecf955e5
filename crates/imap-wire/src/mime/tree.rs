//! The parts of a message, found in one pass.
//!
//! A line is a boundary if it is `--` and the boundary, or that and `--`, with nothing but white space after it; of
//! several open multiparts the innermost wins, and an outer boundary ends everything inside (RFC 2046 §5.1.2).
//! The line end before a boundary belongs to the boundary. Time is linear: each line is compared with at most
//! [`MAX_DEPTH`] boundaries, and nothing is looked at twice.

use super::header::{LONGEST_VALUE, empty_line, find, line_end};
use super::value::MediaType;
use std::ops::Range;

/// How deep parts may nest; what is deeper is an opaque leaf.
pub const MAX_DEPTH: usize = 50;

/// How many parts a message may have; what follows belongs to the last one's body.
pub const MAX_PARTS: usize = 10_000;

/// Longer boundaries (RFC 2046 allows 70 octets) are ignored, and the multipart with them.
pub(crate) const LONGEST_BOUNDARY: usize = 250;

/// What the parameters of all Content-Types together may take, in octets with [`PARAMETER`] for each; those of later
/// parts are left out. No mail of people comes near it.
pub(crate) const PARAMETERS: usize = 2 << 20;

/// What a parameter takes besides its octets.
const PARAMETER: usize = 64;

/// One entity: the message, a part of a multipart, or the message in a message/rfc822 part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its header block with the empty line, if it has one.
    pub header: Range<usize>,
    /// Its body, exactly.
    pub body: Range<usize>,
    /// What it is.
    pub kind: PartKind,
    /// Its type; for [`PartKind::Leaf`] what it is treated as, which may differ from what the header says.
    pub media_type: MediaType,
}

/// What a part contains; numbers are places in [`Tree::parts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// A body of its own.
    Leaf,
    /// Parts; at least one.
    Multipart(Vec<usize>),
    /// A message.
    Message(usize),
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
}

impl<'a> Tree<'a> {
    /// Takes a message apart. Never fails: what is malformed becomes a leaf.
    pub fn parse(message: &'a [u8]) -> Self {
        let mut walker =
            Walker { message, parts: Vec::new(), boundaries: Vec::new(), room: PARAMETERS };
        walker.entity(0, 0, false);
        Self { message, parts: walker.parts }
    }

    /// The whole message.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// All entities; the first is the message itself.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself.
    pub fn root(&self) -> &Part {
        // The walker begins with it, whatever the message.
        &self.parts[0]
    }

    /// A part's header block.
    pub fn header(&self, part: &Part) -> &'a [u8] {
        &self.message[part.header.clone()]
    }

    /// A part's body as it stands.
    pub fn body(&self, part: &Part) -> &'a [u8] {
        &self.message[part.body.clone()]
    }

    /// The part with that path (RFC 9051 §6.4.5.1): numbers count the parts of a multipart, part 1 of what is no
    /// multipart is itself, and in a message/rfc822 part they count the parts of its message.
    pub fn locate(&self, path: &[u32]) -> Option<&Part> {
        let mut found: Option<&Part> = None;
        for number in path {
            let number = usize::try_from(*number).ok()?.checked_sub(1)?;
            let within = match found {
                None => self.root(),
                Some(part) => match &part.kind {
                    PartKind::Message(inner) => &self.parts[*inner],
                    PartKind::Multipart(_) => part,
                    PartKind::Leaf => return None,
                },
            };
            found = match &within.kind {
                PartKind::Multipart(children) => Some(&self.parts[*children.get(number)?]),
                _ if number == 0 => Some(within),
                _ => return None,
            };
        }
        found
    }
}

/// Where an entity ended.
#[derive(Clone, Copy)]
enum End {
    /// With the message.
    Message,
    /// Before a boundary line of the open multipart `level`.
    Boundary { level: usize, closing: bool, line: usize, next: usize },
}

struct Walker<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
    boundaries: Vec<Vec<u8>>,
    /// What is left of [`PARAMETERS`].
    room: usize,
}

/// What a part's header says that it is.
pub(crate) enum Declared {
    /// Neither of the others.
    Leaf,
    /// Parts with that boundary.
    Multipart(Vec<u8>),
    /// A message.
    Message,
}

/// Reads a part's raw Content-Type, if it has one; `room` is what is left of [`PARAMETERS`].
pub(crate) fn declare(
    raw: Option<&[u8]>,
    in_digest: bool,
    room: &mut usize,
) -> (MediaType, Declared) {
    let parsed = raw.map(|raw| MediaType::parse(&raw[..raw.len().min(LONGEST_VALUE)]));
    let mut media_type = match parsed {
        Some(Some(media_type)) => media_type,
        // RFC 2046 §5.1.5: the default within a digest.
        None if in_digest => return (MediaType::bare("MESSAGE", "RFC822"), Declared::Message),
        _ => return (MediaType::plain(), Declared::Leaf),
    };
    let declared = if media_type.is("multipart", "*") {
        match media_type.parameter("boundary") {
            Some(boundary) if (1..=LONGEST_BOUNDARY).contains(&boundary.trim_ascii_end().len()) => {
                Declared::Multipart(boundary.trim_ascii_end().to_vec())
            }
            _ => Declared::Leaf,
        }
    } else if media_type.is("message", "rfc822") || media_type.is("message", "global") {
        Declared::Message
    } else {
        Declared::Leaf
    };
    let cost = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + PARAMETER;
    match room.checked_sub(media_type.parameters.iter().map(cost).sum()) {
        Some(left) => *room = left,
        None => media_type.parameters.clear(),
    }
    (media_type, declared)
}

impl Walker<'_> {
    /// Reads the entity at `start`, which is the start of a line; gives its place and where it ended.
    fn entity(&mut self, start: usize, depth: usize, in_digest: bool) -> (usize, End) {
        let (body, early) = self.header(start);
        let raw = find(&self.message[start..body], "Content-Type");
        let (media_type, declared) = declare(raw, in_digest, &mut self.room);
        let place = self.parts.len();
        let is_digest = media_type.is("multipart", "digest");
        self.parts.push(Part {
            header: start..body,
            body: body..body,
            kind: PartKind::Leaf,
            media_type,
        });
        let may_nest = early.is_none() && depth < MAX_DEPTH;
        let (kind, end) = match declared {
            Declared::Multipart(boundary) if may_nest => {
                self.multipart(body, boundary, depth, is_digest)
            }
            Declared::Message if may_nest => {
                let (inner, end) = self.entity(body, depth + 1, false);
                (PartKind::Message(inner), end)
            }
            declared => {
                if !matches!(declared, Declared::Leaf) {
                    self.parts[place].media_type = MediaType::bare("APPLICATION", "OCTET-STREAM");
                }
                (PartKind::Leaf, early.unwrap_or_else(|| self.scan(body)))
            }
        };
        let stop = self.body_end(body, end);
        let part = &mut self.parts[place];
        part.body = body..stop;
        if matches!(kind, PartKind::Leaf) && part.media_type.is("multipart", "*") {
            // No boundary, or none of its lines: better shown as text than not at all.
            part.media_type = MediaType::plain();
        }
        part.kind = kind;
        (place, end)
    }

    fn multipart(
        &mut self,
        body: usize,
        boundary: Vec<u8>,
        depth: usize,
        is_digest: bool,
    ) -> (PartKind, End) {
        let own = self.boundaries.len();
        self.boundaries.push(boundary);
        let mut children = Vec::new();
        let mut end = self.scan(body);
        loop {
            match end {
                End::Boundary { level, closing: false, next, .. }
                    if level == own && !self.full() =>
                {
                    let (child, child_end) = self.entity(next, depth + 1, is_digest);
                    children.push(child);
                    end = child_end;
                }
                End::Boundary { level, next, .. } if level == own => {
                    // The epilogue ends at a boundary of an outer multipart.
                    self.boundaries.truncate(own);
                    end = self.scan(next);
                    break;
                }
                _ => {
                    self.boundaries.truncate(own);
                    break;
                }
            }
        }
        (if children.is_empty() { PartKind::Leaf } else { PartKind::Multipart(children) }, end)
    }

    /// Once there are too many parts, boundaries are not seen any more.
    fn full(&self) -> bool {
        self.parts.len() >= MAX_PARTS
    }

    /// The end of the header that begins at `start`; an outer boundary may cut it short.
    fn header(&self, start: usize) -> (usize, Option<End>) {
        let mut at = start;
        while at < self.message.len() {
            if let Some(length) = empty_line(&self.message[at..]) {
                return (at + length, None);
            }
            if let Some(end) = self.boundary_at(at) {
                return (at, Some(end));
            }
            at = line_end(self.message, at);
        }
        (at, Some(End::Message))
    }

    /// The first boundary line at or after `from`, which is the start of a line.
    fn scan(&self, from: usize) -> End {
        if self.boundaries.is_empty() || self.full() {
            return End::Message;
        }
        if let Some(end) = self.boundary_at(from) {
            return end;
        }
        let finder = memchr::memmem::Finder::new(b"\n--");
        finder
            .find_iter(&self.message[from..])
            .find_map(|at| self.boundary_at(from + at + 1))
            .unwrap_or(End::Message)
    }

    fn boundary_at(&self, line: usize) -> Option<End> {
        if self.full() {
            return None;
        }
        let rest = self.message[line..].strip_prefix(b"--")?;
        let next = line_end(rest, 0);
        let content = rest[..next].trim_ascii_end();
        self.boundaries.iter().enumerate().rev().find_map(|(level, boundary)| {
            let closing = match content.strip_prefix(boundary.as_slice())? {
                b"" => false,
                b"--" => true,
                _ => return None,
            };
            Some(End::Boundary { level, closing, line, next: line + 2 + next })
        })
    }

    fn body_end(&self, body: usize, end: End) -> usize {
        let End::Boundary { line, .. } = end else { return self.message.len() };
        let before = &self.message[body..line.max(body)];
        let before = before
            .strip_suffix(b"\n")
            .map_or(before, |before| before.strip_suffix(b"\r").unwrap_or(before));
        body + before.len()
    }
}

#[cfg(test)]
mod tests;
