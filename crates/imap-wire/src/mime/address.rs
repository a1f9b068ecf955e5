//! Address lists (RFC 5322 §3.4, with groups, routes and the obsolete forms), as ENVELOPE needs them: words as they
//! stand, quotes and escapes undone, encoded-words kept.

use super::header::unfold;
use super::value::comment_length;

/// The most addresses that are kept of one field.
const MAX_ADDRESSES: usize = 10_000;

/// One entry of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A mailbox.
    Address(Address),
    /// The start of a group, with its name.
    GroupStart(Vec<u8>),
    /// The end of a group.
    GroupEnd,
}

/// A mailbox. Malformed ones have empty parts rather than none, since an absent host means a group on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, or the comment after a bare address.
    pub name: Option<Vec<u8>>,
    /// The obsolete source route, `@a,@b`.
    pub route: Option<Vec<u8>>,
    /// The local part without its quotes.
    pub mailbox: Vec<u8>,
    /// The domain.
    pub host: Vec<u8>,
}

/// A piece of an address.
#[derive(Debug)]
enum Token {
    Word { text: Vec<u8>, spaced: bool },
    At,
    Angle(Vec<u8>),
    Comma,
    Colon,
    Semicolon,
}

/// Reads a raw field value.
pub fn parse(raw: &[u8]) -> Vec<Entry> {
    let line = unfold(raw);
    let mut list = List::default();
    let mut lexer = Lexer { rest: &line, comment: None };
    while let Some(token) = lexer.token() {
        list.take(token, &mut lexer.comment);
        if list.entries.len() >= MAX_ADDRESSES {
            break;
        }
    }
    list.end_mailbox(&mut lexer.comment);
    if list.in_group {
        list.entries.push(Entry::GroupEnd);
    }
    list.entries
}

#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    in_group: bool,
    /// Words before `<`, `@`, `:` or the end: a name, a local part or a group's name.
    words: Vec<(Vec<u8>, bool)>,
    /// Words after an `@` outside angle brackets.
    host: Option<Vec<u8>>,
    angle: Option<Vec<u8>>,
}

impl List {
    fn take(&mut self, token: Token, comment: &mut Option<Vec<u8>>) {
        match token {
            Token::Word { text, spaced } => match &mut self.host {
                Some(host) => host.extend_from_slice(&text),
                None => self.words.push((text, spaced)),
            },
            Token::At => {
                if let Some(host) = self.host.replace(Vec::new()) {
                    // A second @: the last one counts.
                    self.words.push(([b"@", host.as_slice()].concat(), false));
                }
            }
            Token::Angle(inner) => self.angle = Some(inner),
            Token::Comma => self.end_mailbox(comment),
            Token::Colon if !self.in_group && self.host.is_none() && self.angle.is_none() => {
                let name = phrase(&std::mem::take(&mut self.words));
                self.entries.push(Entry::GroupStart(name));
                self.in_group = true;
                *comment = None;
            }
            Token::Colon => {}
            Token::Semicolon => {
                self.end_mailbox(comment);
                if std::mem::take(&mut self.in_group) {
                    self.entries.push(Entry::GroupEnd);
                }
            }
        }
    }

    fn end_mailbox(&mut self, comment: &mut Option<Vec<u8>>) {
        let words = std::mem::take(&mut self.words);
        let comment = comment.take().filter(|text| !text.is_empty());
        let address = match (self.angle.take(), self.host.take()) {
            (Some(inner), host) => {
                // `user@host <user@host>`: the name holds an @.
                let mut name = phrase(&words);
                if let Some(host) = host {
                    name.push(b'@');
                    name.extend_from_slice(&host);
                }
                let name = if name.is_empty() { comment } else { Some(name) };
                Address { name, ..angle_address(&inner) }
            }
            (None, Some(host)) => {
                // Without brackets, the local part is the run of words without space before the @.
                let start = words.iter().rposition(|(_, spaced)| *spaced).unwrap_or(0);
                let name =
                    Some(phrase(&words[..start])).filter(|name| !name.is_empty()).or(comment);
                let mailbox =
                    words[start..].iter().flat_map(|(text, _)| text.iter().copied()).collect();
                Address { name, route: None, mailbox, host }
            }
            (None, None) if words.is_empty() => return,
            (None, None) => {
                Address { name: comment, mailbox: phrase(&words), ..Address::default() }
            }
        };
        self.entries.push(Entry::Address(address));
    }
}

