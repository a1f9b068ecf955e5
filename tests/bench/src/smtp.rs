//! A sending mail server: one connection, one transaction after another.

use std::net::SocketAddr;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::{Tls, Wire};

/// A connection after EHLO.
pub(crate) struct Client {
    wire: Wire,
    pipelining: bool,
    commands: Vec<u8>,
}

impl Client {
    /// Connects and says EHLO; with `tls` also STARTTLS and EHLO again. Commands are pipelined where the server
    /// offers it (RFC 2920), unless `lockstep`.
    pub(crate) async fn connect(
        address: SocketAddr,
        helo: &str,
        tls: Option<&Tls>,
        lockstep: bool,
    ) -> anyhow::Result<Self> {
        let mut wire = Wire::connect(address).await?;
        reply(&mut wire, b'2').await?;
        let mut pipelining = ehlo(&mut wire, helo).await?;
        if let Some(tls) = tls {
            wire.send(b"STARTTLS\r\n").await?;
            reply(&mut wire, b'2').await?;
            wire = wire.start_tls(tls).await?;
            pipelining = ehlo(&mut wire, helo).await?;
        }
        Ok(Self { wire, pipelining: pipelining && !lockstep, commands: Vec::new() })
    }

    /// Logs in with PLAIN.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) -> anyhow::Result<()> {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.wire.send(format!("AUTH PLAIN {response}\r\n").as_bytes()).await?;
        reply(&mut self.wire, b'2').await
    }

    /// Says QUIT, so that the server knows that its last 250 was heard: without that, the same message sent again would
    /// be taken for a repetition.
    pub(crate) async fn quit(mut self) -> anyhow::Result<()> {
        self.wire.send(b"QUIT\r\n").await?;
        reply(&mut self.wire, b'2').await
    }

    /// A transaction with one recipient. `from` is the reverse-path in its brackets, with what parameters MAIL has
    /// behind it. `data` is what goes over the wire after DATA: dots stuffed, with the final dot. Anything but success is an error: a load that is refused measures nothing.
    pub(crate) async fn deliver(
        &mut self,
        from: &str,
        to: &str,
        data: &[u8],
    ) -> anyhow::Result<()> {
        let mail = format!("MAIL FROM:{from}\r\n");
        let rcpt = format!("RCPT TO:<{to}>\r\n");
        let commands = [(mail.as_str(), b'2'), (rcpt.as_str(), b'2'), ("DATA\r\n", b'3')];
        if self.pipelining {
            self.commands.clear();
            for (command, _) in commands {
                self.commands.extend_from_slice(command.as_bytes());
            }
            self.wire.send(&self.commands).await?;
            for (_, expected) in commands {
                reply(&mut self.wire, expected).await?;
            }
        } else {
            for (command, expected) in commands {
                self.wire.send(command.as_bytes()).await?;
                reply(&mut self.wire, expected).await?;
            }
        }
        self.wire.send(data).await?;
        reply(&mut self.wire, b'2').await
    }
}

/// EHLO; whether the server offers PIPELINING.
async fn ehlo(wire: &mut Wire, helo: &str) -> anyhow::Result<bool> {
    wire.send(format!("EHLO {helo}\r\n").as_bytes()).await?;
    let mut pipelining = false;
    loop {
        let line = wire.line().await?;
        if !line.starts_with(b"250") {
            bail!("EHLO was answered {}", String::from_utf8_lossy(line));
        }
        pipelining |= line[3..].eq_ignore_ascii_case(b"-PIPELINING")
            || line[3..].eq_ignore_ascii_case(b" PIPELINING");
        if line.get(3) != Some(&b'-') {
            return Ok(pipelining);
        }
    }
}

/// Reads one reply, whose code has to begin with this digit.
async fn reply(wire: &mut Wire, expected: u8) -> anyhow::Result<()> {
    loop {
        let line = wire.line().await?;
        if line.first() != Some(&expected) {
            bail!("the server answered {}", String::from_utf8_lossy(line));
        }
        if line.get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
