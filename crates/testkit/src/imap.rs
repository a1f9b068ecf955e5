//! A small IMAP client for tests. It understands lines and literals and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::Wire;

/// One response: its line with the literals in place, and the literals by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// All octets, literals and the lines after them included, without the final CRLF.
    pub raw: Vec<u8>,
    /// The literals in their order.
    pub literals: Vec<Vec<u8>>,
}

impl Response {
    /// The octets as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }
}

/// A connection to an IMAP server.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    next_tag: u32,
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
        Ok(Self { wire, next_tag: 0, greeting })
    }

    /// What a login over this connection can be bound to, as `tls-exporter`.
    pub fn tls_exporter(&self) -> Option<[u8; 32]> {
        self.wire.tls_exporter()
    }

    /// Sends a line as it stands, without a tag of its own; CRLF is added.
    pub async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.wire.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Sends octets as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.wire.send(bytes).await
    }

    /// Sends a command with a fresh tag, which is given back.
    pub async fn send_command(&mut self, command: &str) -> anyhow::Result<String> {
        self.next_tag += 1;
        let tag = format!("A{:03}", self.next_tag);
        self.send(&format!("{tag} {command}")).await?;
        Ok(tag)
    }

    /// Reads one response with its literals.
    pub async fn response(&mut self) -> anyhow::Result<Response> {
        let mut response = Response::default();
        loop {
            let line = self.wire.some_line().await?;
            response.raw.extend_from_slice(&line);
            let Some(length) = announced(&line) else {
                return Ok(response);
            };
            let literal = self.wire.octets(length).await?;
            response.raw.extend_from_slice(b"\r\n");
            response.raw.extend_from_slice(&literal);
            response.literals.push(literal);
        }
    }

    /// Reads one response and fails unless it begins so.
    pub async fn expect(&mut self, prefix: &str) -> anyhow::Result<Response> {
        let response = self.response().await?;
        if !response.raw.starts_with(prefix.as_bytes()) {
            return Err(self
                .wire
                .failed(&format!("expected {prefix:?}, got {:?}", response.text())));
        }
        Ok(response)
    }

    /// Reads responses up to and including the one with this tag.
    pub async fn until_tagged(&mut self, tag: &str) -> anyhow::Result<Vec<Response>> {
        let mut responses = Vec::new();
        loop {
            let response = self.response().await?;
            let done = response.raw.starts_with(format!("{tag} ").as_bytes());
            responses.push(response);
            if done {
                return Ok(responses);
            }
        }
    }

    /// Sends a command and gives all its responses, whatever the last one says. The tag of the last one is cut off,
    /// so that it begins with `OK`, `NO` or `BAD`.
    pub async fn try_command(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let tag = self.send_command(command).await?;
        let responses = self.until_tagged(&tag).await?;
        Ok(texts(&responses, &tag))
    }

    /// Sends a command and gives all its responses; fails unless it is answered OK.
    pub async fn command(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let tag = self.send_command(command).await?;
        let responses = self.finished(&tag, command).await?;
        Ok(texts(&responses, &tag))
    }

    async fn finished(&mut self, tag: &str, command: &str) -> anyhow::Result<Vec<Response>> {
        let responses = self.until_tagged(tag).await?;
        let wanted = format!("{tag} OK");
        match responses.last() {
            Some(last) if last.raw.starts_with(wanted.as_bytes()) => Ok(responses),
            _ => Err(self.wire.failed(&format!("{command} was not answered OK"))),
        }
    }

    /// STARTTLS and the handshake.
    pub async fn starttls(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> anyhow::Result<()> {
        self.command("STARTTLS").await?;
        self.wire.start_tls(config, name).await
    }

    /// LOGIN with quoted strings.
    pub async fn login(&mut self, user: &str, password: &str) -> anyhow::Result<Vec<String>> {
        self.command(&format!("LOGIN {} {}", quoted(user), quoted(password))).await
    }

    /// AUTHENTICATE PLAIN with an initial response (SASL-IR); the responses, whatever they say.
    pub async fn authenticate_plain(
        &mut self,
        user: &str,
        password: &str,
    ) -> anyhow::Result<Vec<String>> {
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        self.try_command(&format!("AUTHENTICATE PLAIN {token}")).await
    }

    /// SELECT; its untagged responses and the last one.
    pub async fn select(&mut self, mailbox: &str) -> anyhow::Result<Vec<String>> {
        self.command(&format!("SELECT {}", quoted(mailbox))).await
    }

    /// The UIDs in the selected mailbox, in the order of the answer.
    pub async fn uids(&mut self) -> anyhow::Result<Vec<u32>> {
        self.uid_search("ALL").await
    }

    /// UID SEARCH; the UIDs in the order of the answer (`* SEARCH`, or `ALL` of `* ESEARCH` as rev2 gives it).
    pub async fn uid_search(&mut self, criteria: &str) -> anyhow::Result<Vec<u32>> {
        let lines = self.command(&format!("UID SEARCH {criteria}")).await?;
        let mut uids = Vec::new();
        for line in lines {
            if let Some(list) = line.strip_prefix("* SEARCH") {
                uids.extend(list.split_ascii_whitespace().map_while(|uid| uid.parse::<u32>().ok()));
            } else if line.starts_with("* ESEARCH")
                && let Some((_, set)) = line.split_once(" ALL ")
            {
                expand(set.split(' ').next().unwrap_or_default(), &mut uids);
            }
        }
        Ok(uids)
    }

    /// The octets of a whole message, without setting `\Seen`.
    pub async fn fetch_body(&mut self, uid: u32) -> anyhow::Result<Vec<u8>> {
        let command = format!("UID FETCH {uid} BODY.PEEK[]");
        let tag = self.send_command(&command).await?;
        let mut responses = self.finished(&tag, &command).await?;
        let fetched = responses.iter_mut().find(|response| {
            response.raw.starts_with(b"* ")
                && response.text().contains(" FETCH ")
                && !response.literals.is_empty()
        });
        let fetched = fetched.with_context(|| format!("no message with UID {uid}"))?;
        Ok(fetched.literals.remove(0))
    }

    /// APPEND with a synchronising literal. `flags` are written as they stand (`"\\Seen $Label"`). The responses.
    pub async fn append(
        &mut self,
        mailbox: &str,
        flags: &str,
        message: &[u8],
    ) -> anyhow::Result<Vec<String>> {
        let command = format!("APPEND {} ({flags}) {{{}}}", quoted(mailbox), message.len());
        let tag = self.send_command(&command).await?;
        self.expect("+").await?;
        self.wire.send(message).await?;
        self.wire.send(b"\r\n").await?;
        let responses = self.finished(&tag, &command).await?;
        Ok(texts(&responses, &tag))
    }

    /// IDLE, up to the server's `+`. Events are read with [`Client::response`].
    pub async fn idle(&mut self) -> anyhow::Result<String> {
        let tag = self.send_command("IDLE").await?;
        self.expect("+").await?;
        Ok(tag)
    }

    /// Ends IDLE; what came until it was answered.
    pub async fn done(&mut self, tag: &str) -> anyhow::Result<Vec<String>> {
        self.send("DONE").await?;
        let responses = self.finished(tag, "IDLE").await?;
        Ok(texts(&responses, tag))
    }

    /// LOGOUT, and waits until the server has closed the connection.
    pub async fn logout(mut self) -> anyhow::Result<()> {
        self.command("LOGOUT").await?;
        self.wire.until_closed().await.map(drop)
    }

    /// Waits until the server closes the connection; what it sent until then.
    pub async fn until_closed(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.wire.until_closed().await?).into_owned())
    }
}

