//! Replies out of a stream of octets, from a server that may be hostile.

use std::borrow::Cow;

use memchr::memchr;
use thiserror::Error;

use crate::reply::{EnhancedCode, Reply};

/// Longest reply line in octets; RFC 5321 §4.5.3.1.5 says 512, real servers write more.
pub const MAX_LINE: usize = 4_096;
/// Most lines in one reply.
pub const MAX_LINES: usize = 200;
/// Most octets of text in one reply.
pub const MAX_TEXT: usize = 65_536;

/// Why a stream holds no reply. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ReplyError {
    /// A line does not begin with a reply code followed by space, hyphen or the line's end.
    #[error("the server sent a malformed reply")]
    Malformed,
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    #[error("the lines of the server's reply have different codes")]
    CodesDiffer,
    /// A line or a reply is beyond [`MAX_LINE`], [`MAX_LINES`] or [`MAX_TEXT`].
    #[error("the server's reply is too long")]
    TooLong,
}

/// Collects replies. A LF without CR ends a line too: some servers write that, and since what they say is never
/// passed on as lines there is nothing to smuggle. Text that is not UTF-8 is replaced, control characters become
/// spaces, so the lines of a reply are safe in logs and reports.
#[derive(Debug, Default)]
pub struct ReplyParser {
    line: Vec<u8>,
    reply: Option<Reply>,
    text: usize,
}

impl ReplyParser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing of an unfinished reply is held.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty() && self.reply.is_none()
    }

    /// Takes octets until one reply is complete. Gives how many it consumed, and the reply; `None` means that all
    /// of `input` was consumed and more is needed. What is left over once the reply to STARTTLS is there must be
    /// thrown away (RFC 3207 §5).
    ///
    /// # Errors
    /// See [`ReplyError`]; the parser must not be used again.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let end = memchr(b'\n', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + piece.len() > MAX_LINE {
                return Err(ReplyError::TooLong);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            at += end + 1;
            let line = std::mem::take(&mut self.line);
            if self.take_line(line.strip_suffix(b"\r").unwrap_or(&line))? {
                self.text = 0;
                return Ok((at, self.reply.take()));
            }
        }
        Ok((input.len(), None))
    }

    /// Takes one line; true if it is the reply's last.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (code, last, text) = split(line).ok_or(ReplyError::Malformed)?;
        self.text += text.len();
        let reply = self.reply.get_or_insert(Reply { code, enhanced: None, lines: Vec::new() });
        if reply.code != code {
            return Err(ReplyError::CodesDiffer);
        }
        if reply.lines.len() == MAX_LINES || self.text > MAX_TEXT {
            return Err(ReplyError::TooLong);
        }
        let text = clean(text);
        let (enhanced, text) = split_enhanced(&text, code);
        if reply.lines.is_empty() {
            reply.enhanced = enhanced;
        }
        // A line that repeats the reply's code loses it; any other code stays, as part of the text.
        let text = if enhanced == reply.enhanced { text.to_owned() } else { whole(enhanced, text) };
        reply.lines.push(Cow::Owned(text));
        Ok(last)
    }
}

/// Code, whether the line is the last, and the text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code = digits
        .iter()
        .try_fold(0_u16, |code, b| b.is_ascii_digit().then(|| code * 10 + u16::from(b - b'0')))?;
    if !(200..=599).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

