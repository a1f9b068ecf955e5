//! What others did to the selected mailbox, told to the client (RFC 9051 §5.2, §5.5, §7.5.1).

use letterlock_imap_wire::response::{FetchResponse, exists, expunge, recent, vanished};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_mailbox::{FlagRow, MailboxError};

use crate::flags;
use crate::outcome::{Ended, Stop};
use crate::select::Selected;
use crate::session::{Dialect, Naming, Resync, User};
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
            let (expunged, vanished) = selected.view.release();
            News { expunged, vanished, ..News::default() }
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
    if user.hears_vanished() {
        vanished(&mut wire.out, false, &news.vanished);
    } else {
        for number in &news.expunged {
            expunge(&mut wire.out, *number);
            wire.relieve().await?;
        }
    }
    if let Some(count) = news.exists {
        take_recent(user, selected).await?;
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

/// The first session that hears of a message has it as `\Recent`, the others do not (RFC 3501 §2.3.2). Only clients of
/// IMAP4rev1 know what that is, and EXAMINE takes nothing away from others.
async fn take_recent(user: &User, selected: &mut Selected) -> Result<(), Ended> {
    if user.dialect() == Dialect::Rev2 || selected.is_read_only() {
        return Ok(());
    }
    match user.mailbox().take_recent(selected.folder).await {
        Ok((from, end)) if from < end => {
            selected.view.take_recent(&NumberSet::from_ranges([(from, end - 1)]));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => failed(error),
    }
}

/// `* n FETCH (FLAGS (…))`, with UID and MODSEQ for clients that want to know them in any case (RFC 7162 §3.1, §3.2.4).
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
    let mut response = FetchResponse::begin(out, user.message_name(number, row.uid));
    if tells_uid(user, uid) {
        response.uid(out, row.uid);
    }
    response.flags(out, &flags::to_wire(&row.flags, recent));
    if user.resync() >= Resync::Condstore {
        response.modseq(out, row.modseq.0);
    }
    response.finish(out);
}

/// `* n FETCH (MODSEQ (…))`: what a STORE with `.SILENT` still has to tell (RFC 7162 §3.1.3).
pub(crate) fn tell_modseq(user: &User, number: u32, row: &FlagRow, uid: bool, out: &mut Vec<u8>) {
    let mut response = FetchResponse::begin(out, user.message_name(number, row.uid));
    if tells_uid(user, uid) {
        response.uid(out, row.uid);
    }
    response.modseq(out, row.modseq.0);
    response.finish(out);
}

/// Whether a response that was not asked for has the UID among its items; UIDFETCH begins with it.
fn tells_uid(user: &User, wanted: bool) -> bool {
    user.naming() == Naming::Any && (wanted || user.resync() == Resync::Qresync)
}
