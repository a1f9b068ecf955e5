//! Octets of a client become events (RFC 9051 §2.2.1, §4.3; RFC 7888 LITERAL+).
//!
//! The reader frames lines and literals, parses whole commands, and streams the messages of APPEND so that it never
//! holds one. It knows nothing of session state. Handle each event before asking for the next one: what the caller
//! does in between ([`CommandReader::expect_continuation`], [`CommandReader::refuse_append`],
//! [`CommandReader::set_limits`], [`CommandReader::discard_input`]) decides how the following octets are read.
//!
//! A line ends with CRLF. A bare LF is refused and, so that nobody smuggles a command past a proxy or webmail that
//! reads it otherwise, what follows up to the next CRLF belongs to the refused line. Literals of a refused command are
//! still consumed.

mod append;
mod framing;

use self::append::{Append, Coming};
use crate::command::{self, Replaced, Tagged};
use crate::date::InternalDate;
use crate::flag::Flag;
use crate::mailbox_name::MailboxName;
use crate::response::Code;
use crate::scan::{LiteralHead, SyntaxError};
use crate::secret::Secret;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What a client may send. Sizes in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest line without its CRLF and without literals.
    pub line: usize,
    /// The largest literal outside APPEND's messages.
    pub literal: u64,
    /// The largest message in APPEND.
    pub append: u64,
    /// The largest command: all its lines and literals, APPEND's messages not counted.
    pub command: usize,
    /// How much of a refused command's non-synchronising literals is read and dropped; beyond it the session ends
    /// (RFC 7888 §4 allows both).
    pub discard: u64,
    /// How deep parentheses, NOT and the like may nest.
    pub depth: usize,
}

impl Limits {
    /// Before authentication: every literal is small, nothing large is ever discarded. Lines have room for the longest
    /// SASL responses (RFC 9051 §6.2.2 sets no bound; 12,288 octets of RFC 4954 §4 are enough).
    pub fn before_login(literal: u64) -> Self {
        Self { line: 16_384, literal, append: literal, command: 32_768, discard: 65_536, depth: 20 }
    }

    /// After authentication, with the configured longest line and largest message.
    pub fn after_login(line: usize, message: u64) -> Self {
        Self {
            line,
            literal: 65_536,
            append: message,
            command: line.saturating_add(262_144),
            discard: message.saturating_mul(2),
            depth: 100,
        }
    }
}

/// What the client did.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A whole command.
    Command(Tagged),
    /// A synchronising literal was accepted: send `+ …` now.
    Continue,
    /// The line asked for with [`CommandReader::expect_continuation`], without CRLF: a SASL response, or DONE.
    Line(Secret),
    /// A syntax error: answer BAD, tagged if the tag was legible. The text holds nothing that the client sent.
    Bad {
        /// The tag.
        tag: Option<String>,
        /// Why.
        text: String,
    },
    /// A command refused with NO and a code: `[BADCHARSET]` of SEARCH, `[TOOBIG]` of APPEND.
    No {
        /// The tag.
        tag: String,
        /// The code.
        code: Code,
        /// Why.
        text: String,
        /// The search was to set `$`, which is empty now.
        clears_saved: bool,
    },
    /// The client cannot be followed any further: send `* BYE` with this text and close. No event comes after it.
    Fatal {
        /// Why.
        text: String,
    },
    /// A message of APPEND begins; its octets follow as [`Event::AppendChunk`]. If it is not wanted, call
    /// [`CommandReader::refuse_append`] before the next event; [`Event::Continue`] comes only if it was not.
    ///
    /// A message that CATENATE makes (RFC 4469) comes as any number of [`Event::CatenateUrl`] and [`Event::CatenateText`],
    /// which may be refused in the same way.
    ///
    /// From here to [`Event::AppendDone`], `Bad`, `No` and `Fatal` mean that the whole APPEND failed: drop what was
    /// collected, of all its messages.
    AppendBegin(AppendBegin),
    /// Octets of the message.
    AppendChunk(Bytes),
    /// A part of the message: what this IMAP URL names (see [`crate::url`]).
    CatenateUrl(Vec<u8>),
    /// A part of the message: these octets, which follow as [`Event::AppendChunk`].
    CatenateText {
        /// Octets to come.
        size: u64,
        /// literal8 (RFC 3516).
        binary: bool,
        /// Wrapped in `UTF8 (…)` (RFC 6855 §4).
        utf8: bool,
    },
    /// The message is complete, the command not yet.
    AppendEnd,
    /// The APPEND is complete: store its message, or all of them (RFC 3502), and answer.
    AppendDone {
        /// The tag.
        tag: String,
    },
}

