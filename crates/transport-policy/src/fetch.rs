//! Fetches an MTA-STS policy over HTTPS (RFC 8461 §3.3).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, NetError, Stream, connect};
use letterlock_state::TlsFailure;

use crate::own::OwnPolicy;
use crate::sts::{Policy, PolicyError};

/// The longest policy that is read (RFC 8461 §3.3 suggests this bound).
const LONGEST: usize = 64 * 1024;
/// For one connection.
const CONNECTING: Duration = Duration::from_secs(10);
/// For all of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses that are tried.
const ADDRESSES: usize = 4;

/// Why there is no policy although the domain says so.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host has no address, or DNS does not answer.
    #[error("{host}: {reason}")]
    Address {
        /// The host.
        host: String,
        /// What DNS said.
        reason: String,
    },
    /// No connection, no TLS, or a certificate that is not valid for the host.
    #[error("{0}")]
    Connection(#[from] NetError),
    /// It took too long.
    #[error("it took too long")]
    Timeout,
    /// The answer is no HTTP, or ended early.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Another status than 200. Redirects are not followed.
    #[error("HTTP status {0}")]
    Status(StatusCode),
    /// Not `text/plain`.
    #[error("the content type is not text/plain")]
    ContentType,
    /// More than 64 KiB.
    #[error("it is longer than 64 KiB")]
    TooLarge,
    /// The body ended early.
    #[error("the answer ended early: {0}")]
    Body(String),
    /// The text is no policy.
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
}

impl FetchError {
    /// What TLS reports call it.
    pub(crate) fn failure(&self) -> TlsFailure {
        match self {
            Self::Policy(_) => TlsFailure::StsPolicyInvalid,
            Self::Connection(NetError::Handshake(rustls::Error::InvalidCertificate(_))) => {
                TlsFailure::StsWebpkiInvalid
            }
            _ => TlsFailure::StsPolicyFetchError,
        }
    }
}

/// Asks the hosts of policies.
#[derive(Debug)]
pub(crate) struct Fetcher {
    dns: Arc<Resolver>,
    tls: ClientTls,
    port: u16,
    /// For all of it.
    patience: Duration,
}

impl Fetcher {
    /// Asks at this port.
    pub(crate) fn new(dns: Arc<Resolver>, tls: ClientTls, port: u16) -> Self {
        Self { dns, tls, port, patience: PATIENCE }
    }

    /// The policy of a domain.
    pub(crate) async fn fetch(&self, domain: &str) -> Result<Policy, FetchError> {
        let fetched = tokio::time::timeout(self.patience, self.text(domain)).await;
        let text = fetched.map_err(|_| FetchError::Timeout)??;
        Ok(Policy::parse(&text)?)
    }

    async fn text(&self, domain: &str) -> Result<Bytes, FetchError> {
        let host = OwnPolicy::host_of(domain);
        let stream = self.connect(&host).await?;
        let authority =
            if self.port == 443 { host } else { format!("{host}:{port}", port = self.port) };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, authority)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new());
        let exchange = async {
            // The parts of the request are constants and a host name, which always fit.
            let request = request.map_err(|error| FetchError::Body(error.to_string()))?;
            read(sender.send_request(request).await?).await
        };
        // The connection has to be driven; it may end before all that it brought is read.
        let drive = async {
            let ended = connection.await;
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to the host of an MTA-STS policy");
            }
            std::future::pending().await
        };
        tokio::select! {
            text = exchange => text,
            never = drive => never,
        }
    }

    async fn connect(&self, host: &str) -> Result<Stream, FetchError> {
        let missing = |reason: String| FetchError::Address { host: host.to_owned(), reason };
        let addresses =
            self.dns.addresses(host).await.map_err(|error| missing(error.to_string()))?;
        let mut last = missing("it has no address".to_owned());
        for address in addresses.into_iter().take(ADDRESSES) {
            let reached = connect(SocketAddr::new(address, self.port), CONNECTING).await;
            let stream = match reached {
                Ok(stream) => stream.start_tls_client(self.tls.verified(), host, CONNECTING).await,
                Err(error) => Err(error),
            };
            match stream {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, FetchError> {
    // RFC 8461 §3.3: redirects must not be followed.
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/plain") {
        return Err(FetchError::ContentType);
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLarge,
        false => FetchError::Body(error.to_string()),
    })?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Instant;

    use letterlock_config::{Dns, Dnssec};
    use letterlock_testkit::ca::TestCa;
    use letterlock_testkit::dns::{DnsServer, Zone};
    use letterlock_testkit::https::{Answer, PolicyHost};

    use super::*;

    #[tokio::test]
    async fn a_host_that_keeps_silent_is_given_up_after_a_while() {
        let local = Ipv4Addr::new(127, 78, 0, 1);
        let dns = DnsServer::start([Zone::signed("example.test").a("mta-sts", local)]).unwrap();
        let settings = Dns {
            servers: vec![dns.address()],
            dnssec: Dnssec::Auto,
            trust_anchors: Some(dns.trust_anchor_file()),
        };
        let resolver = Arc::new(Resolver::new(&settings).unwrap());
        let ca = TestCa::new().unwrap();
        let tls = ClientTls::load(Some(&ca.root_file())).unwrap();
        let issued = ca.issue(&["mta-sts.example.test"]).unwrap();
        let address = SocketAddr::new(IpAddr::V4(local), 0);
        let host = PolicyHost::start_on(address, &issued, Answer::Silence).unwrap();
        // One that answers no request, and one that does not even shake hands.
        let deaf = tokio::net::TcpListener::bind(address).await.unwrap();
        for port in [host.address().port(), deaf.local_addr().unwrap().port()] {
            let patience = Duration::from_millis(500);
            let fetcher =
                Fetcher { patience, ..Fetcher::new(Arc::clone(&resolver), tls.clone(), port) };
            let started = Instant::now();
            let fetched = fetcher.fetch("example.test").await;
            assert!(matches!(fetched, Err(FetchError::Timeout)), "{fetched:?}");
            assert!((patience..10 * patience).contains(&started.elapsed()));
        }
        assert_eq!(host.requests().len(), 1, "it was asked");
    }
}
