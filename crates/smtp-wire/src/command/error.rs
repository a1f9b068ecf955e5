//! Why a line is no command, and what to answer.

use letterlock_address::AddressError;
use thiserror::Error;

use crate::reply::{EnhancedCode, Reply};
use crate::standard;

/// Why a line is no command. `Display` is the public text of [`reply`](Self::reply).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The verb is not known, or there is none.
    #[error("Command not recognised")]
    Unknown,
    /// The verb is known and never offered: TURN, SEND, ETRN and their like.
    #[error("Command not implemented")]
    NotImplemented,
    /// Octets that are not UTF-8 (RFC 6531 §3.1).
    #[error("Command is not valid UTF-8")]
    NotUtf8,
    /// A command that takes no argument has one (RFC 5321 §4.1.1).
    #[error("{0} takes no argument")]
    NoArgument(&'static str),
    /// The argument is missing or has the wrong form; the text shows the right one.
    #[error("Syntax: {0}")]
    Syntax(&'static str),
    /// The reverse-path is no mailbox.
    #[error("Bad sender address: {0}")]
    Sender(AddressError),
    /// The forward-path is no mailbox.
    #[error("Bad recipient address: {0}")]
    Recipient(AddressError),
    /// A non-ASCII reverse-path without the parameter SMTPUTF8, or a recipient's where it was not offered.
    #[error("Non-ASCII address without SMTPUTF8")]
    NonAscii,
    /// A parameter that was not offered. The name holds letters, digits and hyphens only.
    #[error("Parameter {0} not recognised or not offered")]
    UnknownParameter(String),
    /// A parameter with a value that it cannot have, or without one that it needs.
    #[error("Bad value for parameter {0}")]
    BadParameter(&'static str),
    /// A parameter that stands twice.
    #[error("Parameter {0} given twice")]
    Duplicate(&'static str),
    /// What stands behind the path is no list of parameters.
    #[error("Malformed parameters")]
    MalformedParameters,
}

impl CommandError {
    /// The reply: code, enhanced code and public text.
    pub fn reply(&self) -> Reply {
        let (code, subject, detail) = match self {
            Self::Unknown | Self::NotUtf8 => (500, 5, 2),
            Self::NotImplemented => return standard::not_implemented(),
            Self::NoArgument(_) | Self::Syntax(_) => (501, 5, 4),
            Self::Sender(_) => (501, 1, 7),
            Self::Recipient(_) => (501, 1, 3),
            Self::NonAscii => return standard::utf8_needs_extension(),
            Self::UnknownParameter(_) => (555, 5, 4),
            Self::BadParameter(_) | Self::Duplicate(_) | Self::MalformedParameters => (501, 5, 4),
        };
        Reply::new(code, EnhancedCode::new(5, subject, detail), self.to_string())
    }
}
