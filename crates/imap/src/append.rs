//! APPEND (RFC 9051 §6.3.12), with several messages at once (RFC 3502) or made of parts (RFC 4469), and REPLACE
//! (RFC 8508).
//!
//! Messages go to the mailbox as they come, so that no large one is ever in memory whole; it keeps them apart until the
//! last one is there. What can be refused is refused before a literal is asked for.

use letterlock_imap_wire::response::{Status, continuation};
use letterlock_imap_wire::sequence::{NumberSet, SequenceNumber};
use letterlock_imap_wire::{AppendBegin, Code, Event, InternalDate, Replaced};
use letterlock_mailbox::{Appended, Flags, Intake};

use crate::carry::try_create;
use crate::catenate;
use crate::connection::Connection;
use crate::flags;
use crate::folders::tell_spelling;
use crate::names::Did;
use crate::news::after_command;
use crate::outcome::{Ended, Outcome, Reply, Stop, settle};
use crate::refresh::{refresh, tell_removed};
use crate::requires::{refused_append, refused_text};
use crate::resync::highest;
use crate::select::Selected;
use crate::session::{Allowed, Naming, State, User, refusal, uid_required};
use crate::view::Removals;
use crate::wire::PROGRESS;

/// What came of a command: its messages, and the UID of the one that REPLACE takes away.
struct Collected {
    intake: Intake,
    replaces: Option<u32>,
}

impl Connection<'_> {
    /// Takes the command's messages, stores them all or none, and answers.
    pub(crate) async fn append(
        &mut self,
        mut state: State,
        begin: AppendBegin,
    ) -> Result<State, Ended> {
        let tag = begin.tag.clone();
        let replaces = begin.replaces.is_some();
        let needed = if replaces { Allowed::WithMailbox } else { Allowed::AfterLogin };
        let outcome = match (refusal(needed, &state), &state) {
            (None, State::Selected(user, selected)) => {
                self.run_append(user, Some(selected), begin).await
            }
            (None, State::Authenticated(user)) => self.run_append(user, None, begin).await,
            (reply, _) => Err(reply.unwrap_or_else(|| Reply::bad("Log in first")).into()),
        };
        if outcome.is_err() {
            // Nothing more of it is asked for; a large message is not sent for nothing.
            self.wire.reader().refuse_append();
        }
        let mut reply = settle(outcome)?;
        Box::pin(after_command(&mut state, &reply, None, &mut self.wire)).await?;
        if let State::Selected(user, selected) = &mut state {
            if replaces && reply.status == Status::Ok && user.notify.hearing().is_none() {
                Box::pin(tell_removed(user, selected, &mut self.wire)).await?;
            }
            refresh(user, selected, Removals::Told, false, &mut self.wire).await?;
            if replaces && reply.status == Status::Ok {
                reply.code = highest(user, selected);
            }
        }
        self.complete(&state, Some(&tag), &reply)?;
        Ok(state)
    }

    async fn run_append(
        &mut self,
        user: &User,
        selected: Option<&Selected>,
        begin: AppendBegin,
    ) -> Outcome {
        let (tag, mailbox) = (begin.tag.clone(), begin.mailbox.clone());
        let Collected { intake, replaces } = self.collect(user, selected, begin).await?;
        let appended = self.wire.during(&tag, PROGRESS, intake.store()).await?;
        let appended = appended.map_err(try_create)?;
        tell_spelling(user, &mailbox, &mut self.wire.out).await;
        match (replaces, selected) {
            (Some(uid), Some(selected)) => self.take_away(user, selected, uid, appended).await,
            _ => Ok(Reply::ok("Appended").with(append_uid(appended))),
        }
    }

    /// REPLACE: the new message is there before the old one goes, so that one of them is there whatever happens.
    async fn take_away(
        &mut self,
        user: &User,
        selected: &Selected,
        uid: u32,
        appended: Appended,
    ) -> Outcome {
        let mailbox = user.mailbox();
        let old = NumberSet::from_ranges([(uid, uid)]);
        if let Err(error) = mailbox.remove(selected.folder, &old).await {
            // All or nothing, as far as storage still does anything.
            let new = appended.uids.iter().copied().collect();
            if let Err(error) = mailbox.remove(appended.folder, &new).await {
                tracing::warn!(%error, "a message was not replaced, but the new one stays");
            }
            return Err(error.into());
        }
        // RFC 8508 §3.5: the new UID is told before the old message goes.
        let code = append_uid(appended);
        self.wire.did = Did::filed(&code);
        Reply::ok("The new message is there").with(code).write(&mut self.wire.out, None);
        Ok(Reply::ok("Replaced"))
    }

    /// Takes messages until the command is complete. Whatever the reader refuses meanwhile is this command.
    async fn collect(
        &mut self,
        user: &User,
        selected: Option<&Selected>,
        begin: AppendBegin,
    ) -> Result<Collected, Stop> {
        let replaces = match (begin.replaces, selected) {
            (Some(named), Some(selected)) => Some(replaced(user, selected, named)?),
            _ => None,
        };
        let name = user.mailbox_name(&begin.mailbox)?;
        let mut intake = user.mailbox().intake(&name).await.map_err(try_create)?;
        if let (Some(uid), Some(selected)) = (replaces, selected) {
            // RFC 8508 §3.4: of the quota, only what is added in the end counts.
            intake.instead_of(selected.folder, uid)?;
        }
        let mut event = Event::AppendBegin(begin);
        loop {
            match event {
                Event::AppendBegin(begin) => {
                    if let Some(reply) = refused_append(&begin, user.capabilities()) {
                        return Err(reply.into());
                    }
                    let (flags, date) = begun(&begin, user)?;
                    intake.begin(flags, date).await?;
                    intake.announce(begin.size).await?;
                }
                Event::CatenateUrl(url) => {
                    catenate::copy(user, selected, &self.imap.host, &url, &mut intake).await?;
                }
                Event::CatenateText { size, binary, utf8 } => {
                    if let Some(reply) = refused_text(binary, utf8, user.capabilities()) {
                        return Err(reply.into());
                    }
                    check_utf8(utf8, user)?;
                    intake.announce(size).await?;
                }
                Event::AppendChunk(octets) => intake.push(&octets).await?,
                // An empty message takes the whole command back (RFC 3502 §3.1).
                Event::AppendEnd if intake.end().await? == 0 => {
                    return Err(Reply::no("Nothing was appended: a message is empty").into());
                }
                Event::AppendEnd => {}
                Event::AppendDone { .. } => return Ok(Collected { intake, replaces }),
                Event::Continue => continuation(&mut self.wire.out, "Ready for the message"),
                Event::Bad { text, .. } => return Err(Reply::bad(text).into()),
                Event::No { code, text, .. } => return Err(Reply::no(text).with(code).into()),
                Event::Fatal { text } => return Err(Ended::Bye(text.into()).into()),
                Event::Command(_) | Event::Line(_) => {
                    return Err(Reply::bad("The message did not come").into());
                }
            }
            event = self.next(Some(user)).await?;
        }
    }
}

