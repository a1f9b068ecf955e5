//! From a credential to a session and an unlocked mailbox, once for every protocol.
//!
//! Frontends run the SASL dialogue with [`sasl::Exchange`], hand the [`Credential`]
//! or [`sasl::Proof`] that comes out of it to [`Login::authenticate`] or [`Login::prove`], and get a [`Session`] that
//! carries the account's mailbox and keeps its keys alive. Limits are asked before any
//! expensive work, and an unknown user costs as much time as a wrong password.
//!
//! It does not know protocols' words, and it does not decide what a session may do.

mod attempt;
mod authenticate;
mod keys;
mod organisation;
mod salts;
pub mod sasl;
mod sessions;
mod unlock;

pub use authenticate::{Login, LoginError, Proven, Settings};
pub use salts::Salts;
pub use sessions::{Peer, Protocol, Session, SessionInfo};
pub use unlock::UnlockError;

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
