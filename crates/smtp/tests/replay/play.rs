//! Plays a session from octets alone: the framing and the machine as the driver puts them together, without sockets.
//! For the tests beside it, and for the fuzz target of whole sessions.

use letterlock_address::{ForwardPath, Mailbox};
use letterlock_login::LoginError;
use letterlock_smtp::session::{Access, Action, Envelope, Recipient, Rules, Session, Tarpit};
use letterlock_smtp_wire::data::{
    BdatReader, DataFault, DataReader, DataState, LineRule, Summary, has_bare_newline,
};
use letterlock_smtp_wire::line::LineReader;
use letterlock_smtp_wire::{EnhancedCode, Reply, standard};

/// Largest message.
const SIZE: u64 = 200;

/// What the octets of a session came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the client would have read.
    pub(crate) said: Vec<u8>,
    /// Accepted messages with their envelopes.
    pub(crate) accepted: Vec<(Envelope, Vec<u8>)>,
    /// Whether the server closed.
    pub(crate) closed: bool,
}

enum Reading {
    Lines,
    Data(DataReader, Vec<u8>),
    Chunk(bool),
    Skip(u64, Reply),
}

/// The driver's part.
pub(crate) struct Play {
    session: Session,
    lines: LineReader,
    reading: Reading,
    chunks: Option<(BdatReader, Vec<u8>)>,
    outcome: Outcome,
}

/// Plays all octets, given in these pieces.
pub(crate) fn play(submission: bool, pieces: &[&[u8]]) -> Outcome {
    let mut play = Play::new(submission);
    for piece in pieces {
        play.feed(piece);
    }
    play.outcome
}

/// Checks what must hold of every session.
pub(crate) fn check(outcome: &Outcome) {
    let said = std::str::from_utf8(&outcome.said).expect("replies are ASCII");
    assert!(said.is_empty() || said.ends_with("\r\n"));
    for line in said.split_terminator("\r\n") {
        let code: u16 = line[..3].parse().expect("each line begins with a code");
        assert!((200..560).contains(&code) && line.len() <= 510, "{line}");
        assert!(matches!(line.as_bytes().get(3), Some(b' ' | b'-')), "{line}");
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line}");
    }
    for (envelope, message) in &outcome.accepted {
        assert!(!envelope.recipients.is_empty());
        assert!(message.len() as u64 <= SIZE);
        if !envelope.is_binary() {
            assert!(!has_bare_newline(message) && !message.contains(&0));
        }
    }
}

impl Play {
    fn new(submission: bool) -> Play {
        let access =
            if submission { Access::LoggedIn { cleartext: true } } else { Access::Anybody };
        let rules = Rules {
            hostname: "mx.test".into(),
            access,
            message_size: SIZE,
            recipients: 3,
            messages: 5,
            errors: 6,
            tarpit: Tarpit::default(),
            future_release: submission.then_some(std::time::Duration::from_secs(60)),
        };
        let (session, greeting) = Session::new(rules, false);
        let mut play = Play {
            lines: LineReader::new(session.line_limit()),
            session,
            reading: Reading::Lines,
            chunks: None,
            outcome: Outcome::default(),
        };
        play.say(&greeting);
        play
    }

    fn feed(&mut self, mut input: &[u8]) {
        while !self.outcome.closed {
            let reading = std::mem::replace(&mut self.reading, Reading::Lines);
            let (consumed, goes_on) = match reading {
                Reading::Lines => self.line(input),
                Reading::Data(reader, out) => self.data(reader, out, input),
                Reading::Chunk(last) => self.chunk(last, input),
                Reading::Skip(left, reply) => self.skip(left, reply, input),
            };
            input = &input[consumed..];
            if !goes_on {
                assert!(input.is_empty() || self.outcome.closed);
                return;
            }
        }
    }

    /// Each of these gives how much it consumed, and whether something was completed by it.
    fn line(&mut self, input: &[u8]) -> (usize, bool) {
        self.lines.set_limit(self.session.line_limit());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let (consumed, line) = self.lines.feed(input);
        let Some(line) = line else { return (consumed, false) };
        let action = self.session.line(line, now);
        self.act(action);
        if !self.session.in_transaction() {
            self.chunks = None;
        }
        (consumed, true)
    }

