//! What the dialogue does with each kind of answer, and with any octets at all.

use letterlock_smtp_wire::{ReplyParser, command::ClientName};
use proptest::prelude::*;

use super::*;
use crate::finding::Fate;

fn job(recipients: &[&str]) -> Job {
    let recipient = |address: &&str| Recipient {
        address: Mailbox::parse(address).unwrap(),
        notify: None,
        orcpt: None,
    };
    Job {
        own: ClientName::new(b"me.test").unwrap(),
        reverse_path: "a@x.test".parse().unwrap(),
        ret: None,
        envid: None,
        recipients: recipients.iter().map(recipient).collect(),
        content: Content { size: 100, ..Content::default() },
        require_tls: false,
    }
}

/// Says these replies one after the other, and gives what was sent.
fn play(dialogue: &mut Dialogue<'_>, replies: &str) -> Vec<String> {
    let mut parser = ReplyParser::new();
    let mut rest = replies.as_bytes();
    let mut sent = Vec::new();
    while let (consumed, Some(reply)) = parser.feed(rest).unwrap() {
        rest = &rest[consumed..];
        let mut action = dialogue.reply(&reply);
        if action == Action::StartTls {
            sent.push("(handshake)".to_owned());
            action = dialogue.secured();
        }
        if action == Action::Judge {
            action = dialogue.allow();
        }
        sent.push(match action {
            Action::Wait => continue,
            // What the driver says, unless it has another message for this host.
            Action::Rest => "QUIT\r\n".to_owned(),
            Action::Judge => panic!("judged twice"),
            Action::Send(bytes) | Action::Finish(bytes) => String::from_utf8(bytes).unwrap(),
            Action::StartTls => panic!("a handshake in TLS"),
            Action::Message(framing) => format!("({framing:?})"),
        });
    }
    sent
}

fn run(job: &Job, replies: &str) -> (String, Report) {
    let everybody = 0..job.recipients.len();
    let mut dialogue = Dialogue::new(job, everybody, "mx.test", Security::Wanted);
    let sent = play(&mut dialogue, replies).concat().replace("\r\n", "|");
    (sent, dialogue.into_report())
}

fn fates(report: &Report) -> Vec<(usize, Fate, String)> {
    let line =
        |(place, finding): &(usize, Finding)| (*place, finding.fate, finding.status.to_string());
    report.findings.iter().map(line).collect()
}

const ALL: &str = "220 mx\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 200\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                   250-CHUNKING\r\n250 DSN\r\n";

#[test]
fn a_plain_delivery() {
    let (sent, report) = run(
        &job(&["b@y.test"]),
        "220 mx\r\n250 mx\r\n250 s\r\n250 r\r\n354 go\r\n250 2.0.0 ok\r\n",
    );
    assert_eq!(sent, "EHLO me.test|MAIL FROM:<a@x.test>|RCPT TO:<b@y.test>|DATA|(Dots)QUIT|");
    assert_eq!(report.end, End::Complete);
    assert_eq!(fates(&report), [(0, Fate::Delivered, "2.0.0".into())]);
}

#[test]
fn old_servers_hear_helo() {
    let (sent, report) = run(
        &job(&["b@y.test"]),
        "220 mx\r\n502 what\r\n250 mx\r\n250 s\r\n250 r\r\n354 go\r\n250 ok\r\n",
    );
    assert!(sent.starts_with("EHLO me.test|HELO me.test|MAIL FROM:<a@x.test>|"), "{sent}");
    assert_eq!(report.end, End::Complete);
}

