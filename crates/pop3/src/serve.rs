//! The driver: moves octets, asks `login`, reads and changes the mailbox.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use letterlock_login::sasl::Ground;
use letterlock_login::{Login, LoginError, Peer, Protocol};
use letterlock_mailbox::{
    Columns, FolderId, Handle, MailboxError, SelectMode, UidRanges, all_uids,
};
use letterlock_net::{Audience, Shutdown, Stream, Tls};
use letterlock_vault::AccountId;
use memchr::memchr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroize;

use crate::multiline::{self, Stuffing};
use crate::session::{self, Action, GONE, MAX_LINE, Message, Security, Session, UTF8_NEEDED};

/// Rows of the maildrop that are read at once.
const PAGE: usize = 1000;

/// Octets of a message that are in memory at once.
const PIECE: u64 = 256 * 1024;

/// Octets read at once.
const READ: usize = 4096;

/// Answers to pipelined commands are sent at the latest when they are this long.
const WRITE: usize = 64 * 1024;

/// Unknown or wrong commands after which a client that is not logged in is sent away.
const PATIENCE: u32 = 20;

/// The POP3 server.
pub struct Pop3 {
    /// Checks credentials.
    pub login: Arc<Login>,
    /// Certificates.
    pub tls: Arc<Tls>,
    /// Passwords may be sent without TLS (loopback only; the configuration sees to it).
    pub allow_cleartext: bool,
    /// Patience with a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time that a client has to log in, from its first octet on: who only keeps the connection
    /// busy does not keep it.
    pub login_timeout: Duration,
    /// Patience with one that has (RFC 1939 §3: at least ten minutes).
    pub idle_timeout: Duration,
    /// Who has a maildrop open.
    pub locks: Locks,
}

/// The maildrops that POP3 sessions have open. IMAP and delivery are not concerned.
#[derive(Clone, Default)]
pub struct Locks(Arc<Mutex<HashSet<AccountId>>>);

/// One locked maildrop; free again when dropped.
struct Lock {
    locks: Locks,
    account: AccountId,
}

impl Locks {
    fn take(&self, account: AccountId) -> Option<Lock> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(account);
        taken.then(|| Lock { locks: self.clone(), account })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

impl Pop3 {
    fn ground(&self, stream: &Stream) -> Ground {
        Ground::new(stream.channel_bindings(), self.login.offered_salts())
    }

    /// Serves one connection until it ends, whether TLS is in use already or not.
    pub async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr, shutdown: Shutdown) {
        let security = match (stream.is_tls(), self.allow_cleartext) {
            (true, _) => Security::Tls,
            (false, true) => Security::PlainAllowed,
            (false, false) => Security::Plain,
        };
        let (session, greeting) = Session::new(security, self.ground(&stream));
        let mut connection = Connection::new(&self, stream, session, peer);
        connection.output.extend_from_slice(greeting);
        loop {
            match connection.dialogue(&shutdown).await {
                Ok(After::StartTls) => match connection.start_tls().await {
                    Ok(secured) => connection = secured,
                    Err(error) => return tracing::debug!(%error, "POP3 session"),
                },
                Ok(After::Close) => return connection.stream.close().await,
                Err(error) => return tracing::debug!(%error, "POP3 session"),
            }
        }
    }
}

/// A logged-in client's mailbox, with what keeps it open and others out.
struct Open {
    session: letterlock_login::Session,
    inbox: FolderId,
    _lock: Lock,
}

/// How a dialogue ends without an error.
enum After {
    StartTls,
    Close,
}

struct Connection<'a> {
    server: &'a Pop3,
    stream: Stream,
    session: Session,
    peer: SocketAddr,
    open: Option<Open>,
    /// Whose proof was right, until the client has heard ours.
    proven: Option<letterlock_login::Session>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When it came, or TLS began.
    began: Instant,
    /// `-ERR` answers before login.
    errors: u32,
}

impl<'a> Connection<'a> {
    fn new(server: &'a Pop3, stream: Stream, session: Session, peer: SocketAddr) -> Self {
        Connection {
            server,
            stream,
            session,
            peer,
            open: None,
            proven: None,
            input: Vec::new(),
            output: Vec::new(),
            began: Instant::now(),
            errors: 0,
        }
    }

    /// What the client sent in the clear behind STLS goes with the old connection.
    async fn start_tls(self) -> Result<Self, letterlock_net::NetError> {
        let server = self.server;
        let stream =
            self.stream.start_tls(&server.tls, Audience::Clients, server.handshake_timeout).await?;
        let session = Session::after_tls(server.ground(&stream));
        Ok(Connection::new(server, stream, session, self.peer))
    }

