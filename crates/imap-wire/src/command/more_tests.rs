//! The commands of extensions: each in its own words, and none in malformed ones.

use super::account::{AclCommand, GetMetadata, MetadataDepth, QuotaCommand, SetMetadata};
use super::search::ExtendedKey;
use super::sort::{SortBy, SortCriterion, ThreadAlgorithm};
use super::*;
use crate::command::fetch::FetchItem;
use crate::command::search::{SearchKey, SearchReturn};
use crate::window::Window;
use proptest::prelude::*;

fn command(line: &str) -> Command {
    match parse(format!("a {line}").as_bytes(), 20) {
        Ok(tagged) => tagged.command,
        Err(failure) => panic!("{line}: {:?}", failure.error),
    }
}

fn refuses(line: &str) {
    assert!(parse(format!("a {line}").as_bytes(), 20).is_err(), "{line}");
}

#[test]
fn sort_and_thread() {
    let Command::Sort(sort) =
        command("UID SORT RETURN (MIN PARTIAL -1:-9) (SUBJECT REVERSE DATE) utf-8 SEEN FROM x")
    else {
        panic!()
    };
    assert!(sort.uid && sort.charset == "UTF-8");
    assert_eq!(
        sort.criteria,
        [
            SortCriterion { by: SortBy::Subject, reverse: false },
            SortCriterion { by: SortBy::Date, reverse: true }
        ]
    );
    let window = Window { from_end: true, first: 1, last: 9 };
    assert_eq!(sort.returns.and_then(|returns| returns.partial), Some(window));
    let Command::Thread(thread) = command("THREAD references US-ASCII ALL") else { panic!() };
    assert_eq!((thread.algorithm, thread.uid), (ThreadAlgorithm::References, false));
    for line in [
        "SORT () UTF-8 ALL",
        "SORT (DATE REVERSE) UTF-8 ALL",
        "SORT (REVERSE REVERSE DATE) UTF-8 ALL",
        "SORT (DATE) UTF-8",
        "SORT (RELEVANCE) UTF-8 ALL",
        "SORT DATE UTF-8 ALL",
        "THREAD REFERENCES ALL",
        "THREAD UTF-8 ALL",
        "SORT RETURN (ALL PARTIAL 1:2) (DATE) UTF-8 ALL",
        "SORT RETURN (PARTIAL 1:2 PARTIAL 1:2) (DATE) UTF-8 ALL",
    ] {
        refuses(line);
    }
    let many = "DATE ".repeat(33);
    refuses(&format!("SORT ({}) UTF-8 ALL", many.trim_end()));
}

#[test]
fn items_and_keys_of_extensions() {
    let Command::Fetch(fetch) =
        command("FETCH 1 (EMAILID THREADID SAVEDATE PREVIEW (LAZY) PREVIEW UID)")
    else {
        panic!()
    };
    assert_eq!(
        fetch.items,
        [
            FetchItem::EmailId,
            FetchItem::ThreadId,
            FetchItem::SaveDate,
            FetchItem::Preview { lazy: true },
            FetchItem::Preview { lazy: false },
            FetchItem::Uid
        ]
    );
    let Command::Fetch(fetch) = command("UID FETCH 1 PREVIEW (CHANGEDSINCE 5 PARTIAL 1:2)") else {
        panic!()
    };
    assert_eq!(fetch.items, [FetchItem::Preview { lazy: false }]);
    assert_eq!(fetch.modifiers.changed_since, Some(5));
    assert_eq!(fetch.modifiers.partial, Some(Window { from_end: false, first: 1, last: 2 }));
    let Command::Search(search) = command("SEARCH EMAILID M6d SAVEDATESUPPORTED THREADID t-_9")
    else {
        panic!()
    };
    let extended = SearchKey::Extended;
    assert_eq!(
        search.program.key,
        SearchKey::And(vec![
            extended(ExtendedKey::EmailId("M6d".into())),
            SearchKey::All,
            extended(ExtendedKey::ThreadId("t-_9".into()))
        ])
    );
    for line in [
        "SEARCH EMAILID (x)",
        "SEARCH SAVEDON x",
        "FETCH 1 PREVIEW (QUICK)",
        "FETCH 1 (PREVIEW (LAZY LAZIER))",
        "FETCH 1 UID (PARTIAL 0:1)",
        "FETCH 1 UID (PARTIAL 1:2 PARTIAL 1:2)",
    ] {
        refuses(line);
    }
}

