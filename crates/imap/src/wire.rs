//! One connection's input and output: the reader of commands, and a buffer that waits for the client to read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use letterlock_imap_wire::{CommandReader, Event, Limits};
use letterlock_net::{Audience, NetError, Stream, Tls};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use zeroize::Zeroize;

/// How much is read at a time.
const READ: usize = 16 * 1024;
/// How much output is gathered before the client has to take it.
const GATHERED: usize = 64 * 1024;
/// Pieces from this size on are sent from where they are.
const LARGE: usize = 16 * 1024;

/// See the module's text.
pub(crate) struct Wire {
    stream: Stream,
    reader: CommandReader,
    /// Output that was not sent yet; handlers append to it.
    pub(crate) out: Vec<u8>,
    /// How long a client may take nothing of what is sent to it.
    patience: Duration,
}

impl Wire {
    /// The wire of a new connection.
    pub(crate) fn new(stream: Stream, limits: Limits, patience: Duration) -> Self {
        Self { stream, reader: CommandReader::new(limits), out: Vec::new(), patience }
    }

    /// Whether TLS is in use.
    pub(crate) fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    /// The reader, to tell it what comes next.
    pub(crate) fn reader(&mut self) -> &mut CommandReader {
        &mut self.reader
    }

    /// What the client did, of what was read so far.
    pub(crate) fn event(&mut self) -> Option<Event> {
        self.reader.next()
    }

    /// Reads once; 0 octets are the end. May be given up at any time: nothing is lost.
    ///
    /// The buffer is on the stack while there is something to read, so that an idle session has none.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            self.reader.feed(buffer.filled());
            let count = buffer.filled().len();
            // It may have been a password.
            buffer.filled_mut().zeroize();
            Poll::Ready(Ok(count))
        })
        .await
    }

    /// Sends everything that was gathered.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        // An idle session keeps no buffer either.
        let out = std::mem::take(&mut self.out);
        self.write(&out).await?;
        self.settle().await
    }

    /// Sends what was gathered if it is much: to be called after each piece of a long answer.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() >= GATHERED {
            let mut out = std::mem::take(&mut self.out);
            self.write(&out).await?;
            out.clear();
            self.out = out;
        }
        Ok(())
    }

    /// Sends octets after what was gathered; large ones without copying them.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.len() < LARGE {
            self.out.extend_from_slice(octets);
            return self.relieve().await;
        }
        let gathered = std::mem::take(&mut self.out);
        self.write(&gathered).await?;
        self.write(octets).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut rest = octets;
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(GATHERED)];
            let sent = timeout(self.patience, self.stream.write(piece)).await??;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[sent..];
        }
        Ok(())
    }

    async fn settle(&mut self) -> io::Result<()> {
        timeout(self.patience, self.stream.flush()).await?
    }

    /// The handshake after STARTTLS was answered. Whatever the client sent before it in the clear is forgotten, with all
    /// that the reader knew (RFC 9051 §6.2.1).
    pub(crate) async fn start_tls(
        self,
        tls: &Tls,
        limits: Limits,
        handshake: Duration,
    ) -> Result<Self, NetError> {
        let stream = self.stream.start_tls(tls, Audience::Clients, handshake).await?;
        Ok(Self::new(stream, limits, self.patience))
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) {
        self.stream.close().await;
    }
}
