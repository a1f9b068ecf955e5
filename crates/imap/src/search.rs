//! SEARCH and UID SEARCH (RFC 9051 §6.4.4), answered by ESEARCH where the client asked for that or speaks IMAP4rev2, and
//! kept as `$` where it asked to.

use letterlock_imap_wire::response::{self, Esearch, esearch};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{SearchCommand, SearchKey, SearchReturn};

use crate::outcome::{Outcome, Reply, Stop};
use crate::select::Selected;
use crate::session::{Dialect, User};
use crate::wire::Wire;

/// Runs the command.
pub(crate) async fn search(
    user: &User,
    selected: &mut Selected,
    command: SearchCommand,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    if asks_modseq(&command.program.key) {
        return Ok(Reply::bad("CONDSTORE is not supported"));
    }
    let context = selected.view.search_context(jiff::Timestamp::now());
    let found = match user.mailbox().search(selected.folder, &command.program, &context).await {
        Ok(found) => found.uids,
        Err(error) => {
            // RFC 9051 §6.4.4.1: a search that fails leaves nothing in `$`.
            if command.returns.is_some_and(|returns| returns.save) {
                selected.view.save(NumberSet::new());
            }
            return Err(Stop::from(error));
        }
    };
    let numbers: Vec<u32> = match command.uid {
        true => found.clone(),
        false => found.iter().filter_map(|uid| selected.view.number_of(*uid)).collect(),
    };
    let out = &mut wire.out;
    match (command.returns, user.dialect()) {
        (None, Dialect::Rev1) => response::search(out, numbers, None),
        (None, Dialect::Rev2) => {
            esearch(
                out,
                tag,
                command.uid,
                &result(&numbers, SearchReturn { all: true, ..SearchReturn::default() }),
            );
        }
        (Some(returns), _) => {
            if returns.save {
                selected.view.save(kept(&found, returns));
            }
            if tells(returns) {
                esearch(out, tag, command.uid, &result(&numbers, returns));
            }
        }
    }
    wire.relieve().await?;
    Ok(Reply::ok("Searched"))
}

/// Whether there is an answer besides the tagged one: SAVE alone asks for none.
fn tells(returns: SearchReturn) -> bool {
    returns.min || returns.max || returns.all || returns.count
}

fn result(numbers: &[u32], returns: SearchReturn) -> Esearch {
    Esearch {
        min: numbers.first().copied().filter(|_| returns.min),
        max: numbers.last().copied().filter(|_| returns.max),
        count: returns.count.then(|| u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        all: returns.all.then(|| numbers.iter().copied().collect()),
        modseq: None,
    }
}

/// What `$` becomes (RFC 9051 §6.4.4.1): with MIN or MAX and nothing that asks for all, only those.
fn kept(uids: &[u32], returns: SearchReturn) -> NumberSet {
    if returns.all || returns.count || !(returns.min || returns.max) {
        return uids.iter().copied().collect();
    }
    let ends = [uids.first().filter(|_| returns.min), uids.last().filter(|_| returns.max)];
    ends.into_iter().flatten().copied().collect()
}

/// MODSEQ belongs to CONDSTORE, which is not offered.
fn asks_modseq(key: &SearchKey) -> bool {
    match key {
        SearchKey::ModSeq(_) => true,
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(asks_modseq),
        SearchKey::Not(key) => asks_modseq(key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_and_what_is_kept() {
        let none = SearchReturn::default();
        let min = SearchReturn { min: true, ..none };
        let ends = SearchReturn { max: true, save: true, ..min };
        assert_eq!(
            result(&[2, 5, 9], ends),
            Esearch { min: Some(2), max: Some(9), ..Esearch::default() }
        );
        assert_eq!(kept(&[2, 5, 9], ends).to_string(), "2,9");
        assert_eq!(kept(&[2, 5, 9], min).to_string(), "2");
        assert_eq!(kept(&[2, 5, 9], SearchReturn { count: true, ..min }).to_string(), "2,5,9");
        let alone = SearchReturn { save: true, ..none };
        assert_eq!(kept(&[2, 5, 9], alone).to_string(), "2,5,9");
        assert!(!tells(alone) && tells(min));
        let count = SearchReturn { count: true, ..none };
        assert_eq!(result(&[], count), Esearch { count: Some(0), ..Esearch::default() });
    }
}
