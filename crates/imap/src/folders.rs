//! Commands on mailboxes as a whole: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE and STATUS
//! (RFC 9051 §6.3). LIST and LSUB have a module of their own.

use letterlock_imap_wire::response::{namespace, status};
use letterlock_imap_wire::{Code, Command, MailboxName, SpecialUse, StatusItem};
use letterlock_mailbox::Status;
use letterlock_mailbox::name::normalise;

use crate::outcome::{Outcome, Reply, Stop};
use crate::select::tell_name;
use crate::session::User;
use crate::wire::Wire;

/// Runs one of the commands of this module.
pub(crate) async fn run(user: &User, command: Command, wire: &mut Wire) -> Outcome {
    match command {
        Command::Create { mailbox, uses } => create(user, &mailbox, &uses, &mut wire.out).await,
        Command::Rename { from, to } => rename(user, &from, &to, &mut wire.out).await,
        Command::Subscribe(name) => subscribe(user, &name, true).await,
        Command::Unsubscribe(name) => subscribe(user, &name, false).await,
        Command::Namespace => {
            namespace(&mut wire.out);
            Ok(Reply::ok("There is one namespace"))
        }
        Command::Status { mailbox, items } => {
            tell_status(user, &mailbox, &items, &mut wire.out).await
        }
        _ => Ok(Reply::bad("Not allowed in this state")),
    }
}

/// One mailbox has one use here (RFC 6154 §3 leaves that to the server).
async fn create(
    user: &User,
    mailbox: &MailboxName,
    uses: &[Option<SpecialUse>],
    out: &mut Vec<u8>,
) -> Outcome {
    let special = match uses {
        [] => None,
        [Some(one)] => Some(*one),
        _ => return Ok(Reply::no("The mailbox cannot have this use").with(Code::UseAttr)),
    };
    let name = user.mailbox_name(mailbox)?;
    let folder = user.mailbox().create(&name, special).await?;
    tell_name(user, &name, &folder.name, out).await;
    // RFC 8474 §4.1
    Ok(Reply::ok("Created").with(Code::MailboxId(folder.uid_validity)))
}

/// DELETE.
pub(crate) async fn delete(user: &User, mailbox: &MailboxName, out: &mut Vec<u8>) -> Outcome {
    user.mailbox().delete(&user.mailbox_name(mailbox)?).await?;
    tell_spelling(user, mailbox, out).await;
    Ok(Reply::ok("Deleted"))
}

/// After a command with this name: how the server writes it, if that is different (RFC 9051 §6.3.5, §6.3.12).
pub(crate) async fn tell_spelling(user: &User, mailbox: &MailboxName, out: &mut Vec<u8>) {
    if let Ok(asked) = user.mailbox_name(mailbox)
        && let Ok(name) = normalise(&asked)
    {
        tell_name(user, &asked, &name, out).await;
    }
}

async fn rename(user: &User, from: &MailboxName, to: &MailboxName, out: &mut Vec<u8>) -> Outcome {
    let (from, to) = (user.mailbox_name(from)?, user.mailbox_name(to)?);
    user.mailbox().rename(&from, &to).await?;
    // RFC 9051 §6.3.6: if either was written differently, the new name goes with the old one as it was sent.
    if let (Ok(old), Ok(new)) = (normalise(&from), normalise(&to))
        && (old != from || new != to)
    {
        tell_name(user, &from, &new, out).await;
    }
    Ok(Reply::ok("Renamed"))
}

/// A name may be subscribed whether there is such a mailbox or not (RFC 9051 §6.3.7).
async fn subscribe(user: &User, mailbox: &MailboxName, subscribed: bool) -> Outcome {
    user.mailbox().subscribe(&user.mailbox_name(mailbox)?, subscribed).await?;
    Ok(Reply::ok(if subscribed { "Subscribed" } else { "Unsubscribed" }))
}

async fn tell_status(
    user: &User,
    mailbox: &MailboxName,
    items: &[StatusItem],
    out: &mut Vec<u8>,
) -> Outcome {
    let name = user.mailbox_name(mailbox)?;
    let found = user.mailbox().status(&name).await?;
    status(out, &name, user.form(), &values(user, &found, items).await?);
    Ok(Reply::ok("These are the figures"))
}

/// The figures that were asked for, in the order of asking.
pub(crate) async fn values(
    user: &User,
    status: &Status,
    items: &[StatusItem],
) -> Result<Vec<(StatusItem, u64)>, Stop> {
    let deleted_size = match items.contains(&StatusItem::DeletedStorage) {
        true => user.mailbox().deleted_size(status.folder).await?,
        false => 0,
    };
    let value = |item| match item {
        StatusItem::Messages => status.messages.into(),
        StatusItem::Recent => status.recent.into(),
        StatusItem::UidNext => status.uid_next.into(),
        StatusItem::UidValidity | StatusItem::MailboxId => status.uid_validity.into(),
        StatusItem::Unseen => status.unseen.into(),
        StatusItem::Deleted => status.deleted.into(),
        StatusItem::Size => status.size,
        StatusItem::HighestModSeq => status.highest_modseq.0,
        StatusItem::AppendLimit => user.append_limit(),
        StatusItem::DeletedStorage => deleted_size,
    };
    Ok(items.iter().map(|item| (*item, value(*item))).collect())
}
