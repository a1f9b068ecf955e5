//! Reports as servers of several makes write them, and what is no report.

use proptest::prelude::*;

use super::*;

/// A report with this status part and this returned part.
fn report(status: &str, returned: &str) -> Vec<u8> {
    format!(
        "Return-Path: <>\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"b 1\"\r\n\r\n\
         preamble\r\n--b 1\r\n\r\nIt failed.\r\n--b 1\r\n{status}\r\n--b 1\r\n{returned}\r\n--b 1--\r\n"
    )
    .into_bytes()
}

fn mailbox(text: &str) -> Option<Mailbox> {
    Some(text.parse().unwrap())
}

const STATUS: &str = "Content-Type: message/delivery-status\r\n\r\n";
const RETURNED: &str =
    "Content-Type: text/rfc822-headers\r\n\r\nReceived: x\r\n\ty\r\nMessage-ID: <1@here.test>\r\n";

#[test]
fn every_field_is_read() {
    let status = format!(
        "{STATUS}Reporting-MTA: dns; mx.far.test\r\nOriginal-Envelope-Id: E 1\r\n\r\n\
         Original-Recipient: rfc822; <list@far.test>\r\nFinal-Recipient: RFC822;\r\n bob@far.test (Bob)\r\n\
         X-Actual-Recipient: rfc822; robert@in.far.test\r\nAction: failed (for good)\r\nStatus: 5.1.1 (nobody)\r\n\
         Remote-MTA: dns; in.far.test\r\nDiagnostic-Code: smtp; 550 5.1.1 User\r\n unknown\r\n"
    );
    let report = parse(&report(&status, RETURNED)).unwrap();
    assert_eq!(report.reporter.as_deref(), Some("mx.far.test"));
    assert_eq!(report.envid.as_deref(), Some("E 1"));
    assert_eq!(
        report.recipients,
        [Recipient {
            final_recipient: mailbox("bob@far.test"),
            original_recipient: mailbox("list@far.test"),
            actual_recipient: mailbox("robert@in.far.test"),
            action: Action::Failed,
            status: EnhancedCode::new(5, 1, 1),
            diagnostic: Some("550 5.1.1 User unknown".into()),
        }]
    );
    assert_eq!(report.original, b"Received: x\r\n\ty\r\nMessage-ID: <1@here.test>\r\n");
}

#[test]
fn each_recipient_has_a_group() {
    let status = format!(
        "{STATUS}Reporting-MTA: dns; mx.far.test\n\n\n\nFinal-Recipient: rfc822; a@far.test\nAction: delayed\nStatus: \
         4.4.1\n\nFinal-Recipient: rfc822; b@far.test\nAction: nonsense\nStatus: 5.1.1\n\nFinal-Recipient: rfc822; \
         c@far.test\nAction: failed\nStatus: none\n\nFinal-Recipient: no address\nAction: DELIVERED\nStatus: 2.0.0\n"
    );
    let found = parse(&report(&status, "")).unwrap();
    let told: Vec<_> =
        found.recipients.iter().map(|told| (told.action, told.status.class)).collect();
    assert_eq!(told, [(Action::Delayed, 4), (Action::Delivered, 2)]);
    assert_eq!(found.recipients[0].final_recipient, mailbox("a@far.test"));
    assert_eq!(found.recipients[1].final_recipient, None);
    assert!(found.original.is_empty());
    // All in one group, as some write it.
    let status = format!(
        "{STATUS}Reporting-MTA: dns; x\r\nFinal-Recipient: rfc822; a@far.test\r\nAction: failed\r\nStatus: 5.2.1\r\n"
    );
    assert_eq!(parse(&report(&status, "")).unwrap().recipients.len(), 1);
}

#[test]
fn a_diagnosis_says_what_the_status_does_not() {
    for (status, diagnostic, expected) in [
        ("5.0.0", "smtp; 550 5.1.1 no", (5, 1, 1)),
        ("5.0.0", "smtp;550-5.1.10 no", (5, 1, 10)),
        ("5.0.0", "X-Unix; 5.2.1 off", (5, 2, 1)),
        ("5.0.0", "smtp; 450 4.1.1 no", (5, 0, 0)),
        ("5.0.0", "smtp; the code 550 5.1.1", (5, 0, 0)),
        ("5.7.1", "smtp; 550 5.1.1 no", (5, 7, 1)),
    ] {
        let text = format!(
            "{STATUS}X: y\r\n\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: {diagnostic}\r\n"
        );
        let (class, subject, detail) = expected;
        let found = parse(&report(&text, "")).unwrap().recipients[0].status;
        assert_eq!(found, EnhancedCode::new(class, subject, detail), "{status} {diagnostic}");
    }
}

