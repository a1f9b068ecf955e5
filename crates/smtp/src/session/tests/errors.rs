//! What counts as an error, and how many are borne.

use super::*;

/// How many of these lines are answered before the session is ended; at most 20.
fn patience(session: &mut Session, line: &str) -> usize {
    (0..20).take_while(|_| !say(session, line).starts_with("close 421")).count()
}

#[test]
fn errors_are_counted_and_temporary_refusals_are_not() {
    let begun = || {
        let mut session = inbound();
        dialogue(
            &mut session,
            "C: EHLO c.test
             C: MAIL FROM:<a@b.test>
             S: 250",
        );
        session
    };
    assert_eq!(patience(&mut begun(), "XYZZY"), 4);
    assert_eq!(patience(&mut begun(), "RCPT TO:<nobody@a.test>"), 4);
    assert_eq!(patience(&mut begun(), "BDAT 3"), 4);
    assert_eq!(patience(&mut begun(), "RCPT TO:<later@a.test>"), 20);
    assert_eq!(patience(&mut begun(), "NOOP"), 20);

    // More recipients than fit: each of the others gets 452 and may come again (RFC 5321 §4.5.3.1.10).
    let mut session = begun();
    for number in 0..3 {
        assert!(say(&mut session, &format!("RCPT TO:<r{number}@a.test>")).starts_with("250"));
    }
    assert!(say(&mut session, "RCPT TO:<more@a.test>").starts_with("452 4.5.3"));
    assert_eq!(patience(&mut session, "RCPT TO:<more@a.test>"), 20);
    assert!(say(&mut session, "DATA").starts_with("354 for 3"));

    let mut session = inbound();
    let ended =
        (0..20).position(|_| matches!(session.outcome(standard::mail_loop()), Action::Close(_)));
    assert_eq!(ended, Some(4), "refused messages count");
}
