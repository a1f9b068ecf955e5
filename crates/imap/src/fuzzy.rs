//! FUZZY searches (RFC 6203): of a text, each of its words is looked for, wherever it stands; a message that has the text
//! as it was written fits better than one that has its words.

use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{SearchKey, SearchProgram, SearchReturn};
use letterlock_mailbox::FolderId;

use crate::keys::find_in;
use crate::outcome::{Reply, Stop};
use crate::session::User;
use crate::view::View;

/// The score of a message that fits exactly.
const EXACT: u8 = 100;
/// The score of one that comes near.
const NEAR: u8 = 50;

/// Whether a search asks for what comes near.
pub(crate) fn is_fuzzy(key: &SearchKey) -> bool {
    match key {
        SearchKey::Extended(ExtendedKey::Fuzzy(_)) => true,
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(is_fuzzy),
        SearchKey::Not(key) => is_fuzzy(key),
        _ => false,
    }
}

/// The answer to a question for scores where nothing has one (RFC 6203 §4, §5).
pub(crate) fn needs_fuzzy(asked: bool, program: &SearchProgram) -> Option<Reply> {
    let refused = asked && !is_fuzzy(&program.key);
    refused.then(|| Reply::bad("RELEVANCY needs a FUZZY key"))
}

/// The search with each FUZZY key replaced by what it stands for.
pub(crate) fn loosened(key: SearchKey) -> SearchKey {
    replaced(key, loose)
}

/// The search without the word FUZZY.
fn exact(key: SearchKey) -> SearchKey {
    replaced(key, |inner| replaced(inner, exact))
}

fn replaced(key: SearchKey, by: fn(SearchKey) -> SearchKey) -> SearchKey {
    let all = |keys: Vec<SearchKey>| keys.into_iter().map(|key| replaced(key, by)).collect();
    match key {
        SearchKey::Extended(ExtendedKey::Fuzzy(inner)) => by(*inner),
        SearchKey::And(keys) => SearchKey::And(all(keys)),
        SearchKey::Or(keys) => SearchKey::Or(all(keys)),
        SearchKey::Not(key) => SearchKey::Not(Box::new(replaced(*key, by))),
        other => other,
    }
}

fn loose(key: SearchKey) -> SearchKey {
    let all = |keys: Vec<SearchKey>| keys.into_iter().map(loose).collect();
    match key {
        SearchKey::Text(text) => words(text, SearchKey::Text),
        SearchKey::Body(text) => words(text, SearchKey::Body),
        SearchKey::Subject(text) => words(text, SearchKey::Subject),
        SearchKey::From(text) => words(text, SearchKey::From),
        SearchKey::To(text) => words(text, SearchKey::To),
        SearchKey::Cc(text) => words(text, SearchKey::Cc),
        SearchKey::Bcc(text) => words(text, SearchKey::Bcc),
        SearchKey::Header(name, text) => words(text, |text| SearchKey::Header(name.clone(), text)),
        SearchKey::And(keys) => SearchKey::And(all(keys)),
        SearchKey::Or(keys) => SearchKey::Or(all(keys)),
        SearchKey::Not(key) => SearchKey::Not(Box::new(loose(*key))),
        SearchKey::Extended(ExtendedKey::Fuzzy(key)) => loose(*key),
        other => other,
    }
}

fn words(text: String, key: impl Fn(String) -> SearchKey) -> SearchKey {
    let mut keys: Vec<SearchKey> =
        text.split_whitespace().map(|word| key(word.to_owned())).collect();
    match keys.len() {
        0 => key(text),
        1 => keys.swap_remove(0),
        _ => SearchKey::And(keys),
    }
}

/// The messages that fit exactly.
pub(crate) async fn exact_hits(
    user: &User,
    folder: FolderId,
    view: &View,
    program: SearchProgram,
) -> Result<NumberSet, Stop> {
    let program = SearchProgram { key: exact(program.key) };
    Ok(find_in(user, folder, view, program).await?.uids.into_iter().collect())
}

/// How well a message fits.
pub(crate) fn score(exact: &NumberSet, uid: u32) -> u8 {
    if exact.contains(uid) { EXACT } else { NEAR }
}

/// The scores that go with the answer, in its order; `None` where none were asked for.
pub(crate) fn scores(
    exact: Option<&NumberSet>,
    uids: &[u32],
    returns: SearchReturn,
) -> Option<Vec<u8>> {
    let told = returns.partial.map_or(uids, |window| window.of(uids));
    exact.map(|exact| told.iter().map(|uid| score(exact, *uid)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::Command;
    use letterlock_imap_wire::command::parse;

    fn key(text: &str) -> SearchKey {
        match parse(format!("a SEARCH {text}").as_bytes(), 20).unwrap().command {
            Command::Search(search) => search.program.key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn texts_become_words() {
        for (asked, near, exactly) in [
            ("FUZZY SUBJECT \"a  b\"", "(SUBJECT a SUBJECT b)", "SUBJECT \"a  b\""),
            ("FUZZY TEXT a", "TEXT a", "TEXT a"),
            ("FUZZY HEADER x \" \"", "HEADER x \" \"", "HEADER x \" \""),
            ("SUBJECT \"a b\" FUZZY ALL", "SUBJECT \"a b\" ALL", "SUBJECT \"a b\" ALL"),
            (
                "NOT FUZZY (OR BODY \"a b\" FUZZY TO \"c d\")",
                "NOT (OR (BODY a BODY b) (TO c TO d))",
                "NOT (OR BODY \"a b\" TO \"c d\")",
            ),
        ] {
            let asked = key(asked);
            assert!(is_fuzzy(&asked));
            assert_eq!(loosened(asked.clone()), key(near));
            assert_eq!(exact(asked), key(exactly));
        }
        assert!(!is_fuzzy(&key("NOT SUBJECT \"a b\"")));
    }
}