#[test]
fn internationalised_reports() {
    let group = "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: utf-8; jörg@far.test\r\nOriginal-Recipient: utf-8; \
                 j\\x{F6}rg@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let kind = "Content-Type: message/global-delivery-status\r\n";
    let plain = format!("{kind}\r\n{group}");
    // RFC 6533 §3 allows an encoding; the same in base64 and in quoted-printable.
    let quoted: String =
        group.chars().map(|c| if c == 'ö' { "=C3=B6".to_owned() } else { c.to_string() }).collect();
    let quoted = format!(
        "{kind}Content-Transfer-Encoding: Quoted-Printable\r\n\r\n{}",
        quoted.replace("5.1.1", "5=2E1.1")
    );
    for status in [plain, quoted] {
        let returned = "Content-Type: message/global-headers\r\n\r\nSubject: grüße\r\n";
        let found = parse(&report(&status, returned)).unwrap();
        assert_eq!(found.recipients[0].final_recipient, mailbox("jörg@far.test"));
        assert_eq!(found.recipients[0].original_recipient, mailbox("jörg@far.test"));
        assert_eq!(found.original, "Subject: grüße\r\n".as_bytes());
    }
    let returned = "Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQpib2R5";
    let status = format!("{STATUS}X: y\r\n");
    assert_eq!(parse(&report(&status, returned)).unwrap().original, b"Subject: x\r\n");
}

#[test]
fn what_is_no_report() {
    let status = format!("{STATUS}X: y\r\n");
    let good = String::from_utf8(report(&status, "")).unwrap();
    assert!(parse(good.as_bytes()).is_some());
    assert!(parse(good.replace("report-type=delivery-status;", "").as_bytes()).is_some());
    for other in [
        good.replace("multipart/report", "multipart/mixed"),
        good.replace("=delivery-status;", "=feedback-report;"),
        good.replace("message/delivery-status", "text/plain"),
        good.replace("\"b 1\"", "\"b\""),
        good.replace("boundary=", "bound="),
        good.replace("Content-Type: multipart", "Content: multipart"),
        "Subject: x\r\n\r\nbody\r\n".to_owned(),
        String::new(),
    ] {
        assert_eq!(parse(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn the_returned_message_is_not_searched_for_a_status() {
    // Whoever wrote the message that comes back cannot put words into the report.
    let inner = "--b\r\nContent-Type: message/delivery-status\r\n\r\nX: y\r\n\r\nFinal-Recipient: rfc822; \
                 victim@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n";
    let returned = format!(
        "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/report; boundary=b\r\n\r\n{inner}"
    );
    let status = format!("{STATUS}X: y\r\n");
    assert!(parse(&report(&status, &returned)).unwrap().recipients.is_empty());
}

#[test]
fn what_is_too_much_is_left_out() {
    let one = "Final-Recipient: rfc822; a@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n";
    let status = format!("{STATUS}X: y\r\n\r\n{}", one.repeat(MOST_RECIPIENTS + 5));
    assert_eq!(parse(&report(&status, "")).unwrap().recipients.len(), MOST_RECIPIENTS);
    // A returned message of any size costs its end only.
    let whole = format!(
        "Content-Type: message/rfc822\r\n\r\nMessage-ID: <1@x.test>\r\n\r\n{}",
        "x".repeat(MOST_OCTETS)
    );
    let found = parse(&report(&format!("{STATUS}X: y\r\n"), &whole)).unwrap();
    assert_eq!(found.original, b"Message-ID: <1@x.test>\r\n");
    // Nesting costs nothing.
    let deep = format!(
        "Content-Type: message/rfc822\r\n\r\n{}",
        "Content-Type: message/rfc822\r\n\r\n".repeat(50_000)
    );
    assert!(parse(&report(&format!("{STATUS}X: y\r\n"), &deep)).is_some());
}

proptest! {
    #[test]
    fn nothing_is_too_strange(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&octets);
        let status = String::from_utf8_lossy(&octets).into_owned();
        if let Some(found) = parse(&report(&format!("{STATUS}{status}"), RETURNED)) {
            prop_assert!(found.recipients.len() <= MOST_RECIPIENTS);
        }
    }

    /// Cut anywhere, a report still says nothing that the whole one does not say.
    #[test]
    fn a_cut_report_says_less_and_nothing_else(cut in 0_usize..700) {
        let status = format!(
            "{STATUS}Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        );
        let whole = report(&status, RETURNED);
        let all = parse(&whole).unwrap();
        let part = parse(&whole[..cut.min(whole.len())]);
        if let Some(part) = part {
            prop_assert!(part.recipients.iter().all(|told| told.action == all.recipients[0].action));
            prop_assert!(all.original.starts_with(&part.original));
        }
    }
}
