//! The tables of `directory.db`, and how they become a snapshot.

use std::collections::HashMap;

use jiff::Timestamp;
use letterlock_address::{Domain as DomainName, Mailbox};
use letterlock_vault::{AccountId, Slot, SlotKind, WrappedSecrets};
use rusqlite::{Connection, Row};
use zeroize::Zeroizing;

use crate::error::DirectoryError;
use crate::model::{
    Account, AccountState, Alias, AliasSource, DkimAlgorithm, DkimKey, DkimPrivate, DkimState,
    Domain, KeyMode, NamedSlot,
};
use crate::quota::{Holding, Use};
use crate::snapshot::Snapshot;

/// The state of an account whose keys are destroyed and whose row is about to go.
pub(crate) const REMOVING: &str = "removing";

/// One text for each `user_version`. Times are microseconds since the Unix epoch.
pub(crate) const SCHEMA: &[&str] = &[
    "
    CREATE TABLE domains (
        seq INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        contact TEXT,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE dkim (
        domain TEXT NOT NULL,
        selector TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        private BLOB NOT NULL,
        public_dns TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (domain, selector)
    ) STRICT;
    CREATE TABLE accounts (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        address TEXT NOT NULL,
        canonical TEXT NOT NULL UNIQUE,
        mode TEXT NOT NULL,
        state TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        data_key BLOB NOT NULL,
        sealing_public BLOB NOT NULL,
        sealing_secret BLOB NOT NULL,
        quota INTEGER,
        display_name TEXT,
        created_at INTEGER NOT NULL,
        mark INTEGER NOT NULL DEFAULT 0,
        next_slot INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE slots (
        account TEXT NOT NULL,
        id INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        name TEXT NOT NULL,
        data BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        last_used INTEGER,
        PRIMARY KEY (account, id)
    ) STRICT;
    CREATE TABLE aliases (
        canonical TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alias_targets (
        alias TEXT NOT NULL,
        position INTEGER NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (alias, position)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE usage (
        account TEXT PRIMARY KEY,
        octets INTEGER NOT NULL,
        full_since INTEGER
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE accounts ADD COLUMN quota_messages INTEGER;
    ALTER TABLE accounts ADD COLUMN disabled_capabilities TEXT NOT NULL DEFAULT '';
    ALTER TABLE usage ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
",
];

/// Reads everything.
pub(crate) fn load(connection: &Connection) -> Result<Snapshot, DirectoryError> {
    let mut snapshot = Snapshot::default();
    let mut dkim: HashMap<String, Vec<DkimKey>> = HashMap::new();
    each(connection, "SELECT * FROM dkim ORDER BY created_at, selector", |row| {
        dkim.entry(row.get("domain")?).or_default().push(dkim_key(row)?);
        Ok(())
    })?;
    each(connection, "SELECT * FROM domains", |row| {
        let name: String = row.get("name")?;
        snapshot.put_domain(Domain {
            name: read(&name, DomainName::parse)?,
            contact: row
                .get::<_, Option<String>>("contact")?
                .map(|text| read(&text, Mailbox::parse))
                .transpose()?,
            dkim: dkim.remove(&name).unwrap_or_default(),
            created_at: time(row.get("created_at")?)?,
            seq: row.get("seq")?,
        });
        Ok(())
    })?;
    let mut slots: HashMap<AccountId, Vec<NamedSlot>> = HashMap::new();
    each(connection, "SELECT * FROM slots ORDER BY account, id", |row| {
        slots.entry(row.get("account")?).or_default().push(slot(row)?);
        Ok(())
    })?;
    each(connection, &format!("SELECT * FROM accounts WHERE state <> '{REMOVING}'"), |row| {
        let id = row.get("id")?;
        snapshot.put_account(account(row, id, slots.remove(&id).unwrap_or_default())?);
        match row.get::<_, i64>("mark")? {
            0 => {}
            mark => snapshot.put_mark(id, u64::try_from(mark).unwrap_or(0)),
        }
        Ok(())
    })?;
    let mut targets: HashMap<String, Vec<Mailbox>> = HashMap::new();
    each(connection, "SELECT alias, target FROM alias_targets ORDER BY alias, position", |row| {
        targets
            .entry(row.get(0)?)
            .or_default()
            .push(read(&row.get::<_, String>(1)?, Mailbox::parse)?);
        Ok(())
    })?;
    each(connection, "SELECT * FROM aliases", |row| {
        snapshot.put_alias(Alias {
            source: read(&row.get::<_, String>("source")?, AliasSource::parse)?,
            targets: targets.remove(&row.get::<_, String>("canonical")?).unwrap_or_default(),
            created_at: time(row.get("created_at")?)?,
        });
        Ok(())
    })?;
    Ok(snapshot)
}

fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), DirectoryError>,
) -> Result<(), DirectoryError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn dkim_key(row: &Row<'_>) -> Result<DkimKey, DirectoryError> {
    Ok(DkimKey {
        selector: row.get("selector")?,
        algorithm: read_enum(&row.get::<_, String>("algorithm")?, DkimAlgorithm::from_text)?,
        private: DkimPrivate::new(Zeroizing::new(row.get("private")?)),
        public_dns: row.get("public_dns")?,
        state: read_enum(&row.get::<_, String>("state")?, DkimState::from_text)?,
        created_at: time(row.get("created_at")?)?,
    })
}

fn account(row: &Row<'_>, id: AccountId, slots: Vec<NamedSlot>) -> Result<Account, DirectoryError> {
    Ok(Account {
        id,
        address: read(&row.get::<_, String>("address")?, Mailbox::parse)?,
        mode: read_enum(&row.get::<_, String>("mode")?, KeyMode::from_text)?,
        state: read_enum(&row.get::<_, String>("state")?, AccountState::from_text)?,
        secrets: WrappedSecrets {
            epoch: row.get("epoch")?,
            data_key: row.get("data_key")?,
            sealing_public: row.get("sealing_public")?,
            sealing_secret: row.get("sealing_secret")?,
        },
        slots,
        quota: row.get::<_, Option<i64>>("quota")?.map(count),
        quota_messages: row.get::<_, Option<i64>>("quota_messages")?.map(count),
        disabled_capabilities: row
            .get::<_, String>("disabled_capabilities")?
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
        display_name: row.get("display_name")?,
        created_at: time(row.get("created_at")?)?,
        seq: row.get("seq")?,
        next_slot: row.get("next_slot")?,
    })
}

fn slot(row: &Row<'_>) -> Result<NamedSlot, DirectoryError> {
    Ok(NamedSlot {
        slot: Slot {
            id: row.get("id")?,
            kind: slot_kind(row.get("kind")?)?,
            data: row.get("data")?,
        },
        name: row.get("name")?,
        created_at: time(row.get("created_at")?)?,
        last_used: row.get::<_, Option<i64>>("last_used")?.map(time).transpose()?,
    })
}

fn slot_kind(code: u8) -> Result<SlotKind, DirectoryError> {
    SlotKind::from_code(code)
        .ok_or_else(|| DirectoryError::Row(format!("kind of slot {code} is not known")))
}

fn read<T, E: std::fmt::Display>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, DirectoryError> {
    parse(text).map_err(|error| DirectoryError::Row(format!("{text:?}: {error}")))
}

fn read_enum<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, DirectoryError> {
    parse(text).ok_or_else(|| DirectoryError::Row(format!("{text:?} is not known")))
}

/// What was last known of each account's use of its quota.
pub(crate) fn load_usage(
    connection: &Connection,
) -> Result<HashMap<AccountId, Use>, DirectoryError> {
    let mut usage = HashMap::new();
    each(connection, "SELECT * FROM usage", |row| {
        let held =
            Holding { octets: count(row.get("octets")?), messages: count(row.get("messages")?) };
        let full_since = row.get::<_, Option<i64>>("full_since")?.map(time).transpose()?;
        usage.insert(row.get("account")?, Use { held, full_since });
        Ok(())
    })?;
    Ok(usage)
}

fn time(micros: i64) -> Result<Timestamp, DirectoryError> {
    Timestamp::from_microsecond(micros).map_err(|error| DirectoryError::Row(error.to_string()))
}

/// The other way round from [`stored`].
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Numbers of octets and counts as SQLite holds them.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
