//! The POP3 dialogue as a state machine: a line in, an [`Action`] out.
//!
//! The states are those of RFC 1939 §3: authorization, transaction and update. What
//! needs the world (TLS, credentials, messages, removal) is asked of the driver by an
//! action, and the driver reports the outcome by a method that fits the state.

use letterlock_login::sasl::{self, Exchange, Ground, Mechanism, Proof, SaslError, Step};
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
    /// Ask `login`, then call [`Session::proven`] or [`Session::login_failed`].
    Prove(Proof),
    /// The client has acknowledged what `login` gave for its proof: call [`Session::logged_in`] or [`Session::in_use`].
    Enter,
    /// Send a message, or its head and this many lines; if it is gone, [`GONE`].
    Retrieve {
        /// UID in INBOX.
        uid: u32,
        /// `None` for the whole message.
        lines: Option<u64>,
        /// Whether its header may be sent if it has UTF-8 in it; otherwise [`UTF8_NEEDED`] is the answer.
        utf8: bool,
    },
    /// Remove these UIDs durably, say goodbye ([`removed`]) and close.
    Update(Vec<u32>),
    /// Send these bytes and close.
    Close(Vec<u8>),
}

/// The answer when a message of the snapshot was removed by another session meanwhile.
pub const GONE: &[u8] = b"-ERR Message is no longer there\r\n";

/// The answer where a header has UTF-8 in it and the client has not said that it understands it (RFC 6856 §5).
pub const UTF8_NEEDED: &[u8] = b"-ERR [UTF8] This message needs the UTF8 command before login\r\n";

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
    Authorization {
        user: Option<String>,
    },
    Sasl(Exchange),
    /// The server has proved itself, and the client is to say that it has heard.
    Proven,
    LoggingIn,
    Transaction(Maildrop),
    Ended,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    security: Security,
    ground: Ground,
    /// The client understands UTF-8 in headers.
    utf8: bool,
    state: State,
}

impl Session {
    /// A new session and its greeting.
    pub fn new(security: Security, ground: Ground) -> (Session, &'static [u8]) {
        let state = State::Authorization { user: None };
        let session = Session { security, ground, utf8: false, state };
        (session, b"+OK Letterlock POP3 ready\r\n")
    }

    /// The session after a TLS handshake: everything learned before is forgotten.
    pub fn after_tls(ground: Ground) -> Session {
        Session::new(Security::Tls, ground).0
    }

    /// Whether somebody is logged in (the driver's time limits differ).
    pub fn is_logged_in(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    /// Takes a line without its CRLF.
    pub fn line(&mut self, line: &[u8]) -> Action {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Proven => self.acknowledge(line),
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

    /// `login` accepted the proof; `challenge` proves the server in turn (RFC 5802 §5).
    pub fn proven(&mut self, challenge: &str) -> Action {
        self.state = State::Proven;
        Action::Send(format!("+ {challenge}\r\n").into_bytes())
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
            (Command::Lang(tag), _) => language(tag.as_deref()),
            (Command::Quit, State::Transaction(drop)) => {
                let marked = drop.marked();
                self.state = State::Ended;
                Action::Update(marked)
            }
            (Command::Quit, _) => Action::Close(b"+OK Bye\r\n".to_vec()),
            (Command::Stls, State::Authorization { .. }) => self.stls(),
            // RFC 6856 §2.1: before login only.
            (Command::Utf8, State::Authorization { .. }) => {
                self.utf8 = true;
                ok("UTF8 enabled")
            }
            (Command::Auth(None), State::Authorization { .. }) => self.mechanisms(),
            (
                command @ (Command::User(_) | Command::Pass(_) | Command::Auth(_)),
                State::Authorization { .. },
            ) => self.log_in(command),
            (command, State::Transaction(drop)) => transaction(drop, command, self.utf8),
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
            Command::Auth(Some((name, initial))) => match self.ground.mechanism(&name) {
                None => err("Unknown mechanism"),
                Some(mechanism) => {
                    self.sasl(Exchange::start(mechanism, initial.as_deref(), &self.ground))
                }
            },
            _ => err("Not allowed in this state"),
        }
    }

    fn acknowledge(&mut self, line: &[u8]) -> Action {
        match sasl::acknowledged(std::str::from_utf8(line).unwrap_or("?")) {
            Ok(()) => {
                self.state = State::LoggingIn;
                Action::Enter
            }
            Err(error) => self.sasl(Step::Failed(error)),
        }
    }

    fn sasl(&mut self, step: Step) -> Action {
        match step {
            Step::Prove(proof) => {
                self.state = State::LoggingIn;
                Action::Prove(proof)
            }
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
                    SaslError::Binding => "[AUTH] The channel binding does not fit this connection",
                    SaslError::Random => "[SYS/TEMP] Cannot log in now, try again later",
                })
            }
        }
    }

    /// RFC 2449 §5: the list is right for the state in which it is asked.
    fn capabilities(&self) -> Action {
        let mut text = String::from(
            "+OK Capabilities\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\nUTF8 USER\r\nLANG\r\n",
        );
        if self.security != Security::Plain {
            text.push_str("USER\r\nSASL");
            for name in self.ground.offers().map(Mechanism::name) {
                text.push(' ');
                text.push_str(name);
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
            for name in self.ground.offers().map(Mechanism::name) {
                text.push_str(name);
                text.push_str("\r\n");
            }
        }
        text.push_str(".\r\n");
        Action::Send(text.into_bytes())
    }
}

/// RFC 6856 §3: the texts of this server are English, whatever is asked for.
fn language(tag: Option<&str>) -> Action {
    match tag {
        None => Action::Send(
            b"+OK Languages\r\nen English\r\ni-default Default language\r\n.\r\n".to_vec(),
        ),
        Some(tag) if tag == "*" || tag.eq_ignore_ascii_case("en") => {
            ok("en The language is English")
        }
        Some(tag) if tag.eq_ignore_ascii_case("i-default") => {
            ok("i-default The language is English")
        }
        Some(_) => err("en This language is not available"),
    }
}

fn transaction(drop: &mut Maildrop, command: Command, utf8: bool) -> Action {
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
            .map_or_else(|| err(NO_SUCH), |m| Action::Retrieve { uid: m.uid, lines: None, utf8 }),
        Command::Top(number, lines) => drop.get(number).map_or_else(
            || err(NO_SUCH),
            |m| {
                let lines = Some(lines);
                Action::Retrieve { uid: m.uid, lines, utf8 }
            },
        ),
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
mod tests;
