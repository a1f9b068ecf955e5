//! Contexts (RFC 5267): searches whose results a client wants to hear of as they change.
//!
//! Of each context its result is kept, as UIDs. When messages change or come, the search is run over just those, or over
//! all messages where it depends on more: on the time, or on which message is the last. What goes is told before the
//! message loses its number, what comes after it has one. What a search says by number, or by `$`, is put in UIDs when
//! the context begins (§4.3).
//!
//! A context goes with its mailbox. A session that hears nothing of the selected mailbox (RFC 5465) is not told of its
//! contexts either, and of what is told later, all is up to date again.

use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::command::sort::{SortBy, SortCriterion};
use letterlock_imap_wire::response::{ContextChange, Correlator, Status, context};
use letterlock_imap_wire::section::SectionText;
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{Code, FetchItem, SearchKey, SearchProgram, SequenceSet};

use crate::keys::{by_uid, find_in};
use crate::outcome::{Ended, Reply, Stop};
use crate::rank::{Ranks, take_out};
use crate::select::Selected;
use crate::session::User;
use crate::view::View;
use crate::wire::Wire;

/// How many contexts a session may have.
const MOST: usize = 16;
/// How many of them may be sorted: those cost more (§4.3.1).
const MOST_SORTED: usize = 4;

/// How many search keys they may have together, each range of numbers and each header field to be told counted.
const MOST_KEYS: usize = 50_000;
/// How many ranges and places of messages their results may have together when they begin.
const MOST_NUMBERS: usize = 2 << 20;

/// A search that is to be followed.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) tag: String,
    /// Whether messages are named by UID.
    pub(crate) uid: bool,
    /// The mailbox's name, for ESEARCH commands.
    pub(crate) mailbox: Option<String>,
    /// What is looked for; see [`frozen`].
    pub(crate) key: SearchKey,
    /// Of SORT, by what.
    pub(crate) criteria: Option<Vec<SortCriterion>>,
    /// What is told of new messages that fit (RFC 5465 §7).
    pub(crate) items: Vec<FetchItem>,
}

#[derive(Debug)]
struct Context {
    asked: Asked,
    /// Whether a change of one message can change what is found elsewhere.
    whole: bool,
    members: NumberSet,
    /// Of a sorted one, the members in the order in which the client has them.
    order: Vec<u32>,
}

/// The contexts of a mailbox.
#[derive(Debug, Default)]
pub(crate) struct Contexts(Vec<Context>);

impl Contexts {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are some that any change concerns, even the end of a message.
    pub(crate) fn has_whole(&self) -> bool {
        self.0.iter().any(|context| context.whole)
    }

    /// Whether some are told with the mailbox's name: see [`learn_name`].
    pub(crate) fn has_names(&self) -> bool {
        self.0.iter().any(|context| context.asked.mailbox.is_some())
    }

    /// The answer to a tag that a context has already (§4.3).
    pub(crate) fn refused(&self, tag: &str) -> Option<Reply> {
        let used = self.0.iter().any(|context| context.asked.tag == tag);
        used.then(|| Reply::bad("A search with this tag is followed already"))
    }

    /// CANCELUPDATE (§4.3.5): all or none.
    pub(crate) fn cancel(&mut self, tags: &[String]) -> Reply {
        let is_known = |tag: &String| self.0.iter().any(|context| context.asked.tag == *tag);
        if !tags.iter().all(is_known) {
            return Reply::bad("No search with this tag is followed");
        }
        self.0.retain(|context| !tags.contains(&context.asked.tag));
        Reply::ok("No further updates")
    }

    /// Follows a search that found these, in the order that was asked for; or says that it does not (§4.3.1).
    pub(crate) fn open(&mut self, asked: Asked, found: &[u32], out: &mut Vec<u8>) {
        let sorted = self.0.iter().filter(|context| context.asked.criteria.is_some()).count();
        let criteria = asked.criteria.as_deref();
        let by_relevancy =
            criteria.is_some_and(|all| all.iter().any(|one| one.by == SortBy::Relevancy));
        if by_relevancy {
            return no_update(&asked.tag, "An order by relevancy is not followed", out);
        }
        if self.0.len() >= MOST || criteria.is_some() && sorted >= MOST_SORTED {
            return no_update(&asked.tag, "Too many searches are followed", out);
        }
        let context = Context {
            whole: is_whole(&asked.key),
            members: found.iter().copied().collect(),
            order: if criteria.is_some() { found.to_vec() } else { Vec::new() },
            asked,
        };
        let sum =
            |of: fn(&Context) -> usize| self.0.iter().chain([&context]).map(of).sum::<usize>();
        if sum(|one| one.asked.keys()) > MOST_KEYS || sum(Context::numbers) > MOST_NUMBERS {
            return no_update(&context.asked.tag, "This is too much to be followed", out);
        }
        self.0.push(context);
    }
}

