//! Asking the index: which bodies hold a text for sure, which may, and which are not indexed yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::MailboxError;
use crate::live::Live;

use super::block::{IN_BODY, IN_HEADER, Piece, count_terms, documents, lists, matches};
use super::segment::{self, Segment, block_id};
use super::words::{Plan, plan};

/// How many blocks' terms one job reads.
const TERMS_PER_JOB: usize = 16;
/// How many blocks' postings one job reads.
const POSTS_PER_JOB: usize = 8;

/// Where in a message a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// In the value of a header field. What the index has is then still to be looked at: it knows no fields.
    Header,
    /// In the body.
    Body,
    /// Anywhere.
    Any,
}

impl Places {
    fn mask(self) -> u8 {
        match self {
            Self::Header => IN_HEADER,
            Self::Body => IN_BODY,
            Self::Any => IN_HEADER | IN_BODY,
        }
    }
}

/// A folded text that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) pattern: String,
    pub(crate) places: Places,
}

/// What the index says of one body and one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knows {
    /// It does not hold the text.
    No,
    /// It holds the text.
    Yes,
    /// It has to be looked at.
    Open,
}

/// What the index says to some questions.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    frontier: i64,
    waiting: Vec<i64>,
    found: Vec<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    bodies: Bits,
    exact: bool,
}

impl Answers {
    /// What is known of a body.
    pub(crate) fn knows(&self, question: usize, body: i64) -> Knows {
        let Some(Some(found)) = self.found.get(question) else { return Knows::Open };
        if !self.is_indexed(body) {
            return Knows::Open;
        }
        match (found.bodies.has(body as usize), found.exact) {
            (false, _) => Knows::No,
            (true, true) => Knows::Yes,
            (true, false) => Knows::Open,
        }
    }

    fn is_indexed(&self, body: i64) -> bool {
        body <= self.frontier && self.waiting.binary_search(&body).is_err()
    }

    /// The indexed bodies that can fulfil the question, ascending; None if that is not known, or if there are
    /// more than `most`.
    pub(crate) fn candidates(&self, question: usize, most: usize) -> Option<Vec<i64>> {
        let found = self.found.get(question)?.as_ref()?;
        if found.bodies.count() > most {
            return None;
        }
        Some(
            found
                .bodies
                .iter()
                .map(|body| body as i64)
                .filter(|body| self.is_indexed(*body))
                .collect(),
        )
    }

    /// The bodies up to the frontier that are not indexed.
    pub(crate) fn waiting(&self) -> &[i64] {
        &self.waiting
    }

    /// Bodies above this one are not indexed.
    pub(crate) fn frontier(&self) -> i64 {
        self.frontier
    }
}

/// Asks all questions at once: each block is read once.
pub(crate) async fn look_up(
    live: &Arc<Live>,
    questions: &[Question],
) -> Result<Answers, MailboxError> {
    let plans: Arc<Vec<Plan>> =
        Arc::new(questions.iter().map(|question| plan(&question.pattern)).collect());
    if plans.iter().all(|plan| plan.needles.is_empty()) {
        return Ok(Answers::default());
    }
    // No segment goes while it is looked through.
    let _here = live.index.segments.read().await;
    let generation = live.memory.generation();
    let (frontier, waiting, segments) = live.read(|conn, _| start(conn)).await?;
    let mut found: Vec<Option<Found>> = (plans.iter().zip(questions))
        .map(|(plan, question)| {
            let exact = plan.exact && question.places != Places::Header;
            (!plan.needles.is_empty()).then(|| Found { bodies: Bits::default(), exact })
        })
        .collect();
    for segment in segments {
        let hits = find_terms(live, segment, &plans).await?;
        let sets = find_documents(live, segment, &plans, questions, hits).await?;
        if sets.iter().all(Bits::is_empty) {
            continue;
        }
        let id = segment.id;
        let bodies = live.read(move |conn, _| segment::bodies(conn, id)).await?.unwrap_or_default();
        for (found, set) in found.iter_mut().zip(sets) {
            let Some(found) = found else { continue };
            for document in set.iter() {
                bodies.get(document).into_iter().for_each(|body| found.bodies.add(*body as usize));
            }
        }
    }
    if live.memory.generation() != generation {
        // Closed and recovered meanwhile: what was read may have been taken back. Everything is looked at.
        return Ok(Answers::default());
    }
    Ok(Answers { frontier, waiting, found })
}

fn start(conn: &Connection) -> Result<(i64, Vec<i64>, Vec<Segment>), MailboxError> {
    let frontier = conn.query_row("SELECT frontier FROM search_state", [], |row| row.get(0))?;
    let mut query = conn.prepare_cached("SELECT body FROM search_waiting ORDER BY body")?;
    let waiting = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok((frontier, waiting, segment::list(conn)?))
}

/// The terms of one block that hold a needle: how many terms it has, and for each plan and needle their numbers.
#[derive(Debug, Default)]
struct InBlock {
    terms: usize,
    needles: Vec<Vec<Vec<u32>>>,
}

type Hits = BTreeMap<i64, InBlock>;

