//! One connection from greeting to end: waiting for commands, running them, answering them in order.

use std::net::IpAddr;
use std::sync::Arc;

use letterlock_imap_wire::response::{Status, capability, continuation, id};
use letterlock_imap_wire::{Code, Command, Event, NumberSet, Tagged};
use letterlock_login::sasl::Ground;
use letterlock_mailbox::SelectMode;
use letterlock_net::Shutdown;
use tokio::time::{Instant, sleep_until};

use crate::capability::{Capabilities, Security};
use crate::enable::enable;
use crate::names::Own;
use crate::news::after_command;
use crate::notify::Notify;
use crate::outcome::{Ended, LOCKED, Outcome, Reply, settle};
use crate::refresh::{refresh, tell_removed};
use crate::requires::refused;
use crate::select::{Selected, closed};
use crate::serve::Imap;
use crate::session::{State, User, allowed, numbers_refused, refusal, removals, speaks_uids};
use crate::wire::{PROGRESS, Wire};
use crate::{account, carry, fetch, folders, list, metadata, multi, resync, search, sort, store};

/// Bad commands in a row, before and after login, after which a client is sent away. A client that is merely new to some
/// extension stays far below; what speaks another protocol does not.
const BAD_BEFORE_LOGIN: u32 = 10;
const BAD_AFTER_LOGIN: u32 = 50;

