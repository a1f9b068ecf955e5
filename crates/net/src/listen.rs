//! Listeners, and the loop that serves one.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::error::NetError;
use crate::proxy::{HeaderReader, ProxyHeader, ProxyProgress};
use crate::shutdown::{Shutdown, Tracked};
use crate::stream::{Stream, canonical};

/// Connections that the system holds ready until we take them.
const BACKLOG: i32 = 1024;

/// Opens a listener for each address. `[::]` takes IPv4 too, unless an IPv4 address stands beside it with the same
/// port; on a machine without IPv6 it becomes `0.0.0.0`. Must be called within a tokio runtime.
///
/// # Errors
/// An address cannot be listened on; those opened before are closed again.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, NetError> {
    addresses.iter().map(|address| bind_one(*address, addresses)).collect()
}

fn bind_one(address: SocketAddr, all: &[SocketAddr]) -> Result<TcpListener, NetError> {
    let anywhere = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let beside = all
        .iter()
        .any(|other| other.is_ipv4() && other.port() == address.port() && address.port() != 0);
    let both = anywhere && !beside;
    let opened = open(address, !both).or_else(|error| {
        // Only what IPv6 itself may be the cause of: a port in use or forbidden stays an error.
        let other =
            [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied].contains(&error.kind());
        if !both || other {
            return Err(error);
        }
        let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        // If that fails too, the first error is the telling one.
        let socket = open(fallback, false).map_err(|_| error)?;
        tracing::warn!(%address, instead = %fallback, "no IPv6 on this machine");
        Ok(socket)
    });
    opened.map_err(|source| NetError::Bind { address, source })
}

fn open(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until the last connections of the old process are forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Who may connect. Asked right after a connection is accepted, before any TLS; must answer at once.
pub trait Admission: Send + Sync {
    /// Admits a connection, or refuses it. `listener` is the name that was given to [`accept_loop`].
    ///
    /// # Errors
    /// The connection is closed, after the farewell if there is one.
    fn admit(&self, peer: IpAddr, listener: &'static str) -> Result<Permit, Refused>;
}

/// What an admission gave out for a connection; dropped when the connection's handler has ended.
pub type Permit = Box<dyn Any + Send>;

/// A refusal, and what is said to the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// Sent in the clear before closing: a whole line of the protocol. `None` where TLS begins at once.
    pub farewell: Option<Cow<'static, str>>,
}

/// The load balancers in front of a listener, which speak the PROXY protocol.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// Where they are. Whoever connects from there must send the header; nobody else is asked for one.
    pub networks: Vec<IpNet>,
    /// Patience with the header.
    pub patience: Duration,
}

