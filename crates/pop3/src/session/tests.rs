//! The dialogue, line by line.

use super::*;

fn text(action: Action) -> String {
    match action {
        Action::Send(bytes) | Action::StartTls(bytes) | Action::Close(bytes) => {
            String::from_utf8(bytes).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn logged_in() -> Session {
    let mut session = Session::after_tls(Ground::default());
    assert!(text(session.line(b"USER ann@example.test")).starts_with("+OK"));
    assert!(
        matches!(session.line(b"PASS pw"), Action::Authenticate(c) if c.password.as_str() == "pw")
    );
    let messages = vec![Message { uid: 1, size: 120 }, Message { uid: 4, size: 200 }];
    assert_eq!(text(session.logged_in(9, messages)), "+OK 2 messages (320 octets)\r\n");
    session
}

#[test]
fn no_password_is_taken_in_clear_text() {
    let (mut session, _) = Session::new(Security::Plain, Ground::default());
    for line in ["USER ann", "PASS pw", "AUTH PLAIN AGEAYg=="] {
        assert!(text(session.line(line.as_bytes())).starts_with("-ERR [AUTH] Use STLS"), "{line}");
    }
    let capabilities = text(session.line(b"CAPA"));
    assert!(
        capabilities.contains("STLS")
            && !capabilities.contains("\r\nUSER\r\n")
            && !capabilities.contains("SASL")
    );
    assert!(matches!(session.line(b"STLS"), Action::StartTls(_)));
    let mut session = Session::after_tls(Ground::default());
    let capabilities = text(session.line(b"CAPA"));
    assert!(!capabilities.contains("STLS") && capabilities.contains("SASL PLAIN LOGIN"));
}

#[test]
fn a_maildrop_is_listed_read_and_updated_at_quit() {
    let mut session = logged_in();
    assert_eq!(text(session.line(b"STAT")), "+OK 2 320\r\n");
    assert_eq!(
        text(session.line(b"LIST")),
        "+OK 2 messages (320 octets)\r\n1 120\r\n2 200\r\n.\r\n"
    );
    assert_eq!(text(session.line(b"UIDL 2")), "+OK 2 0000000900000004\r\n");
    assert!(matches!(
        session.line(b"RETR 2"),
        Action::Retrieve { uid: 4, lines: None, utf8: false }
    ));
    assert!(matches!(session.line(b"TOP 1 5"), Action::Retrieve { uid: 1, lines: Some(5), .. }));
    assert!(text(session.line(b"DELE 1")).starts_with("+OK"));
    assert!(text(session.line(b"RETR 1")).starts_with("-ERR"));
    assert!(matches!(session.line(b"QUIT"), Action::Update(uids) if uids == [1]));
}

#[test]
fn rset_takes_the_marks_back() {
    let mut session = logged_in();
    session.line(b"DELE 1");
    session.line(b"RSET");
    assert!(matches!(session.line(b"QUIT"), Action::Update(uids) if uids.is_empty()));
}

#[test]
fn commands_in_the_wrong_state_are_refused() {
    let mut session = Session::after_tls(Ground::default());
    assert!(text(session.line(b"STAT")).starts_with("-ERR"));
    assert!(text(session.line(b"PASS pw")).starts_with("-ERR Send USER first"));
    let mut session = logged_in();
    assert!(text(session.line(b"USER bob")).starts_with("-ERR"));
    assert!(text(session.line(b"STLS")).starts_with("-ERR"));
}

#[test]
fn a_failed_login_forgets_the_user() {
    let mut session = Session::after_tls(Ground::default());
    session.line(b"USER ann@example.test");
    session.line(b"PASS wrong");
    assert!(text(session.login_failed(&LoginError::Rejected)).starts_with("-ERR [AUTH]"));
    assert!(text(session.line(b"PASS again")).starts_with("-ERR Send USER first"));
}

#[test]
fn sasl_in_one_and_two_steps() {
    let mut session = Session::after_tls(Ground::default());
    assert!(
        matches!(session.line(b"AUTH PLAIN AGFubgBwdw=="), Action::Authenticate(c) if c.identity == "ann")
    );
    let mut session = Session::after_tls(Ground::default());
    assert_eq!(text(session.line(b"AUTH PLAIN")), "+ \r\n");
    assert!(text(session.line(b"*")).starts_with("-ERR Authentication cancelled"));
    assert!(text(session.line(b"AUTH SCRAM-SHA-1")).starts_with("-ERR Unknown mechanism"));
}

#[test]
fn utf8_is_a_word_before_login() {
    let mut session = logged_in();
    assert!(text(session.line(b"UTF8")).starts_with("-ERR"));
    let mut session = Session::after_tls(Ground::default());
    assert!(text(session.line(b"UTF8")).starts_with("+OK"));
    session.line("USER jörg@example.test".as_bytes());
    let Action::Authenticate(credential) = session.line("PASS pä".as_bytes()) else { panic!() };
    assert_eq!(credential.identity, "jörg@example.test");
    session.logged_in(9, vec![Message { uid: 1, size: 120 }]);
    assert!(matches!(session.line(b"TOP 1 0"), Action::Retrieve { utf8: true, .. }));
}

#[test]
fn the_language_is_english() {
    let mut session = logged_in();
    let listed = text(session.line(b"LANG"));
    assert_eq!(listed, "+OK Languages\r\nen English\r\ni-default Default language\r\n.\r\n");
    for (tag, answer) in
        [("en", "+OK en "), ("EN", "+OK en "), ("*", "+OK en "), ("i-default", "+OK i-default ")]
    {
        assert!(text(session.line(format!("LANG {tag}").as_bytes())).starts_with(answer), "{tag}");
    }
    assert!(text(session.line(b"LANG tlh")).starts_with("-ERR "));
}

#[test]
fn after_a_proof_the_client_has_to_hear_the_servers() {
    let mut session = Session::after_tls(Ground::default());
    assert_eq!(text(session.proven("dj1x")), "+ dj1x\r\n");
    assert!(matches!(session.line(b""), Action::Enter));
    let mut session = Session::after_tls(Ground::default());
    session.proven("dj1x");
    assert!(text(session.line(b"*")).starts_with("-ERR"));
    assert!(text(session.line(b"STAT")).starts_with("-ERR"), "not logged in");
}
