//! SEARCH and UID SEARCH (RFC 9051 §6.4.4), answered by ESEARCH where the client asked for that or speaks IMAP4rev2, and
//! kept as `$` where it asked to.

use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::response::{self, Esearch, Numbers, esearch};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{SearchCommand, SearchKey, SearchProgram, SearchReturn};
use letterlock_mailbox::{Columns, FolderId, Found, ModSeq};

use crate::context::{Asked, frozen};
use crate::fuzzy::{exact_hits, needs_fuzzy, scores};
use crate::keys::find_in;
use crate::outcome::{Outcome, Reply, Stop};
use crate::select::Selected;
use crate::session::{Dialect, User};
use crate::view::View;
use crate::wire::{PROGRESS, Wire};

/// Rows asked for at once.
const ROWS: usize = 1_000;

/// Runs the command.
pub(crate) async fn search(
    user: &User,
    selected: &mut Selected,
    command: SearchCommand,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    let modseq_asked = asks_modseq(&command.program.key);
    if command.charset.is_some() && user.accepts_utf8() {
        return Ok(Reply::bad("With UTF8=ACCEPT, everything is UTF-8"));
    }
    let follows = command.returns.is_some_and(|returns| returns.update);
    if let Some(reply) = selected.contexts.refused(tag).filter(|_| follows) {
        return Ok(reply);
    }
    let asked = follows.then(|| Asked {
        tag: tag.to_owned(),
        uid: command.uid,
        mailbox: None,
        key: frozen(&command.program.key, &selected.view),
        criteria: None,
        items: command.update_items.clone(),
    });
    let relevancy = command.returns.is_some_and(|returns| returns.relevancy);
    if let Some(reply) = needs_fuzzy(relevancy, &command.program) {
        return Ok(reply);
    }
    let searching = find_scored(user, selected.folder, &selected.view, command.program, relevancy);
    let (found, exact) = match wire.during(tag, PROGRESS, searching).await? {
        Ok(found) => found,
        Err(stop) => {
            // RFC 9051 §6.4.4.1: a search that fails leaves nothing in `$`.
            if command.returns.is_some_and(|returns| returns.save) {
                selected.view.save(NumberSet::new());
            }
            return Err(stop);
        }
    };
    let highest = match modseq_asked && !found.uids.is_empty() {
        true => {
            highest_of(user, selected.folder, &found.uids, command.returns, found.highest_modseq)
                .await?
        }
        false => None,
    };
    let found = found.uids;
    let question = (tag, command.uid, command.returns);
    let about = (highest, exact.as_ref());
    tell(user.dialect(), &mut selected.view, question, &found, about, &mut wire.out);
    if let Some(asked) = asked {
        selected.contexts.open(asked, &found, &mut wire.out);
    }
    wire.relieve().await?;
    Ok(Reply::ok("Searched"))
}

/// Tells what was found, in the words that were asked for, and keeps it as `$` if it is to be kept.
fn tell(
    dialect: Dialect,
    view: &mut View,
    (tag, uid, returns): (&str, bool, Option<SearchReturn>),
    found: &[u32],
    (highest, exact): (Option<u64>, Option<&NumberSet>),
    out: &mut Vec<u8>,
) {
    let numbers: Vec<u32> = match uid {
        true => found.to_vec(),
        false => found.iter().filter_map(|uid| view.number_of(*uid)).collect(),
    };
    let returns = match (returns, dialect) {
        (None, Dialect::Rev1) => return response::search(out, numbers, highest),
        (None, Dialect::Rev2) => SearchReturn { all: true, ..SearchReturn::default() },
        (Some(returns), _) => returns,
    };
    if returns.save {
        view.save(kept(found, returns));
    }
    if tells(returns) {
        let relevancy = scores(exact, found, returns);
        let result = Esearch { relevancy, ..result(&numbers, returns, highest, set) };
        esearch(out, tag, uid, &result);
    }
}

/// A search, and which of its hits fit exactly if scores are wanted.
pub(crate) async fn find_scored(
    user: &User,
    folder: FolderId,
    view: &View,
    program: SearchProgram,
    scored: bool,
) -> Result<(Found, Option<NumberSet>), Stop> {
    let exact = match scored {
        true => Some(exact_hits(user, folder, view, program.clone()).await?),
        false => None,
    };
    Ok((find_in(user, folder, view, program).await?, exact))
}

