//! Parameters of MAIL and RCPT, and what a listener offers.

use super::*;

#[test]
fn binary_messages_come_by_bdat_only() {
    dialogue(
        &mut inbound(),
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test> BODY=BINARYMIME
         S: 250
         C: RCPT TO:<ann@a.test>
         S: 250
         C: DATA
         S: 503 5.5.1 BODY=BINARYMIME
         C: BDAT 3
         S: binary chunk 3
         C: BDAT 0 LAST
         S: binary last 0 for 1",
    );
}

#[test]
fn what_is_offered_depends_on_tls_and_on_the_listener() {
    let offered = |mut session: Session| say(&mut session, "EHLO c.test");
    let clear = offered(inbound());
    for keyword in ["DSN", "BINARYMIME", "LIMITS RCPTMAX=3 MAILMAX=50", "STARTTLS"] {
        assert!(clear.contains(keyword), "{clear}");
    }
    for keyword in ["REQUIRETLS", "FUTURERELEASE", "DELIVERBY"] {
        assert!(!clear.contains(keyword), "{clear}");
    }
    assert!(offered(inbound().after_tls()).contains("REQUIRETLS"));
    let submission = offered(submission(true));
    assert!(submission.contains("FUTURERELEASE 3600 2030-01-01T01:00:00Z"), "{submission}");
}

#[test]
fn parameters_stay_with_their_message_and_recipient() {
    let mut session = inbound().after_tls();
    dialogue(
        &mut session,
        "C: EHLO c.test
         C: MAIL FROM:<a@b.test> RET=HDRS ENVID=q+2B1 REQUIRETLS
         S: 250
         C: RCPT TO:<ann@a.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ann+40a.test
         S: 250
         C: RCPT TO:<ann@a.test> NOTIFY=NEVER
         S: 250
         C: RCPT TO:<bob@a.test> NOTIFY=NEVER,FAILURE
         S: 501 5.5.4
         C: RCPT TO:<bob@a.test>
         S: 250",
    );
    let envelope = session.take_envelope().unwrap();
    assert!(envelope.params.requiretls);
    assert_eq!(envelope.params.envid.as_deref(), Some("q+1"));
    let [ann, bob] = envelope.recipients.as_slice() else { panic!("{envelope:?}") };
    let notify = ann.params.notify.unwrap();
    assert!(notify.success && notify.delay && !notify.failure && !notify.never);
    assert_eq!(ann.params.orcpt.as_ref().unwrap().to_string(), "rfc822;Ann@a.test");
    assert_eq!(bob.params, Default::default());
}

#[test]
fn a_message_may_be_put_off_as_far_as_is_offered() {
    let mut session = submission(true);
    dialogue(
        &mut session,
        "C: EHLO c.test
         C: AUTH PLAIN AGEAcmlnaHQ=
         S: 235
         C: MAIL FROM:<a@a.test> HOLDFOR=3601
         S: 501 5.5.4
         C: MAIL FROM:<a@a.test> HOLDUNTIL=2029-12-31T23:59:59Z
         S: 501 5.5.4
         C: MAIL FROM:<a@a.test> HOLDFOR=60 HOLDUNTIL=2030-01-01T00:30:00Z
         S: 501 5.5.4
         C: MAIL FROM:<a@a.test> HOLDUNTIL=2030-01-01T00:30:00Z
         S: 250
         C: RCPT TO:<b@b.test>
         S: 250",
    );
    let until = session.take_envelope().unwrap().hold_until.unwrap();
    assert_eq!(until.to_string(), "2030-01-01T00:30:00Z");
}

#[test]
fn a_session_has_so_many_messages() {
    let mut session = Session::new(Rules { messages: 2, ..rules(Access::Anybody) }, false).0;
    dialogue(
        &mut session,
        "C: EHLO c.test
         C: MAIL FROM:<sender@refused.test>
         S: 553
         C: MAIL FROM:<a@b.test>
         S: 250
         C: RSET
         C: MAIL FROM:<a@b.test>
         S: 250
         C: RSET
         C: MAIL FROM:<a@b.test>
         S: close 421 4.7.0",
    );
}

#[test]
fn errors_are_answered_late() {
    let mut session = inbound();
    let mut delays = Vec::new();
    for line in ["XYZZY", "NOOP", "XYZZY", "NOOP", "XYZZY", "XYZZY"] {
        say(&mut session, line);
        delays.push(session.take_delay().as_secs());
    }
    assert_eq!(delays, [0, 0, 1, 0, 2, 2]);
}
