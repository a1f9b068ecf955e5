//! A search's condition, made ready for one session: sets are resolved to UIDs and texts folded.
//!
//! Judging has three outcomes: yes, no, and *not settled*, when what was read so far does not tell.

use jiff::civil::Date;
use letterlock_imap_wire::text::fold;
use letterlock_imap_wire::{Flag, InternalDate, SearchKey, SequenceSet};

use super::SearchContext;
use super::content::Content;
use crate::index::{Answers, Knows, Places, Question};
use crate::types::{Flags, ModSeq, SystemFlags, UidRanges, all_uids};

/// A message's row, as far as searches look at it.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) uid: u32,
    pub(super) modseq: ModSeq,
    pub(super) flags: Flags,
    pub(super) date: InternalDate,
    pub(super) size: u64,
    pub(super) body: i64,
}

/// How far into a message one has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// The header block.
    Header,
    /// All of it.
    Whole,
}

/// How a day compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    Before(Date),
    On(Date),
    Since(Date),
}

impl Day {
    fn holds(self, date: Date) -> bool {
        match self {
            Self::Before(day) => date < day,
            Self::On(day) => date == day,
            Self::Since(day) => date >= day,
        }
    }
}

/// A condition; texts are folded.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Const(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Uids(UidRanges),
    System(SystemFlags),
    Keyword(String),
    UidFrom(u32),
    Received(Day),
    /// Seconds since the epoch, or later.
    ReceivedSince(i64),
    /// Seconds since the epoch, or earlier.
    ReceivedUntil(i64),
    Larger(u64),
    Smaller(u64),
    ModSeq(u64),
    Sent(Day),
    Header {
        name: String,
        part: Asked,
    },
    Body(Asked),
    Text(Asked),
}

/// A folded text, and the number of the question that the word index was asked for it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    part: String,
    question: usize,
}

impl Asked {
    fn new(part: &str, places: Places, questions: &mut Vec<Question>) -> Self {
        let question = Question { pattern: fold(part), places };
        let part = question.pattern.clone();
        let known = questions.iter().position(|other| *other == question);
        let number = known.unwrap_or(questions.len());
        if known.is_none() {
            questions.push(question);
        }
        Self { part, question: number }
    }

    /// What the index says, or else what the content does.
    fn judge(
        &self,
        meta: &Meta,
        answers: &Answers,
        look: impl FnOnce(&str) -> Option<bool>,
    ) -> Option<bool> {
        match answers.knows(self.question, meta.body) {
            Knows::No => Some(false),
            Knows::Yes => Some(true),
            Knows::Open => look(&self.part),
        }
    }
}

impl Condition {
    /// The condition of a key, as the session means it; what the word index can be asked is added to `questions`.
    pub(super) fn of(
        key: &SearchKey,
        context: &SearchContext,
        questions: &mut Vec<Question>,
    ) -> Self {
        let ago = |seconds: u32| context.now.as_second().saturating_sub(i64::from(seconds));
        match key {
            SearchKey::All => Self::Const(true),
            SearchKey::And(keys) => {
                let mut all: Vec<_> =
                    keys.iter().map(|key| Self::of(key, context, questions)).collect();
                // What is cheap to know goes first.
                all.sort_by_key(Self::depth);
                Self::All(all)
            }
            SearchKey::Or(keys) => {
                let mut any: Vec<_> =
                    keys.iter().map(|key| Self::of(key, context, questions)).collect();
                any.sort_by_key(Self::depth);
                Self::Any(any)
            }
            SearchKey::Not(key) => Self::Not(Box::new(Self::of(key, context, questions))),
            SearchKey::Flag(flag) => Self::of_flag(flag, context),
            SearchKey::Sequence(set) => Self::Uids(uids_of_numbers(set, context)),
            SearchKey::Uid(set) => {
                let last = context.uids.last().copied().unwrap_or(0);
                Self::Uids(set.resolve(last).unwrap_or_else(|| context.saved.clone()))
            }
            SearchKey::Bcc(part) => Self::header("Bcc", part, questions),
            SearchKey::Cc(part) => Self::header("Cc", part, questions),
            SearchKey::From(part) => Self::header("From", part, questions),
            SearchKey::To(part) => Self::header("To", part, questions),
            SearchKey::Subject(part) => Self::header("Subject", part, questions),
            SearchKey::Header(name, part) => Self::header(name, part, questions),
            // Everything holds the empty text.
            SearchKey::Body(part) | SearchKey::Text(part) if part.is_empty() => Self::Const(true),
            SearchKey::Body(part) => Self::Body(Asked::new(part, Places::Body, questions)),
            SearchKey::Text(part) => Self::Text(Asked::new(part, Places::Any, questions)),
            SearchKey::Before(day) => Self::Received(Day::Before(*day)),
            SearchKey::On(day) => Self::Received(Day::On(*day)),
            SearchKey::Since(day) => Self::Received(Day::Since(*day)),
            SearchKey::SentBefore(day) => Self::Sent(Day::Before(*day)),
            SearchKey::SentOn(day) => Self::Sent(Day::On(*day)),
            SearchKey::SentSince(day) => Self::Sent(Day::Since(*day)),
            SearchKey::Larger(size) => Self::Larger(*size),
            SearchKey::Smaller(size) => Self::Smaller(*size),
            SearchKey::Younger(seconds) => Self::ReceivedSince(ago(*seconds)),
            SearchKey::Older(seconds) => Self::ReceivedUntil(ago(*seconds)),
            SearchKey::ModSeq(modseq) => Self::ModSeq(*modseq),
            // A frontend looks these up and puts UIDs in their place.
            SearchKey::Extended(_) => Self::Const(false),
        }
    }

