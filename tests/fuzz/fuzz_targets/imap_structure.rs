//! A message: its structure is well-formed, and the same if it passes by; its pieces lie within it, its text decodes.
#![no_main]

use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::section::{binary, section_of};
use letterlock_imap_wire::structure::{Outline, Outliner, summarise_tree};
use letterlock_imap_wire::text::{attachment_names, fold, header_text, inner_headers, text_parts};
use letterlock_imap_wire::{Section, SectionText};
use libfuzzer_sys::fuzz_target;

/// Skips one parenthesised list of lists, strings, literals, numbers and NIL.
fn skip_list(octets: &[u8]) -> &[u8] {
    let mut rest = octets.strip_prefix(b"(").expect("a list");
    loop {
        rest = match rest {
            [b')', tail @ ..] => return tail,
            [b'(', ..] => skip_list(rest),
            [b' ' | b'0'..=b'9', tail @ ..] => tail,
            [b'N', b'I', b'L', tail @ ..] => tail,
            [b'"', tail @ ..] => {
                let mut at = 0;
                while tail[at] != b'"' {
                    assert!(tail[at].is_ascii() && !matches!(tail[at], b'\r' | b'\n' | 0));
                    at += if tail[at] == b'\\' { 2 } else { 1 };
                }
                &tail[at + 1..]
            }
            [b'{', tail @ ..] => {
                let end = tail.iter().position(|octet| *octet == b'}').expect("a literal's end");
                let count: usize = std::str::from_utf8(&tail[..end]).unwrap().parse().unwrap();
                &tail[end + 1..].strip_prefix(b"\r\n").expect("a literal")[count..]
            }
            other => panic!("{other:?}"),
        };
    }
}

fuzz_target!(|message: &[u8]| {
    let tree = Tree::parse(message);
    let summary = summarise_tree(&tree);
    for stored in [&summary.envelope, &summary.body, &summary.body_structure] {
        assert!(skip_list(stored).is_empty());
    }
    let mut outliner = Outliner::new();
    let piece = message.first().map_or(1, |first| usize::from(first % 64) + 1);
    message.chunks(piece).for_each(|piece| outliner.push(piece));
    assert_eq!(outliner.finish(), Outline::of(&tree));
    for part in tree.parts() {
        assert!(part.header.end <= part.body.start && part.body.start <= part.body.end);
        assert!(part.body.end <= message.len());
    }
    let get = |part: &[u32], text| section_of(&tree, &Section { part: part.to_vec(), text });
    let header = get(&[], SectionText::Header).expect("every message has a header");
    let body = get(&[], SectionText::Text).expect("every message has a text");
    assert_eq!([header.as_ref(), body.as_ref()].concat(), message);
    for part in [&[1][..], &[2], &[1, 1], &[2, 1, 1]] {
        let whole = get(part, SectionText::Whole);
        assert_eq!(whole.is_some(), get(part, SectionText::Mime).is_some());
        get(part, SectionText::HeaderFieldsNot(vec!["Subject".into()]));
        assert_eq!(whole.is_some(), binary(message, part).is_some());
    }
    fold(&header_text(message));
    text_parts(&tree).for_each(|part| drop(part.text));
    inner_headers(&tree).for_each(drop);
    attachment_names(&tree);
});