#[test]
fn pipelining_and_a_mix_of_recipients() {
    let job = job(&["b@y.test", "c@y.test", "d@y.test"]);
    let replies = "250 s\r\n250 r\r\n550 5.1.1 no\r\n451 4.3.0 later\r\n354 go\r\n250 ok\r\n";
    let (sent, report) = run(&job, &[ALL, replies].concat());
    assert_eq!(
        sent,
        "EHLO me.test|MAIL FROM:<a@x.test> SIZE=100|RCPT TO:<b@y.test>|RCPT TO:<c@y.test>|RCPT TO:<d@y.test>|DATA|\
         (Dots)QUIT|"
    );
    let wanted = [
        (1, Fate::Failed, "5.1.1".into()),
        (2, Fate::Deferred, "4.3.0".into()),
        (0, Fate::Delivered, "2.0.0".into()),
    ];
    assert_eq!(fates(&report), wanted);
}

#[test]
fn answers_to_pipelined_recipients_are_not_left_for_the_next_message() {
    let job = job(&["b@y.test", "c@y.test"]);
    let mut dialogue = Dialogue::new(&job, 0..2, "mx.test", Security::Wanted);
    let sent = play(&mut dialogue, &[ALL, "550 5.7.1 not you\r\n503 no\r\n"].concat());
    assert!(!sent.concat().contains("QUIT"), "one answer is still to come: {sent:?}");
    let sent = play(&mut dialogue, "503 no\r\n");
    assert!(sent.is_empty(), "and the one to DATA: {sent:?}");
    assert_eq!(play(&mut dialogue, "503 no\r\n"), ["QUIT\r\n"]);
    let report = dialogue.into_report();
    let wanted = [0, 1].map(|place| (place, Fate::Failed, "5.7.1".to_owned()));
    assert_eq!((fates(&report), report.end), (wanted.into(), End::Complete));
}

#[test]
fn data_that_was_taken_for_nobody_carries_nothing() {
    let job = job(&["b@y.test", "c@y.test"]);
    for replies in ["250 s\r\n550 no\r\n550 no\r\n", "550 no\r\n503 no\r\n503 no\r\n"] {
        for (taken, end) in [("354 go\r\n554 nobody\r\n", ".|QUIT|"), ("554 nobody\r\n", "QUIT|")] {
            let (sent, report) = run(&job, &[ALL, replies, taken].concat());
            assert!(sent.ends_with(&format!("RCPT TO:<c@y.test>|DATA|{end}")), "{sent}");
            assert!(!sent.contains("(Dots)"), "{sent}");
            assert_eq!(report.end, End::Complete);
            assert!(report.findings.iter().all(|(_, finding)| finding.fate == Fate::Failed));
        }
    }
}

#[test]
fn an_empty_message_reaches_nobody_where_a_refused_sender_has_recipients() {
    let job = job(&["b@y.test", "c@y.test"]);
    for replies in ["452 4.3.1 full\r\n250 r\r\n", "550 5.7.1 no\r\n503 no\r\n250 r\r\n"] {
        let (sent, report) = run(&job, &[ALL, replies].concat());
        assert!(sent.ends_with("RCPT TO:<c@y.test>|DATA|QUIT|"), "no final dot: {sent}");
        assert!(matches!(report.end, End::Trouble(_)), "the connection is not used again");
        assert_eq!(report.findings.len(), 2, "the sender was refused all the same");
    }
    // An answer to DATA that is none.
    let (sent, report) = run(&job, &[ALL, "250 s\r\n550 no\r\n550 no\r\n250 ok\r\n"].concat());
    assert!(sent.ends_with("|DATA|QUIT|") && matches!(report.end, End::Trouble(_)), "{sent}");
}