    async fn dialogue(&mut self, shutdown: &Shutdown) -> std::io::Result<After> {
        loop {
            let after = match self.take_line() {
                Some(Ok(line)) => {
                    let action = self.session.line(&line);
                    let after = self.perform(action).await?;
                    if self.output.len() > WRITE {
                        self.flush().await?;
                    }
                    after
                }
                Some(Err(farewell)) => Some(self.part(farewell)),
                None => self.wait(shutdown).await?,
            };
            if let Some(after) = after {
                self.flush().await?;
                return Ok(after);
            }
        }
    }

    /// The next line without its end. A bare LF is taken as one, as most servers do: there is
    /// no message data from the client whose borders could be confused.
    fn take_line(&mut self) -> Option<Result<zeroize::Zeroizing<Vec<u8>>, &'static [u8]>> {
        match memchr(b'\n', &self.input) {
            Some(end) if end < MAX_LINE => {
                let mut line = zeroize::Zeroizing::new(self.input[..=end].to_vec());
                // It may have been a password.
                self.input[..=end].zeroize();
                self.input.drain(..=end);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                Some(Ok(line))
            }
            None if self.input.len() < MAX_LINE => None,
            _ => Some(Err(b"-ERR Line too long\r\n")),
        }
    }

    /// Sends what is ready, then waits for the client, the end of the session or of the server.
    async fn wait(&mut self, shutdown: &Shutdown) -> std::io::Result<Option<After>> {
        self.flush().await?;
        let until = if self.session.is_logged_in() {
            Instant::now() + self.server.idle_timeout
        } else {
            self.began + self.server.login_timeout
        };
        let handle = self.open.as_ref().map(|open| open.session.mailbox.clone());
        let locked = async move {
            match handle {
                Some(handle) => handle.closed().await,
                None => std::future::pending().await,
            }
        };
        self.input.reserve(READ);
        let farewell: &[u8] = tokio::select! {
            read = timeout_at(until, self.stream.read_buf(&mut self.input)) => match read {
                Ok(read) => return Ok((read? == 0).then_some(After::Close)),
                // RFC 1939 §3: the connection is closed without a word, and nothing is removed.
                Err(_) => b"",
            },
            () = locked => b"-ERR [SYS/TEMP] This session was ended\r\n",
            () = shutdown.draining() => b"-ERR [SYS/TEMP] The server is shutting down\r\n",
        };
        Ok(Some(self.part(farewell)))
    }

    async fn perform(&mut self, action: Action) -> std::io::Result<Option<After>> {
        // Whatever else the client says instead of acknowledging, it is not logged in.
        let proven = self.proven.take();
        match action {
            Action::Send(bytes) => return Ok(self.send(&bytes)),
            Action::Close(bytes) => return Ok(Some(self.part(&bytes))),
            Action::StartTls(bytes) => {
                self.output.extend_from_slice(&bytes);
                return Ok(Some(After::StartTls));
            }
            Action::Authenticate(credential) => {
                let peer = Peer { ip: self.peer.ip(), protocol: Protocol::Pop3 };
                let answer = match self.server.login.authenticate(&credential, peer).await {
                    Ok(session) => self.open_maildrop(session).await,
                    Err(error) => self.session.login_failed(&error),
                };
                return Ok(self.answer(answer));
            }
            Action::Prove(proof) => {
                let peer = Peer { ip: self.peer.ip(), protocol: Protocol::Pop3 };
                let answer = match self.server.login.prove(&proof, peer).await {
                    Ok(proven) => {
                        self.proven = Some(proven.session);
                        self.session.proven(&proven.challenge)
                    }
                    Err(error) => self.session.login_failed(&error),
                };
                return Ok(self.answer(answer));
            }
            Action::Enter => {
                let answer = match proven {
                    Some(session) => self.open_maildrop(session).await,
                    None => self.session.login_failed(&LoginError::Rejected),
                };
                return Ok(self.answer(answer));
            }
            Action::Retrieve { uid, lines, utf8 } => self.retrieve(uid, lines, utf8).await?,
            Action::Update(uids) => {
                let removed = self.update(uids).await;
                return Ok(Some(self.part(session::removed(removed))));
            }
        }
        Ok(None)
    }

    /// What the machine says to an outcome is always something to send.
    fn answer(&mut self, answer: Action) -> Option<After> {
        match answer {
            Action::Send(bytes) => self.send(&bytes),
            _ => None,
        }
    }

    /// Queues an answer. Who only guesses, without logging in, is sent away.
    fn send(&mut self, bytes: &[u8]) -> Option<After> {
        self.output.extend_from_slice(bytes);
        if bytes.starts_with(b"-ERR") && self.open.is_none() {
            self.errors += 1;
        }
        (self.errors > PATIENCE).then_some(After::Close)
    }

    /// The maildrop is free for the next session as soon as the client can know of the end.
    fn part(&mut self, farewell: &[u8]) -> After {
        self.open = None;
        self.output.extend_from_slice(farewell);
        After::Close
    }

    async fn open_maildrop(&mut self, session: letterlock_login::Session) -> Action {
        let Some(lock) = self.server.locks.take(session.account.id) else {
            return self.session.in_use();
        };
        match snapshot(&session.mailbox).await {
            Ok((inbox, uid_validity, messages)) => {
                self.open = Some(Open { session, inbox, _lock: lock });
                self.session.logged_in(uid_validity, messages)
            }
            Err(error) => {
                tracing::warn!(account = %session.account.id, %error, "cannot open a maildrop");
                self.session.login_failed(&LoginError::Temporary(error.to_string()))
            }
        }
    }

    async fn retrieve(&mut self, uid: u32, lines: Option<u64>, utf8: bool) -> std::io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let account = open.session.account.id;
        let reader = match open.session.mailbox.reader(open.inbox, uid).await {
            Ok(Some(reader)) if utf8 || !multiline::needs_utf8(reader.header()) => reader,
            Ok(found) => {
                let refusal = if found.is_some() { UTF8_NEEDED } else { GONE };
                self.output.extend_from_slice(refusal);
                return self.flush().await;
            }
            Err(error) => {
                tracing::warn!(%account, %error, "cannot read a message");
                self.output
                    .extend_from_slice(b"-ERR [SYS/TEMP] The message cannot be read now\r\n");
                return self.flush().await;
            }
        };
        match lines {
            None => self.output.extend(format!("+OK {} octets\r\n", reader.size()).bytes()),
            Some(_) => self.output.extend_from_slice(b"+OK The top follows\r\n"),
        }
        let mut stuffing = Stuffing::new();
        stuffing.push(reader.header(), &mut self.output);
        if let Some(lines) = lines {
            stuffing.limit(lines);
        }
        let mut at = reader.header().len() as u64;
        while at < reader.size() && stuffing.wants_more() {
            let read = reader.read(at..at + PIECE).await;
            // Nothing can be said any more: what the client got must not look like the whole message.
            let piece = read.map_err(|error| {
                tracing::warn!(%account, %error, "cannot read a message to its end");
                std::io::Error::other("a message ended early")
            })?;
            at += PIECE;
            stuffing.push(&piece, &mut self.output);
            self.flush().await?;
        }
        stuffing.finish(&mut self.output);
        self.flush().await
    }

    /// RFC 1939 §6: what was marked goes, durably, before the client hears so.
    async fn update(&mut self, uids: Vec<u32>) -> bool {
        let Some(open) = &self.open else { return false };
        if uids.is_empty() {
            return true;
        }
        let ranges = UidRanges::from_ranges(uids.into_iter().map(|uid| (uid, uid)));
        match open.session.mailbox.remove(open.inbox, &ranges).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(account = %open.session.account.id, %error, "cannot remove messages");
                false
            }
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if !self.output.is_empty() {
            let sent = async {
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await
            };
            timeout(self.server.idle_timeout, sent).await??;
            self.output.clear();
        }
        Ok(())
    }
}

/// INBOX at this moment. It is opened as EXAMINE does: a POP3 client takes nobody's `\Recent`.
async fn snapshot(mailbox: &Handle) -> Result<(FolderId, u32, Vec<Message>), MailboxError> {
    let selected = mailbox.select("INBOX", SelectMode::ReadOnly).await?;
    let mut messages: Vec<Message> = Vec::with_capacity(selected.uids.len());
    loop {
        let after = messages.last().map_or(0, |message| message.uid);
        let rows =
            mailbox.rows(selected.folder, &all_uids(), Columns::default(), after, PAGE).await?;
        let last_page = rows.len() < PAGE;
        messages.extend(rows.into_iter().map(|row| Message { uid: row.uid, size: row.size }));
        if last_page {
            return Ok((selected.folder, selected.uid_validity, messages));
        }
    }
}
