//! Quick resynchronisation (RFC 7162): what a client that comes back is told of the time between.

use letterlock_imap_wire::Code;
use letterlock_imap_wire::command::QresyncParameter;
use letterlock_imap_wire::response::vanished;
use letterlock_imap_wire::sequence::{NumberSet, SequenceSet};
use letterlock_mailbox::{Changes, ModSeq};

use crate::outcome::{Reply, Stop};
use crate::refresh::tell_flags;
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
    let wanted = user.resync() >= Resync::Condstore && !selected.view.has_gone();
    wanted.then(|| Code::HighestModSeq(selected.view.modseq().0))
}

/// After CLOSE, which tells of nothing: the new sequence if all that happened is what the command itself removed (§3.2.8),
/// since the client would otherwise believe that it knows what others did.
pub(crate) async fn highest_after_close(
    user: &User,
    selected: &Selected,
    removed: &[u32],
) -> Option<Code> {
    if user.resync() < Resync::Condstore || removed.is_empty() || selected.view.has_gone() {
        return None;
    }
    let Ok(changes) = user.mailbox().changes(selected.folder, selected.view.modseq()).await else {
        return None;
    };
    let own: NumberSet = removed.iter().copied().collect();
    let only_own = changes.changed.is_empty()
        && changes.arrived.is_empty()
        && !changes.full
        && changes.vanished == own;
    only_own.then_some(Code::HighestModSeq(changes.to.0))
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
