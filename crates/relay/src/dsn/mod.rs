//! Reports of failure: `multipart/report` (RFC 6522) with the fields of RFC 3464, in words first.
//!
//! Composes and nothing else: who gets a report, and whether anybody does, is decided elsewhere. All that strangers
//! had a hand in (addresses, replies, the returned header) is made safe here: no line of theirs becomes a field or a
//! part of ours, and lines end in CRLF. Non-ASCII addresses and headers use the types of RFC 6533.

mod words;

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use letterlock_address::{Domain, Mailbox};
use letterlock_smtp_wire::data::has_bare_newline;
use letterlock_smtp_wire::{EnhancedCode, header};
use letterlock_vault::DeliveryId;

use crate::finding::{Finding, Speaker, printable};

/// Octets of the returned header, at most.
const MAX_HEADER: usize = 64 * 1024;
/// The largest message that is returned whole, if its sender asked for that.
const MAX_WHOLE: usize = 1024 * 1024;

/// What a report tells.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// The report's own id: its Message-ID, and the boundary between its parts.
    pub id: DeliveryId,
    /// Our host name.
    pub hostname: &'a str,
    /// The domain whose postmaster writes.
    pub from: &'a Domain,
    /// The sender of the message.
    pub to: &'a Mailbox,
    /// When the report is written.
    pub now: Timestamp,
    /// When the message was received.
    pub received_at: Timestamp,
    /// The age at which messages go back.
    pub expire: Duration,
    /// RFC 3461's ENVID.
    pub envid: Option<&'a str>,
    /// The message; empty if it cannot be read.
    pub original: &'a [u8],
    /// How much of it goes back.
    pub returned: Returned,
    /// The recipients that did not get it; at least one.
    pub failures: &'a [Failure<'a>],
}

/// How much of a message goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Its header.
    Header,
    /// All of it, unless it is large or has broken line ends.
    Whole,
}

/// A recipient that did not get the message.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The address.
    pub recipient: &'a Mailbox,
    /// RFC 3461's ORCPT, `type;address`.
    pub orcpt: Option<&'a str>,
    /// What was found last.
    pub finding: &'a Finding,
    /// Why that is the end.
    pub reason: Reason,
}

/// Why a recipient was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The finding is final.
    Final,
    /// The message is too old.
    Expired,
}

impl Failure<'_> {
    /// The status code: the finding's, or that of an expired message (RFC 3463 §3.5).
    pub fn status(&self) -> EnhancedCode {
        match self.reason {
            Reason::Final => self.finding.status,
            Reason::Expired => EnhancedCode::new(4, 4, 7),
        }
    }
}

/// A report, ready for the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// The message.
    pub bytes: Vec<u8>,
    /// Whether its header needs SMTPUTF8.
    pub smtputf8: bool,
    /// Whether it has octets above 127.
    pub eight_bit: bool,
}

/// Writes a report.
pub fn compose(notice: &Notice<'_>) -> Composed {
    let boundary = format!("=_{}", notice.id.to_string().to_ascii_lowercase());
    let mut out = Vec::with_capacity(4096);
    heading(notice, &boundary, &mut out);
    let text = words::explain(notice);
    let charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
    let kind = format!("text/plain; charset={charset}");
    part(&boundary, &kind, Some("Notification"), text.as_bytes(), &mut out);
    let status = status(notice);
    let kind = if status.is_ascii() {
        "message/delivery-status"
    } else {
        "message/global-delivery-status"
    };
    part(&boundary, kind, Some("Delivery report"), &status, &mut out);
    let (kind, original) = returned(notice);
    part(&boundary, kind, Some("Undelivered message"), &original, &mut out);
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Composed { smtputf8: notice.to.needs_smtputf8(), eight_bit: !out.is_ascii(), bytes: out }
}

