//! The name by which a client greets.

use std::fmt;

use letterlock_address::Domain;

/// The argument of EHLO or HELO. Many clients do not know their name, or send one that is none; RFC 5321 §4.1.4
/// forbids refusing mail for a name that does not fit, so anything is kept and only validity is told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientName(Kind);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Valid(Domain),
    Odd(String),
}

impl ClientName {
    /// The longest argument that is taken, in octets.
    pub const MAX_OCTETS: usize = 255;

    /// Takes an argument. `None` if it is empty or too long.
    pub fn new(text: &[u8]) -> Option<Self> {
        if !(1..=Self::MAX_OCTETS).contains(&text.len()) {
            return None;
        }
        let domain = std::str::from_utf8(text).ok().and_then(|text| Domain::parse(text).ok());
        Some(Self(match domain {
            Some(domain) => Kind::Valid(domain),
            None => Kind::Odd(text.iter().copied().map(harmless).collect()),
        }))
    }

    /// The domain or address literal, if the name is valid.
    pub fn domain(&self) -> Option<&Domain> {
        match &self.0 {
            Kind::Valid(domain) => Some(domain),
            Kind::Odd(_) => None,
        }
    }

    /// The name for traces. In one that is not valid, every character that means something in a header field or
    /// does not belong into a name is a `?`.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Valid(domain) => domain.as_str(),
            Kind::Odd(text) => text,
        }
    }
}

fn harmless(byte: u8) -> char {
    match byte {
        b'.' | b'-' | b'_' | b':' | b'[' | b']' => char::from(byte),
        _ if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '?',
    }
}

impl From<Domain> for ClientName {
    fn from(domain: Domain) -> Self {
        Self(Kind::Valid(domain))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let validity = if self.domain().is_some() { "" } else { ", odd" };
        write!(f, "ClientName({self}{validity})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names() {
        for (text, name) in [
            ("Mail.Example.org", "mail.example.org"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[ipv6:2001:DB8::1]", "[IPv6:2001:db8::1]"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
        ] {
            let client = ClientName::new(text.as_bytes()).unwrap();
            assert_eq!((client.as_str(), client.domain().is_some()), (name, true), "{text}");
        }
    }

    #[test]
    fn odd_names_are_kept_harmlessly() {
        for (text, name) in [
            (&b"MY_PC"[..], "MY_PC"),
            (b"mail.example.org.", "mail.example.org."),
            (b"192.0.2.1", "192.0.2.1"),
            (b"[192.0.2.1", "[192.0.2.1"),
            (b"a (b) <c>; d\\\"", "a??b???c???d??"),
            (b"caf\xe9", "caf?"),
            (b"x\ty", "x?y"),
        ] {
            let client = ClientName::new(text).unwrap();
            assert!(client.domain().is_none());
            assert_eq!(client.as_str(), name);
            assert!(
                client.as_str().chars().all(|c| c.is_ascii_graphic() && !"()<>\\\";".contains(c))
            );
        }
        assert_eq!(ClientName::new(b""), None);
        assert_eq!(ClientName::new(&[b'a'; 256]), None);
    }
}
