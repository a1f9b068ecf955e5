//! Mail that is ready for the wire, and its sending over several connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::smtp::Client;

/// One transaction with one recipient.
pub(crate) struct Prepared {
    /// The reverse-path, and after it the parameters of MAIL.
    pub(crate) from: String,
    pub(crate) to: String,
    /// What goes over the wire after DATA: dots stuffed, with the final dot.
    pub(crate) data: Vec<u8>,
}

impl Prepared {
    pub(crate) fn new(from: &str, to: &str, data: Vec<u8>) -> Self {
        Self { from: format!("<{from}>"), to: to.to_owned(), data }
    }

    /// With a parameter of MAIL.
    pub(crate) fn with(mut self, parameter: &str) -> Self {
        self.from.push(' ');
        self.from.push_str(parameter);
        self
    }
}

/// Sends all messages, each connection taking the next one when it is done with its last. Gives the connections back,
/// and how long each transaction took, in milliseconds.
pub(crate) async fn send(
    clients: Vec<Client>,
    mail: Arc<Vec<Prepared>>,
) -> anyhow::Result<(Vec<Client>, Vec<f64>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (mail, next) = (Arc::clone(&mail), Arc::clone(&next));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while let Some(one) = mail.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                client.deliver(&one.from, &one.to, &one.data).await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok((client, times))
        });
    }
    let (mut clients, mut all) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (client, times) = done?.context("a sending connection")?;
        clients.push(client);
        all.extend(times);
    }
    Ok((clients, all))
}
