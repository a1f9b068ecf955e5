//! A connection that reads lines and octets, plain or TLS, with a time limit on every wait and a transcript for
//! failures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a client waits for the server before it calls the test failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of the transcript that an error shows.
const SHOWN: usize = 30;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection of a test client.
pub(crate) struct Wire {
    /// `None` only while STARTTLS swaps it, and for good after that failed.
    stream: Option<Stream>,
    buffer: Vec<u8>,
    transcript: Vec<String>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("tls", &self.is_tls()).finish_non_exhaustive()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = patiently(TcpStream::connect(address))
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Some(Stream::Plain(stream)), buffer: Vec::new(), transcript: Vec::new() })
    }

    /// TLS from the next octet on. What the server sent before and was not read is an error: it could have been
    /// injected (RFC 3207 §6).
    pub(crate) async fn start_tls(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> anyhow::Result<()> {
        if !self.buffer.is_empty() {
            bail!("the server sent more before TLS: {:?}", String::from_utf8_lossy(&self.buffer));
        }
        let Some(Stream::Plain(plain)) = self.stream.take() else {
            bail!("the connection is not plain");
        };
        let name = ServerName::try_from(name.to_owned())?;
        let handshake = TlsConnector::from(config).connect(name, plain);
        let stream = patiently(handshake).await.context("TLS handshake failed")?;
        self.stream = Some(Stream::Tls(Box::new(stream)));
        self.transcript.push("-- TLS --".to_owned());
        Ok(())
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Some(Stream::Tls(_)))
    }

    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Some(Stream::Tls(stream)) => {
                let (_, session) = stream.get_ref();
                Some(session.peer_certificates()?.first()?.as_ref().to_vec())
            }
            _ => None,
        }
    }

    /// `tls-exporter` of this connection (RFC 9266).
    pub(crate) fn tls_exporter(&self) -> Option<[u8; 32]> {
        match &self.stream {
            Some(Stream::Tls(stream)) => {
                let (_, session) = stream.get_ref();
                session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).ok()
            }
            _ => None,
        }
    }

    /// Sends octets as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let shown = bytes.get(..200).unwrap_or(bytes);
        self.transcript.push(format!("C: {}", String::from_utf8_lossy(shown).trim_end()));
        let sent = match &mut self.stream {
            Some(Stream::Plain(stream)) => patiently(stream.write_all(bytes)).await,
            Some(Stream::Tls(stream)) => {
                patiently(async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                })
                .await
            }
            None => bail!("the connection is gone"),
        };
        sent.map_err(|error| self.failed(&format!("cannot send: {error}")))
    }

    /// Reads a line without its CRLF (or bare LF); `None` if the server closed the connection instead.
    pub(crate) async fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                self.transcript.push(format!("S: {}", String::from_utf8_lossy(&line)));
                return Ok(Some(line));
            }
            if self.more().await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(self.failed("the server closed the connection within a line"));
            }
        }
    }

    /// A line that has to come.
    pub(crate) async fn some_line(&mut self) -> anyhow::Result<Vec<u8>> {
        match self.line().await? {
            Some(line) => Ok(line),
            None => Err(self.failed("the server closed the connection")),
        }
    }

    /// A line that has to come, as text.
    pub(crate) async fn text(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.some_line().await?).into_owned())
    }

    /// Exactly this many octets.
    pub(crate) async fn octets(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.more().await? == 0 {
                return Err(self.failed("the server closed the connection within a literal"));
            }
        }
        self.transcript.push(format!("S: ({count} octets)"));
        Ok(self.buffer.drain(..count).collect())
    }

    /// Waits until the server closes the connection and gives what it sent until then.
    pub(crate) async fn until_closed(&mut self) -> anyhow::Result<Vec<u8>> {
        while self.more().await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn more(&mut self) -> anyhow::Result<usize> {
        let mut chunk = [0_u8; 16 * 1024];
        let read = match &mut self.stream {
            Some(Stream::Plain(stream)) => patiently(stream.read(&mut chunk)).await,
            Some(Stream::Tls(stream)) => patiently(stream.read(&mut chunk)).await,
            None => bail!("the connection is gone"),
        };
        match read {
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(count)
            }
            Err(error) if is_end(&error) => Ok(0),
            Err(error) => Err(self.failed(&format!("cannot read: {error}"))),
        }
    }

    /// An error with the end of the dialogue.
    pub(crate) fn failed(&self, what: &str) -> anyhow::Error {
        let from = self.transcript.len().saturating_sub(SHOWN);
        anyhow!("{what}\n--- dialogue ---\n{}", self.transcript[from..].join("\n"))
    }
}

/// A server that is killed resets, and one that is rude closes without TLS's farewell: both are an end.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::BrokenPipe
    )
}

async fn patiently<T>(step: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("nothing happened for {} seconds", PATIENCE.as_secs()),
        )),
    }
}
