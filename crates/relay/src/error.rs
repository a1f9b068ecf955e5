//! Why a relay cannot be set up.

use std::path::PathBuf;

use letterlock_address::AddressError;

/// Why a relay cannot be set up. Once it runs, it tells its errors to the log and goes on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The name by which it would greet other servers is none.
    #[error("{name:?} is no host name: {source}")]
    Hostname {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A file with a login at a smarthost cannot be used.
    #[error("[outbound.credentials] {} {reason}", file.display())]
    Login {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
