//! Results of DMARC, counted by day in the terms of RFC 7489's and 9990's aggregate reports.
//!
//! They name domains, addresses of servers and no people: neither senders nor recipients.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::state::{State, counts, day, facts};

/// The policy as it was found (`policy_published`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPolicy {
    /// The domain at which the record was found.
    pub domain: String,
    /// `p`.
    pub policy: String,
    /// `sp`, if given.
    pub subdomains: Option<String>,
    /// `np`, if given.
    pub nonexistent: Option<String>,
    /// `adkim` is strict.
    pub strict_dkim: bool,
    /// `aspf` is strict.
    pub strict_spf: bool,
    /// `t=y`.
    pub testing: bool,
    /// Where reports go (`rua`).
    pub report_to: Vec<String>,
}

/// The result of one signature (`auth_results`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimAuth {
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// The result's word (RFC 8601 §2.7.1).
    pub result: String,
}

/// The result of SPF (`auth_results`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpfAuth {
    /// The domain that was asked.
    pub domain: String,
    /// Whether it was that of HELO and not of the envelope's sender.
    pub helo: bool,
    /// The result's word (RFC 8601 §2.7.2).
    pub result: String,
}

/// One message: everything that a report lists apart.
///
/// Stored by position: its fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmarcResult {
    /// The record.
    pub published: PublishedPolicy,
    /// Who connected.
    pub source: IpAddr,
    /// What was done: `none`, `quarantine` or `reject`.
    pub disposition: String,
    /// Whether a signature passed and is aligned.
    pub dkim_aligned: bool,
    /// Whether SPF passed and is aligned.
    pub spf_aligned: bool,
    /// Why something else was done than the policy says, such as `trusted_forwarder`.
    pub overridden: Option<String>,
    /// The domain of the From field.
    pub header_from: String,
    /// The domain of the envelope's sender.
    pub envelope_from: Option<String>,
    /// The signatures.
    pub dkim: Vec<DkimAuth>,
    /// SPF.
    pub spf: Vec<SpfAuth>,
}

/// Messages of one day with the same result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarcCount {
    /// The domain at which the record was found.
    pub domain: String,
    /// What they had in common.
    pub result: DmarcResult,
    /// How many there were.
    pub messages: u64,
}

impl State {
    /// Counts a message. Never waits.
    pub fn count_dmarc(&self, result: &DmarcResult, at: Timestamp) {
        let Ok(facts) = postcard::to_stdvec(result) else { return };
        let key = (day(at), result.published.domain.to_ascii_lowercase(), facts);
        self.buffer.add(|notes| *notes.dmarc_results.entry(key).or_default() += 1);
    }

    /// The messages of the UTC day in which `at` lies, by domain.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub async fn dmarc_results(&self, at: Timestamp) -> Result<Vec<DmarcCount>, StateError> {
        let sql = "SELECT domain, facts, messages FROM dmarc_results WHERE day = ? ORDER BY domain, facts";
        let rows = counts(self, sql, day(at)).await?;
        let read = |(domain, stored, messages): (String, Vec<u8>, u64)| {
            Some(DmarcCount { result: facts(&domain, &stored)?, domain, messages })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}
