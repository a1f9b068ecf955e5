//! SORT and THREAD (RFC 5256, RFC 5957), with ESORT's answers (RFC 5267).
//!
//! What is compared comes out of the stored envelopes, so that no message is opened; THREAD by references reads headers.
//! Texts compare as SEARCH compares them: decoded, and without regard to case.

use std::cmp::Ordering;

use letterlock_imap_wire::command::sort::{
    SortBy, SortCommand, SortCriterion, ThreadAlgorithm, ThreadCommand,
};
use letterlock_imap_wire::date::parse_message_date;
use letterlock_imap_wire::mime::header::find as find_field;
use letterlock_imap_wire::order::{
    ThreadMessage, Threads, base_subject, by_references, by_subject, message_ids,
};
use letterlock_imap_wire::response::{self, Esearch, Numbers, esearch};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::structure::{EnvelopeFields, FirstAddress, envelope_fields};
use letterlock_imap_wire::text::{decode_words, fold, header_value};
use letterlock_mailbox::{Columns, Row};

use crate::context::{Asked, frozen};
use crate::fuzzy::{needs_fuzzy, score, scores};
use crate::keys::find;
use crate::outcome::{Outcome, Reply, Stop};
use crate::search::{asks_modseq, find_scored, highest_of, kept, result, tells};
use crate::select::Selected;
use crate::session::User;
use crate::wire::{PROGRESS, Wire};

/// Rows asked for at once.
const ROWS: usize = 1_000;

/// SORT and UID SORT.
pub(crate) async fn sort(
    user: &User,
    selected: &mut Selected,
    command: SortCommand,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    let modseq_asked = asks_modseq(&command.program.key);
    let follows = command.returns.is_some_and(|returns| returns.update);
    if let Some(reply) = selected.contexts.refused(tag).filter(|_| follows) {
        return Ok(reply);
    }
    let asked = follows.then(|| Asked {
        tag: tag.to_owned(),
        uid: command.uid,
        mailbox: None,
        key: frozen(&command.program.key, &selected.view),
        criteria: Some(command.criteria.clone()),
        items: command.update_items.clone(),
    });
    let told = command.returns.is_some_and(|returns| returns.relevancy);
    let scored = told || command.criteria.iter().any(|one| one.by == SortBy::Relevancy);
    if let Some(reply) = needs_fuzzy(scored, &command.program) {
        return Ok(reply);
    }
    let (program, criteria) = (command.program, command.criteria);
    let working = async {
        let (folder, view) = (selected.folder, &selected.view);
        let (found, exact) = find_scored(user, folder, view, program, scored).await?;
        let hits = exact.clone().unwrap_or_default();
        let order = ordered(user, selected, criteria, hits, &found.uids).await?;
        Ok::<_, Stop>((found, exact, order))
    };
    let (found, exact, order) = match wire.during(tag, PROGRESS, working).await? {
        Ok(sorted) => sorted,
        Err(stop) => {
            if command.returns.is_some_and(|returns| returns.save) {
                selected.view.save(NumberSet::new());
            }
            return Err(stop);
        }
    };
    let highest = match modseq_asked && !order.is_empty() {
        true => {
            highest_of(user, selected.folder, &order, command.returns, found.highest_modseq).await?
        }
        false => None,
    };
    let numbers: Vec<u32> = match command.uid {
        true => order.clone(),
        false => order.iter().filter_map(|uid| selected.view.number_of(*uid)).collect(),
    };
    match command.returns {
        None => response::sort(&mut wire.out, &numbers, highest),
        Some(returns) => {
            if returns.save {
                selected.view.save(kept(&order, returns));
            }
            if tells(returns) {
                let sorted = |numbers: &[u32]| Numbers::Sorted(numbers.to_vec());
                let relevancy = scores(exact.as_ref().filter(|_| told), &order, returns);
                let result = Esearch { relevancy, ..result(&numbers, returns, highest, sorted) };
                esearch(&mut wire.out, tag, command.uid, &result);
            }
        }
    }
    if let Some(asked) = asked {
        selected.contexts.open(asked, &order, &mut wire.out);
    }
    wire.relieve().await?;
    Ok(Reply::ok("Sorted"))
}

