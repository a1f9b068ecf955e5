//! How well the connection to another server must be secured before it gets a message, and why.
//!
//! What decides, in this order: DANE (RFC 7672), else MTA-STS (RFC 8461), else that the domain had TLS before, else
//! nothing: TLS where it is offered (RFC 7435). A message with REQUIRETLS (RFC 8689) adds conditions to that, one with
//! `TLS-Required: No` lifts it.
//!
//! [`Policies`] fetches the facts: TLSA records, policies over HTTPS, what is remembered. [`HostPolicy`] judges: which
//! certificates end the handshake ([`HostPolicy::check`]) and what follows from how it went ([`HostPolicy::judge`]). The
//! judging is pure. What was decided has a reason that reads as a sentence.
//!
//! [`OwnPolicy`] is the other side: the MTA-STS policy that this server publishes.
//!
//! Not here: finding the hosts, connecting, and speaking SMTP (`relay`), and serving the own policy (`web`).

pub mod dane;
mod decision;
mod domain;
mod fetch;
mod host;
mod own;
mod policies;
pub mod sts;
mod verifier;

pub use decision::{Decision, Judgement, Outcome, Refusal, Verdict};
pub use domain::{DomainPolicy, Wish};
pub use fetch::FetchError;
pub use host::{HostPolicy, StartTls};
pub use own::OwnPolicy;
pub use policies::{Defer, Handles, HostChoice, Options, Policies};
pub use verifier::HandshakeCheck;
