//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3): the mailbox that a session works on.

use std::borrow::Cow;
use std::collections::BTreeSet;

use letterlock_imap_wire::command::SelectCommand;
use letterlock_imap_wire::mailbox_name::SEPARATOR;
use letterlock_imap_wire::response::{
    ListKind, ListResponse, exists, flags_line, list as put_list, recent,
};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{Code, Flag};
use letterlock_mailbox::{FolderId, MAX_KEYWORDS, ModSeq, SelectMode};
use tokio::sync::watch;

use crate::connection::{Connection, stay};
use crate::context::Contexts;
use crate::flags::SYSTEM;
use crate::names::List;
use crate::outcome::{Ended, Reply, Stop};
use crate::resync::resync;
use crate::session::{Dialect, Naming, Resync, State, User};
use crate::view::View;
use crate::wire::Wire;

/// A selected mailbox.
pub(crate) struct Selected {
    pub(crate) folder: FolderId,
    pub(crate) mode: SelectMode,
    pub(crate) view: View,
    /// Moves when anybody changes the mailbox, and closes when it is deleted.
    pub(crate) feed: watch::Receiver<ModSeq>,
    /// Names it and no other mailbox.
    pub(crate) uid_validity: u32,
    /// Searches that the client follows.
    pub(crate) contexts: Contexts,
    /// UIDs of messages that the client put here itself, and has not been told of yet.
    pub(crate) own: NumberSet,
    /// The keywords that the client knows of.
    keywords: BTreeSet<String>,
}

impl Selected {
    /// Whether EXAMINE opened it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.mode == SelectMode::ReadOnly
    }

    /// Whether the mailbox was deleted; with a closed account that cannot be told apart.
    pub(crate) fn is_deleted(&self) -> bool {
        self.feed.has_changed().is_err()
    }

    /// Tells of the keywords that are new to the client (RFC 9051 §7.3.5), before a response names them.
    pub(crate) fn introduce<'k>(
        &mut self,
        keywords: impl IntoIterator<Item = &'k String>,
        out: &mut Vec<u8>,
    ) {
        let before = self.keywords.len();
        for keyword in keywords {
            if !self.keywords.contains(keyword) {
                self.keywords.insert(keyword.clone());
            }
        }
        if self.keywords.len() > before {
            self.tell_flags(out);
        }
    }

    /// Takes note of keywords that the client set without wanting to hear of it. That they were the last ones, it has to
    /// hear.
    pub(crate) fn note<'k>(
        &mut self,
        keywords: impl IntoIterator<Item = &'k String>,
        out: &mut Vec<u8>,
    ) {
        let had_room = self.has_room();
        self.keywords.extend(keywords.into_iter().cloned());
        if had_room && !self.has_room() {
            self.tell_flags(out);
        }
    }

    /// Tells that no more keywords can be made (RFC 9051 §7.1, PERMANENTFLAGS).
    pub(crate) fn tell_full(&self, out: &mut Vec<u8>) {
        self.put_flags(false, out);
    }

    /// Whether there may be more keywords, as far as the session knows.
    fn has_room(&self) -> bool {
        self.keywords.len() < MAX_KEYWORDS
    }

    fn tell_flags(&self, out: &mut Vec<u8>) {
        self.put_flags(self.has_room(), out);
    }

    fn put_flags(&self, any: bool, out: &mut Vec<u8>) {
        let system = SYSTEM.map(|(_, flag)| flag);
        let all: Vec<Flag> =
            system.into_iter().chain(self.keywords.iter().cloned().map(Flag::Keyword)).collect();
        flags_line(out, &all);
        let code = match self.mode {
            SelectMode::ReadWrite => Code::PermanentFlags { flags: all, any },
            SelectMode::ReadOnly => Code::PermanentFlags { flags: Vec::new(), any: false },
        };
        Reply::ok("These flags can be changed").with(code).write(out, None);
    }
}

impl Connection<'_> {
    /// SELECT closes what was open, even if it fails itself (RFC 9051 §6.3.2).
    pub(crate) async fn reselect(
        &mut self,
        user: User,
        before: Option<Box<Selected>>,
        command: &SelectCommand,
        mode: SelectMode,
    ) -> Result<(State, Reply), Ended> {
        if command.qresync.is_some() && user.resync() < Resync::Qresync {
            return Ok((stay(user, before), Reply::bad("QRESYNC needs ENABLE QRESYNC")));
        }
        let mut user = user;
        if let Some(before) = before {
            closed(&mut self.wire.out);
            user.notify.left(&before);
        }
        match select(&user, command, mode, &mut self.wire).await {
            Ok((selected, reply)) => Ok((State::Selected(user, selected), reply)),
            Err(Stop::Refuse(reply)) => Ok((State::Authenticated(user), reply)),
            Err(Stop::End(ended)) => Err(ended),
        }
    }
}

/// RFC 9051 §7.1, CLOSED: what follows is about another mailbox, or none.
pub(crate) fn closed(out: &mut Vec<u8>) {
    Reply::ok(Cow::Borrowed("The mailbox was closed")).with(Code::Closed).write(out, None);
}