/// Whether there is an answer besides the tagged one: SAVE alone asks for none. UPDATE and CONTEXT ask for nothing that
/// could be told now, but a client may wait for the answer of an extended search.
pub(crate) fn tells(returns: SearchReturn) -> bool {
    let some = returns.min || returns.max || returns.all || returns.count || returns.relevancy;
    some || returns.partial.is_some() || (returns.update || returns.context) && !returns.save
}

/// Numbers in no order.
pub(crate) fn set(numbers: &[u32]) -> Numbers {
    Numbers::Set(numbers.iter().copied().collect())
}

/// What ESEARCH tells of these numbers, which are in the order that MIN, MAX and PARTIAL go by.
pub(crate) fn result(
    numbers: &[u32],
    returns: SearchReturn,
    modseq: Option<u64>,
    put: fn(&[u32]) -> Numbers,
) -> Esearch {
    Esearch {
        min: numbers.first().copied().filter(|_| returns.min),
        max: numbers.last().copied().filter(|_| returns.max),
        count: returns.count.then(|| u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        all: returns.all.then(|| put(numbers)),
        partial: returns.partial.map(|window| (window, put(window.of(numbers)))),
        modseq,
        relevancy: None,
    }
}

/// Whether the options concern every message that was found, or only those at the ends or in the window.
fn asks_all(returns: SearchReturn) -> bool {
    returns.all
        || returns.count
        || returns.relevancy
        || !(returns.min || returns.max || returns.partial.is_some())
}

/// What `$` becomes (RFC 9051 §6.4.4.1): with MIN, MAX or PARTIAL and nothing that asks for all, only those.
pub(crate) fn kept(uids: &[u32], returns: SearchReturn) -> NumberSet {
    if asks_all(returns) {
        return uids.iter().copied().collect();
    }
    let ends = [uids.first().filter(|_| returns.min), uids.last().filter(|_| returns.max)];
    let window = returns.partial.map(|window| window.of(uids)).unwrap_or_default();
    ends.into_iter().flatten().chain(window).copied().collect()
}

/// The modification sequence that goes with the answer to a search by MODSEQ: the highest of the messages that the answer
/// is about (RFC 7162 §3.1.5, §3.1.10).
pub(crate) async fn highest_of(
    user: &User,
    folder: FolderId,
    uids: &[u32],
    returns: Option<SearchReturn>,
    highest: ModSeq,
) -> Result<Option<u64>, Stop> {
    let some = match returns {
        Some(returns) if !asks_all(returns) => kept(uids, returns),
        _ => return Ok(Some(highest.0)),
    };
    let (mut top, mut after) = (None, 0);
    loop {
        let rows = user.mailbox().rows(folder, &some, Columns::default(), after, ROWS).await?;
        top = rows.iter().map(|row| row.modseq.0).max().max(top);
        match rows.last() {
            Some(last) if rows.len() == ROWS => after = last.uid,
            _ => return Ok(top),
        }
    }
}

/// Whether the client asks by MODSEQ, and so becomes one that is told of it.
pub(crate) fn asks_modseq(key: &SearchKey) -> bool {
    match key {
        SearchKey::ModSeq(_) => true,
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(asks_modseq),
        SearchKey::Not(key) | SearchKey::Extended(ExtendedKey::Fuzzy(key)) => asks_modseq(key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::Window;

    #[test]
    fn what_is_told_and_what_is_kept() {
        let none = SearchReturn::default();
        let min = SearchReturn { min: true, ..none };
        let ends = SearchReturn { max: true, save: true, ..min };
        assert_eq!(
            result(&[2, 5, 9], ends, None, set),
            Esearch { min: Some(2), max: Some(9), ..Esearch::default() }
        );
        assert_eq!(kept(&[2, 5, 9], ends).to_string(), "2,9");
        assert_eq!(kept(&[2, 5, 9], min).to_string(), "2");
        assert_eq!(kept(&[2, 5, 9], SearchReturn { count: true, ..min }).to_string(), "2,5,9");
        let window = Window { from_end: true, first: 1, last: 2 };
        let partial = SearchReturn { partial: Some(window), ..none };
        assert_eq!(result(&[2, 5, 9], partial, None, set).partial, Some((window, set(&[5, 9]))));
        assert_eq!(kept(&[2, 5, 9], partial).to_string(), "5,9");
        assert!(tells(partial));
        let alone = SearchReturn { save: true, ..none };
        assert_eq!(kept(&[2, 5, 9], alone).to_string(), "2,5,9");
        assert!(!tells(alone) && tells(min));
        let count = SearchReturn { count: true, ..none };
        assert_eq!(result(&[], count, None, set), Esearch { count: Some(0), ..Esearch::default() });
    }
}
