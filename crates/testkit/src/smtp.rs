//! A small SMTP client for tests.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::Wire;

/// A reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The code, 200 to 559.
    pub code: u16,
    /// The text of each line, without code and separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// Whether the command was done or may go on (2xx, 3xx).
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// The text in one line.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// The greeting.
    pub greeting: Reply,
}

impl Client {
    /// Connects in clear and reads the greeting, whatever it says.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::greeted(Wire::connect(address).await?).await
    }

    /// Connects with TLS from the first octet, to a server that shows a certificate for `name`.
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
        let greeting = reply(&mut wire).await?;
        Ok(Self { wire, greeting })
    }

    /// What a login over this connection can be bound to, as `tls-exporter`.
    pub fn tls_exporter(&self) -> Option<[u8; 32]> {
        self.wire.tls_exporter()
    }

    /// Sends a line; CRLF is added.
    pub async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.wire.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Sends octets as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.wire.send(bytes).await
    }

    /// Reads one reply of one or more lines.
    pub async fn reply(&mut self) -> anyhow::Result<Reply> {
        reply(&mut self.wire).await
    }

    /// Reads one reply and fails unless it begins so (`"250"`, `"550 5.7.1"`).
    pub async fn expect(&mut self, prefix: &str) -> anyhow::Result<Reply> {
        let reply = self.reply().await?;
        if !reply.to_string().starts_with(prefix) {
            return Err(self.wire.failed(&format!("expected {prefix}, got {reply}")));
        }
        Ok(reply)
    }

    /// Sends a line and reads the reply.
    pub async fn command(&mut self, line: &str) -> anyhow::Result<Reply> {
        self.send(line).await?;
        self.reply().await
    }

    /// Sends a line and fails unless the reply begins so.
    pub async fn ask(&mut self, line: &str, prefix: &str) -> anyhow::Result<Reply> {
        self.send(line).await?;
        self.expect(prefix).await
    }

    /// EHLO; the keywords with their parameters, in upper case as the server wrote them.
    pub async fn ehlo(&mut self, name: &str) -> anyhow::Result<Vec<String>> {
        let reply = self.ask(&format!("EHLO {name}"), "250").await?;
        Ok(reply.lines.into_iter().skip(1).collect())
    }

    /// STARTTLS and the handshake. EHLO has to follow.
    pub async fn starttls(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> anyhow::Result<()> {
        self.ask("STARTTLS", "220").await?;
        self.wire.start_tls(config, name).await
    }

    /// AUTH PLAIN with an initial response.
    pub async fn auth_plain(&mut self, user: &str, password: &str) -> anyhow::Result<Reply> {
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {token}")).await
    }

    /// AUTH LOGIN, as old programs do it.
    pub async fn auth_login(&mut self, user: &str, password: &str) -> anyhow::Result<Reply> {
        self.ask("AUTH LOGIN", "334").await?;
        self.ask(&STANDARD.encode(user), "334").await?;
        self.command(&STANDARD.encode(password)).await
    }

    /// DATA and the message, with dots stuffed and line ends as they are; the reply after the final dot, or the
    /// refusal of DATA itself.
    pub async fn data(&mut self, message: &[u8]) -> anyhow::Result<Reply> {
        let reply = self.command("DATA").await?;
        if reply.code != 354 {
            return Ok(reply);
        }
        self.wire.send(&stuffed(message)).await?;
        self.reply().await
    }

    /// A whole transaction: MAIL, RCPT for each recipient (all of which have to be taken), DATA. The reply to the
    /// message. `from` is the address without angle brackets; `""` is the null path.
    pub async fn deliver(
        &mut self,
        from: &str,
        to: &[&str],
        message: &[u8],
    ) -> anyhow::Result<Reply> {
        self.ask(&format!("MAIL FROM:<{from}>"), "250").await?;
        for recipient in to {
            self.ask(&format!("RCPT TO:<{recipient}>"), "25").await?;
        }
        self.data(message).await
    }

    /// QUIT, and waits until the server has closed the connection.
    pub async fn quit(mut self) -> anyhow::Result<()> {
        self.ask("QUIT", "221").await?;
        self.wire.until_closed().await.map(drop)
    }

    /// Waits until the server closes the connection; what it sent until then.
    pub async fn until_closed(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.wire.until_closed().await?).into_owned())
    }

    /// The certificate that the server showed, in DER.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.wire.peer_certificate()
    }
}

async fn reply(wire: &mut Wire) -> anyhow::Result<Reply> {
    let mut lines = Vec::new();
    loop {
        let line = wire.text().await?;
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code else {
            return Err(wire.failed(&format!("not a reply: {line}")));
        };
        lines.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, lines });
        }
    }
}

/// A message as it goes over the wire after DATA (RFC 5321 §4.5.2), with its final dot.
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use super::stuffed;

    #[test]
    fn dots_are_stuffed() {
        assert_eq!(stuffed(b".a\r\nb.\r\n..\r\n"), b"..a\r\nb.\r\n...\r\n.\r\n");
        assert_eq!(stuffed(b"a"), b"a\r\n.\r\n");
        assert_eq!(stuffed(b""), b".\r\n");
    }
}
