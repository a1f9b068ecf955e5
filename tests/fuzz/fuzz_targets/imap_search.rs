//! Search programs, in SEARCH, SORT and THREAD alike: the same tree in each of them, no deeper than allowed.
#![no_main]

use letterlock_imap_wire::command::parse;
use letterlock_imap_wire::{Command, NumberSet, SearchKey, SequenceSet};
use libfuzzer_sys::fuzz_target;

const DEPTH: usize = 20;

fn key(head: &str, keys: &[u8]) -> Option<SearchKey> {
    let line = [head.as_bytes(), keys].concat();
    match parse(&line, DEPTH).ok()?.command {
        Command::Search(search) => Some(search.program.key),
        Command::Sort(sort) => Some(sort.program.key),
        Command::Thread(thread) => Some(thread.program.key),
        other => panic!("{other:?}"),
    }
}

fn depth(key: &SearchKey) -> usize {
    1 + match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => {
            assert!(!keys.is_empty());
            keys.iter().map(depth).max().unwrap_or_default()
        }
        SearchKey::Not(key) => depth(key),
        SearchKey::Sequence(set) | SearchKey::Uid(set) => {
            check(set);
            0
        }
        _ => 0,
    }
}

/// Sets behave like the sets of numbers that they are.
fn check(set: &SequenceSet) {
    assert_eq!(SequenceSet::parse(&set.to_string()).as_ref(), Ok(set));
    let Some(numbers) = set.resolve(1_000) else { return };
    let window = NumberSet::from_ranges([(10, 900)]);
    let (inside, outside) = (numbers.intersect(&window), numbers.without(&window));
    assert_eq!(inside.union(&outside), numbers);
    assert_eq!(inside.len() + outside.len(), numbers.len());
    assert!(inside.intersect(&outside).is_empty());
    let back = numbers.to_sequence_set().and_then(|set| set.resolve(1)).unwrap_or_default();
    assert_eq!(back, numbers);
}

fuzz_target!(|keys: &[u8]| {
    let found = key("a SEARCH CHARSET UTF-8 ", keys);
    assert_eq!(found, key("a UID SORT (DATE REVERSE FROM) UTF-8 ", keys));
    assert_eq!(found, key("a THREAD REFERENCES UTF-8 ", keys));
    if let Some(found) = found {
        // A NOT that a name folds in, as UNSEEN does, adds a level of its own, and a list of keys one more.
        assert!(depth(&found) <= 3 * DEPTH + 3);
    }
});
