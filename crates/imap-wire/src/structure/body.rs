//! BODY and BODYSTRUCTURE.

use super::envelope;
use super::outline::{Entity, Outline};
use crate::mime::PartKind;
use crate::mime::header::unfold;
use crate::mime::value::{Value, is_token};
use crate::response::{nstring, put, string};

/// The fields of a part's header that the structure tells.
struct Described<'a> {
    id: Option<&'a [u8]>,
    description: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    md5: Option<&'a [u8]>,
    disposition: Option<&'a [u8]>,
    language: Option<&'a [u8]>,
    location: Option<&'a [u8]>,
}

impl<'a> Described<'a> {
    fn read(part: &'a Entity<'_>) -> Self {
        let [id, description, encoding, md5, disposition, language, location] =
            part.kept.described();
        Self { id, description, encoding, md5, disposition, language, location }
    }
}

pub(super) fn write(outline: &Outline<'_>, extended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(message) = outline.entities.first() {
        Writer { parts: &outline.entities, extended, out: &mut out }.part(message);
    }
    out
}

struct Writer<'t, 'a, 'o> {
    parts: &'t [Entity<'a>],
    extended: bool,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_, '_> {
    /// `body`; recursion is as deep as the tree, which is limited.
    fn part(&mut self, part: &Entity<'_>) {
        let described = Described::read(part);
        self.out.push(b'(');
        match &part.kind {
            PartKind::Multipart(children) => self.multipart(part, children, &described),
            PartKind::Message(inner) => {
                self.basic(part, &described);
                let inner = &self.parts[*inner];
                self.out.push(b' ');
                envelope::write(self.out, inner.kept.envelope());
                self.out.push(b' ');
                self.part(inner);
                self.lines(part);
                self.single_extension(&described);
            }
            PartKind::Leaf => {
                self.basic(part, &described);
                if part.media_type.is("text", "*") {
                    self.lines(part);
                }
                self.single_extension(&described);
            }
        }
        self.out.push(b')');
    }

    fn multipart(&mut self, part: &Entity<'_>, children: &[usize], described: &Described<'_>) {
        for child in children {
            self.part(&self.parts[*child]);
        }
        self.out.push(b' ');
        string(self.out, &part.media_type.subtype);
        if self.extended {
            self.out.push(b' ');
            self.parameters(&part.media_type.parameters);
            self.common_extension(described);
        }
    }

    /// Type, subtype and body-fields.
    fn basic(&mut self, part: &Entity<'_>, described: &Described<'_>) {
        string(self.out, &part.media_type.kind);
        self.out.push(b' ');
        string(self.out, &part.media_type.subtype);
        self.out.push(b' ');
        self.parameters(&part.media_type.parameters);
        self.text(described.id);
        self.text(described.description);
        self.out.push(b' ');
        let encoding =
            described.encoding.map(Value::parse).map(|value| value.main).unwrap_or_default();
        string(self.out, if is_token(&encoding) { &encoding } else { b"7BIT" });
        put(self.out, format_args!(" {}", part.body.end - part.body.start));
    }

    /// How many lines the body has: its LFs, as line-based clients and other servers count.
    fn lines(&mut self, part: &Entity<'_>) {
        put(self.out, format_args!(" {}", part.lines));
    }

    /// `SP nstring`
    fn text(&mut self, value: Option<&[u8]>) {
        self.out.push(b' ');
        nstring(self.out, value.map(unfold).as_deref());
    }

    /// `("name" "value" …)`, or NIL for none.
    fn parameters(&mut self, parameters: &[(Vec<u8>, Vec<u8>)]) {
        if parameters.is_empty() {
            return self.out.extend_from_slice(b"NIL");
        }
        for (index, (name, value)) in parameters.iter().enumerate() {
            self.out.push(if index == 0 { b'(' } else { b' ' });
            string(self.out, name);
            self.out.push(b' ');
            string(self.out, value);
        }
        self.out.push(b')');
    }

    fn single_extension(&mut self, described: &Described<'_>) {
        if self.extended {
            self.text(described.md5);
            self.common_extension(described);
        }
    }

    /// Disposition, language and location.
    fn common_extension(&mut self, described: &Described<'_>) {
        self.out.push(b' ');
        match described.disposition.map(Value::parse) {
            Some(value) if !value.main.is_empty() => {
                self.out.push(b'(');
                string(self.out, &value.main);
                self.out.push(b' ');
                self.parameters(&value.parameters);
                self.out.push(b')');
            }
            _ => self.out.extend_from_slice(b"NIL"),
        }
        self.out.push(b' ');
        self.languages(described.language);
        self.text(described.location);
    }

    /// One language is a string, several are a list (RFC 9051 §9 `body-fld-lang`).
    fn languages(&mut self, value: Option<&[u8]>) {
        let line = value.map(unfold).unwrap_or_default();
        let tags: Vec<&[u8]> = line
            .split(|octet| *octet == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|tag| !tag.is_empty())
            .take(100)
            .collect();
        match tags.as_slice() {
            [] => self.out.extend_from_slice(b"NIL"),
            [one] => string(self.out, one),
            many => {
                for (index, tag) in many.iter().enumerate() {
                    self.out.push(if index == 0 { b'(' } else { b' ' });
                    string(self.out, tag);
                }
                self.out.push(b')');
            }
        }
    }
}
