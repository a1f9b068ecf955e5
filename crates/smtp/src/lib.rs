//! SMTP for servers and for people: port 25 (RFC 5321) and submission (RFC 6409).
//!
//! [`session`] is the dialogue: lines in, actions out, no sockets. The driver moves octets
//! between it and the connection and is the same for both kinds of listener; what differs
//! stands in [`Inbound`] and [`Submission`], which answer the driver's questions: who may
//! send, who is a recipient, what becomes of a message.
//!
//! A message is accepted by `delivery::Intake`; when the client reads 250 it is durable.

mod driver;
mod fixup;
mod inbound;
mod received;
mod service;
pub mod session;
mod spool;
mod submission;

pub use inbound::Inbound;
pub use service::Connection;
pub use spool::SpoolRules;
pub use submission::Submission;
