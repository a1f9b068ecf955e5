//! Moves octets between a connection and the session machine, within the time limits.
//!
//! Replies are collected and sent when the input is used up, so a pipelining client
//! (RFC 2920) costs one write a batch.

mod transfer;

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use letterlock_login::sasl::{Ground, Proof};
use letterlock_login::{Credential, LoginError, Peer, Protocol};
use letterlock_mailbox::Handle;
use letterlock_net::{NetError, Shutdown, Stream};
use letterlock_smtp_wire::data::BdatReader;
use letterlock_smtp_wire::line::LineReader;
use letterlock_smtp_wire::{Reply, standard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroize;

use crate::retry::Unread;
use crate::service::{Client, Service};
use crate::session::{Action, Hello, Recipient, Session};
use crate::spool::Spool;

/// Octets read at once.
const READ: usize = 32 * 1024;

/// Collected replies are sent at the latest when they are this long.
const WRITE: usize = 16 * 1024;

/// Why a connection ended before QUIT.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client is gone: {0}")]
    Io(#[from] std::io::Error),
    #[error("the client was silent for too long")]
    Silent,
}

struct Driver<'a, S: Service> {
    service: &'a S,
    stream: Stream,
    session: Session,
    client: Client,
    transaction: Option<S::Transaction>,
    lines: LineReader,
    input: BytesMut,
    output: Vec<u8>,
    /// Since when the client has the word: octets that come drop by drop are no command.
    since: Instant,
    /// The message that BDAT brings in pieces.
    chunks: Option<(BdatReader, Spool)>,
    /// The last message's 250, as long as nothing has followed it.
    unread: Option<Unread>,
    /// Whose proof was right, until the client has heard ours.
    proven: Option<letterlock_login::Session>,
}

/// How a dialogue ends without an error.
enum After {
    /// The client may begin its handshake now.
    StartTls,
    /// Nothing more is to be said.
    Close,
}

/// Serves one connection until it ends.
pub(crate) async fn run<S: Service>(service: &S, stream: Stream, ip: IpAddr, shutdown: &Shutdown) {
    let connection = service.connection();
    let (session, greeting) = Session::new(connection.rules.clone(), stream.is_tls());
    let mut driver = Driver::new(service, stream, session, ip);
    driver.queue(&greeting);
    loop {
        match driver.dialogue(shutdown).await {
            Ok(After::StartTls) => match driver.start_tls().await {
                Ok(secured) => driver = secured,
                Err(error) => return tracing::debug!(%error, "SMTP session"),
            },
            Ok(After::Close) => {
                // What is left is good manners: the session is over.
                driver.forget();
                driver.client.login = None;
                return driver.stream.close().await;
            }
            Err(ended) => return tracing::debug!(%ended, "SMTP session"),
        }
    }
}

impl<'a, S: Service> Driver<'a, S> {
    fn new(service: &'a S, stream: Stream, mut session: Session, ip: IpAddr) -> Self {
        if let Some(login) = service.login() {
            session.set_ground(Ground::new(stream.channel_bindings(), login.offered_salts()));
        }
        let hello = Hello { name: String::new(), extended: false };
        Driver {
            service,
            client: Client { ip, hello, tls: stream.tls_description(), login: None },
            stream,
            lines: LineReader::new(session.line_limit()),
            session,
            transaction: None,
            input: BytesMut::new(),
            output: Vec::new(),
            since: Instant::now(),
            chunks: None,
            unread: None,
            proven: None,
        }
    }

    /// The handshake, and a session that knows nothing of what was said in the clear; input
    /// that came behind the command goes with the old driver (RFC 3207 §4.2).
    async fn start_tls(self) -> Result<Self, NetError> {
        let connection = self.service.connection();
        let stream = self
            .stream
            .start_tls(&connection.tls, connection.audience, connection.handshake_timeout)
            .await?;
        Ok(Driver::new(self.service, stream, self.session.after_tls(), self.client.ip))
    }

    async fn dialogue(&mut self, shutdown: &Shutdown) -> Result<After, Ended> {
        loop {
            let Some(action) = self.next_action(shutdown).await? else { continue };
            let after = match self.perform(action).await {
                Ok(None) => {
                    self.hold_back(shutdown).await;
                    self.since = Instant::now();
                    if !self.session.in_transaction() {
                        self.forget();
                    }
                    continue;
                }
                Ok(Some(after)) => after,
                Err(Ended::Silent) => {
                    let reply = standard::timed_out(&self.service.connection().rules.hostname);
                    self.queue(&reply);
                    After::Close
                }
                Err(ended) => return Err(ended),
            };
            self.flush().await?;
            return Ok(after);
        }
    }

    /// Waits before an answer that is to come late. Networks that are exempt from limits never wait.
    async fn hold_back(&mut self, shutdown: &Shutdown) {
        let delay = self.session.take_delay();
        if delay == Duration::ZERO || self.service.connection().guard.is_exempt(self.client.ip) {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shutdown.draining() => {}
        }
    }

