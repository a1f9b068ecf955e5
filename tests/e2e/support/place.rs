//! One server with one account, and a DNS in which nobody else exists.

use anyhow::Result;
use letterlock_testkit::dns::DnsServer;
use letterlock_testkit::server::{Letterlock, Setup};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");

/// The account of a [`Place`].
pub(crate) const ANN: &str = "ann@example.test";

/// A running server whose domain is `example.test`.
pub(crate) struct Place {
    pub(crate) server: Letterlock,
    /// Of [`ANN`], who has not logged in yet.
    pub(crate) password: String,
    /// Says of every name but the server's own that it does not exist.
    _dns: DnsServer,
}

/// Starts a server with domain and account; `change` may alter its setup.
pub(crate) async fn place(change: impl FnOnce(Setup) -> Setup) -> Result<Place> {
    let dns = DnsServer::start([])?;
    let server = change(Setup::new(BINARY).dns(&dns)).start().await?;
    server.add_domain("example.test").await?;
    let password = server.add_account(ANN).await?;
    Ok(Place { server, password, _dns: dns })
}
