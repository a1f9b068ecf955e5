//! Traces: what happened to each message.

use std::collections::HashMap;

use jiff::Timestamp;
use letterlock_vault::DeliveryId;
use rusqlite::{Connection, params};

use crate::error::StateError;
use crate::event::Event;
use crate::state::State;

/// The form of the rows that are written now.
const VERSION: u8 = 1;

/// Room for the usual events of a message.
const USUAL: usize = 512;

impl State {
    /// Notes an event. Never waits: when the disk cannot keep up, the event is dropped, counted and warned of.
    pub fn record(&self, id: DeliveryId, at: Timestamp, event: Event) {
        self.buffer.add(|notes| notes.events.push((id, at, event)));
    }

    /// The same for several events of one moment, in their order.
    pub fn record_all(
        &self,
        id: DeliveryId,
        at: Timestamp,
        events: impl IntoIterator<Item = Event>,
    ) {
        self.buffer.add(|notes| {
            notes.events.extend(events.into_iter().map(|event| (id, at, event)));
        });
    }

    /// Notes that found no room since the start.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }

    /// Everything that happened to a message so far, oldest first; empty if nothing is known of it.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub async fn trace(&self, id: DeliveryId) -> Result<Vec<(Timestamp, Event)>, StateError> {
        self.flush().await?;
        let rows: Vec<Vec<u8>> = self
            .database
            .read(move |connection| {
                let sql = "SELECT events FROM trace WHERE id = ? ORDER BY row";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([id.to_bytes()], |row| row.get(0))?;
                rows.collect::<Result<_, _>>().map_err(StateError::from)
            })
            .await?;
        let mut events = Vec::new();
        for row in &rows {
            if decode(row, &mut events).is_none() {
                tracing::warn!(delivery = %id, "a part of the trace cannot be read");
            }
        }
        events.sort_by_key(|(at, _)| *at);
        Ok(events)
    }

    /// The messages whose id begins with `prefix`, newest first and at most `most`: for an operator who has only the
    /// beginning of one. Empty for what is no beginning of an id.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub async fn find(&self, prefix: &str, most: u32) -> Result<Vec<DeliveryId>, StateError> {
        let Some((low, high)) = bounds(prefix) else { return Ok(Vec::new()) };
        self.flush().await?;
        self.database
            .read(move |connection| {
                let sql = "SELECT DISTINCT id FROM trace WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement
                    .query_map(params![low.to_bytes(), high.to_bytes(), most], |row| row.get(0))?;
                rows.map(|id| Ok(DeliveryId::from_bytes(id?))).collect()
            })
            .await
    }
}

/// The lowest and the highest id with this beginning.
fn bounds(prefix: &str) -> Option<(DeliveryId, DeliveryId)> {
    const LENGTH: usize = 26;
    let prefix = prefix.trim();
    let rest = LENGTH.checked_sub(prefix.len())?;
    // The first character stands for three bits only.
    if prefix.chars().next().is_some_and(|first| !('0'..='7').contains(&first)) {
        return None;
    }
    let highest = match prefix {
        "" => format!("7{}", "Z".repeat(LENGTH - 1)),
        _ => "Z".repeat(rest),
    };
    let low = format!("{prefix}{}", "0".repeat(rest)).parse().ok()?;
    Some((low, format!("{prefix}{highest}").parse().ok()?))
}

/// Writes events, a row for each message; `row` gives numbers.
pub(crate) fn insert(
    connection: &Connection,
    events: &[(DeliveryId, Timestamp, Event)],
    mut row: impl FnMut() -> i64,
) -> Result<(), StateError> {
    let mut places: HashMap<DeliveryId, usize> = HashMap::new();
    let mut messages: Vec<(DeliveryId, Vec<u8>)> = Vec::new();
    for (id, at, event) in events {
        let place = *places.entry(*id).or_insert_with(|| {
            let mut stored = Vec::with_capacity(USUAL);
            stored.push(VERSION);
            messages.push((*id, stored));
            messages.len() - 1
        });
        if let Some((_, stored)) = messages.get_mut(place) {
            encode(*at, event, stored)?;
        }
    }
    let mut statement =
        connection.prepare_cached("INSERT INTO trace (row, id, events) VALUES (?, ?, ?)")?;
    for (id, stored) in messages {
        statement.execute(params![row(), id.to_bytes(), stored])?;
    }
    Ok(())
}

fn encode(at: Timestamp, event: &Event, stored: &mut Vec<u8>) -> Result<(), StateError> {
    let before = std::mem::take(stored);
    *stored = postcard::to_extend(&(at.as_microsecond(), event), before)
        .map_err(|_| StateError::Row("an event"))?;
    Ok(())
}

/// Reads a row; `None` if something of it, or what follows that, cannot be read.
fn decode(stored: &[u8], events: &mut Vec<(Timestamp, Event)>) -> Option<()> {
    let (version, mut rest) = stored.split_first()?;
    if *version != VERSION {
        return None;
    }
    while !rest.is_empty() {
        let ((at, event), behind): ((i64, Event), _) = postcard::take_from_bytes(rest).ok()?;
        events.push((Timestamp::from_microsecond(at).ok()?, event));
        rest = behind;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_ids() {
        let id = DeliveryId::generate();
        for length in [0, 1, 10, 26] {
            let prefix = id.to_string()[..length].to_lowercase();
            let (low, high) = bounds(&prefix).unwrap();
            assert!(low <= id && id <= high, "{prefix}");
        }
        for wrong in ["u", "no id", &"0".repeat(27), "8"] {
            assert_eq!(bounds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn damage_keeps_what_stands_before_it() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let mut stored = vec![VERSION];
        encode(at, &Event::Duplicate, &mut stored).unwrap();
        stored.extend([0xff; 20]);
        let mut events = Vec::new();
        assert_eq!(decode(&stored, &mut events), None);
        assert_eq!(events, [(at, Event::Duplicate)]);
    }
}
