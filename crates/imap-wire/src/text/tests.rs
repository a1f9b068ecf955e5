//! Examples of RFC 2047, RFC 2231 and RFC 5051.

use super::*;
use proptest::prelude::*;

#[test]
fn encoded_words() {
    // RFC 2047 §8.
    for (raw, expected) in [
        ("(=?ISO-8859-1?Q?a?=)", "(a)"),
        ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
        ("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
        ("(=?ISO-8859-1?Q?a?=  \t =?utf-8?Q?b?=)", "(ab)"),
        ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
        ("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
        ("=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"),
        ("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
        // A letter in two words, as some mailers cut it.
        ("=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"),
        ("=?utf-8?x?abc?= =? =?a?q?b", "=?utf-8?x?abc?= =? =?a?q?b"),
        ("plain", "plain"),
        ("=?UTF-8*de?q?=C3=A4?=", "ä"),
        ("=?utf-7?q?+AOQ-?=", "ä"),
    ] {
        assert_eq!(decode_words(raw.as_bytes()), expected, "{raw}");
    }
    assert_eq!(decode_words(b"caf\xe9"), "café");
    assert_eq!(decode_words("café".as_bytes()), "café");
    assert_eq!(header_value(b" a\r\n\tb \r\n"), "a\tb");
    let hostile = b"=?a?q?x".repeat(200_000);
    assert_eq!(decode_words(&hostile).len(), hostile.len());
}

#[test]
fn parameters() {
    let read = |raw: &str, name: &str| parameter(&Value::parse(raw.as_bytes()).parameters, name);
    // RFC 2231 §4.1.
    let raw = "message/external-body; title*0*=us-ascii'en'This%20is%20even%20more%20; \
        title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"";
    assert_eq!(read(raw, "title").as_deref(), Some("This is even more ***fun*** isn't it!"));
    assert_eq!(read("a; url*0=\"ftp://\"; URL*1=\"x\"", "url").as_deref(), Some("ftp://x"));
    assert_eq!(
        read("a; filename*=utf-8''%e2%82%ac%2; filename=x", "filename").as_deref(),
        Some("€%2")
    );
    assert_eq!(read("a; filename=\"=?utf-8?q?=C3=A4?=\"", "filename").as_deref(), Some("ä"));
    assert_eq!(read("a; filenames=x; filename*z=y", "filename"), None);
}

#[test]
fn folding() {
    assert_eq!(fold("HeLLo"), "hello");
    assert_eq!(fold("STRASSE"), fold("straße"));
    assert_eq!(fold("ΣΊΣΥΦΟΣ"), fold("σίσυφος"));
    assert_eq!(fold("É"), fold("e\u{301}"));
    assert_ne!(fold("É"), fold("e"));
    assert_eq!(fold("ﬁ Ⅷ"), "fi viii");
}

#[test]
fn texts_of_a_message() {
    let message = "Subject: =?utf-8?q?=C3=A4?=\r\nsubject: two\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>=E4</b>\r\n\
        --x\r\nContent-Type: application/pdf; name=\"b.pdf\"\r\n\
        Content-Disposition: attachment; filename=\"a.pdf\"\r\n\r\n%PDF\r\n\
        --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--x--\r\n";
    let tree = Tree::parse(message.as_bytes());
    assert_eq!(header_values(message.as_bytes(), "SUBJECT"), ["ä", "two"]);
    assert!(
        header_text(message.as_bytes())
            .starts_with("Subject: ä\nsubject: two\nContent-Type: multipart/mixed")
    );
    let texts: Vec<_> = text_parts(&tree).collect();
    assert_eq!(texts[0], TextPart { html: true, text: "<b>ä</b>".into() });
    assert_eq!(texts[1].text, "inner");
    assert_eq!(texts.len(), 2);
    assert_eq!(inner_headers(&tree).collect::<Vec<_>>(), ["Subject: in\n"]);
    assert_eq!(attachment_names(&tree), ["a.pdf", "b.pdf"]);
}

proptest! {
    #[test]
    fn decoding_is_total(value in proptest::collection::vec(any::<u8>(), 0..80), label in "[a-z0-9*-]{0,12}") {
        decode_words(&value);
        decode_charset(label.as_bytes(), &value);
        let parsed = Value::parse(&value);
        parameter(&parsed.parameters, "a");
    }

    #[test]
    fn folding_twice_changes_nothing(text in ".*") {
        let once = fold(&text);
        prop_assert_eq!(fold(&once), once);
    }
}
