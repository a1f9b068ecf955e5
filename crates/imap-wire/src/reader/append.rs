//! APPEND and REPLACE, with messages that CATENATE makes of parts: what a line of theirs brings becomes events, and the
//! messages' octets pass through.

use std::sync::Arc;

use super::{AppendBegin, CommandReader, Event, State, Step, bad};
use crate::command::{self, AppendHead, MessageHead, Piece, Replaced, Stretch, Within};
use crate::mailbox_name::MailboxName;
use crate::response::Code;
use crate::scan::{LiteralHead, SyntaxError};

/// The APPEND or REPLACE under way.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) whose: Arc<Whose>,
    messages: usize,
    /// What the literal that came last is.
    within: Within,
    /// Octets of the message under way that came as literals.
    octets: u64,
}

/// What all messages of a command share. One line may hold thousands of them: these are copied one at a time.
#[derive(Debug)]
pub(super) struct Whose {
    pub(super) tag: String,
    mailbox: MailboxName,
    replaces: Option<Replaced>,
}

/// An event that is to come.
#[derive(Debug)]
pub(super) enum Coming {
    /// The message of that index begins.
    Begin(Arc<Whose>, MessageHead, usize),
    /// Any other.
    Event(Event),
}

impl Coming {
    pub(super) fn event(self) -> Event {
        let (whose, message, index) = match self {
            Self::Begin(whose, message, index) => (whose, message, index),
            Self::Event(event) => return event,
        };
        let whole = message.literal;
        Event::AppendBegin(AppendBegin {
            tag: whose.tag.clone(),
            mailbox: whose.mailbox.clone(),
            replaces: whose.replaces,
            index,
            flags: message.flags,
            date: message.date,
            catenate: whole.is_none(),
            size: whole.map_or(0, |head| head.octets),
            binary: whole.is_some_and(|head| head.binary),
            utf8: message.utf8,
        })
    }
}

impl CommandReader {
    /// The line is complete and was added to the command, with `head` for the literal at its end. `None` if the command
    /// is neither APPEND nor REPLACE.
    pub(super) fn read_append(&mut self, head: Option<LiteralHead>) -> Option<Step> {
        let depth = self.limits.depth;
        let (append, parsed) = match self.append.take() {
            Some(append) => {
                let parsed = command::scan_further(&self.command, append.within, depth);
                (append, parsed)
            }
            None => {
                let (tag, parsed) = command::scan_head(&self.command, depth)?;
                let none = || (MailboxName::from_wire(Vec::new()), None);
                let (parsed, (mailbox, replaces)) = match parsed {
                    Ok(AppendHead { mailbox, replaces, stretch }) => {
                        (Ok(stretch), (mailbox, replaces))
                    }
                    Err(error) => (Err(error), none()),
                };
                let whose = Arc::new(Whose { tag, mailbox, replaces });
                (Append { whose, messages: 0, within: Within::Message, octets: 0 }, parsed)
            }
        };
        Some(match (parsed, head) {
            (Ok(stretch), head) => self.announce(append, stretch, head),
            // The mailbox's name.
            (Err(SyntaxError::Incomplete), Some(head)) if append.messages == 0 => {
                self.accept_literal(Some(append.whose.tag.clone()), head)
            }
            (Err(error), head) => self.refuse_maybe(Some(append.whose.tag.clone()), error, head),
        })
    }

