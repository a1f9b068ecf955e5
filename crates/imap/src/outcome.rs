//! How commands and sessions end.

use std::borrow::Cow;

use letterlock_imap_wire::Code;
use letterlock_imap_wire::response::{Status, status_line};
use letterlock_mailbox::MailboxError;

/// The tagged answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

impl Reply {
    /// It was done.
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into() }
    }

    /// It could not be done.
    pub(crate) fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::No, code: None, text: text.into() }
    }

    /// It makes no sense, or not now.
    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, code: None, text: text.into() }
    }

    /// The same with a response code.
    pub(crate) fn with(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Appends it to the output.
    pub(crate) fn write(&self, out: &mut Vec<u8>, tag: Option<&str>) {
        status_line(out, tag, self.status, self.code.as_ref(), &self.text);
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed the connection, stopped reading or logged out: there is nothing more to say.
    Gone,
    /// It is told so: `* BYE` with this text.
    Bye(Cow<'static, str>),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        tracing::debug!(%error, "the connection failed");
        Self::Gone
    }
}

/// What ends a handler early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The command with this answer.
    Refuse(Reply),
    /// The session.
    End(Ended),
}

/// A handler's result; an early end of the command alone is an answer, too.
pub(crate) type Outcome = Result<Reply, Stop>;

/// The tagged answer, or the session's end.
pub(crate) fn settle(outcome: Outcome) -> Result<Reply, Ended> {
    match outcome {
        Ok(reply) | Err(Stop::Refuse(reply)) => Ok(reply),
        Err(Stop::End(ended)) => Err(ended),
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::End(ended)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::End(error.into())
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Refuse(reply)
    }
}

/// Each error as its response code (RFC 9051 §7.1) says it.
impl From<MailboxError> for Stop {
    fn from(error: MailboxError) -> Self {
        let text = error.to_string();
        let (code, text) = match error {
            MailboxError::Locked => return Self::End(Ended::Bye(LOCKED.into())),
            MailboxError::NoSuchFolder => (Code::NonExistent, "No such mailbox".into()),
            MailboxError::AlreadyExists => (Code::AlreadyExists, "Mailbox exists already".into()),
            MailboxError::BadName(_) | MailboxError::Forbidden => (Code::Cannot, text),
            MailboxError::SpecialUse => (Code::UseAttr, text),
            MailboxError::TooBig { .. } => (Code::TooBig, text),
            MailboxError::OverQuota => (Code::OverQuota, "Over quota".into()),
            MailboxError::Limit(_) => (Code::Limit, text),
            MailboxError::RolledBack => (Code::Alert, text),
            MailboxError::Damaged(_) => {
                tracing::error!(%error, "damaged mailbox");
                (Code::Corruption, "Stored data is damaged; please tell your administrator".into())
            }
            MailboxError::Full | MailboxError::Storage(_) => {
                tracing::error!(%error, "mailbox storage failed");
                (Code::Unavailable, "Storage is not available now, try again later".into())
            }
        };
        Self::Refuse(Reply::no(text).with(code))
    }
}

/// The last words to a session whose mailbox was locked.
pub(crate) const LOCKED: &str = "The mailbox was locked";
