//! APPEND and REPLACE, with messages that CATENATE makes of parts: what a line of theirs brings becomes events, and the
//! messages' octets pass through.

use super::{AppendBegin, CommandReader, Event, State, Step, bad};
use crate::command::{self, AppendHead, Piece, Replaced, Stretch, Within};
use crate::mailbox_name::MailboxName;
use crate::response::Code;
use crate::scan::{LiteralHead, SyntaxError};

/// The APPEND or REPLACE under way.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) tag: String,
    mailbox: MailboxName,
    replaces: Option<Replaced>,
    messages: usize,
    /// What the literal that came last is.
    within: Within,
    /// Octets of the message under way that came as literals.
    octets: u64,
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
                let within = Within::Message;
                (Append { tag, mailbox, replaces, messages: 0, within, octets: 0 }, parsed)
            }
        };
        Some(match (parsed, head) {
            (Ok(stretch), _) => self.announce(append, stretch),
            (Err(SyntaxError::Incomplete), Some(head)) => {
                // The mailbox's name or an URL.
                let tag = append.tag.clone();
                self.append = (append.messages > 0).then_some(append);
                self.accept_literal(Some(tag), head)
            }
            (Err(error), head) => self.refuse_maybe(Some(append.tag), error, head),
        })
    }

    /// Makes events of a stretch of the command.
    fn announce(&mut self, mut append: Append, stretch: Stretch) -> Step {
        let mut events = Vec::with_capacity(stretch.pieces.len() + 1);
        let literal = stretch.literal;
        for piece in stretch.pieces {
            events.push(match piece {
                Piece::Begin(_) if append.replaces.is_some() && append.messages > 0 => {
                    let error = SyntaxError::Syntax("REPLACE takes one message");
                    return self.refuse_maybe(
                        Some(append.tag),
                        error,
                        literal.map(|(head, _)| head),
                    );
                }
                Piece::Begin(message) => {
                    append.messages += 1;
                    append.octets = 0;
                    let whole = message.literal;
                    Event::AppendBegin(AppendBegin {
                        tag: append.tag.clone(),
                        mailbox: append.mailbox.clone(),
                        replaces: append.replaces,
                        index: append.messages - 1,
                        flags: message.flags,
                        date: message.date,
                        catenate: whole.is_none(),
                        size: whole.map_or(0, |head| head.octets),
                        binary: whole.is_some_and(|head| head.binary),
                        utf8: message.utf8,
                    })
                }
                Piece::Url(url) => Event::CatenateUrl(url),
                Piece::End => Event::AppendEnd,
            });
        }
        let Some((head, within)) = literal else {
            events.push(Event::AppendDone { tag: append.tag });
            self.drop_command();
            self.state = State::Line;
            self.coming.extend(events);
            return Step::Again;
        };
        append.octets = append.octets.saturating_add(head.octets);
        if append.octets > self.limits.append {
            let text = format!("a message may have {} octets", self.limits.append);
            return match self.begin_skip(head) {
                Some(fatal) => fatal,
                None => Step::Emit(Event::No {
                    tag: append.tag,
                    code: Code::TooBig,
                    text,
                    clears_saved: false,
                }),
            };
        }
        if matches!(within, Within::Text | Within::TextUtf8) {
            let utf8 = within == Within::TextUtf8;
            events.push(Event::CatenateText { size: head.octets, binary: head.binary, utf8 });
        }
        append.within = within;
        self.append = Some(append);
        self.command = zeroize::Zeroizing::default();
        self.state = State::Announced(head);
        self.coming.extend(events);
        Step::Again
    }

    pub(super) fn begin_message(&mut self, head: LiteralHead) -> Step {
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