    fn data(&mut self, mut reader: DataReader, mut out: Vec<u8>, input: &[u8]) -> (usize, bool) {
        let progress = reader.feed(input, &mut out);
        let done = progress.state == DataState::Done;
        if done {
            self.whole(reader.summary(), out);
        } else {
            self.reading = Reading::Data(reader, out);
        }
        (progress.consumed, done)
    }

    fn chunk(&mut self, last: bool, input: &[u8]) -> (usize, bool) {
        let (mut reader, mut out) = self.chunks.take().expect("a chunk was begun");
        let progress = reader.feed(input, &mut out);
        if progress.state == DataState::More {
            (self.chunks, self.reading) = (Some((reader, out)), Reading::Chunk(last));
            return (progress.consumed, false);
        }
        match reader.summary().fault {
            _ if last => self.whole(reader.summary(), out),
            None => {
                self.chunks = Some((reader, out));
                self.say(&standard::chunk_ok());
            }
            Some(fault) => {
                self.session.chunk_failed(last);
                self.refuse(fault);
            }
        }
        (progress.consumed, true)
    }

    fn skip(&mut self, left: u64, reply: Reply, input: &[u8]) -> (usize, bool) {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - here as u64;
        if left == 0 {
            self.say(&reply);
        } else {
            self.reading = Reading::Skip(left, reply);
        }
        (here, left == 0)
    }

    fn whole(&mut self, summary: Summary, message: Vec<u8>) {
        let envelope = self.session.take_envelope().expect("a message has an envelope");
        assert!(!self.session.in_transaction());
        match summary.fault {
            Some(fault) => self.refuse(fault),
            None if summary.nul && !envelope.is_binary() => {
                self.conclude(Reply::new(554, EnhancedCode::new(5, 6, 0), "NUL"))
            }
            None => {
                self.outcome.accepted.push((envelope, message));
                self.conclude(standard::accepted(self.outcome.accepted.len()));
            }
        }
    }

    fn refuse(&mut self, fault: DataFault) {
        match fault {
            DataFault::TooBig => self.conclude(standard::message_too_big()),
            DataFault::BareNewline => self.act(Action::Close(standard::bare_newline())),
        }
    }

    fn conclude(&mut self, reply: Reply) {
        let action = self.session.outcome(reply);
        self.act(action);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(reply) => self.say(&reply),
            Action::Close(reply) => {
                self.say(&reply);
                self.outcome.closed = true;
            }
            // The handshake is not played: a client that begins one has to begin a session anew.
            Action::StartTls(reply) => {
                self.say(&reply);
                self.outcome.closed = true;
            }
            Action::Authenticate(credential) => {
                let action = match credential.password.as_str() {
                    "right" => self.session.logged_in(),
                    _ => self.session.login_failed(&LoginError::Rejected),
                };
                self.act(action);
            }
            Action::Prove(_) => {
                let action = self.session.login_failed(&LoginError::Rejected);
                self.act(action);
            }
            Action::Enter => {
                let action = self.session.logged_in();
                self.act(action);
            }
            Action::Sender(_) => {
                self.chunks = None;
                let action = self.session.sender(Ok(()));
                self.act(action);
            }
            Action::Recipient(rcpt) => {
                let verdict = match rcpt.path {
                    ForwardPath::Mailbox(mailbox) => Ok(mailbox),
                    ForwardPath::Postmaster => {
                        Mailbox::parse("postmaster@a.test").map_err(|_| standard::no_such_user())
                    }
                };
                let params = rcpt.params;
                let action =
                    self.session.recipient(verdict.map(|address| Recipient { address, params }));
                self.act(action);
            }
            Action::Data(reply) => {
                self.say(&reply);
                self.reading = Reading::Data(DataReader::new(SIZE), Vec::new());
            }
            Action::Chunk { size, last, binary } => {
                let rule = if binary { LineRule::Binary } else { LineRule::Crlf };
                let chunks = self.chunks.take();
                let (mut reader, out) =
                    chunks.unwrap_or_else(|| (BdatReader::new(SIZE, rule), Vec::new()));
                reader.chunk(size, last);
                (self.chunks, self.reading) = (Some((reader, out)), Reading::Chunk(last));
            }
            Action::Skip(size, reply) => self.reading = Reading::Skip(size, reply),
        }
    }

    fn say(&mut self, reply: &Reply) {
        reply.encode(&mut self.outcome.said);
    }
}
