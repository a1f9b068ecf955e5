//! What is due, a fair share for each destination.
//!
//! Thousands of messages for one slow server must hold nobody up. So a question says how many recipients each
//! destination (*lane*) may have in hand. Rows beyond that are *crowded*: they leave the index that everybody goes
//! through and stand in one of their own, by domain, from which they are taken when their lane has room. Each row is
//! so passed over once, however long its lane is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::due::{Due, DueRow};
use crate::error::QueueError;
use crate::model::{EntryId, RowId, RowKind};
use crate::operate::Unreadable;
use crate::queue::Queue;
use crate::schema::{self, Head};
use crate::sql;

/// Rows passed over by one question, besides those in hand.
const SCAN: usize = 1_000;
/// Domains with crowded rows that one question looks at.
const DOMAINS: usize = 500;

/// The lane of a domain.
type LaneOf = dyn Fn(&str) -> String + Send + Sync;

/// How much of what is due may be taken.
#[derive(Clone)]
pub struct Share {
    /// Recipients, all lanes together.
    pub limit: usize,
    /// Recipients of one lane, with those in hand.
    pub lane: usize,
    /// The lane of a recipient's domain.
    pub lane_of: Arc<LaneOf>,
    /// The rows that are in hand, and are not to be taken again.
    pub in_hand: Arc<HashSet<RowId>>,
    /// How many recipients of each lane are in hand.
    pub taken: HashMap<String, usize>,
    /// The crowded domain that was looked at last ([`Page::last`]), so that all get their turn; empty at first.
    pub after: String,
}

impl Share {
    /// Everything, up to a limit.
    pub fn all(limit: usize) -> Self {
        let (lane_of, in_hand) = (Arc::new(|_: &str| String::new()), Arc::default());
        Self {
            limit,
            lane: usize::MAX,
            lane_of,
            in_hand,
            taken: HashMap::new(),
            after: String::new(),
        }
    }

    fn room(&self, domain: &str) -> usize {
        let taken = self.taken.get(&(self.lane_of)(domain)).copied().unwrap_or_default();
        self.lane.saturating_sub(taken)
    }

    fn take(&mut self, domain: &str) {
        *self.taken.entry((self.lane_of)(domain)).or_default() += 1;
        self.limit = self.limit.saturating_sub(1);
    }
}

/// What was taken.
#[derive(Debug, Default)]
pub struct Page {
    /// Messages with the recipients that were taken.
    pub due: Vec<Due>,
    /// Whether there is more that is due: because the limit was reached, or because lanes are full.
    pub more: bool,
    /// For the next question.
    pub last: String,
}

/// What one question found.
#[derive(Default)]
struct Found {
    rows: Vec<RowId>,
    /// Their lanes are full.
    crowd: Vec<RowId>,
    /// Held back for accounts here, until now.
    released: Vec<RowId>,
    more: bool,
    last: String,
}

impl Queue {
    /// What is due at `now`, the most overdue first, no lane more than its share. They stay due until
    /// [`Queue::attempt`] is called for them. A row that cannot be read is put on hold, so that it is in nothing's
    /// way. What was held back for accounts here is parked when its time has come.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn due_page(&self, now: Timestamp, share: Share) -> Result<Page, QueueError> {
        loop {
            let asked = share.clone();
            let (found, page, unreadable) = self
                .database
                .read(move |connection| {
                    let found = find(connection, now, asked)?;
                    let (due, unreadable) = read(connection, &found.rows)?;
                    let (more, last) = (found.more, found.last.clone());
                    Ok::<_, QueueError>((found, Page { due, more, last }, unreadable))
                })
                .await?;
            let nothing =
                page.due.is_empty() && (!unreadable.is_empty() || !found.crowd.is_empty());
            self.move_aside(found).await?;
            self.set_aside(unreadable).await?;
            if !nothing || !page.more {
                return Ok(page);
            }
        }
    }

    async fn move_aside(&self, found: Found) -> Result<(), QueueError> {
        let Found { crowd, released, .. } = found;
        if crowd.is_empty() && released.is_empty() {
            return Ok(());
        }
        let parked = !released.is_empty();
        self.database
            .write(move |transaction| {
                let mut crowded = transaction.prepare_cached(
                    "UPDATE rows SET crowded = 1 WHERE row = ? AND state = 'due'",
                )?;
                for row in crowd {
                    crowded.execute([row.0])?;
                }
                let mut park = transaction.prepare_cached(
                    "UPDATE rows SET state = 'parked', next_attempt = NULL
                     WHERE row = ? AND state = 'due' AND kind = 'local'",
                )?;
                for row in released {
                    park.execute([row.0])?;
                }
                Ok::<_, QueueError>(())
            })
            .await?;
        self.ring(false, parked);
        Ok(())
    }
}

