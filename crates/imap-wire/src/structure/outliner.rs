//! The structure of a message that passes by: what [`Tree`](crate::mime::Tree) finds in a message in memory, found without
//! ever holding it.
//!
//! Octets come in pieces of any size. Of bodies nothing is kept but their length and their lines, of headers the fields
//! that ENVELOPE and BODYSTRUCTURE tell. The rules are those of `crate::mime::tree`, line by line.

use std::borrow::Cow;

use super::begun::Begun;
use super::line::{Line, Place};
use super::outline::{Entity, Outline, ROOM, counts_lines};
use crate::mime::PartKind;
use crate::mime::tree::{Declared, MAX_DEPTH, MAX_PARTS, PARAMETERS, declare};
use crate::mime::value::MediaType;

/// See the module's text.
#[derive(Debug)]
pub struct Outliner {
    /// Behind all that has come.
    end: Place,
    line: Line,
    /// The header that is being read; otherwise it is a body.
    header: Option<Box<Begun>>,
    /// The entities whose bodies are being read, from the outermost to the innermost.
    open: Vec<Open>,
    /// Of the multiparts among them that have not ended.
    boundaries: Vec<Vec<u8>>,
    entities: Vec<Entity<'static>>,
    room: usize,
    parameter_room: usize,
}

#[derive(Debug)]
struct Open {
    place: usize,
    body: Place,
    inner: Inner,
}

/// What an open entity is.
#[derive(Debug)]
enum Inner {
    Leaf,
    Message,
    /// `level` is the place of its boundary, as long as it has not `ended`: what follows then is its epilogue.
    Multipart {
        level: usize,
        is_digest: bool,
        children: Vec<usize>,
        ended: bool,
    },
}

impl Default for Outliner {
    fn default() -> Self {
        Self::new()
    }
}

impl Outliner {
    /// At the beginning of a message.
    pub fn new() -> Self {
        Self {
            end: Place::default(),
            line: Line::default(),
            header: Some(Box::new(Begun::new(Place::default(), false, true))),
            open: Vec::new(),
            boundaries: Vec::new(),
            entities: Vec::new(),
            room: ROOM,
            parameter_room: PARAMETERS,
        }
    }

    /// How long the message's own header block is, with its empty line, once that has come.
    pub fn header_length(&self) -> Option<u64> {
        self.entities.first().map(|message| message.header.end)
    }

    /// Takes the message's next octets.
    pub fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            if self.header.is_none() && !self.sees_boundaries() {
                // Nothing can begin any more.
                self.end.octets += rest.len() as u64;
                self.end.lines += memchr::memchr_iter(b'\n', rest).count() as u64;
                return;
            }
            let newline = memchr::memchr(b'\n', rest);
            let (piece, more) = rest.split_at(newline.map_or(rest.len(), |at| at + 1));
            rest = more;
            self.end.octets += piece.len() as u64;
            self.line.take(piece);
            if let Some(header) = &mut self.header {
                header.take(piece, &mut self.room);
            }
            if newline.is_some() {
                self.end.lines += 1;
                self.end_line();
                self.line.next(self.end);
            }
        }
    }

    /// The message is complete.
    pub fn finish(mut self) -> Outline<'static> {
        if self.line.has_begun() {
            self.end_line();
        }
        if self.header.is_some() {
            self.end_header(self.end, true);
        }
        while let Some(open) = self.open.pop() {
            self.close(open, self.end);
        }
        Outline { entities: self.entities }
    }

    fn is_full(&self) -> bool {
        self.entities.len() >= MAX_PARTS
    }

    fn sees_boundaries(&self) -> bool {
        !self.boundaries.is_empty() && !self.is_full()
    }

    fn end_line(&mut self) {
        if self.header.is_some() && self.line.is_empty() {
            return self.end_header(self.end, false);
        }
        if self.sees_boundaries()
            && let Some((level, closing)) = self.line.boundary(&self.boundaries)
        {
            self.meet(level, closing);
        }
    }

    /// A header ends; `early` without an empty line, at a boundary or the message's end.
    fn end_header(&mut self, body: Place, early: bool) {
        let Some(mut header) = self.header.take() else { return };
        header.end_field(&mut self.room);
        let raw = header.content_type.as_deref();
        let (mut media_type, declared) = declare(raw, header.in_digest, &mut self.parameter_room);
        let is_digest = media_type.is("multipart", "digest");
        let may_nest = !early && self.open.len() < MAX_DEPTH;
        let inner = match declared {
            Declared::Multipart(boundary) if may_nest => {
                self.boundaries.push(boundary);
                let level = self.boundaries.len() - 1;
                Inner::Multipart { level, is_digest, children: Vec::new(), ended: false }
            }
            Declared::Message if may_nest => Inner::Message,
            Declared::Leaf => Inner::Leaf,
            Declared::Multipart(_) | Declared::Message => {
                media_type = MediaType::bare("APPLICATION", "OCTET-STREAM");
                Inner::Leaf
            }
        };
        let nests = matches!(inner, Inner::Message);
        self.open.push(Open { place: self.entities.len(), body, inner });
        self.entities.push(Entity {
            header: header.start.octets..body.octets,
            body: body.octets..body.octets,
            kind: PartKind::Leaf,
            media_type: Cow::Owned(media_type),
            lines: 0,
            kept: header.kept,
        });
        if nests {
            self.begin(body, false);
        }
    }

    fn begin(&mut self, start: Place, in_digest: bool) {
        let is_message = matches!(self.open.last(), Some(Open { inner: Inner::Message, .. }));
        self.header = Some(Box::new(Begun::new(start, in_digest, is_message)));
    }

    /// The line is a boundary: everything within its multipart ends before it.
    fn meet(&mut self, wanted: usize, closing: bool) {
        self.end_header(self.line.start, true);
        while let Some(open) = self.open.pop() {
            match open.inner {
                Inner::Multipart { level, is_digest, mut children, ended: false }
                    if level == wanted =>
                {
                    let ended = closing || self.is_full();
                    if ended {
                        self.boundaries.truncate(level);
                    } else {
                        children.push(self.entities.len());
                    }
                    let inner = Inner::Multipart { level, is_digest, children, ended };
                    self.open.push(Open { inner, ..open });
                    if !ended {
                        self.begin(self.end, is_digest);
                    }
                    return;
                }
                _ => {
                    let end = self.line.end_before(open.body);
                    self.close(open, end);
                }
            }
        }
    }

    fn close(&mut self, open: Open, end: Place) {
        let entity = &mut self.entities[open.place];
        entity.body.end = end.octets;
        entity.kind = match open.inner {
            Inner::Leaf => PartKind::Leaf,
            // It is the next one that was read.
            Inner::Message => PartKind::Message(open.place + 1),
            Inner::Multipart { level, children, .. } => {
                self.boundaries.truncate(level);
                if children.is_empty() { PartKind::Leaf } else { PartKind::Multipart(children) }
            }
        };
        if entity.kind == PartKind::Leaf && entity.media_type.is("multipart", "*") {
            // No boundary, or none of its lines: better shown as text than not at all.
            entity.media_type = Cow::Owned(MediaType::plain());
        }
        if counts_lines(&entity.kind, &entity.media_type) {
            entity.lines = end.lines - open.body.lines;
        }
    }
}