    /// The action that follows from the next line; `None` after more input was read.
    async fn next_action(&mut self, shutdown: &Shutdown) -> Result<Option<Action>, Ended> {
        if !self.input.is_empty()
            && let Some(unread) = self.unread.take()
        {
            unread.confirm();
        }
        self.lines.set_limit(self.session.line_limit());
        let (consumed, line) = self.lines.feed(&self.input);
        let action = line.map(|line| self.session.line(line, Timestamp::now()));
        // It may have been a password.
        self.input[..consumed].zeroize();
        let _ = self.input.split_to(consumed);
        if action.is_some() {
            return Ok(action);
        }
        self.flush().await?;
        let until = self.since + self.service.connection().command_timeout;
        let hostname = &self.service.connection().rules.hostname;
        let idle = !self.session.in_transaction();
        let locked = locked(self.client.login.as_ref().map(|login| login.mailbox.clone()));
        // A transaction under way may go on while the server drains; who is idle is sent away.
        let parting = tokio::select! {
            biased;
            () = shutdown.draining(), if idle => standard::shutting_down(hostname),
            () = locked, if idle => standard::unavailable(hostname),
            read = timeout_at(until, read_some(&mut self.stream, &mut self.input)) => match read {
                Ok(read) => return read.map(|()| None),
                Err(_) => standard::timed_out(hostname),
            },
        };
        Ok(Some(Action::Close(parting)))
    }

    /// Carries an action out; `Some` when the dialogue ends with it.
    async fn perform(&mut self, action: Action) -> Result<Option<After>, Ended> {
        // Whatever else the client says instead of acknowledging, it is not logged in.
        let proven = self.proven.take();
        match action {
            Action::Send(reply) => self.queue(&reply),
            Action::Close(reply) => return Ok(Some(self.part(&reply))),
            Action::StartTls(reply) => {
                self.queue(&reply);
                return Ok(Some(After::StartTls));
            }
            Action::Prove(proof) => {
                let action = self.prove(&proof).await;
                return Ok(self.answer(action));
            }
            Action::Enter => {
                self.client.login = proven;
                let action = self.session.logged_in();
                return Ok(self.answer(action));
            }
            Action::Authenticate(credential) => {
                let action = self.authenticate(&credential).await;
                return Ok(self.answer(action));
            }
            Action::Sender(mail) => {
                self.begin();
                let verdict =
                    self.service.sender(&self.client, &mail).map(|t| self.transaction = Some(t));
                let action = self.session.sender(verdict);
                return Ok(self.answer(action));
            }
            Action::Recipient(rcpt) => {
                let verdict = match &mut self.transaction {
                    Some(transaction) => {
                        self.service.recipient(&self.client, transaction, &rcpt.path)
                    }
                    None => Err(standard::bad_sequence()),
                };
                let params = rcpt.params;
                let action =
                    self.session.recipient(verdict.map(|address| Recipient { address, params }));
                return Ok(self.answer(action));
            }
            Action::Data(reply) => {
                self.queue(&reply);
                return self.data().await;
            }
            Action::Chunk { size, last, binary } => return self.chunk(size, last, binary).await,
            Action::Skip(size, reply) => {
                self.skip(size).await?;
                self.queue(&reply);
            }
        }
        if self.output.len() > WRITE {
            self.flush().await?;
        }
        Ok(None)
    }

    /// What the machine says to an outcome is a reply, perhaps the last one.
    fn answer(&mut self, action: Action) -> Option<After> {
        match action {
            Action::Close(reply) => Some(self.part(&reply)),
            Action::Send(reply) => {
                self.queue(&reply);
                None
            }
            other => {
                tracing::error!(?other, "the session asks for something in place of an answer");
                None
            }
        }
    }

    fn part(&mut self, reply: &Reply) -> After {
        self.queue(reply);
        After::Close
    }

    /// What was left of a transaction goes, whatever ended it: RSET and EHLO do as well.
    fn forget(&mut self) {
        self.transaction = None;
        self.chunks = None;
    }

    /// A new transaction.
    fn begin(&mut self) {
        self.forget();
        if let Some(hello) = self.session.hello() {
            self.client.hello = hello.clone();
        }
    }

    async fn authenticate(&mut self, credential: &Credential) -> Action {
        let Some(login) = self.service.login() else {
            return self.session.login_failed(&LoginError::Rejected);
        };
        let peer = Peer { ip: self.client.ip, protocol: Protocol::Submission };
        match login.authenticate(credential, peer).await {
            Ok(session) => {
                self.client.login = Some(session);
                self.session.logged_in()
            }
            Err(error) => self.session.login_failed(&error),
        }
    }

    async fn prove(&mut self, proof: &Proof) -> Action {
        let Some(login) = self.service.login() else {
            return self.session.login_failed(&LoginError::Rejected);
        };
        let peer = Peer { ip: self.client.ip, protocol: Protocol::Submission };
        match login.prove(proof, peer).await {
            Ok(proven) => {
                self.proven = Some(proven.session);
                self.session.proven(&proven.challenge)
            }
            Err(error) => self.session.login_failed(&error),
        }
    }

    fn queue(&mut self, reply: &Reply) {
        reply.encode(&mut self.output);
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if !self.output.is_empty() {
            let patience = self.service.connection().command_timeout;
            let sent = async {
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await
            };
            // Who does not read would not read a farewell either.
            let deaf = |_| Ended::Io(std::io::ErrorKind::TimedOut.into());
            timeout(patience, sent).await.map_err(deaf)??;
            self.output.clear();
        }
        Ok(())
    }
}

/// Resolves when the mailbox behind a login is locked: the session must not outlive that.
async fn locked(mailbox: Option<Handle>) {
    match mailbox {
        Some(mailbox) => mailbox.closed().await,
        None => std::future::pending().await,
    }
}

async fn read_some(stream: &mut Stream, input: &mut BytesMut) -> Result<(), Ended> {
    input.reserve(READ);
    match stream.read_buf(input).await? {
        0 => Err(Ended::Io(std::io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(()),
    }
}
