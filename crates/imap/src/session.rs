//! The states of a session (RFC 9051 §3), and which command may come in which.

use std::sync::Arc;

use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::response::MessageName;
use letterlock_imap_wire::{Code, Command, MailboxName, NameForm, SearchKey, SequenceSet};
use letterlock_login::Session;
use letterlock_mailbox::Handle;

use crate::capability::Capabilities;
use crate::notify::Notify;
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

    /// Who is logged in, and the mailbox that is open.
    pub(crate) fn parts_mut(&mut self) -> Option<(&mut User, Option<&mut Selected>)> {
        match self {
            Self::Authenticated(user) => Some((user, None)),
            Self::Selected(user, selected) => Some((user, Some(selected))),
            Self::NotAuthenticated | Self::Handshake | Self::Logout => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn user_mut(&mut self) -> Option<&mut User> {
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

/// What a client wants to know of modification sequences (RFC 7162). There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resync {
    /// Nothing.
    Off,
    /// Each FETCH response that was not asked for carries MODSEQ.
    Condstore,
    /// And the UID; VANISHED takes the place of EXPUNGE.
    Qresync,
}

/// How messages are named on a session's wire. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By number or UID, as the client likes.
    Any,
    /// By UID, and never by number (RFC 9586).
    Uids,
}

/// A logged-in client.
pub(crate) struct User {
    session: Session,
    dialect: Dialect,
    resync: Resync,
    naming: Naming,
    accepts_utf8: bool,
    name: String,
    /// The largest message that APPEND takes.
    append_limit: u64,
    capabilities: Arc<Capabilities>,
    /// Which events the client wants to hear of.
    pub(crate) notify: Notify,
}

impl User {
    /// Right after login.
    pub(crate) fn new(
        session: Session,
        append_limit: u64,
        capabilities: Arc<Capabilities>,
    ) -> Self {
        let name = session.account.address.to_string();
        Self {
            session,
            dialect: Dialect::Rev1,
            resync: Resync::Off,
            naming: Naming::Any,
            accepts_utf8: false,
            name,
            append_limit,
            capabilities,
            notify: Notify::Usual,
        }
    }

    /// What this session is offered.
    pub(crate) fn capabilities(&self) -> &Arc<Capabilities> {
        &self.capabilities
    }

    /// The account's address: its identifier in access rights.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The largest message that APPEND takes, in octets.
    pub(crate) fn append_limit(&self) -> u64 {
        self.append_limit
    }

    /// Whether UTF8=ACCEPT was enabled (RFC 6855).
    pub(crate) fn accepts_utf8(&self) -> bool {
        self.accepts_utf8
    }

    /// After `ENABLE UTF8=ACCEPT`.
    pub(crate) fn accept_utf8(&mut self) {
        self.accepts_utf8 = true;
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

    /// What the client wants to know of modification sequences.
    pub(crate) fn resync(&self) -> Resync {
        self.resync
    }

    /// Wants to know at least that much from now on; tells whether that is new.
    pub(crate) fn enable_resync(&mut self, resync: Resync) -> bool {
        let more = resync > self.resync;
        self.resync = resync.max(self.resync);
        more
    }

    /// How messages are named.
    pub(crate) fn naming(&self) -> Naming {
        self.naming
    }

    /// After `ENABLE UIDONLY`.
    pub(crate) fn name_by_uid(&mut self) {
        self.naming = Naming::Uids;
    }

    /// What a response about a message calls it.
    pub(crate) fn message_name(&self, number: u32, uid: u32) -> MessageName {
        match self.naming {
            Naming::Any => MessageName::Number(number),
            Naming::Uids => MessageName::Uid(uid),
        }
    }

    /// Whether removals are told by VANISHED (RFC 7162 §3.2.10, RFC 9586 §3.3).
    pub(crate) fn hears_vanished(&self) -> bool {
        self.resync == Resync::Qresync || self.naming == Naming::Uids
    }

    /// How mailbox names stand on this session's wire.
    pub(crate) fn form(&self) -> NameForm {
        match self.dialect {
            Dialect::Rev1 if !self.accepts_utf8 => NameForm::ModifiedUtf7,
            Dialect::Rev1 | Dialect::Rev2 => NameForm::Utf8,
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
        Command::Capability
        | Command::Noop
        | Command::Logout
        | Command::Id(_)
        | Command::Language(_) => Allowed::Always,
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
        | Command::Move(_)
        | Command::Sort(_)
        | Command::Thread(_)
        | Command::CancelUpdate(_) => Allowed::WithMailbox,
        Command::Enable(_)
        | Command::Unauthenticate
        | Command::MultiSearch(_)
        | Command::Notify(_)
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
        | Command::Compress(_)
        | Command::Quota(_)
        | Command::Acl(_)
        | Command::GetMetadata(_)
        | Command::SetMetadata(_)
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

/// The answer to a command with message numbers, for a client that said it would use none (RFC 9586 §3).
pub(crate) fn numbers_refused(command: &Command, user: Option<&User>) -> Option<Reply> {
    let refused = user.is_some_and(|user| user.naming == Naming::Uids) && uses_numbers(command);
    refused.then(uid_required)
}

/// See [`numbers_refused`].
pub(crate) fn uid_required() -> Reply {
    Reply::bad("Name messages by UID").with(Code::UidRequired)
}

/// Whether a command names messages by number, or would be answered with numbers.
fn uses_numbers(command: &Command) -> bool {
    match command {
        Command::Fetch(fetch) => !fetch.uid,
        Command::Store(store) => !store.uid,
        Command::Copy(copy) | Command::Move(copy) => !copy.uid,
        Command::Search(search) => !search.uid || asks_numbers(&search.program.key),
        Command::MultiSearch(multi) => asks_numbers(&multi.search.program.key),
        Command::Sort(sort) => !sort.uid || asks_numbers(&sort.program.key),
        Command::Thread(thread) => !thread.uid || asks_numbers(&thread.program.key),
        Command::Select(select) | Command::Examine(select) => {
            select.qresync.as_ref().is_some_and(|known| known.sequence_match.is_some())
        }
        _ => false,
    }
}

/// `$` stands for messages, not for numbers.
pub(crate) fn asks_numbers(key: &SearchKey) -> bool {
    match key {
        SearchKey::Sequence(set) => *set != SequenceSet::Saved,
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(asks_numbers),
        SearchKey::Not(key) | SearchKey::Extended(ExtendedKey::Fuzzy(key)) => asks_numbers(key),
        _ => false,
    }
}

/// Whether EXPUNGE responses may go out before the command's tagged answer: not while the client counts on its message
/// numbers. The UID forms are commands of their own (RFC 9051 §7.5.1).
pub(crate) fn removals(command: &Command) -> Removals {
    let numbered = match command {
        Command::Fetch(fetch) => !fetch.uid,
        Command::Store(store) => !store.uid,
        // RFC 7162 §3.2.10.2: nor while a UID SEARCH has numbers among its keys.
        Command::Search(search) => !search.uid || asks_numbers(&search.program.key),
        Command::Sort(sort) => !sort.uid || asks_numbers(&sort.program.key),
        Command::Thread(thread) => !thread.uid || asks_numbers(&thread.program.key),
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
        Command::Sort(sort) => sort.uid,
        Command::Thread(thread) => thread.uid,
        Command::Copy(copy) | Command::Move(copy) => copy.uid,
        Command::UidExpunge(_) | Command::MultiSearch(_) => true,
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
    fn some_commands_are_about_numbers() {
        for line in [
            "FETCH 1 FLAGS",
            "STORE 1 FLAGS ()",
            "COPY 1 x",
            "MOVE 1 x",
            "SEARCH ALL",
            "UID SEARCH NOT (OR ALL 1:5)",
            "UID SORT (DATE) UTF-8 5",
            "UID THREAD REFERENCES UTF-8 1",
            "SELECT x (QRESYNC (1 1 1:5 (1 1)))",
        ] {
            assert!(uses_numbers(&command(line)), "{line}");
        }
        for line in
            ["UID FETCH 1 FLAGS", "UID SEARCH $ UID 1", "EXPUNGE", "SELECT x (QRESYNC (1 1))"]
        {
            assert!(!uses_numbers(&command(line)), "{line}");
        }
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
        for line in ["SEARCH NOT 1:5", "SORT (DATE) UTF-8 5", "THREAD REFERENCES UTF-8 OR 1 ALL"] {
            assert_eq!(removals(&command(&format!("UID {line}"))), Removals::Held, "{line}");
        }
        assert_eq!(removals(&command("UID SEARCH $")), Removals::Told);
    }
}
