//! Transcripts of what mail clients and the server said to each other, to be said again in a test.
//!
//! `tests/interop/record` writes them. A file is text, a line each:
//!
//! ```text
//! # a remark
//! account ann@example.test              the account, which is new
//! deliver 01-Nov-2026 10:00:00 +0000    a message comes into INBOX; it follows
//! | Subject: one
//! gone 1,2                              somebody else takes these UIDs out of INBOX
//! 1 open imaps                          the client's first connection, and to which port
//! 1 C: a LOGIN ann "‹password›"         a line of the client's
//! 1 C| Subject: one                     a line of the literal that the line before announced
//! 1 C~ the end                          the same without CRLF: a literal's last octets
//! 1 S: * OK [UIDVALIDITY ‹uidvalidity 1›] UIDs are valid
//! 1 close                               the client has gone
//! ```
//!
//! `‹0D0A›` stands for octets that are no printable text, `‹name›` for a value that is another one in each run: what the
//! server says where a name stands first is what the name stands for from there on, also in what the client says. Only
//! `‹any›` stands for something else each time.
//!
//! Which answers have to be the same, and how much of them, is the test's business: here a difference is a difference.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A transcript.
#[derive(Debug)]
pub struct Transcript {
    /// The account's address.
    pub account: String,
    /// What happened.
    pub steps: Vec<Step>,
}

/// Something that happened.
#[derive(Debug)]
pub struct Step {
    /// The line of the file where it stands, from 1.
    pub line: usize,
    /// What it is.
    pub event: Event,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A message comes into INBOX at this internal date, written as IMAP writes it.
    Delivered(String, Vec<u8>),
    /// Somebody else takes these UIDs out of INBOX.
    Gone(Vec<u32>),
    /// The client connects to this listener (`imap`, `imaps`, `pop3`, `pop3s`).
    Opened(u32, String),
    /// The client sends this: a line with its CRLF, or a literal.
    Client(u32, Said),
    /// The server answers this: a line without its last CRLF, with its literals and what follows them.
    Server(u32, Said),
    /// The client has gone.
    Closed(u32),
}

/// What was said: octets, and names of values among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The octets, without the values.
    pub octets: Vec<u8>,
    /// Where in the octets the value of which name stands.
    names: Vec<(usize, String)>,
}

impl Said {
    /// Only the first octets, with the values that stand among them.
    pub fn first(&self, octets: usize) -> Self {
        let names = self.names.iter().filter(|(at, _)| *at <= octets).cloned().collect();
        Self { octets: self.octets[..octets].to_vec(), names }
    }

    fn push(&mut self, other: Self) {
        let start = self.octets.len();
        self.octets.extend(other.octets);
        self.names.extend(other.names.into_iter().map(|(at, name)| (start + at, name)));
    }
}

impl Transcript {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text)
    }

    /// Reads a text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut read = Self { account: String::new(), steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                read.take(index + 1, line)
                    .with_context(|| format!("line {}: {line}", index + 1))?;
            }
        }
        if read.account.is_empty() {
            bail!("no account");
        }
        Ok(read)
    }

    fn take(&mut self, line: usize, text: &str) -> anyhow::Result<()> {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let event = match first {
            "account" => {
                self.account = rest.to_owned();
                return Ok(());
            }
            "deliver" => Event::Delivered(rest.to_owned(), Vec::new()),
            "gone" => Event::Gone(rest.split(',').map(str::parse).collect::<Result<_, _>>()?),
            "|" | "~" => {
                let Some(Step { event: Event::Delivered(_, message), .. }) = self.steps.last_mut()
                else {
                    bail!("no message is delivered here");
                };
                message.extend(piece(first, rest)?.octets);
                return Ok(());
            }
            connection => {
                let connection = connection.parse()?;
                let (what, said) = rest.split_once(' ').unwrap_or((rest, ""));
                return self.said(line, connection, what, said);
            }
        };
        self.steps.push(Step { line, event });
        Ok(())
    }

    fn said(&mut self, line: usize, connection: u32, what: &str, text: &str) -> anyhow::Result<()> {
        let event = match what {
            "open" => Event::Opened(connection, text.to_owned()),
            "close" => Event::Closed(connection),
            "C:" => Event::Client(connection, piece("|", text)?),
            "C|" | "C~" => Event::Client(connection, piece(what, text)?),
            "S:" | "S|" | "S~" => return self.answered(line, connection, what, text),
            _ => bail!("neither open nor close, C nor S"),
        };
        self.steps.push(Step { line, event });
        Ok(())
    }

    /// The server's literals and what follows them belong to the line that announced them. Other connections may have
    /// been heard of meanwhile.
    fn answered(
        &mut self,
        line: usize,
        connection: u32,
        what: &str,
        text: &str,
    ) -> anyhow::Result<()> {
        let open = self.steps.iter_mut().rev().find_map(|step| match &mut step.event {
            Event::Server(number, said) if *number == connection => Some(said),
            _ => None,
        });
        match (open.and_then(|said| missing(&said.octets).map(|left| (said, left))), what) {
            (Some((said, 0)), "S:") => said.push(announcing(text)?),
            (Some(_), "S:") => bail!("the literal is not at its end"),
            (Some((said, _)), what) => said.push(piece(what, text)?),
            (None, "S:") => {
                let said = announcing(text)?;
                self.steps.push(Step { line, event: Event::Server(connection, said) });
            }
            (None, _) => bail!("no literal was announced"),
        }
        Ok(())
    }
}

