//! The part before the `@`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::AddressError;

/// The part before the `@`, decoded: without quotes and backslashes, its case kept. Equality is octet by octet;
/// to compare as this server does, use [`canonical`](Self::canonical). Cloning copies a pointer.
///
/// `Display` and `FromStr` use the form of the wire, with quotes where RFC 5321 §4.1.2 needs them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart(Arc<str>);

impl LocalPart {
    /// The longest decoded local part, in octets of UTF-8. RFC 5321 §4.5.3.1.1 asks servers to take 64; reverse-paths
    /// that carry another address within them (VERP, SRS) are often longer, and their mail is not to be refused.
    pub const MAX_OCTETS: usize = 128;

    /// Reads the form of the wire: a dot-string or a quoted-string, non-ASCII included (RFC 6531 §3.3).
    ///
    /// # Errors
    /// `LocalPartEmpty`, `LocalPartTooLong` or `LocalPartSyntax`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with('"') {
            if text.len() > Self::MAX_OCTETS {
                return Err(AddressError::LocalPartTooLong);
            }
            if text.is_empty() {
                return Err(AddressError::LocalPartEmpty);
            }
            return if is_dot_string(text) {
                Ok(Self(text.into()))
            } else {
                Err(AddressError::LocalPartSyntax)
            };
        }
        match split_quoted(text)? {
            (local, "") => Ok(local),
            _ => Err(AddressError::LocalPartSyntax),
        }
    }

    /// Takes text that is decoded already, as a person types it into a form: `john doe` needs no quotes here.
    ///
    /// # Errors
    /// `LocalPartEmpty`, `LocalPartTooLong`, or `LocalPartSyntax` for control characters.
    pub fn from_decoded(text: &str) -> Result<Self, AddressError> {
        match text.len() {
            0 => Err(AddressError::LocalPartEmpty),
            1..=Self::MAX_OCTETS if !text.chars().any(char::is_control) => Ok(Self(text.into())),
            1..=Self::MAX_OCTETS => Err(AddressError::LocalPartSyntax),
            _ => Err(AddressError::LocalPartTooLong),
        }
    }

    /// The decoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form by which this server compares: Unicode NFC, lower case. Idempotent.
    pub fn canonical(&self) -> String {
        if self.0.is_ascii() {
            return self.0.to_ascii_lowercase();
        }
        // Lower case can undo the composition (U+0130 becomes two characters), hence NFC on both sides.
        let lower = self.0.nfc().collect::<String>().to_lowercase();
        lower.nfc().collect()
    }

    /// What stands before the first `+` (the mailbox of a subaddress, RFC 5233), else everything.
    pub fn base(&self) -> &str {
        self.subaddress().map_or(&self.0, |(base, _)| base)
    }

    /// What stands behind the first `+`, if there is one with something before it. May be empty.
    pub fn detail(&self) -> Option<&str> {
        self.subaddress().map(|(_, detail)| detail)
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    fn subaddress(&self) -> Option<(&str, &str)> {
        self.0.split_once('+').filter(|(base, _)| !base.is_empty())
    }

    /// The form of the wire.
    fn encoded(&self) -> Cow<'_, str> {
        if is_dot_string(&self.0) {
            return Cow::Borrowed(&self.0);
        }
        let mut quoted = String::with_capacity(self.0.len() + 4);
        quoted.push('"');
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        Cow::Owned(quoted)
    }
}

/// Reads the quoted-string at the beginning of `text`; gives it decoded, and the rest of the text.
pub(crate) fn split_quoted(text: &str) -> Result<(LocalPart, &str), AddressError> {
    let inner = text.strip_prefix('"').ok_or(AddressError::LocalPartSyntax)?;
    let mut decoded = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        let c = match c {
            '"' => {
                let local = LocalPart::from_decoded(&decoded)?;
                return Ok((local, &inner[at + 1..]));
            }
            // quoted-pairSMTP covers printable ASCII only.
            '\\' => match chars.next() {
                Some((_, escaped @ ' '..='~')) => escaped,
                _ => return Err(AddressError::LocalPartSyntax),
            },
            c => c,
        };
        if decoded.len() + c.len_utf8() > LocalPart::MAX_OCTETS {
            return Err(AddressError::LocalPartTooLong);
        }
        decoded.push(c);
    }
    Err(AddressError::LocalPartSyntax)
}

