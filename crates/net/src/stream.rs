//! A connection, plain or TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::binding::{self, ChannelBindings};
use crate::error::NetError;
use crate::tls::{Audience, Tls};

/// Silence after which the system asks whether the peer is still there, so that connections whose peer vanished do not
/// pile up. Well below the half hour after which many routers forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(300);

/// Time that an orderly end may take.
const CLOSING: Duration = Duration::from_secs(2);

/// A connection. The same type before and after STARTTLS.
#[derive(Debug)]
pub struct Stream {
    inner: Inner,
    /// Of the certificate that the server showed.
    end_point: Option<Arc<[u8]>>,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    /// Boxed: the state of TLS is more than a kilobyte.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens a connection.
///
/// # Errors
/// The peer does not answer within `limit`, or refuses.
pub async fn connect(address: SocketAddr, limit: Duration) -> Result<Stream, NetError> {
    let socket = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| NetError::Timeout("connecting"))??;
    Ok(Stream::plain(socket))
}

impl Stream {
    /// A connection without TLS. Small writes are sent at once, and the system watches over silent peers.
    pub fn plain(socket: TcpStream) -> Stream {
        // Neither matters enough to give the connection up, and both fail only if the peer is gone already.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        Stream { inner: Inner::Plain(socket), end_point: None }
    }

    /// Server side: TLS from the first octet.
    ///
    /// # Errors
    /// See [`Stream::start_tls`].
    pub async fn accept_tls(
        socket: TcpStream,
        tls: &Tls,
        audience: Audience,
        limit: Duration,
    ) -> Result<Stream, NetError> {
        Stream::plain(socket).start_tls(tls, audience, limit).await
    }

    /// Server side: the handshake, after the answer to STARTTLS was sent.
    ///
    /// Nothing that was read before reaches the stream that is returned. What the caller still has in its own buffer was
    /// sent in the clear, perhaps by somebody in between: it must be thrown away (RFC 3207 §4.2, RFC 9051 §6.2.1).
    ///
    /// # Errors
    /// The stream has TLS already, the handshake fails, or it takes longer than `limit`.
    pub async fn start_tls(
        self,
        tls: &Tls,
        audience: Audience,
        limit: Duration,
    ) -> Result<Stream, NetError> {
        let Inner::Plain(socket) = self.inner else {
            return Err(NetError::AlreadyTls);
        };
        let (config, end_point) = tls.config_and_end_point(audience);
        let handshake = TlsAcceptor::from(config).accept(socket);
        let done =
            timeout(limit, handshake).await.map_err(|_| NetError::Timeout("TLS handshake"))?;
        let stream = done.map_err(NetError::handshake)?;
        Ok(Stream { inner: Inner::Tls(Box::new(TlsStream::Server(stream))), end_point })
    }

    /// Client side: the handshake, after the server agreed to STARTTLS or at once. `name` is the server's host name or
    /// address.
    ///
    /// # Errors
    /// The stream has TLS already, `name` is no name, the handshake fails (`config` decides which certificates do), or it
    /// takes longer than `limit`.
    pub async fn start_tls_client(
        self,
        config: Arc<ClientConfig>,
        name: &str,
        limit: Duration,
    ) -> Result<Stream, NetError> {
        let Inner::Plain(socket) = self.inner else {
            return Err(NetError::AlreadyTls);
        };
        let server =
            ServerName::try_from(name.to_owned()).map_err(|_| NetError::Name(name.to_owned()))?;
        let handshake = TlsConnector::from(config).connect(server, socket);
        let done =
            timeout(limit, handshake).await.map_err(|_| NetError::Timeout("TLS handshake"))?;
        let stream = done.map_err(NetError::handshake)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let end_point = certificate.and_then(|certificate| binding::end_point(certificate));
        Ok(Stream { inner: Inner::Tls(Box::new(TlsStream::Client(stream))), end_point })
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }

    /// Version, cipher suite and key exchange of TLS, such as `TLS1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768`.
    pub fn tls_description(&self) -> Option<String> {
        let Inner::Tls(stream) = &self.inner else {
            return None;
        };
        let (_, state) = stream.get_ref();
        let version = state.protocol_version()?.as_str()?.replace("TLSv", "TLS").replace('_', ".");
        // The library marks the suites of TLS 1.3 by a prefix of its own; IANA's names have "TLS_".
        let suite = state.negotiated_cipher_suite()?.suite().as_str()?.replace("TLS13_", "TLS_");
        let group =
            state.negotiated_key_exchange_group().map(|group| format!(" {:?}", group.name()));
        Some(format!("{version} {suite}{}", group.unwrap_or_default()))
    }

    /// What a login over this connection may be bound to; nothing without TLS.
    pub fn channel_bindings(&self) -> ChannelBindings {
        let Inner::Tls(stream) = &self.inner else { return ChannelBindings::default() };
        let (_, state) = stream.get_ref();
        let fresh = state.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let export = || {
            let out = [0; 32];
            let exported = match &**stream {
                TlsStream::Client(stream) => {
                    stream.get_ref().1.export_keying_material(out, binding::EXPORTER, None)
                }
                TlsStream::Server(stream) => {
                    stream.get_ref().1.export_keying_material(out, binding::EXPORTER, None)
                }
            };
            exported.ok()
        };
        let exporter = fresh.then(export).flatten();
        ChannelBindings { exporter, end_point: self.end_point.clone() }
    }

    /// The peer's certificate in DER, client side.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match &self.inner {
            Inner::Tls(stream) => {
                stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
            }
            Inner::Plain(_) => None,
        }
    }

    /// The peer's address; IPv4 as IPv4, also over a listener for both.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr().map(canonical)
    }

    /// Our end's address; IPv4 as IPv4.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr().map(canonical)
    }

    fn socket(&self) -> &TcpStream {
        match &self.inner {
            Inner::Plain(socket) => socket,
            Inner::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Ends the connection in order: sends what is buffered and, with TLS, close_notify, then reads on for a moment.
    ///
    /// Without the last step, data of the peer that nobody read would make the system reset the connection, and the peer
    /// might never see the final reply. Takes two seconds at most.
    pub async fn close(mut self) {
        const READ_ON: u64 = 1 << 20;
        let _ = timeout(CLOSING, async {
            self.shutdown().await?;
            tokio::io::copy(&mut (&mut self).take(READ_ON), &mut tokio::io::sink()).await
        })
        .await;
    }
}

/// The address without the mapping of IPv4 into IPv6 that a listener for both shows.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Inner::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(socket) => socket.is_write_vectored(),
            Inner::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
