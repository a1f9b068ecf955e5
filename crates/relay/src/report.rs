//! Tells senders what became of their messages: who is told, by whom, and under whose signature.
//!
//! A report goes to the envelope's sender, from the null reverse-path, so that nothing ever answers it. There is none
//! about a message that has itself no sender (RFC 3461 §6.2), and none about what nobody wants to hear of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_directory::Directory;
use letterlock_queue::{
    BodyType, NewEntry, NewRecipient, Notify, Origin, Queue, QueueError, RequireTls, Ret, Route,
};
use letterlock_sender_auth::sign;
use letterlock_state::{Event, State};
use letterlock_vault::DeliveryId;

use crate::dsn::{self, Action, Notice, Returned, Told};
use crate::relay::Addressing;

/// Writes to senders.
pub struct Reporter {
    pub(crate) queue: Arc<Queue>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) addressing: Arc<dyn Addressing>,
    pub(crate) state: Arc<State>,
    pub(crate) hostname: String,
    pub(crate) own: Domain,
}

/// The message that a report is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its id.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The envelope's sender.
    pub reverse_path: &'a ReversePath,
    /// RFC 3461's ENVID.
    pub envid: Option<&'a str>,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// The message itself, or its header.
    pub message: &'a [u8],
}

/// A recipient here who is to be reported.
#[derive(Clone, Debug)]
pub struct Arrived<'a> {
    /// The address of the envelope.
    pub recipient: &'a Mailbox,
    /// RFC 3461's ORCPT.
    pub orcpt: Option<&'a str>,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// Whether it stands for several others, to whom it went on ([`Notify::beyond_expansion`]), instead of a mailbox.
    pub expanded: bool,
}

/// What a report needs to know besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The age at which messages go back.
    pub(crate) expire: Duration,
    /// When that will be for this one.
    pub(crate) until: Timestamp,
    /// What the message's sender wants of transport security.
    pub(crate) require_tls: RequireTls,
}

/// A report that is ready for the queue.
pub(crate) struct Written {
    pub(crate) entry: NewEntry,
    /// What it tells of, for the trace.
    pub(crate) action: Action,
}