/// `Atom *("." Atom)`.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 §3.2.3 `atext` with RFC 6531's `UTF8-non-ascii`; C1 controls are in no grammar's interest.
fn is_atext(c: char) -> bool {
    match c {
        '\0'..='\x7f' => c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c),
        _ => !c.is_control(),
    }
}

impl FromStr for LocalPart {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.encoded())
    }
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalPart({})", self.encoded())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn local(text: &str) -> LocalPart {
        LocalPart::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn dot_strings() {
        for text in ["a", "a.b", "!#$%&'*+-/=?^_`{|}~", "Jöran", "δοκιμή", "0", "-"] {
            assert_eq!(local(text).as_str(), text);
            assert_eq!(local(text).to_string(), text);
        }
        for text in [
            ".a", "a.", "a..b", "a b", "a@b", "a\"b", "a\\b", "a,b", "a(b)", "a<b", "a\tb",
            "a\u{85}b", "a:b",
        ] {
            assert_eq!(LocalPart::parse(text), Err(AddressError::LocalPartSyntax), "{text:?}");
        }
        assert_eq!(LocalPart::parse(""), Err(AddressError::LocalPartEmpty));
    }

    #[test]
    fn quoted_strings_are_decoded_and_quoted_only_where_needed() {
        assert_eq!(local(r#""john doe""#).as_str(), "john doe");
        assert_eq!(local(r#""john doe""#).to_string(), r#""john doe""#);
        assert_eq!(local(r#""a\"b\\c""#).as_str(), r#"a"b\c"#);
        assert_eq!(local(r#""a\"b\\c""#).to_string(), r#""a\"b\\c""#);
        assert_eq!(local(r#""\j\o\h\n""#), local("john"));
        assert_eq!(local(r#""a..b""#).to_string(), r#""a..b""#);
        assert_eq!(local(r#""a@b""#).as_str(), "a@b");
        for text in [
            r#"""#,
            r#""a"#,
            r#""a\""#,
            "\"a\nb\"",
            "\"a\\\nb\"",
            "\"\\ü\"",
            r#""a"b"#,
            r#""a"."b""#,
        ] {
            assert_eq!(LocalPart::parse(text), Err(AddressError::LocalPartSyntax), "{text:?}");
        }
        assert_eq!(LocalPart::parse(r#""""#), Err(AddressError::LocalPartEmpty));
    }

    #[test]
    fn length_counts_decoded_octets() {
        assert!(LocalPart::parse(&"a".repeat(128)).is_ok());
        assert_eq!(LocalPart::parse(&"a".repeat(129)), Err(AddressError::LocalPartTooLong));
        assert_eq!(LocalPart::parse(&"ä".repeat(65)), Err(AddressError::LocalPartTooLong));
        assert!(LocalPart::parse(&format!("\"{}\"", "\\ ".repeat(128))).is_ok());
        assert_eq!(
            LocalPart::parse(&format!("\"{}\"", " ".repeat(129))),
            Err(AddressError::LocalPartTooLong)
        );
    }

    #[test]
    fn equality_keeps_case_and_canonical_does_not() {
        assert_ne!(local("John"), local("john"));
        assert_eq!(local("John").canonical(), "john");
        assert_eq!(local("JO\u{308}RAN").canonical(), "j\u{f6}ran");
    }

    #[test]
    fn subaddress() {
        assert_eq!((local("a+b+c").base(), local("a+b+c").detail()), ("a", Some("b+c")));
        assert_eq!((local("a+").base(), local("a+").detail()), ("a", Some("")));
        assert_eq!((local("+a").base(), local("+a").detail()), ("+a", None));
        assert_eq!((local("a").base(), local("a").detail()), ("a", None));
    }

    proptest! {
        #[test]
        fn wire_form_round_trips(text in "[ -~äσΣİı€]{1,20}") {
            let part = LocalPart::from_decoded(&text).unwrap();
            prop_assert_eq!(LocalPart::parse(&part.to_string()).unwrap(), part);
        }

        #[test]
        fn canonical_is_idempotent(text in "\\PC{1,12}") {
            if let Ok(part) = LocalPart::from_decoded(&text) {
                let once = part.canonical();
                if let Ok(again) = LocalPart::from_decoded(&once) {
                    prop_assert_eq!(again.canonical(), once);
                }
            }
        }
    }
}
