//! The reader's lines and literals: what is taken from the input, what is thrown away.

use super::{CommandReader, Event, State, Step, bad};
use crate::command::scan_tag;
use crate::scan::{LiteralHead, Scanner, SyntaxError, trailing_literal};
use crate::secret::Secret;
use bytes::Buf as _;
use zeroize::Zeroize as _;

/// Enough of a line's end to recognise a literal's head: `~{`, twenty digits, `+}`, CRLF.
const TAIL: usize = 64;

/// A refused command may always have this many octets dropped, whatever the limits.
const SKIP_AT_LEAST: u64 = 1 << 20;

enum Line {
    /// Not all of it is here.
    Wait,
    /// Length with its CRLF.
    Complete(usize),
    /// Over the limit, or with a bare LF: refused, nothing was taken.
    Refused(&'static str),
}

/// The tag at the head of a refused command, if it is legible.
pub(super) fn tag_of(command: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(command, 1);
    scan_tag(&mut scanner).ok().filter(|_| scanner.peek() == Some(b' '))
}

impl CommandReader {
    fn find_line(&mut self, limit: usize) -> Line {
        let found = memchr::memchr(b'\n', &self.input[self.scanned..]).map(|at| self.scanned + at);
        let Some(at) = found else {
            self.scanned = self.input.len();
            // One octet more may be the CR.
            return if self.input.len() > limit + 1 {
                Line::Refused("the line is too long")
            } else {
                Line::Wait
            };
        };
        if at > limit + 1 {
            return Line::Refused("the line is too long");
        }
        if at == 0 || self.input[at - 1] != b'\r' {
            return Line::Refused("a line must end with CR LF");
        }
        Line::Complete(at + 1)
    }

    /// Drops the first octets of the input and wipes them: they may be a password.
    fn consume(&mut self, count: usize) {
        self.input[..count].zeroize();
        self.input.advance(count);
        self.scanned = 0;
    }

    pub(super) fn read_line(&mut self) -> Step {
        if self.input.is_empty() {
            return Step::Wait;
        }
        match self.find_line(self.limits.line) {
            Line::Wait => Step::Wait,
            Line::Refused(text) => {
                let tag = self.tag_under_way();
                self.drop_command();
                self.state = State::Skip;
                self.scanned = 0;
                Step::Emit(bad(tag, SyntaxError::Syntax(text)))
            }
            Line::Complete(length) => {
                let line = length - 2;
                if self.command.len() + line > self.limits.command {
                    let (tag, head) = (self.tag_under_way(), trailing_literal(&self.input[..line]));
                    self.consume(length);
                    return self.refuse_maybe(
                        tag,
                        SyntaxError::Syntax("the command is too large"),
                        head,
                    );
                }
                self.command.extend_from_slice(&self.input[..line]);
                let head = trailing_literal(&self.input[..line]);
                self.consume(length);
                match head {
                    Some(head) => self.meet_literal(head),
                    None => self.finish_command(),
                }
            }
        }
    }

    /// The tag of the command whose line is in the input.
    fn tag_under_way(&self) -> Option<String> {
        match &self.append {
            Some(append) => Some(append.whose.tag.clone()),
            // Of a line without end only the head: what the packets brought beyond must not matter.
            None if self.command.is_empty() => {
                tag_of(&self.input[..self.input.len().min(self.limits.line)])
            }
            None => tag_of(&self.command),
        }
    }

    pub(super) fn read_continuation(&mut self) -> Step {
        match self.find_line(self.limits.line) {
            Line::Wait => Step::Wait,
            Line::Refused(text) => {
                self.state = State::Skip;
                self.scanned = 0;
                Step::Emit(bad(None, SyntaxError::Syntax(text)))
            }
            Line::Complete(length) => {
                let line = Secret::new(self.input[..length - 2].to_vec());
                self.consume(length);
                self.state = State::Line;
                Step::Emit(Event::Line(line))
            }
        }
    }

    pub(super) fn read_literal(&mut self, left: u64) -> Step {
        let count = self.available(left);
        self.command.extend_from_slice(&self.input[..count]);
        self.consume(count);
        self.advance(left - count as u64, count, |left| State::Literal { left }, State::Line)
    }

    pub(super) fn available(&self, left: u64) -> usize {
        usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len())
    }

    fn advance(
        &mut self,
        left: u64,
        moved: usize,
        again: impl Fn(u64) -> State,
        done: State,
    ) -> Step {
        self.state = if left == 0 { done } else { again(left) };
        if left > 0 && moved == 0 { Step::Wait } else { Step::Again }
    }

    pub(super) fn drop_command(&mut self) {
        self.command = zeroize::Zeroizing::default();
        self.append = None;
        self.skipped = 0;
    }

    /// Answers a refused command at once and follows its remaining octets.
    pub(super) fn refuse_maybe(
        &mut self,
        tag: Option<String>,
        error: SyntaxError,
        head: Option<LiteralHead>,
    ) -> Step {
        self.drop_command();
        self.state = State::Line;
        match head.and_then(|head| self.begin_skip(head)) {
            Some(fatal) => fatal,
            None => Step::Emit(bad(tag, error)),
        }
    }

    /// What becomes of the literal that ends a refused command's line. A synchronising one is not sent: the client
    /// sees the tagged answer instead of a continuation, and its next line is a new command (RFC 9051 §4.3).
    pub(super) fn begin_skip(&mut self, head: LiteralHead) -> Option<Step> {
        self.drop_command();
        self.state = State::Line;
        if head.sync {
            return None;
        }
        if head.octets > self.limits.discard {
            return Some(self.die("a literal is too large"));
        }
        self.state = State::SkipLiteral { left: head.octets };
        None
    }

    pub(super) fn skip_literal(&mut self, left: u64) -> Step {
        let count = self.available(left);
        self.consume(count);
        if !self.count_skipped(count) {
            return self.die("too much to discard");
        }
        self.advance(left - count as u64, count, |left| State::SkipLiteral { left }, State::Skip)
    }

    /// Drops a line up to its CRLF; bare LFs are part of it.
    pub(super) fn skip_line(&mut self) -> Step {
        let mut from = self.scanned;
        while let Some(at) = memchr::memchr(b'\n', &self.input[from..]).map(|at| from + at) {
            if at == 0 || self.input[at - 1] != b'\r' {
                from = at + 1;
                continue;
            }
            let head = trailing_literal(&self.input[(at - 1).saturating_sub(TAIL)..at - 1]);
            self.consume(at + 1);
            if !self.count_skipped(at + 1) {
                return self.die("too much to discard");
            }
            let skipped = self.skipped;
            self.state = State::Line;
            if let Some(head) = head {
                let fatal = self.begin_skip(head);
                self.skipped = skipped;
                return fatal.unwrap_or(Step::Again);
            }
            self.skipped = 0;
            return Step::Again;
        }
        let excess = self.input.len().saturating_sub(TAIL + 2);
        self.consume(excess);
        self.scanned = self.input.len();
        if self.count_skipped(excess) { Step::Wait } else { self.die("too much to discard") }
    }

    fn count_skipped(&mut self, count: usize) -> bool {
        self.skipped = self.skipped.saturating_add(count as u64);
        self.skipped <= self.limits.discard.max(SKIP_AT_LEAST)
    }

    /// The end: nothing is read any more.
    pub(super) fn die(&mut self, text: &str) -> Step {
        self.drop_command();
        self.input.clear();
        self.scanned = 0;
        self.state = State::Dead;
        Step::Emit(Event::Fatal { text: text.to_owned() })
    }
}
