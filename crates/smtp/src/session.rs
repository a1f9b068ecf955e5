//! The dialogue as a state machine: a command line in, an [`Action`] out.
//!
//! The order of commands is RFC 5321 §4.1.4's. What needs the world (TLS, credentials,
//! who exists, the message's octets) is asked of the driver by an action, and the driver
//! reports the outcome by a method. One machine serves port 25 and submission; [`Rules`]
//! say in what they differ.

use letterlock_address::{ForwardPath, Mailbox, ReversePath};
use letterlock_login::sasl::{Exchange, Mechanism, SaslError, Step};
use letterlock_login::{Credential, LoginError};
use letterlock_smtp_wire::command::{Command, InitialResponse, Mail, MailParams, Rcpt};
use letterlock_smtp_wire::ehlo::{Capabilities, Extensions};
use letterlock_smtp_wire::line::LineError;
use letterlock_smtp_wire::{Reply, standard};

/// What a listener allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Our name in greetings and replies.
    pub hostname: String,
    /// Whether clients log in here.
    pub access: Access,
    /// Largest message, in octets.
    pub message_size: u64,
    /// Most recipients of one message.
    pub recipients: usize,
    /// Errors (5xx replies and failed logins) after which the session is ended.
    pub errors: u32,
}

/// Who may do what on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Port 25: anybody, to local recipients, and nobody logs in.
    Anybody,
    /// Submission: after AUTH, which needs TLS unless `cleartext` allows it without.
    LoggedIn {
        /// Passwords may be sent without TLS (loopback only; the configuration sees to it).
        cleartext: bool,
    },
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Send a reply.
    Send(Reply),
    /// Send a reply and begin TLS; input read so far is dropped (RFC 3207 §4.2).
    StartTls(Reply),
    /// Ask `login`, then call [`Session::logged_in`] or [`Session::login_failed`].
    Authenticate(Credential),
    /// Look the sender up, then call [`Session::sender`].
    Sender(ReversePath),
    /// Look the recipient up, then call [`Session::recipient`].
    Recipient(ForwardPath),
    /// Send the reply, read until the dot, then call [`Session::take_envelope`].
    Data(Reply),
    /// Read this many octets of the message; with `last`, the message is whole then.
    Chunk {
        /// Octets that follow the command.
        size: u64,
        /// Whether they are the last ones.
        last: bool,
    },
    /// Read and forget this many octets, then send the reply.
    Skip(u64, Reply),
    /// Send a reply and close.
    Close(Reply),
}

/// What is known about a message before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// BODY=, SMTPUTF8 and the like.
    pub params: MailParams,
    /// Who gets it, as accepted.
    pub recipients: Vec<Mailbox>,
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its name, as it gave it.
    pub name: String,
    /// EHLO, and not HELO.
    pub extended: bool,
}

#[derive(Debug)]
enum State {
    /// Between transactions.
    Ready,
    /// A SASL exchange is under way.
    Sasl(Exchange),
    /// MAIL is waiting for the driver's word.
    Mail(ReversePath, MailParams),
    /// MAIL was accepted.
    Envelope(Envelope),
    /// BDAT has begun: only BDAT and RSET may follow.
    Chunks(Envelope),
    /// A message or a BDAT series failed; the rest of the series is skipped.
    Broken,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    rules: Rules,
    tls: bool,
    logged_in: bool,
    hello: Option<Hello>,
    state: State,
    errors: u32,
}

impl Session {
    /// A session on a fresh connection, and its greeting. `tls` is for listeners that
    /// begin with TLS.
    pub fn new(rules: Rules, tls: bool) -> (Session, Reply) {
        let greeting = standard::greeting(&rules.hostname);
        (
            Session { rules, tls, logged_in: false, hello: None, state: State::Ready, errors: 0 },
            greeting,
        )
    }

    /// The session after STARTTLS: everything learned before is forgotten (RFC 3207 §4.2).
    pub fn after_tls(self) -> Session {
        Session { tls: true, logged_in: false, hello: None, state: State::Ready, ..self }
    }

    /// What the client called itself, if it has.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether a message is under way, so that the session should not be cut.
    pub fn in_transaction(&self) -> bool {
        matches!(self.state, State::Mail(..) | State::Envelope(_) | State::Chunks(_))
    }

    /// The longest line that makes sense now.
    pub fn line_limit(&self) -> usize {
        use letterlock_smtp_wire::line::{AUTH_LIMIT, EXTENDED_LIMIT};
        if self.may_auth() { AUTH_LIMIT } else { EXTENDED_LIMIT }
    }

    /// Takes a line, or what was wrong with it.
    pub fn line(&mut self, line: Result<&[u8], LineError>) -> Action {
        let action = match line {
            Err(error) if error.is_fatal() => return Action::Close(standard::bare_newline()),
            Err(error) => {
                // An exchange that was answered like this is over (RFC 4954 §4).
                if matches!(self.state, State::Sasl(_)) {
                    self.state = State::Ready;
                }
                Action::Send(match error {
                    LineError::Nul => standard::nul_in_line(),
                    _ => standard::line_too_long(),
                })
            }
            Ok(line) => match std::mem::replace(&mut self.state, State::Ready) {
                State::Sasl(exchange) => {
                    self.sasl(exchange.respond(std::str::from_utf8(line).unwrap_or("?")))
                }
                state => {
                    self.state = state;
                    self.parse(line)
                }
            },
        };
        self.counted(action)
    }

