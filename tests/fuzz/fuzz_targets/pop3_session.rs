//! A POP3 client's lines into the session machine: no panic, whole lines in answer, and nothing of the drop touched that
//! was not asked for.
#![no_main]

use letterlock_login::LoginError;
use letterlock_login::sasl::Ground;
use letterlock_pop3::session::{Action, Message, Security, Session};
use libfuzzer_sys::fuzz_target;

const DROP: [Message; 3] =
    [Message { uid: 1, size: 120 }, Message { uid: 4, size: 200 }, Message { uid: 9, size: 0 }];

fn in_drop(uid: u32) -> bool {
    DROP.iter().any(|message| message.uid == uid)
}

/// Every answer is made of lines that end in CRLF.
fn check(answer: &[u8]) {
    assert!(answer.ends_with(b"\r\n"));
    let mut before = 0;
    for &octet in answer {
        assert_eq!(octet == b'\n', before == b'\r');
        before = octet;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, octets)) = data.split_first() else { return };
    let mut security = [Security::Plain, Security::PlainAllowed, Security::Tls][usize::from(first % 3)];
    let (mut session, greeting) = Session::new(security, Ground::default());
    check(greeting);
    for line in octets.split(|&octet| octet == b'\n') {
        let mut action = session.line(line);
        // What the driver would do, and then say to the machine.
        if let Action::Authenticate(credential) = &action {
            assert_ne!(security, Security::Plain, "a password in the clear");
            action = match credential.password.as_str() {
                "pw" => session.logged_in(9, DROP.to_vec()),
                "used" => session.in_use(),
                _ => session.login_failed(&LoginError::Rejected),
            };
        }
        match action {
            Action::Send(bytes) => check(&bytes),
            Action::StartTls(bytes) => {
                check(&bytes);
                (session, security) = (Session::after_tls(Ground::default()), Security::Tls);
            }
            Action::Retrieve { uid, .. } => assert!(session.is_logged_in() && in_drop(uid)),
            Action::Update(uids) => return assert!(uids.into_iter().all(in_drop)),
            Action::Close(bytes) => return check(&bytes),
            Action::Authenticate(_) | Action::Prove(_) | Action::Enter => {
                panic!("{action:?} without a reason");
            }
        }
    }
});
