//! Structured values: Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, RFC 2183), as they
//! stand. RFC 2231 continuations stay separate parameters here; [`crate::text`] joins and decodes them.

use super::header::unfold;

/// The most parameters that are kept of one value.
const MAX_PARAMETERS: usize = 200;

/// A type or subtype has at most 127 characters (RFC 6838 §4.2).
const LONGEST_TYPE: usize = 127;

/// A value such as `text/plain; charset=utf-8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// What stands before the first `;`, without comments.
    pub main: Vec<u8>,
    /// Names as written, values without quotes and escapes.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Value {
    /// Reads a raw field value.
    pub fn parse(raw: &[u8]) -> Self {
        let line = unfold(raw);
        let mut cursor = Cursor { rest: &line };
        let main = cursor.token(b";");
        let mut parameters = Vec::new();
        while !cursor.rest.is_empty() && parameters.len() < MAX_PARAMETERS {
            cursor.rest = &cursor.rest[1..];
            let name = cursor.token(b"=;");
            if cursor.rest.first() == Some(&b'=') {
                cursor.rest = &cursor.rest[1..];
                let value = cursor.token(b";");
                if !name.is_empty() {
                    parameters.push((name, value));
                }
            }
        }
        Self { main, parameters }
    }

    /// The first parameter of that name, any case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .parameters
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// A media type. What is malformed reads as `text/plain` (RFC 2045 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// As written.
    pub kind: Vec<u8>,
    /// As written.
    pub subtype: Vec<u8>,
    /// The parameters.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl MediaType {
    /// `text/plain; charset=us-ascii`, the default.
    pub fn plain() -> Self {
        let charset = (b"CHARSET".to_vec(), b"US-ASCII".to_vec());
        Self { kind: b"TEXT".to_vec(), subtype: b"PLAIN".to_vec(), parameters: vec![charset] }
    }

    /// A type without parameters.
    pub fn bare(kind: &str, subtype: &str) -> Self {
        Self { kind: kind.into(), subtype: subtype.into(), parameters: Vec::new() }
    }

    /// Reads a raw Content-Type value.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let value = Value::parse(raw);
        let slash = memchr::memchr(b'/', &value.main)?;
        let (kind, subtype) =
            (value.main[..slash].trim_ascii(), value.main[slash + 1..].trim_ascii());
        let fits = |name: &[u8]| name.len() <= LONGEST_TYPE && is_token(name);
        let tokens = fits(kind) && fits(subtype);
        tokens.then(|| Self {
            kind: kind.to_vec(),
            subtype: subtype.to_vec(),
            parameters: value.parameters,
        })
    }

    /// Whether it is that type, whatever its case; `*` as the subtype stands for any.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && (subtype == "*" || self.subtype.eq_ignore_ascii_case(subtype.as_bytes()))
    }

    /// The first parameter of that name, any case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .parameters
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// `token` of RFC 2045 §5.1.
pub(crate) fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty()
        && octets
            .iter()
            .all(|octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(octet))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    /// Everything up to one of `stops` outside quotes and comments; quotes undone, comments dropped, trimmed.
    /// Unquoted white space inside is kept: `filename=My letter.pdf` is common.
    fn token(&mut self, stops: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // What the quotes protect from trimming.
        let mut kept = 0;
        while let Some((&first, tail)) = self.rest.split_first() {
            if stops.contains(&first) {
                break;
            }
            self.rest = tail;
            match first {
                b'"' => {
                    if out.iter().all(u8::is_ascii_whitespace) {
                        out.clear();
                    }
                    self.quoted(&mut out);
                    kept = out.len();
                }
                b'(' => self.comment(),
                octet if out.is_empty() && octet.is_ascii_whitespace() => {}
                octet => out.push(octet),
            }
        }
        let end = out.trim_ascii_end().len().max(kept);
        out.truncate(end);
        out
    }

    fn quoted(&mut self, out: &mut Vec<u8>) {
        while let Some((&first, tail)) = self.rest.split_first() {
            self.rest = tail;
            match (first, tail.split_first()) {
                (b'"', _) => return,
                (b'\\', Some((&escaped, tail))) => {
                    out.push(escaped);
                    self.rest = tail;
                }
                (octet, _) => out.push(octet),
            }
        }
    }

    fn comment(&mut self) {
        self.rest = &self.rest[comment_length(self.rest)..];
    }
}

/// How long a comment is whose `(` was taken already, with its `)`; comments nest (RFC 5322 §3.2.2).
pub(crate) fn comment_length(octets: &[u8]) -> usize {
    let mut depth = 1usize;
    let mut escaped = false;
    for (at, octet) in octets.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(raw: &str) -> String {
        let value = Value::parse(raw.as_bytes());
        let parameters = value.parameters.iter().map(|(name, value)| {
            format!(";{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        });
        String::from_utf8_lossy(&value.main).into_owned() + &parameters.collect::<String>()
    }

    #[test]
    fn values_and_parameters() {
        assert_eq!(
            show(" text/plain; charset=us-ascii (Plain text)"),
            "text/plain;charset=us-ascii"
        );
        assert_eq!(
            show("text/plain;\r\n\tcharset=\"utf-8\" ; x=\"a;\\\"b\""),
            "text/plain;charset=utf-8;x=a;\"b"
        );
        assert_eq!(
            show("attachment; filename=My letter.pdf;"),
            "attachment;filename=My letter.pdf"
        );
        assert_eq!(show("a; b; c=; =d; e=\" f \""), "a;c=;e= f ");
        assert_eq!(show("a; b=\"open"), "a;b=open");
        assert_eq!(show("a (b (c) \\) d) ; x*0*=utf-8''%e2; x*1=y"), "a;x*0*=utf-8''%e2;x*1=y");
        assert_eq!(show(""), "");
    }

    #[test]
    fn media_types() {
        assert!(
            MediaType::parse(b" Multipart/MIXED; boundary=x").unwrap().is("multipart", "mixed")
        );
        for bad in ["text", "/", "text/", "/plain", "te xt/plain", ""] {
            assert_eq!(MediaType::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
