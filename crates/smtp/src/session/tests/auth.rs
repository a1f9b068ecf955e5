//! AUTH, and what only those may do who used it.

use super::*;

#[test]
fn dialogues_of_submission() {
    let in_clear = "C: MAIL FROM:<a@a.test>
         S: 503
         C: EHLO c.test
         C: AUTH PLAIN AGEAcmlnaHQ=
         S: 538
         C: MAIL FROM:<a@a.test>
         S: 530 5.7.0 Must issue
         C: STARTTLS
         S: tls 220";
    dialogue(&mut submission(false), in_clear);
    let scripts = [
        // RFC 4954 §4.
        "C: AUTH PLAIN AGEAcmlnaHQ=
         S: 503
         C: EHLO c.test
         C: MAIL FROM:<a@a.test>
         S: 530 5.7.0 Auth
         C: AUTH PLAIN AGEAcmlnaHQ=
         S: 235
         C: AUTH PLAIN AGEAcmlnaHQ=
         S: 503
         C: STARTTLS
         S: 503
         C: MAIL FROM:<a@a.test>
         S: 250
         C: EHLO c.test
         S: 250
         C: MAIL FROM:<a@a.test>
         S: 250",
        "C: EHLO c.test
         C: AUTH PLAIN
         S: 334
         C: AGEAcmlnaHQ=
         S: 235",
        "C: EHLO c.test
         C: AUTH login
         S: 334 VXNlcm5hbWU6
         C: YQ==
         S: 334 UGFzc3dvcmQ6
         C: cmlnaHQ=
         S: 235",
        // What ends an exchange without a session.
        "C: EHLO c.test
         C: AUTH PLAIN
         C: *
         S: 501 5.7.0
         C: AUTH PLAIN =
         S: 501 5.5.2
         C: AUTH XYZZY
         S: 504
         C: AUTH PLAIN AGEAd3Jvbmc=
         S: 535
         C: NOOP
         S: 250",
    ];
    for script in scripts {
        dialogue(&mut submission(true), script);
    }
}

#[test]
fn auth_is_offered_where_it_can_be_used() {
    let offers =
        |mut session: Session| say(&mut session, "EHLO c.test").contains("AUTH PLAIN LOGIN");
    assert!(!offers(inbound()));
    assert!(!offers(submission(false)));
    assert!(offers(submission(true)));
    assert!(offers(Session::new(rules(Access::LoggedIn { cleartext: true }), false).0));
}

#[test]
fn a_line_that_is_none_ends_an_exchange() {
    for error in [LineError::TooLong, LineError::Nul] {
        let mut session = submission(true);
        dialogue(
            &mut session,
            "C: EHLO c.test
             C: AUTH PLAIN
             S: 334",
        );
        let action = session.line(Err(error), now());
        assert!(play(&mut session, action).starts_with("500"));
        assert!(say(&mut session, "NOOP").starts_with("250"), "it is no answer to the challenge");
    }
}

#[test]
fn failed_logins_are_counted_whatever_the_reason() {
    for password in ["d3Jvbmc=", "dGhyb3R0bGVk"] {
        let mut session = submission(true);
        say(&mut session, "EHLO c.test");
        let tries = (0..20)
            .take_while(|_| {
                say(&mut session, "AUTH LOGIN YQ==");
                let answer = say(&mut session, password);
                assert!(
                    answer.starts_with("535")
                        || answer.starts_with("454")
                        || answer.starts_with("close 421")
                );
                !answer.starts_with("close")
            })
            .count();
        assert_eq!(tries, 4);
    }
}
