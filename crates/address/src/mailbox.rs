//! `local@domain`.

use std::fmt;
use std::str::FromStr;

use crate::local::split_quoted;
use crate::{AddressError, Domain, LocalPart};

/// A mail address. Equality keeps the case of the local part; see [`canonical`](Self::canonical).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    /// What stands before the `@`, decoded.
    pub local: LocalPart,
    /// What stands behind it.
    pub domain: Domain,
}

impl Mailbox {
    /// The longest address in octets: a path of 256 less its angle brackets (RFC 5321 §4.5.3.1.3).
    pub const MAX_OCTETS: usize = 254;

    /// Reads `local@domain`, without angle brackets.
    ///
    /// # Errors
    /// What [`LocalPart::parse`] and [`Domain::parse`] say, `MissingAt`, or `TooLong`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = if text.starts_with('"') {
            let (local, rest) = split_quoted(text)?;
            let domain = match rest.strip_prefix('@') {
                Some(domain) => domain,
                None if rest.is_empty() => return Err(AddressError::MissingAt),
                None => return Err(AddressError::LocalPartSyntax),
            };
            (local, domain)
        } else {
            let (local, domain) = text.split_once('@').ok_or(AddressError::MissingAt)?;
            (LocalPart::parse(local)?, domain)
        };
        let mailbox = Self { local, domain: Domain::parse(domain)? };
        if mailbox.to_string().len() > Self::MAX_OCTETS {
            return Err(AddressError::TooLong);
        }
        Ok(mailbox)
    }

    /// The form by which this server compares addresses: canonical local part, `@`, domain; never quoted.
    /// The last `@` divides it.
    pub fn canonical(&self) -> String {
        let mut text = self.local.canonical();
        text.push('@');
        text.push_str(self.domain.as_str());
        text
    }

    /// Whether only a peer with SMTPUTF8 can be given this address (RFC 6531). The domain's A-labels never need it.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts() {
        let mailbox = Mailbox::parse("John.Doe+news@Example.ORG").unwrap();
        assert_eq!(mailbox.local.as_str(), "John.Doe+news");
        assert_eq!(mailbox.domain.as_str(), "example.org");
        assert_eq!(mailbox.to_string(), "John.Doe+news@example.org");
        assert_eq!(mailbox.canonical(), "john.doe+news@example.org");
        assert!(!mailbox.needs_smtputf8());
    }

    #[test]
    fn quoted_local_part_may_hold_an_at() {
        let mailbox = Mailbox::parse(r#""a@b"@example.org"#).unwrap();
        assert_eq!(mailbox.local.as_str(), "a@b");
        assert_eq!(mailbox.to_string(), r#""a@b"@example.org"#);
        assert_eq!(mailbox.canonical(), "a@b@example.org");
    }

    #[test]
    fn unicode() {
        let mailbox = Mailbox::parse("jöran@bücher.example").unwrap();
        assert_eq!(mailbox.to_string(), "jöran@xn--bcher-kva.example");
        assert!(mailbox.needs_smtputf8());
        assert!(!Mailbox::parse("joran@bücher.example").unwrap().needs_smtputf8());
    }

    #[test]
    fn errors_name_the_part() {
        for (text, error) in [
            ("", AddressError::MissingAt),
            ("john", AddressError::MissingAt),
            (r#""john""#, AddressError::MissingAt),
            ("@example.org", AddressError::LocalPartEmpty),
            ("john@", AddressError::DomainEmpty),
            ("john@doe@example.org", AddressError::DomainSyntax),
            (r#""john"doe@example.org"#, AddressError::LocalPartSyntax),
            ("john@[example.org]", AddressError::Literal),
            ("<john@example.org>", AddressError::LocalPartSyntax),
            ("john@example.org>", AddressError::DomainSyntax),
            (" john@example.org", AddressError::LocalPartSyntax),
            ("john@example.org ", AddressError::DomainSyntax),
            ("john\r\n@example.org", AddressError::LocalPartSyntax),
        ] {
            assert_eq!(Mailbox::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn whole_length() {
        let local = "l".repeat(64);
        let label = "d".repeat(63);
        let fits = format!("{local}@{label}.{label}.{}", "e".repeat(61));
        assert_eq!(fits.len(), 254);
        assert!(Mailbox::parse(&fits).is_ok());
        assert_eq!(Mailbox::parse(&format!("{fits}e")), Err(AddressError::TooLong));
    }

    #[test]
    fn serde_is_text() {
        let mailbox: Mailbox = serde_json::from_str(r#""\"a b\"@EXAMPLE.org""#).unwrap();
        assert_eq!(serde_json::to_string(&mailbox).unwrap(), r#""\"a b\"@example.org""#);
        assert!(serde_json::from_str::<Mailbox>(r#""nobody""#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_safe_and_what_parses_round_trips(text in "[a\"\\\\@.é\\[\\]:0-9 +-]{0,24}") {
            if let Ok(mailbox) = Mailbox::parse(&text) {
                prop_assert_eq!(Mailbox::parse(&mailbox.to_string()).unwrap(), mailbox);
            }
        }

        #[test]
        fn random_text_never_panics(text in "\\PC{0,80}") {
            let _ = Mailbox::parse(&text);
            let _ = Domain::parse(&text);
        }
    }
}
