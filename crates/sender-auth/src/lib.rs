//! Who sent a message: SPF (RFC 7208), DKIM (RFC 6376, 8301, 8463) and DMARC (RFC 9989) of what comes in, the
//! `Authentication-Results` field (RFC 8601) about it, and DKIM signatures on what goes out.
//!
//! [`Verifier`] fetches the facts, [`Report::verdict`] judges them and is pure. The library that does the protocols
//! is named in this crate alone. Not here: ARC, aggregate reports, and what content looks like.

mod dkim;
mod report;
mod results;
mod sign;
mod verify;

pub use report::{
    Dkim, DkimOutcome, Dmarc, DmarcOutcome, Policy, Report, Spf, SpfCheck, SpfOutcome, Verdict,
};
pub use results::strip_own_results;
pub use sign::{KeyAlgorithm, NewKey, SignError, SigningKey, generate_key, sign};
pub use verify::Verifier;
