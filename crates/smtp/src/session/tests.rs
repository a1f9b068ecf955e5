//! Dialogues. A script is lines of `C: what the client says` and `S: how the answer begins`;
//! the driver's part is played here: `sender@refused.test` may not send, `nobody@…` is no
//! recipient, the password is `right`, and every message that is whole is accepted.

use letterlock_address::{ForwardPath, Mailbox};
use letterlock_login::LoginError;
use letterlock_smtp_wire::standard;

use super::*;

fn rules(access: Access) -> Rules {
    Rules {
        hostname: "mx.test".into(),
        access,
        message_size: 1000,
        recipients: 3,
        messages: 50,
        errors: 4,
        tarpit: Tarpit { after: 1, step: Duration::from_secs(1), most: Duration::from_secs(2) },
        future_release: match access {
            Access::Anybody => None,
            Access::LoggedIn { .. } => Some(Duration::from_secs(3600)),
        },
    }
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn inbound() -> Session {
    Session::new(rules(Access::Anybody), false).0
}

fn submission(tls: bool) -> Session {
    Session::new(rules(Access::LoggedIn { cleartext: false }), tls).0
}

/// Says a line and plays the driver until there is an answer; the words before it say what
/// the driver was told to do besides.
fn say(session: &mut Session, line: &str) -> String {
    let action = session.line(Ok(line.as_bytes()), now());
    play(session, action)
}

fn play(session: &mut Session, action: Action) -> String {
    match action {
        Action::Send(reply) => reply.to_string(),
        Action::Close(reply) => format!("close {reply}"),
        Action::StartTls(reply) => format!("tls {reply}"),
        Action::Skip(size, reply) => format!("skip {size} {reply}"),
        Action::Authenticate(credential) => {
            let action = match credential.password.as_str() {
                "right" => session.logged_in(),
                "throttled" => session.login_failed(&LoginError::Throttled {
                    retry_after: std::time::Duration::ZERO,
                }),
                _ => session.login_failed(&LoginError::Rejected),
            };
            play(session, action)
        }
        Action::Prove(_) | Action::Enter => panic!("no dialogue here uses SCRAM"),
        Action::Sender(Mail { path, .. }) => {
            let refused = path.to_string().ends_with("@refused.test");
            let verdict = if refused { Err(standard::sender_not_owned()) } else { Ok(()) };
            let action = session.sender(verdict);
            play(session, action)
        }
        Action::Recipient(Rcpt { path, params, .. }) => {
            let verdict: Result<Mailbox, Reply> = match path {
                ForwardPath::Postmaster => Ok("postmaster@a.test".parse().unwrap()),
                ForwardPath::Mailbox(mailbox) if mailbox.local.as_str() == "nobody" => {
                    Err(standard::no_such_user())
                }
                ForwardPath::Mailbox(mailbox) if mailbox.local.as_str() == "later" => {
                    Err(standard::mailbox_unavailable())
                }
                ForwardPath::Mailbox(mailbox) => Ok(mailbox),
            };
            let action = session.recipient(verdict.map(|address| Recipient { address, params }));
            play(session, action)
        }
        Action::Data(reply) => {
            let envelope = session.take_envelope().expect("DATA was allowed");
            format!("{} for {} then accepted", reply.code, envelope.recipients.len())
        }
        Action::Chunk { size, last: false, binary } => {
            format!("{}chunk {size}", if binary { "binary " } else { "" })
        }
        Action::Chunk { size, last: true, binary } => {
            let envelope = session.take_envelope().expect("BDAT was allowed");
            let kind = if binary { "binary " } else { "" };
            format!("{kind}last {size} for {} then accepted", envelope.recipients.len())
        }
    }
}

#[track_caller]
fn dialogue(session: &mut Session, script: &str) {
    let mut answer = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(": ").expect("a line of a script") {
            ("C", said) => answer = say(session, said),
            ("S", expected) => {
                assert!(answer.starts_with(expected), "{answer:?} is not {expected:?}, in:{script}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn dialogues_on_port_25() {
    let scripts = [
        // RFC 5321 §4.1.4: the order of commands.
        "C: MAIL FROM:<a@b.test>
         S: 503
         C: RCPT TO:<a@b.test>
         S: 503",
        "C: NOOP
         S: 250
         C: HELP
         S: 214
         C: VRFY ann
         S: 252
         C: RSET
         S: 250
         C: QUIT
         S: close 221",
        "C: EHLO c.test
         S: 250
         C: RCPT TO:<a@a.test>
         S: 503
         C: DATA
         S: 503
         C: MAIL FROM:<a@b.test>
         S: 250
         C: MAIL FROM:<a@b.test>
         S: 503
         C: RCPT TO:<ann@a.test>
         S: 250
         C: DATA
         S: 354 for 1 then accepted
         C: RCPT TO:<ann@a.test>
         S: 503",
        // RSET and EHLO end a transaction.
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<ann@a.test>
         C: RSET
         S: 250
         C: DATA
         S: 503
         C: MAIL FROM:<>
         S: 250
         C: EHLO c.test
         S: 250
         C: RCPT TO:<ann@a.test>
         S: 503
         C: MAIL FROM:<>
         S: 250",
        // A refused MAIL begins no transaction.
        "C: HELO c.test
         S: 250
         C: MAIL FROM:<sender@refused.test>
         S: 553 5.7.1
         C: RCPT TO:<ann@a.test>
         S: 503
         C: MAIL FROM:<a@b.test>
         S: 250",
        // Recipients: refused ones don't count, the same one twice is one, bare postmaster is one.
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<nobody@a.test>
         S: 550 5.1.1
         C: DATA
         S: 554
         C: RCPT TO:<ann@a.test>
         S: 250
         C: RCPT TO:<ann@a.test>
         S: 250
         C: RCPT TO:<postmaster>
         S: 250
         C: DATA
         S: 354 for 2",
        // RFC 5321 §4.1.1.11: parameters that were not offered; HELO offers none.
        "C: HELO c.test
         C: MAIL FROM:<a@b.test> SIZE=10
         S: 555
         C: EHLO c.test
         C: MAIL FROM:<a@b.test> BODY=9BIT
         S: 501
         C: MAIL FROM:<a@b.test> SIZE=1001
         S: 552 5.3.4
         C: MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME
         S: 250",
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test> BY=120;R
         S: 555
         C: MAIL FROM:<a@b.test> HOLDFOR=60
         S: 555
         C: MAIL FROM:<a@b.test> REQUIRETLS
         S: 555",
        // RFC 6531: addresses beyond ASCII need the parameter.
        "C: EHLO c.test
         C: MAIL FROM:<ä@b.test>
         S: 553 5.6.7
         C: MAIL FROM:<a@b.test>
         S: 250
         C: RCPT TO:<ü@a.test>
         S: 553 5.6.7
         C: RSET
         C: MAIL FROM:<ä@b.test> SMTPUTF8
         S: 250
         C: RCPT TO:<ü@a.test>
         S: 250",
        // Nobody logs in on port 25, and a browser is sent away.
        "C: EHLO c.test
         C: AUTH PLAIN AGEAYg==
         S: 502
         C: POST / HTTP/1.1
         S: close 521",
        // RFC 3207: EHLO first.
        "C: STARTTLS
         S: 503
         C: EHLO c.test
         C: STARTTLS
         S: tls 220",
    ];
    for script in scripts {
        dialogue(&mut inbound(), script);
    }
}

#[test]
fn chunks() {
    let scripts = [
        // RFC 3030 §2: a series, and what may not stand within it.
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<ann@a.test>
         C: BDAT 10
         S: chunk 10
         C: DATA
         S: 503
         C: RCPT TO:<bob@a.test>
         S: 503
         C: BDAT 5 LAST
         S: last 5 for 1
         C: BDAT 5 LAST
         S: skip 5 503",
        // The octets come whatever is wrong.
        "C: BDAT 7
         S: skip 7 503
         C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: BDAT 7 LAST
         S: skip 7 554
         C: RCPT TO:<ann@a.test>
         S: 250
         C: BDAT 0 LAST
         S: last 0 for 1",
        // RSET ends a series.
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<ann@a.test>
         C: BDAT 10
         C: RSET
         S: 250
         C: BDAT 5 LAST
         S: skip 5 503
         C: MAIL FROM:<a@b.test>
         S: 250",
    ];
    for script in scripts {
        dialogue(&mut inbound(), script);
    }
}

#[test]
fn the_rest_of_a_refused_series_is_skipped_and_counts_once() {
    let mut session = inbound();
    dialogue(
        &mut session,
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<ann@a.test>
         C: BDAT 2000
         S: chunk 2000",
    );
    session.chunk_failed(false);
    assert!(matches!(session.outcome(standard::message_too_big()), Action::Send(_)));
    for _ in 0..10 {
        assert!(say(&mut session, "BDAT 2000").starts_with("skip 2000 503"));
    }
    assert!(!session.in_transaction());
    dialogue(
        &mut session,
        "C: BDAT 1 LAST
         S: skip 1 503
         C: MAIL FROM:<a@b.test>
         S: 250",
    );
}

#[test]
fn after_tls_nothing_is_known() {
    let mut session = Session::new(rules(Access::LoggedIn { cleartext: true }), false).0;
    dialogue(
        &mut session,
        "C: EHLO c.test
         C: AUTH PLAIN AGEAcmlnaHQ=
         S: 235
         C: MAIL FROM:<a@a.test>
         S: 250",
    );
    let mut session = session.after_tls();
    assert!(session.hello().is_none() && !session.in_transaction());
    dialogue(
        &mut session,
        "C: MAIL FROM:<a@a.test>
         S: 503
         C: EHLO c.test
         C: MAIL FROM:<a@a.test>
         S: 530",
    );
    assert!(!say(&mut session, "EHLO c.test").contains("STARTTLS"));
}

#[test]
fn lines_that_end_otherwise_end_the_session() {
    for error in [LineError::BareLf, LineError::BareCr] {
        let mut session = inbound();
        let action = session.line(Err(error), now());
        assert!(play(&mut session, action).starts_with("close 521"));
    }
}

#[test]
fn a_session_may_be_cut_between_transactions_only() {
    let mut session = inbound();
    assert!(!session.in_transaction());
    say(&mut session, "EHLO c.test");
    assert!(!session.in_transaction());
    say(&mut session, "MAIL FROM:<>");
    assert!(session.in_transaction());
    say(&mut session, "RCPT TO:<ann@a.test>");
    say(&mut session, "BDAT 1");
    assert!(session.in_transaction());
    say(&mut session, "BDAT 1 LAST");
    assert!(!session.in_transaction());
}

mod auth;
mod errors;
mod extensions;