fn find(connection: &Connection, now: Timestamp, mut share: Share) -> Result<Found, QueueError> {
    let mut found = Found::default();
    from_the_crowd(connection, now, &mut share, &mut found)?;
    let mut scan = connection.prepare_cached(sql::DUE)?;
    // What is in hand stays due until it is tried, and must not fill the view: others stand behind it.
    let most = share.in_hand.len().saturating_add(SCAN);
    let mut rows =
        scan.query(params![now.as_microsecond(), i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if share.limit == 0 {
            found.more = true;
            return Ok(found);
        }
        let id = RowId(row.get(0)?);
        let domain = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)? == RowKind::Local.as_str() {
            found.released.push(id);
        } else if share.in_hand.contains(&id) {
        } else if share.room(domain) > 0 {
            share.take(domain);
            found.rows.push(id);
        } else {
            found.crowd.push(id);
        }
    }
    found.more |= seen == most || !found.crowd.is_empty();
    Ok(found)
}

/// Takes from lanes that have room again.
fn from_the_crowd(
    connection: &Connection,
    now: Timestamp,
    share: &mut Share,
    found: &mut Found,
) -> Result<(), QueueError> {
    let mut next = connection.prepare_cached(sql::CROWDED_DOMAIN)?;
    let mut crowded = connection.prepare_cached(sql::CROWDED)?;
    let (mut last, mut wrapped) = (share.after.clone(), share.after.is_empty());
    for _ in 0..DOMAINS {
        let mut domain = next.query_row([&last], |row| row.get::<_, Option<String>>(0))?;
        if domain.is_none() && !wrapped {
            wrapped = true;
            domain = next.query_row([""], |row| row.get::<_, Option<String>>(0))?;
        }
        // All of them were seen, or those from the beginning up to where this began.
        let Some(domain) = domain else { break };
        found.more = true;
        if wrapped && !share.after.is_empty() && domain > share.after {
            break;
        }
        // Rows in hand may stand among them, and are passed over.
        let room = share.room(&domain).min(share.limit);
        if room > 0 {
            let most = room.saturating_add(share.in_hand.len());
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            let mut rows = crowded.query(params![domain, now.as_microsecond(), most])?;
            let mut taken = 0;
            while taken < room
                && let Some(row) = rows.next()?
            {
                let id = RowId(row.get(0)?);
                if !share.in_hand.contains(&id) {
                    share.take(&domain);
                    found.rows.push(id);
                    taken += 1;
                }
            }
        }
        last = domain;
        if share.limit == 0 {
            break;
        }
    }
    found.last = last;
    Ok(())
}

/// Reads the rows, gathered by message.
fn read(
    connection: &Connection,
    wanted: &[RowId],
) -> Result<(Vec<Due>, Vec<Unreadable>), QueueError> {
    let mut statement = connection.prepare_cached(sql::DUE_ROW)?;
    let mut places: HashMap<EntryId, usize> = HashMap::new();
    let (mut due, mut unreadable): (Vec<Due>, _) = (Vec::new(), Vec::new());
    for id in wanted {
        let mut rows = statement.query([id.0])?;
        let Some(row) = rows.next()? else { continue };
        let (head, recipient) =
            match Head::read(row).and_then(|head| Ok((head, DueRow::read(row)?))) {
                Ok(read) => read,
                Err(error) => {
                    unreadable.push(Unreadable::new(row, error)?);
                    continue;
                }
            };
        let entry = recipient.row.entry();
        let place = *places.entry(entry).or_insert(due.len());
        if place == due.len() {
            due.push(Due::new(entry, head));
        }
        due[place].rows.push(recipient); // `place` is at most the last index, which was pushed
    }
    Ok((due, unreadable))
}

/// When the next recipient is due, apart from those whose lanes are full.
pub(crate) fn next(connection: &Connection) -> Result<Option<Timestamp>, QueueError> {
    let next: Option<i64> =
        connection.prepare_cached(sql::NEXT_DUE)?.query_row([], |row| row.get(0))?;
    next.map(schema::time).transpose()
}