#[test]
fn with_pipelining_the_next_message_comes_right_behind_the_reset() {
    let mut job = job(&["b@y.test"]);
    let standing = || {
        let mut dialogue = Dialogue::new(&job, [0], "mx.test", Security::Wanted);
        play(&mut dialogue, &[ALL, "250 s\r\n250 r\r\n354 go\r\n250 ok\r\n"].concat());
        dialogue.standing().clone()
    };
    let (standing, first) = (standing(), job.clone());
    let ahead = b"RSET\r\nMAIL FROM:<a@x.test> SIZE=100\r\nRCPT TO:<b@y.test>\r\nDATA\r\n".to_vec();
    let mut dialogue = Dialogue::resumed(&first, [0], "mx.test", standing.clone());
    assert_eq!(dialogue.resume(), Action::Send(ahead.clone()));
    let sent = play(&mut dialogue, "250 reset\r\n250 s\r\n250 r\r\n354 go\r\n250 2.0.0 ok\r\n");
    assert_eq!(sent, ["(Dots)", "QUIT\r\n"]);
    assert_eq!(fates(&dialogue.into_report()), [(0, Fate::Delivered, "2.0.0".into())]);
    // One that has died meanwhile says nothing about the message, whatever was sent along.
    for replies in ["", "421 bye\r\n", "500 what\r\n", "500 what\r\n250 s\r\n250 r\r\n354 go\r\n"] {
        let mut dialogue = Dialogue::resumed(&first, [0], "mx.test", standing.clone());
        dialogue.resume();
        let sent = play(&mut dialogue, replies);
        assert!(!sent.contains(&"(Dots)".to_owned()), "{replies}");
        let report = dialogue.into_report();
        assert_eq!((report.end, report.findings.len()), (End::Reconnect, 0), "{replies}");
    }
    // What the server cannot take is found before anything of it is said.
    job.content.size = 201;
    let mut dialogue = Dialogue::resumed(&job, [0], "mx.test", standing);
    assert_eq!(dialogue.resume(), Action::Send(b"RSET\r\n".to_vec()));
    assert_eq!(play(&mut dialogue, "250 reset\r\n"), ["QUIT\r\n"]);
    assert!(matches!(dialogue.into_report().end, End::Refused(_)));
}

#[test]
fn starttls_forgets_what_was_offered() {
    let replies = "220 mx\r\n250-mx\r\n250-STARTTLS\r\n250 SIZE 1\r\n220 go\r\n250 mx\r\n250 s\r\n250 r\r\n\
                   354 go\r\n250 ok\r\n";
    let (sent, report) = run(&job(&["b@y.test"]), replies);
    assert!(
        sent.starts_with("EHLO me.test|STARTTLS|(handshake)EHLO me.test|MAIL FROM:<a@x.test>|")
    );
    assert_eq!(report.end, End::Complete);
    // Refused after it was offered, and not wanted at all.
    let refused = replies.replace("220 go\r\n250 mx\r\n", "454 no\r\n").replace("SIZE 1", "DSN");
    let (sent, report) = run(&job(&["b@y.test"]), &refused);
    assert!(sent.contains("STARTTLS|MAIL") && report.end == End::Complete, "{sent}");
    let job = job(&["b@y.test"]);
    let mut dialogue = Dialogue::new(&job, [0], "mx.test", Security::Plain);
    let sent = play(&mut dialogue, "220 mx\r\n250-mx\r\n250 STARTTLS\r\n").concat();
    assert!(!sent.contains("STARTTLS"));
}

#[test]
fn hosts_that_do_not_want_us() {
    let end = |replies: &str| run(&job(&["b@y.test"]), replies).1;
    for (replies, permanent) in [
        ("554 5.7.1 no\r\n", true),
        ("450 later\r\n", false),
        ("421 later\r\n", false),
        ("220 mx\r\n450 later\r\n", false),
        ("220 mx\r\n500 what\r\n500 what\r\n", true),
        ("220 mx\r\n250 mx\r\n421 bye\r\n", false),
        ("220 mx\r\n250 mx\r\n354 what\r\n", false),
        ("220 mx\r\n250 mx\r\n250 s\r\n421 bye\r\n", false),
        ("220 mx\r\n250 mx\r\n250 s\r\n250 r\r\n250 what\r\n", false),
        ("220 mx\r\n250 mx\r\n250 s\r\n250 r\r\n421 bye\r\n", false),
        ("", false),
    ] {
        let report = end(replies);
        assert!(report.findings.is_empty(), "{replies}");
        match report.end {
            End::Refused(finding) => {
                assert!(permanent && finding.fate == Fate::Failed, "{replies}")
            }
            End::Trouble(finding) => {
                assert!(!permanent && finding.fate == Fate::Deferred, "{replies}");
                assert_eq!(finding.status.class, 4);
            }
            End::Complete | End::Reconnect => panic!("{replies}"),
        }
    }
}

