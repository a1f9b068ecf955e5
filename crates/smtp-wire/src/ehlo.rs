//! What a server offers in its reply to EHLO: written by servers, read by clients.

use std::fmt;
use std::ops::BitOr;

use crate::reply::Reply;

/// A set of SMTP extensions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Extensions(u16);

impl Extensions {
    /// No extension at all: the peer said HELO.
    pub const NONE: Self = Self(0);
    /// SIZE (RFC 1870).
    pub const SIZE: Self = Self(1);
    /// 8BITMIME (RFC 6152).
    pub const EIGHT_BIT_MIME: Self = Self(1 << 1);
    /// SMTPUTF8 (RFC 6531).
    pub const SMTPUTF8: Self = Self(1 << 2);
    /// PIPELINING (RFC 2920).
    pub const PIPELINING: Self = Self(1 << 3);
    /// STARTTLS (RFC 3207).
    pub const STARTTLS: Self = Self(1 << 4);
    /// CHUNKING, the command BDAT (RFC 3030).
    pub const CHUNKING: Self = Self(1 << 5);
    /// BINARYMIME (RFC 3030).
    pub const BINARY_MIME: Self = Self(1 << 6);
    /// DSN (RFC 3461).
    pub const DSN: Self = Self(1 << 7);
    /// REQUIRETLS (RFC 8689).
    pub const REQUIRETLS: Self = Self(1 << 8);
    /// AUTH (RFC 4954).
    pub const AUTH: Self = Self(1 << 9);
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub const ENHANCED_STATUS_CODES: Self = Self(1 << 10);
    /// LIMITS (RFC 9422).
    pub const LIMITS: Self = Self(1 << 11);
    /// FUTURERELEASE (RFC 4865).
    pub const FUTURERELEASE: Self = Self(1 << 12);

