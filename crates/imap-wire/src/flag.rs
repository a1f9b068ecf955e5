//! Flags of messages (RFC 9051 §2.3.2) and uses of mailboxes (RFC 6154).

use crate::scan::{Scanned, Scanner, is_atom_char, syntax};
use std::fmt;

/// A message flag as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// `\Recent`: IMAP4rev1 only, and never set by a client; a frontend drops it from STORE and APPEND.
    Recent,
    /// A keyword, an atom such as `$Forwarded`. Case is kept; keywords match case-insensitively.
    Keyword(String),
    /// Another flag with a backslash; the name is without it. None is defined: a frontend refuses or drops it.
    Extension(String),
}

impl Flag {
    /// The flag of a name with its backslash (`\Seen`) or of a keyword; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let mut scanner = Scanner::new(text.as_bytes(), 1);
        let flag = scan(&mut scanner).ok()?;
        scanner.finish().ok().map(|()| flag)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Seen => "\\Seen",
            Self::Draft => "\\Draft",
            Self::Recent => "\\Recent",
            Self::Keyword(name) => name,
            Self::Extension(name) => return write!(f, "\\{name}"),
        })
    }
}

/// One flag.
pub(crate) fn scan(scanner: &mut Scanner<'_>) -> Scanned<Flag> {
    if !scanner.eat(b'\\') {
        return scanner.atom().map(|name| Flag::Keyword(name.to_owned()));
    }
    let name = scanner.atom()?;
    Ok(match name.to_ascii_uppercase().as_str() {
        "ANSWERED" => Flag::Answered,
        "FLAGGED" => Flag::Flagged,
        "DELETED" => Flag::Deleted,
        "SEEN" => Flag::Seen,
        "DRAFT" => Flag::Draft,
        "RECENT" => Flag::Recent,
        _ => Flag::Extension(name.to_owned()),
    })
}

/// `flag-list`, or flags without parentheses as STORE allows them.
pub(crate) fn scan_many(scanner: &mut Scanner<'_>) -> Scanned<Vec<Flag>> {
    if scanner.peek() == Some(b'(') {
        return scanner.list(scan);
    }
    let mut flags = vec![scan(scanner)?];
    while scanner.eat(b' ') {
        flags.push(scan(scanner)?);
    }
    Ok(flags)
}

/// What a mailbox is for (RFC 6154 §2, `\Important` of RFC 8457).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important`
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    const ALL: [Self; 8] = [
        Self::All,
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Important,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// The attribute with its backslash, as in LIST.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// The use of an attribute with its backslash, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A use in CREATE's `USE (…)`; `Err` carries nothing, the frontend answers NO `[USEATTR]` for `None`.
pub(crate) fn scan_use(scanner: &mut Scanner<'_>) -> Scanned<Option<SpecialUse>> {
    if scanner.peek() != Some(b'\\') {
        return syntax("a special-use attribute is missing");
    }
    scanner.eat(b'\\');
    let name = scanner.take_while(is_atom_char);
    let name = std::str::from_utf8(name).unwrap_or_default();
    Ok(SpecialUse::parse(&format!("\\{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_parse_and_print() {
        for (text, flag) in [
            ("\\Seen", Flag::Seen),
            ("\\Answered", Flag::Answered),
            ("$Forwarded", Flag::Keyword("$Forwarded".into())),
            ("\\XFoo", Flag::Extension("XFoo".into())),
        ] {
            assert_eq!(Flag::parse(text), Some(flag.clone()));
            assert_eq!(flag.to_string(), text);
        }
        assert_eq!(Flag::parse("\\sEEn"), Some(Flag::Seen));
        for bad in ["", "\\", "a b", "a]", "(x", "\\Seen x", "*", "\\*"] {
            assert_eq!(Flag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn special_uses_match_in_any_case() {
        assert_eq!(SpecialUse::parse("\\sent"), Some(SpecialUse::Sent));
        assert_eq!(SpecialUse::parse("Sent"), None);
        for one in SpecialUse::ALL {
            assert_eq!(SpecialUse::parse(one.as_str()), Some(one));
        }
    }
}
