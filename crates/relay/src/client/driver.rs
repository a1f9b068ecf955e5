//! Moves octets between a connection and the dialogue, within the time limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use letterlock_net::{NetError, Stream};
use letterlock_smtp_wire::command::Command;
use letterlock_smtp_wire::data::dot_stuff;
use letterlock_smtp_wire::{Reply, ReplyParser};
use memchr::memmem;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::dialogue::{Action, Dialogue, Framing, Patience};
use super::{Job, Report, Standing, Timeouts};
use crate::finding::Finding;

/// Octets read at once.
const READ: usize = 4 * 1024;

/// Octets of the message that are sent at once, roughly.
const PIECE: usize = 64 * 1024;

/// What a handshake needs.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Which certificates do.
    pub config: Arc<ClientConfig>,
    /// Whose certificate it is to be.
    pub name: String,
}

/// What a connection is like, for whoever judges whether a message may go over it.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Version, cipher suite and key exchange, if there is TLS.
    pub tls: Option<&'a str>,
    /// Whether the server offers REQUIRETLS.
    pub requiretls: bool,
}

/// A connection that may carry another message.
#[derive(Debug)]
pub struct Kept {
    line: Line,
    standing: Standing,
}

impl Kept {
    /// Whether the server would hear another message over it.
    pub fn has_room(&self) -> bool {
        self.standing.has_room()
    }

    /// Version, cipher suite and key exchange, if there is TLS.
    pub fn tls(&self) -> Option<String> {
        self.line.stream.tls_description()
    }

    /// Says QUIT, in the background.
    pub fn quit(self, patience: Duration) {
        tokio::spawn(self.line.part(Command::Quit.to_bytes(), patience));
    }
}

/// How a connection went.
#[derive(Debug)]
pub enum Conversation {
    /// The dialogue came to an end, good or bad.
    Held {
        /// What came of it.
        report: Report,
        /// Version, cipher suite and key exchange, if there was TLS.
        tls: Option<String>,
        /// The connection, if it may carry another message.
        kept: Option<Box<Kept>>,
    },
    /// The server agreed to STARTTLS, and the handshake failed: the message was not even begun.
    NoHandshake(String),
}

/// A judge of connections: a finding says why the message may not go over it.
pub type Judge<'a> = dyn FnMut(Look<'_>) -> Result<(), Finding> + Send + 'a;

/// What a dialogue is led with.
pub struct Means<'a> {
    /// For STARTTLS.
    pub upgrade: Upgrade,
    /// Who says whether the connection will do.
    pub judge: &'a mut Judge<'a>,
    /// The message.
    pub message: &'a [u8],
    /// How long to wait.
    pub timeouts: &'a Timeouts,
}

/// Leads a dialogue over a fresh connection.
pub async fn converse(stream: Stream, dialogue: Dialogue<'_>, means: Means<'_>) -> Conversation {
    lead(Line::new(stream), dialogue, Action::Wait, means).await
}

/// The same with TLS from the first octet (RFC 8314 §3.3), for a dialogue that knows of it.
pub async fn converse_tls(
    stream: Stream,
    dialogue: Dialogue<'_>,
    means: Means<'_>,
) -> Conversation {
    match Line::new(stream).start_tls(&means.upgrade, means.timeouts.handshake).await {
        Ok(line) => lead(line, dialogue, Action::Wait, means).await,
        Err(error) => Conversation::NoHandshake(error.to_string()),
    }
}

/// Leads a dialogue over a connection that has carried another message.
pub async fn converse_again(
    kept: Box<Kept>,
    job: &Job,
    recipients: Vec<usize>,
    host: &str,
    means: Means<'_>,
) -> Conversation {
    let Kept { line, standing } = *kept;
    let mut dialogue = Dialogue::resumed(job, recipients, host, standing);
    let action = dialogue.resume();
    lead(line, dialogue, action, means).await
}

