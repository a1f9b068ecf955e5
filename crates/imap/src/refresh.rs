//! What others did to the selected mailbox, told to the client (RFC 9051 §5.2, §5.5, §7.5.1).

use letterlock_imap_wire::response::{FetchResponse, exists, expunge, recent};
use letterlock_mailbox::{FlagRow, MailboxError};

use crate::flags;
use crate::outcome::{Ended, Stop};
use crate::select::Selected;
use crate::session::{Dialect, User};
use crate::view::{News, Removals};
use crate::wire::Wire;

/// Tells what changed since the last time; costs nothing if nothing did. `uids` adds the UID to FETCH responses.
pub(crate) async fn refresh(
    user: &User,
    selected: &mut Selected,
    removals: Removals,
    uids: bool,
    wire: &mut Wire,
) -> Result<(), Ended> {
    let news = match selected.feed.has_changed() {
        Ok(true) => {
            selected.feed.mark_unchanged();
            match user.mailbox().changes(selected.folder, selected.view.modseq()).await {
                Ok(changes) => selected.view.apply(changes, removals),
                Err(MailboxError::NoSuchFolder) => return Err(deleted()),
                Err(error) => return failed(error),
            }
        }
        Ok(false) if removals == Removals::Told && selected.view.has_gone() => {
            News { expunged: selected.view.release(), ..News::default() }
        }
        Ok(false) => return Ok(()),
        Err(_) if user.mailbox().is_closed() => {
            return Err(Ended::Bye(crate::outcome::LOCKED.into()));
        }
        Err(_) => return Err(deleted()),
    };
    tell(user, selected, news, uids, wire).await
}

/// A mailbox that another session deleted cannot be left with its numbers intact; the client has to come again.
fn deleted() -> Ended {
    Ended::Bye("The selected mailbox was deleted".into())
}

/// The client hears of it another time, unless the session is over.
fn failed(error: MailboxError) -> Result<(), Ended> {
    match Stop::from(error) {
        Stop::End(ended) => Err(ended),
        Stop::Refuse(_) => Ok(()),
    }
}

async fn tell(
    user: &User,
    selected: &mut Selected,
    news: News,
    uids: bool,
    wire: &mut Wire,
) -> Result<(), Ended> {
    for number in &news.expunged {
        expunge(&mut wire.out, *number);
        wire.relieve().await?;
    }
    if let Some(count) = news.exists {
        exists(&mut wire.out, count);
    }
    if user.dialect() == Dialect::Rev1 && (news.exists.is_some() || !news.expunged.is_empty()) {
        recent(&mut wire.out, selected.view.recent());
    }
    for (number, row) in &news.flags {
        tell_flags(user, selected, *number, row, uids, &mut wire.out);
        wire.relieve().await?;
    }
    Ok(())
}

/// `* n FETCH (FLAGS (…))`
pub(crate) fn tell_flags(
    user: &User,
    selected: &mut Selected,
    number: u32,
    row: &FlagRow,
    uid: bool,
    out: &mut Vec<u8>,
) {
    selected.introduce(&row.flags.keywords, out);
    let recent = user.dialect() == Dialect::Rev1 && selected.view.is_recent(row.uid);
    let mut response = FetchResponse::begin(out, number);
    if uid {
        response.uid(out, row.uid);
    }
    response.flags(out, &flags::to_wire(&row.flags, recent));
    response.finish(out);
}
