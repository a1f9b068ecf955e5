//! The dialogue as a state machine: a command line in, an [`Action`] out.
//!
//! The order of commands is RFC 5321 §4.1.4's. What needs the world (TLS, credentials,
//! who exists, the message's octets) is asked of the driver by an action, and the driver
//! reports the outcome by a method. One machine serves port 25 and submission; [`Rules`]
//! say in what they differ.

mod auth;
mod offer;
mod rules;

use std::time::Duration;

use jiff::Timestamp;
use letterlock_login::Credential;
use letterlock_login::sasl::{Exchange, Ground, Proof};
use letterlock_smtp_wire::command::{Command, InitialResponse, Mail, Rcpt};
use letterlock_smtp_wire::line::LineError;
use letterlock_smtp_wire::{Reply, standard};

pub use rules::{Access, Envelope, Hello, Recipient, Rules, Tarpit};

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Send a reply.
    Send(Reply),
    /// Send a reply and begin TLS; input read so far is dropped (RFC 3207 §4.2).
    StartTls(Reply),
    /// Ask `login`, then call [`Session::logged_in`] or [`Session::login_failed`].
    Authenticate(Credential),
    /// Ask `login`, then call [`Session::proven`] or [`Session::login_failed`].
    Prove(Proof),
    /// The client has acknowledged what `login` gave for its proof: call [`Session::logged_in`].
    Enter,
    /// Look the sender up, then call [`Session::sender`].
    Sender(Mail),
    /// Look the recipient up, then call [`Session::recipient`].
    Recipient(Rcpt),
    /// Send the reply, read until the dot, then call [`Session::take_envelope`].
    Data(Reply),
    /// Read this many octets of the message; with `last`, the message is whole then.
    Chunk {
        /// Octets that follow the command.
        size: u64,
        /// Whether they are the last ones.
        last: bool,
        /// Whether they may be any octets, and not lines only.
        binary: bool,
    },
    /// Read and forget this many octets, then send the reply.
    Skip(u64, Reply),
    /// Send a reply and close.
    Close(Reply),
}

#[derive(Debug)]
enum State {
    /// Between transactions.
    Ready,
    /// A SASL exchange is under way.
    Sasl(Exchange),
    /// The server has proved itself, and the client is to say that it has heard.
    Proven,
    /// MAIL is waiting for the driver's word.
    Mail(Envelope),
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
    /// What SASL stands on here.
    ground: Ground,
    logged_in: bool,
    hello: Option<Hello>,
    state: State,
    errors: u32,
    /// Transactions begun.
    messages: u32,
    /// How long the answer that was given last is to be held back.
    delay: Duration,
}

impl Session {
    /// A session on a fresh connection, and its greeting. `tls` is for listeners that
    /// begin with TLS.
    pub fn new(rules: Rules, tls: bool) -> (Session, Reply) {
        let greeting = standard::greeting(&rules.hostname);
        (
            Session {
                rules,
                tls,
                ground: Ground::default(),
                logged_in: false,
                hello: None,
                state: State::Ready,
                errors: 0,
                messages: 0,
                delay: Duration::ZERO,
            },
            greeting,
        )
    }

    /// The session after STARTTLS: everything learned before is forgotten (RFC 3207 §4.2).
    pub fn after_tls(self) -> Session {
        let (ground, state) = (Ground::default(), State::Ready);
        Session { tls: true, ground, logged_in: false, hello: None, state, ..self }
    }

    /// What the client called itself, if it has.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether a message is under way, so that the session should not be cut.
    pub fn in_transaction(&self) -> bool {
        matches!(self.state, State::Mail(..) | State::Envelope(_) | State::Chunks(_))
    }

    /// How long the driver is to wait before it sends what it was told last. Says so once.
    pub fn take_delay(&mut self) -> Duration {
        std::mem::take(&mut self.delay)
    }

    /// The longest line that makes sense now.
    pub fn line_limit(&self) -> usize {
        use letterlock_smtp_wire::line::{AUTH_LIMIT, EXTENDED_LIMIT};
        if self.may_auth() { AUTH_LIMIT } else { EXTENDED_LIMIT }
    }

    /// Takes a line, or what was wrong with it.
    pub fn line(&mut self, line: Result<&[u8], LineError>, now: Timestamp) -> Action {
        let action = match line {
            Err(error) if error.is_fatal() => return Action::Close(standard::bare_newline()),
            Err(error) => {
                // An exchange that was answered like this is over (RFC 4954 §4).
                if matches!(self.state, State::Sasl(_) | State::Proven) {
                    self.state = State::Ready;
                }
                Action::Send(match error {
                    LineError::Nul => standard::nul_in_line(),
                    _ => standard::line_too_long(),
                })
            }
            Ok(line) => match std::mem::replace(&mut self.state, State::Ready) {
                State::Proven => self.acknowledge(line),
                State::Sasl(exchange) => {
                    self.sasl(exchange.respond(std::str::from_utf8(line).unwrap_or("?")))
                }
                state => {
                    self.state = state;
                    self.parse(line, now)
                }
            },
        };
        self.counted(action)
    }

    /// The driver's word on MAIL: `Err` refuses.
    pub fn sender(&mut self, verdict: Result<(), Reply>) -> Action {
        let State::Mail(envelope) = std::mem::replace(&mut self.state, State::Ready) else {
            return Action::Send(standard::bad_sequence());
        };
        match verdict {
            Ok(()) => {
                self.messages = self.messages.saturating_add(1);
                self.state = State::Envelope(envelope);
                Action::Send(standard::sender_ok())
            }
            Err(reply) => self.counted(Action::Send(reply)),
        }
    }

