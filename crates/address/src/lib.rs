//! Mail addresses: [`Domain`], [`LocalPart`], [`Mailbox`], the two SMTP paths, and the rewriting of senders when mail
//! is passed on ([`Srs`]).
//!
//! One strict grammar serves every caller: RFC 5321 §4.1.2 with the extensions of RFC 6531 §3.3
//! (SMTPUTF8), without comments, folding white space or display names. What a type holds is
//! normalised, so that equal destinations are equal values: a domain is its lower-case A-label form,
//! a local part is decoded (no quotes, no backslashes) and keeps its case.
//!
//! Angle brackets, source routes and ESMTP parameters belong to SMTP's wire format and are not known
//! here; neither is the header syntax of RFC 5322.

mod domain;
mod error;
mod local;
mod mailbox;
mod path;
mod srs;
mod text;

pub use domain::Domain;
pub use error::AddressError;
pub use local::LocalPart;
pub use mailbox::Mailbox;
pub use path::{ForwardPath, ReversePath};
pub use srs::{Srs, SrsError, is_rewritten};
