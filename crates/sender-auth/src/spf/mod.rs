//! SPF (RFC 7208): which clients a domain lets send in its name.
//!
//! [`record`] reads policies, [`macros`] fills in what they leave open, [`check`] evaluates them. The explanation that
//! a policy may point to (`exp=`) is checked for its syntax and never fetched: nobody is refused because of SPF alone.

pub(crate) mod check;
mod macros;
mod record;
