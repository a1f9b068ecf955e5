//! The scanner: tokens of RFC 9051 §9 out of one whole command.
//!
//! The buffer it walks is a command with its literals in place (`{5}\r\nhello`) and without the final CRLF. It never
//! waits: where octets are missing it says so, which the reader uses to tell an APPEND's mailbox literal from its
//! message literal.

use thiserror::Error;

/// Why a command could not be understood. The text is fit for a client; it holds nothing that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SyntaxError {
    /// The grammar is broken: answer BAD.
    #[error("{0}")]
    Syntax(&'static str),
    /// The octets end inside a token, at a literal that has not come yet.
    #[error("the command is not complete")]
    Incomplete,
    /// SEARCH names a character set that is not known: answer NO `[BADCHARSET]`.
    #[error("the character set is not supported")]
    Charset,
    /// The same of a search that was to set `$`, which now is empty (RFC 9051 §6.4.4.1).
    #[error("the character set is not supported")]
    CharsetOfSaved,
}

pub(crate) type Scanned<T> = Result<T, SyntaxError>;

pub(crate) const fn syntax<T>(text: &'static str) -> Scanned<T> {
    Err(SyntaxError::Syntax(text))
}

/// `{n}`, `{n+}` or `~{n}` as it stands at the end of a line (RFC 9051 §4.3, RFC 7888, RFC 3516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiteralHead {
    /// Octets that follow the CRLF. A number too large for the type is saturated.
    pub(crate) octets: u64,
    /// The client waits for a continuation.
    pub(crate) sync: bool,
    /// literal8: NUL is allowed.
    pub(crate) binary: bool,
}

/// ATOM-CHAR of RFC 9051 §9.
pub(crate) fn is_atom_char(octet: u8) -> bool {
    octet.is_ascii_graphic()
        && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// ASTRING-CHAR: an atom's, and `]`.
pub(crate) fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

/// list-char: what a LIST pattern may hold without quotes.
pub(crate) fn is_list_char(octet: u8) -> bool {
    is_astring_char(octet) || matches!(octet, b'%' | b'*')
}

/// The literal head that ends `line` (which has no CRLF any more), if one does.
pub(crate) fn trailing_literal(line: &[u8]) -> Option<LiteralHead> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, sync) = match inner.strip_suffix(b"+") {
        Some(rest) => (rest, false),
        None => (inner, true),
    };
    let digits = inner.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, number) = inner.split_at(inner.len() - digits);
    if number.is_empty() {
        return None;
    }
    let before = before.strip_suffix(b"{")?;
    Some(LiteralHead { octets: saturating_number(number), sync, binary: before.ends_with(b"~") })
}

