//! Outbound delivery: what the queue holds for other servers is carried there, and who sent it hears of failures.
//!
//! [`Relay`] takes what is due, finds the next hop ([`route`]), tells the message to it ([`client`]), and stores for
//! each recipient what became of it: delivered, deferred until the [`schedule`] says, or failed, with a report to the
//! sender ([`dsn`]) in the same commit. What decides is pure; `Relay` and the client's driver are the only parts that
//! wait.
//!
//! What a connection must be like is `transport-policy`'s to say, host by host; the relay carries it out, and a
//! smarthost gets its password only over a connection whose certificate is verified. Connections carry several messages
//! while more of them wait, each destination has its share of connections and of what is in hand, and one that says
//! that it has enough to do gets less. [`Reporter`] also writes to senders of what is filed here.
//!
//! Not here: filing, forwarding and its rewriting of senders, and what operators do with the queue.

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
