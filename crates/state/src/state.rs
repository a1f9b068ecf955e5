//! Opens the file, writes what was noted, and deletes what is old.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use letterlock_config::Retention;
use letterlock_vault::{Database, DeliveryId, Hooks, Pool, ServerKey, Slice, Spec, VaultError};
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::buffer::{Buffer, CountKey, Notes};
use crate::error::StateError;
use crate::event::Event;
use crate::schema::SCHEMA;
use crate::suppression::Suppressions;
use crate::unconfirmed::Unconfirmed;
use crate::{policy, suppression, trace, unconfirmed};

/// How long notes wait for others: what is written together shares pages, and those are what costs.
const GATHER: Duration = Duration::from_secs(1);
/// Events that one job writes, some milliseconds.
const EVENTS_PER_JOB: usize = 2_000;
/// Rows of each kind that one slice deletes.
const ROWS_PER_SLICE: u32 = 500;

/// The owner of `state.db`.
pub struct State {
    pub(crate) database: Database,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) retention: Retention,
    pub(crate) suppressions: ArcSwap<Suppressions>,
    pub(crate) unconfirmed: Unconfirmed,
    /// The newest row of `trace`.
    newest: Arc<AtomicI64>,
    /// One writes at a time, so that who asks for a trace waits for what is under way.
    writing: tokio::sync::Mutex<()>,
    writer: AbortHandle,
    me: Weak<Self>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("retention", &self.retention).finish_non_exhaustive()
    }
}

impl State {
    /// Opens or creates `state.db` in `data_dir`. To be called within a tokio runtime, which then runs the task that
    /// writes.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(
        data_dir: &Path,
        server_key: &ServerKey,
        pool: &Pool,
        retention: Retention,
    ) -> Result<Arc<Self>, StateError> {
        let spec = Spec {
            path: data_dir.join("state.db"),
            keys: server_key.file_keys("state"),
            schema: SCHEMA,
            cache_kib: 1024,
            idle_close: None,
            hooks: Hooks::default(),
        };
        let database = Database::open(pool, spec).await?;
        let (suppressions, unconfirmed, newest) = database
            .read(|connection| {
                let sql = "SELECT ifnull(max(row), 0) FROM trace";
                let newest: i64 = connection.query_row(sql, [], |row| row.get(0))?;
                let held = suppression::load(connection)?;
                Ok::<_, StateError>((held, Unconfirmed::load(connection)?, newest))
            })
            .await?;
        let buffer = Arc::new(Buffer::default());
        Ok(Arc::new_cyclic(|me| Self {
            database,
            buffer: Arc::clone(&buffer),
            retention,
            suppressions: ArcSwap::from_pointee(suppressions),
            unconfirmed,
            newest: Arc::new(AtomicI64::new(newest)),
            writing: tokio::sync::Mutex::default(),
            writer: tokio::spawn(write_on(Weak::clone(me), buffer)).abort_handle(),
            me: Weak::clone(me),
        }))
    }

    /// Writes what was noted so far. On return it survives a crash of the process.
    ///
    /// # Errors
    /// The file cannot be written. Traces and counts that were to be written are lost; what TLS domains had and which
    /// replies may not have arrived is kept, and written later.
    pub async fn flush(&self) -> Result<(), StateError> {
        // Without another reference this is the end, and nobody notes anything.
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        // In a task of its own: who asked may go away in the middle, and what was taken must not go with him.
        let written = tokio::spawn(async move { me.write_notes().await }).await;
        written.unwrap_or(Err(StateError::Vault(VaultError::Panicked)))
    }

    async fn write_notes(&self) -> Result<(), StateError> {
        let _turn = self.writing.lock().await;
        let unconfirmed = self.write_unconfirmed().await;
        let notes = self.buffer.take();
        if notes.is_empty() {
            return unconfirmed;
        }
        let Notes { events, tls, tls_results, dmarc_results } = notes;
        // Before the traces, as it decides about mail.
        let remembered = self
            .database
            .write(move |transaction| {
                for (domain, seen) in tls {
                    policy::write_tls(transaction, &domain, seen)?;
                }
                add_counts(transaction, TLS_COUNT, tls_results)?;
                add_counts(transaction, DMARC_COUNT, dmarc_results)
            })
            .await;
        self.buffer.written(remembered.is_ok());
        let traced = self.write_events(events).await;
        unconfirmed.and(remembered).and(traced)
    }

    async fn write_unconfirmed(&self) -> Result<(), StateError> {
        let Some(changes) = self.unconfirmed.take_changes().map(Arc::new) else { return Ok(()) };
        let rows = Arc::clone(&changes);
        let written =
            self.database.write(move |transaction| unconfirmed::write(transaction, &rows)).await;
        if written.is_err() {
            self.unconfirmed.put_back(&changes);
        }
        written
    }

    async fn write_events(
        &self,
        mut events: Vec<(DeliveryId, Timestamp, Event)>,
    ) -> Result<(), StateError> {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(EVENTS_PER_JOB));
            let (job, newest) = (std::mem::replace(&mut events, rest), Arc::clone(&self.newest));
            self.database
                .write(move |transaction| {
                    trace::insert(transaction, &job, || number(&newest, Timestamp::now()))
                })
                .await?;
        }
        Ok(())
    }

    /// Deletes what is older than its retention, slice by slice. To be called every hour or so.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn prune(&self, now: Timestamp) -> Result<(), StateError> {
        self.unconfirmed.forget(now);
        self.change_suppressions(|held| held.retain(|_, entry| entry.until > now));
        let retention = self.retention.clone();
        self.database
            .sliced(move |connection| {
                let transaction = connection.transaction()?;
                let gone = prune_slice(&transaction, &retention, now)?;
                transaction.commit()?;
                Ok(if gone == 0 { Slice::Done(()) } else { Slice::More })
            })
            .await
    }

    /// Writes what was noted and closes the file cleanly.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn close(&self) -> Result<(), StateError> {
        self.writer.abort();
        let flushed = self.flush().await;
        self.database.close().await?;
        flushed
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// Writes a moment after something was noted, again and again.
async fn write_on(state: Weak<State>, buffer: Arc<Buffer>) {
    loop {
        buffer.work.notified().await;
        // However it ends, there is something to write.
        let _ = tokio::time::timeout(GATHER, buffer.plenty.notified()).await;
        let Some(state) = state.upgrade() else { return };
        if let Err(error) = state.flush().await {
            tracing::warn!(%error, "traces and counts of a moment are lost");
        }
    }
}

