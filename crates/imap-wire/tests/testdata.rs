//! Structures and sections of messages that others wrote, if they are at hand (`LETTERLOCK_TESTDATA`), with
//! mail-parser as a second opinion on what a message contains.

use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::section::section_of;
use letterlock_imap_wire::structure::{Outline, Outliner, summarise_tree};
use letterlock_imap_wire::text::{attachment_names, header_text, text_parts};
use letterlock_imap_wire::{Section, SectionText};
use std::path::PathBuf;

fn messages() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = std::env::var_os("LETTERLOCK_TESTDATA").map(PathBuf::from) else {
        println!("skipped: LETTERLOCK_TESTDATA is not set");
        return Vec::new();
    };
    let entries =
        std::fs::read_dir(folder.join("mime")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no messages in the test data");
    found
}

/// Walks `( … )` with strings, literals, numbers and NIL; gives what follows it.
fn skip_list(octets: &[u8]) -> &[u8] {
    let mut rest = octets.strip_prefix(b"(").expect("a list");
    loop {
        rest = match rest {
            [b')', tail @ ..] => return tail,
            [b'(', ..] => skip_list(rest),
            [b' ', tail @ ..] => tail,
            [b'"', tail @ ..] => {
                let mut at = 0;
                while tail[at] != b'"' {
                    assert!(
                        (0x20..0x7f).contains(&tail[at]) || tail[at] == b'\t',
                        "a quoted string is plain ASCII"
                    );
                    at += if tail[at] == b'\\' { 2 } else { 1 };
                }
                &tail[at + 1..]
            }
            [b'{', tail @ ..] => {
                let end = tail.iter().position(|octet| *octet == b'}').unwrap();
                let count: usize = std::str::from_utf8(&tail[..end]).unwrap().parse().unwrap();
                tail[end + 1..].strip_prefix(b"\r\n").unwrap().get(count..).unwrap()
            }
            [b'0'..=b'9', tail @ ..] => tail,
            [b'N', b'I', b'L', tail @ ..] => tail,
            other => panic!("{:?}", String::from_utf8_lossy(other)),
        };
    }
}

#[test]
fn structures_are_well_formed_and_sections_exact() {
    for (name, message) in messages() {
        let tree = Tree::parse(&message);
        let summary = summarise_tree(&tree);
        for stored in [&summary.envelope, &summary.body, &summary.body_structure] {
            assert!(skip_list(stored).is_empty(), "{name}");
        }
        let get = |part: &[u32], text| section_of(&tree, &Section { part: part.to_vec(), text });
        let header = get(&[], SectionText::Header).unwrap();
        let body = get(&[], SectionText::Text).unwrap();
        assert_eq!(
            [header.as_ref(), body.as_ref()].concat(),
            message,
            "{name}: header and text are the message"
        );
        assert_eq!(header.len(), summary.header_length, "{name}");
        assert!(get(&[1], SectionText::Whole).is_some(), "{name}: every message has a part 1");
        let offset = |octets: &[u8]| octets.as_ptr() as usize - message.as_ptr() as usize;
        for number in 1.. {
            let Some(part) = get(&[number], SectionText::Whole) else { break };
            let mime = get(&[number], SectionText::Mime).unwrap();
            assert!(
                matches!(part, std::borrow::Cow::Borrowed(_)),
                "{name}: a part is a piece of the message"
            );
            assert!(
                offset(&mime) + mime.len() <= offset(&part),
                "{name}: a part follows its header"
            );
        }
        header_text(&message);
        text_parts(&tree).count();
        attachment_names(&tree);
    }
}

#[test]
fn a_message_that_passes_by_has_the_same_structure() {
    for (name, message) in messages() {
        let tree = Tree::parse(&message);
        let whole = Outline::of(&tree);
        for piece in [1, 7, 100, 4096] {
            let mut outliner = Outliner::new();
            message.chunks(piece).for_each(|piece| outliner.push(piece));
            assert!(outliner.finish() == whole, "{name} in pieces of {piece}");
        }
        assert_eq!(whole.summarise(), summarise_tree(&tree), "{name}");
    }
}

#[test]
fn well_formed_messages_have_the_parts_that_mail_parser_finds() {
    // The last line of the one that is left out ends with its boundary, which mail-parser takes for a boundary line.
    let sound = |name: &str| !name.starts_with("malformed") && name != "thirdparty-005.eml";
    for (name, message) in messages().into_iter().filter(|(name, _)| sound(name)) {
        let tree = Tree::parse(&message);
        let other = mail_parser::MessageParser::new().parse(&message).unwrap();
        let theirs: Vec<Vec<u8>> = other
            .parts
            .iter()
            .filter(|part| !part.is_multipart() && !part.is_message())
            .map(|part| {
                message[part.offset_body as usize..part.offset_end as usize]
                    .trim_ascii_end()
                    .to_vec()
            })
            .collect();
        if other.parts.iter().any(mail_parser::MessagePart::is_message) {
            continue;
        }
        let ours: Vec<Vec<u8>> = tree
            .parts()
            .iter()
            .filter(|part| part.kind == letterlock_imap_wire::mime::PartKind::Leaf)
            .map(|part| tree.body(part).trim_ascii_end().to_vec())
            .collect();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (mine, other) in ours.iter().zip(&theirs) {
            assert_eq!(String::from_utf8_lossy(mine), String::from_utf8_lossy(other), "{name}");
        }
    }
}