    fn header(name: &str, part: &str, questions: &mut Vec<Question>) -> Self {
        Self::Header { name: name.to_owned(), part: Asked::new(part, Places::Header, questions) }
    }

    fn of_flag(flag: &Flag, context: &SearchContext) -> Self {
        match flag {
            Flag::Answered => Self::System(SystemFlags::ANSWERED),
            Flag::Flagged => Self::System(SystemFlags::FLAGGED),
            Flag::Deleted => Self::System(SystemFlags::DELETED),
            Flag::Seen => Self::System(SystemFlags::SEEN),
            Flag::Draft => Self::System(SystemFlags::DRAFT),
            Flag::Recent => Self::UidFrom(context.recent),
            Flag::Keyword(name) => Self::Keyword(name.clone()),
            Flag::Extension(_) => Self::Const(false),
        }
    }

    /// How far this has to look at most; None for the row alone.
    fn depth(&self) -> Option<Depth> {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().filter_map(Self::depth).max()
            }
            Self::Not(condition) => condition.depth(),
            Self::Sent(_) | Self::Header { .. } => Some(Depth::Header),
            Self::Body(_) | Self::Text(_) => Some(Depth::Whole),
            _ => None,
        }
    }

    /// Whether any part of it is settled by looking so far. TEXT is found in a header, too.
    pub(super) fn looks_at(&self, depth: Depth) -> bool {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().any(|part| part.looks_at(depth))
            }
            Self::Not(condition) => condition.looks_at(depth),
            Self::Sent(_) | Self::Header { .. } => depth == Depth::Header,
            Self::Body(_) | Self::Text(_) => depth == Depth::Whole,
            _ => false,
        }
    }

    /// UIDs outside of this cannot be hits.
    pub(super) fn reach(&self) -> UidRanges {
        match self {
            Self::Const(false) => UidRanges::new(),
            Self::Uids(uids) => uids.clone(),
            Self::UidFrom(first) => UidRanges::from_ranges([(*first, u32::MAX)]),
            Self::All(conditions) => conditions
                .iter()
                .fold(all_uids(), |reach, condition| reach.intersect(&condition.reach())),
            _ => all_uids(),
        }
    }

    /// Questions to the word index of which each must be true of a hit.
    pub(super) fn needs(&self, into: &mut Vec<usize>) {
        match self {
            Self::All(conditions) => conditions.iter().for_each(|part| part.needs(into)),
            Self::Header { part, .. } | Self::Body(part) | Self::Text(part) => {
                into.push(part.question)
            }
            _ => {}
        }
    }

    /// An index that holds all possible hits, as `INDEXED BY` and the index's own condition.
    pub(super) fn index(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::System(SystemFlags::DELETED) => {
                Some(("INDEXED BY messages_deleted", "AND (flags & 8) != 0"))
            }
            Self::System(SystemFlags::FLAGGED) => {
                Some(("INDEXED BY messages_flagged", "AND (flags & 4) != 0"))
            }
            Self::Not(condition) if matches!(**condition, Self::System(SystemFlags::SEEN)) => {
                Some(("INDEXED BY messages_unseen", "AND (flags & 1) = 0"))
            }
            Self::All(conditions) => conditions.iter().find_map(Self::index),
            _ => None,
        }
    }

    /// Whether the message fulfils the condition, as far as that is known by row and content.
    pub(super) fn judge(
        &self,
        meta: &Meta,
        answers: &Answers,
        content: Option<&Content>,
    ) -> Option<bool> {
        Some(match self {
            Self::Const(value) => *value,
            Self::All(conditions) => return judge_all(conditions, meta, answers, content, false),
            Self::Any(conditions) => return judge_all(conditions, meta, answers, content, true),
            Self::Not(condition) => !condition.judge(meta, answers, content)?,
            Self::Uids(uids) => uids.contains(meta.uid),
            Self::System(flags) => meta.flags.system.contains(*flags),
            Self::Keyword(name) => {
                meta.flags.keywords.iter().any(|word| word.eq_ignore_ascii_case(name))
            }
            Self::UidFrom(first) => meta.uid >= *first,
            Self::Received(day) => day.holds(meta.date.date()),
            Self::ReceivedSince(time) => meta.date.timestamp().as_second() >= *time,
            Self::ReceivedUntil(time) => meta.date.timestamp().as_second() <= *time,
            Self::Larger(size) => meta.size > *size,
            Self::Smaller(size) => meta.size < *size,
            Self::ModSeq(modseq) => meta.modseq.0 >= *modseq,
            Self::Sent(day) => content?.sent().is_some_and(|date| day.holds(date)),
            Self::Header { name, part } => {
                return part.judge(meta, answers, |part| Some(content?.header_has(name, part)));
            }
            Self::Body(part) => return part.judge(meta, answers, |part| content?.body_has(part)),
            Self::Text(part) => return part.judge(meta, answers, |part| content?.text_has(part)),
        })
    }
}

