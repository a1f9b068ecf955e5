//! A header block that passes by: the fields that count are kept, all others are dropped as they come.

use std::borrow::Cow;

use super::line::Place;
use super::outline::{Kept, LONGEST_NAME};
use crate::mime::header::LONGEST_VALUE;

/// An entity whose header is being read.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) start: Place,
    pub(super) in_digest: bool,
    pub(super) kept: Kept<'static>,
    /// The raw value of the first one.
    pub(super) content_type: Option<Vec<u8>>,
    field: Field,
    /// What comes next begins a line.
    fresh: bool,
}

/// The field under way, as `crate::mime::header::fields` sees fields.
#[derive(Debug)]
enum Field {
    /// There was none yet.
    None,
    /// Its name as far as it has come; `gap` says that white space follows it.
    Name { name: Vec<u8>, gap: bool },
    /// A value that is wanted; `cut` says that more of it came than is kept.
    Value { name: Vec<u8>, value: Vec<u8>, cut: bool },
    /// One that nobody wants.
    Other,
}

impl Begun {
    pub(super) fn new(start: Place, in_digest: bool, is_message: bool) -> Self {
        let kept = Kept::new(is_message);
        Self { start, in_digest, kept, content_type: None, field: Field::None, fresh: true }
    }

    /// Takes more of a line; with its LF at the end, if that has come. `room` is for what is kept.
    pub(super) fn take(&mut self, octets: &[u8], room: &mut usize) {
        let (Some(first), Some(last)) = (octets.first(), octets.last()) else { return };
        if std::mem::replace(&mut self.fresh, *last == b'\n') {
            let folded = matches!(first, b' ' | b'\t');
            if !folded || matches!(self.field, Field::None) {
                self.end_field(room);
                self.field = match first {
                    b' ' | b'\t' | b':' => Field::Other,
                    _ => Field::Name { name: Vec::new(), gap: false },
                };
            }
        }
        let rest = self.take_name(octets);
        if let Field::Value { value, cut, .. } = &mut self.field {
            // Its line end may be among these.
            let left = (LONGEST_VALUE + 2).saturating_sub(value.len()).min(rest.len());
            value.extend_from_slice(&rest[..left]);
            *cut |= left < rest.len();
        }
    }

    /// Takes what belongs to the name; answers what follows its colon.
    fn take_name<'o>(&mut self, octets: &'o [u8]) -> &'o [u8] {
        let Field::Name { name, gap } = &mut self.field else { return octets };
        for (at, octet) in octets.iter().enumerate() {
            match octet {
                b':' => {
                    let name = std::mem::take(name);
                    let wanted = self.kept.wants(&name)
                        || self.content_type.is_none() && name == b"content-type";
                    self.field = if wanted {
                        Field::Value { name, value: Vec::new(), cut: false }
                    } else {
                        Field::Other
                    };
                    return &octets[at + 1..];
                }
                b'\n' => break,
                octet if octet.is_ascii_whitespace() => *gap = true,
                octet if !*gap && name.len() < LONGEST_NAME => {
                    name.push(octet.to_ascii_lowercase());
                }
                _ => break,
            }
            if at + 1 == octets.len() {
                return &[];
            }
        }
        self.field = Field::Other;
        &[]
    }

    /// The field is complete; it lies before what was taken last.
    pub(super) fn end_field(&mut self, room: &mut usize) {
        let Field::Value { name, mut value, cut } =
            std::mem::replace(&mut self.field, Field::Other)
        else {
            return;
        };
        if !cut && value.ends_with(b"\n") {
            value.pop();
            if value.ends_with(b"\r") {
                value.pop();
            }
        }
        value.truncate(LONGEST_VALUE);
        if name == b"content-type" {
            self.content_type = Some(value);
        } else {
            self.kept.offer(&name, || Cow::Owned(value), room);
        }
    }
}
