//! Telling who asked to hear that a message was filed.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_queue::{Notify, Ret};
use letterlock_vault::DeliveryId;

/// A message that was filed, and whose sender asked to be told (RFC 3461 §4.1, `NOTIFY=SUCCESS`).
#[derive(Clone, Debug)]
pub struct FiledCopy {
    /// The message.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The recipient, as in the envelope.
    pub recipient: Mailbox,
    /// The envelope's sender, who is to be told; never null.
    pub reverse_path: ReversePath,
    /// RFC 3461's ORCPT.
    pub orcpt: Option<String>,
    /// RFC 3461's RET.
    pub ret: Option<Ret>,
    /// RFC 3461's ENVID.
    pub envid: Option<String>,
    /// The message as it was accepted.
    pub message: Bytes,
}

/// Makes the reports.
pub trait Notices: Send + Sync {
    /// A message was filed. Must not wait. A crash may lose the report, and never doubles the message.
    fn filed(&self, copy: FiledCopy);
}

/// Whether there is somebody to tell.
pub(crate) fn is_wanted(notify: Notify, reverse_path: &ReversePath) -> bool {
    notify.success() && reverse_path.mailbox().is_some()
}
