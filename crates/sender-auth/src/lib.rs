//! Who sent a message: SPF (RFC 7208), DKIM (RFC 6376, 8301, 8463), DMARC (RFC 9989) and ARC (RFC 8617) of what comes in,
//! the `Authentication-Results` field (RFC 8601) about it, DKIM signatures on what goes out, and ARC seals on what is
//! forwarded.
//!
//! [`Verifier`] fetches the facts, [`Report::verdict`] judges them and is pure. The library that does most of
//! the protocols is named in this crate alone; SPF is ours. Not here: aggregate reports, and what content looks like.

mod arc;
mod authres;
mod dkim;
mod known;
mod names;
mod report;
mod results;
mod seal;
mod sign;
mod spf;
mod strip;
mod txt;
mod verify;

pub use known::forget_idle_keys;
pub use report::{
    Arc, ArcOutcome, Dkim, DkimOutcome, Dmarc, DmarcOutcome, Policy, Published, Report, Sealer,
    Spf, SpfCheck, SpfOutcome, Verdict,
};
pub use results::submission_results;
pub use seal::{Attested, Sealing, seal};
pub use sign::{KeyAlgorithm, NewKey, SignError, SigningKey, generate_key, sign};
pub use strip::strip_own_results;
pub use verify::Verifier;