/// Words with one space where there was any.
fn phrase(words: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, spaced) in words {
        if *spaced && !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(text);
    }
    out
}

/// What stands between `<` and `>`: `@a,@b:local@host`.
fn angle_address(inner: &[u8]) -> Address {
    let mut lexer = Lexer { rest: inner, comment: None };
    let mut address = Address::default();
    let mut route = Vec::new();
    let mut after_at = false;
    while let Some(token) = lexer.token() {
        match token {
            Token::Word { text, .. } if after_at => address.host.extend_from_slice(&text),
            Token::Word { text, .. } => address.mailbox.extend_from_slice(&text),
            Token::At => {
                if after_at {
                    // A second @: what was taken for the host belongs to the local part, or to the route's list.
                    address.mailbox.push(b'@');
                    address.mailbox.append(&mut address.host);
                }
                after_at = true;
            }
            Token::Comma => address.host.push(b','),
            Token::Colon if after_at && address.route.is_none() => {
                route.append(&mut address.mailbox);
                route.push(b'@');
                route.append(&mut address.host);
                address.route = Some(std::mem::take(&mut route));
                after_at = false;
            }
            Token::Colon | Token::Semicolon | Token::Angle(_) => {}
        }
    }
    address
}

struct Lexer<'a> {
    rest: &'a [u8],
    /// The last comment since a mailbox began.
    comment: Option<Vec<u8>>,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Token> {
        let mut spaced = false;
        loop {
            let (&first, tail) = self.rest.split_first()?;
            match first {
                b' ' | b'\t' => {
                    spaced = true;
                    self.rest = tail;
                }
                b'(' => {
                    let length = comment_length(tail);
                    let text = tail[..length].strip_suffix(b")").unwrap_or(&tail[..length]);
                    self.comment = Some(unescape(text.trim_ascii()));
                    self.rest = &tail[length..];
                    spaced = true;
                }
                b'"' => return Some(self.quoted(spaced)),
                b'<' => {
                    let end = angle_length(tail);
                    self.rest = tail.get(end + 1..).unwrap_or_default();
                    return Some(Token::Angle(tail[..end].to_vec()));
                }
                b'@' | b',' | b':' | b';' => {
                    self.rest = tail;
                    return Some(match first {
                        b'@' => Token::At,
                        b',' => Token::Comma,
                        b':' => Token::Colon,
                        _ => Token::Semicolon,
                    });
                }
                b'[' => {
                    let end =
                        memchr::memchr2(b']', b'>', tail).map_or(self.rest.len(), |at| at + 2);
                    return Some(self.word(end, spaced));
                }
                _ => {
                    let stop = |octet: &u8| b" \t(\"<@,:;[".contains(octet);
                    let end = tail.iter().position(stop).map_or(self.rest.len(), |at| at + 1);
                    return Some(self.word(end, spaced));
                }
            }
        }
    }

    fn word(&mut self, end: usize, spaced: bool) -> Token {
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Token::Word { text: word.to_vec(), spaced }
    }

    fn quoted(&mut self, spaced: bool) -> Token {
        let inner = &self.rest[1..];
        let end = quoted_length(inner);
        self.rest = inner.get(end + 1..).unwrap_or_default();
        Token::Word { text: unescape(&inner[..end]), spaced }
    }
}

/// Up to the closing quote.
fn quoted_length(octets: &[u8]) -> usize {
    let mut escaped = false;
    let end = octets.iter().position(|octet| match octet {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        octet => *octet == b'"',
    });
    end.unwrap_or(octets.len())
}

