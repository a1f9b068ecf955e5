//! COPY, MOVE and EXPUNGE, and CLOSE, which expunges (RFC 9051 §6.4.2, §6.4.3, §6.4.7, §6.4.8).

use letterlock_imap_wire::Code;
use letterlock_imap_wire::command::CopyCommand;
use letterlock_imap_wire::sequence::{NumberSet, SequenceSet};
use letterlock_mailbox::{Copied, MailboxError};

use crate::fetch::no_such_number;
use crate::names::Did;
use crate::outcome::{Outcome, Reply, Stop};
use crate::select::Selected;
use crate::session::User;
use crate::wire::{PROGRESS, Wire};

/// COPY and UID COPY.
pub(crate) async fn copy(user: &User, selected: &Selected, command: &CopyCommand) -> Outcome {
    let (ranges, to) = prepare(user, selected, command)?;
    let copied = user.mailbox().copy(selected.folder, &ranges, &to).await.map_err(try_create)?;
    let reply = answer(selected, command, &ranges, &copied, "Copied");
    Ok(match copy_uid(&copied) {
        Some(code) => reply.with(code),
        None => reply,
    })
}

/// MOVE and UID MOVE. The new UIDs are told before the EXPUNGE responses that follow the command (RFC 6851 §4.3).
pub(crate) async fn move_(
    user: &User,
    selected: &Selected,
    command: &CopyCommand,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    let (ranges, to) = prepare(user, selected, command)?;
    if selected.is_read_only() {
        return Ok(Reply::no("The mailbox was opened read-only"));
    }
    let moving = user.mailbox().move_(selected.folder, &ranges, &to);
    let moved = wire.during(tag, PROGRESS, moving).await?.map_err(try_create)?;
    if let Some(code) = copy_uid(&moved) {
        wire.did = Did::filed(&code);
        Reply::ok("Moved").with(code).write(&mut wire.out, None);
    }
    Ok(answer(selected, command, &ranges, &moved, "Done"))
}

fn prepare(
    user: &User,
    selected: &Selected,
    command: &CopyCommand,
) -> Result<(NumberSet, String), Stop> {
    let ranges = selected.view.resolve(&command.set, command.uid).map_err(|_| no_such_number())?;
    Ok((ranges, user.mailbox_name(&command.mailbox)?))
}

/// A target that does not exist is the client's to make (RFC 9051 §7.1, TRYCREATE).
pub(crate) fn try_create(error: MailboxError) -> Stop {
    match error {
        MailboxError::NoSuchFolder => Reply::no("No such mailbox").with(Code::TryCreate).into(),
        other => other.into(),
    }
}

fn copy_uid(copied: &Copied) -> Option<Code> {
    (!copied.pairs.is_empty()).then(|| Code::CopyUid {
        uid_validity: copied.uid_validity,
        from: copied.pairs.iter().map(|(from, _)| *from).collect(),
        to: copied.pairs.iter().map(|(_, to)| *to).collect(),
    })
}

fn answer(
    selected: &Selected,
    command: &CopyCommand,
    ranges: &NumberSet,
    copied: &Copied,
    done: &'static str,
) -> Reply {
    if copied.pairs.is_empty() && !command.uid && selected.view.count_in(ranges) > 0 {
        return Reply::no("Those messages were removed").with(Code::ExpungeIssued);
    }
    Reply::ok(done)
}

/// EXPUNGE, or UID EXPUNGE of a set. The client hears of it with everything else that changed.
pub(crate) async fn expunge(
    user: &User,
    selected: &Selected,
    uids: Option<&SequenceSet>,
) -> Outcome {
    let ranges = match uids {
        Some(set) => Some(selected.view.resolve(set, true).map_err(|_| no_such_number())?),
        None => None,
    };
    if selected.is_read_only() {
        return Ok(Reply::no("The mailbox was opened read-only"));
    }
    if ranges.as_ref().is_none_or(|ranges| !ranges.is_empty()) {
        user.mailbox().expunge(selected.folder, ranges.as_ref()).await?;
    }
    Ok(Reply::ok("Expunged"))
}

/// CLOSE: removes what is marked, without a word. After EXAMINE it removes nothing. The new sequence is not told either: a
/// client would believe that it knows what others did before (RFC 7162 §3.2.8).
pub(crate) async fn close(user: &User, selected: &Selected, wire: &mut Wire) -> Outcome {
    let reply = Reply::ok("Mailbox is closed");
    if selected.is_read_only() {
        return Ok(reply);
    }
    match user.mailbox().expunge(selected.folder, None).await {
        Ok(removed) => {
            let removed = removed.into_iter().collect();
            wire.did = Some(Box::new(Did::Removed(selected.uid_validity, removed)));
            Ok(reply)
        }
        Err(MailboxError::NoSuchFolder) => Ok(reply),
        Err(error) => Err(error.into()),
    }
}
