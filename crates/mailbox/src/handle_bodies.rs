//! The handle's reading of messages one after another: several with one job, since handing a job over costs as much as
//! reading a small message.

use bytes::Bytes;
use rusqlite::Connection;

use crate::body::Packed;
use crate::error::MailboxError;
use crate::handle::Handle;
use crate::live::Live;
use crate::messages::body_of;
use crate::types::FolderId;

/// Messages that one job reads at most.
const AT_ONCE: usize = 64;
/// Octets of messages after which a job reads no further one.
const ENOUGH: usize = 512 * 1024;

impl Handle {
    /// The first of these messages, as many as one job reads, each as [`Handle::body`] gives it: the first element is of
    /// the first UID, and so on. At least one, unless none was asked for.
    ///
    /// # Errors
    /// What storage reports. A message that does not read back has its error in its place.
    pub async fn bodies(
        &self,
        folder: FolderId,
        uids: &[u32],
    ) -> Result<Vec<Result<Option<Bytes>, MailboxError>>, MailboxError> {
        let live = self.live()?;
        let wanted: Vec<u32> = uids.iter().take(AT_ONCE).copied().collect();
        let started = live
            .read(move |conn, _| {
                let (mut started, mut octets) = (Vec::new(), 0);
                for uid in wanted {
                    let packed = start(conn, folder, uid);
                    if let Ok(Some(packed)) = &packed {
                        octets += packed.size();
                    }
                    started.push(packed);
                    if octets >= ENOUGH {
                        break;
                    }
                }
                Ok(started)
            })
            .await?;
        let mut bodies = Vec::with_capacity(started.len());
        for packed in started {
            bodies.push(match packed {
                Ok(Some(packed)) => finish(&live, packed).await,
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            });
        }
        Ok(bodies)
    }
}

/// Reads the first pieces of a message; None if there is none of that UID.
pub(crate) fn start(
    conn: &Connection,
    folder: FolderId,
    uid: u32,
) -> Result<Option<Packed>, MailboxError> {
    match body_of(conn, folder, uid)? {
        Some(id) => Packed::start(conn, id)?
            .map(Some)
            .ok_or_else(|| MailboxError::damaged("a body is missing")),
        None => Ok(None),
    }
}

/// Reads the rest and unpacks it; None if the message went meanwhile.
pub(crate) async fn finish(live: &Live, packed: Packed) -> Result<Option<Bytes>, MailboxError> {
    match packed.complete(&live.db).await? {
        Some(packed) => Ok(Some(packed.unpack().await?)),
        None => Ok(None),
    }
}
