//! IMAP URLs (RFC 5092) that name a message, or a part of one, for CATENATE (RFC 4469).
//!
//! What is read: absolute URLs (`imap://…`), those relative to the server (`/…`, `//host/…`) and those relative to the
//! selected mailbox. Where a name stands percent-encoded it has to be UTF-8; a section may be any that FETCH knows. What
//! is not: lists of messages (`?…`), URLAUTH, dot segments. Whether the server is the right one, and whether there is
//! such a message, is the caller's business.

use crate::command::scan_section;
use crate::mailbox_name::{SEPARATOR, canonical_inbox};
use crate::scan::Scanner;
use crate::section::{Partial, Section};

/// A message, or what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageUrl {
    /// Where it is; `None` for the server and user of this session.
    pub server: Option<Server>,
    /// The mailbox.
    pub mailbox: UrlMailbox,
    /// What the mailbox's UIDVALIDITY has to be.
    pub uid_validity: Option<u32>,
    /// The message.
    pub uid: u32,
    /// What of the message.
    pub section: Section,
    /// What of that; the length is [`u64::MAX`] for all that follows.
    pub partial: Option<Partial>,
}

/// How an URL names a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlMailbox {
    /// By its name in Unicode.
    Named(String),
    /// By a name that takes the place of the last level of the selected mailbox's name (RFC 3986 §5.2.3); as it stands
    /// without one.
    Beside(String),
    /// The selected one.
    Selected,
}

/// `iserver` of RFC 5092 §11.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whose mailbox it is, if that is said.
    pub user: Option<String>,
    /// The host's name or address, in lower case.
    pub host: String,
    /// The port; 143 if absent.
    pub port: Option<u16>,
}

/// The octets are no URL of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a message")]
pub struct NoMessageUrl;

impl MessageUrl {
    /// Reads an URL.
    ///
    /// # Errors
    /// [`NoMessageUrl`]
    pub fn parse(url: &[u8]) -> Result<Self, NoMessageUrl> {
        parse(url).ok_or(NoMessageUrl)
    }
}

fn parse(url: &[u8]) -> Option<MessageUrl> {
    // None of these is ever part of a message's URL as it stands. A space should be encoded, too, but in a section such
    // as `HEADER.FIELDS (DATE)` it often is not, and no harm comes of it.
    if url.iter().any(|octet| matches!(octet, b'?' | b'#' | 0..b' ' | 0x7f)) {
        return None;
    }
    let (server, path) = match without_scheme(url) {
        Some(rest) => {
            let end = rest.iter().position(|octet| *octet == b'/')?;
            (Some(server(&rest[..end])?), &rest[end..])
        }
        None => (None, url),
    };
    let (named, rest) = path.split_at(path.iter().position(|octet| *octet == b';')?);
    let (mailbox, rest) = match named {
        b"" => (UrlMailbox::Selected, [b"/", rest].concat()),
        _ => {
            // Before `;UID=` the slash is no part of the name.
            let (named, rest) = match named.strip_suffix(b"/") {
                Some(named) => (named, [b"/", rest].concat()),
                None => (named, rest.to_vec()),
            };
            (mailbox(named)?, rest)
        }
    };
    let mut rest = rest.as_slice();
    let mut uid_validity = None;
    if mailbox != UrlMailbox::Selected && eat(&mut rest, b";UIDVALIDITY=") {
        uid_validity = Some(number(&mut rest).filter(|value| *value > 0)?.try_into().ok()?);
    }
    if !eat(&mut rest, b"/;UID=") {
        return None;
    }
    let uid = number(&mut rest).filter(|value| *value > 0)?.try_into().ok()?;
    let mut section = Section::default();
    if eat(&mut rest, b"/;SECTION=") {
        let end = rest.windows(2).position(|two| two == b"/;").unwrap_or(rest.len());
        section = section_of(&decode(&rest[..end])?)?;
        rest = &rest[end..];
    }
    let mut partial = None;
    if eat(&mut rest, b"/;PARTIAL=") {
        let offset = number(&mut rest)?;
        let length = match eat(&mut rest, b".") {
            true => number(&mut rest).filter(|value| *value > 0)?,
            false => u64::MAX,
        };
        partial = Some(Partial { offset, length });
    }
    let url = MessageUrl { server, mailbox, uid_validity, uid, section, partial };
    rest.is_empty().then_some(url)
}