    /// `login` accepted.
    pub fn logged_in(&mut self) -> Action {
        self.logged_in = true;
        Action::Send(standard::authenticated())
    }

    /// `login` refused (RFC 4954 §6).
    pub fn login_failed(&mut self, error: &LoginError) -> Action {
        let reply = match error {
            LoginError::Rejected | LoginError::Disabled => standard::auth_failed(),
            LoginError::Throttled { .. }
            | LoginError::TooManySessions
            | LoginError::Temporary(_) => standard::auth_temporary(),
        };
        // Also when the reason is on our side: nobody tries credentials without end.
        self.strike(Action::Send(reply))
    }

    /// The driver's word on MAIL: `Err` refuses.
    pub fn sender(&mut self, verdict: Result<(), Reply>) -> Action {
        let State::Mail(reverse_path, params) = std::mem::replace(&mut self.state, State::Ready)
        else {
            return Action::Send(standard::bad_sequence());
        };
        match verdict {
            Ok(()) => {
                self.state =
                    State::Envelope(Envelope { reverse_path, params, recipients: Vec::new() });
                Action::Send(standard::sender_ok())
            }
            Err(reply) => self.counted(Action::Send(reply)),
        }
    }

    /// The driver's word on RCPT: the address as it is to be used, or a refusal.
    pub fn recipient(&mut self, verdict: Result<Mailbox, Reply>) -> Action {
        let State::Envelope(envelope) = &mut self.state else {
            return Action::Send(standard::bad_sequence());
        };
        match verdict {
            Ok(recipient) => {
                // The same recipient twice is one delivery (RFC 5321 §3.3 leaves it to us).
                if !envelope.recipients.contains(&recipient) {
                    envelope.recipients.push(recipient);
                }
                Action::Send(standard::recipient_ok())
            }
            Err(reply) => self.counted(Action::Send(reply)),
        }
    }

