//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3): the mailbox that a session works on.

use std::collections::BTreeSet;

use letterlock_imap_wire::command::SelectCommand;
use letterlock_imap_wire::response::{ListKind, ListResponse, exists, flags_line, list, recent};
use letterlock_imap_wire::{Code, Flag};
use letterlock_mailbox::{FolderId, ModSeq, SelectMode};
use tokio::sync::watch;

use crate::flags::SYSTEM;
use crate::outcome::{Reply, Stop};
use crate::session::{Dialect, User};
use crate::view::View;

/// A selected mailbox.
pub(crate) struct Selected {
    pub(crate) folder: FolderId,
    pub(crate) mode: SelectMode,
    pub(crate) view: View,
    /// Moves when anybody changes the mailbox, and closes when it is deleted.
    pub(crate) feed: watch::Receiver<ModSeq>,
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

    fn tell_flags(&self, out: &mut Vec<u8>) {
        let system = SYSTEM.map(|(_, flag)| flag);
        let all: Vec<Flag> =
            system.into_iter().chain(self.keywords.iter().cloned().map(Flag::Keyword)).collect();
        flags_line(out, &all);
        let code = match self.mode {
            SelectMode::ReadWrite => Code::PermanentFlags { flags: all, any: true },
            SelectMode::ReadOnly => Code::PermanentFlags { flags: Vec::new(), any: false },
        };
        Reply::ok("These flags can be changed").with(code).write(out, None);
    }
}

/// Opens a mailbox and tells of it.
pub(crate) async fn select(
    user: &User,
    command: &SelectCommand,
    mode: SelectMode,
    out: &mut Vec<u8>,
) -> Result<(Box<Selected>, Reply), Stop> {
    let name = user.mailbox_name(&command.mailbox)?;
    let found = user.mailbox().select(&name, mode).await?;
    let mut feed = user.mailbox().watch(found.folder);
    // What happened between the two calls is asked for at the next opportunity.
    feed.mark_changed();
    let selected = Selected {
        folder: found.folder,
        mode,
        view: View::new(found.uids, found.recent, found.highest_modseq),
        feed,
        keywords: found.keywords.into_iter().collect(),
    };
    selected.tell_flags(out);
    exists(out, selected.view.count());
    if user.dialect() == Dialect::Rev1 {
        recent(out, selected.view.recent());
        if let Some(number) = found.unseen.and_then(|uid| selected.view.number_of(uid)) {
            Reply::ok("First unseen message").with(Code::Unseen(number)).write(out, None);
        }
    }
    Reply::ok("UIDs are valid").with(Code::UidValidity(found.uid_validity)).write(out, None);
    Reply::ok("Predicted next UID").with(Code::UidNext(found.uid_next)).write(out, None);
    if user.dialect() == Dialect::Rev2 {
        tell_name(user, &name, &found.name, out);
    }
    let code = if mode == SelectMode::ReadOnly { Code::ReadOnly } else { Code::ReadWrite };
    Ok((Box::new(selected), Reply::ok("Mailbox is selected").with(code)))
}

/// The LIST response that IMAP4rev2 demands, with OLDNAME where the server writes the name differently (RFC 9051
/// §6.3.9.7).
pub(crate) fn tell_name(user: &User, asked: &str, name: &str, out: &mut Vec<u8>) {
    let response = ListResponse {
        kind: ListKind::List,
        attributes: &[],
        name,
        child_subscribed: false,
        old_name: (asked != name).then_some(asked),
    };
    list(out, user.form(), &response);
}
