//! The tables of `queue.db`, and how their columns become values.
//!
//! - `entries`: one accepted message. `sealed_body` and `server_body` number its copies in `chunks`; `server_key` is
//!   the content key of the second, under a key of the server's. The sender's columns are empty (NULL) while only
//!   owners may know them.
//! - `rows`: one recipient each, numbered within the entry's own range. `copy` says which copy its envelope opens
//!   (0 sealed, 1 server); without an envelope it is read by means of `server_key`. `forward` is the sender of a copy
//!   that is passed on. `crowded` rows are due, but their destination had its hands full when they were looked at:
//!   they stand in an index of their own, by destination, so that nobody has to wade through them.
//! - `chunks`: pieces of bodies, numbered within the body's own range.
//! - `loose`: bodies that belong to no entry: `staged` (a large message being received, before its commit) or
//!   `garbage` (too large to be deleted in one go). Both go at the next start, garbage as soon as there is time.

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use rusqlite::Row;

use crate::error::QueueError;
use crate::model::{BodyType, Origin, RequireTls, Ret, RowKind, RowState};

/// One text for each `user_version`. Times are microseconds since the Unix epoch.
pub(crate) const SCHEMA: &[&str] = &[
    "
    CREATE TABLE entries (
        entry INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        received_at INTEGER NOT NULL,
        origin TEXT NOT NULL,
        account TEXT,
        flags INTEGER NOT NULL,
        size INTEGER NOT NULL,
        sealed_body INTEGER,
        server_body INTEGER,
        server_key BLOB,
        reverse_path TEXT,
        ret TEXT,
        envid TEXT
    ) STRICT;
    CREATE TABLE rows (
        row INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        address TEXT NOT NULL,
        domain TEXT NOT NULL,
        account TEXT,
        size INTEGER NOT NULL,
        copy INTEGER NOT NULL,
        next_attempt INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        reply TEXT,
        notify INTEGER,
        orcpt TEXT,
        folder TEXT,
        flags TEXT,
        private BLOB,
        envelope BLOB
    ) STRICT;
    CREATE INDEX rows_parked ON rows (account, row, size) WHERE state = 'parked';
    CREATE INDEX rows_due ON rows (next_attempt) WHERE state = 'due';
    CREATE INDEX rows_waiting ON rows (domain) WHERE state = 'waiting';
    CREATE INDEX rows_held ON rows (row) WHERE state = 'held';
    CREATE TABLE chunks (
        chunk INTEGER PRIMARY KEY,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE loose (
        body INTEGER PRIMARY KEY,
        chunks INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE entries ADD COLUMN hold_until INTEGER;
    ALTER TABLE rows ADD COLUMN forward TEXT;
    ALTER TABLE rows ADD COLUMN security TEXT;
    ALTER TABLE rows ADD COLUMN delay_told INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rows ADD COLUMN crowded INTEGER NOT NULL DEFAULT 0;
    DROP INDEX rows_due;
    CREATE INDEX rows_due ON rows (next_attempt, domain, kind) WHERE state = 'due' AND crowded = 0;
    CREATE INDEX rows_crowded ON rows (domain, next_attempt) WHERE state = 'due' AND crowded = 1;
",
    "
    DROP INDEX rows_held;
    CREATE INDEX rows_held ON rows (account, size) WHERE state = 'held';
",
];

/// `entries.flags`: needs SMTPUTF8.
pub(crate) const SMTPUTF8: u32 = 1;
/// `entries.flags`: the body is 8-bit.
pub(crate) const EIGHT_BIT: u32 = 2;
/// `entries.flags`: the body is binary.
pub(crate) const BINARY: u32 = 4;
/// `entries.flags`: REQUIRETLS.
pub(crate) const TLS_REQUIRED: u32 = 8;
/// `entries.flags`: `TLS-Required: No`.
pub(crate) const TLS_LIFTED: u32 = 16;

/// What describes an entry.
pub(crate) struct Head {
    pub(crate) id: letterlock_vault::DeliveryId,
    pub(crate) received_at: Timestamp,
    pub(crate) origin: Origin,
    pub(crate) flags: u32,
    pub(crate) size: u64,
    pub(crate) reverse_path: Option<ReversePath>,
    pub(crate) ret: Option<Ret>,
    pub(crate) envid: Option<String>,
    pub(crate) hold_until: Option<Timestamp>,
}

impl Head {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        let origin: String = row.get(2)?;
        Ok(Self {
            id: row.get(0)?,
            received_at: time(row.get(1)?)?,
            origin: match (origin.as_str(), row.get(3)?) {
                ("inbound", None) => Origin::Inbound,
                ("submission", Some(account)) => Origin::Submission { account },
                ("dsn", None) => Origin::Dsn,
                _ => return Err(QueueError::Row(format!("origin {origin:?}"))),
            },
            flags: row.get(4)?,
            size: size(row.get(5)?),
            reverse_path: row
                .get::<_, Option<String>>(6)?
                .map(|text| reverse_path(&text))
                .transpose()?,
            ret: match row.get::<_, Option<String>>(7)?.as_deref() {
                None => None,
                Some("full") => Some(Ret::Full),
                Some("headers") => Some(Ret::Headers),
                Some(other) => return Err(QueueError::Row(format!("ret {other:?}"))),
            },
            envid: row.get(8)?,
            hold_until: row.get::<_, Option<i64>>(9)?.map(time).transpose()?,
        })
    }
}

impl Head {
    pub(crate) fn body_type(&self) -> BodyType {
        match (self.flags & BINARY != 0, self.flags & EIGHT_BIT != 0) {
            (true, _) => BodyType::Binary,
            (false, true) => BodyType::EightBit,
            (false, false) => BodyType::SevenBit,
        }
    }

    pub(crate) fn require_tls(&self) -> RequireTls {
        match (self.flags & TLS_REQUIRED != 0, self.flags & TLS_LIFTED != 0) {
            (true, _) => RequireTls::Required,
            (false, true) => RequireTls::Lifted,
            (false, false) => RequireTls::Unspecified,
        }
    }
}

/// What `entries.flags` holds.
pub(crate) fn flag_bits(smtputf8: bool, body_type: BodyType, require_tls: RequireTls) -> u32 {
    let body = match body_type {
        BodyType::SevenBit => 0,
        BodyType::EightBit => EIGHT_BIT,
        BodyType::Binary => BINARY,
    };
    let tls = match require_tls {
        RequireTls::Unspecified => 0,
        RequireTls::Required => TLS_REQUIRED,
        RequireTls::Lifted => TLS_LIFTED,
    };
    (u32::from(smtputf8) * SMTPUTF8) | body | tls
}

/// How an origin is stored.
pub(crate) fn origin_text(origin: Origin) -> &'static str {
    match origin {
        Origin::Inbound => "inbound",
        Origin::Submission { .. } => "submission",
        Origin::Dsn => "dsn",
    }
}

