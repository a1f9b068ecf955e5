//! A session's view of its mailbox: which message has which number, and what the client was told so far.
//!
//! Numbers are positions in a list of UIDs, ascending. What other sessions remove keeps its number until the client may
//! be told (RFC 9051 §7.5.1: not during FETCH, STORE and SEARCH); until then it is *gone*: numbered, but without content.
//! New messages are numbered as soon as they are seen. Nothing here does I/O.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::sequence::{NumberSet, SequenceSet};
use letterlock_mailbox::{Changes, FlagRow, ModSeq, SearchContext};

/// Whether EXPUNGE responses may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removals {
    /// They may.
    Told,
    /// A command with message numbers is under way: removed messages keep theirs.
    Held,
}

/// A sequence number that no message has (RFC 9051 §9, `seq-number`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchNumber;

/// What the client is to be told, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Numbers for EXPUNGE, descending: each is right whatever was removed before it.
    pub(crate) expunged: Vec<u32>,
    /// The UIDs of the same messages, for VANISHED (RFC 7162 §3.2.10).
    pub(crate) vanished: NumberSet,
    /// The new number of messages, if there are new ones.
    pub(crate) exists: Option<u32>,
    /// Numbers and rows of messages whose flags others changed.
    pub(crate) flags: Vec<(u32, FlagRow)>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct View {
    /// Shared with other sessions as long as nothing was removed.
    uids: Arc<Vec<u32>>,
    /// UIDs of `uids` that are removed, ascending.
    gone: Vec<u32>,
    /// UIDs that are `\Recent` here: this session took them, or only looks on.
    recent: NumberSet,
    /// Up to where the changes of the mailbox were read.
    modseq: ModSeq,
    /// Changes of flags that this session made itself, and was answered.
    own: HashMap<u32, ModSeq>,
    /// `$` (RFC 9051 §6.4.4.1), as UIDs.
    saved: NumberSet,
}

impl View {
    /// The view right after SELECT: all of `uids`, as the mailbox was at `modseq`.
    pub(crate) fn new(uids: Arc<Vec<u32>>, recent: NumberSet, modseq: ModSeq) -> Self {
        Self {
            uids,
            gone: Vec::new(),
            recent,
            modseq,
            own: HashMap::new(),
            saved: NumberSet::new(),
        }
    }

    /// How many messages have a number.
    pub(crate) fn count(&self) -> u32 {
        number(self.uids.len())
    }

    /// Since when changes are not known.
    pub(crate) fn modseq(&self) -> ModSeq {
        self.modseq
    }