#[test]
fn refusals_of_the_message() {
    let start = "220 mx\r\n250 mx\r\n";
    for (replies, fate) in [
        ("550 5.7.1 sender\r\n", Fate::Failed),
        ("451 later\r\n", Fate::Deferred),
        ("250 s\r\n550 no\r\n", Fate::Failed),
        ("250 s\r\n452 full\r\n", Fate::Deferred),
        ("250 s\r\n250 r\r\n554 no\r\n", Fate::Failed),
        ("250 s\r\n250 r\r\n354 go\r\n554 spam\r\n", Fate::Failed),
        ("250 s\r\n250 r\r\n354 go\r\n421 bye\r\n", Fate::Deferred),
        ("250 s\r\n250 r\r\n354 go\r\n354 again\r\n", Fate::Deferred),
    ] {
        let (sent, report) = run(&job(&["b@y.test"]), &[start, replies].concat());
        assert_eq!((report.findings[0].1.fate, &report.end), (fate, &End::Complete), "{replies}");
        assert!(sent.ends_with("QUIT|"));
    }
}

#[test]
fn a_connection_lost_after_the_dot_is_no_reason_for_another_host() {
    let job = job(&["b@y.test", "c@y.test"]);
    let lost = || Finding::deferred(4, 2, "lost");
    let until = |replies: &str| {
        let mut dialogue = Dialogue::new(&job, [0, 1], "mx.test", Security::Wanted);
        play(&mut dialogue, &[ALL, replies].concat());
        dialogue.lost(lost());
        dialogue.into_report()
    };
    let report = until("250 s\r\n250 r\r\n550 no\r\n354 go\r\n");
    assert_eq!(report.end, End::Complete);
    assert_eq!(report.findings[1], (0, lost()));
    let report = until("250 s\r\n250 r\r\n550 no\r\n");
    assert_eq!(report.end, End::Trouble(lost()));
    assert_eq!(fates(&report), [(1, Fate::Failed, "5.0.0".into())]);
}

#[test]
fn what_a_host_cannot_take_is_not_sent() {
    let mut utf8 = job(&["jö@y.test"]);
    let mut eight = job(&["b@y.test"]);
    eight.content.eight_bit = true;
    let mut bare = job(&["b@y.test"]);
    bare.content.bare_newline = true;
    let mut large = job(&["b@y.test"]);
    large.content.size = 201;
    for (job, keyword, status) in [
        (&utf8, "SMTPUTF8", "5.6.7"),
        (&eight, "8BITMIME", "5.6.3"),
        (&bare, "CHUNKING", "5.6.0"),
        (&large, "", "5.3.4"),
    ] {
        let offered = if keyword.is_empty() { ALL.to_owned() } else { ALL.replace(keyword, "X") };
        let (sent, report) = run(job, &offered);
        let End::Refused(finding) = report.end else { panic!("{status}") };
        assert_eq!((finding.status.to_string().as_str(), finding.fate), (status, Fate::Failed));
        assert_eq!(sent, "EHLO me.test|QUIT|");
    }
    utf8.content.eight_bit = true;
    assert!(run(&utf8, ALL).0.contains(" SIZE=100 BODY=8BITMIME SMTPUTF8|RCPT TO:<jö@y.test>|"));
    let (sent, report) = run(&bare, &[ALL, "250 s\r\n250 r\r\n250 ok\r\n"].concat());
    assert!(sent.ends_with("RCPT TO:<b@y.test>|(Chunk)QUIT|"), "{sent}");
    assert_eq!(report.end, End::Complete);
    let binary = ALL.replace("DSN", "BINARYMIME");
    assert!(run(&bare, &binary).0.contains(" BODY=BINARYMIME|"));
}

