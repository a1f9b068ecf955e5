//! One connection's input and output: the reader of commands, and a buffer that waits for the client to read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use letterlock_imap_wire::{Code, CommandReader, Event, Limits};
use letterlock_net::{Audience, ChannelBindings, NetError, Stream, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use zeroize::Zeroize;

use crate::deflate::Deflate;
use crate::names::Did;
use crate::outcome::Reply;

/// How much is read at a time.
const READ: usize = 16 * 1024;
/// How much output is gathered before the client has to take it.
const GATHERED: usize = 64 * 1024;
/// Pieces from this size on are sent from where they are.
const LARGE: usize = 16 * 1024;
/// How long a command may take without a word (RFC 9585 §3 asks for 10 to 15 seconds).
pub(crate) const PROGRESS: Duration = Duration::from_secs(12);

/// See the module's text.
pub(crate) struct Wire {
    stream: Stream,
    /// After COMPRESS.
    deflate: Option<Box<Deflate>>,
    reader: CommandReader,
    /// Output that was not sent yet; handlers append to it.
    pub(crate) out: Vec<u8>,
    /// What the command under way did to a mailbox, if its tagged answer does not say that.
    pub(crate) did: Option<Box<Did>>,
    /// How long a client may take nothing of what is sent to it.
    patience: Duration,
}

impl Wire {
    /// The wire of a new connection.
    pub(crate) fn new(stream: Stream, limits: Limits, patience: Duration) -> Self {
        Self {
            stream,
            deflate: None,
            reader: CommandReader::new(limits),
            out: Vec::new(),
            did: None,
            patience,
        }
    }

    /// Whether TLS is in use.
    pub(crate) fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    /// What a login may be bound to.
    pub(crate) fn channel_bindings(&self) -> ChannelBindings {
        self.stream.channel_bindings()
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
            loop {
                if let Some(count) = self.inflate()? {
                    return Poll::Ready(Ok(count));
                }
                let mut space = [MaybeUninit::uninit(); READ];
                let mut buffer = ReadBuf::uninit(&mut space);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                let count = buffer.filled().len();
                match &mut self.deflate {
                    Some(deflate) if count > 0 => deflate.receive(buffer.filled()),
                    _ => {
                        self.reader.feed(buffer.filled());
                        // It may have been a password.
                        buffer.filled_mut().zeroize();
                        return Poll::Ready(Ok(count));
                    }
                }
            }
        })
        .await
    }

    /// Hands the next piece of what was received to the reader; `None` if there is none.
    fn inflate(&mut self) -> io::Result<Option<usize>> {
        let Some(deflate) = &mut self.deflate else { return Ok(None) };
        let mut space = [0; READ];
        while deflate.has_input() {
            let count = deflate.read(&mut space)?;
            if count > 0 {
                self.reader.feed(&space[..count]);
                return Ok(Some(count));
            }
        }
        Ok(None)
    }

    /// Whether COMPRESS is in effect.
    pub(crate) fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    /// The answer to COMPRESS (RFC 4978). It takes effect after that, for which the client has to wait: what is here already
    /// was not compressed.
    pub(crate) fn check_compress(&self, mechanism: &str) -> Reply {
        if self.is_compressed() {
            return Reply::no("DEFLATE is active already").with(Code::CompressionActive);
        }
        match (mechanism, self.reader.is_idle()) {
            ("DEFLATE", true) => Reply::ok("DEFLATE begins now"),
            ("DEFLATE", false) => Reply::bad("Wait for the answer to COMPRESS"),
            _ => Reply::bad("This mechanism is not offered"),
        }
    }

    /// Sends what was gathered as it is; everything after it is compressed, in both directions (RFC 4978 §3).
    pub(crate) async fn compress(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.deflate = Some(Box::new(Deflate::new()));
        Ok(())
    }

    /// Ends the compression in both directions, when the answer to UNAUTHENTICATE was gathered: that is the last thing
    /// compressed, as the command was of what the client sent (RFC 8437 §4.1).
    pub(crate) async fn decompress(&mut self) -> io::Result<()> {
        self.flush().await?;
        let Some(mut deflate) = self.deflate.take() else { return Ok(()) };
        loop {
            while deflate.has_input() && !deflate.is_at_end() {
                if deflate.read(&mut [0; 64])? > 0 {
                    return Err(io::Error::other("compressed data after UNAUTHENTICATE"));
                }
            }
            if let Some(rest) = deflate.rest() {
                self.reader.feed(&rest);
                return Ok(());
            }
            // The end of the client's last flush is on its way.
            let mut space = [0; 64];
            match timeout(self.patience, self.stream.read(&mut space)).await?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => deflate.receive(&space[..count]),
            }
        }
    }

    /// Sends everything that was gathered.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() && !self.deflate.as_ref().is_some_and(|deflate| deflate.is_dirty()) {
            return Ok(());
        }
        // An idle session keeps no buffer either.
        let out = std::mem::take(&mut self.out);
        self.write(&out).await?;
        if let Some(deflate) = &mut self.deflate {
            let mut rest = Vec::new();
            deflate.flush(&mut rest)?;
            self.write_plain(&rest).await?;
        }
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
        let Some(deflate) = &mut self.deflate else { return self.write_plain(octets).await };
        // In pieces, so that a large body is never there twice.
        for piece in octets.chunks(GATHERED) {
            let mut packed = Vec::new();
            deflate.write(piece, &mut packed)?;
            write_all(&mut self.stream, self.patience, &packed).await?;
        }
        Ok(())
    }

    async fn write_plain(&mut self, octets: &[u8]) -> io::Result<()> {
        write_all(&mut self.stream, self.patience, octets).await
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

    /// Waits for work, and tells the client now and then that its command is still under way (RFC 9585), so that neither
    /// it nor a router in between gives the connection up.
    pub(crate) async fn during<F: Future>(
        &mut self,
        tag: &str,
        pause: Duration,
        work: F,
    ) -> io::Result<F::Output> {
        let mut work = std::pin::pin!(work);
        loop {
            match timeout(pause, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => {
                    let code = Code::InProgress(tag.to_owned());
                    Reply::ok("Still at it").with(code).write(&mut self.out, None);
                    self.flush().await?;
                }
            }
        }
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) {
        self.stream.close().await;
    }
}

/// Writes everything; a client that takes nothing for too long is given up.
async fn write_all(stream: &mut Stream, patience: Duration, octets: &[u8]) -> io::Result<()> {
    let mut rest = octets;
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(GATHERED)];
        let sent = timeout(patience, stream.write(piece)).await??;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn long_work_is_told_of() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let limits = Limits::before_login(100);
        let mut wire = Wire::new(Stream::plain(socket), limits, Duration::from_secs(20));
        let (end, work) = oneshot::channel();
        let mut lines = BufReader::new(client).lines();
        let told = async move {
            let line = lines.next_line().await.unwrap().unwrap();
            end.send("done").unwrap();
            line
        };
        let (done, line) = tokio::join!(wire.during("a7", Duration::from_millis(1), work), told);
        assert_eq!(done.unwrap(), Ok("done"));
        assert_eq!(line, "* OK [INPROGRESS (\"a7\" NIL NIL)] Still at it");
        // Short work is not.
        let quick = wire.during("a8", Duration::from_secs(60), async { 5 }).await;
        assert!(quick.unwrap() == 5 && wire.out.is_empty());
    }
}
