//! SMTP's wire format for servers and clients, without I/O.
//!
//! Everything here turns octets into values and back: command lines ([`mod@line`], [`command`]), replies
//! ([`reply`], [`reply_parser`]), what a server offers ([`ehlo`]), message data ([`data`]), the header section of a
//! message ([`header`]) and reports about deliveries ([`dsn`]). Nothing here keeps the state of a session, waits, or
//! decides policy; a session machine does, and it alone knows the order of commands (RFC 5321 §4.1.4).
//!
//! Lines end in CR LF and in nothing else. A bare CR or bare LF from a client is an error wherever it
//! stands, because two servers that disagree about line ends can be made to see different messages in the
//! same octets ("smuggling").

pub mod command;
pub mod data;
pub mod dsn;
pub mod ehlo;
pub mod header;
pub mod line;
pub mod reply;
pub mod reply_parser;
pub mod seven_bit;
pub mod standard;
pub mod xtext;

pub use command::{Command, CommandError};
pub use ehlo::{Capabilities, Extensions};
pub use reply::{EnhancedCode, Reply};
pub use reply_parser::ReplyParser;
pub use seven_bit::seven_bit;