/// One client.
pub(crate) struct Connection<'a> {
    pub(crate) imap: &'a Imap,
    pub(crate) peer: IpAddr,
    pub(crate) wire: Wire,
    shutdown: Shutdown,
    /// Until when somebody has to be logged in.
    pub(crate) login_by: Instant,
    /// Bad commands in a row.
    bad: u32,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(imap: &'a Imap, peer: IpAddr, wire: Wire, shutdown: Shutdown) -> Self {
        let login_by = Instant::now() + imap.limits.login_timeout;
        Self { imap, peer, wire, shutdown, login_by, bad: 0 }
    }

    /// Serves the client to the end, and closes.
    pub(crate) async fn run(mut self) {
        let greeting = Reply::ok("Letterlock IMAP ready")
            .with(Code::Capability(self.capabilities(&State::NotAuthenticated)));
        greeting.write(&mut self.wire.out, None);
        let mut state = State::NotAuthenticated;
        let ended = loop {
            state = match self.step(state).await {
                Ok(State::Logout) => break Ended::Gone,
                Ok(State::Handshake) => {
                    if self.wire.flush().await.is_err() {
                        return;
                    }
                    let (tls, limits) = (&self.imap.tls, self.imap.first_limits());
                    let handshake =
                        self.wire.start_tls(tls, limits, self.imap.limits.tls_handshake);
                    match Box::pin(handshake).await {
                        Ok(wire) => self.wire = wire,
                        Err(error) => {
                            tracing::debug!(%error, "STARTTLS failed");
                            return;
                        }
                    }
                    self.bad = 0;
                    State::NotAuthenticated
                }
                Ok(state) => state,
                Err(ended) => break ended,
            };
        };
        if let Ended::Bye(text) = ended {
            tracing::debug!(reason = %text, "session ended by the server");
            let text = Reply { status: Status::Bye, ..Reply::ok(text) };
            text.write(&mut self.wire.out, None);
        }
        if self.wire.flush().await.is_ok() {
            self.wire.close().await;
        }
    }

    /// What SASL stands on here.
    pub(crate) fn ground(&self) -> Ground {
        Ground::new(self.wire.channel_bindings(), self.imap.login.offered_salts())
    }

    /// How passwords would travel.
    pub(crate) fn security(&self) -> Security {
        match (self.wire.is_tls(), self.imap.allow_cleartext) {
            (true, _) => Security::Tls,
            (false, true) => Security::PlainAllowed,
            (false, false) => Security::Plain,
        }
    }

    async fn step(&mut self, mut state: State) -> Result<State, Ended> {
        let event = match state.user().is_some_and(listens) {
            true => Box::pin(self.next_or_news(&mut state)).await?,
            false => self.next(state.user()).await?,
        };
        match event {
            // Boxed, so that a session which waits carries nothing of it.
            Event::Command(tagged) => Box::pin(self.command(state, tagged)).await,
            Event::AppendBegin(begin) => Box::pin(self.append(state, begin)).await,
            Event::Fatal { text } => Err(Ended::Bye(text.into())),
            Event::Continue => {
                continuation(&mut self.wire.out, "Ready for the literal");
                Ok(state)
            }
            Event::Bad { tag, text } => {
                self.complete(&state, tag.as_deref(), &Reply::bad(text)).map(|()| state)
            }
            Event::No { tag, code, text, clears_saved } => {
                if let State::Selected(_, selected) = &mut state
                    && clears_saved
                {
                    selected.view.save(NumberSet::new());
                }
                self.complete(&state, Some(&tag), &Reply::no(text).with(code)).map(|()| state)
            }
            // These follow only what asks for them, and whoever asks takes them.
            Event::Line(_)
            | Event::AppendChunk(_)
            | Event::CatenateUrl(_)
            | Event::CatenateText { .. }
            | Event::AppendEnd
            | Event::AppendDone { .. } => Ok(state),
        }
    }

    /// Waits for what the client does next. Before that, everything that was gathered for it goes out.
    pub(crate) async fn next(&mut self, user: Option<&User>) -> Result<Event, Ended> {
        // Commands that came together are answered together, as long as that is not much.
        self.wire.relieve().await?;
        let deadline = self.deadline(user);
        self.next_by(user, deadline).await
    }

    /// [`Self::next`] with a time limit of its own. While nothing is gathered for the client, it may be given up.
    pub(crate) async fn next_by(
        &mut self,
        user: Option<&User>,
        deadline: Instant,
    ) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            self.wire.flush().await?;
            tokio::select! {
                biased;
                () = self.shutdown.draining() => {}
                () = locked(user) => return Err(Ended::Bye(LOCKED.into())),
                read = self.wire.fill() => if read? == 0 { return Err(Ended::Gone) },
                () = sleep_until(deadline) => return Err(Ended::Bye("You were silent for too long".into())),
            }
        }
    }

    /// What the client did already.
    pub(crate) fn ready(&mut self) -> Result<Option<Event>, Ended> {
        match self.shutdown.is_draining() {
            true => Err(Ended::Bye("The server is shutting down".into())),
            false => Ok(self.wire.event()),
        }
    }

    pub(crate) fn deadline(&self, user: Option<&User>) -> Instant {
        match user {
            Some(_) => Instant::now() + self.imap.limits.imap_idle,
            None => self.login_by,
        }
    }

    /// Writes a tagged answer, and counts bad commands.
    pub(crate) fn complete(
        &mut self,
        state: &State,
        tag: Option<&str>,
        reply: &Reply,
    ) -> Result<(), Ended> {
        reply.write(&mut self.wire.out, tag);
        self.bad = if reply.status == Status::Bad { self.bad + 1 } else { 0 };
        let limit = if state.user().is_some() { BAD_AFTER_LOGIN } else { BAD_BEFORE_LOGIN };
        if self.bad >= limit { Err(Ended::Bye("Too many bad commands".into())) } else { Ok(()) }
    }

    async fn command(&mut self, state: State, tagged: Tagged) -> Result<State, Ended> {
        let Tagged { tag, command } = tagged;
        let refusal = refusal(allowed(&command), &state);
        let refusal = refusal
            .or_else(|| refused(&command, self.offered(state.user())))
            .or_else(|| numbers_refused(&command, state.user()));
        if let Some(reply) = refusal {
            self.complete(&state, Some(&tag), &reply)?;
            return Ok(state);
        }
        let (removals, uids) = (removals(&command), speaks_uids(&command));
        let expunges =
            matches!(command, Command::Expunge | Command::UidExpunge(_) | Command::Move(_));
        let compresses = matches!(command, Command::Compress(_));
        let own = state.user().filter(|user| listens(user)).map(|user| Own::of(user, &command));
        let mut state = state;
        resync::enable(&mut state, resync::enables(&command), &mut self.wire.out);
        let (mut state, mut reply) = self.perform(state, &tag, command).await?;
        Box::pin(after_command(&mut state, &reply, own, &mut self.wire)).await?;
        if let State::Selected(user, selected) = &mut state {
            let before = selected.view.modseq();
            if expunges && user.notify.hearing().is_none() {
                Box::pin(tell_removed(user, selected, &mut self.wire)).await?;
            }
            refresh(user, selected, removals, uids, &mut self.wire).await?;
            if expunges && reply.status == Status::Ok && selected.view.modseq() > before {
                reply.code = reply.code.or_else(|| resync::highest(user, selected));
            }
            if selected.view.has_gone() && reply.code.is_none() && reply.status != Status::Bad {
                reply = reply.with(Code::ExpungeIssued);
            }
        }
        self.complete(&state, Some(&tag), &reply)?;
        if compresses && reply.status == Status::Ok {
            self.wire.compress().await?;
        }
        if matches!(state, State::NotAuthenticated) && self.wire.is_compressed() {
            Box::pin(self.wire.decompress()).await?;
        }
        Ok(state)
    }

    async fn perform(
        &mut self,
        state: State,
        tag: &str,
        command: Command,
    ) -> Result<(State, Reply), Ended> {
        match (state, command) {
            (state, Command::Noop) => Ok((state, Reply::ok("Nothing done"))),
            (state, Command::Capability) => {
                let names = self.capabilities(&state);
                capability(&mut self.wire.out, &names);
                Ok((state, Reply::ok("These are the capabilities")))
            }
            (state, Command::Id(fields)) => {
                tracing::debug!(?fields, "client's ID");
                id(&mut self.wire.out, &[("name", Some("Letterlock"))]);
                Ok((state, Reply::ok("Pleased to meet you")))
            }
            (state, Command::Language(wanted)) => {
                Ok((state, account::run_language(&wanted, &mut self.wire.out)))
            }
            (_, Command::Logout) => {
                Reply { status: Status::Bye, ..Reply::ok("Goodbye") }
                    .write(&mut self.wire.out, None);
                Ok((State::Logout, Reply::ok("Logged out")))
            }
            (State::NotAuthenticated, command) => Box::pin(self.before_login(command)).await,
            (State::Authenticated(user), command) => {
                Box::pin(self.with_user(user, None, tag, command)).await
            }
            (State::Selected(user, selected), command) => {
                Box::pin(self.with_user(user, Some(selected), tag, command)).await
            }
            (state @ (State::Handshake | State::Logout), _) => Ok((state, Reply::bad("Not now"))),
        }
    }

    /// What this client may use.
    pub(crate) fn offered<'s>(&'s self, user: Option<&'s User>) -> &'s Capabilities {
        user.map_or(&self.imap.capabilities, |user| user.capabilities())
    }

    pub(crate) fn capabilities(&self, state: &State) -> Vec<String> {
        match state.user() {
            Some(user) => user.capabilities().after_login(),
            None => self.imap.capabilities.before_login(self.security(), &self.ground()),
        }
    }

    /// Commands that change what is selected, or the user's session; all others in [`Self::with_mailbox`].
    async fn with_user(
        &mut self,
        user: User,
        selected: Option<Box<Selected>>,
        tag: &str,
        command: Command,
    ) -> Result<(State, Reply), Ended> {
        match (command, selected) {
            (Command::Select(command), selected) => {
                Box::pin(self.reselect(user, selected, &command, SelectMode::ReadWrite)).await
            }
            (Command::Examine(command), selected) => {
                Box::pin(self.reselect(user, selected, &command, SelectMode::ReadOnly)).await
            }
            (Command::Unselect, Some(selected)) => {
                Ok((leave(user, &selected), Reply::ok("Mailbox is closed")))
            }
            (Command::Close, Some(selected)) => {
                let reply = settle(carry::close(&user, &selected, &mut self.wire).await)?;
                Ok((leave(user, &selected), reply))
            }
            (Command::CancelUpdate(tags), Some(mut selected)) => {
                let reply = selected.contexts.cancel(&tags);
                Ok((State::Selected(user, selected), reply))
            }
            (Command::Notify(command), mut selected) => {
                let mut user = user;
                let notifying = Box::pin(self.notify(&mut user, selected.as_deref_mut(), command));
                let reply = settle(notifying.await)?;
                Ok((stay(user, selected), reply))
            }
            (Command::Enable(names), selected) => {
                let capabilities = Arc::clone(user.capabilities());
                let mut state = stay(user, selected);
                enable(&mut state, &names, &capabilities, &mut self.wire.out);
                Ok((state, Reply::ok("Enabled")))
            }
            (Command::Unauthenticate, selected) => Ok(self.unauthenticate(user, selected)),
            (Command::Delete(name), selected) => {
                let reply = settle(folders::delete(&user, &name, &mut self.wire.out).await)?;
                match selected {
                    // Our own doing is no surprise: the session goes on without a mailbox.
                    Some(gone) if gone.is_deleted() && !user.mailbox().is_closed() => {
                        closed(&mut self.wire.out);
                        Ok((State::Authenticated(user), reply))
                    }
                    selected => Ok((stay(user, selected), reply)),
                }
            }
            (Command::Compress(mechanism), selected) => {
                let reply = self.wire.check_compress(&mechanism);
                Ok((stay(user, selected), reply))
            }
            (Command::Idle, mut selected) => {
                let mut user = user;
                let idling = Box::pin(self.idle(&mut user, selected.as_deref_mut()));
                let reply = settle(idling.await)?;
                Ok((stay(user, selected), reply))
            }
            (command, mut selected) => {
                let outcome = self.with_mailbox(&user, selected.as_deref_mut(), tag, command).await;
                let reply = settle(outcome)?;
                Ok((stay(user, selected), reply))
            }
        }
    }

    /// Large handlers are boxed, so that a session which idles carries none of their state.
    async fn with_mailbox(
        &mut self,
        user: &User,
        selected: Option<&mut Selected>,
        tag: &str,
        command: Command,
    ) -> Outcome {
        let wire = &mut self.wire;
        match (command, selected) {
            (Command::List(command), _) => Box::pin(list::list(user, &command, wire)).await,
            (Command::Lsub { reference, pattern }, _) => {
                Box::pin(list::lsub(user, &reference, &pattern, wire)).await
            }
            (Command::Fetch(command), Some(selected)) => {
                Box::pin(fetch::fetch(user, selected, &command, wire)).await
            }
            (Command::Store(command), Some(selected)) => {
                Box::pin(store::store(user, selected, &command, wire)).await
            }
            (Command::Search(command), Some(selected)) => {
                Box::pin(search::search(user, selected, command, tag, wire)).await
            }
            (Command::MultiSearch(command), selected) => {
                Box::pin(multi::search(user, selected, command, tag, wire)).await
            }
            (Command::Copy(command), Some(selected)) => {
                let copying = Box::pin(carry::copy(user, selected, &command));
                wire.during(tag, PROGRESS, copying).await?
            }
            (Command::Move(command), Some(selected)) => {
                Box::pin(carry::move_(user, selected, &command, tag, wire)).await
            }
            (Command::Expunge, Some(selected)) => {
                let expunging = Box::pin(carry::expunge(user, selected, None));
                wire.during(tag, PROGRESS, expunging).await?
            }
            (Command::UidExpunge(set), Some(selected)) => {
                let expunging = Box::pin(carry::expunge(user, selected, Some(&set)));
                wire.during(tag, PROGRESS, expunging).await?
            }
            (Command::Sort(command), Some(selected)) => {
                Box::pin(sort::sort(user, selected, command, tag, wire)).await
            }
            (Command::Thread(command), Some(selected)) => {
                Box::pin(sort::thread(user, selected, command, tag, wire)).await
            }
            (Command::Quota(command), _) => {
                Box::pin(account::run_quota(user, command, &mut wire.out)).await
            }
            (Command::Acl(command), _) => {
                Box::pin(account::run_acl(user, command, &mut wire.out)).await
            }
            (Command::GetMetadata(command), _) => {
                Box::pin(metadata::get(user, &command, wire)).await
            }
            (Command::SetMetadata(command), _) => Box::pin(metadata::set(user, command)).await,
            (Command::Check, Some(_)) => Ok(Reply::ok("Checked")),
            (command, _) => Box::pin(folders::run(user, command, wire)).await,
        }
    }
}

/// Whether the client hears of events at any time.
fn listens(user: &User) -> bool {
    matches!(user.notify, Notify::Set(_))
}

/// The session goes on without a mailbox.
fn leave(mut user: User, selected: &Selected) -> State {
    user.notify.left(selected);
    State::Authenticated(user)
}

/// The session goes on with the mailbox, or without one.
pub(crate) fn stay(user: User, selected: Option<Box<Selected>>) -> State {
    match selected {
        Some(selected) => State::Selected(user, selected),
        None => State::Authenticated(user),
    }
}

/// Resolves when the user's account is locked; never without a user.
async fn locked(user: Option<&User>) {
    match user {
        Some(user) => user.mailbox().closed().await,
        None => std::future::pending().await,
    }
}
