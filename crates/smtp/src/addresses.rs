//! Completes addresses in header fields that lack a domain (RFC 6409 §6.2, §8.4).

/// Text that may stand in an address without quotes (RFC 5322 §3.2.3), dots included, and UTF-8 (RFC 6532 §3.2).
fn is_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b".!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Whether this is a local part that can be completed: a dot-atom.
fn is_local(word: &[u8]) -> bool {
    !word.is_empty()
        && word.iter().all(|byte| is_text(*byte))
        && word.split(|byte| *byte == b'.').all(|part| !part.is_empty())
}

/// One address of a list, as far as it has been read.
#[derive(Clone, Copy, Default)]
enum Item {
    #[default]
    Empty,
    /// One word so far, which ends there, and could be a bare local part.
    Word(usize),
    /// Anything else: a phrase, a whole address, or nothing that is known.
    Other,
}

impl Item {
    fn and_word(self, word: &[u8], end: usize) -> Item {
        match self {
            Item::Empty if is_local(word) => Item::Word(end),
            _ => Item::Other,
        }
    }
}

/// The value of an address field with `@domain` behind each address that has none; `None` if there is no such address.
/// Whatever is not understood stays as it is.
pub(crate) fn complete(value: &[u8], domain: &str) -> Option<Vec<u8>> {
    let places = places(value);
    if places.is_empty() {
        return None;
    }
    let mut completed = Vec::with_capacity(value.len() + places.len() * (domain.len() + 1));
    let mut done = 0;
    for place in places {
        completed.extend_from_slice(&value[done..place]);
        completed.push(b'@');
        completed.extend_from_slice(domain.as_bytes());
        done = place;
    }
    completed.extend_from_slice(&value[done..]);
    Some(completed)
}

/// Where domains are missing, in order.
fn places(value: &[u8]) -> Vec<usize> {
    let (mut places, mut item, mut at) = (Vec::new(), Item::default(), 0);
    while let Some(&byte) = value.get(at) {
        match byte {
            b',' | b';' => {
                if let Item::Word(end) = item {
                    places.push(end);
                }
                (item, at) = (Item::Empty, at + 1);
            }
            // The name of a group.
            b':' => (item, at) = (Item::Empty, at + 1),
            b'(' => at = behind_comment(value, at),
            b'"' => (item, at) = (Item::Other, behind_quotes(value, at)),
            b'<' => {
                let end = behind_angle(value, at);
                let inner = value.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
                if is_local(inner.trim_ascii()) {
                    places.push(at + 1 + inner.trim_ascii_end().len());
                }
                (item, at) = (Item::Other, end);
            }
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => {
                let end = value[at..]
                    .iter()
                    .position(|byte| b" \t\r\n,;:<\"(".contains(byte))
                    .map_or(value.len(), |length| at + length);
                (item, at) = (item.and_word(&value[at..end], end), end);
            }
        }
    }
    if let Item::Word(end) = item {
        places.push(end);
    }
    places
}

/// Behind a quoted string that begins at `at`.
fn behind_quotes(value: &[u8], at: usize) -> usize {
    let mut escaped = false;
    let end = value[at + 1..].iter().position(|byte| match byte {
        _ if std::mem::take(&mut escaped) => false,
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.map_or(value.len(), |length| at + length + 2)
}

/// Behind a comment that begins at `at`; comments nest.
fn behind_comment(value: &[u8], at: usize) -> usize {
    let (mut depth, mut escaped) = (0_usize, false);
    let end = value[at..].iter().position(|byte| {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(value.len(), |length| at + length + 1)
}

/// Behind the bracket that closes the one at `at`.
fn behind_angle(value: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while let Some(&byte) = value.get(here) {
        match byte {
            b'>' => return here + 1,
            b'"' => here = behind_quotes(value, here),
            _ => here += 1,
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_without_a_domain_get_one() {
        for (value, completed) in [
            (" ann\r\n", " ann@a.test\r\n"),
            (
                " ann, Bob <bob>,\r\n c@b.test\r\n",
                " ann@a.test, Bob <bob@a.test>,\r\n c@b.test\r\n",
            ),
            (" < ann.x > (home), \"Q, R\" <q>", " < ann.x@a.test > (home), \"Q, R\" <q@a.test>"),
            (" team: ann, b@b.test;, x", " team: ann@a.test, b@b.test;, x@a.test"),
            (" (a comment, (nested) \\) too) ann", " (a comment, (nested) \\) too) ann@a.test"),
            (" jörg", " jörg@a.test"),
        ] {
            let found = complete(value.as_bytes(), "a.test").map(|v| String::from_utf8(v).unwrap());
            assert_eq!(found.as_deref(), Some(completed));
        }
    }

    #[test]
    fn whole_addresses_and_what_is_not_understood_stay() {
        for value in [
            " ann@b.test",
            " Ann <ann@b.test>, \"x\" <\"a b\"@b.test>",
            " undisclosed-recipients:;",
            " Ann Example",
            " <>",
            " <@a,@b:c@d.test>",
            " \"ann\"",
            " ann@[192.0.2.1]",
            " a..b, .a, a.",
            " <unclosed@b.test",
            " (unclosed",
            " \"unclosed",
            "",
        ] {
            assert_eq!(complete(value.as_bytes(), "a.test"), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_domains_is_added(value in "[a-z@<>(),;:\" \\\\.\r\n]{0,40}") {
            if let Some(completed) = complete(value.as_bytes(), "§") {
                let completed = String::from_utf8(completed).unwrap();
                prop_assert_eq!(completed.replace("@§", ""), value);
            }
        }

        #[test]
        fn once_is_enough(value in "[a-z@<>(),;: .]{0,40}") {
            if let Some(completed) = complete(value.as_bytes(), "a.test") {
                prop_assert_eq!(complete(&completed, "a.test"), None);
            }
        }
    }
}