impl Asked {
    /// How many keys it has, as [`MOST_KEYS`] counts.
    fn keys(&self) -> usize {
        let fields = |item: &FetchItem| match item {
            FetchItem::Section { section, .. } => match &section.text {
                SectionText::HeaderFields(names) | SectionText::HeaderFieldsNot(names) => {
                    names.len()
                }
                _ => 0,
            },
            _ => 0,
        };
        count(&self.key) + self.items.iter().map(fields).sum::<usize>()
    }
}

fn count(key: &SearchKey) -> usize {
    1 + match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().map(count).sum(),
        SearchKey::Not(key) | SearchKey::Extended(ExtendedKey::Fuzzy(key)) => count(key),
        SearchKey::Uid(SequenceSet::Ranges(ranges)) => ranges.len(),
        _ => 0,
    }
}

/// Says that a search is not followed (§4.3.1), or no longer.
pub(crate) fn no_update(tag: &str, text: &'static str, out: &mut Vec<u8>) {
    let reply = Reply { status: Status::No, ..Reply::ok(text) };
    reply.with(Code::NoUpdate(tag.to_owned())).write(out, None);
}

/// Whether what is found depends on more than the messages that changed.
fn is_whole(key: &SearchKey) -> bool {
    match key {
        SearchKey::Younger(_) | SearchKey::Older(_) => true,
        SearchKey::Uid(set) => set.to_string().contains('*'),
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(is_whole),
        SearchKey::Not(key) | SearchKey::Extended(ExtendedKey::Fuzzy(key)) => is_whole(key),
        _ => false,
    }
}

/// The search with its message numbers and `$` as what they stand for now.
pub(crate) fn frozen(key: &SearchKey, view: &View) -> SearchKey {
    let all = |keys: &[SearchKey]| keys.iter().map(|key| frozen(key, view)).collect();
    match key {
        SearchKey::Sequence(set) | SearchKey::Uid(set @ SequenceSet::Saved) => {
            by_uid(&view.frozen(set))
        }
        SearchKey::And(keys) => SearchKey::And(all(keys)),
        SearchKey::Or(keys) => SearchKey::Or(all(keys)),
        SearchKey::Not(key) => SearchKey::Not(Box::new(frozen(key, view))),
        SearchKey::Extended(ExtendedKey::Fuzzy(key)) => {
            SearchKey::Extended(ExtendedKey::Fuzzy(Box::new(frozen(key, view))))
        }
        other => other.clone(),
    }
}

impl Context {
    /// How many numbers are kept, as [`MOST_NUMBERS`] counts.
    fn numbers(&self) -> usize {
        self.members.ranges().len() + self.order.len()
    }

    fn put(&self, user: &User, uid_validity: u32, change: &ContextChange, out: &mut Vec<u8>) {
        let (ContextChange::Added(pairs) | ContextChange::Removed(pairs)) = change;
        if pairs.is_empty() {
            return;
        }
        let mailbox = self.asked.mailbox.as_deref().map(|name| (name, user.form(), uid_validity));
        let correlator = Correlator { tag: &self.asked.tag, mailbox, uid: self.asked.uid };
        context(out, correlator, change);
    }

    /// The place of something that is not sorted: the client knows the order of the mailbox.
    fn unsorted(&self, uids: &NumberSet, view: &View) -> Vec<(u32, NumberSet)> {
        let set: NumberSet = match self.asked.uid {
            true => uids.clone(),
            false => uids.iter().filter_map(|uid| view.number_of(uid)).collect(),
        };
        (!set.is_empty()).then_some((0, set)).into_iter().collect()
    }

    /// A message at a place, as the client calls it.
    fn named(&self, place: usize, uid: u32, view: &View) -> Option<(u32, NumberSet)> {
        let number = if self.asked.uid { uid } else { view.number_of(uid)? };
        Some((u32::try_from(place + 1).ok()?, NumberSet::from_ranges([(number, number)])))
    }

