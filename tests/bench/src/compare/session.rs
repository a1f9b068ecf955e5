//! One of the two servers, with the session that a step works in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::letters::letter;
use crate::imap::{Brought, Client};
use crate::stage::{Account, Stage};

/// A server, the account of this round, and a session in its INBOX.
pub(super) struct Side {
    pub(super) stage: Stage,
    /// The number of the round's account.
    pub(super) account: usize,
    client: Option<Client>,
    /// Messages in INBOX.
    pub(super) messages: u32,
    /// Octets of a message.
    pub(super) size: usize,
}

impl Side {
    pub(super) fn new(stage: Stage, size: usize) -> Self {
        Self { stage, account: 0, client: None, messages: 0, size }
    }

    pub(super) fn owner(&self) -> anyhow::Result<&Account> {
        self.stage.accounts.get(self.account).context("no such account")
    }

    /// The session; it is opened when it is first asked for.
    pub(super) async fn client(&mut self) -> anyhow::Result<&mut Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.another().await?,
        };
        Ok(self.client.insert(client))
    }

    /// Another session of the account.
    pub(super) async fn another(&self) -> anyhow::Result<Client> {
        self.stage.reader(self.owner()?).await
    }

    /// Goes on with another account, which has no messages yet.
    pub(super) fn begin(&mut self, account: usize) {
        (self.account, self.client, self.messages) = (account, None, 0);
    }

    /// Ends the session, and starts the server anew if that can be done.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.client = None;
        self.stage.restart().await?;
        self.stage.process()?.quiet().await
    }

    /// How many milliseconds a command takes, and what it brings.
    pub(super) async fn timed(&mut self, command: &str) -> anyhow::Result<(f64, Brought)> {
        let client = self.client().await?;
        let start = Instant::now();
        let brought = client.command(command).await?;
        Ok((milliseconds(start), brought))
    }

    /// Appends `count` letters over some connections, `batch` a command. Milliseconds a message.
    pub(super) async fn append(
        &mut self,
        count: u32,
        connections: u32,
        batch: u32,
    ) -> anyhow::Result<f64> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.another().await?);
        }
        let next = Arc::new(AtomicU32::new(self.messages));
        let end = self.messages + count;
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for mut client in clients {
            let (next, to, size) = (Arc::clone(&next), self.owner()?.address.clone(), self.size);
            tasks.spawn(async move {
                loop {
                    let first = next.fetch_add(batch, Ordering::Relaxed);
                    if first >= end {
                        return anyhow::Ok(());
                    }
                    let last = end.min(first + batch);
                    let mail: Vec<_> = (first..last).map(|n| letter(n, &to, size)).collect();
                    client.append_all(&mail).await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done?.context("an appending connection")?;
        }
        self.messages = end;
        Ok(milliseconds(start) / f64::from(count))
    }

    /// Selects INBOX in a new session and checks that it has what it should have.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let found = self.another().await?.messages().await?;
        if found != self.messages {
            bail!("INBOX has {found} messages, not {}", self.messages);
        }
        Ok(())
    }
}

pub(super) fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