    /// Keyword of each, in the order in which a server offers them.
    const KEYWORDS: [(Self, &'static str); 13] = [
        (Self::PIPELINING, "PIPELINING"),
        (Self::SIZE, "SIZE"),
        (Self::STARTTLS, "STARTTLS"),
        (Self::AUTH, "AUTH"),
        (Self::ENHANCED_STATUS_CODES, "ENHANCEDSTATUSCODES"),
        (Self::EIGHT_BIT_MIME, "8BITMIME"),
        (Self::BINARY_MIME, "BINARYMIME"),
        (Self::CHUNKING, "CHUNKING"),
        (Self::DSN, "DSN"),
        (Self::SMTPUTF8, "SMTPUTF8"),
        (Self::REQUIRETLS, "REQUIRETLS"),
        (Self::FUTURERELEASE, "FUTURERELEASE"),
        (Self::LIMITS, "LIMITS"),
    ];

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set with `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The extension of an EHLO keyword, in any case.
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::KEYWORDS
            .iter()
            .find(|(_, k)| k.eq_ignore_ascii_case(keyword))
            .map(|(extension, _)| *extension)
    }

    fn keywords(self) -> impl Iterator<Item = (Self, &'static str)> {
        Self::KEYWORDS.into_iter().filter(move |(extension, _)| self.contains(*extension))
    }
}

impl BitOr for Extensions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keywords().map(|(_, keyword)| keyword)).finish()
    }
}

/// The numbers of LIMITS (RFC 9422 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most MAIL commands in one session.
    pub mail_max: Option<u32>,
    /// Most RCPT commands for one message.
    pub rcpt_max: Option<u32>,
    /// Most different recipient domains in one session.
    pub rcpt_domain_max: Option<u32>,
}

impl Limits {
    fn fields(&self) -> [(&'static str, Option<u32>); 3] {
        [
            ("RCPTMAX", self.rcpt_max),
            ("MAILMAX", self.mail_max),
            ("RCPTDOMAINMAX", self.rcpt_domain_max),
        ]
    }

    /// Reads the words behind LIMITS. A limit that is unknown, malformed or zero is passed over (§4.1).
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut limits = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let slot = match name.to_ascii_uppercase().as_str() {
                "RCPTMAX" => &mut limits.rcpt_max,
                "MAILMAX" => &mut limits.mail_max,
                "RCPTDOMAINMAX" => &mut limits.rcpt_domain_max,
                _ => continue,
            };
            *slot = value.parse().ok().filter(|number| *number > 0);
        }
        limits
    }
}

/// How far ahead a message may be released: the words behind FUTURERELEASE (RFC 4865 §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HoldLimits {
    /// Most seconds of HOLDFOR.
    pub interval: u32,
    /// Latest time of HOLDUNTIL, as RFC 3339 writes it.
    pub until: String,
}

impl HoldLimits {
    /// Reads `interval SP date-time`; `None` if one is missing or the first is no number.
    fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let interval = words.next()?.parse().ok()?;
        Some(Self { interval, until: words.next()?.to_owned() })
    }
}

/// Everything a server tells about itself in its reply to EHLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The extensions that are known here; others are passed over.
    pub extensions: Extensions,
    /// The number behind SIZE, in octets. `None`: no number, or 0, which both mean no fixed limit (RFC 1870 §4).
    pub max_size: Option<u64>,
    /// SASL mechanisms in upper case.
    pub auth: Vec<String>,
    /// The numbers behind LIMITS.
    pub limits: Limits,
    /// What stands behind FUTURERELEASE.
    pub hold: Option<HoldLimits>,
}

impl Capabilities {
    /// Whether all of these extensions are offered.
    pub fn offers(&self, extensions: Extensions) -> bool {
        self.extensions.contains(extensions)
    }

    /// Whether this SASL mechanism is offered, in any case.
    pub fn offers_auth(&self, mechanism: &str) -> bool {
        self.auth.iter().any(|offered| offered.eq_ignore_ascii_case(mechanism))
    }

    /// The reply to EHLO: the server's name, then one line for each extension. AUTH without a mechanism, LIMITS
    /// without a number and FUTURERELEASE without its bounds are left out, as they would be malformed.
    pub fn to_reply(&self, hostname: &str) -> Reply {
        let mut reply = Reply::plain(250, hostname.to_owned());
        for (extension, keyword) in self.extensions.keywords() {
            let mut line = keyword.to_owned();
            match extension {
                Extensions::SIZE => line.extend(self.max_size.map(|size| format!(" {size}"))),
                Extensions::AUTH if self.auth.is_empty() => continue,
                Extensions::AUTH => {
                    line.extend(self.auth.iter().map(|mechanism| format!(" {mechanism}")))
                }
                Extensions::LIMITS if self.limits == Limits::default() => continue,
                Extensions::LIMITS => {
                    let set = self
                        .limits
                        .fields()
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, value?)));
                    line.extend(set.map(|(name, value)| format!(" {name}={value}")));
                }
                Extensions::FUTURERELEASE => {
                    let Some(hold) = &self.hold else { continue };
                    line.push_str(&format!(" {} {}", hold.interval, hold.until));
                }
                _ => {}
            }
            reply = reply.and_line(line);
        }
        reply
    }

    /// Reads a server's reply to EHLO. Its first line is the greeting. Unknown keywords are passed over, and
    /// `AUTH=` of servers before RFC 2554 is taken for AUTH. A reply that is no success offers nothing.
    pub fn parse(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        if !reply.is_success() {
            return capabilities;
        }
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let Some(extension) = words.next().and_then(Extensions::from_keyword) else {
                continue;
            };
            capabilities.extensions = capabilities.extensions.with(extension);
            match extension {
                Extensions::SIZE => {
                    capabilities.max_size =
                        words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
                }
                Extensions::AUTH => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        if !capabilities.auth.contains(&mechanism) {
                            capabilities.auth.push(mechanism);
                        }
                    }
                }
                Extensions::LIMITS => {
                    capabilities.limits = Limits::parse(line.split([' ', '\t']).skip(1))
                }
                Extensions::FUTURERELEASE => {
                    capabilities.hold = HoldLimits::parse(words.by_ref());
                }
                _ => {}
            }
        }
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Capabilities {
        let mut extensions = Extensions::NONE;
        for (extension, _) in Extensions::KEYWORDS {
            extensions = extensions | extension;
        }
        Capabilities {
            extensions,
            max_size: Some(52_428_800),
            auth: vec!["PLAIN".into(), "LOGIN".into()],
            limits: Limits { rcpt_max: Some(100), ..Limits::default() },
            hold: Some(HoldLimits { interval: 600, until: "2030-01-01T00:00:00Z".into() }),
        }
    }

    #[test]
    fn written_and_read() {
        let reply = full().to_reply("mx.example.org");
        assert_eq!(Capabilities::parse(&reply), full());
        let text = String::from_utf8(reply.to_bytes()).unwrap();
        assert!(
            text.starts_with("250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n"),
            "{text}"
        );
        assert!(text.contains("250-AUTH PLAIN LOGIN\r\n"), "{text}");
        assert!(text.contains("250-FUTURERELEASE 600 2030-01-01T00:00:00Z\r\n"), "{text}");
        assert!(text.ends_with("250 LIMITS RCPTMAX=100\r\n"), "{text}");
    }

    #[test]
    fn what_would_be_malformed_is_left_out() {
        let capabilities = Capabilities {
            extensions: Extensions::AUTH
                | Extensions::LIMITS
                | Extensions::SIZE
                | Extensions::FUTURERELEASE,
            ..Capabilities::default()
        };
        assert_eq!(capabilities.to_reply("mx").lines, ["mx", "SIZE"]);
    }

    #[test]
    fn peculiar_servers() {
        let reply = Reply::plain(250, "mx SIZE 1")
            .and_line("size 0")
            .and_line("Auth=LOGIN PLAIN")
            .and_line("AUTH plain XOAUTH2")
            .and_line("X-UNKNOWN 8BITMIME")
            .and_line("")
            .and_line("LIMITS rcptmax=50 MAILMAX=0 RCPTDOMAINMAX=x NEW=1")
            .and_line("  STARTTLS ");
        let read = Capabilities::parse(&reply);
        assert_eq!(read.max_size, None);
        assert_eq!(read.auth, ["LOGIN", "PLAIN", "XOAUTH2"]);
        assert!(read.offers_auth("plain"));
        assert_eq!(read.limits, Limits { rcpt_max: Some(50), ..Limits::default() });
        assert!(read.offers(Extensions::STARTTLS | Extensions::SIZE));
        assert!(!read.offers(Extensions::EIGHT_BIT_MIME));
        assert_eq!(
            Capabilities::parse(&Reply::plain(502, "no").and_line("STARTTLS")),
            Capabilities::default()
        );
    }

    #[test]
    fn sets() {
        let set = Extensions::SIZE | Extensions::DSN;
        assert!(
            set.contains(Extensions::DSN)
                && !set.without(Extensions::DSN).contains(Extensions::DSN)
        );
        assert_eq!(format!("{set:?}"), r#"{"SIZE", "DSN"}"#);
    }
}