#[test]
fn a_connection_has_its_limits() {
    let mut all = job(&["a@one.test", "b@two.test", "c@one.test"]);
    let limits = ALL.replace("DSN", "LIMITS RCPTDOMAINMAX=1");
    let replies = "250 s\r\n250 a\r\n250 c\r\n354 go\r\n250 ok\r\n";
    let (sent, report) = run(&all, &[&limits, replies].concat());
    assert!(sent.contains("RCPT TO:<a@one.test>|RCPT TO:<c@one.test>|DATA|"), "{sent}");
    assert_eq!(report.end, End::Reconnect);
    assert_eq!(fates(&report).len(), 2);
    all.recipients.truncate(1);
    // The next message over the same connection begins with RSET, and counts.
    let standing = Standing {
        offered: letterlock_smtp_wire::Capabilities {
            limits: letterlock_smtp_wire::ehlo::Limits { mail_max: Some(2), ..Default::default() },
            ..Default::default()
        },
        mails: 1,
        ..Standing::default()
    };
    assert!(standing.has_room());
    let mut dialogue = Dialogue::resumed(&all, [0], "mx.test", standing.clone());
    assert_eq!(dialogue.resume(), Action::Send(b"RSET\r\n".to_vec()));
    let sent = play(&mut dialogue, "250 reset\r\n250 s\r\n250 r\r\n354 go\r\n250 ok\r\n").concat();
    assert!(sent.starts_with("MAIL FROM:<a@x.test>"), "{sent}");
    assert!(!dialogue.standing().has_room());
    assert_eq!(dialogue.into_report().end, End::Complete);
    // One that has died meanwhile says nothing about the message.
    for replies in ["421 bye\r\n", "500 what\r\n", ""] {
        let mut dialogue = Dialogue::resumed(&all, [0], "mx.test", standing.clone());
        dialogue.resume();
        play(&mut dialogue, replies);
        dialogue.lost(Finding::deferred(4, 2, "lost"));
        let report = dialogue.into_report();
        assert_eq!((report.end, report.findings.len()), (End::Reconnect, 0), "{replies}");
    }
}

#[test]
fn a_connection_that_will_not_do_carries_nothing() {
    let job = job(&["b@y.test"]);
    for (finding, refused) in
        [(Finding::failed(7, 30, "no"), true), (Finding::deferred(7, 5, "not now"), false)]
    {
        let mut dialogue = Dialogue::new(&job, [0], "mx.test", Security::Plain);
        let mut parser = ReplyParser::new();
        let (_, greeting) = parser.feed(b"220 mx\r\n").unwrap();
        dialogue.reply(&greeting.unwrap());
        let (_, hello) = parser.feed(b"250 mx\r\n").unwrap();
        assert_eq!(dialogue.reply(&hello.unwrap()), Action::Judge);
        assert_eq!(dialogue.forbid(finding), Action::Finish(b"QUIT\r\n".to_vec()));
        let report = dialogue.into_report();
        assert_eq!(matches!(report.end, End::Refused(_)), refused);
        assert!(report.findings.is_empty());
    }
}

#[test]
fn wishes_for_reports_travel_on() {
    let mut job = job(&["b@y.test"]);
    job.ret = Some(Ret::Hdrs);
    job.envid = Some("e v".into());
    job.recipients[0].notify = Some(Notify { failure: true, ..Notify::default() });
    job.recipients[0].orcpt = "rfc822;o@x.test".parse().ok();
    let (sent, _) = run(&job, ALL);
    assert!(sent.contains(" RET=HDRS ENVID=e+20v|"), "{sent}");
    assert!(sent.contains("RCPT TO:<b@y.test> NOTIFY=FAILURE ORCPT=rfc822;o@x.test|"), "{sent}");
    assert!(!run(&job, &ALL.replace("DSN", "X")).0.contains("RET="));
}

