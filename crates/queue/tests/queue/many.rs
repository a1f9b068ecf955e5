//! A very long queue: each message its own, with one recipient, many destinations, some of them tried and put off, some
//! held. What a start, a look, and a list take does not grow with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use letterlock_queue::{
    EntryId, Filter, NewEntry, Outcome, Queue, RowId, RowState, Share, Summary, Verdict,
};
use letterlock_vault::DeliveryId;

use crate::world::{World, at, entry, remote};

/// Messages of one commit.
const TOGETHER: usize = 100;
/// Destinations.
const DOMAINS: usize = 1_000;

/// How many messages: `LETTERLOCK_QUEUE=100000` for the number that is promised, which takes half a minute.
fn messages() -> usize {
    let wanted = std::env::var("LETTERLOCK_QUEUE").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(10_000)
}

/// What the program takes of memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One in ten is held, one in ten was put off, the others are due.
async fn fill(queue: &Queue, messages: usize) {
    for first in (0..messages).step_by(TOGETHER) {
        let one = |number: usize| -> NewEntry {
            let address = format!("r{number}@d{}.example", number % DOMAINS);
            entry(format!("text of {number}"), vec![remote(&address)])
        };
        let accepted = queue.accept_all((first..first + TOGETHER).map(one).collect()).await;
        let rows = accepted.unwrap().into_iter().map(|accepted| accepted.rows[0]);
        let outcome = |row, verdict, reply: &str| Outcome {
            row,
            verdict,
            reply: reply.to_owned(),
            security: None,
        };
        let later = Verdict::Deferred { next: at(9_999), told: false };
        let outcomes = rows.enumerate().filter_map(|(place, row)| match place % 10 {
            3 => Some(outcome(row, Verdict::Held, "somebody is to look")),
            7 => Some(outcome(row, later, "451 later")),
            _ => None,
        });
        queue.finish(outcomes.collect(), None).await.unwrap();
    }
}

/// All of it, page by page: how many in each state.
async fn listed(queue: &Queue, page: usize) -> HashMap<RowState, usize> {
    let (mut after, mut states, mut last): (Option<EntryId>, HashMap<_, _>, _) =
        (None, HashMap::new(), None::<DeliveryId>);
    loop {
        let rows: Vec<Summary> = queue.list(Filter::default(), after, page).await.unwrap();
        for row in &rows {
            assert_ne!(last.replace(row.id), Some(row.id), "nothing is listed twice");
            for (state, count) in &row.states {
                *states.entry(*state).or_insert(0) += count;
            }
        }
        let Some(end) = rows.last() else { return states };
        after = Some(end.entry);
    }
}

#[tokio::test]
async fn a_long_queue_takes_no_memory_and_no_time() {
    let messages = messages();
    let world = World::new().await;
    fill(&world.queue, TOGETHER).await;
    let filled = resident();
    fill(&world.queue, messages - TOGETHER).await;
    let grown = resident().saturating_sub(filled);
    assert!(grown < 16 * 1024, "filling: {grown} KiB");

    let (before, begun) = (resident(), Instant::now());
    let world = world.crash().await;
    let opened = begun.elapsed();
    assert!(opened < Duration::from_secs(5), "{opened:?} until it is open");
    let wanted =
        HashMap::from([(RowState::Due, messages / 10 * 9), (RowState::Held, messages / 10)]);
    assert_eq!(listed(&world.queue, 1_000).await, wanted);
    let (counts, due) = (world.counts().await, messages / 10 * 9);
    assert_eq!(
        (counts.entries, counts.due, counts.held),
        (messages as u64, due as u64, messages as u64 / 10)
    );

    let seen = look(&world.queue, messages / 10 * 8).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 * 1024, "start, list and looks: {grown} KiB");
    println!("{messages} messages: open after {opened:?}, a look in {seen:?}, {grown} KiB more");
    assert!(seen < Duration::from_millis(250), "{seen:?} for a look");
}

/// Takes all that is due, in pages as the relay does, and sends it. How long a look took, on average.
async fn look(queue: &Queue, due: usize) -> Duration {
    let (mut taken, mut after, mut looks, mut time) =
        (HashSet::<RowId>::new(), String::new(), 0, Duration::ZERO);
    loop {
        let share = Share {
            lane: 64,
            lane_of: Arc::new(str::to_owned),
            after: after.clone(),
            ..Share::all(256)
        };
        let begun = Instant::now();
        let page = queue.due_page(at(1), share).await.unwrap();
        (looks, time) = (looks + 1, time + begun.elapsed());
        after = page.last;
        let rows: Vec<RowId> =
            page.due.iter().flat_map(|due| due.rows.iter().map(|row| row.row)).collect();
        if rows.is_empty() {
            break;
        }
        let outcome = |row: &RowId| Outcome {
            row: *row,
            verdict: Verdict::Delivered,
            reply: "250".to_owned(),
            security: None,
        };
        queue.finish(rows.iter().map(outcome).collect(), None).await.unwrap();
        let before = taken.len();
        taken.extend(&rows);
        assert_eq!(taken.len(), before + rows.len(), "nothing is taken twice");
    }
    assert_eq!(taken.len(), due);
    time / looks
}
