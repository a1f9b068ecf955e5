//! A reply: code, enhanced code and lines of text (RFC 5321 §4.2, RFC 2034).

use std::borrow::Cow;
use std::fmt;

/// Longest reply line with its CRLF (RFC 5321 §4.5.3.1.5).
pub const LINE_LIMIT: usize = 512;

/// An enhanced status code such as `5.1.1` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedCode {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about: 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// The detail within the subject.
    pub detail: u16,
}

impl EnhancedCode {
    /// A code from its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// Reads `class.subject.detail`; the class must be 2, 4 or 5, the others have one to three digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let mut number = || {
            let digits = parts.next()?;
            let fits = matches!(digits.len(), 1..=3) && digits.bytes().all(|b| b.is_ascii_digit());
            if fits { digits.parse().ok() } else { None }
        };
        let code = Self::new(class, number()?, number()?);
        parts.next().is_none().then_some(code)
    }

    /// Whether it says that nobody is at an address, and that it will stay so: no such mailbox or host, one that has
    /// moved, a host that takes no mail, or a mailbox that is switched off (RFC 3463 §3.2, §3.3, RFC 7505 §4.2).
    pub fn is_gone(&self) -> bool {
        matches!((self.class, self.subject, self.detail), (5, 1, 1 | 2 | 3 | 6 | 10) | (5, 2, 1))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply, as sent by a server or received by a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The enhanced code, which stands on every line; none in greetings, replies to EHLO and 3xx.
    pub enhanced: Option<EnhancedCode>,
    /// The text, line by line, without codes.
    pub lines: Vec<Cow<'static, str>>,
}

impl Reply {
    /// A reply of one line with an enhanced code.
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: Some(enhanced), lines: vec![text.into()] }
    }

    /// A reply of one line without an enhanced code.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, lines: vec![text.into()] }
    }

    /// The reply with one more line of text.
    #[must_use]
    pub fn and_line(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// 2xx: done.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: go on.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx: try again later.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: do not try again.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The text as one line, without codes.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// The reply as a server sends it, one or more lines with CRLF. A line that is too long is divided; whatever is
    /// not printable ASCII becomes `?`, so no text can make a line of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode(&mut out);
        out
    }

    /// Appends what [`to_bytes`](Self::to_bytes) gives.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let enhanced = self.enhanced.map(|code| format!("{code} ")).unwrap_or_default();
        let code = self.code.to_string();
        let room = LINE_LIMIT - 2 - code.len() - 1 - enhanced.len();
        let mut last = out.len();
        let texts =
            if self.lines.is_empty() { &[Cow::Borrowed("")] } else { self.lines.as_slice() };
        for text in texts {
            let mut rest: &[u8] = &printable(text);
            loop {
                let (piece, behind) = divide(rest, room);
                last = out.len() + code.len();
                out.extend_from_slice(code.as_bytes());
                out.push(b'-');
                out.extend_from_slice(enhanced.as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
        }
        out[last] = b' ';
    }
}

/// `550 5.1.1 No such user`, lines joined: for logs, traces and the `Diagnostic-Code` of a DSN.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        self.lines.iter().filter(|line| !line.is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

fn printable(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| match u8::try_from(c) {
            Ok(byte) if byte == b' ' || byte.is_ascii_graphic() => byte,
            _ => b'?',
        })
        .collect()
}

/// The longest piece that fits, ended at a space where there is one.
fn divide(text: &[u8], room: usize) -> (&[u8], &[u8]) {
    if text.len() <= room {
        return (text, &[]);
    }
    match memchr::memrchr(b' ', &text[..=room]) {
        Some(space) if space > 0 => (&text[..space], &text[space + 1..]),
        _ => text.split_at(room),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes() {
        assert_eq!(EnhancedCode::parse("5.1.10"), Some(EnhancedCode::new(5, 1, 10)));
        assert_eq!(EnhancedCode::new(4, 7, 0).to_string(), "4.7.0");
        for bad in
            ["", "5", "5.1", "3.0.0", "5.1.1.1", "5..1", "5.1.1000", "5.+1.1", "05.1.1", "5.1. 1"]
        {
            assert_eq!(EnhancedCode::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_line_carries_both_codes() {
        let reply = Reply::new(550, EnhancedCode::new(5, 1, 1), "No such user").and_line("Sorry");
        assert_eq!(reply.to_bytes(), b"550-5.1.1 No such user\r\n550 5.1.1 Sorry\r\n");
        assert_eq!(reply.to_string(), "550 5.1.1 No such user Sorry");
        assert_eq!(Reply::plain(354, "Go on").to_bytes(), b"354 Go on\r\n");
        let empty = Reply { code: 250, enhanced: None, lines: Vec::new() };
        assert_eq!(empty.to_bytes(), b"250 \r\n");
    }

    #[test]
    fn text_cannot_make_lines() {
        let reply = Reply::plain(250, "a\r\n250 b\0\u{e9}\u{2028}\t");
        assert_eq!(reply.to_bytes(), b"250 a??250 b????\r\n");
    }

    #[test]
    fn long_text_is_divided() {
        let text = "word ".repeat(300);
        let bytes = Reply::new(554, EnhancedCode::new(5, 7, 1), text.clone()).to_bytes();
        let lines: Vec<&str> =
            std::str::from_utf8(&bytes).unwrap().split_inclusive("\r\n").collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= LINE_LIMIT && line.ends_with("\r\n")));
        assert!(lines[0].starts_with("554-5.7.1 word") && lines[2].starts_with("554 5.7.1 word"));
        let words: usize = lines.iter().map(|line| line.matches("word").count()).sum();
        assert_eq!(words, 300);
        let solid = Reply::plain(250, "x".repeat(1_200)).to_bytes();
        assert_eq!(solid.iter().filter(|b| **b == b'x').count(), 1_200);
    }
}