/// The number of a new row: the time, but always above the last one.
fn number(newest: &AtomicI64, now: Timestamp) -> i64 {
    let next = |last: i64| now.as_microsecond().max(last.saturating_add(1));
    newest
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)))
        .map_or_else(next, next)
}

const TLS_COUNT: &str = "INSERT INTO tls_results (day, domain, facts, sessions) VALUES (?, ?, ?, ?) \
                         ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions";
const DMARC_COUNT: &str = "INSERT INTO dmarc_results (day, domain, facts, messages) VALUES (?, ?, ?, ?) \
                           ON CONFLICT DO UPDATE SET messages = messages + excluded.messages";

fn add_counts(
    connection: &Connection,
    sql: &str,
    counts: impl IntoIterator<Item = (CountKey, i64)>,
) -> Result<(), StateError> {
    let mut statement = connection.prepare_cached(sql)?;
    for ((day, domain, facts), count) in counts {
        statement.execute(params![day, domain, facts, count])?;
    }
    Ok(())
}

/// Reads the counts of one day: domain, facts and how many.
pub(crate) async fn counts(
    state: &State,
    sql: &'static str,
    day: i64,
) -> Result<Vec<(String, Vec<u8>, u64)>, StateError> {
    state.flush().await?;
    state
        .database
        .read(move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([day], |row| {
                let count: i64 = row.get(2)?;
                Ok((row.get(0)?, row.get(1)?, u64::try_from(count).unwrap_or_default()))
            })?;
            rows.collect::<Result<_, _>>().map_err(StateError::from)
        })
        .await
}

/// What is counted, unless it was written in another form: one row must not keep the others out of a report.
pub(crate) fn facts<T: DeserializeOwned>(domain: &str, stored: &[u8]) -> Option<T> {
    match postcard::from_bytes(stored) {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::warn!(%domain, %error, "a count in state.db cannot be read");
            None
        }
    }
}

fn prune_slice(
    connection: &Connection,
    retention: &Retention,
    now: Timestamp,
) -> Result<usize, StateError> {
    // Rows are numbered by their time, so the oldest come first.
    let sql =
        "DELETE FROM trace WHERE row IN (SELECT row FROM trace WHERE row < ? ORDER BY row LIMIT ?)";
    let oldest = before(now, retention.trace).as_microsecond();
    let mut gone = connection.prepare_cached(sql)?.execute(params![oldest, ROWS_PER_SLICE])?;
    for (table, kept) in
        [("tls_results", retention.tls_results), ("dmarc_results", retention.dmarc_results)]
    {
        // A day's counts go when the whole day is too old.
        let sql = format!(
            "DELETE FROM {table} WHERE (day, domain, facts) IN \
             (SELECT day, domain, facts FROM {table} WHERE day < ? LIMIT ?)"
        );
        let oldest = day(before(now, kept));
        gone += connection.prepare_cached(&sql)?.execute(params![oldest, ROWS_PER_SLICE])?;
    }
    gone += policy::prune(connection, now, ROWS_PER_SLICE)?;
    gone += suppression::prune(connection, now, ROWS_PER_SLICE)?;
    gone += unconfirmed::prune(connection, now, ROWS_PER_SLICE)?;
    Ok(gone)
}

/// The UTC day, counted from the Unix epoch.
pub(crate) fn day(at: Timestamp) -> i64 {
    const DAY: i64 = 86_400;
    at.as_second().div_euclid(DAY)
}

/// A time of the file.
pub(crate) fn time(micros: i64) -> Result<Timestamp, StateError> {
    Timestamp::from_microsecond(micros).map_err(|_| StateError::Row("a time"))
}

/// So much later.
pub(crate) fn after(at: Timestamp, period: Duration) -> Timestamp {
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    at.checked_add(period).unwrap_or(Timestamp::MAX)
}

fn before(at: Timestamp, period: Duration) -> Timestamp {
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    at.checked_sub(period).unwrap_or(Timestamp::MIN)
}
