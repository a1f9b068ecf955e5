//! Moves octets between a connection and the session machine, within the time limits.
//!
//! Replies are collected and sent when the input is used up, so a pipelining client
//! (RFC 2920) costs one write a batch.

use std::net::IpAddr;

use bytes::BytesMut;
use letterlock_login::{Credential, LoginError, Peer, Protocol};
use letterlock_mailbox::Handle;
use letterlock_net::{NetError, Shutdown, Stream};
use letterlock_smtp_wire::data::{BdatReader, DataFault, DataReader, DataState, LineRule, Summary};
use letterlock_smtp_wire::line::LineReader;
use letterlock_smtp_wire::{EnhancedCode, Reply, standard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroize;

use crate::service::{Client, Received, Service};
use crate::session::{Action, Hello, Session};
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
    fn new(service: &'a S, stream: Stream, session: Session, ip: IpAddr) -> Self {
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

    /// The action that follows from the next line; `None` after more input was read.
    async fn next_action(&mut self, shutdown: &Shutdown) -> Result<Option<Action>, Ended> {
        self.lines.set_limit(self.session.line_limit());
        let (consumed, line) = self.lines.feed(&self.input);
        let action = line.map(|line| self.session.line(line));
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
        match action {
            Action::Send(reply) => self.queue(&reply),
            Action::Close(reply) => return Ok(Some(self.part(&reply))),
            Action::StartTls(reply) => {
                self.queue(&reply);
                return Ok(Some(After::StartTls));
            }
            Action::Authenticate(credential) => {
                let action = self.authenticate(&credential).await;
                return Ok(self.answer(action));
            }
            Action::Sender(path) => {
                self.begin();
                let verdict =
                    self.service.sender(&self.client, &path).map(|t| self.transaction = Some(t));
                let action = self.session.sender(verdict);
                return Ok(self.answer(action));
            }
            Action::Recipient(path) => {
                let verdict = self.service.recipient(&self.client, &path);
                let action = self.session.recipient(verdict);
                return Ok(self.answer(action));
            }
            Action::Data(reply) => {
                self.queue(&reply);
                return self.data().await;
            }
            Action::Chunk { size, last } => return self.chunk(size, last).await,
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

    /// DATA: reads until the dot whatever is wrong, so that both sides agree on what follows.
    async fn data(&mut self) -> Result<Option<After>, Ended> {
        let connection = self.service.connection();
        let mut reader = DataReader::new(connection.rules.message_size);
        let mut spool = Spool::new(connection.spool.clone());
        let mut broken = false;
        loop {
            let progress = reader.feed(&self.input, spool.buffer());
            let _ = self.input.split_to(progress.consumed);
            broken |= store(&mut spool, broken).await;
            if progress.state == DataState::Done {
                break;
            }
            self.read_data().await?;
        }
        self.whole(reader.summary(), spool, broken).await
    }

    /// BDAT: exactly `size` octets (RFC 3030 §2).
    async fn chunk(&mut self, size: u64, last: bool) -> Result<Option<After>, Ended> {
        let connection = self.service.connection();
        let (mut reader, mut spool) = self.chunks.take().unwrap_or_else(|| {
            let reader = BdatReader::new(connection.rules.message_size, LineRule::Crlf);
            (reader, Spool::new(connection.spool.clone()))
        });
        let mut broken = false;
        reader.chunk(size, last);
        loop {
            let progress = reader.feed(&self.input, spool.buffer());
            let _ = self.input.split_to(progress.consumed);
            broken |= store(&mut spool, broken).await;
            if progress.state == DataState::Done {
                break;
            }
            self.read_data().await?;
        }
        if last {
            return self.whole(reader.summary(), spool, broken).await;
        }
        match reader.summary().fault {
            None if !broken => {
                self.chunks = Some((reader, spool));
                self.queue(&standard::chunk_ok());
                Ok(None)
            }
            fault => {
                self.session.chunk_failed(last);
                self.transaction = None;
                Ok(self.refuse(fault))
            }
        }
    }

    /// Everything of the message is here.
    async fn whole(
        &mut self,
        summary: Summary,
        spool: Spool,
        broken: bool,
    ) -> Result<Option<After>, Ended> {
        let (envelope, transaction) = (self.session.take_envelope(), self.transaction.take());
        let (Some(envelope), Some(transaction)) = (envelope, transaction) else {
            return Ok(self.conclude(standard::bad_sequence()));
        };
        if broken || summary.fault.is_some() {
            return Ok(self.refuse(summary.fault));
        }
        // IMAP could give such a message out by BINARY alone (RFC 9051 §4.3.1).
        if summary.nul {
            return Ok(self.conclude(nul_in_message()));
        }
        let reply = match spool.finish().await {
            Ok(body) => {
                let message = Received { envelope, body, eight_bit: summary.eight_bit };
                self.service.message(&self.client, transaction, message).await
            }
            Err(error) => {
                tracing::error!(%error, "cannot read back a message from its temporary file");
                standard::try_later()
            }
        };
        Ok(self.conclude(reply))
    }

    /// The reply to a message, which may be one refusal too many.
    fn conclude(&mut self, reply: Reply) -> Option<After> {
        let action = self.session.outcome(reply);
        self.answer(action)
    }

    /// Says why the data cannot be taken; without a fault the reason is on our side.
    fn refuse(&mut self, fault: Option<DataFault>) -> Option<After> {
        match fault {
            None => self.conclude(standard::disk_full()),
            Some(DataFault::TooBig) => self.conclude(standard::message_too_big()),
            Some(DataFault::BareNewline) => Some(self.part(&standard::bare_newline())),
        }
    }

    async fn skip(&mut self, size: u64) -> Result<(), Ended> {
        let mut left = size;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            let _ = self.input.split_to(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            self.read_data().await?;
        }
    }

    async fn read_data(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        let patience = self.service.connection().data_timeout;
        timeout(patience, read_some(&mut self.stream, &mut self.input))
            .await
            .map_err(|_| Ended::Silent)?
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

fn nul_in_message() -> Reply {
    Reply::new(554, EnhancedCode::new(5, 6, 0), "NUL is not allowed in a message")
}

async fn read_some(stream: &mut Stream, input: &mut BytesMut) -> Result<(), Ended> {
    input.reserve(READ);
    match stream.read_buf(input).await? {
        0 => Err(Ended::Io(std::io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(()),
    }
}

/// Moves what was received out of memory where that is due; true if it cannot be kept.
async fn store(spool: &mut Spool, broken: bool) -> bool {
    if broken {
        spool.buffer().clear();
        return true;
    }
    match spool.settle().await {
        Ok(()) => false,
        Err(error) => {
            tracing::error!(%error, "cannot hold a message in a temporary file");
            true
        }
    }
}