    /// The driver's word on RCPT: the address as it is to be used, or a refusal.
    pub fn recipient(&mut self, verdict: Result<Recipient, Reply>) -> Action {
        let State::Envelope(envelope) = &mut self.state else {
            return Action::Send(standard::bad_sequence());
        };
        match verdict {
            Ok(recipient) => {
                // The same recipient twice is one delivery (RFC 5321 §3.3 leaves it to us), with what was asked for it
                // first.
                if !envelope.recipients.iter().any(|other| other.address == recipient.address) {
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

    fn parse(&mut self, line: &[u8], now: Timestamp) -> Action {
        match Command::parse(line, self.offered()) {
            Ok(command) => self.command(command, now),
            Err(error) => Action::Send(error.reply()),
        }
    }

    fn command(&mut self, command: Command, now: Timestamp) -> Action {
        let reply = match command {
            Command::Ehlo(name) => return self.ehlo(name.as_str(), now),
            Command::Helo(name) => return self.helo(name.as_str()),
            Command::StartTls => return self.start_tls(),
            Command::Auth { mechanism, initial } => {
                return self.auth(&mechanism, initial.as_ref().map(InitialResponse::as_str));
            }
            Command::Mail(mail) => return self.mail(mail, now),
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
            Command::Proxy => return Action::Close(standard::not_a_proxy(&self.rules.hostname)),
            Command::Http => return Action::Close(standard::not_http(&self.rules.hostname)),
        };
        Action::Send(reply)
    }

    fn ehlo(&mut self, name: &str, now: Timestamp) -> Action {
        self.state = State::Ready;
        self.hello = Some(Hello { name: name.to_owned(), extended: true });
        Action::Send(self.capabilities(now).to_reply(&self.rules.hostname))
    }

    fn helo(&mut self, name: &str) -> Action {
        self.state = State::Ready;
        self.hello = Some(Hello { name: name.to_owned(), extended: false });
        Action::Send(standard::hello(&self.rules.hostname))
    }

    fn start_tls(&mut self) -> Action {
        match (self.tls, &self.hello) {
            (true, _) | (_, None) => Action::Send(standard::bad_sequence()),
            (false, Some(_)) => Action::StartTls(standard::ready_for_tls()),
        }
    }

    fn mail(&mut self, mail: Mail, now: Timestamp) -> Action {
        let needs_login = matches!(self.rules.access, Access::LoggedIn { .. }) && !self.logged_in;
        let reply = match self.state {
            _ if self.hello.is_none() => standard::hello_first(),
            _ if needs_login && !self.may_auth() => standard::tls_required(),
            _ if needs_login => standard::auth_required(),
            State::Ready | State::Broken => match self.envelope(&mail, now) {
                // RFC 9422 §4: a client that goes on beyond MAILMAX has to connect again.
                Ok(_) if self.messages >= self.rules.messages => {
                    return Action::Close(standard::too_many_messages(&self.rules.hostname));
                }
                Ok(envelope) => {
                    self.state = State::Mail(envelope);
                    return Action::Sender(mail);
                }
                Err(reply) => reply,
            },
            _ => standard::bad_sequence(),
        };
        Action::Send(reply)
    }

    /// What can be said about MAIL from the command alone.
    fn envelope(&self, Mail { path, params }: &Mail, now: Timestamp) -> Result<Envelope, Reply> {
        if params.size.is_some_and(|size| size > self.rules.message_size) {
            return Err(standard::message_too_big());
        }
        if path.needs_smtputf8() && !params.smtputf8 {
            return Err(standard::utf8_needs_extension());
        }
        let hold_until = match (&params.hold, self.rules.future_release) {
            (Some(hold), Some(most)) => {
                Some(rules::release(hold, now, most).ok_or_else(standard::hold_out_of_range)?)
            }
            _ => None,
        };
        Ok(Envelope {
            reverse_path: path.clone(),
            params: params.clone(),
            hold_until,
            recipients: Vec::new(),
        })
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Action {
        let reply = match &self.state {
            State::Envelope(envelope) if envelope.recipients.len() >= self.rules.recipients => {
                standard::too_many_recipients()
            }
            State::Envelope(envelope) if rcpt.non_ascii && !envelope.params.smtputf8 => {
                standard::utf8_needs_extension()
            }
            State::Envelope(_) => return Action::Recipient(rcpt),
            _ => standard::bad_sequence(),
        };
        Action::Send(reply)
    }

    fn data(&mut self) -> Action {
        match &self.state {
            State::Envelope(envelope) if envelope.recipients.is_empty() => {
                Action::Send(standard::no_recipients())
            }
            // RFC 3030 §3: DATA cannot carry it. BDAT may still follow.
            State::Envelope(envelope) if envelope.is_binary() => {
                Action::Send(standard::binary_needs_bdat())
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
                let binary = envelope.is_binary();
                self.state = State::Chunks(envelope);
                Action::Chunk { size, last, binary }
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
        self.delay = self.rules.tarpit.delay(self.errors);
        if self.errors > self.rules.errors {
            Action::Close(standard::too_many_errors(&self.rules.hostname))
        } else {
            action
        }
    }
}

#[cfg(test)]
mod tests;