/// Opens a mailbox and tells of it.
pub(crate) async fn select(
    user: &User,
    command: &SelectCommand,
    mode: SelectMode,
    wire: &mut Wire,
) -> Result<(Box<Selected>, Reply), Stop> {
    let name = user.mailbox_name(&command.mailbox)?;
    let taking = if takes_recent(user.dialect(), mode) { mode } else { SelectMode::ReadOnly };
    let found = user.mailbox().select(&name, taking).await?;
    let mut feed = user.mailbox().watch(found.folder);
    // What happened between the two calls is asked for at the next opportunity.
    feed.mark_changed();
    let recent_here = recent_here(user.dialect(), mode, found.recent, found.uid_next);
    let mut selected = Box::new(Selected {
        folder: found.folder,
        mode,
        view: View::new(found.uids, recent_here, found.highest_modseq),
        feed,
        uid_validity: found.uid_validity,
        contexts: Contexts::default(),
        own: NumberSet::new(),
        keywords: found.keywords.into_iter().collect(),
    });
    let out = &mut wire.out;
    selected.tell_flags(out);
    exists(out, selected.view.count());
    if user.dialect() == Dialect::Rev1 {
        recent(out, selected.view.recent());
        // RFC 9586 §3.1: no numbers.
        let unseen = found.unseen.filter(|_| user.naming() == Naming::Any);
        if let Some(number) = unseen.and_then(|uid| selected.view.number_of(uid)) {
            Reply::ok("First unseen message").with(Code::Unseen(number)).write(out, None);
        }
    }
    Reply::ok("UIDs are valid").with(Code::UidValidity(found.uid_validity)).write(out, None);
    Reply::ok("Predicted next UID").with(Code::UidNext(found.uid_next)).write(out, None);
    let modseq = Code::HighestModSeq(found.highest_modseq.0);
    Reply::ok("Modification sequences are kept").with(modseq).write(out, None);
    let id = Code::MailboxId(found.uid_validity);
    Reply::ok("The mailbox has this name for ever").with(id).write(out, None);
    if user.dialect() == Dialect::Rev2 {
        // The name as it was sent: even INBOX may be written differently (RFC 9051 §8).
        let asked = command.mailbox.decode_pattern(user.form()).unwrap_or(name);
        put_name(user, &List::read(user).await?, &asked, &found.name, out);
    }
    if let Some(known) =
        command.qresync.as_ref().filter(|known| known.uid_validity == found.uid_validity)
    {
        resync(user, &mut selected, known, wire).await?;
    }
    let code = if mode == SelectMode::ReadOnly { Code::ReadOnly } else { Code::ReadWrite };
    Ok((selected, Reply::ok("Mailbox is selected").with(code)))
}

/// Whether the session is one that takes what is `\Recent` (RFC 3501 §2.3.2). Only clients of IMAP4rev1 know what that is,
/// and EXAMINE takes nothing away from others.
pub(crate) fn takes_recent(dialect: Dialect, mode: SelectMode) -> bool {
    dialect == Dialect::Rev1 && mode == SelectMode::ReadWrite
}

/// The UIDs that are `\Recent` in a new session. SELECT took those from `first` up to now; after EXAMINE, all that comes is
/// recent, too.
fn recent_here(dialect: Dialect, mode: SelectMode, first: u32, uid_next: u32) -> NumberSet {
    let end = match (dialect, mode) {
        (Dialect::Rev2, _) => return NumberSet::new(),
        (Dialect::Rev1, SelectMode::ReadWrite) => uid_next,
        (Dialect::Rev1, SelectMode::ReadOnly) => u32::MAX,
    };
    let last = end.saturating_sub(1);
    NumberSet::from_ranges((first <= last).then_some((first, last)))
}

/// The LIST response that IMAP4rev2 demands, with OLDNAME where the server writes the name differently (RFC 9051 §6.3.2,
/// §6.3.9.7).
fn put_name(user: &User, list: &List, asked: &str, name: &str, out: &mut Vec<u8>) {
    let response = ListResponse {
        kind: ListKind::List,
        attributes: &list.attributes(name),
        name,
        child_info: &[],
        old_name: (asked != name).then_some(asked),
    };
    put_list(out, user.form(), &response);
}

/// Tells a client of IMAP4rev2 that a name it used is written differently (RFC 9051 §6.3.9.7). The command is done: if the
/// list cannot be read, the client finds the name when it lists the mailboxes.
pub(crate) async fn tell_name(user: &User, asked: &str, name: &str, out: &mut Vec<u8>) {
    // A trailing separator only says that others will follow (RFC 9051 §6.3.4).
    let asked = asked.strip_suffix(SEPARATOR).unwrap_or(asked);
    if user.dialect() == Dialect::Rev2
        && asked != name
        && let Ok(list) = List::read(user).await
    {
        put_name(user, &list, asked, name, out);
    }
}
