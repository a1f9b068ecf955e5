//! Names of folders: UTF-8, `/` between levels, INBOX in any case.
//!
//! Modified UTF-7 is the frontend's affair. A name is kept in Unicode form NFC (RFC 9051 §5.1 asks for
//! Net-Unicode), so that two spellings of one name are one folder.

use unicode_normalization::UnicodeNormalization;

/// What stands between the levels of a name.
pub const SEPARATOR: char = '/';
/// The name of the folder where mail arrives.
pub const INBOX: &str = "INBOX";
/// How many levels a name may have.
pub const MAX_DEPTH: usize = 20;
/// How many octets a level may have.
pub const MAX_PART: usize = 255;

/// Why a text is no folder name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing between two separators.
    #[error("an empty level")]
    Empty,
    /// A control character, a line or paragraph separator, or U+FFFD.
    #[error("a character that is not allowed")]
    Character,
    /// A level longer than [`MAX_PART`] octets.
    #[error("a level longer than 255 octets")]
    TooLong,
    /// More than [`MAX_DEPTH`] levels.
    #[error("more than 20 levels")]
    TooDeep,
}

/// The name in the form in which it is stored and compared: NFC, one trailing `/` dropped, INBOX in capitals
/// as a name and as the first level of one.
pub fn normalise(name: &str) -> Result<String, NameError> {
    let name = name.strip_suffix(SEPARATOR).unwrap_or(name);
    let name: String = name.nfc().collect();
    let mut parts: Vec<&str> = name.split(SEPARATOR).collect();
    if parts.len() > MAX_DEPTH {
        return Err(NameError::TooDeep);
    }
    for part in &parts {
        check_part(part)?;
    }
    if parts[0].eq_ignore_ascii_case(INBOX) {
        parts[0] = INBOX;
    }
    Ok(parts.join("/"))
}

fn check_part(part: &str) -> Result<(), NameError> {
    if part.is_empty() {
        return Err(NameError::Empty);
    }
    if part.len() > MAX_PART {
        return Err(NameError::TooLong);
    }
    // RFC 9051 §5.1: no control characters, U+2028 or U+2029; U+FFFD is a text that was lost already.
    if part.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffd}')) {
        return Err(NameError::Character);
    }
    Ok(())
}

/// The names above this one, the highest first: "a/b/c" has "a" and "a/b".
pub fn superiors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(SEPARATOR).map(|(at, _)| &name[..at])
}

/// Whether `name` lies under `above`.
pub fn is_inferior(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_in_any_case() {
        assert_eq!(normalise("inBox").unwrap(), "INBOX");
        assert_eq!(normalise("Inbox/Lists/").unwrap(), "INBOX/Lists");
        assert_eq!(normalise("Inboxes").unwrap(), "Inboxes");
        assert_eq!(normalise("a/inbox").unwrap(), "a/inbox");
    }

    #[test]
    fn two_spellings_are_one_name() {
        assert_eq!(normalise("Entwu\u{308}rfe").unwrap(), "Entw\u{fc}rfe");
    }

    #[test]
    fn what_is_refused() {
        for (name, error) in [
            ("", NameError::Empty),
            ("/", NameError::Empty),
            ("/a", NameError::Empty),
            ("a//b", NameError::Empty),
            ("a//", NameError::Empty),
            ("a\r\nb", NameError::Character),
            ("a\0", NameError::Character),
            ("a\u{2028}", NameError::Character),
        ] {
            assert_eq!(normalise(name), Err(error), "{name:?}");
        }
        assert_eq!(normalise(&"x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(normalise(&["a"; 21].join("/")), Err(NameError::TooDeep));
        assert!(normalise(&["a"; 20].join("/")).is_ok());
        assert!(normalise(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn above_and_below() {
        assert_eq!(superiors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(superiors("a").count(), 0);
        assert!(is_inferior("a/b", "a") && !is_inferior("ab", "a") && !is_inferior("a", "a"));
    }
}
