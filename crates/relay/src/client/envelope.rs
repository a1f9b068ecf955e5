//! The dialogue's part that every message has: MAIL, RCPT, and the message itself.

use letterlock_address::ForwardPath;
use letterlock_smtp_wire::command::{Body, Command, Mail, MailParams, Rcpt, RcptParams};
use letterlock_smtp_wire::{Extensions, Reply};

use super::dialogue::{Action, Dialogue, Framing, Round, Sender, State};
use super::{End, Security};

/// RCPT commands that are sent at once where the server allows pipelining: their replies fit any window, so that
/// neither side waits for the other to read (RFC 2920 §3.1).
const BATCH: usize = 50;

impl Dialogue<'_> {
    /// The recipients of the next transaction, within the server's limits (RFC 9422 §4).
    fn members(&mut self) -> Vec<usize> {
        let limits = self.standing.offered.limits;
        let most = limits.rcpt_max.map_or(usize::MAX, |most| most as usize);
        let Some(domains) = limits.rcpt_domain_max else {
            return self.open.drain(..most.min(self.open.len())).collect();
        };
        let (mut members, mut left) = (Vec::new(), std::collections::VecDeque::new());
        for place in self.open.drain(..) {
            let domain = self.job.recipients[place].address.domain.as_str(); // `new` lets only places of the job in
            let known = self.standing.domains.contains(domain);
            let fits = known || self.standing.domains.len() < domains as usize;
            if fits && members.len() < most {
                self.standing.domains.insert(domain.to_owned());
                members.push(place);
            } else {
                left.push_back(place);
            }
        }
        self.open = left;
        members
    }

    pub(super) fn after_round(&mut self) -> Action {
        if self.open.is_empty() { self.rest() } else { self.start_round() }
    }

    pub(super) fn start_round(&mut self) -> Action {
        let mut bytes = Vec::new();
        match self.open_round(&mut bytes) {
            Some(round) => {
                self.state = State::Envelope(round);
                Action::Send(bytes)
            }
            // The server's limits for one connection are reached (RFC 9422 §4).
            None => self.end(End::Reconnect),
        }
    }

    /// The next transaction with its first commands; `None` if the connection can carry none.
    pub(super) fn open_round(&mut self, bytes: &mut Vec<u8>) -> Option<Round> {
        let members = if self.standing.has_room() { self.members() } else { Vec::new() };
        if members.is_empty() {
            return None;
        }
        self.standing.mails = self.standing.mails.saturating_add(1);
        let mut round = Round {
            members,
            sender: Sender::Asked,
            sent: 0,
            answered: 0,
            accepted: Vec::new(),
            data: false,
        };
        Command::Mail(self.mail()).encode(bytes);
        if self.standing.offered.offers(Extensions::PIPELINING) {
            self.push_recipients(&mut round, bytes);
        }
        Some(round)
    }

    /// Whether the message goes by BDAT.
    fn in_chunks(&self) -> bool {
        self.job.content.bare_newline || self.job.content.binary
    }

    fn mail(&self) -> Mail {
        let offers = |extension| self.standing.offered.offers(extension);
        let content = &self.job.content;
        let binary = content.binary || content.bare_newline;
        let body = match content.eight_bit {
            _ if binary && offers(Extensions::BINARY_MIME) => Body::BinaryMime,
            true => Body::EightBitMime,
            false => Body::SevenBit,
        };
        let dsn = offers(Extensions::DSN);
        let params = MailParams {
            size: offers(Extensions::SIZE).then_some(content.size),
            body,
            smtputf8: self.job.needs_smtputf8(),
            ret: self.job.ret.filter(|_| dsn),
            envid: self.job.envid.clone().filter(|_| dsn),
            requiretls: self.job.require_tls,
            ..MailParams::default()
        };
        Mail { path: self.job.reverse_path.clone(), params }
    }

    /// The next RCPT commands: a batch with pipelining, else one. With pipelining, DATA goes along with the last of them
    /// (RFC 2920 §3.1 lets it end a group), which saves a round trip for each message.
    fn push_recipients(&self, round: &mut Round, bytes: &mut Vec<u8>) {
        let pipelining = self.standing.offered.offers(Extensions::PIPELINING);
        let batch = if pipelining { BATCH } else { 1 };
        let dsn = self.standing.offered.offers(Extensions::DSN);
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
        if pipelining && round.sent == round.members.len() && !self.in_chunks() {
            Command::Data.encode(bytes);
            round.data = true;
        }
    }

    pub(super) fn envelope(&mut self, mut round: Round, reply: &Reply) -> Action {
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
                round.sender = Sender::Refused;
            }
            Sender::Accepted => self.recipient(&mut round, reply),
            // A recipient of a message that has no sender: the answers are not those to what was asked, and an empty
            // message could reach somebody.
            Sender::Refused if reply.is_success() => return self.out_of_turn(),
            Sender::Refused => round.answered += 1,
        }
        if round.answered < round.sent {
            self.state = State::Envelope(round);
            return Action::Wait;
        }
        if round.sender == Sender::Refused && !round.data {
            return self.rest();
        }
        if round.data {
            self.state = State::Data(round);
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
        if self.in_chunks() {
            self.state = State::Content(round);
            return Action::Message(Framing::Chunk);
        }
        self.state = State::Data(round);
        Action::Send(Command::Data.to_bytes())
    }

    pub(super) fn data(&mut self, round: Round, reply: &Reply) -> Action {
        if round.accepted.is_empty() {
            return self.data_for_nobody(reply);
        }
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

    /// The answer to a DATA that was sent along with recipients of whom none was taken. A server that goes on all the
    /// same gets an empty message (RFC 2920 §3.1).
    fn data_for_nobody(&mut self, reply: &Reply) -> Action {
        if reply.is_intermediate() {
            self.state = State::Void;
            return Action::Send(b".\r\n".to_vec());
        }
        if reply.is_success() {
            return self.out_of_turn();
        }
        self.reset()
    }

    pub(super) fn content(&mut self, round: Round, reply: &Reply) -> Action {
        self.decide(&round.accepted, &self.said(reply));
        match reply.code {
            421 | 300..400 => self.after(self.said(reply)),
            _ => self.after_round(),
        }
    }

    /// Ends a transaction that sent no message.
    pub(super) fn reset(&mut self) -> Action {
        if self.open.is_empty() {
            // Whoever uses the connection next begins with RSET.
            return self.rest();
        }
        self.state = State::Reset;
        Action::Send(Command::Rset.to_bytes())
    }
}
