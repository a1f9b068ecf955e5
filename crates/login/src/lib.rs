//! From a credential to a session and an unlocked mailbox, once for every protocol.
//!
//! Frontends run the SASL dialogue with [`sasl::Exchange`], hand the [`Credential`]
//! that comes out of it to [`Login::authenticate`], and get a [`Session`] that carries
//! the account's mailbox and keeps its keys alive. Limits are asked before any
//! expensive work, and an unknown user costs as much time as a wrong password.
//!
//! It does not know protocols' words, and it does not decide what a session may do.

mod authenticate;
mod keys;
pub mod sasl;
mod sessions;

pub use authenticate::{Login, LoginError, Settings, UnlockError};
pub use sessions::{Peer, Protocol, Session, SessionInfo};

use zeroize::Zeroizing;

/// What a client claims to be and how it proves it.
///
/// `Debug` shows the identity only.
pub struct Credential {
    /// The authentication identity: an address of ours.
    pub identity: String,
    /// The identity to act as; accepted only when empty or the same (RFC 4616 §2).
    pub authzid: Option<String>,
    /// The password or app password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("identity", &self.identity).finish_non_exhaustive()
    }
}