fn heading(notice: &Notice<'_>, boundary: &str, out: &mut Vec<u8>) {
    let Notice { id, hostname, from, to, .. } = notice;
    let id = id.to_string().to_ascii_lowercase();
    let mut field = |name: &str, value: &str| header::fold(name, value, out);
    field("Date", &date(notice.now));
    field("From", &format!("Mail Delivery System <postmaster@{from}>"));
    field("To", &format!("<{to}>"));
    field("Subject", "Undelivered mail: your message did not reach everybody");
    field("Message-ID", &format!("<{id}@{hostname}>"));
    if let Some(original) = message_id(notice.original) {
        field("In-Reply-To", &original);
        field("References", &original);
    }
    // RFC 3834 §5: nobody's program is to answer this.
    field("Auto-Submitted", "auto-replied");
    field("MIME-Version", "1.0");
    let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    field("Content-Type", &kind);
    out.extend_from_slice(b"\r\n");
}

/// The Message-ID of the message, if it is one that can be repeated.
fn message_id(original: &[u8]) -> Option<String> {
    const LONGEST: usize = 900;
    let value = header::find(original, "Message-ID")?.value().into_owned();
    let fits = value.starts_with(b"<") && value.ends_with(b">") && value.len() <= LONGEST;
    let plain = value.iter().all(u8::is_ascii_graphic);
    String::from_utf8(value).ok().filter(|_| fits && plain)
}

fn part(boundary: &str, kind: &str, what: Option<&str>, content: &[u8], out: &mut Vec<u8>) {
    let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
    out.extend_from_slice(format!("--{boundary}\r\nContent-Type: {kind}\r\n").as_bytes());
    if let Some(what) = what {
        out.extend_from_slice(format!("Content-Description: {what}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n\r\n").as_bytes());
    out.extend_from_slice(content);
    if !content.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// The fields of RFC 3464 §2: a group for the message, then one for each recipient.
fn status(notice: &Notice<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    header::fold("Reporting-MTA", &format!("dns; {}", notice.hostname), &mut out);
    if let Some(envid) = notice.envid {
        header::fold("Original-Envelope-Id", &printable(envid), &mut out);
    }
    header::fold("Arrival-Date", &date(notice.received_at), &mut out);
    for failure in notice.failures {
        out.extend_from_slice(b"\r\n");
        recipient(failure, notice.now, &mut out);
    }
    out
}

fn recipient(failure: &Failure<'_>, now: Timestamp, out: &mut Vec<u8>) {
    let Failure { recipient, finding, .. } = failure;
    if let Some(orcpt) = failure.orcpt {
        let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
        header::fold("Original-Recipient", &format!("{kind}; {}", address.trim()), out);
    }
    let kind = if recipient.needs_smtputf8() { "utf-8" } else { "rfc822" };
    header::fold("Final-Recipient", &format!("{kind}; {recipient}"), out);
    header::fold("Action", "failed", out);
    header::fold("Status", &failure.status().to_string(), out);
    match &finding.speaker {
        Speaker::Host(host) => {
            header::fold("Remote-MTA", &format!("dns; {host}"), out);
            header::fold("Diagnostic-Code", &format!("smtp; {}", finding.text), out);
        }
        Speaker::Here => header::fold("Diagnostic-Code", &format!("X-Letterlock; {finding}"), out),
    }
    header::fold("Last-Attempt-Date", &date(now), out);
}

/// What goes back of the message, and its type.
fn returned(notice: &Notice<'_>) -> (&'static str, Vec<u8>) {
    let original = notice.original;
    let whole = notice.returned == Returned::Whole
        && original.len() <= MAX_WHOLE
        && !has_bare_newline(original);
    let global = header::has_eight_bit(original);
    if whole {
        let kind = if global { "message/global" } else { "message/rfc822" };
        return (kind, original.to_vec());
    }
    let fields = header::fields(original);
    let end = fields.map(|field| field.range.end).take_while(|end| *end <= MAX_HEADER).last();
    let section = lines(&original[..end.unwrap_or_default()]);
    if global && !section.is_ascii() {
        // RFC 6532 §3.2 wants UTF-8, and a header may have anything.
        return ("message/global-headers", String::from_utf8_lossy(&section).into_owned().into());
    }
    ("text/rfc822-headers", section)
}

/// The same lines, each with CRLF, without any other control character that could end one.
fn lines(section: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(section.len());
    for line in section.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | 0) { b' ' } else { *byte }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A date-time (RFC 5322 §3.3), in UTC.
fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
