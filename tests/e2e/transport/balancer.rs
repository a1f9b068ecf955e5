//! A load balancer in front of HTTPS, which says who its clients are (PROXY protocol).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use letterlock_net::Stream;
use letterlock_testkit::ca::TestCa;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::SOON;

/// Works until it is dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behind: SocketAddr,
    header: AtomicBool,
    connections: AtomicUsize,
}

impl Balancer {
    /// Takes connections at `address` and hands them on to `behind`.
    pub(crate) async fn start(address: SocketAddr, behind: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (header, connections) = (AtomicBool::new(true), AtomicUsize::new(0));
        let shared = Arc::new(Shared { behind, header, connections });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                let shared = serving.clone();
                // What becomes of a connection is its two ends' affair.
                tokio::spawn(async move { shared.carry(client, from).await.ok() });
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Says from now on who its clients are, or does not.
    pub(crate) fn says_who(&self, says: bool) {
        self.shared.header.store(says, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The policy of `two.test`, as another server fetches it.
    pub(crate) async fn fetch(&self, ca: &TestCa) -> Result<String> {
        let stream = Stream::plain(TcpStream::connect(self.address).await?);
        let name = "mta-sts.two.test";
        let mut secured = stream.start_tls_client(ca.client_config()?, name, SOON).await?;
        let request = format!("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {name}\r\n\r\n");
        secured.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, secured.read_to_end(&mut answer)).await.context("no end")??;
        Ok(String::from_utf8(answer)?)
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream, from: SocketAddr) -> Result<()> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut server = TcpStream::connect(self.behind).await?;
        if self.header.load(Ordering::Relaxed) {
            let to = self.behind;
            let header =
                format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            server.write_all(header.as_bytes()).await?;
        }
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