    /// Whether there are messages whose removal was not told yet.
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Whether the message is `\Recent` in this session.
    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        self.recent.contains(uid)
    }

    /// How many messages are `\Recent` in this session.
    pub(crate) fn recent(&self) -> u32 {
        number(self.count_in(&self.recent))
    }

    /// UIDs that are `\Recent` in this session.
    pub(crate) fn recent_uids(&self) -> &NumberSet {
        &self.recent
    }

    /// This session was the first to hear of these (RFC 3501 §2.3.2).
    pub(crate) fn take_recent(&mut self, uids: &NumberSet) {
        self.recent = self.recent.union(uids);
    }

    /// The UIDs that have a number now.
    pub(crate) fn numbered(&self) -> NumberSet {
        self.uids.iter().copied().collect()
    }

    /// The UID of a message number.
    pub(crate) fn uid_of(&self, number: u32) -> Option<u32> {
        self.uids.get((number as usize).checked_sub(1)?).copied()
    }

    /// The message's number.
    pub(crate) fn number_of(&self, uid: u32) -> Option<u32> {
        self.uids.binary_search(&uid).ok().map(|index| number(index + 1))
    }

    /// The highest UID with a number, 0 without messages.
    pub(crate) fn last_uid(&self) -> u32 {
        self.uids.last().copied().unwrap_or(0)
    }

    /// What a command with this set is about, as UIDs. Between the ends of a range there may be UIDs that no message has;
    /// there is none above [`Self::last_uid`].
    pub(crate) fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<NumberSet, NoSuchNumber> {
        if *set == SequenceSet::Saved {
            return Ok(self.saved.clone());
        }
        if !uid && set.exceeds(self.count()) {
            return Err(NoSuchNumber);
        }
        Ok(if uid { self.by_uid(set) } else { self.by_number(set) })
    }

    /// What SEARCH has to know.
    pub(crate) fn search_context(&self, now: Timestamp) -> SearchContext {
        SearchContext {
            uids: Arc::clone(&self.uids),
            recent: u32::MAX,
            saved: self.saved.clone(),
            now,
        }
    }

    /// What a set in a search stands for now, as UIDs: numbers that no message has find nothing.
    pub(crate) fn frozen(&self, set: &SequenceSet) -> NumberSet {
        match set.resolve(self.count()) {
            Some(numbers) => {
                let there = NumberSet::from_ranges((self.count() > 0).then(|| (1, self.count())));
                self.uids_of(&numbers.intersect(&there))
            }
            None => self.saved.clone(),
        }
    }

    fn by_uid(&self, set: &SequenceSet) -> NumberSet {
        let last = self.last_uid();
        match set.resolve(last) {
            Some(uids) if last > 0 => uids.intersect(&NumberSet::from_ranges([(1, last)])),
            _ => NumberSet::new(),
        }
    }

    fn by_number(&self, set: &SequenceSet) -> NumberSet {
        self.uids_of(&set.resolve(self.count()).unwrap_or_default())
    }

    fn uids_of(&self, numbers: &NumberSet) -> NumberSet {
        // A stretch of numbers is a stretch of UIDs: none between them is another's.
        let uid = |number: u32| self.uids.get(number as usize - 1).copied();
        NumberSet::from_ranges(
            numbers.ranges().iter().filter_map(|(low, high)| uid(*low).zip(uid(*high))),
        )
    }

    /// The messages of the set that have a number, in batches of UIDs of at most `size`.
    pub(crate) fn batches(&self, set: &NumberSet, size: usize) -> Vec<NumberSet> {
        let mut found = Vec::new();
        for slice in set.ranges().iter().map(|range| self.between(*range)) {
            found.extend_from_slice(slice);
        }
        found.chunks(size).map(|uids| uids.iter().copied().collect()).collect()
    }

    /// The messages of the set that have a number, ascending.
    pub(crate) fn uids_in(&self, set: &NumberSet) -> Vec<u32> {
        set.ranges().iter().flat_map(|range| self.between(*range)).copied().collect()
    }

    /// How many messages of the set have a number.
    pub(crate) fn count_in(&self, set: &NumberSet) -> usize {
        set.ranges().iter().map(|range| self.between(*range).len()).sum()
    }

    fn between(&self, (low, high): (u32, u32)) -> &[u32] {
        let start = self.uids.partition_point(|uid| *uid < low);
        let end = self.uids.partition_point(|uid| *uid <= high);
        &self.uids[start..end.max(start)]
    }

    /// Keeps the result of SEARCH RETURN (SAVE).
    pub(crate) fn save(&mut self, uids: NumberSet) {
        self.saved = uids;
    }

    /// Notes a change of flags that this session made and answers itself.
    pub(crate) fn made(&mut self, row: &FlagRow) {
        self.own.insert(row.uid, row.modseq);
    }

    /// Notes a change of flags that is not answered. If others had changed the message since the client was told of
    /// it, it is told of both: `before` is when it was last changed.
    pub(crate) fn made_silently(&mut self, row: &FlagRow, before: ModSeq) {
        let known = self.own.get(&row.uid).copied().unwrap_or_default().max(self.modseq);
        if before <= known {
            self.made(row);
        }
    }

    /// Takes over what happened in the mailbox since [`Self::modseq`], and what was held back before.
    pub(crate) fn apply(&mut self, changes: Changes, removals: Removals) -> News {
        self.bury(&changes.vanished);
        let (expunged, vanished) = match removals {
            Removals::Told => self.release(),
            Removals::Held => Default::default(),
        };
        let last = self.last_uid();
        let mut rows = changes.changed;
        // A full list names old messages as new ones; what has a number is not new.
        let (old, new): (Vec<FlagRow>, Vec<FlagRow>) =
            changes.arrived.into_iter().partition(|row| row.uid <= last);
        rows.extend(old);
        rows.sort_by_key(|row| row.uid);
        if !new.is_empty() {
            Arc::make_mut(&mut self.uids).extend(new.iter().map(|row| row.uid));
        }
        let own = std::mem::take(&mut self.own);
        let flags = rows
            .into_iter()
            .filter(|row| {
                own.get(&row.uid) != Some(&row.modseq) && self.gone.binary_search(&row.uid).is_err()
            })
            .filter_map(|row| Some((self.number_of(row.uid)?, row)))
            .collect();
        self.modseq = changes.to;
        News { expunged, vanished, exists: (!new.is_empty()).then(|| self.count()), flags }
    }

    /// Takes out what was removed, and nothing else of what happened: numbers, descending, and UIDs. What is asked for the
    /// next time begins where it began before.
    pub(crate) fn take_out(&mut self, vanished: &NumberSet) -> (Vec<u32>, NumberSet) {
        self.bury(vanished);
        self.release()
    }

    /// Tells what was held back, without asking the mailbox: numbers, descending, and UIDs.
    pub(crate) fn release(&mut self) -> (Vec<u32>, NumberSet) {
        let gone = std::mem::take(&mut self.gone);
        let numbers = gone.iter().rev().filter_map(|uid| self.number_of(*uid)).collect();
        if !gone.is_empty() {
            Arc::make_mut(&mut self.uids).retain(|uid| gone.binary_search(uid).is_err());
        }
        (numbers, gone.into_iter().collect())
    }

    fn bury(&mut self, vanished: &NumberSet) {
        let mut gone: Vec<u32> = Vec::new();
        for range in vanished.ranges() {
            gone.extend_from_slice(self.between(*range));
        }
        if !gone.is_empty() {
            gone.append(&mut self.gone);
            gone.sort_unstable();
            gone.dedup();
            self.gone = gone;
        }
    }
}

