//! The header section of a raw message (RFC 5322 §2.2), octet by octet as it is.
//!
//! For what SMTP and relays do: count, find, take away and put in whole fields. Nothing is decoded, and what is not
//! changed stays as it was. Lines may end in LF alone here, since a message may come from elsewhere than SMTP.
//! A line that is no field, such as mbox's `From `, is given out as a field without a name and does not end the
//! section: only an empty line does, so that no field can hide behind a broken one.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// One field, continuation lines included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name without the colon; empty for a line that is no field.
    pub name: &'a [u8],
    /// What stands behind the colon, white space, folds and the last line end included.
    pub raw_value: &'a [u8],
    /// Where the whole field stands in the message, from its name to behind its last line end.
    pub range: Range<usize>,
}

impl<'a> Field<'a> {
    /// Whether the field has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value unfolded (RFC 5322 §2.2.3: line ends removed, nothing else) and without white space around it.
    pub fn value(&self) -> Cow<'a, [u8]> {
        let value = self.raw_value.trim_ascii();
        if memchr(b'\n', value).is_none() {
            return Cow::Borrowed(value);
        }
        let mut unfolded = Vec::with_capacity(value.len());
        for line in value.split_inclusive(|byte| *byte == b'\n') {
            unfolded.extend_from_slice(strip_line_end(line));
        }
        Cow::Owned(unfolded)
    }
}

/// The fields of a message, in their order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

/// The fields of a message's header section, found without allocation.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = &self.message[self.at..];
        let mut end = line_length(rest);
        if strip_line_end(&rest[..end]).is_empty() {
            return None;
        }
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += line_length(&rest[end..]);
        }
        let whole = &rest[..end];
        let range = self.at..self.at + end;
        self.at += end;
        let (name, raw_value) = split_name(whole).unwrap_or((&[], whole));
        Some(Field { name, raw_value, range })
    }
}

/// Length of the first line with its LF.
fn line_length(rest: &[u8]) -> usize {
    memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1)
}

fn strip_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Printable ASCII without the colon, then perhaps white space (RFC 5322 §4.5), then the colon.
fn split_name(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', field)?;
    let name = field[..colon].trim_ascii_end();
    let valid = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    valid.then(|| (name, &field[colon + 1..]))
}

/// Length of the header section without the empty line behind it.
pub fn section_length(message: &[u8]) -> usize {
    let mut fields = fields(message);
    fields.by_ref().for_each(drop);
    fields.at
}

/// Where the body begins: behind the empty line, or at the end if there is none.
pub fn body_start(message: &[u8]) -> usize {
    let section = section_length(message);
    section + line_length(&message[section..])
}

/// The first field of this name.
pub fn find<'a>(message: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(message).find(|field| field.is(name))
}

/// How many fields of this name there are.
pub fn count(message: &[u8], name: &str) -> usize {
    fields(message).filter(|field| field.is(name)).count()
}

/// How many hops have left a Received field (RFC 5321 §6.3).
pub fn received_count(message: &[u8]) -> usize {
    count(message, "Received")
}

/// The values of all Delivered-To fields.
pub fn delivered_to(message: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    fields(message).filter(|field| field.is("Delivered-To")).map(|field| field.value())
}

/// Whether the header section has an octet above 127, which only SMTPUTF8 allows (RFC 6532).
pub fn has_eight_bit(message: &[u8]) -> bool {
    !message[..section_length(message)].is_ascii()
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// These octets take its place; they must be whole fields with their line ends, or nothing.
    Replace(Vec<u8>),
}

/// Lets `decide` look at each field. The message itself is given back if every field is kept.
pub fn edit<'a>(message: &'a [u8], mut decide: impl FnMut(&Field<'a>) -> Edit) -> Cow<'a, [u8]> {
    let mut edited: Option<Vec<u8>> = None;
    let mut done = 0;
    for field in fields(message) {
        let new = match decide(&field) {
            Edit::Keep => continue,
            Edit::Remove => Vec::new(),
            Edit::Replace(new) => new,
        };
        let edited = edited.get_or_insert_with(|| Vec::with_capacity(message.len() + new.len()));
        edited.extend_from_slice(&message[done..field.range.start]);
        edited.extend_from_slice(&new);
        done = field.range.end;
    }
    match edited {
        None => Cow::Borrowed(message),
        Some(mut edited) => {
            edited.extend_from_slice(&message[done..]);
            Cow::Owned(edited)
        }
    }
}

/// The message without the fields for which `matches` is true.
pub fn remove<'a>(message: &'a [u8], mut matches: impl FnMut(&Field<'a>) -> bool) -> Cow<'a, [u8]> {
    edit(message, |field| if matches(field) { Edit::Remove } else { Edit::Keep })
}

/// Lines are folded to this length where they can be (RFC 5322 §2.1.1), without CRLF.
const FOLD_AT: usize = 78;

/// Appends `name: value` CRLF, folded at spaces so that lines have at most 78 octets if the words allow. Line ends and
/// other control characters in the value become spaces, so it cannot make a field of its own; a run of white space
/// stays as long as it is. A single word longer than a line stays whole.
pub fn fold(name: &str, value: &str, out: &mut Vec<u8>) {
    let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    let mut rest = value.trim_matches(' ');
    while !rest.is_empty() {
        // A word with the white space in front of it; the first has none in the value.
        let start = rest.find(|c| c != ' ').unwrap_or(rest.len());
        let end = rest[start..].find(' ').map_or(rest.len(), |space| start + space);
        let (piece, behind) = rest.split_at(end);
        let space = if start == 0 { " " } else { "" };
        if column + space.len() + piece.len() > FOLD_AT && column > name.len() + 1 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(space.as_bytes());
        out.extend_from_slice(piece.as_bytes());
        column += space.len() + piece.len();
        rest = behind;
    }
    out.extend_from_slice(b"\r\n");
}