/// THREAD and UID THREAD.
pub(crate) async fn thread(
    user: &User,
    selected: &Selected,
    command: ThreadCommand,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    let threads = wire.during(tag, PROGRESS, threads(user, selected, command)).await??;
    response::thread(&mut wire.out, &threads);
    wire.relieve().await?;
    Ok(Reply::ok("Threaded"))
}

/// What THREAD answers.
async fn threads(
    user: &User,
    selected: &Selected,
    command: ThreadCommand,
) -> Result<Threads, Stop> {
    let found = find(user, selected, command.program).await?;
    let (question, columns) = match command.algorithm {
        ThreadAlgorithm::OrderedSubject => {
            ("THREAD ORDEREDSUBJECT", Columns { envelope: true, ..Columns::default() })
        }
        ThreadAlgorithm::References => {
            ("THREAD REFERENCES", Columns { header: true, ..Columns::default() })
        }
    };
    let name = |uid| match command.uid {
        true => Some(uid),
        false => selected.view.number_of(uid),
    };
    if let Some(known) = user.mailbox().kept_order(selected.folder, question)?
        && holds_exactly(&known, &found.uids)
    {
        return Ok(Threads::from_flat(&known, name));
    }
    let mut messages = Vec::with_capacity(found.uids.len());
    let uids: NumberSet = found.uids.iter().copied().collect();
    let mut after = Some(0);
    while let Some(from) = after {
        let rows = user.mailbox().rows(selected.folder, &uids, columns, from, ROWS).await?;
        after = rows.last().map(|row| row.uid).filter(|uid| uids.last() > Some(*uid));
        messages.extend(off_the_workers(move || threaded(&rows)).await?);
    }
    let flat = off_the_workers(move || {
        let threads = match command.algorithm {
            ThreadAlgorithm::OrderedSubject => by_subject(&messages),
            ThreadAlgorithm::References => by_references(&messages),
        };
        threads.flatten()
    })
    .await?;
    let threads = Threads::from_flat(&flat, name);
    user.mailbox().keep_order(selected.folder, question.to_owned(), flat)?;
    Ok(threads)
}

/// Whether flat threads are made of these messages and no others.
fn holds_exactly(flat: &[u32], uids: &[u32]) -> bool {
    let numbers = flat.as_chunks::<2>().0.iter().map(|[_, number]| *number);
    let mut numbers: Vec<u32> = numbers.filter(|number| *number != 0).collect();
    numbers.sort_unstable();
    numbers == uids
}

/// The order of these messages, if that of a larger or the same set is known.
fn part_of(known: &[u32], uids: &NumberSet, count: usize) -> Option<Vec<u32>> {
    let part: Vec<u32> = known.iter().copied().filter(|uid| uids.contains(*uid)).collect();
    (part.len() == count).then_some(part)
}

/// Decoding and comparing many messages is no work for those who serve everybody.
async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Reply::no("The server is shutting down").into())
}

fn threaded(rows: &[Row]) -> Vec<ThreadMessage> {
    rows.iter()
        .map(|row| match (&row.header, &row.envelope) {
            (Some(header), _) => by_header(row.uid, row, header),
            (None, envelope) => {
                let fields = envelope.as_deref().map(envelope_fields).unwrap_or_default();
                by_envelope(row.uid, row, &fields)
            }
        })
        .collect()
}

fn by_envelope(number: u32, row: &Row, fields: &EnvelopeFields) -> ThreadMessage {
    let subject = fields.subject.as_deref().map(decode_words).unwrap_or_default();
    let mut subject = base_subject(&subject);
    subject.text = fold(&subject.text);
    ThreadMessage { number, sent: sent(row, fields.date.as_deref()), subject, ..Default::default() }
}

