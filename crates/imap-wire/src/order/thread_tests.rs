//! The algorithms on small mailboxes, and on ones made to confuse them.

use super::*;
use crate::order::base_subject;
use proptest::prelude::*;

/// Messages 1, 2, … in the order of their dates: subject, id and references.
fn mailbox(list: &[(&str, &str, &[&str])]) -> Vec<ThreadMessage> {
    let message =
        |(index, (subject, id, references)): (usize, &(&str, &str, &[&str]))| ThreadMessage {
            number: index as u32 + 1,
            sent: index as i64,
            subject: base_subject(subject),
            id: (!id.is_empty()).then(|| id.as_bytes().to_vec()),
            references: references.iter().map(|id| id.as_bytes().to_vec()).collect(),
        };
    list.iter().enumerate().map(message).collect()
}

fn shown(threads: &Threads) -> String {
    let mut out = Vec::new();
    threads.write(&mut out);
    String::from_utf8(out).unwrap()
}

fn referenced(list: &[(&str, &str, &[&str])]) -> String {
    let threads = by_references(&mailbox(list));
    let flat = threads.flatten();
    assert_eq!(shown(&Threads::from_flat(&flat, Some)), shown(&threads));
    shown(&threads)
}

#[test]
fn by_subject_the_first_is_the_parent() {
    let messages = mailbox(&[
        ("a", "", &[]),
        ("b", "", &[]),
        ("Re: a", "", &[]),
        ("a", "", &[]),
        ("re: b", "", &[]),
    ]);
    assert_eq!(shown(&by_subject(&messages)), "(1 (3)(4))(2 5)");
    assert_eq!(shown(&by_subject(&[])), "");
    let flat = by_subject(&messages).flatten();
    assert_eq!(flat, [0, 1, 1, 3, 1, 4, 0, 2, 1, 5]);
    assert_eq!(shown(&Threads::from_flat(&flat, |uid| Some(uid + 10))), "(11 (13)(14))(12 15)");
}

#[test]
fn references_make_trees() {
    assert_eq!(
        referenced(&[
            ("x", "a", &[]),
            ("y", "b", &["a"]),
            ("z", "c", &["a", "b"]),
            ("w", "d", &["a"]),
            ("v", "e", &[])
        ]),
        "(1 (2 3)(4))(5)"
    );
}

#[test]
fn a_missing_parent_holds_its_children_together() {
    assert_eq!(referenced(&[("x", "b", &["a"]), ("y", "c", &["a"])]), "((1)(2))");
    // With one child there is nothing to hold, and below another message neither.
    assert_eq!(referenced(&[("x", "b", &["a"])]), "(1)");
    assert_eq!(
        referenced(&[("x", "a", &[]), ("y", "c", &["a", "gone"]), ("z", "d", &["a", "gone"])]),
        "(1 (2)(3))"
    );
}

#[test]
fn subjects_gather_what_has_no_references() {
    // A reply goes under the original; two replies, or two originals, stand side by side.
    assert_eq!(referenced(&[("Re: x", "a", &[]), ("x", "b", &[])]), "(2 1)");
    assert_eq!(referenced(&[("x", "a", &[]), ("Re: x", "b", &[])]), "(1 2)");
    assert_eq!(referenced(&[("Re: x", "a", &[]), ("Re: x", "b", &[])]), "((1)(2))");
    assert_eq!(referenced(&[("x", "a", &[]), ("x", "b", &[]), ("x", "c", &[])]), "((1)(2)(3))");
    assert_eq!(referenced(&[("", "a", &[]), ("", "b", &[])]), "(1)(2)");
    // What a missing message holds together takes the others of its subject in.
    assert_eq!(
        referenced(&[("x", "b", &["a"]), ("x", "c", &["a"]), ("x", "d", &[])]),
        "((1)(2)(3))"
    );
}

#[test]
fn a_message_knows_its_parent_better_than_others_do() {
    // 3 says that b comes under c; b itself says a.
    assert_eq!(
        referenced(&[("x", "a", &[]), ("y", "b", &["a"]), ("z", "d", &["c", "b"])]),
        "(1 2 3)"
    );
}

#[test]
fn loops_and_doubles_are_harmless() {
    assert_eq!(referenced(&[("x", "a", &["b"]), ("y", "b", &["a"])]), "(2 1)");
    assert_eq!(referenced(&[("x", "a", &["a"])]), "(1)");
    assert_eq!(referenced(&[("x", "a", &[]), ("y", "a", &[]), ("z", "b", &["a"])]), "(1 3)(2)");
}

#[test]
fn deep_chains_are_cut_and_written_without_recursion() {
    let messages: Vec<ThreadMessage> = (0..20_000u32)
        .map(|index| ThreadMessage {
            number: index + 1,
            sent: i64::from(index),
            id: Some(index.to_string().into_bytes()),
            references: index
                .checked_sub(1)
                .map(|above| above.to_string().into_bytes())
                .into_iter()
                .collect(),
            ..ThreadMessage::default()
        })
        .collect();
    let shown = shown(&by_references(&messages));
    assert!(shown.starts_with("(1 2 3 ") && shown.matches('(').count() == 20);
}

proptest! {
    /// Whatever the references are, each message is in the answer once.
    #[test]
    fn every_message_is_told_once(
        list in proptest::collection::vec((0u8..4, 0u8..12, proptest::collection::vec(0u8..14, 0..5), any::<bool>()), 0..25)
    ) {
        let messages: Vec<ThreadMessage> = list.iter().enumerate().map(|(index, (subject, id, references, reply))| {
            let prefix = if *reply { "Re: " } else { "" };
            ThreadMessage {
                number: index as u32 + 1,
                sent: i64::from(*id),
                subject: base_subject(&format!("{prefix}{}", ["", "x", "y", "z"][usize::from(*subject)])),
                id: Some(vec![*id]),
                references: references.iter().map(|id| vec![*id]).collect(),
            }
        }).collect();
        for threads in [by_references(&messages), by_subject(&messages)] {
            let text = shown(&threads);
            let mut numbers: Vec<u32> = text
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (1..=messages.len() as u32).collect::<Vec<_>>());
            prop_assert_eq!(text.matches('(').count(), text.matches(')').count());
            prop_assert!(!text.contains("()"));
        }
    }
}