/// What follows `imap://` or `//`.
fn without_scheme(url: &[u8]) -> Option<&[u8]> {
    let mut rest = url;
    (eat(&mut rest, b"imap://") || eat(&mut rest, b"//")).then_some(rest)
}

/// `[[user][;AUTH=mechanism]@]host[:port]`
fn server(authority: &[u8]) -> Option<Server> {
    let (user, place) = match authority.iter().rposition(|octet| *octet == b'@') {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&b""[..], authority),
    };
    // How to log in is of no interest: somebody is logged in.
    let user = user.split(|octet| *octet == b';').next().unwrap_or_default();
    let user = decode(user)?;
    // The colons of an address in brackets are its own.
    let inside = place.iter().rposition(|octet| *octet == b']').unwrap_or(0);
    let colon = place[inside..].iter().position(|octet| *octet == b':').map(|at| inside + at);
    let (host, port) = match colon {
        Some(at) => (&place[..at], Some(std::str::from_utf8(&place[at + 1..]).ok()?.parse().ok()?)),
        None => (place, None),
    };
    let host = decode(host)?.to_lowercase();
    let user = (!user.is_empty()).then_some(user);
    (!host.is_empty()).then_some(Server { user, host, port })
}

fn mailbox(path: &[u8]) -> Option<UrlMailbox> {
    let (is_absolute, path) = match path.strip_prefix(b"/") {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    let name = decode(path)?;
    let usable = |level: &str| !matches!(level, "" | "." | "..");
    // What looks like a scheme is another one than ours (RFC 3986 §4.2).
    let is_other =
        !is_absolute && name.split(SEPARATOR).next().is_some_and(|level| level.contains(':'));
    if is_other || !name.split(SEPARATOR).all(usable) {
        return None;
    }
    Some(if is_absolute {
        UrlMailbox::Named(canonical_inbox(&name))
    } else {
        UrlMailbox::Beside(name)
    })
}

/// A section as it stands in the brackets of FETCH.
fn section_of(text: &str) -> Option<Section> {
    let bracketed = format!("[{text}]");
    let mut scanner = Scanner::new(bracketed.as_bytes(), 2);
    let section = scan_section(&mut scanner).ok()?;
    (scanner.is_at_end() && !text.is_empty()).then_some(section)
}

/// Takes `word` (ASCII, any case) if it comes next.
fn eat(rest: &mut &[u8], word: &[u8]) -> bool {
    let found = rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    if found {
        *rest = &rest[word.len()..];
    }
    found
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (digits, behind) = rest.split_at(length);
    *rest = behind;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Undoes percent-encoding; None for what is not UTF-8 then, or holds a NUL or line end.
fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            out.push(first);
            rest = tail;
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|octet| char::from(*octet).to_digit(16));
        out.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &tail[2..];
    }
    let text = String::from_utf8(out).ok()?;
    (!text.contains(['\0', '\r', '\n'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::SectionText;
    use proptest::prelude::*;

    fn read(url: &str) -> Option<MessageUrl> {
        MessageUrl::parse(url.as_bytes()).ok()
    }

    fn named(url: &str) -> String {
        match read(url).unwrap_or_else(|| panic!("{url}")).mailbox {
            UrlMailbox::Named(name) => name,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_urls_of_the_rfcs() {
        let url = read("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER").unwrap();
        assert_eq!(url.mailbox, UrlMailbox::Named("Drafts".into()));
        assert_eq!((url.uid_validity, url.uid, &url.server), (Some(385_759_045), 20, &None));
        assert_eq!(url.section, Section { part: vec![], text: SectionText::Header });
        let url = read("/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9").unwrap();
        assert_eq!(url.section, Section { part: vec![1, 5, 9], text: SectionText::Whole });
        let url = read(
            "imap://minbari.example.org/gray-council;UIDVALIDITY=385759045/;UID=20/;PARTIAL=0.1024",
        )
        .unwrap();
        let server = Server { user: None, host: "minbari.example.org".into(), port: None };
        assert_eq!(url.server, Some(server));
        assert_eq!(url.partial, Some(Partial { offset: 0, length: 1024 }));
        let url = read("IMAP://;AUTH=*@Minbari.example.org:993/gray%20council/;uid=20").unwrap();
        let server = url.server.unwrap();
        assert_eq!((server.user, server.port), (None, Some(993)));
        let url = read("imap://joe%40x.test;AUTH=SCRAM-SHA-256@[::1]:143/a/;UID=1").unwrap();
        let server = url.server.unwrap();
        assert_eq!(
            (server.user.as_deref(), &*server.host, server.port),
            (Some("joe@x.test"), "[::1]", Some(143))
        );
        assert_eq!(read("//h/a/;UID=1").unwrap().server.unwrap().host, "h");
        // RFC 5092 §10, Chinese and Japanese names.
        assert_eq!(
            named(
                "imap://joe@minbari.example.org/~peter/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E5%8F%B0%E5%8C%97;UIDVALIDITY=1/;UID=1"
            ),
            "~peter/\u{65e5}\u{672c}\u{8a9e}/\u{53f0}\u{5317}"
        );
    }

    #[test]
    fn sections_partials_and_relatives() {
        let section =
            |text: &str| read(&format!("/a/;UID=1/;SECTION={text}")).map(|url| url.section);
        assert_eq!(section("1.MIME"), Some(Section { part: vec![1], text: SectionText::Mime }));
        assert_eq!(section("2.text").unwrap().text, SectionText::Text);
        let fields = SectionText::HeaderFields(vec!["DATE".into(), "X/Y".into()]);
        assert_eq!(section("HEADER.FIELDS%20(DATE%20X/Y)").unwrap().text, fields);
        assert_eq!(section("HEADER.FIELDS (DATE X/Y)").unwrap().text, fields);
        for bad in ["", "0", "1.", "MIME", "HEADER]", "1]x[", "BODY", "1;X=1"] {
            assert_eq!(section(bad), None, "{bad}");
        }
        let partial = |text: &str| read(&format!("/a/;UID=1/;SECTION=1/;PARTIAL={text}"));
        assert_eq!(partial("5").unwrap().partial, Some(Partial { offset: 5, length: u64::MAX }));
        assert_eq!(partial("0.9").unwrap().section.part, [1]);
        for bad in ["", "5.0", "5.", "-1", "1.2.3", "1/", "1;URLAUTH=x:internal:y"] {
            assert_eq!(partial(bad), None, "{bad}");
        }
        assert_eq!(read(";UID=4/;SECTION=1").unwrap().mailbox, UrlMailbox::Selected);
        assert_eq!(read("b/c/;UID=4").unwrap().mailbox, UrlMailbox::Beside("b/c".into()));
        assert_eq!(named("/inbox/x;uidvalidity=1/;uid=1"), "INBOX/x");
        assert_eq!(named("/a%3Bb%25%2Fc/;UID=1"), "a;b%/c");
    }

    #[test]
    fn what_names_no_message() {
        for bad in [
            "",
            "/",
            "/INBOX",
            "/INBOX;UIDVALIDITY=1",
            "/INBOX;UID=1",
            "/INBOX/;UID=0",
            "/INBOX/;UID=x",
            "/INBOX/;UID=4294967296",
            "/INBOX;UIDVALIDITY=0/;UID=1",
            "//;UID=1",
            "/;UID=1",
            "/INBOX//;UID=1",
            "/../x/;UID=1",
            "/a//b/;UID=1",
            "/a%/;UID=1",
            "/a%4/;UID=1",
            "/%ff/;UID=1",
            "/a%00/;UID=1",
            "/a/;UID=1#x",
            "/a/;UID=1?SUBJECT%20x",
            "/a/;UID=1/",
            "/a/;UID=1;URLAUTH=anonymous",
            "http://h/a/;UID=1",
            "imap:a/;UID=1",
            "imap://h",
            "imap:///a/;UID=1",
            "imap://h:x/a/;UID=1",
            ";UIDVALIDITY=1/;UID=1",
            "/a\r\n/;UID=1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_octets(url in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = MessageUrl::parse(&url);
        }

        #[test]
        fn names_survive(name in "[^/\\x00\\r\\n]{1,20}", uid in 1u32.., offset in 0u64..1 << 40) {
            prop_assume!(name != "." && name != ".." && !name.eq_ignore_ascii_case("inbox"));
            let encoded: String = name.bytes().map(|octet| format!("%{octet:02x}")).collect();
            let url = format!("/{encoded}/;UID={uid}/;PARTIAL={offset}");
            let read = read(&url).unwrap();
            prop_assert_eq!(read.mailbox, UrlMailbox::Named(name));
            prop_assert_eq!((read.uid, read.partial.unwrap().offset), (uid, offset));
        }
    }
}
