//! Another mail server that runs already, to be measured by the same load.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::stage::Account;

/// What its start script wrote about it, as JSON.
#[derive(Deserialize)]
pub(crate) struct Peer {
    /// The name in its certificate.
    pub(crate) name: String,
    /// The process that its others descend from.
    pub(crate) pid: u32,
    /// Further such processes, for a server of several programs.
    pub(crate) others: Vec<u32>,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// IMAP over TLS.
    pub(crate) imaps: SocketAddr,
    /// Mail from other servers, if it takes any.
    pub(crate) smtp: Option<SocketAddr>,
    /// The address of the account with a number, which stands where `#` is; there are as many as a load asks for.
    user: String,
    /// The password of all of them.
    password: String,
}

impl Peer {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    pub(crate) fn account(&self, number: u32) -> Account {
        let address = self.user.replace('#', &number.to_string());
        Account { address, password: self.password.clone() }
    }
}
