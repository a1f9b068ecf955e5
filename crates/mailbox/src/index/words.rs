//! What counts as a word, and how a searched text is taken apart in the same way.
//!
//! Texts are folded before. A word is a run of letters, digits and combining marks; every other character that
//! is no control character is a term by itself. A word longer than [`PIECE`] is kept as pieces that overlap so
//! far that any [`REACH`] characters of it stand together in one.

use unicode_normalization::char::is_combining_mark;

/// The longest word that is kept whole, in characters; the length of the pieces of longer ones.
const PIECE: usize = 48;
/// How much of a longer word is sure to stand in one piece, in characters.
const REACH: usize = PIECE / 2;

/// Stands between the words of a block; it can be in none of them.
pub(super) const BETWEEN: char = '\n';

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || (!c.is_ascii() && (c.is_alphanumeric() || is_combining_mark(c)))
}

/// Calls `each` with the terms of a folded text, some of them more than once.
pub(super) fn each_term<'t>(text: &'t str, mut each: impl FnMut(&'t str)) {
    let mut seen = [false; 128];
    let mut start = None;
    for (at, c) in text.char_indices() {
        if is_word(c) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            pieces(&text[start..at], &mut each);
        }
        // Spaces and points come again and again.
        let known = seen.get_mut(c as usize).is_some_and(|seen| std::mem::replace(seen, true));
        if !known && !c.is_control() {
            each(&text[at..at + c.len_utf8()]);
        }
    }
    if let Some(start) = start {
        pieces(&text[start..], &mut each);
    }
}

fn pieces<'t>(word: &'t str, each: &mut impl FnMut(&'t str)) {
    if word.len() <= PIECE {
        return each(word);
    }
    let mut starts: Vec<usize> = word.char_indices().map(|(at, _)| at).collect();
    let count = starts.len();
    starts.push(word.len());
    let mut first = 0;
    while first + PIECE < count {
        each(&word[starts[first]..starts[first + PIECE]]);
        first += REACH;
    }
    each(&word[starts[first]..]);
}

/// What the terms of a text must hold so that it can hold a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Each is in some term; one with [`BETWEEN`] at an end is there at that end of the term. With none of them
    /// nothing is known.
    pub(super) needles: Vec<String>,
    /// Whether the needles are all that there is to know: then the text holds the pattern for sure.
    pub(super) exact: bool,
}

/// Takes a folded pattern apart.
pub(super) fn plan(pattern: &str) -> Plan {
    let mut needles = Vec::new();
    let mut start = None;
    let mut controls = false;
    for (at, c) in pattern.char_indices() {
        if is_word(c) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            add_word(pattern, start, at, &mut needles);
        }
        if c.is_control() {
            controls = true;
        } else {
            needles.push(format!("{BETWEEN}{c}{BETWEEN}"));
        }
    }
    if let Some(start) = start {
        add_word(pattern, start, pattern.len(), &mut needles);
    }
    let one_term = pattern.chars().all(is_word) || pattern.chars().count() == 1;
    let exact = one_term && !controls && needles.len() == 1;
    needles.sort_unstable();
    needles.dedup();
    Plan { needles, exact }
}

fn add_word(pattern: &str, start: usize, end: usize, needles: &mut Vec<String>) {
    let word = &pattern[start..end];
    let characters: Vec<char> = word.chars().collect();
    if characters.len() > REACH {
        needles.extend(characters.chunks(REACH).map(String::from_iter));
        return;
    }
    let mut needle = String::with_capacity(word.len() + 2);
    if start > 0 {
        needle.push(BETWEEN);
    }
    needle.push_str(word);
    if end < pattern.len() {
        needle.push(BETWEEN);
    }
    needles.push(needle);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<&str> {
        let mut terms = Vec::new();
        each_term(text, |term| terms.push(term));
        terms
    }

    #[test]
    fn words_and_other_characters() {
        assert_eq!(terms("to: a.b, to\r\n"), ["to", ":", " ", "a", ".", "b", ",", "to"]);
        assert_eq!(
            terms("gru\u{308}sse \u{2014}\u{2014}"),
            ["gru\u{308}sse", " ", "\u{2014}", "\u{2014}"]
        );
        assert!(terms("\0\r\n").is_empty());
    }

    #[test]
    fn any_reach_of_a_long_word_is_in_one_piece() {
        for length in [48, 49, 71, 72, 73, 96, 97, 200] {
            let word: String = ('a'..='z')
                .chain('0'..='9')
                .cycle()
                .take(length)
                .map(|c| if c == 'e' { '\u{e9}' } else { c })
                .collect();
            let pieces = terms(&word);
            let characters: Vec<char> = word.chars().collect();
            for window in characters.windows(REACH) {
                let part: String = window.iter().collect();
                assert!(pieces.iter().any(|piece| piece.contains(&part)), "{length} {part}");
            }
            let end: String = characters[length - REACH..].iter().collect();
            assert!(pieces.iter().any(|piece| piece.ends_with(&end)));
            assert!(pieces.iter().all(|piece| piece.chars().count() <= PIECE));
        }
    }

    #[test]
    fn patterns() {
        let plan = |text: &str| {
            let plan = plan(text);
            (plan.needles.join("|"), plan.exact)
        };
        assert_eq!(plan("need"), ("need".into(), true));
        assert_eq!(plan("@"), ("\n@\n".into(), true));
        assert_eq!(plan("@@"), ("\n@\n".into(), false));
        assert_eq!(plan("lo wo"), ("\n \n|\nwo|lo\n".into(), false));
        assert_eq!(plan(".a."), ("\n.\n|\na\n".into(), false));
        assert_eq!(plan("\n"), (String::new(), false));
        assert_eq!(plan("a\n"), ("a\n".into(), false));
        assert_eq!(plan(&"x".repeat(24)), ("x".repeat(24), true));
        assert_eq!(plan(&"x".repeat(25)), (format!("x|{}", "x".repeat(24)), false));
    }
}