impl TrustedProxies {
    fn contain(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Reads the header from a connection that has just been accepted: the client's address.
    async fn client(
        &self,
        socket: &mut TcpStream,
        own: SocketAddr,
    ) -> Result<SocketAddr, NetError> {
        let header = timeout(self.patience, read_header(socket));
        Ok(match header.await.map_err(|_| NetError::Timeout("PROXY header"))?? {
            ProxyHeader::Client(address) => address,
            ProxyHeader::Own => own,
        })
    }
}

/// Reads octet for octet what the header needs, and nothing of what is behind it.
async fn read_header(socket: &mut TcpStream) -> Result<ProxyHeader, NetError> {
    let (mut reader, mut piece) = (HeaderReader::new(), vec![0; HeaderReader::FIRST]);
    loop {
        socket.read_exact(&mut piece).await?;
        match reader.feed(&piece)? {
            ProxyProgress::Needs(more) => piece.resize(more, 0),
            ProxyProgress::Done(header) => return Ok(header),
        }
    }
}

/// Serves a listener that has no load balancer in front of it; see [`accept_loop_behind`].
pub async fn accept_loop<H, F>(
    listener: TcpListener,
    name: &'static str,
    admission: Arc<dyn Admission>,
    shutdown: Shutdown,
    handler: H,
) where
    H: Fn(Stream, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let nobody = Arc::new(TrustedProxies::default());
    accept_loop_behind(nobody, listener, name, admission, shutdown, handler).await;
}

/// Serves a listener until the server drains: each admitted connection goes to `handler`, as a task of its own that
/// `shutdown` waits for, or cuts off. `name` is for the admission and the log.
///
/// A connection from one of the `proxies` is admitted, and handled, under the address that its PROXY header tells; if
/// the header is missing, malformed or late, the connection is closed.
///
/// No error ends it. When the system has no descriptors or memory left, it waits and tries again.
pub async fn accept_loop_behind<H, F>(
    proxies: Arc<TrustedProxies>,
    listener: TcpListener,
    name: &'static str,
    admission: Arc<dyn Admission>,
    shutdown: Shutdown,
    handler: H,
) where
    H: Fn(Stream, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let _tracked = shutdown.track();
    let mut pause = Pause::default();
    let mut draining = std::pin::pin!(shutdown.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // It came while this task was looking: whoever knows of the draining is not let in.
            Ok(_) if shutdown.is_draining() => return,
            Ok((socket, peer)) => {
                pause = Pause::default();
                let peer = canonical(peer);
                if proxies.contain(peer.ip()) {
                    let (admission, shutdown) = (admission.clone(), shutdown.clone());
                    let tracked = shutdown.track();
                    let arrival = Arrival { name, admission, shutdown, tracked };
                    let (proxies, handler) = (proxies.clone(), handler.clone());
                    tokio::spawn(arrival.by_proxy(proxies, socket, peer, handler));
                } else {
                    match admission.admit(peer.ip(), name) {
                        Ok(permit) => {
                            let work = handler(Stream::plain(socket), peer);
                            tokio::spawn(attended(
                                work,
                                permit,
                                shutdown.clone(),
                                shutdown.track(),
                            ));
                        }
                        Err(refused) => refuse(&socket, &refused),
                    }
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let length = pause.next();
                tracing::warn!(listener = name, %error, wait_ms = length.as_millis(), "cannot accept connections");
                tokio::select! {
                    () = &mut draining => return,
                    () = tokio::time::sleep(length) => {}
                }
            }
        }
    }
}

/// Runs a connection's handler to its end or until it is cut off.
async fn attended<F: Future<Output = ()>>(
    work: F,
    permit: Permit,
    shutdown: Shutdown,
    tracked: Tracked,
) {
    tokio::select! {
        () = work => {}
        () = shutdown.cut_off() => {}
    }
    drop((permit, tracked));
}

/// A connection of a load balancer on its way to being admitted.
struct Arrival {
    name: &'static str,
    admission: Arc<dyn Admission>,
    shutdown: Shutdown,
    tracked: Tracked,
}

impl Arrival {
    async fn by_proxy<H, F>(
        self,
        proxies: Arc<TrustedProxies>,
        mut socket: TcpStream,
        peer: SocketAddr,
        handler: H,
    ) where
        H: Fn(Stream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let Arrival { name, admission, shutdown, tracked } = self;
        let read = tokio::select! {
            biased;
            () = shutdown.draining() => return,
            read = proxies.client(&mut socket, peer) => read,
        };
        let client = match read {
            Ok(client) => client,
            Err(error) => {
                return tracing::warn!(listener = name, proxy = %peer.ip(), %error, "no client behind a load balancer");
            }
        };
        match admission.admit(client.ip(), name) {
            Ok(permit) => {
                let work = handler(Stream::plain(socket), client);
                attended(work, permit, shutdown, tracked).await;
            }
            Err(refused) => refuse(&socket, &refused),
        }
    }
}

/// Says farewell. The buffer of a new socket has room for a line, so that nobody has to wait.
fn refuse(socket: &TcpStream, refused: &Refused) {
    if let Some(farewell) = &refused.farewell {
        let _ = SockRef::from(socket).send(farewell.as_bytes());
    }
}

/// Whether the error is about a connection that went away before we took it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Growing pauses after errors.
#[derive(Debug, Default)]
struct Pause {
    errors: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        const FIRST: Duration = Duration::from_millis(10);
        const MOST: Duration = Duration::from_secs(1);
        let length = FIRST.saturating_mul(1 << self.errors.min(10)).min(MOST);
        self.errors = self.errors.saturating_add(1);
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second() {
        let mut pause = Pause::default();
        let lengths: Vec<u128> = (0..9).map(|_| pause.next().as_millis()).collect();
        assert_eq!(lengths, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        pause.errors = u32::MAX;
        assert_eq!(pause.next(), Duration::from_secs(1));
    }
}
