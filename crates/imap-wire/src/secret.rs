//! Octets that must not show up in logs: passwords and SASL responses.

use std::fmt;
use zeroize::Zeroizing;

/// Octets that are wiped when dropped and whose `Debug` prints nothing of them.
///
/// Equality is for tests; it is not constant-time and must not decide about a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes octets over; they are wiped when the value is dropped.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The octets as text, if they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
