//! SMTP for servers and for people: port 25 (RFC 5321) and submission (RFC 6409).
//!
//! [`session`] is the dialogue: lines in, actions out, no sockets. The driver moves octets
//! between it and the connection and is the same for both kinds of listener; what differs
//! stands in [`Inbound`] and [`Submission`], which answer the driver's questions: who may
//! send, who is a recipient, what becomes of a message.
//!
//! A message is accepted by `delivery::Intake`; when the client reads 250 it is durable.

mod addresses;
mod asked;
mod composed;
mod driver;
mod fixup;
mod inbound;
mod local;
mod received;
mod retry;
mod service;
pub mod session;
mod spool;
mod submission;

pub use inbound::Inbound;
pub use retry::{LostReplies, Retries};
pub use service::{Connection, Room};
pub use spool::SpoolRules;
pub use submission::Submission;