impl Reporter {
    /// Reports that a message was filed here, or that an alias passed it on, to a sender who asked for that
    /// (`NOTIFY=SUCCESS`). To be called when it is filed: for sealed mail the sender is known only then. Whether
    /// there was somebody to tell.
    ///
    /// # Errors
    /// As [`Queue::accept`].
    pub async fn arrived(
        &self,
        subject: &Subject<'_>,
        recipients: &[Arrived<'_>],
        now: Timestamp,
    ) -> Result<bool, QueueError> {
        let told: Vec<Told<'_>> = recipients
            .iter()
            .filter(|arrived| arrived.notify.success())
            .map(|arrived| Told {
                recipient: arrived.recipient,
                orcpt: arrived.orcpt,
                finding: None,
                action: if arrived.expanded { Action::Expanded } else { Action::Delivered },
            })
            .collect();
        let terms =
            Terms { expire: Duration::ZERO, until: now, require_tls: RequireTls::Unspecified };
        let Some(written) = self.write(subject, &told, now, terms).await else { return Ok(false) };
        self.queue.accept(written.entry).await?;
        // The message's trace does not lead to the report: that one's names whom it goes to, and who wrote sealed mail is
        // for its owner to know.
        tracing::info!(delivery = %subject.id, "the sender will hear that it arrived");
        Ok(true)
    }

    /// Notes that a report is in the queue.
    pub(crate) fn sent(&self, about: DeliveryId, id: DeliveryId, action: Action, now: Timestamp) {
        tracing::info!(delivery = %about, report = %id, kind = ?action, "the sender will hear of it");
        self.state.record(about, now, Event::DsnSent { kind: action.kind(), id });
    }

    /// A report, if there is something to tell and somebody to read it.
    pub(crate) async fn write(
        &self,
        subject: &Subject<'_>,
        told: &[Told<'_>],
        now: Timestamp,
        Terms { expire, until, require_tls }: Terms,
    ) -> Option<Written> {
        if told.is_empty() {
            return None;
        }
        // A report of a report would go round for ever (RFC 5321 §6.1).
        let ReversePath::Mailbox(to) = subject.reverse_path else {
            tracing::info!(delivery = %subject.id, about = told.len(), "nobody to tell, it has no sender");
            return None;
        };
        let ways = self.addressing.ways(to).await;
        if ways.is_empty() {
            tracing::info!(delivery = %subject.id, about = told.len(), "its sender cannot be reached");
            return None;
        }
        let from = self.postmaster_domain(to);
        let guarded = require_tls == RequireTls::Required;
        let leaves = ways.iter().any(|way| matches!(way.route, Route::Remote));
        // RFC 8689 §5: such a report must travel as its message did, or tell nothing of its header. One that goes to
        // another server tells nothing, so that it is not lost where REQUIRETLS ends.
        let redacted = (guarded && leaves).then(|| dsn::only_message_id(subject.message));
        let notice = Notice {
            id: DeliveryId::generate(),
            hostname: &self.hostname,
            from: &from,
            to,
            now,
            received_at: subject.received_at,
            expire,
            until,
            envid: subject.envid,
            original: redacted.as_deref().unwrap_or(subject.message),
            returned: match subject.ret {
                Some(Ret::Full) if !guarded => Returned::Whole,
                _ => Returned::Header,
            },
            told,
        };
        let composed = dsn::compose(&notice);
        let body = self.signed(composed.bytes, &from, now).await;
        let (recipients, body) = addressed(to, ways, body);
        let body_type = if composed.eight_bit { BodyType::EightBit } else { BodyType::SevenBit };
        let entry = NewEntry {
            id: notice.id,
            smtputf8: composed.smtputf8,
            body_type,
            // "TLS-Required: No" is about one message and not about what is said of it.
            require_tls: match guarded && redacted.is_none() {
                true => RequireTls::Required,
                false => RequireTls::Unspecified,
            },
            ..NewEntry::new(Origin::Dsn, ReversePath::Null, now, body, recipients)
        };
        Some(Written { entry, action: notice.gravest() })
    }

    /// With signatures of its domain, if that is ours. A message without one is better than none.
    pub(crate) async fn signed(&self, message: Vec<u8>, from: &Domain, now: Timestamp) -> Bytes {
        let message = Bytes::from(message);
        let Some(keys) = self.directory.snapshot().domain(from) else { return message };
        let (whole, domain) = (message.clone(), from.clone());
        // An RSA signature takes a millisecond: not on an async worker.
        let signed = tokio::task::spawn_blocking(move || {
            let mut signed = Vec::with_capacity(whole.len() + 1024);
            for key in keys.signing_keys() {
                let field = sign(&whole, &domain, &key.selector, key.private.pkcs8(), now)?;
                signed.extend_from_slice(field.as_bytes());
            }
            signed.extend_from_slice(&whole);
            Ok::<_, letterlock_sender_auth::SignError>(Bytes::from(signed))
        });
        match signed.await {
            Ok(Ok(signed)) => signed,
            Ok(Err(error)) => {
                tracing::error!(%error, "a message goes out without a signature");
                message
            }
            Err(_) => message,
        }
    }

    /// Whose postmaster writes to a sender: its own domain's if it is ours, else our first one's.
    fn postmaster_domain(&self, to: &Mailbox) -> Domain {
        let snapshot = self.directory.snapshot();
        if snapshot.is_local(&to.domain) {
            return to.domain.clone();
        }
        snapshot.primary_domain().map_or_else(|| self.own.clone(), |domain| domain.name.clone())
    }
}

/// The recipients that a report to this address has, none of whom is told of it in turn, and what they get.
fn addressed(to: &Mailbox, ways: Vec<NewRecipient>, body: Bytes) -> (Vec<NewRecipient>, Bytes) {
    // By which a loop is noticed, as on any copy that an alias passes on (RFC 9228).
    let body = match ways.iter().any(|way| way.forward.is_some()) {
        true => Bytes::from([format!("Delivered-To: {to}\r\n").as_bytes(), &body].concat()),
        false => body,
    };
    let silent = ways.into_iter().map(|way| NewRecipient { notify: Notify::Never, ..way });
    (silent.collect(), body)
}
