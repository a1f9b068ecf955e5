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
    /// The port to which it sends what is for `sinkN.test`, at 127.0.0.N.
    pub(crate) sink: Option<u16>,
    /// The address of the account with a number, which stands where `#` is; there are thousands.
    user: String,
    /// The password of all of them.
    password: String,
    /// The address with which the same account logs in at the least cost that the server has, if there is one: what an
    /// app password is to Letterlock. `#` and password as above.
    light: Option<String>,
    /// The first account that this load uses.
    #[serde(skip)]
    first: u32,
}

impl Peer {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    /// Goes on to accounts that no load has used since the server began: whoever was measured before has left mail.
    pub(crate) fn take_unused(&mut self, count: u32) -> anyhow::Result<()> {
        let file = self.folder.join("accounts-used");
        let used = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().with_context(|| file.display().to_string())?,
            Err(_) => 0,
        };
        self.first = used;
        std::fs::write(&file, (used + count).to_string())
            .with_context(|| file.display().to_string())
    }

    pub(crate) fn account(&self, number: u32) -> Account {
        let address = self.user.replace('#', &(self.first + number).to_string());
        Account { address, password: self.password.clone() }
    }

    /// A login of little cost to the account with a number.
    pub(crate) fn light(&self, number: u32) -> Option<Account> {
        let address = self.light.as_ref()?.replace('#', &(self.first + number).to_string());
        Some(Account { address, password: self.password.clone() })
    }
}
