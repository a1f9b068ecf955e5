//! The dialogue as a state machine: a reply in, an [`Action`] out.

use std::collections::VecDeque;

use letterlock_smtp_wire::command::Command;
use letterlock_smtp_wire::{Extensions, Reply};

use super::{End, Job, Login, Report, Security, Standing};
use crate::finding::{Fate, Finding};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read one reply, then call [`Dialogue::reply`].
    Wait,
    /// Send these bytes, then the same.
    Send(Vec<u8>),
    /// Drop all input read so far and do the handshake, then call [`Dialogue::secured`].
    StartTls,
    /// Say whether the message may go over this connection: [`Dialogue::allow`] or [`Dialogue::forbid`].
    Judge,
    /// Send the message, then read one reply.
    Message(Framing),
    /// Nothing more to say. The connection may carry another message, from [`Dialogue::standing`] on, or QUIT.
    Rest,
    /// Send these bytes and close.
    Finish(Vec<u8>),
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Dot-stuffed, behind DATA.
    Dots,
    /// Octet by octet, as one chunk of BDAT (RFC 3030), whose command belongs to the sending.
    Chunk,
}

/// For what a dialogue waits, as the time limits tell apart (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The greeting.
    Greeting,
    /// The reply to a command.
    Command,
    /// The reply to DATA.
    DataStart,
    /// The reply to the message.
    DataEnd,
}

#[derive(Debug)]
pub(super) enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Judge,
    /// AUTH was said, and so many of LOGIN's answers.
    Login(usize),
    /// A connection that carried another message is asked whether it is still there; with pipelining, the first round
    /// was sent along.
    Resume(Option<Round>),
    Envelope(Round),
    Data(Round),
    Content(Round),
    /// DATA was sent along and taken, though nobody was: an empty message was sent in its place.
    Void,
    Reset,
    Ended(End),
}

/// One transaction. There is more than one where a server takes only so many recipients at once.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) members: Vec<usize>,
    pub(super) sender: Sender,
    /// RCPT commands that were sent, and replies to them.
    pub(super) sent: usize,
    pub(super) answered: usize,
    pub(super) accepted: Vec<usize>,
    /// DATA was sent along with the last of them.
    pub(super) data: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Asked,
    Accepted,
    /// Everybody's fate is decided, but the answers to RCPT commands that were sent along are still to come.
    Refused,
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct Dialogue<'a> {
    pub(super) job: &'a Job,
    pub(super) host: String,
    pub(super) security: Security,
    /// With which to log in, before anything else is said.
    pub(super) login: Option<&'a Login>,
    pub(super) standing: Standing,
    pub(super) state: State,
    /// Recipients that belong to no transaction yet.
    pub(super) open: VecDeque<usize>,
    findings: Vec<(usize, Finding)>,
}

impl<'a> Dialogue<'a> {
    /// A dialogue with the host of this name about these recipients of the job. It begins by waiting for the greeting.
    pub fn new(
        job: &'a Job,
        recipients: impl IntoIterator<Item = usize>,
        host: &str,
        security: Security,
    ) -> Self {
        let places = 0..job.recipients.len();
        Self {
            job,
            host: host.to_owned(),
            security,
            login: None,
            standing: Standing::default(),
            state: State::Greeting,
            open: recipients.into_iter().filter(|place| places.contains(place)).collect(),
            findings: Vec::new(),
        }
    }

    /// Logs in before it begins; only where [`Action::Judge`] found the server's certificate verified.
    pub fn with_login(mut self, login: Option<&'a Login>) -> Self {
        self.login = login;
        self
    }

    /// A dialogue over a connection that stands so after another message. It begins with [`Dialogue::resume`].
    pub fn resumed(
        job: &'a Job,
        recipients: impl IntoIterator<Item = usize>,
        host: &str,
        standing: Standing,
    ) -> Self {
        let fresh = Self::new(job, recipients, host, Security::Active);
        Self { standing, state: State::Resume(None), ..fresh }
    }

    /// What is sent first over such a connection: RSET, since it may have died, and a transaction may be open. With
    /// pipelining the transaction comes right behind it: an answer to RSET that is none of success's ends it before the
    /// message.
    pub fn resume(&mut self) -> Action {
        let mut bytes = Command::Rset.to_bytes();
        let pipelining = self.standing.offered.offers(Extensions::PIPELINING);
        let ahead = match pipelining && self.obstacle().is_none() {
            true => self.open_round(&mut bytes),
            false => None,
        };
        self.state = State::Resume(ahead);
        Action::Send(bytes)
    }

