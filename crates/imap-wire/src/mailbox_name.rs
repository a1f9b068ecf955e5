//! Mailbox names: modified UTF-7 (RFC 3501 §5.1.3), UTF-8 (RFC 9051 §5.1, RFC 6855), INBOX, and LIST patterns.
//!
//! Unicode normalisation and what a name may hold (controls, empty levels) is left to the mailbox store.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// The hierarchy separator of this server.
pub const SEPARATOR: char = '/';

const ENGINE: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// How names stand on the wire of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameForm {
    /// IMAP4rev1 and no UTF8=ACCEPT: modified UTF-7.
    ModifiedUtf7,
    /// After ENABLE IMAP4rev2 or UTF8=ACCEPT: UTF-8.
    Utf8,
}

/// A mailbox name or LIST pattern as the client sent it, before its form is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxName(Vec<u8>);

impl MailboxName {
    /// The octets of an astring.
    pub fn from_wire(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets as sent.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The name in Unicode, with INBOX (any case; also as the first level of a name) as `INBOX`.
    /// `None` if the octets are not valid in this form; answer NO `[CANNOT]` or BAD.
    pub fn decode(&self, form: NameForm) -> Option<String> {
        self.decode_pattern(form).map(|name| canonical_inbox(&name))
    }

    /// The text in Unicode as it stands: LIST references and patterns, where INBOX matches by [`pattern_matches`].
    pub fn decode_pattern(&self, form: NameForm) -> Option<String> {
        // A client that sends 8-bit names without ENABLE means UTF-8; no modified UTF-7 name has such octets.
        if form == NameForm::Utf8 || !self.0.is_ascii() {
            return std::str::from_utf8(&self.0).ok().map(str::to_owned);
        }
        decode_modified_utf7(&self.0)
    }
}

/// `INBOX` in any case, alone or as the first level, becomes `INBOX`; other names stay.
pub fn canonical_inbox(name: &str) -> String {
    let level = name.split(SEPARATOR).next().unwrap_or_default();
    if level.eq_ignore_ascii_case("INBOX") {
        format!("INBOX{}", &name[level.len()..])
    } else {
        name.to_owned()
    }
}

/// The name in the form that goes to the wire, before quoting.
pub fn encode(name: &str, form: NameForm) -> String {
    match form {
        NameForm::Utf8 => name.to_owned(),
        NameForm::ModifiedUtf7 => encode_modified_utf7(name),
    }
}

/// RFC 3501 §5.1.3. Printable ASCII stands for itself, `&` is `&-`, all else is UTF-16 in modified base64.
pub fn encode_modified_utf7(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            flush(&mut out, &mut shifted);
            out.push(character);
            if character == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0u16; 2];
            shifted.extend(
                character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()),
            );
        }
    }
    flush(&mut out, &mut shifted);
    out
}

fn flush(out: &mut String, shifted: &mut Vec<u8>) {
    if !shifted.is_empty() {
        out.push('&');
        ENGINE.encode_string(&*shifted, out);
        out.push('-');
        shifted.clear();
    }
}

/// The reverse of [`encode_modified_utf7`]; `None` for what no encoder may produce: 8-bit octets, controls, an open
/// shift, lone surrogates, printable ASCII in base64, two shifts side by side.
pub fn decode_modified_utf7(octets: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(octets.len());
    let mut rest = octets;
    let mut after_shift = false;
    while let Some((&first, tail)) = rest.split_first() {
        if !matches!(first, b' '..=b'~') {
            return None;
        }
        if first != b'&' {
            out.push(char::from(first));
            rest = tail;
            after_shift = false;
            continue;
        }
        let end = memchr::memchr(b'-', tail)?;
        if end == 0 {
            out.push('&');
            after_shift = false;
        } else if after_shift {
            return None;
        } else {
            decode_shift(&tail[..end], &mut out)?;
            after_shift = true;
        }
        rest = &tail[end + 1..];
    }
    Some(out)
}

fn decode_shift(base64: &[u8], out: &mut String) -> Option<()> {
    let octets = ENGINE.decode(base64).ok()?;
    let (pairs, []) = octets.as_chunks::<2>() else { return None };
    for character in char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair))) {
        match character.ok()? {
            ' '..='~' => return None,
            other => out.push(other),
        }
    }
    Some(())
}