/// One message of an APPEND, or the message of a REPLACE.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendBegin {
    /// The command's tag.
    pub tag: String,
    /// The mailbox; the same for each message of the command.
    pub mailbox: MailboxName,
    /// The message that goes when this one is there: set for REPLACE (RFC 8508), which has one message only.
    pub replaces: Option<Replaced>,
    /// 0 for the first message of the command, 1 for the second (MULTIAPPEND) and so on.
    pub index: usize,
    /// The flags; may hold [`Flag::Recent`] and [`Flag::Extension`], which cannot be set.
    pub flags: Vec<Flag>,
    /// The internal date; the present moment if absent.
    pub date: Option<InternalDate>,
    /// The message is made of parts (RFC 4469); then nothing is known of its size.
    pub catenate: bool,
    /// Octets to come. 0 takes back the APPEND in MULTIAPPEND (RFC 3502 §3.1).
    pub size: u64,
    /// literal8 (RFC 3516): the message may hold NUL.
    pub binary: bool,
    /// Wrapped in `UTF8 (…)` (RFC 6855 §4).
    pub utf8: bool,
}

/// What is read next.
#[derive(Debug)]
enum State {
    /// A line that begins or continues a command; `append` between the messages of an APPEND and at its end.
    Line,
    /// A literal of a command in memory.
    Literal { left: u64 },
    /// A message, or a part of one, was announced and may still be refused.
    Announced(LiteralHead),
    /// A message's octets.
    Message { left: u64 },
    /// The rest of a refused command's line.
    Skip,
    /// A literal of a refused command.
    SkipLiteral { left: u64 },
    /// One line that is no command.
    Continuation,
    /// After [`Event::Fatal`].
    Dead,
}

/// Reads one connection.
#[derive(Debug)]
pub struct CommandReader {
    limits: Limits,
    input: BytesMut,
    /// How much of `input` is known to hold no LF.
    scanned: usize,
    /// The command so far: lines and literals, wiped when it is done.
    command: zeroize::Zeroizing<Vec<u8>>,
    state: State,
    append: Option<Append>,
    /// Events of an APPEND's line that were not asked for yet.
    coming: VecDeque<Coming>,
    /// Octets of the refused command that were dropped.
    skipped: u64,
}

enum Step {
    Emit(Event),
    Again,
    Wait,
}

