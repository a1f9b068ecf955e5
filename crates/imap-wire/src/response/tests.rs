//! Responses as they stand in the RFCs, and what must not get through.

use super::*;
use crate::command::list::StatusItem;
use crate::date::InternalDate;
use crate::flag::SpecialUse;
use crate::mailbox_name::NameForm;
use crate::scan::Scanner;
use crate::section::{Partial, Section, SectionText};
use proptest::prelude::*;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn set(numbers: &[u32]) -> NumberSet {
    numbers.iter().copied().collect()
}

#[test]
fn status_lines() {
    assert_eq!(text(|o| status_line(o, None, Status::Ok, None, "ready")), "* OK ready\r\n");
    assert_eq!(
        text(|o| status_line(o, Some("A1"), Status::No, Some(&Code::TryCreate), "no such mailbox")),
        "A1 NO [TRYCREATE] no such mailbox\r\n"
    );
    assert_eq!(text(|o| status_line(o, None, Status::Bye, None, "")), "* BYE -\r\n");
    assert_eq!(
        text(|o| status_line(o, None, Status::Ok, None, "[ALERT] x")),
        "* OK -[ALERT] x\r\n"
    );
    assert_eq!(
        text(|o| status_line(o, Some("a\r\nb"), Status::Bad, None, "x\r\n* OK é")),
        "a??b BAD x??* OK ?\r\n"
    );
    assert_eq!(text(|o| continuation(o, "idling")), "+ idling\r\n");
    assert_eq!(text(|o| continuation(o, "")), "+ \r\n");
}

#[test]
fn codes() {
    let line = |code: Code| text(|o| code.write(o));
    assert_eq!(
        line(Code::AppendUid { uid_validity: 38505, uids: set(&[3955]) }),
        "APPENDUID 38505 3955"
    );
    assert_eq!(
        line(Code::CopyUid {
            uid_validity: 38505,
            from: set(&[304, 319, 320]),
            to: set(&[3956, 3957, 3958])
        }),
        "COPYUID 38505 304,319:320 3956:3958"
    );
    assert_eq!(
        line(Code::BadCharset(vec!["US-ASCII".into(), "UTF-8".into()])),
        "BADCHARSET (US-ASCII UTF-8)"
    );
    assert_eq!(line(Code::Modified(set(&[7, 9]))), "MODIFIED 7,9");
    let flags = vec![Flag::Deleted, Flag::Seen];
    assert_eq!(
        line(Code::PermanentFlags { flags, any: true }),
        "PERMANENTFLAGS (\\Deleted \\Seen \\*)"
    );
    assert_eq!(line(Code::PermanentFlags { flags: vec![], any: false }), "PERMANENTFLAGS ()");
    assert_eq!(line(Code::UidNext(4392)), "UIDNEXT 4392");
    assert_eq!(
        line(Code::Capability(vec!["IMAP4rev2".into(), "a]\r\n".into()])),
        "CAPABILITY IMAP4rev2 a???"
    );
    assert_eq!(line(Code::PrivacyRequired), "PRIVACYREQUIRED");
}

#[test]
fn lists() {
    let attributes = [ListAttribute::HasNoChildren, ListAttribute::Use(SpecialUse::Sent)];
    let mut response = ListResponse {
        kind: ListKind::List,
        attributes: &attributes,
        name: "Entwürfe & x",
        child_info: &[],
        old_name: None,
    };
    assert_eq!(
        text(|o| list(o, NameForm::ModifiedUtf7, &response)),
        "* LIST (\\HasNoChildren \\Sent) \"/\" \"Entw&APw-rfe &- x\"\r\n"
    );
    assert_eq!(
        text(|o| list(o, NameForm::Utf8, &response)),
        "* LIST (\\HasNoChildren \\Sent) \"/\" \"Entwürfe & x\"\r\n"
    );
    response.name = "Fruit";
    response.attributes = &[];
    response.child_info = &["SUBSCRIBED", "SPECIAL-USE"];
    assert_eq!(
        text(|o| list(o, NameForm::Utf8, &response)),
        "* LIST () \"/\" Fruit (\"CHILDINFO\" (\"SUBSCRIBED\" \"SPECIAL-USE\"))\r\n"
    );
    response.old_name = Some("Frucht");
    assert!(text(|o| list(o, NameForm::Utf8, &response)).ends_with(" \"OLDNAME\" (Frucht))\r\n"));
    let root = ListResponse {
        kind: ListKind::Lsub,
        attributes: &[],
        name: "",
        child_info: &[],
        old_name: None,
    };
    assert_eq!(text(|o| list(o, NameForm::Utf8, &root)), "* LSUB () \"/\" \"\"\r\n");
    // A name that an encoder would let through with line ends goes out as a literal or encoded.
    let odd = ListResponse { name: "a\r\nb", ..root };
    assert_eq!(text(|o| list(o, NameForm::Utf8, &odd)), "* LSUB () \"/\" {4}\r\na\r\nb\r\n");
    assert_eq!(text(|o| list(o, NameForm::ModifiedUtf7, &odd)), "* LSUB () \"/\" a&AA0ACg-b\r\n");
}