    /// How the connection stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the server would pass REQUIRETLS on (RFC 8689).
    pub fn offers_requiretls(&self) -> bool {
        self.standing.offered.offers(Extensions::REQUIRETLS)
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// For what it waits.
    pub fn patience(&self) -> Patience {
        match self.state {
            State::Greeting => Patience::Greeting,
            State::Data(_) => Patience::DataStart,
            State::Content(_) => Patience::DataEnd,
            _ => Patience::Command,
        }
    }

    /// Takes a reply.
    pub fn reply(&mut self, reply: &Reply) -> Action {
        let state = std::mem::replace(&mut self.state, State::Handshake);
        // 421 may be said at any time and ends the session (RFC 5321 §3.8), but the answer to a message is its answer.
        if reply.code == 421 && !matches!(state, State::Content(_) | State::Ended(_)) {
            if matches!(state, State::Resume(_)) {
                return self.end(End::Reconnect);
            }
            return self.trouble(self.said(reply));
        }
        match state {
            State::Greeting if reply.is_success() => self.hello(),
            State::Greeting | State::Helo if !reply.is_success() => self.refused(reply),
            State::Ehlo => self.ehlo(reply),
            // Greeting was dealt with above.
            State::Helo | State::Greeting => self.ask(),
            State::StartTls if reply.code == 220 => Action::StartTls,
            // Offered and refused: as if it had not been offered (RFC 3207 §4).
            State::StartTls => self.ask(),
            State::Login(step) => self.logging_in(step, reply),
            State::Resume(ahead) if reply.is_success() => self.still_there(ahead),
            State::Resume(_) => self.end(End::Reconnect),
            State::Envelope(round) => self.envelope(round, reply),
            State::Data(round) => self.data(round, reply),
            State::Content(round) => self.content(round, reply),
            State::Void if reply.is_intermediate() => self.out_of_turn(),
            State::Void => self.reset(),
            State::Reset if reply.is_success() => self.start_round(),
            State::Reset => self.trouble(self.said(reply)),
            State::Handshake | State::Judge => self.out_of_turn(),
            State::Ended(end) => self.end(end),
        }
    }

    /// The handshake succeeded: everything learned before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) -> Action {
        self.security = Security::Active;
        self.standing = Standing::default();
        self.hello()
    }

    /// The connection is of no use any more, as the finding says. Whom the message was sent for may or may not have
    /// it; a duplicate is better than a loss, but not at once by another host.
    pub fn lost(&mut self, finding: Finding) {
        match std::mem::replace(&mut self.state, State::Handshake) {
            State::Ended(end) => self.state = State::Ended(end),
            State::Resume(_) => self.state = State::Ended(End::Reconnect),
            State::Content(round) => {
                self.decide(&round.accepted, &finding);
                self.after(finding);
            }
            _ => {
                self.trouble(finding);
            }
        }
    }

    /// What came of it. A dialogue that was not led to its end is trouble.
    pub fn into_report(mut self) -> Report {
        let broken_off = || Finding::deferred(4, 2, "the dialogue was broken off");
        self.lost(broken_off());
        let end = match self.state {
            State::Ended(end) => end,
            _ => End::Trouble(broken_off()),
        };
        let dsn = self.standing.offered.offers(Extensions::DSN);
        Report { findings: self.findings, end, dsn }
    }

    fn still_there(&mut self, ahead: Option<Round>) -> Action {
        let Some(round) = ahead else { return self.begin() };
        self.state = State::Envelope(round);
        Action::Wait
    }

    pub(super) fn refused(&mut self, reply: &Reply) -> Action {
        let finding = self.said(reply);
        match reply.is_permanent() {
            true => self.end(End::Refused(finding)),
            false => self.trouble(finding),
        }
    }

    pub(super) fn out_of_turn(&mut self) -> Action {
        let text = format!("{} sent a reply out of turn", self.host);
        self.trouble(Finding::deferred(5, 0, text))
    }

    pub(super) fn said(&self, reply: &Reply) -> Finding {
        Finding::from_reply(&self.host, reply)
    }

    pub(super) fn decide(&mut self, places: &[usize], finding: &Finding) {
        self.findings.extend(places.iter().map(|place| (*place, finding.clone())));
    }

    /// After a connection was of no use any more: whoever is left needs another one.
    pub(super) fn after(&mut self, finding: Finding) -> Action {
        if self.open.is_empty() { self.end(End::Complete) } else { self.trouble(finding) }
    }

    /// Whatever code it was said with: for this host it is trouble, and no verdict on the message.
    pub(super) fn trouble(&mut self, mut finding: Finding) -> Action {
        finding.fate = Fate::Deferred;
        finding.status.class = 4;
        self.end(End::Trouble(finding))
    }

    /// Everything is said, and the connection is as good as before.
    pub(super) fn rest(&mut self) -> Action {
        self.state = State::Ended(End::Complete);
        Action::Rest
    }

    pub(super) fn end(&mut self, end: End) -> Action {
        self.state = State::Ended(end);
        Action::Finish(Command::Quit.to_bytes())
    }
}
