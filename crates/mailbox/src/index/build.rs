//! A segment of bodies that are not indexed yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::mime::header::header_length;
use letterlock_imap_wire::text::{fold, header_text, inner_headers, text_parts};
use rusqlite::{Connection, params};

use crate::body::{LARGE, Packed};
use crate::error::MailboxError;
use crate::live::Live;
use crate::work::Attempt;

use super::block::{Block, IN_BODY, IN_HEADER, List, Writer};
use super::segment::Draft;
use super::words::each_term;
use super::{Spent, aside, backlog};

/// How many bodies a new segment covers at most.
const DOCUMENTS: usize = 512;
/// How many octets of messages are read for one, about.
const OCTETS: usize = 16 << 20;
/// How much memory the terms of one may take, about, before it is ended: what is left is the next one's. The message
/// that goes beyond is still in it.
const TERMS: usize = 8 << 20;
/// What a term takes besides its text, about: its place in the table, which is half empty after it grew, and what the
/// allocator adds.
const TERM: usize = 150;
/// How many bodies one job reads, and about how many octets of them.
const BATCH: usize = 64;
const BATCH_OCTETS: usize = 4 * LARGE;

/// Bodies that are to be indexed.
#[derive(Debug)]
struct Work {
    /// Those above the frontier, ascending, and then the waiting ones.
    bodies: Vec<i64>,
    /// Where the frontier is, and where it will be.
    start: i64,
    frontier: i64,
    waiting: Vec<i64>,
}

/// A body, if it is there and reads back.
type Read = (i64, Option<Packed>);

/// Indexes the next bodies, if at least `least` wait. Answers whether it did anything.
pub(super) async fn step(
    live: &Arc<Live>,
    spent: &Spent,
    least: u64,
) -> Result<bool, MailboxError> {
    if live.read(|conn, _| backlog(conn)).await? < least.max(1) {
        return Ok(false);
    }
    let work = live.loose(|work| Ok(Attempt::Done(next_work(work.tx)?))).await?;
    let Work { bodies, start, mut frontier, waiting } = work;
    let mut batch = Batch::default();
    let (mut rest, mut octets) = (bodies.clone(), 0);
    while !rest.is_empty() && octets < OCTETS && !batch.is_full() {
        let (read, left) = read_some(live, rest).await?;
        octets += read.iter().flat_map(|(_, packed)| packed).map(Packed::size).sum::<usize>();
        let unread;
        (batch, unread) = aside(spent, move || {
            let mut batch = batch;
            let mut read = read.into_iter();
            while let Some((body, packed)) = (!batch.is_full()).then(|| read.next()).flatten() {
                // What does not read back is found by no search; `verify` names it.
                let message = packed.and_then(|packed| packed.unpack_now().ok());
                batch.add(body, &message.unwrap_or_default());
            }
            (batch, read.map(|(body, _)| body).collect::<Vec<_>>())
        })
        .await?;
        rest = unread.into_iter().chain(left).collect();
    }
    // Those that there was no room for are the next segment's.
    if let Some(left) = rest.first().filter(|body| !waiting.contains(body)) {
        frontier = left - 1;
    }
    let done: Vec<i64> = waiting.into_iter().filter(|body| !rest.contains(body)).collect();
    let (bodies, blocks) = aside(spent, move || batch.finish()).await?;
    let mut draft = Draft::begin(live, &bodies).await?;
    let indexed: HashSet<i64> = bodies.into_iter().collect();
    draft.write(live, blocks).await?;
    draft
        .publish(live, move |work| {
            for body in &done {
                work.tx
                    .prepare_cached("DELETE FROM search_waiting WHERE body = ?1")?
                    .execute([body])?;
            }
            move_frontier(work, start, frontier, &indexed)
        })
        .await?;
    Ok(true)
}

/// Moves the frontier. Bodies below it that were completed since it was looked at are to wait.
fn move_frontier(
    work: &crate::work::Work<'_>,
    start: i64,
    frontier: i64,
    indexed: &HashSet<i64>,
) -> Result<(), MailboxError> {
    let mut there =
        work.tx.prepare_cached("SELECT id FROM bodies WHERE id > ?1 AND id <= ?2 AND refs > 0")?;
    let mut rows = there.query([start, frontier])?;
    let mut wait =
        work.tx.prepare_cached("INSERT OR IGNORE INTO search_waiting(body) VALUES (?1)")?;
    while let Some(row) = rows.next()? {
        let body: i64 = row.get(0)?;
        if !indexed.contains(&body) {
            wait.execute([body])?;
        }
    }
    work.tx.execute("UPDATE search_state SET frontier = ?1", [frontier])?;
    Ok(())
}

