//! A connection that reads lines and counted octets out of one buffer, plain or TLS. It keeps no transcript and
//! copies nothing, because its CPU is taken from the server that it measures.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Octets to make room for before each read.
const CHUNK: usize = 64 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// TLS for connections that ask for it: any certificate is taken, the name is the server's.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: String,
}

/// One connection.
pub(crate) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    /// Octets of the buffer that were taken already.
    start: usize,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Stream::Plain(stream), buffer: Vec::new(), start: 0 })
    }

    /// TLS from the next octet on.
    pub(crate) async fn start_tls(self, tls: &Tls) -> anyhow::Result<Self> {
        let Stream::Plain(plain) = self.stream else {
            bail!("the connection has TLS already");
        };
        let name = ServerName::try_from(tls.name.clone())?;
        let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, plain).await?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), buffer: Vec::new(), start: 0 })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await?,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    /// The next line without its end.
    pub(crate) async fn line(&mut self) -> anyhow::Result<&[u8]> {
        let mut searched = self.start;
        let end = loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                break searched + found;
            }
            let known = self.buffer.len() - self.start;
            self.more().await?;
            searched = self.start + known;
        };
        let line = self.start..end;
        self.start = end + 1;
        let line = &self.buffer[line];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Takes this many octets and forgets them.
    pub(crate) async fn skip(&mut self, mut count: usize) -> anyhow::Result<()> {
        loop {
            let held = self.buffer.len() - self.start;
            if held >= count {
                self.start += count;
                return Ok(());
            }
            count -= held;
            self.start = self.buffer.len();
            self.more().await?;
        }
    }

    /// Gives the memory of the buffer back, for connections that will be silent.
    pub(crate) fn shrink(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.shrink_to_fit();
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(CHUNK);
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await?,
            Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await?,
        };
        if read == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}