fn by_header(number: u32, row: &Row, header: &[u8]) -> ThreadMessage {
    let ids = |name| find_field(header, name).map(message_ids).unwrap_or_default();
    let mut subject =
        base_subject(&find_field(header, "Subject").map(header_value).unwrap_or_default());
    subject.text = fold(&subject.text);
    let mut references = ids("References");
    if references.is_empty() {
        // RFC 5256 §3: of In-Reply-To, the first one.
        references = ids("In-Reply-To");
        references.truncate(1);
    }
    ThreadMessage {
        number,
        sent: sent(row, find_field(header, "Date")),
        subject,
        id: ids("Message-ID").into_iter().next(),
        references,
    }
}

/// The sent date, or else the internal one (RFC 5256 §2.2), in seconds.
fn sent(row: &Row, date: Option<&[u8]>) -> i64 {
    date.and_then(parse_message_date).unwrap_or(row.internal_date).timestamp().as_second()
}

/// What one criterion compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A date or a size.
    Number(i64),
    /// Folded.
    Text(String),
}

/// The UIDs in the order of the criteria; what is equal stays in the order of the mailbox. Those of `exact` fit best.
async fn ordered(
    user: &User,
    selected: &Selected,
    criteria: Vec<SortCriterion>,
    exact: NumberSet,
    uids: &[u32],
) -> Result<Vec<u32>, Stop> {
    let columns = columns(&criteria);
    let set: NumberSet = uids.iter().copied().collect();
    // How well a message fits depends on the question; everything else about it never changes.
    let lasting = criteria.iter().all(|criterion| criterion.by != SortBy::Relevancy);
    let question = format!("SORT {criteria:?}");
    if lasting
        && let Some(known) = user.mailbox().kept_order(selected.folder, &question)?
        && let Some(order) = part_of(&known, &set, uids.len())
    {
        return Ok(order);
    }
    let mut list: Vec<(Vec<Key>, u32)> = Vec::with_capacity(uids.len());
    let criteria = std::sync::Arc::new((criteria, exact));
    let mut after = (!uids.is_empty()).then_some(0);
    while let Some(from) = after {
        let rows = user.mailbox().rows(selected.folder, &set, columns, from, ROWS).await?;
        after = rows.last().map(|row| row.uid).filter(|uid| set.last() > Some(*uid));
        let criteria = std::sync::Arc::clone(&criteria);
        let keys = move || -> Vec<(Vec<Key>, u32)> {
            rows.iter().map(|row| (keys(&criteria.0, &criteria.1, row), row.uid)).collect()
        };
        list.extend(off_the_workers(keys).await?);
    }
    let order: Vec<u32> = off_the_workers(move || {
        list.sort_by(|one, other| compare(&criteria.0, &one.0, &other.0).then(one.1.cmp(&other.1)));
        list.into_iter().map(|(_, uid)| uid).collect()
    })
    .await?;
    if lasting {
        user.mailbox().keep_order(selected.folder, question, order.clone())?;
    }
    Ok(order)
}

/// What of a row the criteria look at.
pub(crate) fn columns(criteria: &[SortCriterion]) -> Columns {
    let by_row = |by| matches!(by, SortBy::Arrival | SortBy::Size | SortBy::Relevancy);
    let envelope = criteria.iter().any(|criterion| !by_row(criterion.by));
    Columns { envelope, ..Columns::default() }
}

/// How two messages stand to each other by all criteria.
pub(crate) fn compare(criteria: &[SortCriterion], one: &[Key], other: &[Key]) -> Ordering {
    criteria.iter().zip(one.iter().zip(other)).fold(
        Ordering::Equal,
        |order, (criterion, (one, other))| {
            let next = one.cmp(other);
            order.then(if criterion.reverse { next.reverse() } else { next })
        },
    )
}

/// What the criteria compare of a message.
pub(crate) fn keys(criteria: &[SortCriterion], exact: &NumberSet, row: &Row) -> Vec<Key> {
    let fields = row.envelope.as_deref().map(envelope_fields).unwrap_or_default();
    let key = |criterion: &SortCriterion| match criterion.by {
        // RFC 6203 §5: from the best to the worst.
        SortBy::Relevancy => Key::Number(-i64::from(score(exact, row.uid))),
        by => key(by, row, &fields),
    };
    criteria.iter().map(key).collect()
}

