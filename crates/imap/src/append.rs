//! APPEND (RFC 9051 §6.3.12), with several messages at once (RFC 3502), and REPLACE (RFC 8508).

use letterlock_imap_wire::response::{Status, continuation};
use letterlock_imap_wire::sequence::{NumberSet, SequenceNumber};
use letterlock_imap_wire::{AppendBegin, Code, Event, InternalDate, Replaced};
use letterlock_mailbox::{Appended, Flags, NewMessage};

use crate::carry::try_create;
use crate::connection::Connection;
use crate::flags;
use crate::outcome::{Ended, Outcome, Reply, Stop, settle};
use crate::refresh::refresh;
use crate::requires::refused_append;
use crate::resync::highest;
use crate::select::Selected;
use crate::session::{Allowed, Naming, State, User, refusal, uid_required};
use crate::view::Removals;

/// What the messages of one command may have together, in largest messages: they are in memory until the last one is
/// there.
const LARGEST_AT_ONCE: u64 = 2;
/// What a message costs besides its octets, so that many small ones count, too.
const EACH: u64 = 512;

/// A message as far as it has come.
struct Coming {
    flags: Flags,
    date: InternalDate,
    octets: Vec<u8>,
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
            (None, State::Selected(user, selected)) if replaces => {
                self.run_replace(user, selected, begin).await
            }
            (None, State::Authenticated(user) | State::Selected(user, _)) => {
                self.run_append(user, begin).await
            }
            (reply, _) => {
                self.wire.reader().refuse_append();
                Err(reply.unwrap_or_else(|| Reply::bad("Log in first")).into())
            }
        };
        let mut reply = settle(outcome)?;
        if let State::Selected(user, selected) = &mut state {
            refresh(user, selected, Removals::Told, false, &mut self.wire).await?;
            if replaces && reply.status == Status::Ok {
                reply.code = highest(user, selected);
            }
        }
        self.complete(&state, Some(&tag), &reply)?;
        Ok(state)
    }

    async fn run_append(&mut self, user: &User, begin: AppendBegin) -> Outcome {
        let name = match target(user, &begin).await {
            Ok(name) => name,
            Err(stop) => {
                // Before the literal is asked for: a large message is not sent for nothing.
                self.wire.reader().refuse_append();
                return Err(stop);
            }
        };
        let messages = self.collect(user, begin).await?;
        keep(user, &name, check(messages)?).await
    }

    /// The new message comes before the old one goes, so that one of them is there whatever happens.
    async fn run_replace(
        &mut self,
        user: &User,
        selected: &Selected,
        begin: AppendBegin,
    ) -> Outcome {
        let checked = match replaced(user, selected, begin.replaces) {
            Ok(uid) => target(user, &begin).await.map(|name| (uid, name)),
            Err(reply) => Err(reply.into()),
        };
        let (uid, name) = match checked {
            Ok(checked) => checked,
            Err(stop) => {
                self.wire.reader().refuse_append();
                return Err(stop);
            }
        };
        let messages = check(self.collect(user, begin).await?)?;
        let mailbox = user.mailbox();
        let appended = mailbox.append(&name, messages).await.map_err(try_create)?;
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
        Reply::ok("The new message is there")
            .with(append_uid(appended))
            .write(&mut self.wire.out, None);
        Ok(Reply::ok("Replaced"))
    }

    /// Reads messages until the command is complete. Whatever the reader refuses meanwhile is this command.
    async fn collect(&mut self, user: &User, begin: AppendBegin) -> Result<Vec<Coming>, Stop> {
        let mut room =
            self.imap.limits.message_size.saturating_add(EACH).saturating_mul(LARGEST_AT_ONCE);
        let mut event = Event::AppendBegin(begin);
        let (mut done, mut current) = (Vec::new(), None::<Coming>);
        loop {
            match event {
                Event::AppendBegin(begin) => {
                    let left = room.checked_sub(begin.size.saturating_add(EACH));
                    let too_much = || Reply::no("Too much at once").with(Code::TooBig);
                    let capabilities = &self.imap.capabilities;
                    let begun = || match refused_append(&begin, capabilities) {
                        Some(reply) => Err(reply),
                        None => begun(&begin, user),
                    };
                    match left.ok_or_else(too_much).and_then(|left| Ok((left, begun()?))) {
                        Ok((left, message)) => (room, current) = (left, Some(message)),
                        Err(reply) => {
                            self.wire.reader().refuse_append();
                            return Err(reply.into());
                        }
                    }
                }
                Event::AppendChunk(octets) => {
                    if let Some(message) = &mut current {
                        message.octets.extend_from_slice(&octets);
                    }
                }
                Event::AppendEnd => done.extend(current.take()),
                Event::AppendDone { .. } => return Ok(done),
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

/// The target, if it is there.
async fn target(user: &User, begin: &AppendBegin) -> Result<String, Stop> {
    let name = user.mailbox_name(&begin.mailbox)?;
    user.mailbox().status(&name).await.map_err(try_create)?;
    Ok(name)
}

fn begun(begin: &AppendBegin, user: &User) -> Result<Coming, Reply> {
    // RFC 6855 §4
    if begin.utf8 && !user.accepts_utf8() {
        return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT"));
    }
    let flags =
        flags::from_wire(&begin.flags).ok_or_else(|| Reply::bad("There is no such system flag"))?;
    let date = begin.date.unwrap_or_else(|| InternalDate::utc(jiff::Timestamp::now()));
    Ok(Coming { flags, date, octets: Vec::new() })
}

/// An empty message takes the whole command back (RFC 3502 §3.1). A message with NUL is kept as it is: old mailboxes
/// have such mail, and it has to be moved here whole. BODY[] gives it out as it came, since a literal counts its octets;
/// strictly it would take BINARY[] and literal8 (RFC 9051 §9, CHAR8).
fn check(messages: Vec<Coming>) -> Result<Vec<NewMessage>, Reply> {
    if messages.iter().any(|message| message.octets.is_empty()) {
        return Err(Reply::no("Nothing was appended: a message is empty"));
    }
    let new = messages.into_iter().map(|message| NewMessage {
        bytes: message.octets.into(),
        flags: message.flags,
        internal_date: message.date,
    });
    Ok(new.collect())
}

/// The UID of the message that REPLACE names.
fn replaced(user: &User, selected: &Selected, named: Option<Replaced>) -> Result<u32, Reply> {
    let Some(Replaced { uid, message }) = named else {
        return Err(Reply::bad("A message to be replaced is missing"));
    };
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

async fn keep(user: &User, name: &str, messages: Vec<NewMessage>) -> Outcome {
    let appended = user.mailbox().append(name, messages).await.map_err(try_create)?;
    Ok(Reply::ok("Appended").with(append_uid(appended)))
}