/// Counts of messages fit: each has a UID, and UIDs have 32 bits.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_mailbox::{Flags, SystemFlags};

    fn view(uids: &[u32]) -> View {
        View::new(Arc::new(uids.to_vec()), NumberSet::new(), ModSeq(10))
    }

    fn row(uid: u32, modseq: u64) -> FlagRow {
        FlagRow { uid, modseq: ModSeq(modseq), flags: Flags::from(SystemFlags::SEEN) }
    }

    fn changes(vanished: &[u32], changed: &[(u32, u64)], arrived: &[u32]) -> Changes {
        Changes {
            to: ModSeq(20),
            vanished: vanished.iter().copied().collect(),
            changed: changed.iter().map(|(uid, modseq)| row(*uid, *modseq)).collect(),
            arrived: arrived.iter().map(|uid| row(*uid, 15)).collect(),
            full: false,
        }
    }

    fn set(text: &str) -> SequenceSet {
        SequenceSet::parse(text).unwrap()
    }

    #[test]
    fn numbers_stay_while_removals_are_held() {
        let mut view = view(&[3, 5, 8, 9]);
        let news = view.apply(changes(&[5, 9], &[], &[12]), Removals::Held);
        assert_eq!(news, News { exists: Some(5), ..News::default() });
        assert_eq!(
            (view.number_of(8), view.number_of(5), view.has_gone()),
            (Some(3), Some(2), true)
        );
        let news = view.apply(changes(&[3], &[], &[]), Removals::Told);
        assert_eq!(news.expunged, [4, 2, 1]);
        assert_eq!(news.vanished.to_string(), "3,5,9");
        assert_eq!((view.number_of(8), view.number_of(12), view.count()), (Some(1), Some(2), 2));
        assert!(!view.has_gone());
    }

    #[test]
    fn removals_are_told_before_the_new_count() {
        let mut view = view(&[1, 2, 3]);
        let news = view.apply(changes(&[1, 2], &[(3, 14)], &[7, 8]), Removals::Told);
        assert_eq!((news.expunged, news.exists), (vec![2, 1], Some(3)));
        assert_eq!(
            news.flags.iter().map(|(number, row)| (*number, row.uid)).collect::<Vec<_>>(),
            [(1, 3)]
        );
        assert_eq!(view.modseq(), ModSeq(20));
    }

    #[test]
    fn own_changes_are_not_told_again_but_later_ones_of_others_are() {
        let mut view = view(&[1, 2, 3]);
        view.made(&row(1, 12));
        view.made(&row(2, 12));
        let news = view.apply(changes(&[], &[(1, 12), (2, 13), (3, 11)], &[]), Removals::Held);
        assert_eq!(news.flags.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
        let news = view.apply(changes(&[], &[(1, 12)], &[]), Removals::Held);
        assert_eq!(news.flags.len(), 1, "what was made is remembered once");
    }

    #[test]
    fn a_silent_change_does_not_hide_what_others_did() {
        let mut view = view(&[1, 2, 3]);
        view.made_silently(&row(1, 14), ModSeq(10));
        view.made_silently(&row(2, 14), ModSeq(12));
        view.made(&row(3, 13));
        view.made_silently(&row(3, 15), ModSeq(13));
        let news = view.apply(changes(&[], &[(1, 14), (2, 14), (3, 15)], &[]), Removals::Held);
        assert_eq!(news.flags.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_full_list_numbers_nothing_twice() {
        let mut view = view(&[1, 2]);
        let full = Changes { full: true, ..changes(&[1], &[], &[2, 6]) };
        let news = view.apply(full, Removals::Told);
        assert_eq!((news.expunged, news.exists), (vec![1], Some(2)));
        assert_eq!(
            news.flags.iter().map(|(number, row)| (*number, row.uid)).collect::<Vec<_>>(),
            [(1, 2)]
        );
    }

    #[test]
    fn sets_become_uids() {
        let view = view(&[3, 5, 8, 9]);
        let text = |set: Result<NumberSet, NoSuchNumber>| set.unwrap().to_string();
        assert_eq!(text(view.resolve(&set("2:3"), false)), "5:8");
        assert_eq!(text(view.resolve(&set("*"), false)), "9");
        assert_eq!(text(view.resolve(&set("4:2"), false)), "5:9");
        assert_eq!(view.resolve(&set("5"), false), Err(NoSuchNumber));
        assert_eq!(text(view.resolve(&set("4:7"), true)), "4:7");
        assert_eq!(text(view.resolve(&set("20:*"), true)), "9");
        assert_eq!(text(view.resolve(&set("20:30"), true)), "");
        assert_eq!(view.count_in(&NumberSet::from_ranges([(4, 8), (10, 20)])), 2);
        let batches = view.batches(&NumberSet::from_ranges([(1, 100)]), 3);
        assert_eq!(batches.iter().map(NumberSet::to_string).collect::<Vec<_>>(), ["3,5,8", "9"]);
    }

    #[test]
    fn an_empty_mailbox_has_no_last_message() {
        let view = view(&[]);
        assert_eq!(view.resolve(&set("1:*"), false), Err(NoSuchNumber));
        assert_eq!(view.resolve(&set("1:*"), true), Ok(NumberSet::new()));
        assert_eq!(view.resolve(&set("$"), false), Ok(NumberSet::new()));
        assert_eq!(view.recent(), 0);
    }

    #[test]
    fn recent_messages_are_those_that_the_session_took() {
        let taken = NumberSet::from_ranges([(4, 5)]);
        let mut view = View::new(Arc::new(vec![1, 4, 6]), taken, ModSeq(1));
        assert_eq!((view.recent(), view.is_recent(4), view.is_recent(1)), (1, true, false));
        view.take_recent(&NumberSet::from_ranges([(6, 9)]));
        assert_eq!((view.recent(), view.is_recent(6)), (2, true));
    }

    proptest::proptest! {
        /// Whatever happens, the numbers that a client counts along are those of the view.
        #[test]
        fn a_client_that_counts_along_agrees(
            steps in proptest::collection::vec((proptest::collection::vec(1u32..60, 0..6), 0u32..4, proptest::bool::ANY), 1..20)
        ) {
            let mut present: Vec<u32> = (1..=10).collect();
            let mut next = 11;
            let mut view = view(&present);
            let mut client = present.len();
            for (remove, add, told) in steps {
                let vanished: Vec<u32> = remove.into_iter().filter(|uid| present.contains(uid)).collect();
                present.retain(|uid| !vanished.contains(uid));
                let arrived: Vec<u32> = (next..next + add).collect();
                next += add;
                present.extend(&arrived);
                let removals = if told { Removals::Told } else { Removals::Held };
                let news = view.apply(changes(&vanished, &[], &arrived), removals);
                for number in news.expunged {
                    proptest::prop_assert!(number >= 1 && number as usize <= client);
                    client -= 1;
                }
                if let Some(exists) = news.exists {
                    proptest::prop_assert!(exists as usize >= client);
                    client = exists as usize;
                }
                proptest::prop_assert_eq!(client, view.count() as usize);
                if told {
                    proptest::prop_assert_eq!(view.uids.as_slice(), present.as_slice());
                }
            }
        }
    }
}
