//! The responses of extensions, octet by octet.

use super::*;
use crate::command::list::StatusItem;
use crate::mailbox_name::NameForm;
use crate::sequence::NumberSet;
use crate::window::Window;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn orders() {
    assert_eq!(written(|out| sort(out, &[3, 1], None)), "* SORT 3 1\r\n");
    assert_eq!(written(|out| sort(out, &[], None)), "* SORT\r\n");
    assert_eq!(written(|out| sort(out, &[2], Some(9))), "* SORT 2 (MODSEQ 9)\r\n");
    assert_eq!(written(|out| thread(out, &Default::default())), "* THREAD\r\n");
    let window = Window { from_end: false, first: 1, last: 3 };
    let told = |result: Esearch| written(|out| esearch(out, "x", true, &result));
    let sorted = Esearch {
        all: Some(Numbers::Sorted(vec![3, 2, 4])),
        partial: Some((window, Numbers::Sorted(Vec::new()))),
        ..Esearch::default()
    };
    assert_eq!(told(sorted), "* ESEARCH (TAG \"x\") UID ALL 3,2,4 PARTIAL (1:3 NIL)\r\n");
    let numbers: NumberSet = [4, 5, 6].into_iter().collect();
    let set = Esearch { partial: Some((window, Numbers::Set(numbers))), ..Esearch::default() };
    assert_eq!(told(set), "* ESEARCH (TAG \"x\") UID PARTIAL (1:3 4:6)\r\n");
}

#[test]
fn surroundings() {
    let form = NameForm::Utf8;
    let storage = QuotaResource { name: "STORAGE", used: 1, limit: 2 };
    let message = QuotaResource { name: "MESSAGE", used: 3, limit: 4 };
    assert_eq!(
        written(|out| quota(out, "", &[storage, message])),
        "* QUOTA \"\" (STORAGE 1 2 MESSAGE 3 4)\r\n"
    );
    assert_eq!(written(|out| quota_root(out, "a b", form, &[""])), "* QUOTAROOT \"a b\" \"\"\r\n");
    assert_eq!(written(|out| acl(out, "x", form, "a@b", "lr")), "* ACL x a@b lr\r\n");
    assert_eq!(written(|out| my_rights(out, "x", form, "lr")), "* MYRIGHTS x lr\r\n");
    assert_eq!(
        written(|out| list_rights(out, "x", form, "a@b", "")),
        "* LISTRIGHTS x a@b \"\"\r\n"
    );
    let values: [(&str, Option<&[u8]>); 3] =
        [("/a", Some(b"v")), ("/b", None), ("/c", Some(b"\0\r\n"))];
    assert_eq!(
        written(|out| metadata(out, "", form, values)),
        "* METADATA \"\" (/a \"v\" /b NIL /c ~{3}\r\n\0\r\n)\r\n"
    );
    assert_eq!(written(|out| language(out, &["EN", "DE"])), "* LANGUAGE (EN DE)\r\n");
    let items = [(StatusItem::MailboxId, 7), (StatusItem::DeletedStorage, 5)];
    assert_eq!(
        written(|out| status(out, "x", form, &items)),
        "* STATUS x (MAILBOXID (F7) DELETED-STORAGE 5)\r\n"
    );
}

#[test]
fn items_and_codes() {
    let fetched = written(|out| {
        let mut response = FetchResponse::begin(out, 1);
        response.email_id(out, "M1");
        response.thread_id(out, None);
        response.thread_id(out, Some("T1"));
        response.preview(out, "a\"b");
        response.save_date(out, crate::InternalDate::utc(jiff::Timestamp::UNIX_EPOCH));
        response.finish(out);
    });
    assert_eq!(
        fetched,
        "* 1 FETCH (EMAILID (M1) THREADID NIL THREADID (T1) PREVIEW \"a\\\"b\" SAVEDATE \" 1-Jan-1970 00:00:00 +0000\")\r\n"
    );
    let entries = ["/shared/comment", "/private/a b"];
    assert_eq!(
        written(|out| metadata_changed(out, "INBOX", NameForm::Utf8, entries)),
        "* METADATA INBOX /shared/comment \"/private/a b\"\r\n"
    );
    assert_eq!(
        written(|out| metadata_changed(out, "", NameForm::Utf8, ["/private/x"])),
        "* METADATA \"\" /private/x\r\n"
    );
    for (code, text) in [
        (Code::MailboxId(5), "MAILBOXID (F5)"),
        (Code::MetadataLongEntries(9), "METADATA LONGENTRIES 9"),
        (Code::MetadataMaxSize(9), "METADATA MAXSIZE 9"),
        (Code::MetadataTooMany, "METADATA TOOMANY"),
        (Code::InProgress("a1".into()), "INPROGRESS (\"a1\" NIL NIL)"),
        (Code::CompressionActive, "COMPRESSIONACTIVE"),
        (Code::NotificationOverflow, "NOTIFICATIONOVERFLOW"),
        (Code::BadEvent(&["MessageNew", "FlagChange"]), "BADEVENT (MessageNew FlagChange)"),
        (Code::NoUpdate("B]2".into()), "NOUPDATE \"B?2\""),
    ] {
        assert_eq!(written(|out| code.write(out)), text);
    }
}
