//! Delivery status notifications: `multipart/report` (RFC 6522) with the fields of RFC 3464, in words first. One report
//! tells of all recipients of a message whose fate became known together: failed, delayed, delivered, relayed, expanded.
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
use letterlock_state::DsnKind;
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
    /// When that will be, for what is delayed.
    pub until: Timestamp,
    /// RFC 3461's ENVID.
    pub envid: Option<&'a str>,
    /// The message; empty if it cannot be read.
    pub original: &'a [u8],
    /// How much of it goes back.
    pub returned: Returned,
    /// The recipients that it tells of; at least one.
    pub told: &'a [Told<'a>],
}

/// How much of a message goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Its header.
    Header,
    /// All of it, unless it is large or has broken line ends.
    Whole,
}

/// A recipient, and what became of the message for it.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The address.
    pub recipient: &'a Mailbox,
    /// RFC 3461's ORCPT, `type;address`.
    pub orcpt: Option<&'a str>,
    /// What was found last; `None` for what was done here without asking anybody.
    pub finding: Option<&'a Finding>,
    /// What it comes to.
    pub action: Action,
}

/// What became of a message for a recipient (RFC 3464 §2.3.3), the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The finding is final.
    Failed,
    /// The message is too old.
    Expired,
    /// It is tried again.
    Delayed,
    /// It went to several addresses, from which nothing more will be heard.
    Expanded,
    /// A server that reports nothing has taken it over.
    Relayed,
    /// It is in the mailbox.
    Delivered,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Failed | Self::Expired => "failed",
            Self::Delayed => "delayed",
            Self::Expanded => "expanded",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Expired)
    }

    /// As the trace calls it.
    pub(crate) fn kind(self) -> DsnKind {
        match self {
            Self::Failed | Self::Expired => DsnKind::Failed,
            Self::Delayed => DsnKind::Delayed,
            Self::Expanded => DsnKind::Expanded,
            Self::Relayed => DsnKind::Relayed,
            Self::Delivered => DsnKind::Delivered,
        }
    }
}

impl Told<'_> {
    /// The status code: the finding's, or that of an expired message (RFC 3463 §3.5), or success.
    pub fn status(&self) -> EnhancedCode {
        let found = self.finding.map(|finding| finding.status);
        match self.action {
            Action::Expired => EnhancedCode::new(4, 4, 7),
            Action::Failed | Action::Delayed => found.unwrap_or(EnhancedCode::new(5, 0, 0)),
            _ => found.filter(|status| status.class == 2).unwrap_or(EnhancedCode::new(2, 0, 0)),
        }
    }
}

impl Notice<'_> {
    /// The gravest of what it tells.
    pub(crate) fn gravest(&self) -> Action {
        self.told.iter().map(|told| told.action).min().unwrap_or(Action::Delivered)
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
    part(&boundary, kind, Some(what_came_back(notice)), &original, &mut out);
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
    field("Subject", subject(notice.gravest()));
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

fn subject(gravest: Action) -> &'static str {
    match gravest {
        Action::Failed | Action::Expired => {
            "Undelivered mail: your message did not reach everybody"
        }
        Action::Delayed => "Delayed mail: your message has not arrived yet",
        Action::Expanded | Action::Relayed => "Your message was passed on",
        Action::Delivered => "Your message was delivered",
    }
}

fn what_came_back(notice: &Notice<'_>) -> &'static str {
    if notice.gravest().is_failure() { "Undelivered message" } else { "Your message" }
}

/// The Message-ID of the message, if it is one that can be repeated.
fn message_id(original: &[u8]) -> Option<String> {
    const LONGEST: usize = 900;
    let value = header::find(original, "Message-ID")?.value().into_owned();
    let fits = value.starts_with(b"<") && value.ends_with(b">") && value.len() <= LONGEST;
    let plain = value.iter().all(u8::is_ascii_graphic);
    String::from_utf8(value).ok().filter(|_| fits && plain)
}

/// A header with nothing but the Message-ID of a message, if it has one that can be repeated.
pub(crate) fn only_message_id(original: &[u8]) -> Vec<u8> {
    message_id(original).map_or_else(Vec::new, |id| format!("Message-ID: {id}\r\n\r\n").into())
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
    for told in notice.told {
        out.extend_from_slice(b"\r\n");
        recipient(told, notice, &mut out);
    }
    out
}

fn recipient(told: &Told<'_>, notice: &Notice<'_>, out: &mut Vec<u8>) {
    let Told { recipient, finding, action, .. } = told;
    if let Some(orcpt) = told.orcpt {
        let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
        header::fold("Original-Recipient", &format!("{kind}; {}", address.trim()), out);
    }
    let kind = if recipient.needs_smtputf8() { "utf-8" } else { "rfc822" };
    header::fold("Final-Recipient", &format!("{kind}; {recipient}"), out);
    header::fold("Action", action.name(), out);
    header::fold("Status", &told.status().to_string(), out);
    if let Some(finding) = finding {
        match &finding.speaker {
            Speaker::Host(host) => {
                header::fold("Remote-MTA", &format!("dns; {host}"), out);
                header::fold("Diagnostic-Code", &format!("smtp; {}", finding.text), out);
            }
            Speaker::Here => {
                header::fold("Diagnostic-Code", &format!("X-Letterlock; {finding}"), out);
            }
        }
        header::fold("Last-Attempt-Date", &date(notice.now), out);
    }
    if *action == Action::Delayed {
        header::fold("Will-Retry-Until", &date(notice.until), out);
    }
}

/// What goes back of the message, and its type.
fn returned(notice: &Notice<'_>) -> (&'static str, Vec<u8>) {
    let original = notice.original;
    // RFC 3461 §4.3: RET is about failures; other reports return the header.
    let whole = notice.returned == Returned::Whole
        && notice.gravest().is_failure()
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
