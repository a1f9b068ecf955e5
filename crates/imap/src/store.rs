//! STORE and UID STORE (RFC 9051 §6.4.6).

use letterlock_imap_wire::Code;
use letterlock_imap_wire::command::{StoreAction, StoreCommand};
use letterlock_mailbox::{FlagChange, FlagOperation};

use crate::fetch::no_such_number;
use crate::flags;
use crate::outcome::{Outcome, Reply};
use crate::refresh::{refresh, tell_flags};
use crate::select::Selected;
use crate::session::User;
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
    if command.unchanged_since.is_some() {
        return Ok(Reply::bad("CONDSTORE is not supported"));
    }
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
    let (wanted, mut changed) = (!batches.is_empty(), false);
    for batch in batches {
        let change = FlagChange { operation, flags: flags.clone() };
        let outcome = user.mailbox().store(selected.folder, &batch, change, None).await?;
        for (row, before) in outcome.changed.into_iter().zip(outcome.before) {
            changed = true;
            if command.silent {
                selected.view.made_silently(&row, before);
                continue;
            }
            selected.view.made(&row);
            if let Some(number) = selected.view.number_of(row.uid) {
                tell_flags(user, selected, number, &row, command.uid, &mut wire.out);
                wire.relieve().await?;
            }
        }
    }
    if wanted && !changed && !command.uid {
        return Ok(Reply::no("Those messages were removed").with(Code::ExpungeIssued));
    }
    Ok(Reply::ok("Stored"))
}
