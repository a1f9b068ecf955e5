//! The dialogue as a state machine: a reply in, an [`Action`] out.

use std::collections::VecDeque;

use letterlock_address::ForwardPath;
use letterlock_smtp_wire::command::{Body, Command, Mail, MailParams, Rcpt, RcptParams};
use letterlock_smtp_wire::{Capabilities, Extensions, Reply};

use super::{End, Job, Report, Security};
use crate::finding::{Fate, Finding};

/// RCPT commands that are sent at once where the server allows pipelining: their replies fit any window, so that
/// neither side waits for the other to read (RFC 2920 §3.1).
const BATCH: usize = 50;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read one reply, then call [`Dialogue::reply`].
    Wait,
    /// Send these bytes, then the same.
    Send(Vec<u8>),
    /// Drop all input read so far and do the handshake, then call [`Dialogue::secured`].
    StartTls,
    /// Send the message, then read one reply.
    Message(Framing),
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
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Envelope(Round),
    Data(Round),
    Content(Round),
    Reset,
    Ended(End),
}

/// One transaction. There is more than one where a server takes only so many recipients at once.
#[derive(Debug)]
struct Round {
    members: Vec<usize>,
    sender: Sender,
    /// RCPT commands that were sent, and replies to them.
    sent: usize,
    answered: usize,
    accepted: Vec<usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sender {
    Asked,
    Accepted,
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct Dialogue<'a> {
    job: &'a Job,
    host: String,
    security: Security,
    offered: Capabilities,
    state: State,
    /// Recipients that belong to no transaction yet.
    open: VecDeque<usize>,
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
            offered: Capabilities::default(),
            state: State::Greeting,
            open: recipients.into_iter().filter(|place| places.contains(place)).collect(),
            findings: Vec::new(),
        }
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
            return self.trouble(self.said(reply));
        }
        match state {
            State::Greeting if reply.is_success() => self.hello(),
            State::Greeting | State::Helo if !reply.is_success() => self.refused(reply),
            State::Ehlo => self.ehlo(reply),
            // Greeting was dealt with above.
            State::Helo | State::Greeting => self.begin(),
            State::StartTls if reply.code == 220 => Action::StartTls,
            // Offered and refused: as if it had not been offered (RFC 3207 §4).
            State::StartTls => self.begin(),
            State::Envelope(round) => self.envelope(round, reply),
            State::Data(round) => self.data(round, reply),
            State::Content(round) => self.content(round, reply),
            State::Reset if reply.is_success() => self.start_round(),
            State::Reset => self.trouble(self.said(reply)),
            State::Handshake => self.out_of_turn(),
            State::Ended(end) => self.end(end),
        }
    }

    /// The handshake succeeded: everything learned before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) -> Action {
        self.security = Security::Active;
        self.offered = Capabilities::default();
        self.hello()
    }

    /// The connection is of no use any more, as the finding says. Whom the message was sent for may or may not have
    /// it; a duplicate is better than a loss, but not at once by another host.
    pub fn lost(&mut self, finding: Finding) {
        match std::mem::replace(&mut self.state, State::Handshake) {
            State::Ended(end) => self.state = State::Ended(end),
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
        Report { findings: self.findings, end }
    }

    fn hello(&mut self) -> Action {
        self.state = State::Ehlo;
        Action::Send(Command::Ehlo(self.job.own.clone()).to_bytes())
    }

    fn ehlo(&mut self, reply: &Reply) -> Action {
        if reply.is_permanent() {
            // RFC 5321 §3.2: a server of old.
            self.state = State::Helo;
            return Action::Send(Command::Helo(self.job.own.clone()).to_bytes());
        }
        if !reply.is_success() {
            return self.trouble(self.said(reply));
        }
        self.offered = Capabilities::parse(reply);
        if self.security == Security::Wanted && self.offered.offers(Extensions::STARTTLS) {
            self.state = State::StartTls;
            return Action::Send(Command::StartTls.to_bytes());
        }
        self.begin()
    }

    /// The server is known: can it take the message?
    fn begin(&mut self) -> Action {
        match self.obstacle() {
            Some(finding) => self.end(End::Refused(finding)),
            None => self.after_round(),
        }
    }

    /// What is ours to refuse. The message is never converted, as that would break its signatures.
    fn obstacle(&self) -> Option<Finding> {
        let lacks = |extension| !self.offered.offers(extension);
        let (content, host) = (&self.job.content, &self.host);
        if self.job.needs_smtputf8() && lacks(Extensions::SMTPUTF8) {
            let text = format!("{host} takes no internationalised addresses or headers (SMTPUTF8)");
            return Some(Finding::failed(6, 7, text));
        }
        if content.eight_bit && lacks(Extensions::EIGHT_BIT_MIME) {
            let text = format!("{host} takes no messages with 8-bit characters (8BITMIME)");
            return Some(Finding::failed(6, 3, text));
        }
        if content.bare_newline && lacks(Extensions::CHUNKING) {
            let text = format!("the message has broken line ends, which {host} could misread");
            return Some(Finding::failed(6, 0, text));
        }
        match self.offered.max_size {
            Some(limit) if content.size > limit => {
                let text = format!("the message has {} octets; {host} takes {limit}", content.size);
                Some(Finding::failed(3, 4, text))
            }
            _ => None,
        }
    }

    fn after_round(&mut self) -> Action {
        if self.open.is_empty() { self.end(End::Complete) } else { self.start_round() }
    }

    fn start_round(&mut self) -> Action {
        let most = self.offered.limits.rcpt_max.map_or(usize::MAX, |most| most as usize);
        let members: Vec<usize> = self.open.drain(..most.min(self.open.len())).collect();
        let mut round =
            Round { members, sender: Sender::Asked, sent: 0, answered: 0, accepted: Vec::new() };
        let mut bytes = Command::Mail(self.mail()).to_bytes();
        if self.offered.offers(Extensions::PIPELINING) {
            self.push_recipients(&mut round, &mut bytes);
        }
        self.state = State::Envelope(round);
        Action::Send(bytes)
    }

    fn mail(&self) -> Mail {
        let offers = |extension| self.offered.offers(extension);
        let content = &self.job.content;
        let body = match (content.eight_bit, content.bare_newline) {
            (_, true) if offers(Extensions::BINARY_MIME) => Body::BinaryMime,
            (true, _) => Body::EightBitMime,
            _ => Body::SevenBit,
        };
        let dsn = offers(Extensions::DSN);
        let params = MailParams {
            size: offers(Extensions::SIZE).then_some(content.size),
            body,
            smtputf8: self.job.needs_smtputf8(),
            ret: self.job.ret.filter(|_| dsn),
            envid: self.job.envid.clone().filter(|_| dsn),
            ..MailParams::default()
        };
        Mail { path: self.job.reverse_path.clone(), params }
    }

    /// The next RCPT commands: a batch with pipelining, else one.
    fn push_recipients(&self, round: &mut Round, bytes: &mut Vec<u8>) {
        let batch = if self.offered.offers(Extensions::PIPELINING) { BATCH } else { 1 };
        let dsn = self.offered.offers(Extensions::DSN);
        for place in round.members.iter().skip(round.sent).take(batch) {
            let recipient = &self.job.recipients[*place]; // `new` lets only places of the job in
            let params = RcptParams {
                notify: recipient.notify.filter(|_| dsn),
                orcpt: recipient.orcpt.as_ref().filter(|_| dsn).cloned(),
            };
            let path = ForwardPath::Mailbox(recipient.address.clone());
            Command::Rcpt(Rcpt { path, params, non_ascii: false }).encode(bytes);
        }
        round.sent = round.members.len().min(round.sent + batch);
    }

    fn envelope(&mut self, mut round: Round, reply: &Reply) -> Action {
        if reply.is_intermediate() {
            return self.out_of_turn();
        }
        match round.sender {
            Sender::Asked if reply.is_success() => round.sender = Sender::Accepted,
            // It wants TLS, of which a handshake just came to nothing: the next one may not (RFC 3207 §4).
            Sender::Asked if reply.code == 530 && self.security == Security::Plain => {
                return self.trouble(self.said(reply));
            }
            Sender::Asked => {
                // The same sender would be refused for those of a further round, too.
                round.members.extend(self.open.drain(..));
                self.decide(&round.members, &self.said(reply));
                return self.end(End::Complete);
            }
            Sender::Accepted => self.recipient(&mut round, reply),
        }
        if round.answered < round.sent {
            self.state = State::Envelope(round);
            return Action::Wait;
        }
        if round.sent < round.members.len() {
            let mut bytes = Vec::new();
            self.push_recipients(&mut round, &mut bytes);
            self.state = State::Envelope(round);
            return Action::Send(bytes);
        }
        self.recipients_told(round)
    }

    fn recipient(&mut self, round: &mut Round, reply: &Reply) {
        let Some(place) = round.members.get(round.answered).copied() else { return };
        round.answered += 1;
        if reply.is_success() {
            round.accepted.push(place);
        } else if matches!(reply.code, 452 | 552) && !round.accepted.is_empty() {
            // RFC 5321 §4.5.3.1.10: perhaps too many at once, so that it is worth a round of its own.
            self.open.push_back(place);
        } else {
            self.decide(&[place], &self.said(reply));
        }
    }

    fn recipients_told(&mut self, round: Round) -> Action {
        if round.accepted.is_empty() {
            return self.reset();
        }
        if self.job.content.bare_newline {
            self.state = State::Content(round);
            return Action::Message(Framing::Chunk);
        }
        self.state = State::Data(round);
        Action::Send(Command::Data.to_bytes())
    }

    fn data(&mut self, round: Round, reply: &Reply) -> Action {
        if reply.is_intermediate() {
            self.state = State::Content(round);
            return Action::Message(Framing::Dots);
        }
        if reply.is_success() {
            return self.out_of_turn();
        }
        self.decide(&round.accepted, &self.said(reply));
        self.reset()
    }

    fn content(&mut self, round: Round, reply: &Reply) -> Action {
        self.decide(&round.accepted, &self.said(reply));
        match reply.code {
            421 | 300..400 => self.after(self.said(reply)),
            _ => self.after_round(),
        }
    }

    /// Ends a transaction that sent no message.
    fn reset(&mut self) -> Action {
        if self.open.is_empty() {
            return self.end(End::Complete);
        }
        self.state = State::Reset;
        Action::Send(Command::Rset.to_bytes())
    }

    fn refused(&mut self, reply: &Reply) -> Action {
        let finding = self.said(reply);
        match reply.is_permanent() {
            true => self.end(End::Refused(finding)),
            false => self.trouble(finding),
        }
    }

    fn out_of_turn(&mut self) -> Action {
        let text = format!("{} sent a reply out of turn", self.host);
        self.trouble(Finding::deferred(5, 0, text))
    }

    fn said(&self, reply: &Reply) -> Finding {
        Finding::from_reply(&self.host, reply)
    }

    fn decide(&mut self, places: &[usize], finding: &Finding) {
        self.findings.extend(places.iter().map(|place| (*place, finding.clone())));
    }

    /// After a connection was of no use any more: whoever is left needs another one.
    fn after(&mut self, finding: Finding) -> Action {
        if self.open.is_empty() { self.end(End::Complete) } else { self.trouble(finding) }
    }

    /// Whatever code it was said with: for this host it is trouble, and no verdict on the message.
    fn trouble(&mut self, mut finding: Finding) -> Action {
        finding.fate = Fate::Deferred;
        finding.status.class = 4;
        self.end(End::Trouble(finding))
    }

    fn end(&mut self, end: End) -> Action {
        self.state = State::Ended(end);
        Action::Finish(Command::Quit.to_bytes())
    }
}
