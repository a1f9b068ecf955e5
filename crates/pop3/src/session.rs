//! The POP3 dialogue as a state machine: a line in, an [`Action`] out.
//!
//! The states are those of RFC 1939 §3: authorization, transaction and update. What
//! needs the world (TLS, credentials, messages, removal) is asked of the driver by an
//! action, and the driver reports the outcome by a method that fits the state.

use letterlock_login::sasl::{Exchange, Mechanism, SaslError, Step};
use letterlock_login::{Credential, LoginError};
use zeroize::Zeroizing;

use crate::command::{self, Command};
use crate::maildrop::Maildrop;
pub use crate::maildrop::Message;

/// Longest command line, without CRLF: RFC 2449 §4 says 255, SASL answers may be longer.
pub const MAX_LINE: usize = 8192;

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes, drop all input read so far, and begin TLS (RFC 2595 §4).
    StartTls(Vec<u8>),
    /// Ask `login`, then call [`Session::logged_in`] or [`Session::login_failed`].
    Authenticate(Credential),
    /// Send a message, or its head and this many lines; if it is gone, [`GONE`].
    Retrieve {
        /// UID in INBOX.
        uid: u32,
        /// `None` for the whole message.
        lines: Option<u64>,
    },
    /// Remove these UIDs durably, say goodbye ([`removed`]) and close.
    Update(Vec<u32>),
    /// Send these bytes and close.
    Close(Vec<u8>),
}

/// The answer when a message of the snapshot was removed by another session meanwhile.
pub const GONE: &[u8] = b"-ERR Message is no longer there\r\n";

/// QUIT's answer after [`Action::Update`].
pub fn removed(ok: bool) -> &'static [u8] {
    if ok { b"+OK Bye\r\n" } else { b"-ERR [SYS/TEMP] Some deleted messages were not removed\r\n" }
}

/// Whether passwords may be sent, and whether STLS can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Plain text; STLS is offered, and logging in needs it.
    Plain,
    /// Plain text where the configuration allows passwords in the clear.
    PlainAllowed,
    /// TLS.
    Tls,
}

#[derive(Debug)]
enum State {
    Authorization { user: Option<String> },
    Sasl(Exchange),
    LoggingIn,
    Transaction(Maildrop),
    Ended,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    security: Security,
    state: State,
}

impl Session {
    /// A new session and its greeting.
    pub fn new(security: Security) -> (Session, &'static [u8]) {
        let state = State::Authorization { user: None };
        (Session { security, state }, b"+OK Letterlock POP3 ready\r\n")
    }

    /// The session after a TLS handshake: everything learned before is forgotten.
    pub fn after_tls() -> Session {
        Session { security: Security::Tls, state: State::Authorization { user: None } }
    }

    /// Whether somebody is logged in (the driver's time limits differ).
    pub fn is_logged_in(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    /// Takes a line without its CRLF.
    pub fn line(&mut self, line: &[u8]) -> Action {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Sasl(exchange) => {
                let answer = std::str::from_utf8(line).unwrap_or("?");
                self.sasl(exchange.respond(answer))
            }
            state => {
                self.state = state;
                match command::parse(line) {
                    Ok(command) => self.command(command),
                    Err(problem) => err(problem.text()),
                }
            }
        }
    }

    /// `login` accepted the credential; these are INBOX's messages in UID order.
    pub fn logged_in(&mut self, uid_validity: u32, messages: Vec<Message>) -> Action {
        let drop = Maildrop::new(uid_validity, messages);
        let (count, size) = drop.totals();
        self.state = State::Transaction(drop);
        ok(&format!("{count} messages ({size} octets)"))
    }

    /// `login` refused, or the drop is in use ([`Session::in_use`]).
    pub fn login_failed(&mut self, error: &LoginError) -> Action {
        self.state = State::Authorization { user: None };
        // RFC 3206 §4: [AUTH] is for credentials alone; RFC 2449 §8 has the others.
        err(match error {
            LoginError::Rejected => "[AUTH] Authentication failed",
            LoginError::Disabled => "[AUTH] This account is disabled",
            LoginError::Throttled { .. } => "[SYS/TEMP] Too many failed logins, try again later",
            LoginError::TooManySessions => "[IN-USE] Too many sessions of this account",
            LoginError::Temporary(_) => "[SYS/TEMP] Cannot log in now, try again later",
        })
    }

