//! One server with one account, and a DNS in which nobody else exists.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Result;
use letterlock_testkit::dns::DnsServer;
use letterlock_testkit::server::{Letterlock, Setup};

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

/// The setup of a server of the binary under test, on a loopback address that nobody else uses.
///
/// Clients connect from 127.0.0.1, so that the system never gives one of them a port that a server is about to take,
/// for the first time or again.
pub(crate) fn setup() -> Setup {
    static SERVERS: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    // Lower hosts of this process's network are for the testkit's worlds.
    let host = 60 + SERVERS.fetch_add(1, Ordering::Relaxed) % 190;
    let ip = IpAddr::from([127, 1 + high % 250, low, host]);
    Setup::new(env!("CARGO_BIN_EXE_letterlock")).ip(ip)
}

/// Starts a server with domain and account; `change` may alter its setup.
pub(crate) async fn place(change: impl FnOnce(Setup) -> Setup) -> Result<Place> {
    let dns = DnsServer::start([])?;
    let server = change(setup().dns(&dns)).start().await?;
    server.add_domain("example.test").await?;
    let password = server.add_account(ANN).await?;
    Ok(Place { server, password, _dns: dns })
}
