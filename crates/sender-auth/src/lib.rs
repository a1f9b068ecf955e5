//! Who sent a message: SPF (RFC 7208), DKIM (RFC 6376, 8301, 8463) and DMARC (RFC 9989) of what comes in, the
//! `Authentication-Results` field (RFC 8601) about it, and DKIM signatures on what goes out.
//!
//! [`Verifier`] fetches the facts, [`Report::verdict`] judges them and is pure. The library that does the protocols
//! is named in this crate alone. Not here: ARC, aggregate reports, and what content looks like.

mod arc;
mod authres;
mod dkim;
mod names;
mod report;
mod results;
mod seal;
mod sign;
mod spf;
mod txt;
mod verify;

pub use report::{
    Arc, ArcOutcome, Dkim, DkimOutcome, Dmarc, DmarcOutcome, Policy, Published, Report, Sealer,
    Spf, SpfCheck, SpfOutcome, Verdict,
};
pub use results::{strip_own_results, submission_results};
pub use seal::{Attested, Sealing, seal};
pub use sign::{KeyAlgorithm, NewKey, SignError, SigningKey, generate_key, sign};
pub use verify::Verifier;
