//! Why a text is not an address.

use thiserror::Error;

/// Why a text is not an address. The text itself is not repeated, so the error may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `@` between a local part and a domain.
    #[error("an address needs a local part, an @ and a domain")]
    MissingAt,
    /// Nothing stands before the `@`, or only an empty pair of quotes.
    #[error("the part before the @ is empty")]
    LocalPartEmpty,
    /// The local part is neither a dot-string nor a quoted-string (RFC 5321 §4.1.2, RFC 6531 §3.3).
    #[error("the part before the @ has a character or a dot where none is allowed")]
    LocalPartSyntax,
    /// The local part has more octets than [`LocalPart::MAX_OCTETS`](crate::LocalPart::MAX_OCTETS).
    #[error("the part before the @ is longer than 128 octets")]
    LocalPartTooLong,
    /// Nothing stands after the `@`.
    #[error("the domain is empty")]
    DomainEmpty,
    /// The domain is not a host name, nor one in Unicode (RFC 5321 §2.3.5, UTS 46).
    #[error("the domain is not a valid host name")]
    DomainSyntax,
    /// The domain, or one of its labels, is longer than DNS allows (RFC 1035 §2.3.4).
    #[error("the domain or one of its labels is too long")]
    DomainTooLong,
    /// What stands in square brackets is no IPv4 address, nor an IPv6 one with its tag (RFC 5321 §4.1.3).
    #[error("the address in square brackets is not valid")]
    Literal,
    /// The whole address does not fit a path of 256 octets with its angle brackets (RFC 5321 §4.5.3.1.3).
    #[error("the address is longer than 254 octets")]
    TooLong,
}
