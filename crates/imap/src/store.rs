//! STORE and UID STORE (RFC 9051 §6.4.6).

use letterlock_imap_wire::Code;
use letterlock_imap_wire::command::{StoreAction, StoreCommand};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_mailbox::{Columns, FlagChange, FlagOperation, FlagRow, MailboxError, ModSeq};

use crate::fetch::no_such_number;
use crate::flags;
use crate::outcome::{Outcome, Reply, Stop};
use crate::refresh::{refresh, tell_flags, tell_modseq};
use crate::select::Selected;
use crate::session::{Resync, User};
use crate::view::Removals;
use crate::wire::Wire;

/// Messages changed at once.
const BATCH: usize = 1_000;

/// Runs the command. Messages that others removed meanwhile are passed over.
pub(crate) async fn store(
    user: &User,
    selected: &mut Selected,
    command: &StoreCommand,
    wire: &mut Wire,
) -> Outcome {
    let Some(flags) = flags::from_wire(&command.flags) else {
        return Ok(Reply::bad("There is no such system flag"));
    };
    let ranges = selected.view.resolve(&command.set, command.uid).map_err(|_| no_such_number())?;
    if selected.is_read_only() {
        return Ok(Reply::no("The mailbox was opened read-only"));
    }
    // What others did before is told first: with .SILENT, the answers below would hide it.
    refresh(user, selected, Removals::Held, command.uid, wire).await?;
    let operation = match command.action {
        StoreAction::Replace => FlagOperation::Set,
        StoreAction::Add => FlagOperation::Add,
        StoreAction::Remove => FlagOperation::Remove,
    };
    let batches = selected.view.batches(&ranges, BATCH);
    let unchanged_since = command.unchanged_since.map(ModSeq);
    let (wanted, mut changed, mut modified) = (!batches.is_empty(), false, Vec::new());
    for batch in batches {
        let change = FlagChange { operation, flags: flags.clone() };
        let stored = user.mailbox().store(selected.folder, &batch, change, unchanged_since).await;
        if let Err(MailboxError::Limit(_)) = stored {
            selected.tell_full(&mut wire.out);
        }
        let outcome = stored?;
        modified.extend(outcome.modified);
        for (row, before) in outcome.changed.into_iter().zip(outcome.before) {
            changed = true;
            if command.silent {
                selected.view.made_silently(&row, before);
                let named =
                    |one: &&String| flags.keywords.iter().any(|own| own.eq_ignore_ascii_case(one));
                selected.note(row.flags.keywords.iter().filter(named), &mut wire.out);
            } else {
                selected.view.made(&row);
            }
            let Some(number) = selected.view.number_of(row.uid) else { continue };
            if !command.silent {
                tell_flags(user, selected, number, &row, command.uid, &mut wire.out);
            } else if user.resync() >= Resync::Condstore {
                tell_modseq(user, number, &row, command.uid, &mut wire.out);
            }
            wire.relieve().await?;
        }
        // What was changed here is known to be known, batch by batch: a list of all messages is never in memory.
        refresh(user, selected, Removals::Held, command.uid, wire).await?;
    }
    if !modified.is_empty() {
        return conflict(user, selected, command, &modified, wire).await;
    }
    if wanted && !changed && !command.uid {
        return Ok(Reply::no("Those messages were removed").with(Code::ExpungeIssued));
    }
    Ok(Reply::ok("Stored"))
}

/// Some messages were changed by others since (RFC 7162 §3.1.3). The client is told how they stand, which it may not have
/// heard yet, and of those that were removed meanwhile nothing.
async fn conflict(
    user: &User,
    selected: &mut Selected,
    command: &StoreCommand,
    modified: &[u32],
    wire: &mut Wire,
) -> Result<Reply, Stop> {
    let uids: NumberSet = modified.iter().copied().collect();
    for batch in selected.view.batches(&uids, BATCH) {
        let rows =
            user.mailbox().rows(selected.folder, &batch, Columns::default(), 0, BATCH).await?;
        for row in rows {
            let Some(number) = selected.view.number_of(row.uid) else { continue };
            let row = FlagRow { uid: row.uid, modseq: row.modseq, flags: row.flags };
            tell_flags(user, selected, number, &row, command.uid, &mut wire.out);
            selected.view.made(&row);
            wire.relieve().await?;
        }
    }
    let named: NumberSet = match command.uid {
        true => uids,
        false => modified.iter().filter_map(|uid| selected.view.number_of(*uid)).collect(),
    };
    let reply = Reply::ok("Some messages were changed by others");
    Ok(if named.is_empty() { reply } else { reply.with(Code::Modified(named)) })
}
