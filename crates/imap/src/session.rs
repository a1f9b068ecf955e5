//! The states of a session (RFC 9051 §3), and which command may come in which.

use letterlock_imap_wire::{Code, Command, MailboxName, NameForm};
use letterlock_login::Session;
use letterlock_mailbox::Handle;

use crate::outcome::Reply;
use crate::select::Selected;
use crate::view::Removals;

/// Where a session stands. Consumed by value: each command answers the next one.
pub(crate) enum State {
    /// Nobody is logged in.
    NotAuthenticated,
    /// STARTTLS was answered: the handshake comes next, then all is as at the beginning.
    Handshake,
    /// Somebody is logged in.
    Authenticated(User),
    /// And has a mailbox open.
    Selected(User, Box<Selected>),
    /// LOGOUT was answered.
    Logout,
}

impl State {
    /// Who is logged in.
    pub(crate) fn user(&self) -> Option<&User> {
        match self {
            Self::Authenticated(user) | Self::Selected(user, _) => Some(user),
            Self::NotAuthenticated | Self::Handshake | Self::Logout => None,
        }
    }
}

/// Which revision of IMAP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// IMAP4rev1: `\Recent`, SEARCH responses, names in modified UTF-7.
    Rev1,
    /// After `ENABLE IMAP4rev2`: ESEARCH responses, names in UTF-8.
    Rev2,
}

/// A logged-in client.
pub(crate) struct User {
    session: Session,
    dialect: Dialect,
}

impl User {
    /// Right after login.
    pub(crate) fn new(session: Session) -> Self {
        Self { session, dialect: Dialect::Rev1 }
    }

    /// The account's mail.
    pub(crate) fn mailbox(&self) -> &Handle {
        &self.session.mailbox
    }

    /// The revision in use.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Goes over to IMAP4rev2; there is no way back (RFC 9051 §6.3.1).
    pub(crate) fn enable_rev2(&mut self) {
        self.dialect = Dialect::Rev2;
    }

    /// How mailbox names stand on this session's wire.
    pub(crate) fn form(&self) -> NameForm {
        match self.dialect {
            Dialect::Rev1 => NameForm::ModifiedUtf7,
            Dialect::Rev2 => NameForm::Utf8,
        }
    }

    /// The name of a mailbox in Unicode.
    pub(crate) fn mailbox_name(&self, name: &MailboxName) -> Result<String, Reply> {
        name.decode(self.form())
            .ok_or_else(|| Reply::no("The mailbox name is malformed").with(Code::Cannot))
    }
}

/// The states in which a command makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// In every one.
    Always,
    /// Before login only.
    BeforeLogin,
    /// After login, with or without a mailbox.
    AfterLogin,
    /// With a mailbox only.
    WithMailbox,
}

/// RFC 9051 §6: the four groups of commands.
pub(crate) fn allowed(command: &Command) -> Allowed {
    match command {
        Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Allowed::Always,
        Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => {
            Allowed::BeforeLogin
        }
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Expunge
        | Command::UidExpunge(_)
        | Command::Search(_)
        | Command::Fetch(_)
        | Command::Store(_)
        | Command::Copy(_)
        | Command::Move(_) => Allowed::WithMailbox,
        Command::Enable(_)
        | Command::Select(_)
        | Command::Examine(_)
        | Command::Create { .. }
        | Command::Delete(_)
        | Command::Rename { .. }
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::List(_)
        | Command::Lsub { .. }
        | Command::Namespace
        | Command::Status { .. }
        | Command::Idle => Allowed::AfterLogin,
    }
}

/// The answer to a command that comes at the wrong time.
pub(crate) fn refusal(allowed: Allowed, state: &State) -> Option<Reply> {
    let text = match (allowed, state) {
        (Allowed::BeforeLogin, State::NotAuthenticated)
        | (Allowed::AfterLogin, State::Authenticated(_) | State::Selected(..))
        | (Allowed::WithMailbox, State::Selected(..))
        | (Allowed::Always, _) => return None,
        (Allowed::BeforeLogin, _) => "Already logged in",
        (Allowed::WithMailbox, State::Authenticated(_)) => "No mailbox is selected",
        (Allowed::AfterLogin | Allowed::WithMailbox, _) => "Log in first",
    };
    Some(Reply::bad(text))
}

/// Whether EXPUNGE responses may go out before the command's tagged answer: not while the client counts on its message
/// numbers. The UID forms are commands of their own (RFC 9051 §7.5.1).
pub(crate) fn removals(command: &Command) -> Removals {
    let numbered = match command {
        Command::Fetch(fetch) => !fetch.uid,
        Command::Store(store) => !store.uid,
        Command::Search(search) => !search.uid,
        _ => false,
    };
    if numbered { Removals::Held } else { Removals::Told }
}

/// Whether the client named messages by UID, so that unasked FETCH responses carry it, too.
pub(crate) fn speaks_uids(command: &Command) -> bool {
    match command {
        Command::Fetch(fetch) => fetch.uid,
        Command::Store(store) => store.uid,
        Command::Search(search) => search.uid,
        Command::Copy(copy) | Command::Move(copy) => copy.uid,
        Command::UidExpunge(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::command::parse;

    fn command(line: &str) -> Command {
        parse(format!("a {line}").as_bytes(), 10).unwrap().command
    }

    #[test]
    fn commands_belong_to_states() {
        let before = State::NotAuthenticated;
        for line in ["NOOP", "LOGOUT", "CAPABILITY", "STARTTLS", "LOGIN a b", "ID NIL"] {
            assert_eq!(refusal(allowed(&command(line)), &before), None, "{line}");
        }
        for line in ["SELECT INBOX", "IDLE", "ENABLE IMAP4rev2", "FETCH 1 FLAGS", "CLOSE"] {
            assert_eq!(
                refusal(allowed(&command(line)), &before),
                Some(Reply::bad("Log in first")),
                "{line}"
            );
        }
        assert!(refusal(allowed(&command("NOOP")), &State::Logout).is_none());
    }

    #[test]
    fn numbers_hold_during_numbered_commands() {
        for line in ["FETCH 1 FLAGS", "STORE 1 FLAGS ()", "SEARCH ALL"] {
            assert_eq!(removals(&command(line)), Removals::Held, "{line}");
            assert_eq!(removals(&command(&format!("UID {line}"))), Removals::Told, "{line}");
        }
        for line in ["NOOP", "CHECK", "COPY 1 x", "EXPUNGE", "IDLE", "STATUS x (SIZE)"] {
            assert_eq!(removals(&command(line)), Removals::Told, "{line}");
        }
    }
}
