//! One message into one mailbox.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_mailbox::{Delivery, Flags, InternalDate};
use letterlock_queue::{Parked, Queue};
use letterlock_vault::DeliveryId;

use crate::error::FileError;
use crate::notice::{FiledCopy, is_wanted};

/// The delivery of a message whose body is at hand.
pub(crate) fn delivery(
    id: DeliveryId,
    recipient: &Mailbox,
    reverse_path: &ReversePath,
    received_at: Timestamp,
    folder: &str,
    body: &[u8],
) -> Delivery {
    Delivery {
        id,
        recipient: recipient.canonical(),
        folder: folder.to_owned(),
        flags: Flags::default(),
        internal_date: InternalDate::utc(received_at),
        bytes: with_trace(body, reverse_path, recipient),
    }
}

/// The delivery of a parked message: opens its key, its filing and its body. With it, what to tell the sender who asked.
pub(crate) async fn parked(
    queue: &Queue,
    handle: &letterlock_mailbox::Handle,
    parked: &Parked,
) -> Result<(Delivery, Option<FiledCopy>), FileError> {
    let content = match &parked.envelope {
        Some(envelope) => Some(handle.open_envelope(envelope, parked.id)??),
        None => None,
    };
    let filing = parked.filing(content.as_ref())?;
    let body = match &content {
        Some(content) => queue.open_body(parked, content).await?,
        None => queue.server_body(parked.entry).await?,
    };
    let delivery = delivery(
        parked.id,
        &parked.recipient,
        &filing.reverse_path,
        parked.received_at,
        &filing.folder,
        &body,
    );
    let copy = is_wanted(parked.notify, &filing.reverse_path, &filing.folder).then(|| FiledCopy {
        id: parked.id,
        received_at: parked.received_at,
        recipient: parked.recipient.clone(),
        reverse_path: filing.reverse_path,
        orcpt: filing.orcpt,
        ret: filing.ret,
        envid: filing.envid,
        message: body,
    });
    Ok((delivery, copy))
}

/// Final delivery writes the envelope into the message (RFC 5321 §4.4): where bounces went,
/// and for whom it was, which is also what stops a loop through us (RFC 9228).
fn with_trace(body: &[u8], reverse_path: &ReversePath, recipient: &Mailbox) -> Bytes {
    let trace = format!("Return-Path: <{reverse_path}>\r\nDelivered-To: {recipient}\r\n");
    let mut whole = Vec::with_capacity(trace.len() + body.len());
    whole.extend_from_slice(trace.as_bytes());
    whole.extend_from_slice(body);
    Bytes::from(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_written_above_the_message() {
        let recipient: Mailbox = "Ann+news@example.test".parse().unwrap();
        let sender: ReversePath = "bob@example.org".parse().unwrap();
        let delivery = delivery(
            DeliveryId::generate(),
            &recipient,
            &sender,
            Timestamp::UNIX_EPOCH,
            "INBOX",
            b"Subject: x\r\n\r\n",
        );
        assert_eq!(
            delivery.bytes,
            &b"Return-Path: <bob@example.org>\r\nDelivered-To: Ann+news@example.test\r\nSubject: x\r\n\r\n"[..]
        );
        assert_eq!(delivery.recipient, "ann+news@example.test");
        assert!(
            with_trace(b"", &ReversePath::Null, &recipient).starts_with(b"Return-Path: <>\r\n")
        );
    }
}
