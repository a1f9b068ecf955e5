//! Quick resynchronisation (RFC 7162): what a client that comes back is told of the time between.

use letterlock_imap_wire::command::QresyncParameter;
use letterlock_imap_wire::command::notify::{NotifyCommand, NotifyEvent};
use letterlock_imap_wire::response::vanished;
use letterlock_imap_wire::sequence::{NumberSet, SequenceSet};
use letterlock_imap_wire::{Code, Command, FetchItem, StatusItem};
use letterlock_mailbox::{Changes, ModSeq};

use crate::outcome::{Reply, Stop};
use crate::refresh::tell_flags;
use crate::search::asks_modseq;
use crate::select::Selected;
use crate::session::{Resync, State, User};
use crate::view::View;
use crate::wire::Wire;

/// SELECT's QRESYNC parameter, for a mailbox whose UIDVALIDITY is the one that the client knows (§3.2.5): first what went,
/// then what is new or has changed.
///
/// What the mailbox does not remember that exactly, because a crash took it or it is too long ago, is answered by the full
/// list: every UID that is not there any more, and every message.
pub(crate) async fn resync(
    user: &User,
    selected: &mut Selected,
    known: &QresyncParameter,
    wire: &mut Wire,
) -> Result<(), Stop> {
    let changes = user.mailbox().changes(selected.folder, ModSeq(known.modseq)).await?;
    vanished(&mut wire.out, true, &earlier(known, &changes, &selected.view));
    let wanted = known_uids(known);
    let rows = changes.changed.iter().chain(&changes.arrived);
    let mut rows: Vec<_> = rows.filter(|row| wanted.contains(row.uid)).collect();
    rows.sort_unstable_by_key(|row| row.uid);
    for row in rows {
        // What came after SELECT looked has no number yet; it is told with the news.
        let Some(number) = selected.view.number_of(row.uid) else { continue };
        tell_flags(user, selected, number, row, true, &mut wire.out);
        wire.relieve().await?;
    }
    Ok(())
}

/// All UIDs, where the client does not name those that it knows.
fn known_uids(known: &QresyncParameter) -> NumberSet {
    let named = known.known_uids.as_ref().and_then(|set| set.resolve(u32::MAX));
    named.unwrap_or_else(|| NumberSet::from_ranges([(1, u32::MAX)]))
}

/// The UIDs of VANISHED (EARLIER).
fn earlier(known: &QresyncParameter, changes: &Changes, view: &View) -> NumberSet {
    let mut gone = changes.vanished.intersect(&known_uids(known));
    if changes.full
        && let Some(unchanged) = unchanged_up_to(known, view)
    {
        gone = gone.without(&NumberSet::from_ranges([(1, unchanged)]));
    }
    // What went after SELECT looked still has a number; it is told with the news.
    gone.without(&view.numbered())
}

/// The highest UID up to which nothing went, by the samples of numbers and UIDs that the client sends (§3.2.5.2): where a
/// message still has the number that it had, all that stood before it is still there.
fn unchanged_up_to(known: &QresyncParameter, view: &View) -> Option<u32> {
    let (numbers, uids) = known.sequence_match.as_ref()?;
    let pairs = samples(numbers).zip(samples(uids));
    pairs.filter(|(number, uid)| view.uid_of(*number) == Some(*uid)).map(|(_, uid)| uid).last()
}

/// The numbers of a set without `*`, ascending, as far as anybody has that many messages.
fn samples(set: &SequenceSet) -> impl Iterator<Item = u32> {
    let numbers = set.resolve(0).unwrap_or_default();
    let ranges: Vec<(u32, u32)> = numbers.ranges().to_vec();
    ranges.into_iter().flat_map(|(low, high)| low..=high).take(SAMPLES)
}

/// More samples than this are not looked at.
const SAMPLES: usize = 100_000;

/// What a command makes its session want to know, by what it asks for (RFC 7162 §3.1).
pub(crate) fn enables(command: &Command) -> Resync {
    let asks = match command {
        Command::Select(select) | Command::Examine(select) => {
            select.condstore || select.qresync.is_some()
        }
        Command::Status { items, .. } => items.contains(&StatusItem::HighestModSeq),
        Command::List(list) => list
            .returns
            .as_ref()
            .and_then(|returns| returns.status.as_ref())
            .is_some_and(|items| items.contains(&StatusItem::HighestModSeq)),
        Command::Fetch(fetch) => {
            fetch.items.contains(&FetchItem::ModSeq) || fetch.modifiers.changed_since.is_some()
        }
        Command::Store(store) => store.unchanged_since.is_some(),
        Command::Search(search) => {
            asks_modseq(&search.program.key) || tells_modseq(&search.update_items)
        }
        Command::MultiSearch(multi) => {
            asks_modseq(&multi.search.program.key) || tells_modseq(&multi.search.update_items)
        }
        Command::Sort(sort) => asks_modseq(&sort.program.key) || tells_modseq(&sort.update_items),
        Command::Notify(NotifyCommand::Set { groups, .. }) => groups
            .iter()
            .flat_map(|group| &group.events)
            .any(|event| matches!(event, NotifyEvent::MessageNew(items) if tells_modseq(items))),
        Command::Thread(thread) => asks_modseq(&thread.program.key),
        _ => false,
    };
    if asks { Resync::Condstore } else { Resync::Off }
}

