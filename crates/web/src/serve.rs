//! The driver: one request a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use letterlock_directory::Directory;
use letterlock_net::{Shutdown, Stream};
use letterlock_transport_policy::OwnPolicy;

use crate::route::{Route, route};

/// For one request and its answer, which are some hundred octets each.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request.
const LONGEST: usize = 16 * 1024;

/// The HTTPS server.
pub struct Web {
    /// Knows which domains are ours.
    pub directory: Arc<Directory>,
    /// What they publish.
    pub policy: OwnPolicy,
}

impl Web {
    /// Serves one connection, whose TLS is up.
    pub async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr, shutdown: Shutdown) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(LONGEST)
            .serve_connection(TokioIo::new(stream), service);
        let served = tokio::select! {
            served = tokio::time::timeout(PATIENCE, connection) => served,
            // Nothing is lost by it: whoever asks for a policy asks again.
            () = shutdown.draining() => return,
        };
        match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(ip = %peer.ip(), %error, "HTTPS connection"),
            Err(_) => tracing::debug!(ip = %peer.ip(), "HTTPS client took too long"),
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let field = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        // RFC 9112 §3.2.2: the target's own authority wins.
        let host = request.uri().authority().map(|authority| authority.as_str()).or(field);
        let snapshot = self.directory.snapshot();
        let (method, path) = (request.method().as_str(), request.uri().path());
        let mut response = match route(method, host, path, |domain| snapshot.is_local(domain)) {
            Route::Policy => Response::new(Full::from(self.policy.text())),
            Route::NotFound => plain(StatusCode::NOT_FOUND, "Not found\n"),
            Route::NotAllowed => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