/// Looks through the terms of a segment; the next blocks are read while some are looked through.
async fn find_terms(
    live: &Arc<Live>,
    segment: Segment,
    plans: &Arc<Vec<Plan>>,
) -> Result<Hits, MailboxError> {
    let read = |from: i64| live.read(move |conn, _| read_terms(conn, segment.id, from));
    let mut hits = Hits::new();
    let mut some = read(0).await?;
    while let Some(last) = some.last().map(|(number, _)| *number) {
        let (plans, blocks) = (Arc::clone(plans), std::mem::take(&mut some));
        let looking = tokio::task::spawn_blocking(move || look_through(&plans, &blocks));
        let (found, next) = tokio::join!(looking, read(last + 1));
        hits.extend(found.map_err(|_| MailboxError::Locked)??);
        some = next?;
    }
    Ok(hits)
}

fn read_terms(
    conn: &Connection,
    segment: i64,
    from: i64,
) -> Result<Vec<(i64, Piece)>, MailboxError> {
    let mut query = conn.prepare_cached(
        "SELECT id, length, data FROM search_terms WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
    )?;
    let range = params![block_id(segment, from), block_id(segment + 1, 0), TERMS_PER_JOB as i64];
    let rows = query.query_map(range, |row| {
        let piece = Piece { length: row.get::<_, i64>(1)? as usize, data: row.get(2)? };
        Ok((row.get::<_, i64>(0)? - block_id(segment, 0), piece))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn look_through(plans: &[Plan], blocks: &[(i64, Piece)]) -> Result<Hits, MailboxError> {
    let mut hits = Hits::new();
    for (number, piece) in blocks {
        let text = piece.text()?;
        let needles: Vec<Vec<Vec<u32>>> = plans
            .iter()
            .map(|plan| plan.needles.iter().map(|needle| matches(&text, needle)).collect())
            .collect();
        if needles.iter().flatten().any(|terms| !terms.is_empty()) {
            hits.insert(*number, InBlock { terms: count_terms(&text), needles });
        }
    }
    Ok(hits)
}

/// The documents of a segment that have, for each plan, a term for each of its needles.
async fn find_documents(
    live: &Arc<Live>,
    segment: Segment,
    plans: &Arc<Vec<Plan>>,
    questions: &[Question],
    mut hits: Hits,
) -> Result<Vec<Bits>, MailboxError> {
    drop_hopeless(plans, &mut hits);
    let mut sets: Vec<Vec<Bits>> =
        plans.iter().map(|plan| plan.needles.iter().map(|_| Bits::default()).collect()).collect();
    let masks: Vec<u8> = questions.iter().map(|question| question.places.mask()).collect();
    let mut hits = hits.into_iter();
    loop {
        let some: Vec<(i64, InBlock)> = hits.by_ref().take(POSTS_PER_JOB).collect();
        if some.is_empty() {
            break;
        }
        let read = live.read(move |conn, _| read_posts(conn, segment.id, some)).await?;
        let masks = masks.clone();
        sets = tokio::task::spawn_blocking(move || collect(read, sets, &masks))
            .await
            .map_err(|_| MailboxError::Locked)??;
    }
    Ok(sets
        .into_iter()
        .map(|needles| needles.into_iter().reduce(|all, one| all.and(&one)).unwrap_or_default())
        .collect())
}

/// Where a plan has a needle that is nowhere in the segment, its other needles need no postings.
fn drop_hopeless(plans: &[Plan], hits: &mut Hits) {
    for (at, plan) in plans.iter().enumerate() {
        let nowhere = (0..plan.needles.len())
            .any(|needle| hits.values().all(|block| block.needles[at][needle].is_empty()));
        if nowhere {
            hits.values_mut().for_each(|block| block.needles[at].iter_mut().for_each(Vec::clear));
        }
    }
    hits.retain(|_, block| block.needles.iter().flatten().any(|terms| !terms.is_empty()));
}

fn read_posts(
    conn: &Connection,
    segment: i64,
    some: Vec<(i64, InBlock)>,
) -> Result<Vec<(Piece, InBlock)>, MailboxError> {
    let mut query = conn.prepare_cached("SELECT length, data FROM search_posts WHERE id = ?1")?;
    some.into_iter()
        .map(|(number, block)| {
            let piece = query
                .query_row([block_id(segment, number)], |row| {
                    Ok(Piece { length: row.get::<_, i64>(0)? as usize, data: row.get(1)? })
                })
                .optional()?;
            let missing = || MailboxError::damaged("a block of the search index is missing");
            Ok((piece.ok_or_else(missing)?, block))
        })
        .collect()
}

fn collect(
    read: Vec<(Piece, InBlock)>,
    mut sets: Vec<Vec<Bits>>,
    masks: &[u8],
) -> Result<Vec<Vec<Bits>>, MailboxError> {
    for (posts, block) in read {
        let mut wanted: Vec<u32> = block.needles.iter().flatten().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        lists(&posts, block.terms, &wanted, |number, list| {
            for ((needles, sets), mask) in block.needles.iter().zip(&mut sets).zip(masks) {
                for (terms, set) in needles.iter().zip(sets) {
                    if terms.binary_search(&number).is_ok() {
                        documents(list)
                            .filter(|(_, places)| places & mask != 0)
                            .for_each(|(document, _)| set.add(document as usize));
                    }
                }
            }
        })?;
    }
    Ok(sets)
}

/// A set of small numbers.
#[derive(Debug, Default, Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn add(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn and(mut self, other: &Self) -> Self {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
        self
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}