#[test]
fn quota_and_rights() {
    assert_eq!(command("GETQUOTA \"\""), Command::Quota(QuotaCommand::Get(String::new())));
    assert_eq!(
        command("SETQUOTA root (STORAGE 5 MESSAGE 6)"),
        Command::Quota(QuotaCommand::Set("root".into()))
    );
    let mailbox = || MailboxName::from_wire(b"INBOX".to_vec());
    assert_eq!(command("GETQUOTAROOT INBOX"), Command::Quota(QuotaCommand::GetRoot(mailbox())));
    assert_eq!(command("MYRIGHTS INBOX"), Command::Acl(AclCommand::Mine(mailbox())));
    assert_eq!(
        command("SETACL INBOX bob +lr"),
        Command::Acl(AclCommand::Set {
            mailbox: mailbox(),
            identifier: "bob".into(),
            rights: "+lr".into()
        })
    );
    for line in ["GETQUOTA", "SETQUOTA x", "SETQUOTA x (STORAGE)", "SETACL a b", "MYRIGHTS a b"] {
        refuses(line);
    }
}

#[test]
fn metadata() {
    let get = |mailbox: &[u8], max_size, depth, entries: &[&str]| {
        Command::GetMetadata(GetMetadata {
            mailbox: MailboxName::from_wire(mailbox.to_vec()),
            max_size,
            depth,
            entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
        })
    };
    use MetadataDepth::{Infinity, One, Zero};
    assert_eq!(command("GETMETADATA \"\" /a"), get(b"", None, Zero, &["/a"]));
    assert_eq!(
        command("GETMETADATA (MAXSIZE 9 DEPTH 1) x (/a /b)"),
        get(b"x", Some(9), One, &["/a", "/b"])
    );
    assert_eq!(command("GETMETADATA x (DEPTH infinity) (/a)"), get(b"x", None, Infinity, &["/a"]));
    let values = vec![
        ("/a".to_owned(), None),
        ("/b".to_owned(), Some(b"c d".to_vec())),
        ("/e".to_owned(), Some(b"f\0".to_vec())),
    ];
    assert_eq!(
        command("SETMETADATA x (/a NIL /b \"c d\" /e ~{2+}\r\nf\0)"),
        Command::SetMetadata(SetMetadata {
            mailbox: MailboxName::from_wire(b"x".to_vec()),
            values
        })
    );
    for line in [
        "GETMETADATA x ()",
        "GETMETADATA x a",
        "GETMETADATA x /a/",
        "GETMETADATA x /a//b",
        "GETMETADATA x \"/a*\"",
        "GETMETADATA (DEPTH 2) x /a",
        "SETMETADATA x ()",
        "SETMETADATA x (/a)",
        "SETMETADATA x (/a b)",
    ] {
        refuses(line);
    }
}

#[test]
fn single_words() {
    assert_eq!(command("COMPRESS deflate"), Command::Compress("DEFLATE".into()));
    assert_eq!(command("LANGUAGE"), Command::Language(Vec::new()));
    assert_eq!(command("LANGUAGE de en"), Command::Language(vec!["de".into(), "en".into()]));
    refuses("COMPRESS");
    refuses(&format!("LANGUAGE{}", " de".repeat(33)));
}