impl CommandReader {
    /// A reader for a new connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: BytesMut::new(),
            scanned: 0,
            command: zeroize::Zeroizing::default(),
            state: State::Line,
            append: None,
            coming: VecDeque::new(),
            skipped: 0,
        }
    }

    /// Other limits from now on: after authentication.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes octets of the client. Ask [`Iterator::next`] for everything they complete before feeding more; then the
    /// reader never holds more than a command, and nothing of a message.
    pub fn feed(&mut self, octets: &[u8]) {
        if !matches!(self.state, State::Dead) {
            self.input.extend_from_slice(octets);
        }
    }

    /// The next line is not a command but an [`Event::Line`]. Valid for one line; call it right after the event that
    /// asks for it (AUTHENTICATE, IDLE), before [`Iterator::next`].
    pub fn expect_continuation(&mut self) {
        if matches!(self.state, State::Line) && self.command.is_empty() && self.append.is_none() {
            self.state = State::Continuation;
        }
    }

    /// Drops everything received and not yet read, as STARTTLS demands (RFC 9051 §6.2.1, and the injection of
    /// commands before the handshake). Tells whether there was anything.
    pub fn discard_input(&mut self) -> bool {
        let had = !self.input.is_empty() || !self.command.is_empty();
        self.input.clear();
        self.scanned = 0;
        self.command = zeroize::Zeroizing::default();
        self.append = None;
        self.coming.clear();
        if !matches!(self.state, State::Dead) {
            self.state = State::Line;
        }
        had
    }

    /// Whether the client is between two commands and nothing of the next one has come.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty()
            && self.command.is_empty()
            && self.append.is_none()
            && self.coming.is_empty()
            && matches!(self.state, State::Line)
    }

    fn step(&mut self) -> Step {
        if let Some(coming) = self.coming.pop_front() {
            return Step::Emit(coming.event());
        }
        match self.state {
            State::Line => self.read_line(),
            State::Literal { left } => self.read_literal(left),
            State::Announced(head) => self.begin_literal(head),
            State::Message { left } => self.read_message(left),
            State::Skip => self.skip_line(),
            State::SkipLiteral { left } => self.skip_literal(left),
            State::Continuation => self.read_continuation(),
            State::Dead => Step::Wait,
        }
    }

    /// A line with a literal at its end was appended to the command.
    fn meet_literal(&mut self, head: LiteralHead) -> Step {
        match self.read_append(Some(head)) {
            Some(step) => step,
            None => {
                let tag = framing::tag_of(&self.command);
                self.accept_literal(tag, head)
            }
        }
    }

    fn accept_literal(&mut self, tag: Option<String>, head: LiteralHead) -> Step {
        let room = self.limits.command.saturating_sub(self.command.len());
        if head.octets > self.limits.literal || head.octets > room as u64 {
            if !head.sync {
                return self.die("a literal is too large");
            }
            let error = SyntaxError::Syntax("the literal is too large");
            return self.refuse_maybe(tag, error, Some(head));
        }
        self.command.extend_from_slice(b"\r\n");
        self.state = State::Literal { left: head.octets };
        if head.sync { Step::Emit(Event::Continue) } else { Step::Again }
    }

    /// A complete command, without literals that are still to come.
    fn finish_command(&mut self) -> Step {
        if let Some(step) = self.finish_append() {
            return step;
        }
        let octets = std::mem::take(&mut self.command);
        Step::Emit(match command::parse(&octets, self.limits.depth) {
            Ok(tagged) => Event::Command(tagged),
            Err(failure) => match (failure.tag, failure.error) {
                (Some(tag), error @ (SyntaxError::Charset | SyntaxError::CharsetOfSaved)) => {
                    Event::No {
                        tag,
                        code: Code::BadCharset(vec!["US-ASCII".into(), "UTF-8".into()]),
                        text: error.to_string(),
                        clears_saved: error == SyntaxError::CharsetOfSaved,
                    }
                }
                (tag, error) => bad(tag, error),
            },
        })
    }
}

/// The events. `None` says that more octets are needed; after feeding them, there may be more.
impl Iterator for CommandReader {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            match self.step() {
                Step::Emit(event) => return Some(event),
                Step::Again => {}
                Step::Wait => {
                    if self.input.is_empty() && self.input.capacity() > 4096 {
                        // An idle session keeps no buffer of the size of its largest packet.
                        self.input = BytesMut::new();
                    }
                    return None;
                }
            }
        }
    }
}

fn bad(tag: Option<String>, error: SyntaxError) -> Event {
    Event::Bad { tag, text: error.to_string() }
}

#[cfg(test)]
mod append_tests;
#[cfg(test)]
mod tests;
