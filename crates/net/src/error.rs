//! What can go wrong with sockets and TLS.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of a listener, a stream or a certificate.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A file with certificates or a key cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        reason: String,
    },
    /// A certificate cannot be made, or it and its key do not fit together.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The peer took too long.
    #[error("{0} timed out")]
    Timeout(&'static str),
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// This cannot be the name of a host.
    #[error("{0:?} is no host name")]
    Name(String),
    /// TLS was asked for on a stream that has it.
    #[error("TLS is already in use")]
    AlreadyTls,
    /// A load balancer's connection does not begin as it must.
    #[error(transparent)]
    Proxy(#[from] crate::proxy::ProxyError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl NetError {
    /// The error of a handshake: the TLS library's, if there is one inside.
    pub(crate) fn handshake(error: io::Error) -> NetError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => NetError::Handshake(inner.clone()),
            None => NetError::Io(error),
        }
    }
}