/// Conditions side by side: one that comes to `settles` settles it, otherwise all have to be known.
fn judge_all(
    conditions: &[Condition],
    meta: &Meta,
    answers: &Answers,
    content: Option<&Content>,
    settles: bool,
) -> Option<bool> {
    let mut known = true;
    for condition in conditions {
        match condition.judge(meta, answers, content) {
            Some(value) if value == settles => return Some(settles),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(!settles)
}

/// Message numbers as UIDs; what is beyond the last message names nothing.
fn uids_of_numbers(set: &SequenceSet, context: &SearchContext) -> UidRanges {
    let last = u32::try_from(context.uids.len()).unwrap_or(u32::MAX);
    let Some(numbers) = set.resolve(last) else { return context.saved.clone() };
    let uid = |number: u32| context.uids.get(number as usize - 1).copied();
    let ranges = numbers.ranges().iter().filter_map(|(first, end)| {
        // UIDs in between that this session does not count are left out by the caller.
        Some((uid(*first)?, uid((*end).min(last))?))
    });
    UidRanges::from_ranges(ranges.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;

    fn context(uids: &[u32]) -> SearchContext {
        SearchContext {
            uids: Arc::new(uids.to_vec()),
            recent: 8,
            saved: UidRanges::from_ranges([(5, 5)]),
            now: Timestamp::from_second(1_000).unwrap(),
        }
    }

    #[test]
    fn numbers_become_uids() {
        let context = context(&[2, 5, 9, 11]);
        let numbers =
            |text: &str| uids_of_numbers(&SequenceSet::parse(text).unwrap(), &context).to_string();
        assert_eq!(numbers("2:3"), "5:9");
        assert_eq!(numbers("1,4"), "2,11");
        assert_eq!(numbers("*"), "11");
        assert_eq!(numbers("4:9"), "11");
        assert_eq!(numbers("7:9"), "");
        assert_eq!(uids_of_numbers(&SequenceSet::Saved, &context).to_string(), "5");
    }

    #[test]
    fn no_messages_no_numbers() {
        let context = context(&[]);
        assert!(uids_of_numbers(&SequenceSet::parse("1:*").unwrap(), &context).is_empty());
    }

    #[test]
    fn unknown_is_neither_yes_nor_no() {
        let meta = Meta {
            uid: 3,
            modseq: ModSeq(7),
            flags: SystemFlags::SEEN.into(),
            date: InternalDate::utc(Timestamp::from_second(500).unwrap()),
            size: 10,
            body: 1,
        };
        let context = context(&[3]);
        let judge = |key: SearchKey| {
            Condition::of(&key, &context, &mut Vec::new()).judge(&meta, &Answers::default(), None)
        };
        let text = || SearchKey::Text("x".into());
        assert_eq!(judge(text()), None);
        assert_eq!(judge(SearchKey::Not(Box::new(text()))), None);
        assert_eq!(judge(SearchKey::And(vec![text(), SearchKey::Larger(10)])), Some(false));
        assert_eq!(judge(SearchKey::And(vec![text(), SearchKey::Larger(9)])), None);
        assert_eq!(judge(SearchKey::Or(vec![text(), SearchKey::Larger(9)])), Some(true));
        assert_eq!(judge(SearchKey::Or(vec![text(), SearchKey::Larger(10)])), None);
        assert_eq!(judge(SearchKey::Younger(500)), Some(true));
        assert_eq!(judge(SearchKey::Younger(499)), Some(false));
        assert_eq!(judge(SearchKey::Older(500)), Some(true));
        assert_eq!(judge(SearchKey::Older(501)), Some(false));
        assert_eq!(judge(SearchKey::ModSeq(7)), Some(true));
        assert_eq!(judge(SearchKey::ModSeq(8)), Some(false));
    }

    #[test]
    fn sets_narrow_the_walk() {
        let context = context(&[2, 5, 9]);
        let key = SearchKey::And(vec![
            SearchKey::Not(Box::new(SearchKey::Flag(Flag::Seen))),
            SearchKey::Uid(SequenceSet::parse("4:*").unwrap()),
            SearchKey::Flag(Flag::Recent),
        ]);
        let condition = Condition::of(&key, &context, &mut Vec::new());
        assert_eq!(condition.reach().to_string(), "8:9");
        assert_eq!(condition.index().map(|index| index.0), Some("INDEXED BY messages_unseen"));
        let either =
            Condition::of(&SearchKey::Or(vec![key, SearchKey::All]), &context, &mut Vec::new());
        assert_eq!(either.reach(), all_uids());
        assert_eq!(either.index(), None);
    }
}