fn texts(responses: &[Response], tag: &str) -> Vec<String> {
    let prefix = format!("{tag} ");
    let cut = |text: String| text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text);
    responses.iter().map(|response| cut(response.text())).collect()
}

/// The length of the literal that a line announces at its end: `{123}`, `{123+}` or `~{123}`.
fn announced(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let start = inner.iter().rposition(|b| *b == b'{')?;
    let digits = std::str::from_utf8(&inner[start + 1..]).ok()?;
    digits.strip_suffix('+').unwrap_or(digits).parse().ok()
}

/// A quoted string (RFC 9051 §4.3).
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A sequence set as numbers.
fn expand(set: &str, uids: &mut Vec<u32>) {
    for part in set.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            uids.extend(first.min(last)..=first.max(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_recognised() {
        assert_eq!(announced(b"* 1 FETCH (BODY[] {12}"), Some(12));
        assert_eq!(announced(b"~{0}"), Some(0));
        assert_eq!(announced(b"a {12+}"), Some(12));
        assert_eq!(announced(b"* OK {x}"), None);
        assert_eq!(announced(b"* OK {12} "), None);
    }

    #[test]
    fn sets_are_expanded() {
        let mut uids = Vec::new();
        expand("1:3,7,12:10", &mut uids);
        assert_eq!(uids, [1, 2, 3, 7, 10, 11, 12]);
    }
}
