//! Mail as another server brings it.

use anyhow::{Result, ensure};
use letterlock_testkit::server::Letterlock;

use crate::letter::{BOB, message};

/// Delivers [`message`] as another server would, on a connection of its own.
pub(crate) async fn deliver(server: &Letterlock, to: &str, subject: &str) -> Result<()> {
    let mut client = server.smtp_client().await?;
    let reply = client.deliver(BOB, &[to], &message(subject)).await?;
    ensure!(reply.code == 250, "{subject}: {reply}");
    client.quit().await
}
