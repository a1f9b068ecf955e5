//! What a report says, and that nothing a server said can break its form.

use letterlock_smtp_wire::Reply;
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;

const ORIGINAL: &[u8] = b"Message-ID: <m1@x.test>\r\nSubject: hello\r\n\r\nsecret body\r\n";

/// The usual wishes of a sender.
const HEADER: (Option<&str>, Returned) = (None, Returned::Header);

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn refused() -> Finding {
    let reply = Reply::new(550, EnhancedCode::new(5, 1, 1), "No such user");
    Finding::from_reply("mx.far.test", &reply)
}

/// A report to a sender with these wishes.
fn report(
    to: &str,
    original: &[u8],
    failures: &[Told<'_>],
    (envid, returned): (Option<&str>, Returned),
) -> (DeliveryId, Composed) {
    let (to, from) = (mailbox(to), Domain::parse("here.test").unwrap());
    let notice = Notice {
        id: DeliveryId::generate(),
        hostname: "mx.here.test",
        from: &from,
        to: &to,
        now: Timestamp::from_second(1_700_400_000).unwrap(),
        received_at: Timestamp::from_second(1_700_000_000).unwrap(),
        expire: Duration::from_secs(432_000),
        envid,
        original,
        returned,
        told: failures,
        until: Timestamp::from_second(1_700_432_000).unwrap(),
    };
    (notice.id, compose(&notice))
}

fn text(composed: &Composed) -> String {
    String::from_utf8(composed.bytes.clone()).unwrap()
}

/// Content types of the parts, by another parser.
fn kinds(composed: &Composed) -> Vec<String> {
    let message = MessageParser::default().parse(&composed.bytes).expect("a message");
    let kind = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().expect("a type");
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
    };
    message.parts.iter().map(kind).collect()
}

#[test]
fn a_report_has_all_its_parts() {
    let (one, two) = (mailbox("one@far.test"), mailbox("two@far.test"));
    let (final_one, late) = (refused(), Finding::deferred(4, 1, "cannot connect to mx.far.test"));
    let failures = [
        Told {
            recipient: &one,
            orcpt: Some("rfc822;first@list.test"),
            finding: Some(&final_one),
            action: Action::Failed,
        },
        Told { recipient: &two, orcpt: None, finding: Some(&late), action: Action::Expired },
    ];
    let (id, composed) =
        report("ann@here.test", ORIGINAL, &failures, (Some("env"), Returned::Header));
    let text = text(&composed);
    assert_eq!(
        kinds(&composed),
        ["multipart/report", "text/plain", "message/delivery-status", "text/rfc822-headers"]
    );
    for wanted in [
        "Date: Sun, 19 Nov 2023 13:20:00 +0000\r\n",
        "From: Mail Delivery System <postmaster@here.test>\r\n",
        "To: <ann@here.test>\r\n",
        "In-Reply-To: <m1@x.test>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "\r\nReporting-MTA: dns; mx.here.test\r\nOriginal-Envelope-Id: env\r\nArrival-Date: Tue, 14 Nov 2023 22:13:20 \
         +0000\r\n\r\nOriginal-Recipient: rfc822; first@list.test\r\nFinal-Recipient: rfc822; one@far.test\r\nAction: \
         failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.far.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user\r\n",
        "Final-Recipient: rfc822; two@far.test\r\nAction: failed\r\nStatus: 4.4.7\r\nDiagnostic-Code: X-Letterlock; \
         4.4.1 cannot connect to mx.far.test\r\n",
        "  one@far.test\r\n    The server mx.far.test refused it: 550 5.1.1 No such user\r\n",
        "  two@far.test\r\n    It was tried for 5 days. At last: 4.4.1 cannot connect to mx.far.test\r\n",
        "\r\n\r\nMessage-ID: <m1@x.test>\r\nSubject: hello\r\n--=_",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in\n{text}");
    }
    let own = format!("Message-ID: <{}@mx.here.test>\r\n", id.to_string().to_ascii_lowercase());
    assert!(text.contains(&own) && !text.contains("secret"));
    assert!(!composed.smtputf8 && !composed.eight_bit && !has_bare_newline(&composed.bytes));
}

#[test]
fn internationalised_reports() {
    let (one, finding) = (mailbox("jöran@far.test"), refused());
    let failures =
        [Told { recipient: &one, orcpt: None, finding: Some(&finding), action: Action::Failed }];
    let original = "Subject: grüße\r\n\r\nx\r\n".as_bytes();
    let (_, composed) = report("änne@here.test", original, &failures, HEADER);
    assert_eq!(
        kinds(&composed)[1..],
        ["text/plain", "message/global-delivery-status", "message/global-headers"]
    );
    assert!(composed.smtputf8 && composed.eight_bit);
    let text = text(&composed);
    assert!(text.contains("Final-Recipient: utf-8; jöran@far.test\r\n"));
    assert!(text.contains("charset=utf-8\r\n") && text.contains("Subject: grüße\r\n"));
    // Octets that are no UTF-8 do not get into a type that promises it.
    let (_, composed) = report("ann@here.test", b"Subject: \xff\r\n\r\n", &failures, HEADER);
    assert!(std::str::from_utf8(&composed.bytes).is_ok() && !composed.smtputf8);
}

