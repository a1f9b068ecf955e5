//! What became of a try, for one recipient or for a whole host, in words and codes.

use std::fmt;

use letterlock_smtp_wire::{EnhancedCode, Reply};

/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 500;

/// What happens with a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The message has arrived.
    Delivered,
    /// It is tried again later.
    Deferred,
    /// It is given up.
    Failed,
}

/// Who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The server of this name.
    Host(String),
    /// This server.
    Here,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What happens.
    pub fate: Fate,
    /// The status code (RFC 3463).
    pub status: EnhancedCode,
    /// Who says so.
    pub speaker: Speaker,
    /// What was said: one line of printable ASCII of bounded length. A server's reply begins with its code.
    pub text: String,
}

impl Finding {
    /// A server's reply. What is neither 2xx nor 5xx is for another try.
    pub fn from_reply(host: &str, reply: &Reply) -> Self {
        let (fate, class) = match reply.code / 100 {
            2 => (Fate::Delivered, 2),
            5 => (Fate::Failed, 5),
            _ => (Fate::Deferred, 4),
        };
        let status = reply.enhanced.unwrap_or(EnhancedCode::new(class, 0, 0));
        let speaker = Speaker::Host(printable(host));
        Self { fate, status, speaker, text: printable(&reply.to_string()) }
    }

    /// Found here: never, with the status `5.subject.detail`.
    pub fn failed(subject: u16, detail: u16, text: impl AsRef<str>) -> Self {
        Self::here(Fate::Failed, EnhancedCode::new(5, subject, detail), text.as_ref())
    }

    /// Found here: not now, with the status `4.subject.detail`.
    pub fn deferred(subject: u16, detail: u16, text: impl AsRef<str>) -> Self {
        Self::here(Fate::Deferred, EnhancedCode::new(4, subject, detail), text.as_ref())
    }

    fn here(fate: Fate, status: EnhancedCode, text: &str) -> Self {
        Self { fate, status, speaker: Speaker::Here, text: printable(text) }
    }

    /// The reply's code, if a server said so.
    pub fn code(&self) -> Option<u16> {
        self.host().and_then(|_| self.text.get(..3)?.parse().ok())
    }

    /// The server has enough to do, or says that it has.
    pub fn is_strain(&self) -> bool {
        matches!(self.code(), Some(421 | 450))
    }

    /// The server that said so, if one did.
    pub fn host(&self) -> Option<&str> {
        match &self.speaker {
            Speaker::Host(host) => Some(host),
            Speaker::Here => None,
        }
    }
}

/// `mx.example.org said: 550 5.1.1 No such user`, or `4.4.3 DNS lookup failed` for what was found here.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.speaker {
            Speaker::Host(host) => write!(f, "{host} said: {}", self.text),
            Speaker::Here => write!(f, "{} {}", self.status, self.text),
        }
    }
}

/// One line of printable ASCII, cut where it is too long: safe in logs, listings and header fields.
pub(crate) fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        ' '..='~' => c,
        '\t' | '\r' | '\n' => ' ',
        _ => '?',
    };
    let mut line: String = text.trim().chars().take(MAX_TEXT).map(safe).collect();
    if text.trim().chars().nth(MAX_TEXT).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_judged_by_their_class() {
        let enhanced = Reply::new(550, EnhancedCode::new(5, 1, 1), "No such user");
        let finding = Finding::from_reply("mx.test", &enhanced);
        assert_eq!((finding.fate, finding.status.to_string()), (Fate::Failed, "5.1.1".to_owned()));
        assert_eq!(finding.to_string(), "mx.test said: 550 5.1.1 No such user");
        for (code, fate, status) in [
            (250, Fate::Delivered, "2.0.0"),
            (354, Fate::Deferred, "4.0.0"),
            (451, Fate::Deferred, "4.0.0"),
            (554, Fate::Failed, "5.0.0"),
        ] {
            let finding = Finding::from_reply("mx.test", &Reply::plain(code, "x"));
            assert_eq!((finding.fate, finding.status.to_string()), (fate, status.to_owned()));
        }
    }

    #[test]
    fn texts_are_bounded_and_safe() {
        let hostile = Reply::plain(550, "a\r\nBcc: x\u{202e}\u{e9}").and_line("y".repeat(60_000));
        let finding = Finding::from_reply("mx\n.test", &hostile);
        assert!(finding.text.starts_with("550 a  Bcc: x?? yyy") && finding.text.ends_with("y..."));
        assert_eq!(finding.text.len(), MAX_TEXT + 3);
        assert_eq!(finding.host(), Some("mx .test"));
        let own = Finding::deferred(4, 1, "cannot connect");
        assert_eq!((own.to_string().as_str(), own.host()), ("4.4.1 cannot connect", None));
    }
}
