//! What reports of other servers teach: addresses that took a message first and turned out to be nobody's.
//!
//! Such an address is remembered as one that refuses mail is ([`State::suppress`]): reports and copies that are passed
//! on are not sent there for a while; what people write is tried all the same.
//!
//! A report proves nothing by itself. It counts if it came from the null reverse-path, was not disowned by its author's
//! domain, and returns the header of a message that this server sent: our id stands in the Received field that we put
//! on it (or in a Message-ID of our making), the trace of that id says that the message went to the very recipient, and
//! it did so lately. So nobody can silence an address to whom this server has not written, and only who has seen the
//! message can claim that it bounced.
//!
//! The sender of a message knows its id too, from our reply. Of what people here sent, that is one of them. Of a copy
//! that was passed on for a stranger, a report must have come to a return address that was made here (SRS), which those
//! behind an alias have seen; a copy that went on under its sender's own path had none, and nothing is learned of it.
//! What remains is in the threat model: who has seen such an address, or a message to several, is believed.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_queue::Origin;
use letterlock_smtp_wire::dsn::{self, Action, Recipient};
use letterlock_smtp_wire::header;
use letterlock_state::{Event, State};
use letterlock_vault::DeliveryId;

use crate::arrival::SUBMISSION;
use crate::incoming::{Folder, Incoming};

/// How old a message may be that a report is about: its time in our queue, and as much again in the next one.
const RECENT: Duration = Duration::from_secs(10 * 24 * 3600);
/// Traces that are looked at for one report.
const MOST_IDS: usize = 4;
/// Longest diagnosis that is kept.
const LONGEST: usize = 300;

/// To whom elsewhere a message went, by the addresses' canonical form.
type Sent = HashMap<String, Mailbox>;

/// Learns from a message that was accepted, if it is a report. `returned` says whether it came to a return address.
pub(crate) async fn learn(state: &State, incoming: &Incoming, returned: bool, now: Timestamp) {
    let is_candidate = incoming.origin == Origin::Inbound
        && incoming.reverse_path == ReversePath::Null
        && incoming.folder == Folder::Inbox;
    if !is_candidate {
        return;
    }
    let Some(report) = dsn::parse(&incoming.body) else { return };
    let gone: Vec<&Recipient> = report
        .recipients
        .iter()
        .filter(|told| told.action == Action::Failed && told.status.is_gone())
        .collect();
    if gone.is_empty() {
        return;
    }
    let reporter = report.reporter.as_deref().unwrap_or("a server without a name");
    for id in ids(&report.original, now) {
        let mut sent = match state.trace(id).await {
            Ok(events) => sent_to(&events, returned),
            Err(error) => return tracing::warn!(%error, "a report is not compared with its trace"),
        };
        for told in &gone {
            if let Some(address) = known(told, &mut sent) {
                remember(state, id, &address, told, reporter, now).await;
            }
        }
    }
}

/// The ids of ours that stand in a returned header: what our Received fields say, and Message-IDs that we made.
fn ids(original: &[u8], now: Timestamp) -> Vec<DeliveryId> {
    let mut found: Vec<DeliveryId> = Vec::new();
    for field in header::fields(original) {
        let value = field.value();
        let text = String::from_utf8_lossy(&value);
        let id = if field.is("Received") {
            let mut words = text.split_ascii_whitespace();
            words.find(|word| word.eq_ignore_ascii_case("id")).and_then(|_| words.next())
        } else if field.is("Message-ID") {
            text.trim_start_matches('<').split('@').next()
        } else {
            None
        };
        let id = id.and_then(|id| id.trim_end_matches(';').parse().ok());
        if let Some(id) = id.filter(|id| is_recent(*id, now) && !found.contains(id)) {
            found.push(id);
        }
        if found.len() == MOST_IDS {
            break;
        }
    }
    found
}

fn is_recent(id: DeliveryId, now: Timestamp) -> bool {
    let now = u64::try_from(now.as_millisecond()).unwrap_or_default();
    let age = now.checked_sub(id.timestamp_ms());
    age.is_some_and(|age| u128::from(age) < RECENT.as_millis())
}

