//! The base subject (RFC 5256 §2.1): what stays of a subject without `Re:`, `Fwd:` and the marks of lists.

/// A subject without what replies and forwards add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseSubject {
    /// The text; not folded.
    pub text: String,
    /// Something was taken off that marks a reply or a forward (§3, REFERENCES, step 5).
    pub is_reply: bool,
}

/// The base subject of a decoded subject.
pub fn base_subject(decoded: &str) -> BaseSubject {
    // Step 1: white space.
    let line = decoded.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    let (mut rest, mut is_reply) = (line.as_str(), false);
    loop {
        // Step 2: trailers.
        while let Some(shorter) = strip_suffix(rest.trim_end_matches(' '), "(fwd)") {
            (rest, is_reply) = (shorter, true);
        }
        rest = rest.trim_end_matches(' ');
        // Steps 3 to 5: leaders and marks.
        while let Some((shorter, reply)) = without_leader(rest) {
            (rest, is_reply) = (shorter, is_reply || reply);
        }
        // Step 6: the form in which some programs forward.
        match strip_prefix(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => (rest, is_reply) = (inner, true),
            None => return BaseSubject { text: rest.to_owned(), is_reply },
        }
    }
}

/// The text after one leader, and whether that marks a reply. A row of blobs is looked at once, whatever follows it, so
/// that this is linear for any subject.
fn without_leader(text: &str) -> Option<(&str, bool)> {
    let text_start = text.trim_start_matches(' ');
    if text_start.len() < text.len() {
        return Some((text_start, false));
    }
    let (mut after, mut last) = (text, text);
    while let Some(next) = without_blob(after) {
        (last, after) = (after, next);
    }
    if let Some(rest) = without_refwd(after) {
        return Some((rest, true));
    }
    // Step 4: marks go as long as something stays, whatever is in them.
    let kept = if after.is_empty() { last } else { after };
    (kept.len() < text.len()).then_some((kept, false))
}

/// `"[" *BLOBCHAR "]" *WSP`
fn without_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    inner[end..].strip_prefix(']').map(|rest| rest.trim_start_matches(' '))
}

/// `("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`
fn without_refwd(text: &str) -> Option<&str> {
    let rest = ["re", "fwd", "fw"].iter().find_map(|word| strip_prefix(text, word))?;
    let rest = rest.trim_start_matches(' ');
    without_blob(rest).unwrap_or(rest).strip_prefix(':')
}

fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn strip_suffix<'t>(text: &'t str, suffix: &str) -> Option<&'t str> {
    let start = text.len().checked_sub(suffix.len())?;
    let tail = text.get(start..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &text[..start])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_replies_and_forwards_add_goes() {
        for (subject, text, is_reply) in [
            ("Hello", "Hello", false),
            ("Re: Hello", "Hello", true),
            ("re:Hello  (fwd) (FWD)", "Hello", true),
            ("Fw: FWD: RE : Hello", "Hello", true),
            ("Re[2]: Hello", "Hello", true),
            ("[list] Re: [list] Hello", "Hello", true),
            ("[list] [other] Hello", "Hello", false),
            ("[only a blob]", "[only a blob]", false),
            ("[one] [two]", "[two]", false),
            ("Re: [blob]", "[blob]", true),
            ("[Fwd: Re: Hello]", "Hello", true),
            ("[fwd: [fwd: deep]]", "deep", true),
            ("Re: [Fwd: Hello (fwd)]", "Hello", true),
            ("[Fwd: a] b", "b", false),
            ("[Fwd: a] [Fwd: b]", "b", true),
            ("  tabs\t and   spaces ", "tabs and spaces", false),
            ("Regarding: this", "Regarding: this", false),
            ("Re", "Re", false),
            ("Re:", "", true),
            ("(fwd)", "", true),
            ("", "", false),
            ("[unclosed Re: x", "[unclosed Re: x", false),
            ("Ré: ä", "Ré: ä", false),
        ] {
            let expected = BaseSubject { text: text.to_owned(), is_reply };
            assert_eq!(base_subject(subject), expected, "{subject}");
        }
    }

    #[test]
    fn long_rows_of_marks_take_no_time() {
        let start = std::time::Instant::now();
        for unit in ["[a]", "[a] ", "Re: ", "[a] re: ", "[fwd:", "(fwd)", "["] {
            base_subject(&unit.repeat(60_000));
            base_subject(&format!("{}x{}", unit.repeat(30_000), "]".repeat(30_000)));
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn a_base_subject_is_its_own(parts in proptest::collection::vec("re: |fwd:|\\[x\\] ?|\\[fwd:|\\]|\\(fwd\\)|a| ", 0..9)) {
            let once = base_subject(&parts.concat());
            let twice = base_subject(&once.text);
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(!twice.is_reply);
        }
    }
}