fn key(by: SortBy, row: &Row, fields: &EnvelopeFields) -> Key {
    match by {
        // Of what stands in the message nothing counts.
        SortBy::Relevancy => Key::Number(0),
        SortBy::Arrival => Key::Number(row.internal_date.timestamp().as_second()),
        SortBy::Size => Key::Number(i64::try_from(row.size).unwrap_or(i64::MAX)),
        SortBy::Date => Key::Number(sent(row, fields.date.as_deref())),
        SortBy::Subject => {
            let subject = fields.subject.as_deref().map(decode_words).unwrap_or_default();
            Key::Text(fold(&base_subject(&subject).text))
        }
        SortBy::Cc => mailbox(fields.cc.as_ref()),
        SortBy::From => mailbox(fields.from.as_ref()),
        SortBy::To => mailbox(fields.to.as_ref()),
        SortBy::DisplayFrom => display(fields.from.as_ref()),
        SortBy::DisplayTo => display(fields.to.as_ref()),
    }
}

fn mailbox(address: Option<&FirstAddress>) -> Key {
    let octets = address.and_then(|address| address.mailbox.as_deref()).unwrap_or_default();
    Key::Text(fold(&decode_words(octets)))
}

/// RFC 5957 §3: the name, else the address, of a group its name.
fn display(address: Option<&FirstAddress>) -> Key {
    let Some(address) = address else { return Key::Text(String::new()) };
    let part = |octets: &Option<Vec<u8>>| octets.as_deref().map(decode_words).unwrap_or_default();
    let (name, local) = (part(&address.name), part(&address.mailbox));
    Key::Text(fold(&match (&name, &address.host) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Some(host)) => format!("{local}@{}", decode_words(host)),
        (_, None) => local,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_addresses() {
        let octets = |text: &str| Some(text.as_bytes().to_vec());
        let named = FirstAddress {
            name: octets("=?utf-8?q?=C3=84nne?="),
            mailbox: octets("z"),
            host: octets("x.example"),
        };
        let bare = FirstAddress { name: None, ..named.clone() };
        let group = FirstAddress { host: None, ..bare.clone() };
        let text = |text: &str| Key::Text(fold(text));
        assert_eq!(display(Some(&named)), text("\u{e4}nne"));
        assert_eq!(display(Some(&bare)), text("z@x.example"));
        assert_eq!(display(Some(&group)), text("z"));
        assert_eq!((display(None), mailbox(None)), (text(""), text("")));
        assert_eq!(mailbox(Some(&named)), text("Z"));
    }

    #[test]
    fn a_known_order_serves_for_its_messages_alone() {
        let set = |uids: &[u32]| uids.iter().copied().collect::<NumberSet>();
        assert_eq!(part_of(&[5, 1, 9, 3], &set(&[3, 5]), 2), Some(vec![5, 3]));
        assert_eq!(part_of(&[5, 1, 9, 3], &set(&[3, 5, 10]), 3), None);
        let flat = [0, 4, 1, 0, 2, 7, 0, 2];
        assert!(holds_exactly(&flat, &[2, 4, 7]));
        assert!(!holds_exactly(&flat, &[2, 4]) && !holds_exactly(&flat, &[2, 4, 7, 8]));
    }

    #[test]
    fn each_criterion_has_its_own_direction() {
        let down = SortCriterion { by: SortBy::Size, reverse: true };
        let up = SortCriterion { by: SortBy::Subject, reverse: false };
        let message = |size, subject: &str| [Key::Number(size), Key::Text(subject.into())];
        let order = |one: &[Key], other: &[Key]| compare(&[down, up], one, other);
        assert_eq!(order(&message(9, "z"), &message(1, "a")), Ordering::Less);
        assert_eq!(order(&message(1, "a"), &message(1, "b")), Ordering::Less);
        assert_eq!(order(&message(1, "a"), &message(1, "a")), Ordering::Equal);
    }
}