proptest! {
    /// What a client writes of these commands is understood again, whatever the parts are.
    #[test]
    fn annotations_round_trip(
        name in "[a-z]{1,9}",
        values in proptest::collection::vec(("/[a-z]{1,5}(/[a-z0-9.]{1,4}){0,2}", proptest::option::of("[ -!#-\\[\\]-~]{0,9}")), 1..6)
    ) {
        let told: Vec<String> = values.iter().map(|(entry, value)| match value {
            Some(value) => format!("{entry} \"{value}\""),
            None => format!("{entry} NIL"),
        }).collect();
        let expected = values.into_iter().map(|(entry, value)| (entry, value.map(String::into_bytes))).collect();
        prop_assert_eq!(
            command(&format!("SETMETADATA {name} ({})", told.join(" "))),
            Command::SetMetadata(SetMetadata { mailbox: MailboxName::from_wire(name.into_bytes()), values: expected })
        );
    }

    #[test]
    fn extensions_never_panic(
        line in "(UID )?(SORT|THREAD|GETMETADATA|SETMETADATA|SETACL|LANGUAGE|FETCH 1|SEARCH)( (\\(|\\)|RETURN|PARTIAL|-?[0-9]:-?[0-9]|DATE|UTF-8|ALL|PREVIEW|LAZY|/a|\"b\"|MAXSIZE|SAVEDON|EMAILID|NIL)){0,12}"
    ) {
        let _ = parse(format!("a {line}").as_bytes(), 8);
    }
}

#[test]
fn searches_that_are_followed() {
    let Command::Search(search) =
        command("UID SEARCH RETURN (CONTEXT UPDATE (UID BODY.PEEK[TEXT]) COUNT) UNSEEN")
    else {
        panic!()
    };
    let returns = search.returns.unwrap();
    assert!(returns.context && returns.update && returns.count && !returns.all);
    assert!(search.update_items.len() == 2 && search.update_items[0] == FetchItem::Uid);
    // Another option may follow the space.
    let Command::Sort(sort) = command("SORT RETURN (UPDATE ALL) (DATE) UTF-8 ALL") else {
        panic!()
    };
    assert!(sort.returns.is_some_and(|returns| returns.update && returns.all));
    assert!(sort.update_items.is_empty());
    let tags = vec!["B 01".to_owned(), "c".to_owned()];
    assert_eq!(command("CANCELUPDATE \"B 01\" c"), Command::CancelUpdate(tags));
    for line in [
        "CANCELUPDATE",
        "CANCELUPDATE ",
        "CANCELUPDATE \"a\"  \"b\"",
        "SEARCH RETURN (UPDATE ()) ALL",
        "SEARCH RETURN (UPDATE (NONSENSE)) ALL",
        "SEARCH RETURN (CONTEXT (UID)) ALL",
    ] {
        refuses(line);
    }
}

fn followed() -> impl Strategy<Value = (SearchReturn, Vec<FetchItem>, String)> {
    let items = prop_oneof![
        Just((Vec::new(), "")),
        Just((vec![FetchItem::Uid], " (UID)")),
        Just((vec![FetchItem::Flags, FetchItem::Envelope], " (flags ENVELOPE)")),
    ];
    (any::<[bool; 4]>(), items).prop_map(|([min, count, context, update], (items, written))| {
        let returns = SearchReturn { min, count, context, update, ..SearchReturn::default() };
        let words = [(min, "MIN"), (count, "COUNT"), (context, "CONTEXT")];
        let mut text: Vec<String> =
            words.iter().filter(|(asked, _)| *asked).map(|(_, word)| (*word).to_owned()).collect();
        text.extend(update.then(|| format!("UPDATE{written}")));
        let returns = SearchReturn { all: text.is_empty(), ..returns };
        (returns, if update { items } else { Vec::new() }, text.join(" "))
    })
}

proptest! {
    #[test]
    fn options_of_followed_searches_round_trip((returns, items, text) in followed()) {
        let Command::Search(search) = command(&format!("SEARCH RETURN ({text}) ALL")) else {
            panic!()
        };
        prop_assert_eq!((search.returns, search.update_items), (Some(returns), items));
    }
}
