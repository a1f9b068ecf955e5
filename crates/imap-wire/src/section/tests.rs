//! The part numbers of RFC 9051 §6.4.5.1, and exactness.

use super::*;

/// The structure of the RFC's example: text, octets, a message with two parts, a multipart with an image and a message.
fn example() -> Vec<u8> {
    let lines = [
        "From: a@x",
        "Subject: outer",
        "Content-Type: multipart/mixed; boundary=0",
        "",
        "preamble",
        "--0",
        "Content-Type: text/plain",
        "",
        "one",
        "",
        "--0",
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: base64",
        "",
        "dHdv",
        "--0",
        "Content-Type: message/rfc822",
        "X: 3",
        "",
        "Subject: three",
        " folded",
        "To: b@x",
        "Content-Type: multipart/mixed; boundary=3",
        "",
        "--3",
        "Content-Type: text/plain",
        "",
        "three.one",
        "--3",
        "Content-Type: application/octet-stream",
        "",
        "three.two",
        "--3--",
        "epilogue",
        "--0",
        "Content-Type: multipart/mixed; boundary=4",
        "",
        "--4",
        "Content-Type: image/gif",
        "",
        "four.one",
        "--4",
        "Content-Type: message/rfc822",
        "",
        "Subject: four.two",
        "",
        "inner",
        "--4--",
        "",
        "--0--",
        "",
    ];
    lines.join("\r\n").into_bytes()
}

fn at(path: &[u32], text: SectionText) -> Option<String> {
    let message = example();
    let found = section(&message, &Section { part: path.to_vec(), text });
    found.map(|octets| String::from_utf8(octets.into_owned()).unwrap())
}

fn whole(path: &[u32]) -> Option<String> {
    at(path, SectionText::Whole)
}

#[test]
fn the_parts_of_the_rfc() {
    assert_eq!(whole(&[]).unwrap().as_bytes(), example());
    assert!(at(&[], SectionText::Header).unwrap().ends_with("boundary=0\r\n\r\n"));
    assert!(at(&[], SectionText::Text).unwrap().starts_with("preamble\r\n--0\r\n"));
    assert_eq!(whole(&[1]).as_deref(), Some("one\r\n"));
    assert_eq!(whole(&[2]).as_deref(), Some("dHdv"));
    assert!(whole(&[3]).unwrap().starts_with("Subject: three\r\n folded\r\n"));
    assert!(whole(&[3]).unwrap().ends_with("--3--\r\nepilogue"));
    assert_eq!(
        at(&[3], SectionText::Header).as_deref(),
        Some(
            "Subject: three\r\n folded\r\nTo: b@x\r\nContent-Type: multipart/mixed; boundary=3\r\n\r\n"
        )
    );
    assert!(at(&[3], SectionText::Text).unwrap().starts_with("--3\r\n"));
    assert_eq!(
        at(&[3], SectionText::Mime).as_deref(),
        Some("Content-Type: message/rfc822\r\nX: 3\r\n\r\n")
    );
    assert_eq!(whole(&[3, 1]).as_deref(), Some("three.one"));
    assert_eq!(whole(&[3, 2]).as_deref(), Some("three.two"));
    assert!(whole(&[4]).unwrap().starts_with("--4\r\n"));
    assert_eq!(whole(&[4, 1]).as_deref(), Some("four.one"));
    assert_eq!(at(&[4, 1], SectionText::Mime).as_deref(), Some("Content-Type: image/gif\r\n\r\n"));
    assert_eq!(whole(&[4, 2]).as_deref(), Some("Subject: four.two\r\n\r\ninner"));
    assert_eq!(at(&[4, 2], SectionText::Header).as_deref(), Some("Subject: four.two\r\n\r\n"));
    assert_eq!(at(&[4, 2], SectionText::Text).as_deref(), Some("inner"));
    assert_eq!(whole(&[4, 2, 1]).as_deref(), Some("inner"));
}

#[test]
fn what_is_not_there() {
    for path in [&[5][..], &[0], &[1, 1], &[3, 3], &[4, 2, 2], &[4, 2, 1, 1]] {
        assert_eq!(whole(path), None, "{path:?}");
    }
    assert_eq!(at(&[1], SectionText::Header), None);
    assert_eq!(at(&[4], SectionText::Text), None);
    assert_eq!(at(&[], SectionText::Mime), None);
}

#[test]
fn chosen_fields() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        at(&[3], SectionText::HeaderFields(names(&["SUBJECT", "x", "to"]))).as_deref(),
        Some("Subject: three\r\n folded\r\nTo: b@x\r\n\r\n")
    );
    assert_eq!(
        at(&[], SectionText::HeaderFieldsNot(names(&["content-type"]))).as_deref(),
        Some("From: a@x\r\nSubject: outer\r\n\r\n")
    );
    assert_eq!(at(&[], SectionText::HeaderFields(names(&["X-None"]))).as_deref(), Some("\r\n"));
    let headless =
        section(b"A: b", &Section { part: vec![], text: SectionText::HeaderFields(names(&["a"])) });
    assert_eq!(headless.unwrap().as_ref(), b"A: b\r\n\r\n");
}

#[test]
fn a_message_without_parts_is_its_part_1() {
    let message = b"Subject: x\r\n\r\nhello\r\n";
    let get = |part: &[u32], text| {
        section(message, &Section { part: part.to_vec(), text }).map(Cow::into_owned)
    };
    assert_eq!(get(&[1], SectionText::Whole).as_deref(), Some(&b"hello\r\n"[..]));
    assert_eq!(get(&[1], SectionText::Mime).as_deref(), Some(&b"Subject: x\r\n\r\n"[..]));
    assert_eq!(get(&[2], SectionText::Whole), None);
}

#[test]
fn partial_ranges() {
    let cut = |offset, length| Partial { offset, length }.of(b"0123456789");
    assert_eq!(cut(0, 4), b"0123");
    assert_eq!(cut(8, 4), b"89");
    assert_eq!(cut(10, 1), b"");
    assert_eq!(cut(u64::MAX, u64::MAX), b"");
    assert_eq!(cut(3, u64::MAX), b"3456789");
}

#[test]
fn decoded_parts() {
    let message = example();
    assert_eq!(binary(&message, &[2]).unwrap().unwrap().as_ref(), b"two");
    assert_eq!(binary(&message, &[1]).unwrap().unwrap().as_ref(), b"one\r\n");
    assert_eq!(binary(&message, &[]).unwrap().unwrap().as_ref(), message);
    assert_eq!(binary(&message, &[9]), None);
    let odd = b"Content-Transfer-Encoding: x-uue\r\n\r\nhello";
    assert_eq!(binary(odd, &[1]), Some(Err(UnknownEncoding)));
}