#[test]
fn the_whole_message_goes_back_on_demand() {
    let (one, finding) = (mailbox("one@far.test"), refused());
    let failures =
        [Told { recipient: &one, orcpt: None, finding: Some(&finding), action: Action::Failed }];
    let whole = (None, Returned::Whole);
    let (_, composed) = report("ann@here.test", ORIGINAL, &failures, whole);
    assert_eq!(kinds(&composed)[3], "message/rfc822");
    assert!(text(&composed).contains("\r\n\r\nsecret body\r\n--=_"));
    let large = [ORIGINAL, &vec![b'x'; MAX_WHOLE]].concat();
    for original in [&large[..], b"Subject: x\n\nbroken lines"] {
        let (_, composed) = report("ann@here.test", original, &failures, whole);
        assert_eq!(kinds(&composed)[3], "text/rfc822-headers");
        assert!(composed.bytes.len() < 10_000 && !has_bare_newline(&composed.bytes));
    }
    let (_, composed) = report("ann@here.test", b"", &failures, whole);
    assert_eq!(kinds(&composed).len(), 4, "nothing to return");
}

#[test]
fn long_headers_are_cut_between_fields() {
    let (one, finding) = (mailbox("one@far.test"), refused());
    let failures =
        [Told { recipient: &one, orcpt: None, finding: Some(&finding), action: Action::Failed }];
    let original = b"X-Long: 0123456789012345678901234567890123456789\r\n".repeat(5_000);
    let (_, composed) = report("ann@here.test", &original, &failures, HEADER);
    assert!(composed.bytes.len() < MAX_HEADER + 4_096);
    assert!(text(&composed).contains("3456789\r\n--=_"));
}

proptest! {
    /// Whatever strangers write, the report keeps its four parts, its own header, and whole lines.
    #[test]
    fn strangers_cannot_change_a_report(
        original in proptest::collection::vec(prop_oneof![
            Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"--=_".to_vec()),
            Just(b"Subject: a\r\n".to_vec()), Just(b"Message-ID: <a\r\n Bcc: b>\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ], 0..20),
        said in "\\PC{0,40}|(\r\nBcc: x@y.test\r\n)?[\r\n\t -~]{0,900}",
        envid in "[\r\n -~é]{0,120}",
        orcpt in "[\r\n -~]{0,120}",
        whole in any::<bool>(),
    ) {
        let one = mailbox("\"a b\\\"<c>\"@far.test");
        let finding = Finding::from_reply("mx.far.test", &Reply::plain(550, said));
        let failures =
            [Told { recipient: &one, orcpt: Some(&orcpt), finding: Some(&finding), action: Action::Failed }];
        let original = original.concat();
        let (_, composed) = report("ann@here.test", &original, &failures, (
            Some(&envid),
            if whole { Returned::Whole } else { Returned::Header },
        ));
        prop_assert!(!has_bare_newline(&composed.bytes));
        prop_assert_eq!(header::fields(&composed.bytes).filter(|field| field.is("Bcc")).count(), 0);
        let message = MessageParser::default().parse(&composed.bytes).expect("a message");
        let PartType::Multipart(parts) = &message.parts[0].body else { panic!("a multipart") };
        prop_assert_eq!(parts.len(), 3);
        let status = message.parts[parts[1] as usize].contents();
        prop_assert_eq!(String::from_utf8_lossy(status).matches("\r\n\r\n").count(), 1, "two groups");
    }
}

#[test]
fn one_report_tells_of_every_fate() {
    let addresses =
        ["no@far.test", "late@far.test", "all@here.test", "on@far.test", "in@here.test"];
    let addresses = addresses.map(mailbox);
    let (gone, later) = (refused(), Finding::deferred(4, 1, "cannot connect"));
    let taken = Finding::from_reply("mx.far.test", &Reply::plain(250, "ok"));
    let facts = [
        (Some(&gone), Action::Failed),
        (Some(&later), Action::Delayed),
        (None, Action::Expanded),
        (Some(&taken), Action::Relayed),
        (None, Action::Delivered),
    ];
    let told: Vec<Told<'_>> = addresses
        .iter()
        .zip(facts)
        .map(|(recipient, (finding, action))| Told { recipient, orcpt: None, finding, action })
        .collect();
    let (_, composed) = report("ann@here.test", ORIGINAL, &told, HEADER);
    let text = text(&composed);
    let flat = text.replace("\r\n", " ");
    for wanted in [
        "Final-Recipient: rfc822; no@far.test Action: failed Status: 5.1.1 ",
        "Final-Recipient: rfc822; late@far.test Action: delayed Status: 4.4.1 ",
        "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000 ",
        "Final-Recipient: rfc822; all@here.test Action: expanded Status: 2.0.0 ",
        "Final-Recipient: rfc822; on@far.test Action: relayed Status: 2.0.0 Remote-MTA: dns; mx.far.test ",
        "Final-Recipient: rfc822; in@here.test Action: delivered Status: 2.0.0 ",
        "Subject: Undelivered mail",
        "has not been delivered yet to this recipient:",
        "was passed on to all who stand behind this recipient:",
        "is in the mailbox of this recipient:",
    ] {
        assert!(flat.contains(wanted), "{wanted:?} in\n{text}");
    }
    let said: Vec<usize> = addresses
        .iter()
        .map(|address| text.find(&format!("\r\n  {address}\r\n")).unwrap())
        .collect();
    assert!(said.is_sorted(), "the gravest first");
}

#[test]
fn only_failures_return_the_whole() {
    let recipient = mailbox("late@far.test");
    let late = Finding::deferred(4, 1, "cannot connect");
    let told = |action| [Told { recipient: &recipient, orcpt: None, finding: Some(&late), action }];
    for (action, subject, whole) in [
        (Action::Expired, "Subject: Undelivered mail", true),
        (Action::Delayed, "Subject: Delayed mail", false),
        (Action::Relayed, "Subject: Your message was passed on", false),
        (Action::Delivered, "Subject: Your message was delivered", false),
    ] {
        let told = told(action);
        let (_, composed) = report("ann@here.test", ORIGINAL, &told, (None, Returned::Whole));
        let text = text(&composed);
        assert!(text.contains(subject), "{text}");
        assert_eq!(text.contains("secret body"), whole, "{action:?}");
    }
}

/// Addresses of both kinds, as reports name them.
fn addresses() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9.]{0,8}[a-z]@[a-z]{1,8}\\.test", "[a-zäöü]{1,8}@[a-z]{1,8}\\.test"]
        .prop_filter("no address", |text| Mailbox::parse(text).is_ok())
}