    /// The message is whole: the envelope goes with it, and a new transaction may begin.
    pub fn take_envelope(&mut self) -> Option<Envelope> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Envelope(envelope) | State::Chunks(envelope) => Some(envelope),
            _ => None,
        }
    }

    /// What became of the whole message: the reply to it.
    pub fn outcome(&mut self, reply: Reply) -> Action {
        self.counted(Action::Send(reply))
    }

    /// A chunk was refused: what still comes of the series is skipped (RFC 3030 §2).
    pub fn chunk_failed(&mut self, last: bool) {
        self.state = if last { State::Ready } else { State::Broken };
    }

    fn parse(&mut self, line: &[u8]) -> Action {
        match Command::parse(line, self.offered()) {
            Ok(command) => self.command(command),
            Err(error) => Action::Send(error.reply()),
        }
    }

    fn command(&mut self, command: Command) -> Action {
        let reply = match command {
            Command::Ehlo(name) => return self.hello_command(name.as_str(), true),
            Command::Helo(name) => return self.hello_command(name.as_str(), false),
            Command::StartTls => return self.start_tls(),
            Command::Auth { mechanism, initial } => {
                return self.auth(&mechanism, initial.as_ref().map(InitialResponse::as_str));
            }
            Command::Mail(Mail { path, params }) => return self.mail(path, params),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt),
            Command::Data => return self.data(),
            Command::Bdat { size, last } => return self.bdat(size, last),
            Command::Rset => {
                self.state = State::Ready;
                standard::ok()
            }
            Command::Noop => standard::ok(),
            Command::Vrfy(_) => standard::cannot_verify(),
            Command::Help(_) => standard::help(),
            Command::Expn(_) => standard::not_implemented(),
            Command::Quit => return Action::Close(standard::closing(&self.rules.hostname)),
            Command::Http => return Action::Close(standard::not_http(&self.rules.hostname)),
        };
        Action::Send(reply)
    }

    fn hello_command(&mut self, name: &str, extended: bool) -> Action {
        self.state = State::Ready;
        self.hello = Some(Hello { name: name.to_owned(), extended });
        let hostname = &self.rules.hostname;
        Action::Send(if extended {
            self.capabilities().to_reply(hostname)
        } else {
            standard::hello(hostname)
        })
    }

    fn start_tls(&mut self) -> Action {
        match (self.tls, &self.hello) {
            (true, _) | (_, None) => Action::Send(standard::bad_sequence()),
            (false, Some(_)) => Action::StartTls(standard::ready_for_tls()),
        }
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Action {
        let reply = match self.rules.access {
            Access::Anybody => standard::not_implemented(),
            Access::LoggedIn { .. } if !self.may_auth() && !self.logged_in => {
                standard::auth_needs_tls()
            }
            _ if self.hello.is_none() => standard::hello_first(),
            // Once only, and not within a transaction (RFC 4954 §4).
            _ if self.logged_in || !matches!(self.state, State::Ready) => standard::bad_sequence(),
            _ => match Mechanism::parse(mechanism) {
                Some(mechanism) => return self.sasl(Exchange::start(mechanism, initial)),
                None => standard::auth_mechanism_unknown(),
            },
        };
        Action::Send(reply)
    }

    fn sasl(&mut self, step: Step) -> Action {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                Action::Send(standard::auth_challenge(&challenge))
            }
            Step::Done(credential) => Action::Authenticate(credential),
            Step::Failed(SaslError::Cancelled) => Action::Send(standard::auth_cancelled()),
            Step::Failed(_) => Action::Send(standard::auth_malformed()),
        }
    }

    fn mail(&mut self, path: ReversePath, params: MailParams) -> Action {
        let needs_login = matches!(self.rules.access, Access::LoggedIn { .. }) && !self.logged_in;
        let reply = match self.state {
            _ if self.hello.is_none() => standard::hello_first(),
            _ if needs_login && !self.may_auth() => standard::tls_required(),
            _ if needs_login => standard::auth_required(),
            State::Ready | State::Broken
                if params.size.is_some_and(|size| size > self.rules.message_size) =>
            {
                standard::message_too_big()
            }
            State::Ready | State::Broken if path.needs_smtputf8() && !params.smtputf8 => {
                standard::utf8_needs_extension()
            }
            State::Ready | State::Broken => {
                self.state = State::Mail(path.clone(), params);
                return Action::Sender(path);
            }
            _ => standard::bad_sequence(),
        };
        Action::Send(reply)
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Action {
        let reply = match &self.state {
            State::Envelope(envelope) if envelope.recipients.len() >= self.rules.recipients => {
                standard::too_many_recipients()
            }
            State::Envelope(envelope) if rcpt.non_ascii && !envelope.params.smtputf8 => {
                standard::utf8_needs_extension()
            }
            State::Envelope(_) => return Action::Recipient(rcpt.path),
            _ => standard::bad_sequence(),
        };
        Action::Send(reply)
    }

    fn data(&mut self) -> Action {
        match &self.state {
            State::Envelope(envelope) if envelope.recipients.is_empty() => {
                Action::Send(standard::no_recipients())
            }
            State::Envelope(_) => Action::Data(standard::start_data()),
            _ => Action::Send(standard::bad_sequence()),
        }
    }

    /// The octets follow whatever we think of the command (RFC 3030 §2).
    fn bdat(&mut self, size: u64, last: bool) -> Action {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Envelope(envelope) | State::Chunks(envelope)
                if !envelope.recipients.is_empty() =>
            {
                self.state = State::Chunks(envelope);
                Action::Chunk { size, last }
            }
            State::Envelope(envelope) => {
                self.state = State::Envelope(envelope);
                self.strike(Action::Skip(size, standard::no_recipients()))
            }
            // The rest of a series that was refused, and counted, before.
            State::Broken => {
                self.chunk_failed(last);
                Action::Skip(size, standard::bad_sequence())
            }
            _ => self.strike(Action::Skip(size, standard::bad_sequence())),
        }
    }

    /// Counts what was wrong with a command. Temporary refusals are not the client's fault:
    /// who sends more recipients than fit in one message gets 452 for each of the others
    /// (RFC 5321 §4.5.3.1.10).
    fn counted(&mut self, action: Action) -> Action {
        match &action {
            Action::Send(reply) if reply.code >= 500 => self.strike(action),
            _ => action,
        }
    }

    /// One error more: a client that is only probing is sent away.
    fn strike(&mut self, action: Action) -> Action {
        self.errors += 1;
        if self.errors > self.rules.errors {
            Action::Close(standard::too_many_errors(&self.rules.hostname))
        } else {
            action
        }
    }

    fn may_auth(&self) -> bool {
        match self.rules.access {
            Access::Anybody => false,
            Access::LoggedIn { cleartext } => self.tls || cleartext,
        }
    }

    /// The extensions whose parameters are understood now: HELO brings none.
    fn offered(&self) -> Extensions {
        match &self.hello {
            Some(hello) if hello.extended => self.extensions(),
            _ => Extensions::NONE,
        }
    }

    fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::PIPELINING
            | Extensions::SIZE
            | Extensions::EIGHT_BIT_MIME
            | Extensions::SMTPUTF8
            | Extensions::CHUNKING
            | Extensions::ENHANCED_STATUS_CODES;
        if !self.tls {
            extensions = extensions | Extensions::STARTTLS;
        }
        if self.may_auth() {
            extensions = extensions | Extensions::AUTH;
        }
        extensions
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            extensions: self.extensions(),
            max_size: Some(self.rules.message_size),
            auth: Mechanism::ALL.iter().map(|m| m.name().to_owned()).collect(),
            ..Capabilities::default()
        }
    }
}

#[cfg(test)]
mod tests;