/// How RET is stored.
pub(crate) fn ret_text(ret: Ret) -> &'static str {
    match ret {
        Ret::Full => "full",
        Ret::Headers => "headers",
    }
}

pub(crate) fn mailbox(text: &str) -> Result<Mailbox, QueueError> {
    Mailbox::parse(text).map_err(|error| unreadable("address", error))
}

pub(crate) fn reverse_path(text: &str) -> Result<ReversePath, QueueError> {
    text.parse().map_err(|error| unreadable("reverse-path", error))
}

pub(crate) fn domain(text: &str) -> Result<Domain, QueueError> {
    Domain::parse(text).map_err(|error| unreadable("domain", error))
}

pub(crate) fn state(text: &str) -> Result<RowState, QueueError> {
    RowState::from_text(text).ok_or_else(|| QueueError::Row(format!("state {text:?}")))
}

pub(crate) fn kind(text: &str) -> Result<RowKind, QueueError> {
    RowKind::from_text(text).ok_or_else(|| QueueError::Row(format!("kind {text:?}")))
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, QueueError> {
    Timestamp::from_microsecond(micros).map_err(|error| unreadable("time", error))
}

/// IMAP flags hold no spaces (RFC 9051 §9), so they are stored with spaces between them.
pub(crate) fn flags(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Octets and counts, which are stored as what SQLite has.
pub(crate) fn size(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Row(format!("{what}: {error}"))
}