/// What a trace says of it, as far as a report may be about that.
fn sent_to(events: &[(Timestamp, Event)], returned: bool) -> Sent {
    let submitted = events.iter().any(
        |(_, event)| matches!(event, Event::Received { listener, .. } if listener == SUBMISSION),
    );
    let addresses = events.iter().filter_map(|(_, event)| match event {
        Event::Delivered { recipient, .. } if submitted => Some(recipient),
        // The copy that was passed on has an id of its own, and the header that comes back may name only this one.
        Event::Forwarded { to, srs, .. } if submitted || (*srs && returned) => Some(to),
        _ => None,
    });
    let parsed = addresses.filter_map(|address| address.parse::<Mailbox>().ok());
    parsed.map(|address| (address.canonical(), address)).collect()
}

/// The recipient of ours that a report is about, taken out: it counts once. Where an alias there leads on, it may name
/// only whom it led to: then the original recipient counts if that is at the same domain. Somebody elsewhere says
/// nothing about the alias.
fn known(told: &Recipient, sent: &mut Sent) -> Option<Mailbox> {
    let last = told.final_recipient.as_ref().or(told.actual_recipient.as_ref())?;
    sent.remove(&last.canonical()).or_else(|| {
        let original = told.original_recipient.as_ref()?;
        if original.domain == last.domain { sent.remove(&original.canonical()) } else { None }
    })
}

async fn remember(
    state: &State,
    id: DeliveryId,
    address: &Mailbox,
    told: &Recipient,
    reporter: &str,
    now: Timestamp,
) {
    let printable =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(LONGEST).collect() };
    let (status, reporter) = (told.status.to_string(), printable(reporter));
    let reason = printable(told.diagnostic.as_deref().unwrap_or("without a reason"));
    let known = format!("reported by {reporter}: {status} {reason}");
    if let Err(error) = state.suppress(address, known, now).await {
        return tracing::warn!(delivery = %id, %error, "an address that is gone is not remembered");
    }
    tracing::info!(delivery = %id, to = %address, code = %status, "a report says that there is nobody");
    let event = Event::Bounced {
        recipient: address.to_string().into(),
        reporter: reporter.into(),
        status: status.into(),
        reason: reason.into(),
    };
    state.record(id, now, event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_received_fields_and_message_ids() {
        let (one, two, three) =
            (DeliveryId::generate(), DeliveryId::generate(), DeliveryId::generate());
        let original = format!(
            "Received: from x (id 5)\r\n\tby mx.a.test with ESMTPS id {one}\r\n\tfor <b@far.test>; now\r\n\
             Received: from y by z id {two};\r\n\tnow\r\nReceived: by q with id 7\r\nSubject: id {three}\r\n\
             Message-ID: <{three}@a.test>\r\nMessage-ID: <x@a.test>\r\n"
        );
        assert_eq!(ids(original.as_bytes(), Timestamp::now()), [one, two, three]);
        let later = Timestamp::now() + RECENT;
        assert!(ids(original.as_bytes(), later).is_empty(), "too old");
        let before = Timestamp::now() - Duration::from_secs(60);
        assert!(ids(original.as_bytes(), before).is_empty(), "not made yet");
    }

    #[test]
    fn a_report_is_about_whom_the_message_went_to() {
        let mailbox = |text: &str| Some(text.parse::<Mailbox>().unwrap());
        let sent: Sent =
            ["bob@far.test", "list@far.test"].map(|to| (to.into(), to.parse().unwrap())).into();
        let told = |last: &str, original: &str| {
            let told = Recipient {
                final_recipient: mailbox(last),
                original_recipient: mailbox(original),
                actual_recipient: None,
                action: Action::Failed,
                status: letterlock_smtp_wire::EnhancedCode::new(5, 1, 1),
                diagnostic: None,
            };
            known(&told, &mut sent.clone()).map(|address| address.to_string())
        };
        assert_eq!(told("BOB@Far.TEST", "x@y.test").as_deref(), Some("bob@far.test"));
        assert_eq!(told("robert@far.test", "bob@far.test").as_deref(), Some("bob@far.test"));
        assert_eq!(
            told("robert@other.test", "bob@far.test"),
            None,
            "the alias may lead to others too"
        );
        assert_eq!(told("eve@far.test", "eve@far.test"), None);
    }
}