    /// Some members are none any more.
    fn remove(&mut self, gone: &NumberSet, view: &View) -> ContextChange {
        let gone = gone.intersect(&self.members);
        self.members = self.members.without(&gone);
        ContextChange::Removed(match self.asked.criteria {
            None => self.unsorted(&gone, view),
            Some(_) => {
                let places = take_out(&mut self.order, &gone);
                places.into_iter().filter_map(|(at, uid)| self.named(at, uid, view)).collect()
            }
        })
    }

    /// Some more messages are members.
    async fn add(
        &mut self,
        user: &User,
        selected: &Selected,
        new: &NumberSet,
    ) -> Result<ContextChange, Stop> {
        let view = &selected.view;
        let Some(criteria) = &self.asked.criteria else {
            self.members = self.members.union(new);
            return Ok(ContextChange::Added(self.unsorted(new, view)));
        };
        let mut ranks = Ranks::new(user, selected.folder, criteria);
        let places = ranks.put_in(&mut self.order, new).await?;
        self.members = self.members.union(&places.iter().map(|(_, uid)| *uid).collect());
        let named = places.into_iter().filter_map(|(at, uid)| self.named(at, uid, view));
        Ok(ContextChange::Added(named.collect()))
    }

    /// Looks again at what was touched; answers which messages became members.
    async fn update(
        &mut self,
        user: &User,
        selected: &Selected,
        touched: &NumberSet,
        wire: &mut Wire,
    ) -> Result<NumberSet, Stop> {
        if touched.is_empty() && !self.whole {
            return Ok(NumberSet::new());
        }
        let (reach, key) = match self.whole {
            true => (selected.view.numbered(), self.asked.key.clone()),
            false => {
                let both = vec![by_uid(touched), self.asked.key.clone()];
                (touched.clone(), SearchKey::And(both))
            }
        };
        let found = find_in(user, selected.folder, &selected.view, SearchProgram { key }).await?;
        let found: NumberSet = found.uids.into_iter().collect();
        let before = self.members.intersect(&reach);
        let removed = self.remove(&before.without(&found), &selected.view);
        self.put(user, selected.uid_validity, &removed, &mut wire.out);
        let new = found.without(&before);
        let added = self.add(user, selected, &new).await?;
        self.put(user, selected.uid_validity, &added, &mut wire.out);
        wire.relieve().await?;
        Ok(new)
    }
}

/// Contexts of ESEARCH commands are told with the mailbox's name, which may be another one by now.
pub(crate) async fn learn_name(user: &User, selected: &mut Selected) {
    // If that cannot be read, the old name has to do: with it goes UIDVALIDITY.
    let Ok(found) = user.mailbox().statuses(vec![selected.folder]).await else { return };
    let Some((name, _)) = found.first() else { return };
    for known in selected.contexts.0.iter_mut().filter_map(|one| one.asked.mailbox.as_mut()) {
        known.clone_from(name);
    }
}

/// Messages are gone: to be told while they still have their numbers (§4.3.4).
pub(crate) fn leave(user: &User, selected: &mut Selected, gone: &NumberSet, out: &mut Vec<u8>) {
    let Selected { contexts, view, uid_validity, .. } = selected;
    for context in &mut contexts.0 {
        let removed = context.remove(gone, view);
        context.put(user, *uid_validity, &removed, out);
    }
}