    /// Makes events of a stretch of the command, which ends with the literal `last`, or with the command.
    fn announce(
        &mut self,
        mut append: Append,
        stretch: Stretch,
        last: Option<LiteralHead>,
    ) -> Step {
        let Stretch { pieces, literal, unread } = stretch;
        let tag = append.whose.tag.clone();
        let mut coming = Vec::with_capacity(pieces.len() + 1);
        for piece in pieces {
            coming.push(match piece {
                Piece::Begin(message) => {
                    append.messages += 1;
                    append.octets = 0;
                    Coming::Begin(Arc::clone(&append.whose), message, append.messages - 1)
                }
                Piece::Url(url) => Coming::Event(Event::CatenateUrl(url)),
                Piece::End => Coming::Event(Event::AppendEnd),
            });
        }
        if append.whose.replaces.is_some() && append.messages > 1 {
            let error = SyntaxError::Syntax("REPLACE takes one message");
            return self.refuse_maybe(Some(tag), error, last);
        }
        let literal = match unread {
            Some(_) => last.map(|head| (head, Within::Url)),
            None => literal,
        };
        let Some((head, within)) = literal else {
            if unread.is_some() {
                return self.refuse_maybe(Some(tag), SyntaxError::Incomplete, None);
            }
            coming.push(Coming::Event(Event::AppendDone { tag }));
            self.drop_command();
            self.state = State::Line;
            self.coming.extend(coming);
            return Step::Again;
        };
        if within != Within::Url {
            append.octets = append.octets.saturating_add(head.octets);
        }
        if append.octets > self.limits.append {
            return self.refuse_too_big(tag, head);
        }
        if matches!(within, Within::Text | Within::TextUtf8) {
            let utf8 = within == Within::TextUtf8;
            let text = Event::CatenateText { size: head.octets, binary: head.binary, utf8 };
            coming.push(Coming::Event(text));
        }
        append.within = within;
        self.append = Some(append);
        // What was read is not read again.
        let read = unread.unwrap_or(self.command.len());
        self.command = self.command.split_off(read).into();
        self.state = State::Announced(head);
        self.coming.extend(coming);
        Step::Again
    }

    fn refuse_too_big(&mut self, tag: String, head: LiteralHead) -> Step {
        let text = format!("a message may have {} octets", self.limits.append);
        match self.begin_skip(head) {
            Some(fatal) => fatal,
            None => Step::Emit(Event::No { tag, code: Code::TooBig, text, clears_saved: false }),
        }
    }

    /// What was announced is wanted.
    pub(super) fn begin_literal(&mut self, head: LiteralHead) -> Step {
        if let Some(append) = self.append.as_ref().filter(|append| append.within == Within::Url) {
            let tag = append.whose.tag.clone();
            return self.accept_literal(Some(tag), head);
        }
        self.state = State::Message { left: head.octets };
        if head.sync { Step::Emit(Event::Continue) } else { Step::Again }
    }

    pub(super) fn read_message(&mut self, left: u64) -> Step {
        if left == 0 {
            self.state = State::Line;
            // What CATENATE makes goes on.
            return match self.append.as_ref().map(|append| append.within) {
                Some(Within::Text | Within::TextUtf8) => Step::Again,
                _ => Step::Emit(Event::AppendEnd),
            };
        }
        let count = self.available(left);
        if count == 0 {
            return Step::Wait;
        }
        let chunk = self.input.split_to(count).freeze();
        self.scanned = 0;
        self.state = State::Message { left: left - count as u64 };
        Step::Emit(Event::AppendChunk(chunk))
    }

    /// Refuses an APPEND or REPLACE from [`Event::AppendBegin`] on, at any of its events; the caller answers it with a
    /// tagged NO. No more events of it come. A synchronising literal that was announced is never asked for, all else that
    /// is still to come of the command is read and dropped.
    pub fn refuse_append(&mut self) {
        let is_complete = self.append.is_none();
        self.coming.clear();
        let next = match self.state {
            State::Announced(head) if head.sync => State::Line,
            State::Announced(head) => State::SkipLiteral { left: head.octets },
            State::Message { left } => State::SkipLiteral { left },
            // An URL that was asked for.
            State::Literal { left } if !is_complete => State::SkipLiteral { left },
            // Between a literal and what follows it.
            State::Line if !is_complete => State::Skip,
            _ => return,
        };
        self.drop_command();
        self.state = next;
    }

    /// A complete line that continues or is an APPEND or REPLACE.
    pub(super) fn finish_append(&mut self) -> Option<Step> {
        let going_on = self.append.is_some();
        match self.read_append(None)? {
            // The whole command is here, and nothing in it makes a message.
            Step::Emit(Event::Bad { tag, .. }) if !going_on => {
                let text = SyntaxError::Syntax("the command needs a message literal, or CATENATE");
                Some(Step::Emit(bad(tag, text)))
            }
            step => Some(step),
        }
    }
}