/// A line of the server's; the CRLF before a literal belongs to it.
fn announcing(text: &str) -> anyhow::Result<Said> {
    let mut said = octets(text)?;
    if literal(&said.octets).is_some() {
        said.octets.extend_from_slice(b"\r\n");
    }
    Ok(said)
}

/// How many octets of the last literal are not there yet; `None` if nothing belongs to this any more.
fn missing(said: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + said[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = literal(&said[at..end])?;
        at = end + 2 + size;
        if said.len() <= at {
            return Some(at - said.len());
        }
    }
}

/// The size of the literal that the line ends with.
pub fn literal(line: &[u8]) -> Option<usize> {
    let rest = line.strip_suffix(b"}")?;
    let open = rest.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(&rest[open + 1..]).ok()?.parse().ok()
}

/// A line of a literal or a message.
fn piece(kind: &str, text: &str) -> anyhow::Result<Said> {
    let mut said = octets(text)?;
    if kind.ends_with('|') {
        said.octets.extend_from_slice(b"\r\n");
    }
    Ok(said)
}

/// Text with its escapes undone.
fn octets(text: &str) -> anyhow::Result<Said> {
    let mut said = Said::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('‹') {
        said.octets.extend_from_slice(before.as_bytes());
        let (inner, after) = after.split_once('›').context("an escape without end")?;
        if inner.bytes().all(|octet| octet.is_ascii_digit() || octet.is_ascii_uppercase()) {
            for pair in inner.as_bytes().chunks(2) {
                said.octets.push(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
            }
        } else {
            said.names.push((said.octets.len(), inner.to_owned()));
        }
        rest = after;
    }
    said.octets.extend_from_slice(rest.as_bytes());
    Ok(said)
}

/// What names stand for.
#[derive(Debug)]
pub struct Values(HashMap<String, Vec<u8>>);

impl Values {
    /// With what stands for secrets: `password`, `password in base64`, and SASL's PLAIN as `credentials` or as
    /// `credentials with identity`.
    pub fn new(account: &str, password: &str) -> Self {
        let known = [
            ("password", password.to_owned()),
            ("password in base64", STANDARD.encode(password)),
            ("credentials", STANDARD.encode(format!("\0{account}\0{password}"))),
            (
                "credentials with identity",
                STANDARD.encode(format!("{account}\0{account}\0{password}")),
            ),
        ];
        Self(known.map(|(name, value)| (name.to_owned(), value.into_bytes())).into())
    }

    /// What was said, with the values of this run.
    pub fn fill(&self, said: &Said) -> anyhow::Result<Vec<u8>> {
        let (mut filled, mut done) = (Vec::with_capacity(said.octets.len()), 0);
        for (at, name) in &said.names {
            let value = self.0.get(name).ok_or_else(|| anyhow!("nothing stands for {name}"))?;
            filled.extend_from_slice(&said.octets[done..*at]);
            filled.extend_from_slice(value);
            done = *at;
        }
        filled.extend_from_slice(&said.octets[done..]);
        Ok(filled)
    }

    /// Whether this is what was said; names without a value get theirs. A value ends where what follows its name begins.
    pub fn agree(&mut self, said: &Said, actual: &[u8]) -> bool {
        let (mut rest, mut done) = (actual, 0);
        for (at, name) in &said.names {
            let Some(after) = rest.strip_prefix(&said.octets[done..*at]) else { return false };
            let end = said.octets.get(*at);
            let end = end.and_then(|end| after.iter().position(|octet| octet == end));
            let found = &after[..end.unwrap_or(after.len())];
            let value = match name.as_str() {
                "any" => found,
                name => self.0.entry(name.to_owned()).or_insert_with(|| found.to_vec()),
            };
            let Some(after) = after.strip_prefix(value) else { return false };
            (rest, done) = (after, *at);
        }
        rest == &said.octets[done..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# about\naccount a@b.test\n\ndeliver 01-Nov-2026 10:00:00 +0000\n| Subject: ‹C3A4›\n|\n~ x\n\
        1 open imaps\n1 C: a APPEND INBOX {3}\n1 S: +‹20›\n1 C~ abc\n1 C:\n\
        1 S: * 1 FETCH (A {4}\n2 open imap\n1 S| ab\n1 S:  UID ‹uid 1› B {2}\n1 S~ c‹00›\n1 S: )\n1 S: a OK\n1 close\n";

    #[test]
    fn a_text_is_read() {
        let read = Transcript::parse(TEXT).unwrap();
        assert_eq!(read.account, "a@b.test");
        let shown: Vec<String> =
            read.steps.iter().map(|step| format!("{:?}", step.event)).collect();
        let plain = |text: &str| format!("{:?}", text.as_bytes().to_vec());
        let said = |text: &str| format!("Said {{ octets: {}, names: [] }}", plain(text));
        assert_eq!(
            shown,
            [
                format!(
                    "Delivered(\"01-Nov-2026 10:00:00 +0000\", {})",
                    plain("Subject: ä\r\n\r\nx")
                ),
                "Opened(1, \"imaps\")".to_owned(),
                format!("Client(1, {})", said("a APPEND INBOX {3}\r\n")),
                format!("Server(1, {})", said("+ ")),
                format!("Client(1, {})", said("abc")),
                format!("Client(1, {})", said("\r\n")),
                format!(
                    "Server(1, Said {{ octets: {}, names: [(27, \"uid 1\")] }})",
                    plain("* 1 FETCH (A {4}\r\nab\r\n UID  B {2}\r\nc\0)")
                ),
                "Opened(2, \"imap\")".to_owned(),
                format!("Server(1, {})", said("a OK")),
                "Closed(1)".to_owned(),
            ]
        );
        for wrong in ["1 S| x", "| x", "1 X: a", "x open", "1 S: {3}\n1 S~ ab\n1 S: c", "1 C: ‹09"]
        {
            let text = format!("account a@b.test\n{wrong}\n");
            assert!(Transcript::parse(&text).is_err(), "{wrong}");
        }
        assert!(Transcript::parse("1 open imap\n").is_err(), "no account");
    }

    #[test]
    fn names_stand_for_what_came_first() {
        let mut values = Values::new("ann", "secret");
        let sent = values.fill(&octets("PASS ‹password›, ‹credentials›").unwrap()).unwrap();
        assert_eq!(sent, b"PASS secret, AGFubgBzZWNyZXQ=");
        let mut agree =
            |said, actual: &str| values.agree(&octets(said).unwrap(), actual.as_bytes());
        assert!(agree("* OK [UIDVALIDITY ‹v 1›] x", "* OK [UIDVALIDITY 77] x"));
        assert!(agree("COPYUID ‹v 1› 1 ‹v 2›", "COPYUID 77 1 78"));
        assert!(!agree("COPYUID ‹v 1› 1", "COPYUID 78 1"), "another value");
        assert!(!agree("a ‹v 2›", "a 789"), "a longer one");
        assert!(!agree("a b", "a b c") && !agree("a b c", "a b"));
        assert!(agree("(‹any›) (‹any›)", "(x) (y)") && !agree("(‹any›) x", "(x) (y)"));
        let line = octets("* OK [X ‹v 1›] text ‹v 3›").unwrap();
        assert!(values.agree(&line.first(9), b"* OK [X 77]"), "only what comes first");
        let filled = values.fill(&octets("SELECT (‹v 1› ‹v 2›)").unwrap()).unwrap();
        assert_eq!(filled, b"SELECT (77 78)");
        assert!(values.fill(&line).is_err(), "no value");
    }
}