async fn lead(
    mut line: Line,
    mut dialogue: Dialogue<'_>,
    mut action: Action,
    means: Means<'_>,
) -> Conversation {
    let Means { upgrade, judge, message, timeouts } = means;
    loop {
        let done = match action {
            Action::Wait => Ok(()),
            Action::Send(bytes) => {
                // There may be a password in it.
                let bytes = Zeroizing::new(bytes);
                line.send(&bytes, timeouts.command).await
            }
            Action::Message(framing) => line.message(framing, message, timeouts.data_block).await,
            Action::Rest | Action::Finish(_) => return line.end(action, dialogue, timeouts.quit),
            Action::Judge => {
                let tls = line.stream.tls_description();
                let requiretls = dialogue.offers_requiretls();
                action = match judge(Look { tls: tls.as_deref(), requiretls }) {
                    Ok(()) => dialogue.allow(),
                    Err(finding) => dialogue.forbid(finding),
                };
                continue;
            }
            Action::StartTls => {
                match line.start_tls(&upgrade, timeouts.handshake).await {
                    Ok(secured) => line = secured,
                    Err(error) => return Conversation::NoHandshake(error.to_string()),
                }
                action = dialogue.secured();
                continue;
            }
        };
        let patience = match dialogue.patience() {
            Patience::Greeting => timeouts.greeting,
            Patience::Command => timeouts.command,
            Patience::DataStart => timeouts.data_start,
            Patience::DataEnd => timeouts.data_end,
        };
        let reply = match done {
            Ok(()) => line.reply(patience).await,
            Err(lost) => Err(lost),
        };
        action = match reply {
            Ok(reply) => dialogue.reply(&reply),
            Err(lost) => {
                let tls = line.stream.tls_description();
                let finding = lost.finding(dialogue.host(), dialogue.patience());
                dialogue.lost(finding);
                return Conversation::Held { report: dialogue.into_report(), tls, kept: None };
            }
        };
    }
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection was lost: {0}")]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    Silent,
    #[error("{0}")]
    Reply(#[from] letterlock_smtp_wire::reply_parser::ReplyError),
    #[error("the server answers what it was not asked")]
    OutOfTurn,
}

impl Lost {
    fn finding(&self, host: &str, patience: Patience) -> Finding {
        let when = match patience {
            Patience::Greeting => "before the greeting",
            Patience::Command => "during the envelope",
            Patience::DataStart => "before the message",
            Patience::DataEnd => "during or after the message",
        };
        let text = format!("{host}, {when}: {self}");
        match self {
            Lost::Io(_) | Lost::Silent => Finding::deferred(4, 2, text),
            Lost::Reply(_) | Lost::OutOfTurn => Finding::deferred(5, 0, text),
        }
    }
}

#[derive(Debug)]
struct Line {
    stream: Stream,
    parser: ReplyParser,
    input: BytesMut,
}

impl Line {
    fn new(stream: Stream) -> Self {
        Self { stream, parser: ReplyParser::new(), input: BytesMut::new() }
    }

    async fn reply(&mut self, patience: Duration) -> Result<Reply, Lost> {
        timeout(patience, async {
            loop {
                let (consumed, reply) = self.parser.feed(&self.input)?;
                self.input.advance(consumed);
                if let Some(reply) = reply {
                    return Ok(reply);
                }
                self.input.reserve(READ);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(Lost::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
        .map_err(|_| Lost::Silent)?
    }

    async fn send(&mut self, bytes: &[u8], patience: Duration) -> Result<(), Lost> {
        timeout(patience, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| Lost::Silent)?
        .map_err(Lost::Io)
    }

    /// The handshake; input that came behind the reply was sent in the clear and goes (RFC 3207 §5).
    async fn start_tls(self, upgrade: &Upgrade, patience: Duration) -> Result<Self, NetError> {
        let config = Arc::clone(&upgrade.config);
        Ok(Self::new(self.stream.start_tls_client(config, &upgrade.name, patience).await?))
    }

    async fn message(
        &mut self,
        framing: Framing,
        message: &[u8],
        patience: Duration,
    ) -> Result<(), Lost> {
        // A reply too many would be taken for the answer to the message, which would then be lost.
        if !self.input.is_empty() {
            return Err(Lost::OutOfTurn);
        }
        match framing {
            Framing::Dots => {
                let mut wire = Vec::new();
                let mut rest = message;
                loop {
                    let (piece, behind) = rest.split_at(piece_end(rest));
                    stuff(piece, behind.is_empty(), &mut wire);
                    self.send(&wire, patience).await?;
                    rest = behind;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
            }
            Framing::Chunk => {
                let command = Command::Bdat { size: message.len() as u64, last: true };
                self.send(&command.to_bytes(), patience).await?;
                for piece in message.chunks(PIECE) {
                    self.send(piece, patience).await?;
                }
                Ok(())
            }
        }
    }

    /// A dialogue came to its end.
    fn end(self, action: Action, dialogue: Dialogue<'_>, patience: Duration) -> Conversation {
        let tls = self.stream.tls_description();
        let standing = dialogue.standing().clone();
        let report = dialogue.into_report();
        let kept = match action {
            // What came in unasked would be taken for the answer to the next message.
            Action::Rest if self.input.is_empty() => Some(Box::new(Kept { line: self, standing })),
            Action::Finish(bytes) => {
                tokio::spawn(self.part(bytes, patience));
                None
            }
            _ => {
                tokio::spawn(self.part(Command::Quit.to_bytes(), patience));
                None
            }
        };
        Conversation::Held { report, tls, kept }
    }

    /// Says QUIT. The reply is waited for only so long, as it changes nothing.
    async fn part(mut self, quit: Vec<u8>, patience: Duration) {
        if self.send(&quit, patience).await.is_ok() {
            let _ = self.reply(patience).await;
        }
        self.stream.close().await;
    }
}

/// Where the first piece of a message ends: behind a line, so that dots can be stuffed piece by piece.
fn piece_end(rest: &[u8]) -> usize {
    let Some(behind) = rest.get(PIECE..) else { return rest.len() };
    memmem::find(behind, b"\r\n").map_or(rest.len(), |found| PIECE + found + 2)
}

/// One piece as it goes out; the final dot stands behind the last one only.
fn stuff(piece: &[u8], last: bool, wire: &mut Vec<u8>) {
    const DOT: &[u8] = b".\r\n";
    wire.clear();
    dot_stuff(piece, wire);
    if !last {
        wire.truncate(wire.len() - DOT.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(message: &[u8]) -> Vec<u8> {
        let (mut all, mut wire, mut rest) = (Vec::new(), Vec::new(), message);
        loop {
            let (piece, behind) = rest.split_at(piece_end(rest));
            stuff(piece, behind.is_empty(), &mut wire);
            all.extend_from_slice(&wire);
            rest = behind;
            if rest.is_empty() {
                return all;
            }
        }
    }

    #[test]
    fn pieces_make_the_same_as_the_whole() {
        let lines = b"..x\r\n.\r\nword\r\n".repeat(20_000);
        let endless = [vec![b'x'; 3 * PIECE], b"\r\n.".to_vec()].concat();
        let edge = [vec![b'x'; PIECE], b"\r\n.y\r\n".to_vec()].concat();
        for message in [&b""[..], b".", b".\r\n", &lines, &endless, &edge] {
            let mut whole = Vec::new();
            dot_stuff(message, &mut whole);
            assert!(in_pieces(message) == whole, "{} octets", message.len());
        }
    }
}