fn saturating_number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Walks one command.
pub(crate) struct Scanner<'a> {
    octets: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(octets: &'a [u8], max_depth: usize) -> Self {
        Self { octets, at: 0, depth: 0, max_depth }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    /// The octet `ahead` places after the next one.
    pub(crate) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.octets.get(self.at + ahead).copied()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.octets[self.at..]
    }

    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, octet: u8, text: &'static str) -> Scanned<()> {
        if self.eat(octet) { Ok(()) } else { syntax(text) }
    }

    pub(crate) fn space(&mut self) -> Scanned<()> {
        self.expect(b' ', "a space is missing")
    }

    /// How many octets were taken.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Whether the command ends here.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.octets.len()
    }

    /// The command ends here.
    pub(crate) fn finish(&self) -> Scanned<()> {
        if self.is_at_end() {
            Ok(())
        } else {
            syntax("unexpected characters at the end of the command")
        }
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|octet| !wanted(*octet)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Enters one level of nesting; [`Self::leave`] goes back.
    pub(crate) fn enter(&mut self) -> Scanned<()> {
        if self.depth == self.max_depth {
            return syntax("nested too deeply");
        }
        self.depth += 1;
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// `"(" [item *(SP item)] ")"`; an empty list is allowed.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Scanned<T>,
    ) -> Scanned<Vec<T>> {
        self.expect(b'(', "a parenthesised list is missing")?;
        self.enter()?;
        let mut items = Vec::new();
        if !self.eat(b')') {
            loop {
                items.push(item(self)?);
                if self.eat(b')') {
                    break;
                }
                self.space()?;
            }
        }
        self.leave();
        Ok(items)
    }

    pub(crate) fn atom(&mut self) -> Scanned<&'a str> {
        let octets = self.take_while(is_atom_char);
        match std::str::from_utf8(octets) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => syntax("an atom is missing"),
        }
    }

    /// An atom in upper case: names of commands, items and options match case-insensitively.
    pub(crate) fn keyword(&mut self) -> Scanned<String> {
        self.atom().map(str::to_ascii_uppercase)
    }

    /// Takes `word` (given in upper case) if it comes next as a whole atom.
    pub(crate) fn eat_keyword(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let length = rest.iter().position(|octet| !is_atom_char(*octet)).unwrap_or(rest.len());
        let found = rest[..length].eq_ignore_ascii_case(word.as_bytes());
        self.at += if found { length } else { 0 };
        found
    }

    /// Takes `prefix` (ASCII, any case) if it comes next, whatever follows.
    pub(crate) fn eat_prefix(&mut self, prefix: &str) -> bool {
        let found = self
            .rest()
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()));
        self.at += if found { prefix.len() } else { 0 };
        found
    }

    pub(crate) fn number64(&mut self) -> Scanned<u64> {
        let digits = self.take_while(|octet| octet.is_ascii_digit());
        let text = std::str::from_utf8(digits).unwrap_or_default();
        match text.parse::<u64>() {
            // number64 is a 63-bit number (RFC 9051 §9).
            Ok(value) if value <= i64::MAX as u64 => Ok(value),
            _ => syntax("a number is missing or too large"),
        }
    }

    pub(crate) fn number(&mut self) -> Scanned<u32> {
        u32::try_from(self.number64()?).or(syntax("the number is too large"))
    }

    pub(crate) fn nz_number(&mut self) -> Scanned<u32> {
        match self.number()? {
            0 => syntax("zero is not allowed here"),
            value => Ok(value),
        }
    }

    pub(crate) fn astring(&mut self) -> Scanned<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.chars(is_astring_char),
        }
    }

    /// list-mailbox of LIST and LSUB.
    pub(crate) fn list_mailbox(&mut self) -> Scanned<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.chars(is_list_char),
        }
    }

    fn chars(&mut self, wanted: impl Fn(u8) -> bool) -> Scanned<Vec<u8>> {
        match self.take_while(wanted) {
            [] => syntax("a string is missing"),
            octets => Ok(octets.to_vec()),
        }
    }

    /// nstring: `None` for NIL.
    pub(crate) fn nstring(&mut self) -> Scanned<Option<Vec<u8>>> {
        if self.eat_keyword("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    /// nstring that may hold any octets: a literal8 is taken, too.
    pub(crate) fn nstring8(&mut self) -> Scanned<Option<Vec<u8>>> {
        if self.peek() == Some(b'~') { self.literal().map(Some) } else { self.nstring() }
    }

    /// A quoted string or a literal.
    pub(crate) fn string(&mut self) -> Scanned<Vec<u8>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => syntax("a quoted string or literal is missing"),
        }
    }

    fn quoted(&mut self) -> Scanned<Vec<u8>> {
        self.expect(b'"', "a quoted string is missing")?;
        let mut value = Vec::new();
        loop {
            value.extend_from_slice(
                self.take_while(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0)),
            );
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => match self.peek_at(1) {
                    Some(octet @ (b'"' | b'\\')) => {
                        value.push(octet);
                        self.at += 2;
                    }
                    _ => return syntax("only \\\\ and \\\" are escapes in a quoted string"),
                },
                _ => return syntax("the quoted string does not end"),
            }
        }
        self.at += 1;
        // RFC 6855 §3: what is not UTF-8 is a client's error. Octets of another character set need a literal.
        match std::str::from_utf8(&value) {
            Ok(_) => Ok(value),
            Err(_) => syntax("a quoted string is not valid UTF-8"),
        }
    }

    /// The head of a literal, up to its `}`.
    pub(crate) fn literal_head(&mut self) -> Scanned<LiteralHead> {
        let binary = self.eat(b'~');
        self.expect(b'{', "a literal is missing")?;
        let digits = self.take_while(|octet| octet.is_ascii_digit());
        let sync = !self.eat(b'+');
        if digits.is_empty() {
            return syntax("a literal has no length");
        }
        self.expect(b'}', "a literal's length is malformed")?;
        Ok(LiteralHead { octets: saturating_number(digits), sync, binary })
    }

    fn literal(&mut self) -> Scanned<Vec<u8>> {
        let head = self.literal_head()?;
        if self.rest().is_empty() {
            return Err(SyntaxError::Incomplete);
        }
        let Some(rest) = self.rest().strip_prefix(b"\r\n") else {
            return syntax("a literal's length must end the line");
        };
        let length = usize::try_from(head.octets).unwrap_or(usize::MAX);
        let value = rest.get(..length).ok_or(SyntaxError::Incomplete)?;
        if !head.binary && value.contains(&0) {
            return syntax("a literal must not contain NUL");
        }
        self.at += 2 + length;
        Ok(value.to_vec())
    }
}
