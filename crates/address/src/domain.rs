//! The part after the `@`: a domain name or an address literal.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use crate::AddressError;

/// A domain name in its lower-case A-label form (`xn--bcher-kva.example`), or an address literal
/// (`[192.0.2.1]`, `[IPv6:2001:db8::1]`). Cloning copies a pointer.
///
/// Names are taken in Unicode or ASCII, mapped by UTS 46 (non-transitional) and must consist of letters,
/// digits and inner hyphens (RFC 5321 §4.1.2 `sub-domain`). Not accepted: a final dot, underscores, and a name
/// whose last label is a number, which other software would read as an IP address (RFC 3696 §2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// The longest name in octets: 255 on DNS's wire are 253 in text (RFC 1035 §2.3.4).
    pub const MAX_OCTETS: usize = 253;

    /// Reads a domain name (Unicode or A-labels, any case) or an address literal in square brackets.
    ///
    /// # Errors
    /// `DomainEmpty`, `DomainTooLong`, `DomainSyntax`, or `Literal` for what begins with `[`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::DomainEmpty);
        }
        if text.starts_with('[') {
            return parse_literal(text).map(Self::from);
        }
        // Bounds the work of mapping; four octets is the most that UTF-8 spends on one character of a name.
        if text.len() > 4 * Self::MAX_OCTETS {
            return Err(AddressError::DomainTooLong);
        }
        let ascii = Uts46::new()
            .to_ascii(
                text.as_bytes(),
                AsciiDenyList::STD3,
                // Hyphens in the third and fourth place occur in real names; UTS 46 still checks every "xn--".
                Hyphens::CheckFirstLast,
                DnsLength::Ignore,
            )
            .map_err(|_| AddressError::DomainSyntax)?;
        let mut last = "";
        for label in ascii.split('.') {
            match label.len() {
                0 => return Err(AddressError::DomainSyntax),
                1..=63 => last = label,
                _ => return Err(AddressError::DomainTooLong),
            }
        }
        if ascii.len() > Self::MAX_OCTETS {
            return Err(AddressError::DomainTooLong);
        }
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AddressError::DomainSyntax);
        }
        Ok(Self(ascii.as_ref().into()))
    }

    /// The normalised text: A-labels in lower case, or the literal with its brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for people to read, in Unicode where its labels allow it; a literal stays as it is.
    pub fn to_unicode(&self) -> String {
        if self.is_literal() {
            return self.0.to_string();
        }
        Uts46::new()
            .to_unicode(self.0.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast)
            .0
            .into_owned()
    }

    /// The IP address, if this is an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        if self.is_literal() { parse_literal(&self.0).ok() } else { None }
    }

    /// Whether this is an address literal rather than a name.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

/// `[192.0.2.1]` or `[IPv6:…]` (RFC 5321 §4.1.3). No other tag has been registered, so there is none to accept.
fn parse_literal(text: &str) -> Result<IpAddr, AddressError> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(AddressError::Literal)?;
    let address = match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner[5..].parse::<Ipv6Addr>().map(IpAddr::V6)
        }
        _ => inner.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    address.map_err(|_| AddressError::Literal)
}

/// The address literal of an IP address.
impl From<IpAddr> for Domain {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(v4) => format!("[{v4}]").into(),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]").into(),
        })
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn names_are_lower_case_a_labels() {
        assert_eq!(domain("MX.Example.ORG").as_str(), "mx.example.org");
        assert_eq!(domain("Bücher.example").as_str(), "xn--bcher-kva.example");
        assert_eq!(domain("XN--BCHER-KVA.example"), domain("bücher.example"));
        assert_eq!(domain("bücher。example").as_str(), "xn--bcher-kva.example");
        assert_eq!(domain("localhost").as_str(), "localhost");
        assert_eq!(domain("r3---sn-4g5e.example").as_str(), "r3---sn-4g5e.example");
        assert_eq!(domain("1and1.example").as_str(), "1and1.example");
    }

    #[test]
    fn processing_is_non_transitional() {
        assert_eq!(domain("faß.example").as_str(), "xn--fa-hia.example");
        assert_eq!(domain("faß.example").to_unicode(), "faß.example");
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for text in [
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a b.example",
            "a@b.example",
            "ex\u{0}ample",
            "exa\rmple.org",
            "xn--a.example",
            "xn--.example",
            "192.0.2.1",
            "example.123",
            "a\u{200e}b.example",
            "a＠b.example",
            "a/b",
            "<a>",
            "a[b].example",
            "１２.３４",
        ] {
            assert_eq!(Domain::parse(text), Err(AddressError::DomainSyntax), "{text:?}");
        }
        assert_eq!(Domain::parse(""), Err(AddressError::DomainEmpty));
    }

    #[test]
    fn lengths() {
        let label = "a".repeat(63);
        assert!(Domain::parse(&format!("{label}.example")).is_ok());
        assert_eq!(Domain::parse(&format!("{label}a.example")), Err(AddressError::DomainTooLong));
        let name = [label.as_str(), &label, &label, &label[..61]].join(".");
        assert_eq!(name.len(), 253);
        assert!(Domain::parse(&name).is_ok());
        let name = [label.as_str(), &label, &label, &label[..62]].join(".");
        assert_eq!(Domain::parse(&name), Err(AddressError::DomainTooLong));
        assert_eq!(Domain::parse(&"ä".repeat(100_000)), Err(AddressError::DomainTooLong));
    }

    #[test]
    fn literals_are_normalised() {
        assert_eq!(domain("[192.0.2.1]").literal(), Some("192.0.2.1".parse().unwrap()));
        let six = domain("[ipv6:2001:DB8:0::1]");
        assert_eq!(six.as_str(), "[IPv6:2001:db8::1]");
        assert_eq!(six.literal(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(six.to_unicode(), "[IPv6:2001:db8::1]");
        assert_eq!(domain("example.org").literal(), None);
        assert_eq!(Domain::from(IpAddr::from([192, 0, 2, 1])), domain("[192.0.2.1]"));
    }

    #[test]
    fn broken_literals_are_refused() {
        for text in [
            "[",
            "[]",
            "[192.0.2.1",
            "[192.0.2]",
            "[192.0.2.256]",
            "[192.0.02.1]",
            "[2001:db8::1]",
            "[IPv6:192.0.2.1]",
            "[IPv6:fe80::1%eth0]",
            "[x:y]",
            "[192.0.2.1] ",
            "[[192.0.2.1]]",
            "[IPv6:]",
        ] {
            assert_eq!(Domain::parse(text), Err(AddressError::Literal), "{text:?}");
        }
    }
}
