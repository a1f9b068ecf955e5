//! How much is in the queue.

use letterlock_vault::AccountId;
use rusqlite::Connection;
use serde::Serialize;

use crate::error::QueueError;
use crate::queue::Queue;
use crate::schema;
use crate::sql;

/// How much is in the queue. Counted in indexes that hold only what is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages.
    pub entries: u64,
    /// Recipients whose mail waits to be filed.
    pub parked: u64,
    /// Recipients that wait for their next attempt.
    pub due: u64,
    /// Recipients at role addresses that nobody has.
    pub waiting: u64,
    /// Recipients on hold.
    pub held: u64,
    /// Bodies that belong to no message: being received, or being deleted.
    pub loose: u64,
}

/// What is under way to one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Messages that are parked or held back.
    pub messages: u64,
    /// Octets of their bodies.
    pub octets: u64,
}

impl Queue {
    /// How much is in the queue.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        self.flush().await?;
        self.database
            .read(|connection| {
                Ok(Counts {
                    entries: count(connection, sql::COUNT_ENTRIES)?,
                    parked: count(connection, sql::COUNT_PARKED)?,
                    due: count(connection, sql::COUNT_DUE)?,
                    waiting: count(connection, sql::COUNT_WAITING)?,
                    held: count(connection, sql::COUNT_HELD)?,
                    loose: count(connection, "SELECT count(*) FROM loose")?,
                })
            })
            .await
    }

    /// What is parked for an account, or held back by an operator: it counts towards its quota.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn usage(&self, account: AccountId) -> Result<Usage, QueueError> {
        self.flush().await?;
        self.database
            .read(move |connection| {
                let mut usage = Usage::default();
                for sql in [sql::USAGE, sql::HELD_USAGE] {
                    let (messages, octets) = connection
                        .prepare_cached(sql)?
                        .query_row([account], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    usage.messages += schema::size(messages);
                    usage.octets += schema::size(octets);
                }
                Ok(usage)
            })
            .await
    }
}

fn count(connection: &Connection, sql: &str) -> Result<u64, QueueError> {
    Ok(schema::size(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}