/// Whether `name` matches a LIST pattern (RFC 9051 §6.3.9): `*` any characters, `%` any but the separator.
///
/// Both are Unicode, `name` in its canonical form; a first level INBOX in the pattern matches in any case. The work is
/// at most the pattern's length plus the square of the name's.
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    let pattern = canonical_inbox(pattern);
    if pattern.chars().filter(|c| !is_wildcard(*c)).count() > name.chars().count() {
        return false;
    }
    let mut steps: Vec<char> = Vec::new();
    for step in pattern.chars() {
        match steps.last_mut() {
            // A run of wildcards is as good as its widest.
            Some(last) if is_wildcard(*last) && is_wildcard(step) => {
                *last = if step == '*' { step } else { *last }
            }
            _ => steps.push(step),
        }
    }
    // A row of the classic table: reachable[i] says that the first i characters of the name can be consumed.
    let name: Vec<char> = name.chars().collect();
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for wanted in steps {
        let mut next = vec![false; name.len() + 1];
        match wanted {
            '*' | '%' => {
                let mut open = false;
                for (index, slot) in next.iter_mut().enumerate() {
                    let crosses = index > 0 && wanted == '%' && name[index - 1] == SEPARATOR;
                    open = reachable[index] || (open && !crosses);
                    *slot = open;
                }
            }
            _ => {
                for (index, character) in name.iter().enumerate() {
                    next[index + 1] = reachable[index] && *character == wanted;
                }
            }
        }
        reachable = next;
    }
    reachable[name.len()]
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_examples() {
        let name = "~peter/mail/台北/日本語";
        assert_eq!(encode_modified_utf7(name), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(decode_modified_utf7(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(), Some(name));
        assert_eq!(encode_modified_utf7("A&B"), "A&-B");
        assert_eq!(decode_modified_utf7(b"A&-B").as_deref(), Some("A&B"));
        // RFC 3501: "&Jjo!" lacks the shift back, "&U,BTFw-&ZeVnLIqe-" has a superfluous shift.
        assert_eq!(decode_modified_utf7(b"&Jjo!"), None);
        assert_eq!(decode_modified_utf7(b"&U,BTFw-&ZeVnLIqe-"), None);
        assert_eq!(decode_modified_utf7(b"&Jjo-!").as_deref(), Some("\u{263a}!"));
        // Printable ASCII in base64, odd octets, a lone surrogate, 8-bit.
        for bad in [&b"&AGE-"[..], b"&AA-", b"&2AA-", b"caf\xc3\xa9", b"a\x07", b"&"] {
            assert_eq!(decode_modified_utf7(bad), None);
        }
    }

    #[test]
    fn inbox_is_one() {
        let name = |text: &str| MailboxName::from_wire(text.into()).decode(NameForm::ModifiedUtf7);
        assert_eq!(name("iNbOx").as_deref(), Some("INBOX"));
        assert_eq!(name("inbox/x").as_deref(), Some("INBOX/x"));
        assert_eq!(name("inboxes").as_deref(), Some("inboxes"));
        assert_eq!(name("x/inbox").as_deref(), Some("x/inbox"));
    }

    #[test]
    fn forms_differ() {
        let name = MailboxName::from_wire(b"Entw&APw-rfe".to_vec());
        assert_eq!(name.decode(NameForm::ModifiedUtf7).as_deref(), Some("Entwürfe"));
        assert_eq!(name.decode(NameForm::Utf8).as_deref(), Some("Entw&APw-rfe"));
        assert_eq!(
            MailboxName::from_wire("ü".into()).decode(NameForm::ModifiedUtf7).as_deref(),
            Some("ü")
        );
        assert_eq!(MailboxName::from_wire(vec![0xff]).decode(NameForm::Utf8), None);
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("%/%", "a/b", true),
            ("inbox", "INBOX", true),
            ("INBOX", "INBOXES", false),
            ("", "", true),
            ("", "a", false),
            ("%b", "a/b", false),
            ("*%", "a/b", true),
            ("%*", "a/b", true),
            ("%%", "a/b", false),
            ("a%%/b", "aa/b", true),
        ] {
            assert_eq!(pattern_matches(pattern, name), expected, "{pattern} {name}");
        }
        let hostile = "*a".repeat(500);
        assert!(!pattern_matches(&hostile, &"a".repeat(400)));
    }

    proptest! {
        #[test]
        fn modified_utf7_round_trip(name in ".*") {
            let wire = encode_modified_utf7(&name);
            prop_assert!(wire.is_ascii());
            prop_assert_eq!(decode_modified_utf7(wire.as_bytes()), Some(name));
        }

        #[test]
        fn decoding_is_total(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(name) = decode_modified_utf7(&octets) {
                prop_assert_eq!(decode_modified_utf7(encode_modified_utf7(&name).as_bytes()), Some(name));
            }
        }
    }
}
