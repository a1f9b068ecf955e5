//! What others did to the selected mailbox, told to the client (RFC 9051 §5.2, §5.5, §7.5.1).

use letterlock_imap_wire::response::{FetchResponse, exists, expunge, recent, vanished};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_mailbox::{Changes, FlagRow, MailboxError};

use crate::arrival;
use crate::context::{self, learn_name, leave};
use crate::flags;
use crate::notify::Hearing;
use crate::outcome::{Ended, Stop};
use crate::select::{Selected, takes_recent};
use crate::session::{Dialect, Naming, Resync, User};
use crate::view::{News, Removals};
use crate::wire::Wire;

/// Tells what changed since the last time, as far as the client wants to hear of it (RFC 5465); costs nothing if nothing
/// did. `uids` adds the UID to FETCH responses.
pub(crate) async fn refresh(
    user: &User,
    selected: &mut Selected,
    removals: Removals,
    uids: bool,
    wire: &mut Wire,
) -> Result<(), Ended> {
    match user.notify.hearing() {
        Some(hearing) => refresh_as(user, selected, hearing, removals, uids, wire).await,
        // The view stays as it is. But from a mailbox that is gone the client has to go.
        None => selected.feed.has_changed().map_or_else(|_| Err(lost(user)), |_| Ok(())),
    }
}

/// The same with other wishes than the session's.
pub(crate) async fn refresh_as(
    user: &User,
    selected: &mut Selected,
    hearing: Hearing<'_>,
    removals: Removals,
    uids: bool,
    wire: &mut Wire,
) -> Result<(), Ended> {
    match selected.feed.has_changed() {
        Ok(true) => {
            selected.feed.mark_unchanged();
            match user.mailbox().changes(selected.folder, selected.view.modseq()).await {
                Ok(changes) => {
                    take_over(user, selected, changes, hearing, (removals, uids), wire).await
                }
                Err(MailboxError::NoSuchFolder) => Err(deleted()),
                Err(error) => failed(error),
            }
        }
        Ok(false) if removals == Removals::Told && selected.view.has_gone() => {
            let (expunged, vanished) = selected.view.release();
            let news = News { expunged, vanished, ..News::default() };
            tell(user, selected, news, hearing, uids, wire).await?;
            if selected.contexts.has_whole() {
                // Another message may be the last one now.
                Box::pin(follow_up(user, selected, hearing, Default::default(), wire)).await?;
            }
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(_) => Err(lost(user)),
    }
}

/// After a command that removes messages, for a client that hears of nothing else: the removals (RFC 5465 §1, what is the
/// result of a command is told as ever).
pub(crate) async fn tell_removed(
    user: &User,
    selected: &mut Selected,
    wire: &mut Wire,
) -> Result<(), Ended> {
    match user.mailbox().changes(selected.folder, selected.view.modseq()).await {
        Ok(changes) => {
            leave(user, selected, &changes.vanished, &mut wire.out);
            let (expunged, vanished) = selected.view.take_out(&changes.vanished);
            let news = News { expunged, vanished, ..News::default() };
            tell(user, selected, news, Hearing::USUAL, false, wire).await
        }
        Err(MailboxError::NoSuchFolder) => Err(deleted()),
        Err(error) => failed(error),
    }
}

/// The order of the responses: what leaves a context, while it has its number; removals, the new count, flags; what
/// enters a context; and what is told of new messages (RFC 5267 §4.3, RFC 5465 §5).
async fn take_over(
    user: &User,
    selected: &mut Selected,
    changes: Changes,
    hearing: Hearing<'_>,
    (removals, uids): (Removals, bool),
    wire: &mut Wire,
) -> Result<(), Ended> {
    let follows = !selected.contexts.is_empty();
    if selected.contexts.has_names() {
        Box::pin(learn_name(user, selected)).await;
    }
    let (mut arrived, mut touched) = (NumberSet::new(), NumberSet::new());
    if follows || !hearing.items.is_empty() {
        let last = selected.view.last_uid();
        let rows = || changes.arrived.iter().chain(&changes.changed).map(|row| row.uid);
        arrived = rows().filter(|uid| *uid > last).collect();
        touched = rows().collect();
    }
    leave(user, selected, &changes.vanished, &mut wire.out);
    let news = selected.view.apply(changes, removals);
    tell(user, selected, news, hearing, uids, wire).await?;
    let concerned = !touched.is_empty() || selected.contexts.has_whole();
    if !arrived.is_empty() || follows && concerned {
        Box::pin(follow_up(user, selected, hearing, (arrived, touched), wire)).await?;
    }
    selected.own = NumberSet::new();
    Ok(())
}

/// Tells what became of contexts, and of new messages what the client wants to know of them; of those that it put there
/// itself it knows enough (RFC 5465 §5.2).
async fn follow_up(
    user: &User,
    selected: &mut Selected,
    hearing: Hearing<'_>,
    (arrived, touched): (NumberSet, NumberSet),
    wire: &mut Wire,
) -> Result<(), Ended> {
    let others = arrived.without(&selected.own);
    let mut wanted = vec![(hearing.items.to_vec(), others.clone())];
    if !selected.contexts.is_empty() {
        for (items, uids) in context::update(user, selected, &touched, wire).await? {
            wanted.push((items, uids.intersect(&others)));
        }
    }
    wanted.retain(|(items, uids)| !items.is_empty() && !uids.is_empty());
    for (items, uids) in arrival::united(wanted) {
        arrival::tell(user, selected, &items, &uids, wire).await?;
    }
    Ok(())
}

/// Why there is no mailbox any more.
fn lost(user: &User) -> Ended {
    match user.mailbox().is_closed() {
        true => Ended::Bye(crate::outcome::LOCKED.into()),
        false => deleted(),
    }
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
    hearing: Hearing<'_>,
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
    // RFC 9051 §7.5.2: in IMAP4rev2, what was not asked for has the UID with it.
    let uids = uids || hearing.uid || user.dialect() == Dialect::Rev2;
    for (number, row) in news.flags.iter().filter(|_| hearing.flags) {
        tell_flags(user, selected, *number, row, uids, &mut wire.out);
        wire.relieve().await?;
    }
    Ok(())
}

/// The first session that hears of a message has it as `\Recent`, the others do not (RFC 3501 §2.3.2).
async fn take_recent(user: &User, selected: &mut Selected) -> Result<(), Ended> {
    if !takes_recent(user.dialect(), selected.mode) {
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

/// Whether a response that was not asked for has the UID among its items: after any command that enables CONDSTORE (RFC
/// 7162 §3.2.4). UIDFETCH begins with it.
fn tells_uid(user: &User, wanted: bool) -> bool {
    user.naming() == Naming::Any && (wanted || user.resync() >= Resync::Condstore)
}
