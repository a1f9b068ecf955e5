//! Sockets for the protocols: listeners, TLS, streams and shutdown.
//!
//! - [`bind`] opens listeners, [`accept_loop`] serves one: it asks an [`Admission`] before any other work, and runs the
//!   handler of each connection as a task that [`Shutdown`] knows of.
//! - [`TrustedProxies`] are load balancers whose connections begin with a header of the PROXY protocol: the accept loop
//!   reads it before it asks anybody, so that all else goes by the client's own address.
//! - [`Stream`] is a connection, plain or TLS, and stays the same type after STARTTLS.
//! - [`Tls`] holds the server's certificate and changes it while running; [`ClientTls`] is the other side, for mail that
//!   goes out.
//!
//! What it does not do: it speaks no mail protocol, keeps no limits (that is `guard`, wired by the binary through
//! [`Admission`]) and resolves no names.

mod binding;
mod client;
mod error;
mod judge;
mod listen;
mod provider;
pub mod proxy;
mod shutdown;
mod stream;
mod tls;

pub use binding::ChannelBindings;
pub use client::{ClientTls, Verification};
pub use error::NetError;
pub use judge::{CertificateJudge, Presented, Trust};
pub use listen::{
    Admission, Permit, Refused, TrustedProxies, accept_loop, accept_loop_behind, bind,
};
pub use provider::crypto_provider;
pub use shutdown::{Shutdown, Tracked};
pub use stream::{Stream, connect};
pub use tls::{Audience, Tls};
