//! Outbound delivery: what the queue holds for other servers is carried there, and who sent it hears of failures.
//!
//! [`Relay`] takes what is due, finds the next hop ([`route`]), tells the message to it ([`client`]), and stores for
//! each recipient what became of it: delivered, deferred until the [`schedule`] says, or failed, with a report to the
//! sender ([`dsn`]) in the same commit. What decides is pure; `Relay` and the client's driver are the only parts that
//! wait.
//!
//! TLS is opportunistic (RFC 7435): used wherever it is offered, whatever the certificate. Policies that ask for more
//! (DANE, MTA-STS, REQUIRETLS) are not known here yet, nor are logins at smarthosts, reports of delay and of success,
//! and a connection that carries several messages.

mod attempt;
pub mod client;
mod destination;
pub mod dsn;
mod errand;
mod error;
mod finding;
mod hands;
mod logins;
mod relay;
mod report;
pub mod route;
pub mod schedule;
mod security;
mod settle;
mod tally;

pub use error::RelayError;
pub use finding::{Fate, Finding, Speaker};
pub use relay::{Addressing, BoxFuture, Handles, Options, Relay};
pub use report::{Arrived, Reporter, Subject};
