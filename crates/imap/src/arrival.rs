//! New messages in the selected mailbox, told with what the client wants to know of them (RFC 5465 §5.2, §7).

use letterlock_imap_wire::FetchItem;
use letterlock_imap_wire::sequence::NumberSet;

use crate::fetch::{Progress, write_batch};
use crate::message::Plan;
use crate::outcome::{Ended, Stop};
use crate::select::Selected;
use crate::session::{Naming, Resync, User};
use crate::wire::Wire;

/// Rows asked for at once: as many as FETCH asks for where messages are opened.
const ROWS: usize = 50;

/// What is wanted of which messages, in one response for each: of a message that several ask for, all of it, and nothing
/// twice.
pub(crate) fn united(wanted: Vec<(Vec<FetchItem>, NumberSet)>) -> Vec<(Vec<FetchItem>, NumberSet)> {
    let mut parts: Vec<(Vec<FetchItem>, NumberSet)> = Vec::new();
    for (items, mut uids) in wanted {
        let mut next = Vec::with_capacity(parts.len() + 1);
        for (others, theirs) in parts {
            let both = theirs.intersect(&uids);
            if !both.is_empty() {
                let mut all = others.clone();
                all.extend(items.iter().filter(|item| !others.contains(item)).cloned());
                next.push((all, both.clone()));
            }
            let rest = theirs.without(&both);
            if !rest.is_empty() {
                next.push((others, rest));
            }
            uids = uids.without(&both);
        }
        if !uids.is_empty() {
            next.push((items, uids));
        }
        parts = next;
    }
    let mut all: Vec<(Vec<FetchItem>, NumberSet)> = Vec::with_capacity(parts.len());
    for (items, uids) in parts {
        match all.iter_mut().find(|(others, _)| *others == items) {
            Some((_, theirs)) => *theirs = theirs.union(&uids),
            None => all.push((items, uids)),
        }
    }
    all.sort_by_key(|(_, uids)| uids.first());
    all
}

/// Sends a FETCH response for each of the messages. Nothing becomes `\Seen` by it: nobody asked for this one.
pub(crate) async fn tell(
    user: &User,
    selected: &mut Selected,
    items: &[FetchItem],
    uids: &NumberSet,
    wire: &mut Wire,
) -> Result<(), Ended> {
    match send(user, selected, items, uids, wire).await {
        // The client knows that there are new messages, and can ask.
        Ok(()) | Err(Stop::Refuse(_)) => Ok(()),
        Err(Stop::End(ended)) => Err(ended),
    }
}

async fn send(
    user: &User,
    selected: &mut Selected,
    items: &[FetchItem],
    uids: &NumberSet,
    wire: &mut Wire,
) -> Result<(), Stop> {
    let uid = user.naming() == Naming::Any && user.resync() == Resync::Qresync;
    let mut plan = Plan::new(items, uid, user.resync() >= Resync::Condstore);
    plan.sets_seen = false;
    let mut progress = Progress::default();
    let mut after = (!uids.is_empty()).then_some(0);
    while let Some(from) = after {
        let mailbox = user.mailbox();
        let rows = mailbox.rows(selected.folder, uids, plan.columns, from, ROWS).await?;
        write_batch(user, selected, &plan, &rows, wire, &mut progress).await?;
        after = rows.last().map(|row| row.uid).filter(|uid| uids.last() > Some(*uid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_one_response() {
        let set = |numbers: &[u32]| numbers.iter().copied().collect::<NumberSet>();
        let (uid, size, flags) = (FetchItem::Uid, FetchItem::Rfc822Size, FetchItem::Flags);
        let wanted = vec![
            (vec![uid.clone(), flags.clone()], set(&[1, 2, 3])),
            (vec![size.clone(), uid.clone()], set(&[2, 3, 4])),
            (vec![flags.clone()], set(&[3])),
        ];
        assert_eq!(
            united(wanted),
            [
                (vec![uid.clone(), flags.clone()], set(&[1])),
                (vec![uid.clone(), flags, size.clone()], set(&[2, 3])),
                (vec![size, uid], set(&[4])),
            ]
        );
    }
}
