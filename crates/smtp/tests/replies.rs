//! Every reply that this crate words itself: its enhanced code is of the class of its code (RFC 2034 §4). Those that
//! are given often stand in `smtp-wire`, with a test of their own; the dialogues look at each reply that is given.

use std::path::Path;

/// The codes of `Reply::new(code, EnhancedCode::new(class, subject, detail)` in a text without white space.
fn codes(source: &str) -> Vec<[u16; 4]> {
    let bare: String = source.chars().filter(|c| !c.is_whitespace()).collect();
    let found = bare.split("Reply::new(").skip(1).map(|call| {
        let (code, call) = call.split_once(",EnhancedCode::new(").expect("two codes as they are");
        let (enhanced, _) = call.split_once(')').expect("three numbers");
        let numbers: Vec<u16> = std::iter::once(code)
            .chain(enhanced.split(','))
            .map(|number| number.parse().expect("a number"))
            .collect();
        numbers.try_into().expect("four numbers")
    });
    found.collect()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn classes_agree() {
    let mut texts = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let all: Vec<[u16; 4]> = texts.iter().flat_map(|text| codes(text)).collect();
    assert!(all.len() >= 3, "{all:?}");
    for [code, class, subject, detail] in all {
        assert_eq!(code / 100, class, "{code} {class}.{subject}.{detail}");
        assert!(matches!(class, 2 | 4 | 5) && subject <= 7 && detail <= 30);
    }
}
