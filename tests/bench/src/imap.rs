//! A mail reader that counts what it gets and keeps nothing of it.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};

use crate::wire::{Tls, Wire};

/// A connection that is logged in.
pub(crate) struct Client {
    wire: Wire,
    tag: u32,
}

/// What a command brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// `FETCH` responses.
    pub(crate) fetched: u32,
    /// The number in the last `STATUS` response that asked for MESSAGES alone.
    pub(crate) status: Option<u32>,
    /// Octets in literals.
    pub(crate) literals: u64,
    /// Numbers in a `SEARCH`, `SORT` or `THREAD` response.
    pub(crate) hits: u32,
    /// `HIGHESTMODSEQ` of a response code.
    pub(crate) modseq: Option<u64>,
    /// `UIDVALIDITY` of a response code.
    pub(crate) validity: Option<u64>,
}

impl Client {
    /// Connects, over TLS from the first octet if `tls`, and logs in.
    pub(crate) async fn login(
        address: SocketAddr,
        tls: Option<&Tls>,
        user: &str,
        password: &str,
    ) -> anyhow::Result<Self> {
        let mut wire = Wire::connect(address).await?;
        if let Some(tls) = tls {
            wire = wire.start_tls(tls).await.context("TLS of IMAP")?;
        }
        wire.line().await?;
        let mut client = Self { wire, tag: 0 };
        client.command(&format!("LOGIN \"{user}\" \"{password}\"")).await?;
        Ok(client)
    }

    /// A command that has to be answered OK.
    pub(crate) async fn command(&mut self, command: &str) -> anyhow::Result<Brought> {
        let tag = self.send(command, b"").await?;
        self.finish(&tag, command).await
    }

    /// APPEND of one message to INBOX with a literal that waits for nothing (LITERAL+, RFC 7888).
    pub(crate) async fn append(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let mut literal = message.to_vec();
        literal.extend_from_slice(b"\r\n");
        let tag = self.send(&format!("APPEND INBOX {{{}+}}", message.len()), &literal).await?;
        self.finish(&tag, "APPEND").await.map(drop)
    }

    /// One APPEND of several messages (RFC 3502).
    pub(crate) async fn append_all(&mut self, messages: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for (place, message) in messages.iter().enumerate() {
            if place > 0 {
                text.extend_from_slice(format!(" {{{}+}}\r\n", message.len()).as_bytes());
            }
            text.extend_from_slice(message);
        }
        text.extend_from_slice(b"\r\n");
        let first = messages.first().map_or(0, Vec::len);
        let tag = self.send(&format!("APPEND INBOX {{{first}+}}"), &text).await?;
        self.finish(&tag, "APPEND").await.map(drop)
    }

    /// Waits for an untagged response that holds this text.
    pub(crate) async fn until(&mut self, wanted: &[u8]) -> anyhow::Result<()> {
        while memchr::memmem::find(self.wire.line().await?, wanted).is_none() {}
        Ok(())
    }

    /// How many messages INBOX has.
    pub(crate) async fn messages(&mut self) -> anyhow::Result<u32> {
        let brought = self.command("STATUS INBOX (MESSAGES)").await?;
        brought.status.context("STATUS without MESSAGES")
    }

    /// Begins IDLE (RFC 2177) and leaves the connection in it.
    pub(crate) async fn idle(&mut self) -> anyhow::Result<()> {
        self.send("IDLE", b"").await?;
        let line = self.wire.line().await?;
        if !line.starts_with(b"+") {
            bail!("IDLE was answered {}", String::from_utf8_lossy(line));
        }
        Ok(())
    }

    /// Ends IDLE.
    pub(crate) async fn done(&mut self) -> anyhow::Result<()> {
        self.wire.send(b"DONE\r\n").await?;
        let tag = format!("a{}", self.tag);
        self.finish(&tag, "IDLE").await.map(drop)
    }

    /// Ends the session.
    pub(crate) async fn logout(mut self) -> anyhow::Result<()> {
        self.command("LOGOUT").await.map(drop)
    }