/// Messages came or changed: to be told when the new ones have their numbers (§4.3.3). Answers what of which new members
/// is to be fetched.
pub(crate) async fn update(
    user: &User,
    selected: &mut Selected,
    touched: &NumberSet,
    wire: &mut Wire,
) -> Result<Vec<(Vec<FetchItem>, NumberSet)>, Ended> {
    let all = std::mem::take(&mut selected.contexts).0;
    let (mut kept, mut wanted) = (Vec::with_capacity(all.len()), Vec::new());
    for mut context in all {
        match context.update(user, selected, touched, wire).await {
            Ok(new) => {
                if !context.asked.items.is_empty() && !new.is_empty() {
                    wanted.push((context.asked.items.clone(), new));
                }
                kept.push(context);
            }
            // What it has told is right; it goes no further.
            Err(Stop::Refuse(_)) => {
                no_update(&context.asked.tag, "The search failed", &mut wire.out);
            }
            Err(Stop::End(ended)) => return Err(ended),
        }
    }
    selected.contexts = Contexts(kept);
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::Command;
    use letterlock_imap_wire::command::parse;
    use letterlock_mailbox::ModSeq;
    use std::sync::Arc;

    fn key(text: &str) -> SearchKey {
        match parse(format!("a SEARCH {text}").as_bytes(), 20).unwrap().command {
            Command::Search(search) => search.program.key,
            other => panic!("{other:?}"),
        }
    }

    fn asked(tag: &str, criteria: Option<Vec<SortCriterion>>) -> Asked {
        let tag = tag.to_owned();
        Asked { tag, uid: true, mailbox: None, key: SearchKey::All, criteria, items: Vec::new() }
    }

    #[test]
    fn numbers_are_frozen() {
        let mut view = View::new(Arc::new(vec![3, 5, 8]), NumberSet::new(), ModSeq(1));
        view.save(NumberSet::from_ranges([(5, 5)]));
        for (text, expected) in [
            ("2:9 UNSEEN", "UID 5:8 UNSEEN"),
            ("NOT *", "NOT UID 8"),
            ("OR $ UID $", "OR UID 5 UID 5"),
            ("7", "NOT ALL"),
            ("FUZZY 1", "FUZZY UID 3"),
            ("UID 2:*", "UID 2:*"),
        ] {
            assert_eq!(frozen(&key(text), &view), key(expected), "{text}");
        }
        let empty = View::new(Arc::default(), NumberSet::new(), ModSeq(1));
        assert_eq!(frozen(&key("1:*"), &empty), key("NOT ALL"));
    }

    #[test]
    fn some_searches_depend_on_more_than_what_changed() {
        for text in ["YOUNGER 5", "NOT (SEEN OLDER 5)", "UID 4:*", "OR SEEN UID *"] {
            assert!(is_whole(&key(text)), "{text}");
        }
        assert!(!is_whole(&key("TEXT x UID 1:9 SINCE 1-Jan-2024")));
    }

    #[test]
    fn there_is_an_end_to_contexts() {
        let (mut contexts, mut out) = (Contexts::default(), Vec::new());
        let by = |by| Some(vec![SortCriterion { by, reverse: false }]);
        for number in 0..=MOST_SORTED {
            contexts.open(asked(&format!("s{number}"), by(SortBy::Size)), &[], &mut out);
        }
        let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
        assert_eq!(text, "* NO [NOUPDATE \"s4\"] Too many searches are followed\r\n");
        contexts.open(asked("r", by(SortBy::Relevancy)), &[], &mut out);
        contexts.cancel(&["s0".to_owned()]);
        contexts.open(asked("r", by(SortBy::Relevancy)), &[], &mut out);
        assert_eq!(
            String::from_utf8(std::mem::take(&mut out)).unwrap().matches("\"r\"").count(),
            2
        );
        for number in 0..MOST {
            contexts.open(asked(&format!("a{number}"), None), &[], &mut out);
        }
        assert_eq!((contexts.0.len(), out.is_empty()), (MOST, false));
        assert!(contexts.refused("a0").is_some() && contexts.refused("s0").is_none());
        assert_eq!(contexts.cancel(&["a0".to_owned(), "x".to_owned()]).status, Status::Bad);
        assert!(contexts.refused("a0").is_some());
    }

    #[test]
    fn what_is_followed_does_not_fill_the_memory() {
        let mut contexts = Contexts::default();
        let many = |number: usize| Asked {
            key: SearchKey::And(vec![key("UID 1,3,5"); MOST_KEYS / 8]),
            ..asked(&format!("k{number}"), None)
        };
        let mut out = Vec::new();
        (0..3).for_each(|number| contexts.open(many(number), &[], &mut out));
        assert_eq!(contexts.0.len(), 1);
        let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
        assert!(text.starts_with("* NO [NOUPDATE \"k1\"] This is too much"), "{text}");
        contexts.open(asked("a", None), &(1..1000).collect::<Vec<u32>>(), &mut out);
        let odd: Vec<u32> = (0..=MOST_NUMBERS as u32).map(|number| 2 * number + 1).collect();
        contexts.open(asked("b", None), &odd, &mut out);
        assert_eq!((contexts.0.len(), contexts.0[1].numbers()), (2, 1));
    }
}