/// What is to be indexed next. From now on no body gets an id that is going to be below the frontier.
fn next_work(conn: &Connection) -> Result<Work, MailboxError> {
    let ids = |sql: &str, after: i64, limit: usize| -> Result<Vec<i64>, MailboxError> {
        let mut query = conn.prepare_cached(sql)?;
        let rows = query.query_map(params![after, limit as i64], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let start: i64 = conn.query_row("SELECT frontier FROM search_state", [], |row| row.get(0))?;
    let new = "SELECT id FROM bodies WHERE id > ?1 AND refs > 0 ORDER BY id LIMIT ?2";
    let mut bodies = ids(new, start, DOCUMENTS)?;
    let frontier = if bodies.len() < DOCUMENTS {
        let end: Option<i64> =
            conn.query_row("SELECT max(id) FROM bodies", [], |row| row.get(0))?;
        end.unwrap_or(0).max(start)
    } else {
        bodies.last().copied().unwrap_or(start)
    };
    let old = "SELECT body FROM search_waiting WHERE body > ?1 ORDER BY body LIMIT ?2";
    let mut waiting = ids(old, 0, DOCUMENTS)?;
    // One that waits above the frontier is there twice.
    waiting.retain(|body| *body <= start || bodies.binary_search(body).is_err());
    bodies.extend(&waiting);
    conn.execute("UPDATE search_state SET floor = max(floor, ?1)", [frontier])?;
    Ok(Work { bodies, start, frontier, waiting })
}

/// Reads the first of the bodies, as many as one job may.
async fn read_some(
    live: &Live,
    mut bodies: Vec<i64>,
) -> Result<(Vec<Read>, Vec<i64>), MailboxError> {
    let (started, bodies) = live
        .read(move |conn, _| {
            let (mut some, mut octets) = (Vec::new(), 0);
            for body in bodies.iter().take(BATCH) {
                let packed = Packed::start(conn, *body).unwrap_or(None);
                octets += packed.as_ref().map_or(0, Packed::size);
                some.push((*body, packed));
                if octets >= BATCH_OCTETS {
                    break;
                }
            }
            bodies.drain(..some.len());
            Ok((some, bodies))
        })
        .await?;
    let mut read = Vec::with_capacity(started.len());
    for (body, packed) in started {
        let packed = match packed {
            Some(packed) => match packed.complete(&live.db).await {
                Err(MailboxError::Damaged(_)) => None,
                other => other?,
            },
            None => None,
        };
        read.push((body, packed));
    }
    Ok((read, bodies))
}

/// Terms of some bodies, being collected.
#[derive(Debug, Default)]
struct Batch {
    bodies: Vec<i64>,
    terms: HashMap<Box<str>, Entry>,
    /// Octets of memory that the terms take, about.
    memory: usize,
}

#[derive(Debug)]
struct Entry {
    list: List,
    /// The last document, and where it has the term: not in the list yet.
    document: u32,
    places: u8,
}

impl Batch {
    /// Nothing more is to be added.
    fn is_full(&self) -> bool {
        self.memory >= TERMS
    }

    fn add(&mut self, body: i64, message: &[u8]) {
        let document = self.bodies.len() as u32;
        self.bodies.push(body);
        if message.is_empty() {
            return;
        }
        let header = &message[..header_length(message)];
        self.add_text(document, IN_HEADER, &fold(&header_text(header)));
        let tree = Tree::parse(message);
        for part in text_parts(&tree) {
            self.add_text(document, IN_BODY, &fold(&part.text));
        }
        for inner in inner_headers(&tree) {
            self.add_text(document, IN_BODY, &fold(&inner));
        }
    }

    fn add_text(&mut self, document: u32, place: u8, text: &str) {
        each_term(text, |term| match self.terms.get_mut(term) {
            Some(entry) if entry.document == document => entry.places |= place,
            Some(entry) => {
                entry.list.push(entry.document, entry.places);
                (entry.document, entry.places) = (document, place);
                self.memory += 2;
            }
            None => {
                let entry = Entry { list: List::default(), document, places: place };
                self.terms.insert(term.into(), entry);
                self.memory += TERM + term.len();
            }
        });
    }

    fn finish(self) -> (Vec<i64>, Vec<Block>) {
        let mut terms: Vec<_> = self.terms.into_iter().collect();
        terms.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut writer = Writer::default();
        for (term, mut entry) in terms {
            entry.list.push(entry.document, entry.places);
            writer.push(&term, entry.list.bytes());
        }
        (self.bodies, writer.finish())
    }
}