#[test]
fn untagged_data() {
    assert_eq!(
        text(|o| status(
            o,
            "blurdybloop",
            NameForm::Utf8,
            &[(StatusItem::Messages, 231), (StatusItem::UidNext, 44292)]
        )),
        "* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292)\r\n"
    );
    assert_eq!(text(|o| search(o, [2, 84, 882], None)), "* SEARCH 2 84 882\r\n");
    assert_eq!(
        text(|o| search(o, [2, 5], Some(917_162_500))),
        "* SEARCH 2 5 (MODSEQ 917162500)\r\n"
    );
    assert_eq!(text(|o| search(o, [], None)), "* SEARCH\r\n");
    let result = Esearch { min: Some(2), count: Some(3), ..Esearch::default() };
    assert_eq!(
        text(|o| esearch(o, "A282", false, &result)),
        "* ESEARCH (TAG \"A282\") MIN 2 COUNT 3\r\n"
    );
    let result = Esearch { all: Some(Numbers::Set(set(&[2, 10, 11]))), ..Esearch::default() };
    assert_eq!(
        text(|o| esearch(o, "A283", true, &result)),
        "* ESEARCH (TAG \"A283\") UID ALL 2,10:11\r\n"
    );
    let result = Esearch { all: Some(Numbers::Set(set(&[]))), ..Esearch::default() };
    assert_eq!(text(|o| esearch(o, "a", true, &result)), "* ESEARCH (TAG \"a\") UID\r\n");
    assert_eq!(
        text(|o| vanished(o, true, &set(&[41, 43, 44]))),
        "* VANISHED (EARLIER) 41,43:44\r\n"
    );
    assert_eq!(text(|o| vanished(o, false, &set(&[]))), "");
    assert_eq!(
        text(|o| flags_line(o, &[Flag::Seen, Flag::Keyword("$x".into())])),
        "* FLAGS (\\Seen $x)\r\n"
    );
    assert_eq!(text(|o| enabled(o, &["CONDSTORE"])), "* ENABLED CONDSTORE\r\n");
    assert_eq!(
        text(|o| id(o, &[("name", Some("Létter\r\n")), ("v", None)])),
        "* ID (\"name\" \"L?tter??\" \"v\" NIL)\r\n"
    );
    assert_eq!(text(|o| id(o, &[])), "* ID NIL\r\n");
    assert_eq!(text(namespace), "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    assert_eq!(
        text(|o| capability(o, &["IMAP4rev2", "SASL-IR"])),
        "* CAPABILITY IMAP4rev2 SASL-IR\r\n"
    );
}

#[test]
fn fetch_responses() {
    let fetched = text(|out| {
        let mut fetch = FetchResponse::begin(out, 23);
        fetch.uid(out, 9);
        fetch.flags(out, &[Flag::Seen]);
        fetch.modseq(out, 624_140_003);
        fetch.size(out, 44827);
        fetch.internal_date(out, InternalDate::parse(" 1-Jul-1996 02:44:25 -0700").unwrap());
        fetch.envelope(out, b"(NIL)");
        fetch.finish(out);
    });
    assert_eq!(
        fetched,
        "* 23 FETCH (UID 9 FLAGS (\\Seen) MODSEQ (624140003) RFC822.SIZE 44827 \
         INTERNALDATE \" 1-Jul-1996 02:44:25 -0700\" ENVELOPE (NIL))\r\n"
    );
    let section = Section {
        part: vec![4, 1],
        text: SectionText::HeaderFields(vec!["DATE".into(), "X y".into()]),
    };
    let fetched = text(|out| {
        let mut fetch = FetchResponse::begin(out, 1);
        fetch.section(
            out,
            &section,
            Some(Partial { offset: 5, length: 9 }),
            BodyOctets::Octets(b"a\r\nb"),
        );
        fetch.section(out, &Section::default(), None, BodyOctets::Missing);
        fetch.rfc822(out, "RFC822.TEXT", BodyOctets::Following(2));
        out.extend_from_slice(b"xy");
        fetch.binary(out, &[1, 2], None, Some(b"\0"));
        fetch.binary_size(out, &[], 7);
        fetch.finish(out);
    });
    assert_eq!(
        fetched,
        "* 1 FETCH (BODY[4.1.HEADER.FIELDS (DATE \"X y\")]<5> {4}\r\na\r\nb BODY[] NIL RFC822.TEXT {2}\r\nxy \
         BINARY[1.2] ~{1}\r\n\0 BINARY.SIZE[] 7)\r\n"
    );
}

#[test]
fn strings() {
    assert_eq!(text(|o| string(o, b"a \"b\\")), "\"a \\\"b\\\\\"");
    assert_eq!(text(|o| string(o, "é".as_bytes())), "{2}\r\né");
    assert_eq!(text(|o| string(o, b"a\0b")), "{2}\r\nab");
    assert_eq!(text(|o| string(o, b"a\nb")), "{3}\r\na\nb");
    assert_eq!(text(|o| nstring(o, None)), "NIL");
    assert_eq!(text(|o| astring(o, b"INBOX]")), "INBOX]");
    assert_eq!(text(|o| astring(o, b"nil")), "\"nil\"");
    assert_eq!(text(|o| astring(o, b"")), "\"\"");
    assert!(text(|o| string(o, &[b'x'; 1001])).starts_with("{1001}\r\n"));
}

proptest! {
    #[test]
    fn astrings_round_trip(octets in proptest::collection::vec(1u8.., 0..40)) {
        let mut out = Vec::new();
        astring(&mut out, &octets);
        let mut scanner = Scanner::new(&out, 1);
        prop_assert_eq!(scanner.astring(), Ok(octets));
        prop_assert!(scanner.finish().is_ok());
    }

    #[test]
    fn no_text_breaks_a_line(tag in ".*", words in ".*") {
        let line = text(|o| status_line(o, Some(&tag), Status::Ok, Some(&Code::Alert), &words));
        prop_assert_eq!(line.matches(['\r', '\n']).count(), 2);
        prop_assert!(line.is_ascii());
    }
}
