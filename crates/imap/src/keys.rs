//! Search keys that only a session, or only this frontend, understands, put in terms of UIDs: `\Recent`, EMAILID and
//! THREADID (RFC 8474), SAVEDBEFORE, SAVEDON and SAVEDSINCE (RFC 8514).

use jiff::civil::Date;
use jiff::tz::TimeZone;
use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{Code, Flag, SearchKey, SearchProgram};
use letterlock_mailbox::{EmailId, FolderId, Found, Lookup};

use crate::fuzzy::loosened;
use crate::outcome::{Reply, Stop};
use crate::select::Selected;
use crate::session::User;
use crate::view::View;

/// Each look-up walks over the whole mailbox.
const MOST: usize = 64;

/// Runs a search as the session means it.
pub(crate) async fn find(
    user: &User,
    selected: &Selected,
    program: SearchProgram,
) -> Result<Found, Stop> {
    find_in(user, selected.folder, &selected.view, program).await
}

/// The same in any mailbox of which there is a view.
pub(crate) async fn find_in(
    user: &User,
    folder: FolderId,
    view: &View,
    program: SearchProgram,
) -> Result<Found, Stop> {
    let asked = loosened(program.key);
    let mut wanted = Vec::new();
    gather(&asked, &mut wanted);
    if wanted.len() > MOST {
        return Err(Reply::no("Too many keys by id or date of saving").with(Code::Limit).into());
    }
    let mut found = Vec::with_capacity(wanted.len());
    for key in wanted {
        found.push(match lookup(key) {
            Some(lookup) => user.mailbox().lookup(folder, lookup).await?,
            None => NumberSet::new(),
        });
    }
    let key = replace(asked, view, &mut found.into_iter());
    let context = view.search_context(jiff::Timestamp::now());
    Ok(user.mailbox().search(folder, &SearchProgram { key }, &context).await?)
}

/// The keys to be looked up, in their order.
fn gather<'k>(key: &'k SearchKey, found: &mut Vec<&'k ExtendedKey>) {
    match key {
        SearchKey::Extended(key) => found.push(key),
        SearchKey::And(keys) | SearchKey::Or(keys) => {
            keys.iter().for_each(|key| gather(key, found));
        }
        SearchKey::Not(key) => gather(key, found),
        _ => {}
    }
}

/// What the mailbox is asked; `None` for what no message can have. No message has a THREADID here.
fn lookup(key: &ExtendedKey) -> Option<Lookup> {
    let (from, until) = match key {
        ExtendedKey::EmailId(id) => return EmailId::parse(id).map(Lookup::Email),
        // FUZZY keys were replaced before.
        ExtendedKey::ThreadId(_) | ExtendedKey::Fuzzy(_) => return None,
        ExtendedKey::SavedBefore(day) => (i64::MIN, midnight(*day)),
        ExtendedKey::SavedOn(day) => {
            (midnight(*day), midnight(day.saturating_add(jiff::Span::new().days(1))))
        }
        ExtendedKey::SavedSince(day) => (midnight(*day), i64::MAX),
    };
    Some(Lookup::Saved(from, until))
}

/// SAVEDATE is told in UTC, so that days begin there.
fn midnight(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(i64::MAX, |time| time.timestamp().as_second())
}

/// Puts what was found, in the same order, in the place of the keys.
fn replace(key: SearchKey, view: &View, found: &mut impl Iterator<Item = NumberSet>) -> SearchKey {
    match key {
        SearchKey::Flag(Flag::Recent) => by_uid(view.recent_uids()),
        SearchKey::Extended(_) => by_uid(&found.next().unwrap_or_default()),
        SearchKey::And(keys) => SearchKey::And(replace_all(keys, view, found)),
        SearchKey::Or(keys) => SearchKey::Or(replace_all(keys, view, found)),
        SearchKey::Not(key) => SearchKey::Not(Box::new(replace(*key, view, found))),
        other => other,
    }
}

fn replace_all(
    keys: Vec<SearchKey>,
    view: &View,
    found: &mut impl Iterator<Item = NumberSet>,
) -> Vec<SearchKey> {
    keys.into_iter().map(|key| replace(key, view, found)).collect()
}

/// The key that finds these messages.
pub(crate) fn by_uid(uids: &NumberSet) -> SearchKey {
    match uids.to_sequence_set() {
        Some(set) => SearchKey::Uid(set),
        None => SearchKey::Not(Box::new(SearchKey::All)),
    }
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

    #[test]
    fn what_was_looked_up_takes_its_place() {
        let view = View::new(Arc::new(vec![1, 2, 3]), NumberSet::from_ranges([(2, 3)]), ModSeq(1));
        let asked = key("OR NEW NOT (SAVEDON 1-Feb-2024 EMAILID M1) SAVEDBEFORE 2-Feb-2024");
        let mut wanted = Vec::new();
        gather(&asked, &mut wanted);
        assert_eq!(wanted.len(), 3);
        let found =
            [vec![1, 2], vec![], vec![3]].map(|uids| uids.into_iter().collect::<NumberSet>());
        assert_eq!(
            replace(asked, &view, &mut found.into_iter()),
            key("OR (UID 2:3 UNSEEN) NOT (UID 1:2 NOT ALL) UID 3")
        );
    }

    #[test]
    fn days_are_those_of_utc() {
        let on = ExtendedKey::SavedOn(Date::constant(1970, 1, 2));
        assert_eq!(lookup(&on), Some(Lookup::Saved(86_400, 172_800)));
        assert_eq!(lookup(&ExtendedKey::EmailId("X1".into())), None);
        assert_eq!(lookup(&ExtendedKey::ThreadId("T1".into())), None);
    }
}
