//! What is being carried, known to the relay's loop alone: rows leave it when their task has ended.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use letterlock_config::Outbound;
use letterlock_queue::{RowId, Share};
use tokio::task::{Id, JoinError, JoinSet};

use crate::route;

/// Recipients that are taken from the queue at once.
pub(crate) const PAGE: usize = 256;
/// Recipients in hand beyond which no more are taken.
const IN_HAND: usize = 8_192;
/// Recipients in hand for one destination: enough for all its connections, most of the time.
const LANE: usize = 256;

/// Recipients that must have left, of those in hand, before more are looked for: a look costs as much for one as for
/// many, and a destination has more than these in hand while there is a backlog.
const REFILL: usize = 64;

#[derive(Default)]
pub(crate) struct Hands {
    rows: HashSet<RowId>,
    lanes: HashMap<String, usize>,
    tasks: HashMap<Id, (String, Vec<RowId>)>,
    pub(crate) join: JoinSet<()>,
    /// Recipients that have left since the last look.
    left: usize,
    /// How far the queue's crowded destinations were looked at.
    pub(crate) after: String,
}

impl Hands {
    pub(crate) fn have_room(&self) -> bool {
        self.rows.len() + PAGE <= IN_HAND
    }

    /// Whether it is worth looking for more, if there is more.
    pub(crate) fn want_more(&self) -> bool {
        self.have_room() && (self.left >= REFILL || self.rows.len() < REFILL)
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What may be taken besides, for a look that is made now.
    pub(crate) fn share(&mut self, outbound: &Arc<Outbound>) -> Share {
        self.left = 0;
        let outbound = Arc::clone(outbound);
        Share {
            limit: PAGE,
            lane: LANE,
            lane_of: Arc::new(move |domain: &str| route::lane(domain, &outbound)),
            in_hand: Arc::new(self.rows.clone()),
            taken: self.lanes.clone(),
            after: self.after.clone(),
        }
    }

    /// A task carries these rows.
    pub(crate) fn hold(&mut self, lane: String, rows: Vec<RowId>, task: Id) {
        self.rows.extend(&rows);
        *self.lanes.entry(lane.clone()).or_default() += rows.len();
        self.tasks.insert(task, (lane, rows));
    }

    pub(crate) fn finished(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a delivery ended without an outcome; it will be tried again");
                error.id()
            }
        };
        let Some((lane, rows)) = self.tasks.remove(&id) else { return };
        for row in &rows {
            self.rows.remove(row);
        }
        self.left += rows.len();
        if let Some(count) = self.lanes.get_mut(&lane) {
            *count = count.saturating_sub(rows.len());
            if *count == 0 {
                self.lanes.remove(&lane);
            }
        }
    }
}
