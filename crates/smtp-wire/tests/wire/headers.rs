//! The header section of raw messages.

use std::borrow::Cow;

use letterlock_smtp_wire::header::{
    Edit, body_start, count, delivered_to, edit, fields, find, fold, has_eight_bit, received_count,
    remove, section_length,
};
use proptest::prelude::*;

const MESSAGE: &[u8] = b"Received: from a\r\n\tby b; now\r\nDelivered-To: x@example.org\r\nSubject : s:t\r\nreceived: c\r\n\
    X-Empty:\r\nFrom broken line\r\nBcc: hidden@example.org,\r\n other@example.org\r\n\r\nReceived: in the body\r\n";

#[test]
fn fields_are_exact() {
    let all: Vec<_> = fields(MESSAGE).collect();
    let names: Vec<&[u8]> = all.iter().map(|field| field.name).collect();
    let expected: [&[u8]; 7] =
        [b"Received", b"Delivered-To", b"Subject", b"received", b"X-Empty", b"", b"Bcc"];
    assert_eq!(names, expected);
    assert_eq!(all[0].raw_value, b" from a\r\n\tby b; now\r\n");
    assert_eq!(&MESSAGE[all[0].range.clone()], b"Received: from a\r\n\tby b; now\r\n");
    assert_eq!(all[0].value().as_ref(), b"from a\tby b; now");
    assert_eq!(all[2].value().as_ref(), b"s:t");
    assert_eq!(all[4].value().as_ref(), b"");
    assert_eq!(all[5].raw_value, b"From broken line\r\n");
    let whole: Vec<u8> =
        all.iter().flat_map(|field| MESSAGE[field.range.clone()].to_vec()).collect();
    assert_eq!(whole, MESSAGE[..section_length(MESSAGE)]);
}

#[test]
fn questions() {
    assert_eq!(received_count(MESSAGE), 2);
    assert_eq!(count(MESSAGE, "bcc"), 1);
    assert_eq!(delivered_to(MESSAGE).collect::<Vec<_>>(), [Cow::Borrowed(b"x@example.org")]);
    assert_eq!(find(MESSAGE, "SUBJECT").unwrap().raw_value, b" s:t\r\n");
    assert!(find(MESSAGE, "From").is_none());
    assert_eq!(&MESSAGE[body_start(MESSAGE)..], b"Received: in the body\r\n");
    assert!(!has_eight_bit(MESSAGE));
    assert!(has_eight_bit("Subject: ä\r\n\r\n".as_bytes()));
    assert!(!has_eight_bit("Subject: a\r\n\r\nä".as_bytes()));
}

#[test]
fn sections_without_an_end_or_a_beginning() {
    for (message, section, body) in [
        ("", 0, 0),
        ("\r\n", 0, 2),
        ("\r\nbody", 0, 2),
        ("A: b", 4, 4),
        ("A: b\r\n", 6, 6),
        ("A: b\n\nbody", 5, 6),
        ("no field\r\n\r\n", 10, 12),
        (" A: b\r\n\r\n", 7, 9),
    ] {
        assert_eq!(
            (section_length(message.as_bytes()), body_start(message.as_bytes())),
            (section, body),
            "{message:?}"
        );
    }
}

#[test]
fn edits_leave_the_rest_as_it_was() {
    assert!(matches!(remove(MESSAGE, |_| false), Cow::Borrowed(_)));
    let removed = remove(MESSAGE, |field| field.is("Bcc"));
    let text = String::from_utf8(removed.into_owned()).unwrap();
    assert!(
        text.contains("From broken line\r\n\r\nReceived: in the body\r\n")
            && !text.contains("other@")
    );
    let replaced =
        edit(b"A: 1\r\nB: 2\r\nA: 3\r\n\r\nA: 4", |field| match field.value().as_ref() {
            b"1" => Edit::Replace(b"N: 1\r\n".to_vec()),
            b"3" => Edit::Remove,
            _ => Edit::Keep,
        });
    assert_eq!(replaced.as_ref(), b"N: 1\r\nB: 2\r\n\r\nA: 4");
}

fn folded(name: &str, value: &str) -> String {
    let mut out = Vec::new();
    fold(name, value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn folding() {
    assert_eq!(folded("Subject", "hello world"), "Subject: hello world\r\n");
    assert_eq!(folded("Subject", ""), "Subject:\r\n");
    assert_eq!(folded("Subject", "a\r\nBcc: b\0"), "Subject: a  Bcc: b\r\n");
    let long = folded("X-Long", &"word ".repeat(60));
    assert!(long.split("\r\n").all(|line| line.len() <= 78), "{long}");
    assert!(long.lines().count() > 3 && long.lines().skip(1).all(|line| line.starts_with(" word")));
    let solid = "x".repeat(200);
    assert_eq!(folded("X", &format!("a {solid} b")), format!("X: a\r\n {solid}\r\n b\r\n"));
}

proptest! {
    #[test]
    fn folding_is_undone_by_unfolding(value in "[a-z]{1,30}( {1,3}[a-z,;=]{1,30}){0,20}") {
        let mut message = folded("X-Test", &value).into_bytes();
        message.extend_from_slice(b"\r\n");
        let all: Vec<_> = fields(&message).collect();
        prop_assert_eq!(all.len(), 1);
        let unfolded = all[0].value();
        prop_assert_eq!(unfolded.as_ref(), value.as_bytes());
    }

    #[test]
    fn fields_cover_the_section(message in "([A-Za-z: \t\r\n\u{e4}]|\r\n){0,60}") {
        let bytes = message.as_bytes();
        let mut end = 0;
        for field in fields(bytes) {
            prop_assert_eq!(field.range.start, end);
            prop_assert!(field.range.end > end);
            end = field.range.end;
        }
        prop_assert_eq!(end, section_length(bytes));
        prop_assert!(body_start(bytes) <= bytes.len());
        let rewritten = edit(bytes, |field| Edit::Replace(bytes[field.range.clone()].to_vec()));
        prop_assert_eq!(rewritten.as_ref(), bytes);
    }
}
