//! The two paths of an SMTP envelope, as values. Their angle brackets belong to the wire.

use std::fmt;
use std::str::FromStr;

use crate::{AddressError, Mailbox};

/// Where failure reports go: nowhere (`<>`, RFC 5321 §4.5.5) or to a mailbox.
/// As text it is empty or the address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`: no report may be sent.
    Null,
    /// The sender of the envelope.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox, unless the path is null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether only a peer with SMTPUTF8 can be given this path.
    pub fn needs_smtputf8(&self) -> bool {
        self.mailbox().is_some_and(Mailbox::needs_smtputf8)
    }
}

/// Who receives: a mailbox, or `postmaster` without a domain, which every server accepts (RFC 5321 §4.5.1).
/// As text it is `postmaster` or the address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardPath {
    /// The bare `<Postmaster>`.
    Postmaster,
    /// A recipient of the envelope.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// The mailbox, unless this is the bare postmaster.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Postmaster => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether only a peer with SMTPUTF8 can be given this path.
    pub fn needs_smtputf8(&self) -> bool {
        self.mailbox().is_some_and(Mailbox::needs_smtputf8)
    }
}

impl FromStr for ReversePath {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::Null) } else { Mailbox::parse(text).map(Self::Mailbox) }
    }
}

impl FromStr for ForwardPath {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.eq_ignore_ascii_case("postmaster") {
            Ok(Self::Postmaster)
        } else {
            Mailbox::parse(text).map(Self::Mailbox)
        }
    }
}

impl From<Mailbox> for ReversePath {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

impl From<Mailbox> for ForwardPath {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("postmaster"),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_path() {
        assert_eq!("".parse(), Ok(ReversePath::Null));
        assert_eq!(ReversePath::Null.to_string(), "");
        let path: ReversePath = "a@example.org".parse().unwrap();
        assert_eq!(path.mailbox().unwrap().to_string(), "a@example.org");
        assert_eq!(path.to_string(), "a@example.org");
        assert!(!path.is_null());
        assert_eq!(serde_json::to_string(&ReversePath::Null).unwrap(), "\"\"");
        assert!("a".parse::<ReversePath>().is_err());
    }

    #[test]
    fn forward_path() {
        assert_eq!("PostMaster".parse(), Ok(ForwardPath::Postmaster));
        assert_eq!(ForwardPath::Postmaster.to_string(), "postmaster");
        assert_eq!("".parse::<ForwardPath>(), Err(AddressError::MissingAt));
        assert_eq!("other".parse::<ForwardPath>(), Err(AddressError::MissingAt));
        let path: ForwardPath = serde_json::from_str("\"jöran@example.org\"").unwrap();
        assert!(path.needs_smtputf8());
    }
}
