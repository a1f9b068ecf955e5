//! Structures as the RFCs show them, and of malformed mail.

use super::*;
use crate::scan::Scanner;
use proptest::prelude::*;

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

#[test]
fn the_envelope_of_rfc_9051() {
    let header = b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
        From: Terry Gray <gray@cac.washington.edu>\r\n\
        Subject: IMAP4rev2 WG mtg summary and minutes\r\n\
        To: imap@cac.washington.edu\r\n\
        cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
        Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n";
    assert_eq!(
        text(envelope(header)),
        "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((NIL NIL \"imap\" \"cac.washington.edu\")) \
         ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) \
         NIL NIL \"<B27397-0100000@cac.washington.edu>\")"
    );
}

#[test]
fn envelopes_of_odd_headers() {
    assert_eq!(text(envelope(b"\r\nFrom: x@y\r\n")), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    assert_eq!(
        text(envelope(b"Subject:\r\nTo: \r\n")),
        "(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)"
    );
    let header = "Subject: =?utf-8?q?a?=\r\n =?utf-8?q?b?=\r\nFrom: \"J\u{f6}\" <j@x>\r\nSender:\r\nReply-To: r@x\r\n\
        Subject: second\r\nTo: g: a@b;\r\n";
    assert_eq!(
        text(envelope(header.as_bytes())),
        "(NIL \"=?utf-8?q?a?= =?utf-8?q?b?=\" (({3}\r\nJ\u{f6} NIL \"j\" \"x\")) (({3}\r\nJ\u{f6} NIL \"j\" \"x\")) \
         ((NIL NIL \"r\" \"x\")) ((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL)) NIL NIL NIL NIL)"
    );
    assert_eq!(
        envelope(b"Subject: \xe9\0\r\n"),
        b"(NIL {1}\r\n\xe9 NIL NIL NIL NIL NIL NIL NIL NIL)"
    );
    let long = [b"Subject: ".as_slice(), &[b'x'; 100_000], b"\r\n"].concat();
    assert!(envelope(&long).len() < 70_000);
}

#[test]
fn the_structures_of_rfc_9051() {
    // RFC 9051 §7.5.2, "BODY": a simple text message of 48 lines and 2279 octets.
    let mut message = b"Content-Type: text/plain; charset=US-ASCII\r\n\r\n".to_vec();
    message.extend_from_slice(&b"\r\n".repeat(48));
    message.extend_from_slice(&[b'x'; 2279 - 96]);
    assert_eq!(
        text(body(&message)),
        "(\"text\" \"plain\" (\"charset\" \"US-ASCII\") NIL NIL \"7BIT\" 2279 48)"
    );
    let message = b"Content-Type: multipart/mixed; boundary=x\r\nContent-Language: en, de\r\n\r\n\
        --x\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\none\r\n\
        --x\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=\"cc.diff\"\r\n\
        Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\
        Content-Transfer-Encoding: BASE64\r\nContent-MD5: Q2hlY2s=\r\nContent-Language: fr\r\n\
        Content-Location: http://x/\r\nContent-Disposition: attachment;\r\n filename*0*=utf-8''%e2;\r\n filename*1=\"b\"\r\n\
        \r\nb25l\r\n\r\n--x--\r\n";
    assert_eq!(
        text(body(message)),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 3 0)\
         (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \
         \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"BASE64\" 6 1) \"mixed\")"
    );
    assert_eq!(
        text(body_structure(message)),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 3 0 NIL NIL NIL NIL)\
         (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \
         \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"BASE64\" 6 1 \"Q2hlY2s=\" \
         (\"attachment\" (\"filename*0*\" \"utf-8''%e2\" \"filename*1\" \"b\")) \"fr\" \"http://x/\") \
         \"mixed\" (\"boundary\" \"x\") NIL (\"en\" \"de\") NIL)"
    );
}

#[test]
fn a_message_within() {
    let message = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: image/gif\r\n\r\nGIF\r\n";
    assert_eq!(
        text(body_structure(message)),
        "(\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 45 \
         (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) \
         (\"image\" \"gif\" NIL NIL NIL \"7BIT\" 5 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)"
    );
}

#[test]
fn malformed_mail_gives_something_sane() {
    let plain = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" ";
    assert_eq!(text(body(b"")), format!("{plain}0 0)"));
    assert_eq!(text(body(b"Content-Type: nonsense\r\n\r\nx\r\n")), format!("{plain}3 1)"));
    assert_eq!(text(body(b"Content-Type: multipart/mixed\r\n\r\nx\r\n")), format!("{plain}3 1)"));
    assert_eq!(
        text(body(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nx\r\n")),
        format!("{plain}3 1)")
    );
    assert_eq!(text(body(b"Content-Transfer-Encoding: ?bad\r\n\r\n")), format!("{plain}0 0)"));
    assert_eq!(
        text(body_structure(
            b"Content-Type: a/b; c=\"\xc3\xa9\"\r\nContent-Disposition: ;x=y\r\n\r\n"
        )),
        "(\"a\" \"b\" (\"c\" {2}\r\n\u{e9}) NIL NIL \"7BIT\" 0 NIL NIL NIL NIL)"
    );
}

#[test]
fn all_at_once_is_the_same() {
    let message = b"Subject: x\r\n\r\nbody\r\n";
    let summary = summarise(message);
    assert_eq!(summary.envelope, envelope(message));
    assert_eq!(summary.body, body(message));
    assert_eq!(summary.body_structure, body_structure(message));
    assert_eq!(summary.header_length, 14);
}

/// Whether the octets are one parenthesised list of lists, strings, numbers and NIL.
pub(crate) fn is_well_formed(octets: &[u8]) -> bool {
    let mut scanner = Scanner::new(octets, 200);
    is_list(&mut scanner) && scanner.finish().is_ok()
}

fn is_list(scanner: &mut Scanner<'_>) -> bool {
    if !scanner.eat(b'(') || scanner.peek() == Some(b')') {
        return false;
    }
    loop {
        let item = match scanner.peek() {
            Some(b'(') => is_list(scanner),
            Some(b'"' | b'{') => scanner.string().is_ok(),
            Some(b'0'..=b'9') => scanner.number64().is_ok(),
            _ => scanner.eat_keyword("NIL"),
        };
        // Bodies of a multipart and addresses stand side by side without a space.
        if !item {
            return false;
        }
        if scanner.eat(b')') {
            return true;
        }
        if !scanner.eat(b' ') && scanner.peek() != Some(b'(') {
            return false;
        }
    }
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n".to_vec()),
        Just(b"Content-Type: multipart/digest; boundary=\"ab\"\r\n\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n\r\n".to_vec()),
        Just(b"Content-Disposition: attachment; filename=\"\xff\\\"\r\n".to_vec()),
        Just(b"From: a <b@c>, (x) \"y\" <@r:z@w>;: g:;\r\n".to_vec()),
        Just(b"--a\r\n".to_vec()),
        Just(b"--a--\r\n".to_vec()),
        Just(b"--ab\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"text\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn structures_are_well_formed(fragments in proptest::collection::vec(fragment(), 0..30)) {
        let message = fragments.concat();
        let summary = summarise(&message);
        prop_assert!(is_well_formed(&summary.envelope), "{:?}", String::from_utf8_lossy(&summary.envelope));
        prop_assert!(is_well_formed(&summary.body), "{:?}", String::from_utf8_lossy(&summary.body));
        prop_assert!(is_well_formed(&summary.body_structure));
        let tree = crate::mime::Tree::parse(&message);
        for part in tree.parts() {
            prop_assert!(part.header.end <= part.body.start && part.body.end <= message.len());
        }
        for path in [&[1][..], &[2], &[1, 1], &[1, 1, 1], &[2, 1]] {
            for text in [crate::SectionText::Whole, crate::SectionText::Header, crate::SectionText::Mime] {
                let _ = crate::section::section(&message, &crate::Section { part: path.to_vec(), text });
            }
            let _ = crate::section::binary(&message, path);
        }
    }
}