    /// Gives the memory of the client's buffer back.
    pub(crate) fn shrink(&mut self) {
        self.wire.shrink();
    }

    async fn send(&mut self, command: &str, rest: &[u8]) -> anyhow::Result<String> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        let mut bytes = format!("{tag} {command}\r\n").into_bytes();
        bytes.extend_from_slice(rest);
        self.wire.send(&bytes).await?;
        Ok(tag)
    }

    /// Reads until the tagged response.
    async fn finish(&mut self, tag: &str, command: &str) -> anyhow::Result<Brought> {
        let mut brought = Brought::default();
        loop {
            let line = self.wire.line().await?;
            if let Some(rest) = line.strip_prefix(tag.as_bytes()) {
                if rest.starts_with(b" OK") {
                    brought.modseq = code(line, b"[HIGHESTMODSEQ ").or(brought.modseq);
                    return Ok(brought);
                }
                let verb = command.split(' ').next().unwrap_or_default();
                bail!("{verb} was answered {}", String::from_utf8_lossy(line));
            }
            if is_fetch(line) {
                brought.fetched += 1;
            } else {
                brought.status = status(line).or(brought.status);
                brought.hits += hits(line);
                brought.modseq = code(line, b"[HIGHESTMODSEQ ").or(brought.modseq);
                brought.validity = code(line, b"[UIDVALIDITY ").or(brought.validity);
            }
            let mut literal = announced(line);
            while let Some(length) = literal {
                brought.literals += length as u64;
                self.wire.skip(length).await?;
                literal = announced(self.wire.line().await?);
            }
        }
    }
}

/// `* 12 FETCH …`
fn is_fetch(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return false };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && rest[digits..].starts_with(b" FETCH ")
}

/// `* STATUS INBOX (MESSAGES 12)`
fn status(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line.strip_prefix(b"* STATUS ")?).ok()?;
    line.rsplit_once("(MESSAGES ")?.1.strip_suffix(')')?.parse().ok()
}

/// How many numbers `* SEARCH 1 2 3`, `* SORT 3 2` or `* THREAD (1 (2)(3))` brings.
fn hits(line: &[u8]) -> u32 {
    let names: [&[u8]; 3] = [b"* SEARCH", b"* SORT", b"* THREAD"];
    let Some(rest) = names.iter().find_map(|name| line.strip_prefix(*name)) else { return 0 };
    let first = |pair: &&[u8]| pair[1].is_ascii_digit() && !pair[0].is_ascii_digit();
    u32::try_from(rest.windows(2).filter(first).count()).unwrap_or(u32::MAX)
}

/// The number in a response code, as `[HIGHESTMODSEQ 17]` has it.
fn code(line: &[u8], name: &[u8]) -> Option<u64> {
    let rest = &line[memchr::memmem::find(line, name)? + name.len()..];
    std::str::from_utf8(&rest[..memchr::memchr(b']', rest)?]).ok()?.parse().ok()
}

/// The length of the literal that a line announces at its end.
fn announced(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let brace = memchr::memrchr(b'{', inner)?;
    std::str::from_utf8(&inner[brace + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_recognised() {
        assert!(is_fetch(b"* 1 FETCH (UID 1)"));
        assert!(!is_fetch(b"* FETCH"));
        assert!(!is_fetch(b"* 3 EXISTS"));
        assert_eq!(status(b"* STATUS INBOX (MESSAGES 12)"), Some(12));
        assert_eq!(status(b"* LIST () \"/\" INBOX"), None);
        assert_eq!(announced(b"* 1 FETCH (BODY[] {345}"), Some(345));
        assert_eq!(announced(b"* OK {x}"), None);
        assert_eq!(hits(b"* SEARCH 1 22 333"), 3);
        assert_eq!(hits(b"* SEARCH"), 0);
        assert_eq!(hits(b"* THREAD (2)(3 6 (4 23)(44 7 96))"), 8);
        assert_eq!(code(b"* OK [HIGHESTMODSEQ 17] Highest", b"[HIGHESTMODSEQ "), Some(17));
    }
}