#[test]
fn too_many_recipients_get_further_rounds() {
    let job = job(&["b@y.test", "c@y.test", "d@y.test"]);
    let limits = ALL.replace("DSN", "LIMITS RCPTMAX=2");
    let replies =
        "250 s\r\n250 b\r\n250 c\r\n354 go\r\n250 ok\r\n250 s\r\n250 d\r\n354 go\r\n250 ok\r\n";
    let (sent, report) = run(&job, &[&limits, replies].concat());
    assert_eq!(sent.matches("MAIL FROM").count(), 2, "{sent}");
    assert_eq!((report.findings.len(), &report.end), (3, &End::Complete));
    // The first two are refused: the transaction is ended before the next.
    let replies = "250 s\r\n550 b\r\n550 c\r\n554 nobody\r\n250 reset\r\n250 s\r\n250 d\r\n354 go\r\n250 ok\r\n";
    let (sent, report) = run(&job, &[&limits, replies].concat());
    assert!(sent.contains("RCPT TO:<c@y.test>|DATA|RSET|MAIL FROM"), "{sent}");
    assert_eq!(fates(&report)[2].1, Fate::Delivered);
    // "Too many" comes as a surprise, and the second time it is an answer.
    let replies = "250 s\r\n250 b\r\n452 4.5.3 many\r\n552 full\r\n354 go\r\n250 ok\r\n\
                   250 s\r\n250 c\r\n552 5.2.2 full\r\n354 go\r\n250 ok\r\n250 s\r\n552 5.2.2 full\r\n";
    let (_, report) = run(&job, &[ALL, replies].concat());
    assert_eq!(
        fates(&report).into_iter().map(|(place, fate, _)| (place, fate)).collect::<Vec<_>>(),
        [(0, Fate::Delivered), (1, Fate::Delivered), (2, Fate::Failed)]
    );
}

proptest! {
    /// Whatever a server says, the dialogue ends, decides nobody twice, and claims no delivery without a message sent.
    #[test]
    fn any_server_is_survived(
        replies in proptest::collection::vec(
            (prop_oneof![4 => Just(250_u16), 2 => Just(354), 2 => Just(220), 1 => 200_u16..600], "[ -~]{0,12}"), 0..400,
        ),
        keywords in "(250-(PIPELINING|STARTTLS|8BITMIME|SMTPUTF8|CHUNKING|SIZE [0-9]{0,3}|LIMITS RCPTMAX=[0-9])\r\n){0,6}",
        recipients in 0_usize..120,
        eight_bit in any::<bool>(),
        bare_newline in any::<bool>(),
    ) {
        let addresses: Vec<String> = (0..recipients).map(|n| format!("r{n}@y.test")).collect();
        let mut job = job(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        job.content = Content { eight_bit, bare_newline, ..job.content };
        let mut text = format!("220 mx\r\n250-mx\r\n{keywords}250 END\r\n");
        text.extend(replies.iter().map(|(code, said)| format!("{code} {said}\r\n")));
        let (sent, report) = run(&job, &text);
        let mut places: Vec<usize> = report.findings.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), report.findings.len());
        prop_assert!(places.iter().all(|place| *place < recipients));
        if report.end == End::Complete {
            prop_assert_eq!(places.len(), recipients);
        }
        let delivered = report.findings.iter().filter(|(_, f)| f.fate == Fate::Delivered).count();
        prop_assert!(delivered == 0 || sent.contains("(Dots)") || sent.contains("(Chunk)"));
    }
}

#[test]
fn a_server_that_insists_on_tls_after_a_failed_handshake_is_asked_again() {
    let job = job(&["b@y.test"]);
    let replies = "220 mx\r\n250 mx\r\n530 5.7.0 Must issue a STARTTLS command first\r\n";
    let mut plain = Dialogue::new(&job, [0], "mx.test", Security::Plain);
    play(&mut plain, replies);
    let report = plain.into_report();
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(matches!(&report.end, End::Trouble(finding) if finding.fate == Fate::Deferred));
    let (_, offered_none) = run(&job, replies);
    assert_eq!(fates(&offered_none), [(0, Fate::Failed, "5.7.0".to_owned())]);
}