/// Flags and date of a message. One with NUL is kept as it is: old mailboxes have such mail, and it has to be moved here
/// whole. BODY[] gives it out as it came, since a literal counts its octets; strictly it would take BINARY[] and literal8
/// (RFC 9051 §9, CHAR8).
fn begun(begin: &AppendBegin, user: &User) -> Result<(Flags, InternalDate), Reply> {
    check_utf8(begin.utf8, user)?;
    let flags =
        flags::from_wire(&begin.flags).ok_or_else(|| Reply::bad("There is no such system flag"))?;
    let date = begin.date.unwrap_or_else(|| InternalDate::utc(jiff::Timestamp::now()));
    Ok((flags, date))
}

/// RFC 6855 §4
fn check_utf8(utf8: bool, user: &User) -> Result<(), Reply> {
    if utf8 && !user.accepts_utf8() {
        return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT"));
    }
    Ok(())
}

/// The UID of the message that REPLACE names.
fn replaced(user: &User, selected: &Selected, named: Replaced) -> Result<u32, Reply> {
    let Replaced { uid, message } = named;
    if !uid && user.naming() == Naming::Uids {
        return Err(uid_required());
    }
    let view = &selected.view;
    let found = match (message, uid) {
        (SequenceNumber::Last, _) => view.uid_of(view.count()),
        (SequenceNumber::Value(value), false) => view.uid_of(value.get()),
        (SequenceNumber::Value(value), true) => view.number_of(value.get()).map(|_| value.get()),
    };
    match found {
        Some(_) if selected.is_read_only() => Err(Reply::no("The mailbox was opened read-only")),
        Some(uid) => Ok(uid),
        None if uid => Err(Reply::no("There is no such message").with(Code::NonExistent)),
        None => Err(Reply::bad("There is no message of that number")),
    }
}

fn append_uid(appended: Appended) -> Code {
    let uids: NumberSet = appended.uids.into_iter().collect();
    Code::AppendUid { uid_validity: appended.uid_validity, uids }
}
