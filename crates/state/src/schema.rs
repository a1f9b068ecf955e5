//! The tables of `state.db`. Times are microseconds since the Unix epoch, days count from it.
//!
//! - `trace`: events of one message that were written together, in postcard's form behind an octet with its version.
//!   The row's number is the time of writing, made unique: so retention is a range of row numbers.
//! - `policies`: MTA-STS policies as fetched, one a domain.
//! - `tls_memory`: the best TLS that a domain had; `dane_at` is when DANE was last seen to hold for it.
//! - `suppressions`, `unconfirmed`: read into memory at the start.
//! - `tls_results`, `dmarc_results`: counts by day; `facts` is everything that a report lists apart, in postcard's form.

/// One text for each `user_version`.
pub(crate) const SCHEMA: &[&str] = &["
    CREATE TABLE trace (row INTEGER PRIMARY KEY, id BLOB NOT NULL, events BLOB NOT NULL) STRICT;
    CREATE INDEX trace_by_id ON trace (id);
    CREATE TABLE policies (
        domain TEXT PRIMARY KEY,
        id TEXT NOT NULL,
        policy TEXT NOT NULL,
        fetched_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tls_memory (
        domain TEXT PRIMARY KEY,
        level INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        dane_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE suppressions (
        address TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unconfirmed (hash BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE tls_results (
        day INTEGER NOT NULL,
        domain TEXT NOT NULL,
        facts BLOB NOT NULL,
        sessions INTEGER NOT NULL,
        PRIMARY KEY (day, domain, facts)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dmarc_results (
        day INTEGER NOT NULL,
        domain TEXT NOT NULL,
        facts BLOB NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (day, domain, facts)
    ) STRICT, WITHOUT ROWID;
"];
