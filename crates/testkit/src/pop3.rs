//! A small POP3 client for tests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::wire::Wire;

/// A connection to a POP3 server.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// The greeting line.
    pub greeting: String,
}

impl Client {
    /// Connects in clear and reads the greeting.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::greeted(Wire::connect(address).await?).await
    }

    /// Connects with TLS from the first octet.
    pub async fn connect_tls(
        address: SocketAddr,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let mut wire = Wire::connect(address).await?;
        wire.start_tls(config, name).await?;
        Self::greeted(wire).await
    }

    async fn greeted(mut wire: Wire) -> anyhow::Result<Self> {
        let greeting = wire.text().await?;
        Ok(Self { wire, greeting })
    }

    /// Sends a line; CRLF is added.
    pub async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.wire.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Sends octets as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.wire.send(bytes).await
    }

    /// Reads one line and fails unless it begins so.
    pub async fn expect(&mut self, prefix: &str) -> anyhow::Result<String> {
        let line = self.wire.text().await?;
        if !line.starts_with(prefix) {
            return Err(self.wire.failed(&format!("expected {prefix:?}, got {line:?}")));
        }
        Ok(line)
    }

    /// Sends a command and gives its status line, whatever it says.
    pub async fn try_command(&mut self, line: &str) -> anyhow::Result<String> {
        self.send(line).await?;
        self.wire.text().await
    }

    /// Sends a command that is answered with one line; fails unless that is `+OK`.
    pub async fn command(&mut self, line: &str) -> anyhow::Result<String> {
        self.send(line).await?;
        self.expect("+OK").await
    }

    /// Sends a command that is answered with lines up to a dot; fails unless the first is `+OK`, which is left out.
    pub async fn multi(&mut self, line: &str) -> anyhow::Result<Vec<String>> {
        let lines = self.octets(line).await?;
        Ok(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }

    async fn octets(&mut self, line: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        self.command(line).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.wire.some_line().await?;
            match line.strip_prefix(b".") {
                Some(b"") => return Ok(lines),
                Some(rest) => lines.push(rest.to_vec()),
                None => lines.push(line),
            }
        }
    }

    /// USER and PASS.
    pub async fn login(&mut self, user: &str, password: &str) -> anyhow::Result<()> {
        self.command(&format!("USER {user}")).await?;
        self.command(&format!("PASS {password}")).await.map(drop)
    }

    /// STLS and the handshake.
    pub async fn stls(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> anyhow::Result<()> {
        self.command("STLS").await?;
        self.wire.start_tls(config, name).await
    }

    /// What a login over this connection can be bound to, as `tls-exporter`.
    pub fn tls_exporter(&self) -> Option<[u8; 32]> {
        self.wire.tls_exporter()
    }

    /// The same as `tls-server-end-point`, for certificates that are signed with SHA-256.
    pub fn end_point(&self) -> Vec<u8> {
        let certificate = self.wire.peer_certificate().unwrap_or_default();
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate).as_ref().to_vec()
    }

    /// A whole message, dots unstuffed, with CRLF line ends.
    pub async fn retrieve(&mut self, number: u32) -> anyhow::Result<Vec<u8>> {
        let mut message = Vec::new();
        for line in self.octets(&format!("RETR {number}")).await? {
            message.extend_from_slice(&line);
            message.extend_from_slice(b"\r\n");
        }
        Ok(message)
    }

    /// QUIT, and waits until the server has closed the connection.
    pub async fn quit(mut self) -> anyhow::Result<()> {
        self.command("QUIT").await?;
        self.wire.until_closed().await.map(drop)
    }

    /// Waits until the server closes the connection; what it sent until then.
    pub async fn until_closed(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.wire.until_closed().await?).into_owned())
    }
}