fn tells_modseq(items: &[FetchItem]) -> bool {
    items.contains(&FetchItem::ModSeq)
}

/// A command that asks about modification sequences makes the session one that is told of them (§3.1).
pub(crate) fn enable(state: &mut State, resync: Resync, out: &mut Vec<u8>) {
    let new = state.user_mut().is_some_and(|user| user.enable_resync(resync));
    if let (State::Selected(_, selected), true) = (state, new) {
        let code = Code::HighestModSeq(selected.view.modseq().0);
        Reply::ok("Modification sequences are told").with(code).write(out, None);
    }
}

/// After an expunge, how far the client is up to date (§3.2.7): it has been told of everything before.
pub(crate) fn highest(user: &User, selected: &Selected) -> Option<Code> {
    // A client that is not told of flags is not up to date (RFC 5465).
    let hears = user.notify.hearing().is_some_and(|hearing| hearing.flags);
    let wanted = user.resync() >= Resync::Condstore && !selected.view.has_gone() && hears;
    wanted.then(|| Code::HighestModSeq(selected.view.modseq().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::command::parse;
    use std::sync::Arc;

    fn set(text: &str) -> SequenceSet {
        SequenceSet::parse(text).unwrap()
    }

    fn view(uids: &[u32]) -> View {
        View::new(Arc::new(uids.to_vec()), NumberSet::new(), ModSeq(9))
    }

    fn changes(gone: &str, full: bool) -> Changes {
        let vanished = set(gone).resolve(0).unwrap();
        Changes { to: ModSeq(9), vanished, changed: Vec::new(), arrived: Vec::new(), full }
    }

    fn known(uids: Option<&str>, samples: Option<(&str, &str)>) -> QresyncParameter {
        QresyncParameter {
            uid_validity: 1,
            modseq: 1,
            known_uids: uids.map(set),
            sequence_match: samples.map(|(numbers, uids)| (set(numbers), set(uids))),
        }
    }

    #[test]
    fn only_what_the_client_knows_is_told_as_gone() {
        let view = view(&[3, 8]);
        let told = |known: &QresyncParameter, full| {
            earlier(known, &changes("1:2,4:7,9", full), &view).to_string()
        };
        assert_eq!(told(&known(None, None), false), "1:2,4:7,9");
        assert_eq!(told(&known(Some("2:5"), None), false), "2,4:5");
        // Message 1 is UID 3 still: 1 and 2 were gone before. That shortens a full list only.
        assert_eq!(told(&known(None, Some(("1", "3"))), true), "4:7,9");
        assert_eq!(told(&known(None, Some(("1:2", "3,8"))), true), "9");
        assert_eq!(told(&known(None, Some(("1,4", "3,8"))), true), "4:7,9");
        assert_eq!(told(&known(None, Some(("2", "3"))), true), "1:2,4:7,9");
        assert_eq!(told(&known(None, Some(("1", "3"))), false), "1:2,4:7,9");
    }

    #[test]
    fn what_still_has_a_number_is_told_later() {
        let view = view(&[3, 8]);
        assert_eq!(earlier(&known(None, None), &changes("3:4", false), &view).to_string(), "4");
    }

    fn command(line: &str) -> Command {
        parse(format!("a {line}").as_bytes(), 10).unwrap().command
    }

    #[test]
    fn some_commands_ask_for_modification_sequences() {
        for line in [
            "SELECT a (CONDSTORE)",
            "STATUS a (MESSAGES HIGHESTMODSEQ)",
            "LIST \"\" * RETURN (STATUS (HIGHESTMODSEQ))",
            "FETCH 1 (FLAGS MODSEQ)",
            "UID FETCH 1 FLAGS (CHANGEDSINCE 1)",
            "STORE 1 (UNCHANGEDSINCE 0) FLAGS ()",
            "SEARCH NOT (OR MODSEQ 5 ALL)",
            "UID SORT RETURN (UPDATE (UID MODSEQ)) (DATE) UTF-8 ALL",
            "NOTIFY SET (selected (MessageNew (MODSEQ) MessageExpunge))",
        ] {
            assert_eq!(enables(&command(line)), Resync::Condstore, "{line}");
        }
        for line in ["SELECT a", "STATUS a (SIZE)", "FETCH 1 FLAGS", "SEARCH ALL", "NOOP"] {
            assert_eq!(enables(&command(line)), Resync::Off, "{line}");
        }
    }
}
