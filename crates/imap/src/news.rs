//! When a client that uses NOTIFY (RFC 5465) hears of what happened: at the end of each command, and whenever nothing else
//! is to be done. [`crate::idle`] waits in the same way.
//!
//! What the selected mailbox's messages do is told by [`crate::refresh`], everything else by [`crate::watch`].

use letterlock_imap_wire::command::notify::NotifyCommand;
use letterlock_imap_wire::response::Status;
use letterlock_imap_wire::{Code, Event};
use letterlock_mailbox::{FolderId, ModSeq};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::names::{Did, Own};
use crate::notify::{Hearing, Notify, Wishes};
use crate::outcome::{Ended, Outcome, Reply, Stop};
use crate::refresh::{refresh, refresh_as};
use crate::select::Selected;
use crate::session::{State, User};
use crate::view::Removals;
use crate::watch::{Looked, Watch};
use crate::wire::Wire;

impl Connection<'_> {
    /// NOTIFY.
    pub(crate) async fn notify(
        &mut self,
        user: &mut User,
        selected: Option<&mut Selected>,
        command: NotifyCommand,
    ) -> Outcome {
        let NotifyCommand::Set { status, groups } = command else {
            user.notify = Notify::Nothing;
            return Ok(Reply::ok("Nothing will be told"));
        };
        let wishes = Wishes::of(user, &groups)?;
        let folder = selected.as_ref().map(|selected| selected.folder);
        // What was wished until now is told first.
        look_around(user, folder, &mut Own::default(), &mut self.wire).await?;
        if listen(user, wishes, folder, status, &mut self.wire).await? == Looked::Overflow {
            let reply = Reply::no("Those are too many mailboxes");
            return Ok(reply.with(Code::NotificationOverflow));
        }
        if let Some(selected) = selected {
            // All that has happened until now, whatever is wished from now on (§3.1).
            let hearing = user.notify.hearing().unwrap_or(Hearing::USUAL);
            let all = Hearing { flags: true, ..hearing };
            refresh_as(user, selected, all, Removals::Told, false, &mut self.wire).await?;
        }
        Ok(Reply::ok("News will be told"))
    }

    /// Waits for what the client does next, and tells meanwhile what happens.
    pub(crate) async fn next_or_news(&mut self, state: &mut State) -> Result<Event, Ended> {
        self.wire.relieve().await?;
        let deadline = self.deadline(state.user());
        loop {
            // Commands that are here already come first.
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            Box::pin(tell_news(state, &mut self.wire)).await?;
            // Before the choice below, which may give up the wait for the client but not what is being sent.
            self.wire.flush().await?;
            let alarm = Alarm::of(state);
            // Whichever comes first: neither much news nor many commands keep the other waiting.
            tokio::select! {
                () = alarm.rings() => {}
                event = self.next_by(state.user(), deadline) => return event,
            }
        }
    }
}

/// Takes on new wishes; if that fails, all stays as it was.
async fn listen(
    user: &mut User,
    wishes: Wishes,
    selected: Option<FolderId>,
    status: bool,
    wire: &mut Wire,
) -> Result<Looked, Stop> {
    match std::mem::replace(&mut user.notify, Notify::Nothing) {
        Notify::Set(mut watch) => {
            let before = watch.wish(wishes);
            let looked = watch.get_to_know(user, selected, status, wire).await;
            if looked != Ok(Looked::Told) {
                watch.wish(before);
            }
            user.notify = Notify::Set(watch);
            looked
        }
        before => {
            let begun = begin(user, wishes, selected, status, wire).await;
            user.notify = before;
            let (watch, looked) = begun?;
            if looked == Looked::Told {
                user.notify = Notify::Set(watch);
            }
            Ok(looked)
        }
    }
}

async fn begin(
    user: &User,
    wishes: Wishes,
    selected: Option<FolderId>,
    status: bool,
    wire: &mut Wire,
) -> Result<(Box<Watch>, Looked), Stop> {
    let mut watch = Box::new(Watch::begin(user, wishes).await?);
    let looked = watch.get_to_know(user, selected, status, wire).await?;
    Ok((watch, looked))
}

