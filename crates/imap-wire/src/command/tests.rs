//! Commands as they stand in the RFCs, and what is not a command.

use super::fetch::FetchItem;
use super::search::{SearchKey, SearchReturn};
use super::*;
use crate::flag::Flag;
use crate::mailbox_name::NameForm;
use crate::section::{Partial, Section, SectionText};
use jiff::civil::Date;

fn command(text: &str) -> Command {
    let tagged = parse(text.as_bytes(), 20).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
    tagged.command
}

fn refused(text: &str) -> Option<String> {
    let failure = parse(text.as_bytes(), 20).expect_err(text);
    assert_ne!(failure.error, SyntaxError::Charset);
    failure.tag
}

fn name(text: &str) -> MailboxName {
    MailboxName::from_wire(text.into())
}

fn set(text: &str) -> SequenceSet {
    SequenceSet::parse(text).unwrap()
}

fn search(text: &str) -> SearchKey {
    match command(&format!("a SEARCH {text}")) {
        Command::Search(search) => search.program.key,
        other => panic!("{other:?}"),
    }
}

fn fetch(text: &str) -> Vec<FetchItem> {
    match command(&format!("a FETCH 1 {text}")) {
        Command::Fetch(fetch) => fetch.items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_commands() {
    for (text, expected) in [
        ("abcd CAPABILITY", Command::Capability),
        ("a002 noop", Command::Noop),
        ("A023 LOGOUT", Command::Logout),
        ("a002 STARTTLS", Command::StartTls),
        ("A001 NAMESPACE", Command::Namespace),
        ("A002 IDLE", Command::Idle),
        ("FXXZ CHECK", Command::Check),
        ("A341 CLOSE", Command::Close),
        ("A342 UNSELECT", Command::Unselect),
        ("A202 EXPUNGE", Command::Expunge),
        ("A003 UID EXPUNGE 3000:3002", Command::UidExpunge(set("3000:3002"))),
        (
            "t1 ENABLE CONDSTORE X-GOOD-IDEA",
            Command::Enable(vec!["CONDSTORE".into(), "X-GOOD-IDEA".into()]),
        ),
        ("A683 DELETE blurdybloop", Command::Delete(name("blurdybloop"))),
        ("A002 SUBSCRIBE #news.comp.mail.mime", Command::Subscribe(name("#news.comp.mail.mime"))),
        ("A002 UNSUBSCRIBE \"a b\"", Command::Unsubscribe(name("a b"))),
        (
            "A003 CREATE owatagusiam/blurdybloop",
            Command::Create { mailbox: name("owatagusiam/blurdybloop"), uses: vec![] },
        ),
        ("a RENAME \"x\" {1}\r\ny", Command::Rename { from: name("x"), to: name("y") }),
        ("a ID NIL", Command::Id(vec![])),
        (
            "a ID (\"name\" \"x\" \"v\" NIL)",
            Command::Id(vec![("name".into(), Some("x".into())), ("v".into(), None)]),
        ),
    ] {
        assert_eq!(command(text), expected, "{text}");
    }
    assert_eq!(
        command("a CREATE x (USE (\\Drafts \\Odd))"),
        Command::Create { mailbox: name("x"), uses: vec![Some(SpecialUse::Drafts), None] }
    );
}

#[test]
fn what_is_no_command() {
    for text in ["", " NOOP", "+a NOOP", "a+ NOOP", "a(NOOP"] {
        assert_eq!(refused(text), None, "{text}");
    }
    for text in [
        "a",
        "a ",
        "a FOO",
        "a NOOP ",
        "a NOOP x",
        "a LOGIN",
        "a LOGIN x",
        "a LOGIN x y z",
        "a LOGIN \"x y",
        "a LOGIN \"x\\y\" z",
        "a ENABLE",
        "a SELECT",
        "a SELECT ()",
        "a SELECT x y",
        "a CREATE x (FOO)",
        "a UID",
        "a UID NOOP",
        "a UID EXPUNGE",
        "a STATUS x ()",
        "a STATUS x (FOO)",
        "a STATUS x MESSAGES",
        "a AUTHENTICATE",
        "a AUTHENTICATE PLAIN ",
        "a AUTHENTICATE PLAIN !",
        "a ID",
        "a ID (\"x\")",
        "a COPY 0 x",
        "a COPY 1",
        "a APPEND x",
        "a EXPUNGE 1",
        "a DELETE \"x\0\"",
        "a DELETE caf\u{e9}",
        "a LOGIN {3}\r\nab",
        "a LOGIN {3} abc d",
        "a  NOOP",
    ] {
        assert!(parse(text.as_bytes(), 20).is_err(), "{text}");
    }
    let fields = "\"a\" NIL ".repeat(31);
    assert!(refused(&format!("a ID ({})", fields.trim_end())).is_some());
}

#[test]
fn logins() {
    let Command::Authenticate { mechanism, initial } = command("a AUTHENTICATE plain =") else {
        panic!()
    };
    assert_eq!((mechanism.as_str(), initial.unwrap().expose()), ("PLAIN", &b"="[..]));
    assert_eq!(
        command("a001 LOGIN SMITH SESAME"),
        Command::Login { user: "SMITH".into(), password: Secret::new(b"SESAME".to_vec()) }
    );
    assert!(matches!(command("a LOGIN \"\" \"\""), Command::Login { .. }));
}

#[test]
fn selecting() {
    let Command::Select(select) = command("A142 SELECT INBOX (CONDSTORE)") else { panic!() };
    assert!(select.condstore && select.qresync.is_none());
    // RFC 7162 §3.2.5.2.
    let Command::Examine(select) = command(
        "A02 EXAMINE INBOX (QRESYNC (67890007 90060115194045000 41,43:211,214:541 (1,5 10,20)))",
    ) else {
        panic!()
    };
    let qresync = select.qresync.unwrap();
    assert_eq!((qresync.uid_validity, qresync.modseq), (67_890_007, 90_060_115_194_045_000));
    assert_eq!(qresync.known_uids, Some(set("41,43:211,214:541")));
    assert_eq!(qresync.sequence_match, Some((set("1,5"), set("10,20"))));
    for text in ["QRESYNC (1 2)", "QRESYNC (1 2 (1 2))", "CONDSTORE QRESYNC (1 2 3)"] {
        assert!(matches!(command(&format!("a SELECT x ({text})")), Command::Select(_)), "{text}");
    }
    for text in [
        "QRESYNC (1)",
        "QRESYNC (0 2)",
        "QRESYNC (1 0)",
        "QRESYNC (1 2 *)",
        "QRESYNC (1 2 $)",
        "FOO",
    ] {
        assert!(refused(&format!("a SELECT x ({text})")).is_some(), "{text}");
    }
}

#[test]
fn listing() {
    let list = |text: &str| match command(text) {
        Command::List(list) => list,
        other => panic!("{other:?}"),
    };
    let basic = list("A101 LIST \"\" \"\"");
    assert_eq!((basic.selection, basic.patterns, basic.returns), (None, vec![name("")], None));
    assert_eq!(list("A202 LIST ~/Mail/ %").reference, name("~/Mail/"));
    assert_eq!(list("a LIST \"\" foo]*%").patterns, [name("foo]*%")]);
    // RFC 9051 §6.3.9.8.
    let some =
        list("A04 LIST (REMOTE RECURSIVEMATCH SUBSCRIBED) \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")")
            .selection
            .unwrap();
    assert!(some.remote && some.recursive_match && some.subscribed && !some.special_use);
    let with = list(
        "A06 LIST (SPECIAL-USE) \"\" % RETURN (CHILDREN SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UNSEEN))",
    );
    let returns = with.returns.unwrap();
    assert!(returns.children && returns.subscribed && returns.special_use);
    assert_eq!(returns.status, Some(vec![StatusItem::Messages, StatusItem::Unseen]));
    assert_eq!(list("a LIST () \"\" % RETURN ()").selection, Some(list::ListSelection::default()));
    for bad in [
        "(RECURSIVEMATCH) \"\" %",
        "(RECURSIVEMATCH REMOTE) \"\" %",
        "(FOO) \"\" %",
        "\"\" ()",
        "\"\" % RETURN",
        "\"\" % RETURN (FOO)",
        "\"\" % FOO ()",
        "\"\"",
        "\"\" % RETURN (STATUS)",
    ] {
        assert!(refused(&format!("a LIST {bad}")).is_some(), "{bad}");
    }
    assert_eq!(
        command("#00 LSUB \"#news.\" \"comp.mail.*\""),
        Command::Lsub { reference: name("#news."), pattern: name("comp.mail.*") }
    );
    assert_eq!(
        command("A042 STATUS blurdybloop (UIDNEXT MESSAGES SIZE HIGHESTMODSEQ)"),
        Command::Status {
            mailbox: name("blurdybloop"),
            items: vec![
                StatusItem::UidNext,
                StatusItem::Messages,
                StatusItem::Size,
                StatusItem::HighestModSeq
            ],
        }
    );
}

#[test]
fn storing_and_copying() {
    let Command::Store(store) = command("A003 STORE 2:4 +FLAGS (\\Deleted)") else { panic!() };
    assert_eq!((store.action, store.silent, store.uid), (StoreAction::Add, false, false));
    assert_eq!(store.flags, [Flag::Deleted]);
    let Command::Store(store) =
        command("a UID STORE $ (UNCHANGEDSINCE 320162338) -FLAGS.SILENT \\Seen $x")
    else {
        panic!()
    };
    assert_eq!((store.action, store.silent, store.uid), (StoreAction::Remove, true, true));
    assert_eq!((store.set, store.unchanged_since), (SequenceSet::Saved, Some(320_162_338)));
    assert_eq!(store.flags, [Flag::Seen, Flag::Keyword("$x".into())]);
    let Command::Store(store) = command("a STORE 1 FLAGS ()") else { panic!() };
    assert_eq!((store.action, store.flags.len()), (StoreAction::Replace, 0));
    for bad in [
        "1 FLAGS",
        "1 FLAG (\\Seen)",
        "1 +-FLAGS (x)",
        "1 FLAGS (\\*)",
        "1 (FOO 1) FLAGS ()",
        "1 FLAGS (x",
        "1 FLAGS x ",
    ] {
        assert!(refused(&format!("a STORE {bad}")).is_some(), "{bad}");
    }
    let Command::Move(one) = command("a UID MOVE 42:69 foo") else { panic!() };
    assert!(one.uid && one.mailbox.decode(NameForm::Utf8).as_deref() == Some("foo"));
    assert!(matches!(
        command("A003 COPY 2:4 MEETING"),
        Command::Copy(CopyCommand { uid: false, .. })
    ));
}

#[test]
fn fetching() {
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    assert_eq!(fetch("FAST"), fast);
    assert_eq!(fetch("all"), [&fast[..], &[FetchItem::Envelope]].concat());
    assert_eq!(fetch("FULL"), [&fast[..], &[FetchItem::Envelope, FetchItem::Body]].concat());
    assert_eq!(
        fetch("(RFC822 RFC822.HEADER RFC822.TEXT BODYSTRUCTURE BODY UID MODSEQ)"),
        [
            FetchItem::Rfc822,
            FetchItem::Rfc822Header,
            FetchItem::Rfc822Text,
            FetchItem::BodyStructure,
            FetchItem::Body,
            FetchItem::Uid,
            FetchItem::ModSeq,
        ]
    );
    let section = |text: &str| match fetch(text).remove(0) {
        FetchItem::Section { section, partial, peek } => (section, partial, peek),
        other => panic!("{other:?}"),
    };
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(section("BODY[]"), (Section::default(), None, false));
    assert_eq!(
        section("body.peek[4.2.HEADER.FIELDS (DATE \"From\")]<0.2048>"),
        (
            Section {
                part: vec![4, 2],
                text: SectionText::HeaderFields(fields(&["DATE", "From"]))
            },
            Some(Partial { offset: 0, length: 2048 }),
            true
        )
    );
    assert_eq!(
        section("BODY[HEADER.FIELDS.NOT (X)]").0.text,
        SectionText::HeaderFieldsNot(fields(&["X"]))
    );
    assert_eq!(section("BODY[1]").0, Section { part: vec![1], text: SectionText::Whole });
    assert_eq!(
        section("BODY[4.2.2.1.MIME]").0,
        Section { part: vec![4, 2, 2, 1], text: SectionText::Mime }
    );
    assert_eq!(section("BODY[TEXT]").0.text, SectionText::Text);
    assert_eq!(
        fetch("(BINARY[1.2]<5.6> BINARY.PEEK[] BINARY.SIZE[4])"),
        [
            FetchItem::Binary {
                part: vec![1, 2],
                partial: Some(Partial { offset: 5, length: 6 }),
                peek: false
            },
            FetchItem::Binary { part: vec![], partial: None, peek: true },
            FetchItem::BinarySize { part: vec![4] },
        ]
    );
    assert!(fetch("BODY[TEXT]")[0].sets_seen() && !fetch("BODY.PEEK[TEXT]")[0].sets_seen());
    assert!(fetch("RFC822")[0].sets_seen() && !fetch("RFC822.HEADER")[0].sets_seen());
    for bad in [
        "()",
        "BODY[MIME]",
        "BODY[0]",
        "BODY[1.]",
        "BODY[.1]",
        "BODY[FOO]",
        "BODY[1",
        "BODY[]<0.0>",
        "BODY[]<0>",
        "BODY[HEADER.FIELDS ()]",
        "BODY[HEADER.FIELDS (\"a\u{e9}\")]",
        "BINARY[1.]",
        "BINARY[TEXT]",
        "BINARY.SIZE[1]<0.1>",
        "ENVELOPE[]",
        "(FAST)",
        "BODY[1.HEADER FIELDS]",
        "FLAGS UID",
        "BODY.PEEK",
        "BODY[1]x",
    ] {
        assert!(refused(&format!("a FETCH 1 {bad}")).is_some(), "{bad}");
    }
    let Command::Fetch(command) =
        command("s UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)")
    else {
        panic!()
    };
    assert!(command.uid && command.modifiers.vanished);
    assert_eq!(command.modifiers.changed_since, Some(12345));
}

#[test]
fn one_fetch_cannot_ask_for_thousands_of_pieces() {
    let items = |count| format!("({})", vec!["BINARY.SIZE[1]"; count].join(" "));
    assert_eq!(fetch(&items(256)).len(), 256);
    assert_eq!(refused(&format!("a FETCH 1 {}", items(257))).as_deref(), Some("a"));
}

#[test]
fn searching() {
    let seen = || SearchKey::Flag(Flag::Seen);
    let not = |key| SearchKey::Not(Box::new(key));
    // RFC 9051 §6.4.4.
    assert_eq!(
        search("FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        SearchKey::And(vec![
            SearchKey::Flag(Flag::Flagged),
            SearchKey::Since(Date::constant(1994, 2, 1)),
            not(SearchKey::From("Smith".into())),
        ])
    );
    assert_eq!(search("UNSEEN"), not(seen()));
    assert_eq!(search("NEW"), SearchKey::And(vec![SearchKey::Flag(Flag::Recent), not(seen())]));
    assert_eq!(search("OLD"), not(SearchKey::Flag(Flag::Recent)));
    assert_eq!(
        search("2,4:* UID 7"),
        SearchKey::And(vec![SearchKey::Sequence(set("2,4:*")), SearchKey::Uid(set("7"))])
    );
    assert_eq!(search("$"), SearchKey::Sequence(SequenceSet::Saved));
    assert_eq!(search("(SEEN)"), seen());
    assert_eq!(
        search("HEADER Message-Id \"\""),
        SearchKey::Header("Message-Id".into(), String::new())
    );
    assert_eq!(search("UNKEYWORD $x"), not(SearchKey::Flag(Flag::Keyword("$x".into()))));
    assert_eq!(search("SENTON \"17-Jul-1996\""), SearchKey::SentOn(Date::constant(1996, 7, 17)));
    assert_eq!(search("LARGER 4294967296 "[..].trim_end()), SearchKey::Larger(1 << 32));
    assert_eq!(search("YOUNGER 259200"), SearchKey::Younger(259_200));
    assert_eq!(search("MODSEQ \"/flags/\\\\draft\" all 620162338"), SearchKey::ModSeq(620_162_338));
    assert_eq!(search("MODSEQ 5"), SearchKey::ModSeq(5));
    assert_eq!(
        search("OR SEEN OR (ALL DELETED) BODY x"),
        SearchKey::Or(vec![
            seen(),
            SearchKey::And(vec![SearchKey::All, SearchKey::Flag(Flag::Deleted)]),
            SearchKey::Body("x".into())
        ])
    );
    for bad in [
        "",
        "FOO",
        "NOT",
        "OR SEEN",
        "(SEEN",
        "()",
        "SEEN ",
        "BEFORE x",
        "LARGER",
        "YOUNGER 0",
        "KEYWORD \\Seen",
        "RETURN (FOO) ALL",
        "RETURN (MIN)",
        "MODSEQ \"x\" all 1",
        "SUBJECT",
        "ON 31-Feb-2020",
        "0",
        "LARGER -1",
    ] {
        assert!(refused(&format!("a SEARCH {bad}")).is_some(), "{bad}");
    }
}

#[test]
fn search_options_and_charsets() {
    let Command::Search(found) =
        command("A282 UID SEARCH RETURN (MIN COUNT SAVE) CHARSET iso-8859-1 TEXT {3}\r\n\u{e9}x")
    else {
        panic!()
    };
    assert!(found.uid);
    assert_eq!(found.charset.as_deref(), Some("ISO-8859-1"));
    assert_eq!(
        found.returns,
        Some(SearchReturn { min: true, count: true, save: true, ..SearchReturn::default() })
    );
    assert_eq!(found.program.key, SearchKey::Text("Ã©x".into()));
    let Command::Search(found) = command("a SEARCH RETURN () CHARSET UTF-8 SUBJECT \"é\"") else {
        panic!()
    };
    assert!(found.returns.unwrap().all);
    assert_eq!(found.program.key, SearchKey::Subject("é".into()));
    assert_eq!(parse(b"a SEARCH CHARSET KLINGON ALL", 20).unwrap_err().error, SyntaxError::Charset);
    assert!(parse(b"a SEARCH CHARSET UTF-8 SUBJECT {1}\r\n\xe9", 20).is_err());
    assert!(parse(b"a SEARCH CHARSET US-ASCII SUBJECT x", 20).is_ok());
}

#[test]
fn nesting_is_limited_but_long_alternatives_are_fine() {
    let nested = |levels: usize| format!("a SEARCH {}SEEN", "NOT ".repeat(levels));
    assert!(parse(nested(19).as_bytes(), 20).is_ok());
    assert!(parse(nested(20).as_bytes(), 20).is_err());
    let parens = format!("a SEARCH {}SEEN{}", "(".repeat(20), ")".repeat(20));
    assert!(parse(parens.as_bytes(), 20).is_err());
    let left = format!("a SEARCH {}SEEN{}", "OR ".repeat(500), " SEEN".repeat(500));
    assert!(parse(left.as_bytes(), 20).is_err());
    let chain = format!("a SEARCH {}SEEN", "OR FROM x ".repeat(1000));
    assert!(parse(chain.as_bytes(), 20).is_ok());
}