/// Up to the closing bracket outside quotes.
fn angle_length(octets: &[u8]) -> usize {
    let mut at = 0;
    while let Some(octet) = octets.get(at) {
        match octet {
            b'>' => return at,
            b'"' => at += quoted_length(&octets[at + 1..]) + 2,
            _ => at += 1,
        }
    }
    octets.len()
}

fn unescape(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets.iter();
    while let Some(octet) = rest.next() {
        out.push(if *octet == b'\\' { *rest.next().unwrap_or(octet) } else { *octet });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(raw: &str) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let entries = parse(raw.as_bytes()).into_iter().map(|entry| match entry {
            Entry::GroupStart(name) => format!("[{}:", text(&name)),
            Entry::GroupEnd => "]".into(),
            Entry::Address(a) => {
                let name = a.name.as_deref().map_or("-".into(), text);
                let route = a
                    .route
                    .as_deref()
                    .map_or(String::new(), |route| format!("{{{}}}", text(route)));
                format!("{name}/{route}{}@{}", text(&a.mailbox), text(&a.host))
            }
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rfc_5322_appendix_a() {
        assert_eq!(show(" John Doe <jdoe@machine.example>"), "John Doe/jdoe@machine.example");
        assert_eq!(
            show("\"Joe Q. Public\" <john.q.public@example.com>"),
            "Joe Q. Public/john.q.public@example.com"
        );
        assert_eq!(
            show("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"),
            "Mary Smith/mary@x.test -/jdoe@example.org Who?/one@y.test"
        );
        assert_eq!(
            show("<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>"),
            "-/boss@nil.test Giant; \"Big\" Box/sysservices@example.net"
        );
        assert_eq!(
            show("A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;"),
            "[A Group: Ed Jones/c@a.test -/joe@where.test John/jdoe@one.test ]"
        );
        assert_eq!(show("Undisclosed recipients:;"), "[Undisclosed recipients: ]");
        assert_eq!(
            show("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"),
            "Pete/pete@silly.test"
        );
        assert_eq!(
            show(
                "A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n joe@example.org;"
            ),
            "[A Group: Chris Jones/c@public.example -/joe@example.org ]"
        );
        assert_eq!(
            show("Mary Smith <@node.test,@b.test:mary@example.net>, , jdoe@test  . example"),
            "Mary Smith/{@node.test,@b.test}mary@example.net -/jdoe@test.example"
        );
        assert_eq!(
            show("Joe Q. Public <john . q . public@example.com>"),
            "Joe Q. Public/john.q.public@example.com"
        );
    }

    #[test]
    fn what_is_seen_in_the_wild() {
        assert_eq!(show("joe@x.test (Joe (the) Boss)"), "Joe (the) Boss/joe@x.test");
        assert_eq!(show("=?utf-8?q?J=C3=B6?= <j@x.test>"), "=?utf-8?q?J=C3=B6?=/j@x.test");
        assert_eq!(show("\"joe public\"@x.test"), "-/joe public@x.test");
        assert_eq!(show("user@[192.0.2.1]"), "-/user@[192.0.2.1]");
        assert_eq!(show("undisclosed-recipients"), "-/undisclosed-recipients@");
        assert_eq!(show("joe@x.test <joe@x.test>"), "joe@x.test/joe@x.test");
        assert_eq!(show("Joe joe@x.test"), "Joe/joe@x.test");
        assert_eq!(show("a@b@c, <a@b@c>"), "-/a@b@c -/a@b@c");
        assert_eq!(show("<>"), "-/@");
        assert_eq!(show("Joe <joe>"), "Joe/joe@");
        assert_eq!(show(",,;:"), "[:  ]".replace("  ", " "));
        assert_eq!(show("\"open <a@b"), "-/open <a@b@");
        assert_eq!(show("x <a@b"), "x/a@b");
        assert_eq!(show("g: a@b"), "[g: -/a@b ]");
        assert_eq!(show(""), "");
    }
}
