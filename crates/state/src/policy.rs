//! What is known of other domains' transport: their MTA-STS policies, and the TLS that they had.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::buffer::Seen;
use crate::error::StateError;
use crate::state::{State, time};

/// A memory of TLS holds for this long after TLS was last seen.
const TLS_MEMORY: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A memory that is younger than this is not written anew for the same level.
const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// An MTA-STS policy as it was fetched (RFC 8461 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// The domain, in lower case.
    pub domain: String,
    /// The `id` of the TXT record that it was fetched for.
    pub id: String,
    /// The policy's text.
    pub policy: String,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// From when on it is nothing any more.
    pub expires_at: Timestamp,
}

/// How well a connection to a domain was secured. The order is that of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsLevel {
    /// TLS with a certificate that nobody vouches for.
    Encrypted = 1,
    /// TLS with a certificate that is valid for the host.
    Verified = 2,
    /// TLS as the domain's TLSA records want it.
    Dane = 3,
}

impl TlsLevel {
    fn from_row(value: i64) -> Option<Self> {
        [Self::Encrypted, Self::Verified, Self::Dane]
            .into_iter()
            .find(|level| *level as i64 == value)
    }
}

/// What is remembered of a domain's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsMemory {
    /// The level that was seen last.
    pub level: TlsLevel,
    /// Whether DANE held within the time of memory, even if the last connection did not show it.
    pub dane: bool,
    /// When it was seen last.
    pub seen_at: Timestamp,
}

impl State {
    /// The policy of a domain, if one is stored that has not expired.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn policy(
        &self,
        domain: &str,
        now: Timestamp,
    ) -> Result<Option<StoredPolicy>, StateError> {
        let domain = domain.to_ascii_lowercase();
        self.database
            .read(move |connection| {
                let sql = "SELECT id, policy, fetched_at, expires_at FROM policies \
                           WHERE domain = ? AND expires_at > ?";
                let row = connection
                    .prepare_cached(sql)?
                    .query_row(params![domain, now.as_microsecond()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                    })
                    .optional()?;
                let Some((id, policy, fetched_at, expires_at)) = row else { return Ok(None) };
                let (fetched_at, expires_at) = (time(fetched_at)?, time(expires_at)?);
                Ok(Some(StoredPolicy { domain, id, policy, fetched_at, expires_at }))
            })
            .await
    }

    /// Stores a policy in the place of the domain's older one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn put_policy(&self, policy: StoredPolicy) -> Result<(), StateError> {
        self.database
            .write(move |transaction| {
                let sql = "INSERT OR REPLACE INTO policies (domain, id, policy, fetched_at, expires_at) \
                           VALUES (?, ?, ?, ?, ?)";
                transaction.prepare_cached(sql)?.execute(params![
                    policy.domain.to_ascii_lowercase(),
                    policy.id,
                    policy.policy,
                    policy.fetched_at.as_microsecond(),
                    policy.expires_at.as_microsecond()
                ])?;
                Ok(())
            })
            .await
    }

    /// Notes that a connection to the domain was secured like this. Never waits.
    pub fn remember_tls(&self, domain: &str, level: TlsLevel, now: Timestamp) {
        let domain = domain.to_ascii_lowercase();
        self.buffer.add(|notes| notes.add_tls(domain, Seen { level, at: now }));
    }

    /// What TLS the domain had within the last 30 days.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn tls_memory(
        &self,
        domain: &str,
        now: Timestamp,
    ) -> Result<Option<TlsMemory>, StateError> {
        let domain = domain.to_ascii_lowercase();
        let fresh = |at: Timestamp| now.duration_since(at) < TLS_MEMORY;
        let noted = self.buffer.seen(&domain).filter(|seen| fresh(seen.at));
        let row = self.database.read(move |connection| tls_row(connection, &domain)).await?;
        let row = row.filter(|row| fresh(row.seen_at));
        let dane = row.and_then(|row| row.dane_at).is_some_and(fresh)
            || noted.is_some_and(|seen| seen.level == TlsLevel::Dane);
        let latest =
            noted.map(|seen| (seen.level, seen.at)).or(row.map(|row| (row.level, row.seen_at)));
        Ok(latest.map(|(level, seen_at)| TlsMemory { level, dane, seen_at }))
    }

    /// Forgets what TLS a domain had: for an operator who knows that it gave TLS up.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn forget_tls(&self, domain: &str) -> Result<bool, StateError> {
        self.flush().await?;
        let domain = domain.to_ascii_lowercase();
        self.database
            .write(move |transaction| {
                let sql = "DELETE FROM tls_memory WHERE domain = ?";
                Ok(transaction.execute(sql, [domain])? > 0)
            })
            .await
    }
}

#[derive(Clone, Copy)]
struct TlsRow {
    level: TlsLevel,
    seen_at: Timestamp,
    dane_at: Option<Timestamp>,
}

fn tls_row(connection: &Connection, domain: &str) -> Result<Option<TlsRow>, StateError> {
    let sql = "SELECT level, seen_at, dane_at FROM tls_memory WHERE domain = ?";
    let row: Option<(i64, i64, Option<i64>)> = connection
        .prepare_cached(sql)?
        .query_row([domain], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((level, seen_at, dane_at)) = row else { return Ok(None) };
    let level = TlsLevel::from_row(level).ok_or(StateError::Row("a level of TLS"))?;
    let dane_at = dane_at.map(time).transpose()?;
    Ok(Some(TlsRow { level, seen_at: time(seen_at)?, dane_at }))
}

/// Writes what was seen, where it says something new.
pub(crate) fn write_tls(
    connection: &Connection,
    domain: &str,
    seen: Seen,
) -> Result<(), StateError> {
    let known = tls_row(connection, domain)?;
    if known
        .is_some_and(|row| row.level == seen.level && seen.at.duration_since(row.seen_at) < FRESH)
    {
        return Ok(());
    }
    let dane_at = match seen.level {
        TlsLevel::Dane => Some(seen.at),
        _ => known.and_then(|row| row.dane_at),
    };
    let sql =
        "INSERT OR REPLACE INTO tls_memory (domain, level, seen_at, dane_at) VALUES (?, ?, ?, ?)";
    connection.prepare_cached(sql)?.execute(params![
        domain,
        seen.level as i64,
        seen.at.as_microsecond(),
        dane_at.map(Timestamp::as_microsecond)
    ])?;
    Ok(())
}

/// Deletes one slice of what has expired; the number of rows that went.
pub(crate) fn prune(
    connection: &Connection,
    now: Timestamp,
    most: u32,
) -> Result<usize, StateError> {
    let policies = connection
        .prepare_cached(
            "DELETE FROM policies WHERE domain IN \
             (SELECT domain FROM policies WHERE expires_at <= ? LIMIT ?)",
        )?
        .execute(params![now.as_microsecond(), most])?;
    let before = now.checked_sub(TLS_MEMORY).unwrap_or(Timestamp::MIN);
    let memories = connection
        .prepare_cached(
            "DELETE FROM tls_memory WHERE domain IN \
             (SELECT domain FROM tls_memory WHERE seen_at <= ? LIMIT ?)",
        )?
        .execute(params![before.as_microsecond(), most])?;
    Ok(policies + memories)
}