    /// Another POP3 session holds the maildrop (RFC 2449 §8.1.1).
    pub fn in_use(&mut self) -> Action {
        self.state = State::Authorization { user: None };
        err("[IN-USE] Another POP3 session has this maildrop open")
    }

    fn command(&mut self, command: Command) -> Action {
        match (command, &mut self.state) {
            (Command::Capa, _) => self.capabilities(),
            (Command::Quit, State::Transaction(drop)) => {
                let marked = drop.marked();
                self.state = State::Ended;
                Action::Update(marked)
            }
            (Command::Quit, _) => Action::Close(b"+OK Bye\r\n".to_vec()),
            (Command::Stls, State::Authorization { .. }) => self.stls(),
            (Command::Auth(None), State::Authorization { .. }) => self.mechanisms(),
            (
                command @ (Command::User(_) | Command::Pass(_) | Command::Auth(_)),
                State::Authorization { .. },
            ) => self.log_in(command),
            (command, State::Transaction(drop)) => transaction(drop, command),
            _ => err("Not allowed in this state"),
        }
    }

    fn stls(&mut self) -> Action {
        match self.security {
            Security::Tls => err("TLS is already active"),
            _ => Action::StartTls(b"+OK Begin TLS\r\n".to_vec()),
        }
    }

    /// USER, PASS and AUTH in the authorization state.
    fn log_in(&mut self, command: Command) -> Action {
        if self.security == Security::Plain {
            return err("[AUTH] Use STLS first: no passwords in clear text");
        }
        let State::Authorization { user } = &mut self.state else {
            return err("Not allowed in this state");
        };
        match command {
            Command::User(name) => {
                *user = Some(name);
                ok("Send PASS")
            }
            Command::Pass(password) => match user.take() {
                None => err("Send USER first"),
                Some(identity) => {
                    self.state = State::LoggingIn;
                    Action::Authenticate(Credential {
                        identity,
                        authzid: None,
                        password: Zeroizing::new(password),
                    })
                }
            },
            Command::Auth(Some((name, initial))) => match Mechanism::parse(&name) {
                None => err("Unknown mechanism"),
                Some(mechanism) => self.sasl(Exchange::start(mechanism, initial.as_deref())),
            },
            _ => err("Not allowed in this state"),
        }
    }

    fn sasl(&mut self, step: Step) -> Action {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                Action::Send(format!("+ {challenge}\r\n").into_bytes())
            }
            Step::Done(credential) => {
                self.state = State::LoggingIn;
                Action::Authenticate(credential)
            }
            Step::Failed(error) => {
                self.state = State::Authorization { user: None };
                err(match error {
                    SaslError::Cancelled => "Authentication cancelled",
                    SaslError::Encoding | SaslError::Syntax => "Malformed authentication response",
                })
            }
        }
    }

    /// RFC 2449 §5: the list is right for the state in which it is asked.
    fn capabilities(&self) -> Action {
        let mut text = String::from(
            "+OK Capabilities\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\n",
        );
        if self.security != Security::Plain {
            text.push_str("USER\r\nSASL");
            for mechanism in Mechanism::ALL {
                text.push(' ');
                text.push_str(mechanism.name());
            }
            text.push_str("\r\n");
        }
        if self.security != Security::Tls && !self.is_logged_in() {
            text.push_str("STLS\r\n");
        }
        text.push_str("IMPLEMENTATION Letterlock\r\n.\r\n");
        Action::Send(text.into_bytes())
    }

    /// AUTH alone lists the mechanisms: not in RFC 5034, but what older clients ask.
    fn mechanisms(&self) -> Action {
        let mut text = String::from("+OK Mechanisms\r\n");
        if self.security != Security::Plain {
            for mechanism in Mechanism::ALL {
                text.push_str(mechanism.name());
                text.push_str("\r\n");
            }
        }
        text.push_str(".\r\n");
        Action::Send(text.into_bytes())
    }
}