fn clean(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The enhanced code at the beginning of a text, if its class fits the reply's code (RFC 2034 §4).
fn split_enhanced(text: &str, code: u16) -> (Option<EnhancedCode>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedCode::parse(word) {
        Some(enhanced) if u16::from(enhanced.class) == code / 100 => (Some(enhanced), rest),
        _ => (None, text),
    }
}

fn whole(enhanced: Option<EnhancedCode>, text: &str) -> String {
    match enhanced {
        Some(enhanced) => format!("{enhanced} {text}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(chunks: &[&[u8]]) -> Result<Vec<Reply>, ReplyError> {
        let mut parser = ReplyParser::new();
        let mut replies = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let (consumed, reply) = parser.feed(rest)?;
                replies.extend(reply);
                rest = &rest[consumed..];
            }
        }
        Ok(replies)
    }

    fn one(text: &str) -> Reply {
        let mut replies = all(&[text.as_bytes()]).unwrap();
        assert_eq!(replies.len(), 1, "{text}");
        replies.remove(0)
    }

    #[test]
    fn replies() {
        assert_eq!(one("250 OK\r\n"), Reply::plain(250, "OK"));
        assert_eq!(one("250\r\n"), Reply::plain(250, ""));
        assert_eq!(
            one("220-a\r\n220-\r\n220 b\r\n"),
            Reply::plain(220, "a").and_line("").and_line("b")
        );
        let enhanced = Reply::new(550, EnhancedCode::new(5, 1, 1), "No such").and_line("user");
        assert_eq!(one("550-5.1.1 No such\r\n550 5.1.1 user\r\n"), enhanced);
        assert_eq!(one("550-5.1.1 No such\n550 5.1.1 user\n"), enhanced);
        let mut two = all(&[b"250 A\r\n3", b"54 B\r\n"]).unwrap();
        assert_eq!((two.pop().unwrap().code, two.pop().unwrap().code), (354, 250));
    }

    #[test]
    fn enhanced_codes_that_do_not_fit_are_text() {
        assert_eq!(one("250 5.1.1 x\r\n"), Reply::plain(250, "5.1.1 x"));
        assert_eq!(one("354 2.0.0 x\r\n").enhanced, None);
        let mixed = one("550-5.1.1 a\r\n550-5.7.1 b\r\n550 c\r\n");
        assert_eq!(mixed.lines, ["a", "5.7.1 b", "c"]);
        assert_eq!(one("550 5.7.1\r\n").lines, [""]);
    }

    #[test]
    fn what_is_no_reply() {
        for bad in [
            "\r\n",
            "25\r\n",
            "2x0 a\r\n",
            "250_a\r\n",
            "100 a\r\n",
            "600 a\r\n",
            "EHLO\r\n",
            "250-a\r\n\r\n",
        ] {
            assert_eq!(all(&[bad.as_bytes()]), Err(ReplyError::Malformed), "{bad:?}");
        }
        assert_eq!(all(&[b"250-a\r\n251 b\r\n"]), Err(ReplyError::CodesDiffer));
    }

    #[test]
    fn bounds() {
        assert_eq!(all(&[&[b'2'; MAX_LINE + 1]]), Err(ReplyError::TooLong));
        assert_eq!(all(&["250-a\r\n".repeat(MAX_LINES + 1).as_bytes()]), Err(ReplyError::TooLong));
        let long = format!("250-{}\r\n", "x".repeat(4_000));
        assert_eq!(all(&[long.repeat(17).as_bytes()]), Err(ReplyError::TooLong));
    }

    #[test]
    fn text_is_made_safe() {
        assert_eq!(one("250 a\tb\u{1b}[0m\0\r\n").lines, ["a b [0m "]);
        assert_eq!(all(&[b"250 \xff\r\n"]).unwrap()[0].lines, ["\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn sent_replies_are_read_back(
            code in 400_u16..600,
            detail in proptest::option::of(0_u16..30),
            lines in proptest::collection::vec("[a-zA-Z][ -~]{0,60}", 1..5),
            cut in 0_usize..200,
        ) {
            let class = u8::try_from(code / 100).unwrap();
            let reply = Reply {
                code,
                enhanced: detail.map(|detail| EnhancedCode::new(class, 1, detail)),
                lines: lines.into_iter().map(Cow::Owned).collect(),
            };
            let bytes = reply.to_bytes();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(all(&[a, b]), Ok(vec![reply]));
        }

        #[test]
        fn any_division_gives_the_same(input in "(25[01][- ](2\\.1\\.5 )?[a-c\r]{0,3}\r?\n){0,4}", cut in 0_usize..40) {
            let (a, b) = input.as_bytes().split_at(cut.min(input.len()));
            prop_assert_eq!(all(&[a, b]), all(&[input.as_bytes()]));
        }

        #[test]
        fn random_octets_never_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&[&input]);
        }
    }
}
