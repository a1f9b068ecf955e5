//! A trace in plain words.

use std::fmt::Write;

use crate::event::{Check, Decision, DsnKind, Event, Text};
use crate::privacy::Shown;

impl Event {
    /// What was decided, and why, as one sentence for people.
    pub fn explain(&self) -> String {
        match self {
            Self::Received { .. } => self.received(),
            Self::Verified { spf, dkim, dmarc, arc, outcome } => {
                verified([("SPF", spf), ("DKIM", dkim), ("DMARC", dmarc), ("ARC", arc)], outcome)
            }
            Self::Recipient { address, decision } => format!("{address}: {}", decision.explain()),
            Self::Refused { code, status, reason } => {
                format!("refused with {code} {status}: {reason}")
            }
            Self::Duplicate => {
                "the same message again, after a reply that the client did not read: answered 250, \
                                filed nothing"
                    .to_owned()
            }
            Self::Accepted { recipients } => {
                format!("accepted for {}, durably stored", counted(*recipients, "recipient"))
            }
            Self::Filed { address } => format!("filed for {address}"),
            Self::Parked { address } => {
                format!("kept sealed for {address}, whose mailbox is locked, until its owner comes")
            }
            Self::Unlocked { address } => {
                format!("the owner of {address} unlocked the mailbox: filed")
            }
            Self::HadBefore { address } => {
                format!("{address} had it already (Delivered-To): this copy is dropped")
            }
            Self::Forwarded { address, to, srs, arc } => forwarded(address, to, *srs, *arc),
            _ => self.outbound(),
        }
    }

    fn outbound(&self) -> String {
        match self {
            Self::Attempt { hop, number, recipients } => {
                format!("try {number} to {hop}, for {}", counted(*recipients, "recipient"))
            }
            Self::Host { host, address, policy, tls, reason } => {
                let at = address.map(|ip| format!(" [{ip}]")).unwrap_or_default();
                let tls = tls.as_deref().unwrap_or("no TLS");
                format!("{host}{at}: {tls}; decided by {}: {reason}", policy.as_str())
            }
            Self::Reply { host, recipient: Some(recipient), text } => {
                format!("{host} said about {recipient}: {text}")
            }
            Self::Reply { host, recipient: None, text } => format!("{host} said: {text}"),
            Self::Deferred { recipient, status, reason, next } => {
                let next = next.map(|at| format!("; next try at {at}")).unwrap_or_default();
                format!("not yet delivered to {recipient}: {status} {reason}{next}")
            }
            Self::Delivered { recipient, host } => {
                format!("delivered to {recipient}: {host} has it")
            }
            Self::Failed { recipient, status, reason } => {
                format!("given up for {recipient}: {status} {reason}")
            }
            Self::DsnSent { kind, id } => {
                format!("told the sender that {}: report {id}", kind.words())
            }
            Self::Held { reason } => {
                format!("held in the queue until an operator releases it: {reason}")
            }
            Self::Released => "released by an operator".to_owned(),
            Self::Cancelled => "taken out of the queue by an operator".to_owned(),
            Self::Suppressed { recipient, reason } => {
                format!("not sent to {recipient}, which is known not to take mail: {reason}")
            }
            Self::Bounced { recipient, reporter, status, reason } => {
                format!(
                    "a report of {reporter} came back: nobody is at {recipient}: {status} {reason}"
                )
            }
            // The others are told by `explain`.
            _ => String::new(),
        }
    }

    fn received(&self) -> String {
        let Self::Received { listener, client, hello, tls, account, reverse_path, size } = self
        else {
            return String::new();
        };
        let mut text = format!("received on {listener}");
        if let Some(client) = client {
            let _ = write!(text, " from {client}");
        }
        if let Some(hello) = hello {
            let _ = write!(text, " ({hello})");
        }
        let _ = match account {
            Some(account) => write!(text, ", logged in as {account}"),
            None => Ok(()),
        };
        let _ = write!(text, ", {}", tls.as_deref().unwrap_or("without TLS"));
        let _ = write!(text, "; sender {}; {}", sender(reverse_path), counted(*size, "octet"));
        text
    }
}

fn sender(path: &Shown<Text>) -> String {
    match path.clear().map(AsRef::as_ref) {
        Some("") => "<> (a report)".to_owned(),
        _ => path.to_string(),
    }
}

fn counted(count: impl Into<u64>, thing: &str) -> String {
    match count.into() {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

fn verified(checks: [(&str, &Option<Check>); 4], outcome: &str) -> String {
    let mut text = String::new();
    for (name, check) in checks {
        let Some(Check { result, domain, reason }) = check else { continue };
        if !text.is_empty() {
            text.push_str("; ");
        }
        let _ = write!(text, "{name} {result} for {domain}");
        if !reason.is_empty() {
            let _ = write!(text, " ({reason})");
        }
    }
    if text.is_empty() {
        text.push_str("nothing was verified");
    }
    let _ = write!(text, ": {outcome}");
    text
}

fn forwarded(address: &str, to: &str, srs: bool, arc: bool) -> String {
    let mut text = format!("{address} forwards to {to}");
    text.push_str(match srs {
        true => ", with a return address of ours (SRS)",
        false => ", with the sender's own return address",
    });
    if arc {
        text.push_str(", sealed with ARC");
    }
    text
}

impl Decision {
    fn explain(&self) -> String {
        match self {
            Self::Local => "an account here".to_owned(),
            Self::Alias { addresses } => {
                let plural = if *addresses == 1 { "address" } else { "addresses" };
                format!("an alias for {addresses} {plural}")
            }
            Self::Forward { to } => format!("forwards to {to}"),
            Self::CatchAll => "nobody of that name; the domain's catch-all takes it".to_owned(),
            Self::Role => "a role address, for the domain's contact".to_owned(),
            Self::Remote => "an address elsewhere".to_owned(),
            Self::Discarded { reason } => format!("accepted and thrown away: {reason}"),
            Self::OverQuota => "refused for now: the mailbox is full".to_owned(),
            Self::Disabled => "refused: the account is switched off".to_owned(),
            Self::Unknown => "refused: nobody of that name".to_owned(),
            Self::RelayDenied => {
                "refused: not an address here, and the client may not send elsewhere".to_owned()
            }
        }
    }
}

impl DsnKind {
    fn words(self) -> &'static str {
        match self {
            Self::Failed => "it could not be delivered",
            Self::Delayed => "it is delayed",
            Self::Delivered => "it was delivered",
            Self::Relayed => "a server took it over that gives no receipts",
            Self::Expanded => "it went on to several addresses",
        }
    }
}
