//! Addresses elsewhere that are known not to take mail.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::Mailbox;
use rusqlite::{Connection, params};

use crate::error::StateError;
use crate::state::{State, after, time};

/// An address that is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// The address, in its canonical form.
    pub address: String,
    /// What was found, such as the reply of its server.
    pub reason: String,
    /// When.
    pub since: Timestamp,
    /// Until when it is not tried.
    pub until: Timestamp,
}

/// All of them, in memory.
pub(crate) type Suppressions = HashMap<String, Arc<Suppression>>;

impl State {
    /// Whether mail to this address is pointless at present, and why. Reads memory alone.
    pub fn suppressed(&self, address: &Mailbox, now: Timestamp) -> Option<Arc<Suppression>> {
        let held = self.suppressions.load();
        // Most servers have none, and then no address needs its canonical form.
        if held.is_empty() {
            return None;
        }
        held.get(&address.canonical()).filter(|found| found.until > now).cloned()
    }

    /// Stops mail to this address for `[retention] suppressions`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn suppress(
        &self,
        address: &Mailbox,
        reason: impl Into<String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let entry = Arc::new(Suppression {
            address: address.canonical(),
            reason: reason.into(),
            since: now,
            until: after(now, self.retention.suppressions),
        });
        let row = Arc::clone(&entry);
        self.database
            .write(move |transaction| {
                let sql = "INSERT OR REPLACE INTO suppressions (address, reason, since, until) \
                           VALUES (?, ?, ?, ?)";
                transaction.prepare_cached(sql)?.execute(params![
                    row.address,
                    row.reason,
                    row.since.as_microsecond(),
                    row.until.as_microsecond()
                ])?;
                Ok::<_, StateError>(())
            })
            .await?;
        self.change_suppressions(|held| {
            held.insert(entry.address.clone(), Arc::clone(&entry));
        });
        Ok(())
    }

    /// Lets mail to this address go again; whether it was stopped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn unsuppress(&self, address: &Mailbox) -> Result<bool, StateError> {
        let key = address.canonical();
        let row = key.clone();
        let gone = self
            .database
            .write(move |transaction| {
                let sql = "DELETE FROM suppressions WHERE address = ?";
                Ok::<_, StateError>(transaction.execute(sql, [row])? > 0)
            })
            .await?;
        self.change_suppressions(|held| {
            held.remove(&key);
        });
        Ok(gone)
    }

    /// The addresses that get no mail at present, by name.
    pub fn suppressions(&self, now: Timestamp) -> Vec<Suppression> {
        let held = self.suppressions.load();
        let present = held.values().filter(|entry| entry.until > now);
        let mut list: Vec<Suppression> = present.map(|entry| (**entry).clone()).collect();
        list.sort_by(|a, b| a.address.cmp(&b.address));
        list
    }

    pub(crate) fn change_suppressions(&self, change: impl Fn(&mut Suppressions)) {
        self.suppressions.rcu(|held| {
            let mut held = Suppressions::clone(held);
            change(&mut held);
            held
        });
    }
}

/// Reads all of them.
pub(crate) fn load(connection: &Connection) -> Result<Suppressions, StateError> {
    let mut statement =
        connection.prepare("SELECT address, reason, since, until FROM suppressions")?;
    let mut rows = statement.query([])?;
    let mut held = Suppressions::new();
    while let Some(row) = rows.next()? {
        let address: String = row.get(0)?;
        let entry = Suppression {
            address: address.clone(),
            reason: row.get(1)?,
            since: time(row.get(2)?)?,
            until: time(row.get(3)?)?,
        };
        held.insert(address, Arc::new(entry));
    }
    Ok(held)
}

/// Deletes one slice of those whose time is over; the number of rows that went.
pub(crate) fn prune(
    connection: &Connection,
    now: Timestamp,
    most: u32,
) -> Result<usize, StateError> {
    let sql = "DELETE FROM suppressions WHERE address IN \
               (SELECT address FROM suppressions WHERE until <= ? LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute(params![now.as_microsecond(), most])?)
}
