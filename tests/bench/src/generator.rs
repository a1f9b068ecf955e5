//! Postfix's `smtp-source` in place of our own connections, so that a figure does not hang on one load program.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tokio::process::Command;

use crate::messages::{HOST, SENDER};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The load program itself: signed mail, commands pipelined.
    Own,
    /// Postfix's, which waits for each reply and sends lines that are all alike, unsigned.
    SmtpSource,
}

/// Has `smtp-source` send so many messages over so many connections, to the recipients in turn. It knows one recipient,
/// so there is a process for each of them, but no more than there are connections.
pub(crate) async fn smtp_source(
    to: SocketAddr,
    recipients: &[String],
    (connections, messages, size): (usize, u32, u32),
) -> anyhow::Result<()> {
    let processes = recipients.len().min(connections).max(1);
    let mut children = Vec::new();
    for (place, recipient) in recipients.iter().take(processes).enumerate() {
        let share = |all: usize| all / processes + usize::from(place < all % processes);
        let child = Command::new("smtp-source")
            .args(["-d", "-s", &share(connections).to_string()])
            .args(["-m", &share(messages as usize).to_string(), "-l", &size.to_string()])
            .args(["-M", HOST, "-f", SENDER, "-t", recipient, &to.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("smtp-source, of Postfix")?;
        children.push(child);
    }
    for child in children {
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "smtp-source: {}: {said}", output.status);
    }
    Ok(())
}