/// Between two commands: removals as the client allows them (§6.1).
async fn tell_news(state: &mut State, wire: &mut Wire) -> Result<(), Ended> {
    let Some((user, selected)) = state.parts_mut() else { return Ok(()) };
    let folder = selected.as_ref().map(|selected| selected.folder);
    look_around(user, folder, &mut Own::default(), wire).await?;
    let removals = match &user.notify {
        Notify::Set(watch) if watch.wishes.selected.as_ref().is_some_and(|wish| wish.delayed) => {
            Removals::Held
        }
        _ => Removals::Told,
    };
    match selected {
        Some(selected) => refresh(user, selected, removals, false, wire).await,
        None => Ok(()),
    }
}

/// Tells what happened outside of the selected mailbox.
pub(crate) async fn look_around(
    user: &mut User,
    selected: Option<FolderId>,
    own: &mut Own,
    wire: &mut Wire,
) -> Result<(), Ended> {
    let mut watch = match std::mem::replace(&mut user.notify, Notify::Nothing) {
        Notify::Set(watch) => watch,
        other => {
            user.notify = other;
            return Ok(());
        }
    };
    match watch.look(user, selected, own, wire).await {
        Err(Stop::End(ended)) => return Err(ended),
        Ok(Looked::Overflow) => {
            // §5.8: as after NOTIFY NONE.
            let reply = Reply::ok("Too much happened; nothing more will be told");
            reply.with(Code::NotificationOverflow).write(&mut wire.out, None);
            return Ok(());
        }
        // What could not be read now is told another time.
        Ok(Looked::Told) | Err(Stop::Refuse(_)) => {}
    }
    user.notify = Notify::Set(watch);
    Ok(())
}

/// At the end of a command: what happened outside of the selected mailbox, but for what the command did, and what it put
/// into the selected one.
pub(crate) async fn after_command(
    state: &mut State,
    reply: &Reply,
    own: Option<Box<Own>>,
    wire: &mut Wire,
) -> Result<(), Ended> {
    let did = wire.did.take().or_else(|| reply.code.as_ref().and_then(Did::filed));
    let Some((user, selected)) = state.parts_mut() else { return Ok(()) };
    let folder = selected.as_ref().map(|selected| selected.folder);
    if let (Some(selected), Some(Did::Filed(uid_validity, uids))) = (selected, did.as_deref())
        && selected.uid_validity == *uid_validity
    {
        selected.own = selected.own.union(uids);
    }
    let mut own = own.filter(|_| reply.status == Status::Ok).unwrap_or_default();
    own.did = did;
    look_around(user, folder, &mut own, wire).await
}

/// What may bring news, apart from the session: so that one can wait for it and for the client at once.
pub(crate) enum Alarm {
    /// Any change of the mailbox, or its end.
    Mailbox(watch::Receiver<ModSeq>),
    /// The mailbox's end only.
    Deletion(watch::Receiver<ModSeq>),
    /// Whatever happens in the account.
    Account(watch::Receiver<u64>),
    /// Nothing.
    Never,
}

impl Alarm {
    fn of(state: &State) -> Self {
        match state {
            State::Selected(user, selected) => Self::for_session(user, Some(selected)),
            State::Authenticated(user) => Self::for_session(user, None),
            _ => Self::Never,
        }
    }

    /// What the session wants to hear of.
    pub(crate) fn for_session(user: &User, selected: Option<&Selected>) -> Self {
        let feed = selected.map(|selected| selected.feed.clone());
        match &user.notify {
            Notify::Set(watch) => Self::Account(watch.pulse.clone()),
            Notify::Usual => feed.map_or(Self::Never, Self::Mailbox),
            Notify::Nothing => feed.map_or(Self::Never, Self::Deletion),
        }
    }

    /// Resolves when there may be news which the session has not seen.
    pub(crate) async fn rings(self) {
        match self {
            Self::Mailbox(mut feed) => {
                // Closed: deleted, as the next look finds.
                let _ = feed.changed().await;
            }
            Self::Deletion(mut feed) => while feed.changed().await.is_ok() {},
            Self::Account(mut pulse) => {
                if pulse.changed().await.is_err() {
                    // The account is being locked, which ends the session in its own way.
                    std::future::pending::<()>().await;
                }
            }
            Self::Never => std::future::pending().await,
        }
    }
}
