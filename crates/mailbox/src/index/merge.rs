//! Several segments become one. What is half done when the account is locked, or the process ends, is begun
//! anew the next time; the old segments are valid until the new one is.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::MailboxError;
use crate::live::Live;

use super::block::{Block, List, Reader, Writer, documents};
use super::segment::{self, BLOCKS_PER_JOB, Draft, Segment};
use super::{Spent, aside};

/// So many segments of about one size become one; each size is so many times the one before.
const FAN: usize = 8;
/// How many bodies are looked up in one job.
const LOOKED_UP: usize = 1_000;

/// Merges what should be one, if there is such. Answers whether it did.
pub(super) async fn step(live: &Arc<Live>, spent: &Spent) -> Result<bool, MailboxError> {
    let due = live.read(|conn, _| due(conn)).await?;
    if due.is_empty() {
        return Ok(false);
    }
    merge(live, spent, due).await?;
    Ok(true)
}

fn size_class(documents: u64) -> u32 {
    documents.max(1).ilog(FAN as u64)
}

/// The segments that are to be merged now.
fn due(conn: &Connection) -> Result<Vec<Segment>, MailboxError> {
    let all = segment::list(conn)?;
    let documents: u64 = all.iter().map(|segment| segment.documents).sum();
    let gone: i64 = conn.query_row("SELECT gone FROM search_state", [], |row| row.get(0))?;
    if gone.unsigned_abs() > build_worth(documents) {
        return Ok(all);
    }
    for class in 0..=size_class(documents) {
        let same = |segment: &&Segment| size_class(segment.documents) == class;
        if all.iter().filter(same).count() >= FAN {
            return Ok(all.iter().filter(same).copied().collect());
        }
    }
    Ok(Vec::new())
}

/// So many bodies may be gone before all is written anew.
fn build_worth(documents: u64) -> u64 {
    (documents / 2).max(super::WORTHWHILE)
}

/// One of the segments being merged.
#[derive(Debug)]
struct Input {
    id: i64,
    /// The number of the next block to read; None when there is none.
    next: Option<i64>,
    waiting: VecDeque<Block>,
    reader: Option<Reader>,
    /// What each document is in the new segment; `GONE` if its body went.
    renumbered: Vec<u32>,
}

const GONE: u32 = u32::MAX;

async fn merge(live: &Arc<Live>, spent: &Spent, due: Vec<Segment>) -> Result<(), MailboxError> {
    let (mut bodies, mut inputs, mut dropped) = (Vec::new(), Vec::new(), 0);
    for segment in &due {
        let (input, gone) = open(live, segment.id, &mut bodies).await?;
        inputs.push(input);
        dropped += gone;
    }
    let replaced: Vec<i64> = due.iter().map(|segment| segment.id).collect();
    let mut draft = Draft::begin(live, &bodies).await?;
    let mut writer = Writer::default();
    loop {
        fill(live, &mut inputs).await?;
        let done;
        (inputs, writer, done) = aside(spent, move || {
            let (mut inputs, mut writer) = (inputs, writer);
            let done = advance(&mut inputs, &mut writer);
            (inputs, writer, done)
        })
        .await?;
        draft.write(live, writer.take_full()).await?;
        if done? {
            break;
        }
    }
    draft.write(live, writer.finish()).await?;
    let _nobody_looks = live.index.segments.write().await;
    draft
        .publish(live, move |work| {
            segment::replace(work, &replaced)?;
            work.tx.execute("UPDATE search_state SET gone = max(gone - ?1, 0)", [dropped])?;
            Ok(())
        })
        .await
}

/// Begins with a segment: those of its bodies that are there get new numbers. Also how many are not.
async fn open(live: &Live, id: i64, bodies: &mut Vec<i64>) -> Result<(Input, i64), MailboxError> {
    let old = live
        .read(move |conn, _| segment::bodies(conn, id))
        .await?
        .ok_or_else(|| MailboxError::damaged("a segment of the search index is missing"))?;
    let (mut renumbered, mut gone) = (Vec::with_capacity(old.len()), 0);
    for some in old.chunks(LOOKED_UP) {
        let some = some.to_vec();
        let there = live.read(move |conn, _| there(conn, some)).await?;
        for (body, there) in there {
            if there {
                renumbered.push(bodies.len() as u32);
                bodies.push(body);
            } else {
                renumbered.push(GONE);
                gone += 1;
            }
        }
    }
    Ok((Input { id, next: Some(0), waiting: VecDeque::new(), reader: None, renumbered }, gone))
}

fn there(conn: &Connection, bodies: Vec<i64>) -> Result<Vec<(i64, bool)>, MailboxError> {
    let mut query = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?1)")?;
    bodies.into_iter().map(|body| Ok((body, query.query_row([body], |row| row.get(0))?))).collect()
}

/// Reads blocks for the inputs that have none.
async fn fill(live: &Live, inputs: &mut [Input]) -> Result<(), MailboxError> {
    let each = (BLOCKS_PER_JOB / inputs.len().max(1)).max(1);
    for input in inputs {
        let Some(next) = input.next.filter(|_| input.reader.is_none() && input.waiting.is_empty())
        else {
            continue;
        };
        let id = input.id;
        let blocks = live.read(move |conn, _| segment::blocks(conn, id, next, each)).await?;
        input.next = blocks.last().map(|(number, _)| number + 1);
        input.waiting.extend(blocks.into_iter().map(|(_, block)| block));
    }
    Ok(())
}

/// Merges until some input needs another block, or all are at their end; answers which.
fn advance(inputs: &mut [Input], writer: &mut Writer) -> Result<bool, MailboxError> {
    let mut list = List::default();
    loop {
        for input in &mut *inputs {
            if !input.ready()? {
                return Ok(false);
            }
        }
        let terms = inputs.iter().filter_map(Input::term);
        let Some(least) = terms.min().map(str::to_owned) else { return Ok(true) };
        list.clear();
        for input in &mut *inputs {
            if input.term() != Some(&least) {
                continue;
            }
            let Some(reader) = &mut input.reader else { continue };
            for (document, places) in documents(reader.next_list()?) {
                match input.renumbered.get(document as usize) {
                    Some(&GONE) | None => {}
                    Some(new) => list.push(*new, places),
                }
            }
        }
        if !list.bytes().is_empty() {
            writer.push(&least, list.bytes());
        }
    }
}

impl Input {
    fn term(&self) -> Option<&str> {
        self.reader.as_ref().and_then(Reader::term)
    }

    /// Stands at a term, or at the end of the segment; false if a block has to be read first.
    fn ready(&mut self) -> Result<bool, MailboxError> {
        while self.term().is_none() {
            self.reader = None;
            match self.waiting.pop_front() {
                Some(block) => self.reader = Some(Reader::new(&block)?),
                None => return Ok(self.next.is_none()),
            }
        }
        Ok(true)
    }
}
