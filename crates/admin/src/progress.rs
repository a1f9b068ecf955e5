//! How far a long request has come.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where a long request is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being worked on: a file's name or an account's address.
    pub on: String,
    /// Steps that are done.
    pub done: u64,
    /// Steps in all.
    pub of: u64,
}

/// Where a request tells how far it has come. Clones tell the same listener, which hears the newest only.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<watch::Sender<Progress>>);

impl Reporter {
    /// A reporter, and what its listener waits on.
    pub fn new() -> (Reporter, watch::Receiver<Progress>) {
        let (sender, receiver) = watch::channel(Progress::default());
        (Reporter(Arc::new(sender)), receiver)
    }

    /// One that nobody listens to.
    pub fn silent() -> Reporter {
        Reporter::new().0
    }

    pub(crate) fn tell(&self, on: &str, done: u64, of: u64) {
        self.0.send_replace(Progress { on: on.to_owned(), done, of });
    }
}