proptest! {
    /// What we write, our reader of other servers' reports understands.
    #[test]
    fn a_report_of_ours_can_be_read(
        recipients in proptest::collection::vec(
            (addresses(), proptest::option::of(addresses()), 0_usize..3, "[ -~]{0,60}"), 1..6),
        envid in proptest::option::of("[!-~]([ -~]{0,30}[!-~])?"),
        whole in any::<bool>(),
    ) {
        use letterlock_smtp_wire::dsn as reader;
        let gone = EnhancedCode::new(5, 1, 1);
        let told: Vec<(Mailbox, Option<String>, Option<Finding>, Action)> = recipients
            .into_iter()
            .map(|(to, first, fate, said)| {
                let orcpt = first.map(|first| match first.is_ascii() {
                    true => format!("rfc822;{first}"),
                    false => format!("utf-8;{first}"),
                });
                let reply = |code| Finding::from_reply("mx.far.test", &Reply::new(code, gone, said));
                let (finding, action) = match fate {
                    0 => (Some(reply(550)), Action::Failed),
                    1 => (Some(Finding::deferred(4, 1, "cannot connect")), Action::Delayed),
                    _ => (None, Action::Delivered),
                };
                (mailbox(&to), orcpt, finding, action)
            })
            .collect();
        let failures: Vec<Told<'_>> = told
            .iter()
            .map(|(recipient, orcpt, finding, action)| {
                Told { recipient, orcpt: orcpt.as_deref(), finding: finding.as_ref(), action: *action }
            })
            .collect();
        let wishes = (envid.as_deref(), if whole { Returned::Whole } else { Returned::Header });
        let (_, composed) = report("ann@here.test", ORIGINAL, &failures, wishes);
        let read = reader::parse(&composed.bytes).expect("a report");
        prop_assert_eq!(read.reporter.as_deref(), Some("mx.here.test"));
        prop_assert_eq!(&read.envid, &envid);
        prop_assert!(read.original.starts_with(b"Message-ID: <m1@x.test>\r\nSubject: hello\r\n"));
        prop_assert_eq!(read.recipients.len(), told.len());
        for ((recipient, orcpt, finding, action), read) in told.iter().zip(&read.recipients) {
            prop_assert_eq!(read.final_recipient.as_ref(), Some(recipient));
            let first = orcpt.as_ref().and_then(|orcpt| orcpt.split_once(';')?.1.parse().ok());
            prop_assert_eq!(&read.original_recipient, &first);
            let (expected, status) = match action {
                Action::Failed => (reader::Action::Failed, gone),
                Action::Delayed => (reader::Action::Delayed, EnhancedCode::new(4, 4, 1)),
                _ => (reader::Action::Delivered, EnhancedCode::new(2, 0, 0)),
            };
            prop_assert_eq!((read.action, read.status), (expected, status));
            prop_assert_eq!(read.status.is_gone(), *action == Action::Failed);
            prop_assert_eq!(read.diagnostic.is_some(), finding.is_some());
        }
    }
}
