//! What becomes 7-bit says the same as before, to another parser.

use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::*;

fn converted(message: &[u8]) -> Vec<u8> {
    let converted = seven_bit(message).expect("it can be converted").into_owned();
    assert!(is_seven_bit(&converted), "{}", String::from_utf8_lossy(&converted));
    converted
}

/// The decoded content of all parts that have no parts.
fn contents(message: &[u8]) -> Vec<Vec<u8>> {
    let message = MessageParser::default().parse(message).expect("a message");
    let leaves = message.parts.iter().filter(|part| !part.is_multipart());
    leaves.map(|part| part.contents().to_vec()).collect()
}

#[test]
fn what_is_seven_bit_stays_as_it_is() {
    let message = b"Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n";
    assert!(matches!(seven_bit(message), Some(Cow::Borrowed(same)) if same == message));
}

#[test]
fn text_becomes_quoted_printable() {
    let message = "From: a@x.test\r\nContent-Type: text/plain; charset=utf-8\r\n\
                   Content-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e = \r\n.\r\nFrom here \r\n";
    let text = String::from_utf8(converted(message.as_bytes())).unwrap();
    assert!(text.contains("Content-Transfer-Encoding: quoted-printable\r\n\r\n"), "{text}");
    assert!(text.contains("Gr=C3=BC=C3=9Fe =3D=20\r\n=2E\r\n=46rom here=20\r\n"), "{text}");
    assert_eq!(contents(text.as_bytes()), ["Gr\u{fc}\u{df}e = \r\n.\r\nFrom here \r\n".as_bytes()]);
}

#[test]
fn other_things_become_base64() {
    let message = b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\0\xff";
    let converted = converted(message);
    assert!(memchr::memmem::find(&converted, b"Content-Transfer-Encoding: base64\r\n").is_some());
    assert_eq!(contents(&converted), [b"\x89PNG\r\n\x1a\n\0\xff"]);
}

#[test]
fn parts_are_converted_one_by_one() {
    let message = "Content-Type: multipart/mixed; x=\"a;b\"; boundary=\"b 1\"\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\npre\u{e4}mble\r\n--b 1\r\n\r\nplain\r\n--b 1\r\n\
        Content-Type: text/html; charset=utf-8\r\n\r\n<p>\u{e4}</p>\r\n--b 1\r\n\
        Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Subject: inner \u{f6}\r\n\r\n\u{fc}\r\n--b 1--\r\nepilogue\r\n";
    let text = String::from_utf8(converted(message.as_bytes())).unwrap();
    assert!(text.contains("\r\n--b 1\r\n\r\nplain\r\n--b 1\r\n"), "{text}");
    assert!(text.contains("\r\n\r\n<p>=C3=A4</p>\r\n--b 1\r\n"), "{text}");
    assert!(text.contains("Subject: =?utf-8?B?aW5uZXIgw7Y=?=\r\n"), "{text}");
    assert!(text.contains("\r\n--b 1--\r\nepilogue\r\n"), "{text}");
    assert_eq!(text.matches("Content-Transfer-Encoding: 7bit").count(), 2);
}

#[test]
fn names_and_subjects_become_words() {
    let long = "\u{e4}".repeat(60);
    let message = format!(
        "From: \"J\u{f6}, A\" <a@x.test>, b@x.test, Z\u{f6}e <z@x.test>\r\nSubject: {long}\r\n\r\nx\r\n"
    );
    let converted = converted(message.as_bytes());
    let parsed = MessageParser::default().parse(&converted).unwrap();
    assert_eq!(parsed.subject(), Some(long.as_str()));
    let from = parsed.from().unwrap().as_list().unwrap();
    let names: Vec<_> = from.iter().map(|one| (one.name(), one.address())).collect();
    let wanted = [
        (Some("J\u{f6}, A"), Some("a@x.test")),
        (None, Some("b@x.test")),
        (Some("Z\u{f6}e"), Some("z@x.test")),
    ];
    assert_eq!(names, wanted);
}

#[test]
fn what_has_no_other_form_is_left_to_others() {
    for message in [
        "To: j\u{f6}@x.test\r\n\r\nx\r\n",
        "To: <j\u{f6}@x.test>\r\n\r\nx\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e4}\r\n--b--\r\n",
        "Content-Type: multipart/mixed\r\n\r\n\u{e4}\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\n\u{e4}\r\n",
    ] {
        assert_eq!(seven_bit(message.as_bytes()), None, "{message}");
    }
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(60) + "\r\n\u{e4}\r\n";
    assert_eq!(seven_bit(nested.as_bytes()), None);
}

#[test]
fn long_lines_are_encoded_too() {
    let message = format!("Subject: x\r\n\r\n{}\r\n", "word ".repeat(300));
    assert_eq!(
        contents(&converted(message.as_bytes())),
        [format!("{}\r\n", "word ".repeat(300)).as_bytes()]
    );
}

proptest! {
    /// Whatever it is given, the result is 7-bit and its content the same.
    #[test]
    fn any_body_keeps_its_content(body in proptest::collection::vec(any::<u8>(), 0..2_000), text in any::<bool>()) {
        let kind = if text { "text/plain" } else { "application/x-thing" };
        let mut message = format!("Content-Type: {kind}\r\n\r\n").into_bytes();
        message.extend_from_slice(&body);
        let result = converted(&message);
        let (from, to) = (header::body_start(&message), header::body_start(&result));
        if result != message {
            let parsed = MessageParser::default().parse(&result).unwrap();
            let part = &parsed.parts[0];
            // Text is decoded by its charset; the octets are what counts here.
            if part.content_transfer_encoding().is_some_and(|encoding| encoding == "base64") || !text {
                prop_assert!(part.contents() == &message[from..] || text);
            }
            prop_assert!(to < result.len() || body.is_empty());
        }
    }

    #[test]
    fn nothing_panics(message in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Some(result) = seven_bit(&message) {
            prop_assert!(is_seven_bit(&result));
        }
    }

    #[test]
    fn quoted_printable_says_the_same(text in "[ -~\u{e4}\u{20ac}\t]{0,300}(\r\n[ -~\u{e4}\t]{0,200}){0,4}") {
        let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\u{e4}{}\r\n", "x".repeat(3 * text.len()));
        let result = converted(message.as_bytes());
        let wanted = &message.as_bytes()[header::body_start(message.as_bytes())..];
        prop_assert_eq!(contents(&result), [wanted]);
    }
}