fn transaction(drop: &mut Maildrop, command: Command) -> Action {
    const NO_SUCH: &str = "No such message";
    match command {
        Command::Stat => {
            let (count, size) = drop.totals();
            ok(&format!("{count} {size}"))
        }
        Command::List(None) => listing(drop, |message| message.size.to_string()),
        Command::Uidl(None) => listing(drop, |message| drop.unique_id(message)),
        Command::List(Some(number)) => {
            drop.get(number).map_or_else(|| err(NO_SUCH), |m| ok(&format!("{number} {}", m.size)))
        }
        Command::Uidl(Some(number)) => drop
            .get(number)
            .map_or_else(|| err(NO_SUCH), |m| ok(&format!("{number} {}", drop.unique_id(m)))),
        Command::Retr(number) => drop
            .get(number)
            .map_or_else(|| err(NO_SUCH), |m| Action::Retrieve { uid: m.uid, lines: None }),
        Command::Top(number, lines) => drop
            .get(number)
            .map_or_else(|| err(NO_SUCH), |m| Action::Retrieve { uid: m.uid, lines: Some(lines) }),
        Command::Dele(number) if drop.delete(number) => ok("Marked for deletion"),
        Command::Dele(_) => err(NO_SUCH),
        Command::Noop => ok("Nothing done"),
        Command::Rset => {
            drop.reset();
            ok("No message is marked")
        }
        _ => err("Not allowed in this state"),
    }
}

fn listing(drop: &Maildrop, value: impl Fn(Message) -> String) -> Action {
    let (count, size) = drop.totals();
    let mut text = format!("+OK {count} messages ({size} octets)\r\n");
    for (number, message) in drop.remaining() {
        text.push_str(&format!("{number} {}\r\n", value(message)));
    }
    text.push_str(".\r\n");
    Action::Send(text.into_bytes())
}

fn ok(text: &str) -> Action {
    Action::Send(format!("+OK {text}\r\n").into_bytes())
}

fn err(text: &str) -> Action {
    Action::Send(format!("-ERR {text}\r\n").into_bytes())
}

#[cfg(test)]
mod tests {
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
        let mut session = Session::after_tls();
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
        let (mut session, _) = Session::new(Security::Plain);
        for line in ["USER ann", "PASS pw", "AUTH PLAIN AGEAYg=="] {
            assert!(
                text(session.line(line.as_bytes())).starts_with("-ERR [AUTH] Use STLS"),
                "{line}"
            );
        }
        let capabilities = text(session.line(b"CAPA"));
        assert!(
            capabilities.contains("STLS")
                && !capabilities.contains("USER")
                && !capabilities.contains("SASL")
        );
        assert!(matches!(session.line(b"STLS"), Action::StartTls(_)));
        let mut session = Session::after_tls();
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
        assert!(matches!(session.line(b"RETR 2"), Action::Retrieve { uid: 4, lines: None }));
        assert!(matches!(session.line(b"TOP 1 5"), Action::Retrieve { uid: 1, lines: Some(5) }));
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
        let mut session = Session::after_tls();
        assert!(text(session.line(b"STAT")).starts_with("-ERR"));
        assert!(text(session.line(b"PASS pw")).starts_with("-ERR Send USER first"));
        let mut session = logged_in();
        assert!(text(session.line(b"USER bob")).starts_with("-ERR"));
        assert!(text(session.line(b"STLS")).starts_with("-ERR"));
    }

    #[test]
    fn a_failed_login_forgets_the_user() {
        let mut session = Session::after_tls();
        session.line(b"USER ann@example.test");
        session.line(b"PASS wrong");
        assert!(text(session.login_failed(&LoginError::Rejected)).starts_with("-ERR [AUTH]"));
        assert!(text(session.line(b"PASS again")).starts_with("-ERR Send USER first"));
    }

    #[test]
    fn sasl_in_one_and_two_steps() {
        let mut session = Session::after_tls();
        assert!(
            matches!(session.line(b"AUTH PLAIN AGFubgBwdw=="), Action::Authenticate(c) if c.identity == "ann")
        );
        let mut session = Session::after_tls();
        assert_eq!(text(session.line(b"AUTH PLAIN")), "+ \r\n");
        assert!(text(session.line(b"*")).starts_with("-ERR Authentication cancelled"));
        assert!(text(session.line(b"AUTH SCRAM-SHA-1")).starts_with("-ERR Unknown mechanism"));
    }
}
