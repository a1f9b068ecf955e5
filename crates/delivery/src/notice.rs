//! Telling who asked to hear that a message was filed.

use std::pin::Pin;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_queue::{Notify, Ret};
use letterlock_vault::DeliveryId;

use crate::incoming::Folder;

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

/// What [`Notices`] does.
pub type Telling<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Makes the reports.
pub trait Notices: Send + Sync {
    /// A message was filed. Who filed it waits for the report to be made, so that reports never pile up in memory. A
    /// crash may lose one, and never doubles the message.
    fn filed(&self, copy: FiledCopy) -> Telling<'_>;
}

/// Whether there is somebody to tell. Not where the author's domain has disowned the message: its sender is forged as
/// well, and whoever it names has not asked for anything.
pub(crate) fn is_wanted(notify: Notify, reverse_path: &ReversePath, folder: &str) -> bool {
    notify.success() && reverse_path.mailbox().is_some() && folder != Folder::Junk.name()
}
