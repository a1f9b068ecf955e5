//! From settings to resolvers of the library.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::dnssec::TrustAnchors;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::error::SetupError;

/// How long and how often to ask, and how much to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long one question to one server may take.
    pub timeout: Duration,
    /// How often a question is repeated after it failed.
    pub attempts: usize,
    /// How many answers are kept in memory.
    pub cached_answers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), attempts: 2, cached_answers: 8_192 }
    }
}

/// Negative answers are kept no longer than this, so that a record which was just made is found soon.
pub(crate) const LONGEST_NEGATIVE: Duration = Duration::from_secs(900);
/// Positive answers are kept no longer than a day.
const LONGEST_POSITIVE: Duration = Duration::from_secs(86_400);

/// Reads the trust anchors; without a file they are those of the root zone.
pub(crate) fn trust_anchors(path: Option<&Path>) -> Result<Arc<TrustAnchors>, SetupError> {
    let Some(path) = path else {
        return Ok(Arc::new(TrustAnchors::default()));
    };
    let refused = |reason: String| SetupError::TrustAnchors { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let anchors: TrustAnchors = text
        .parse()
        .map_err(|error| refused(format!("not DNSKEY records in zone file format: {error}")))?;
    if anchors.is_empty() {
        return Err(refused("no DNSKEY record of the root".to_owned()));
    }
    Ok(Arc::new(anchors))
}

/// The servers to ask, first by UDP, then by TCP.
pub(crate) fn servers(configured: &[SocketAddr]) -> Result<Vec<NameServerConfig>, SetupError> {
    if configured.is_empty() {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| SetupError::System(error.to_string()))?;
        return Ok(config.name_servers().to_vec());
    }
    Ok(configured
        .iter()
        .map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
                .into_iter()
                .map(|mut connection| {
                    connection.port = address.port();
                    connection
                })
                .collect();
            NameServerConfig::new(address.ip(), true, connections)
        })
        .collect())
}

/// One resolver, with validation if anchors are given.
pub(crate) fn resolver(
    servers: &[NameServerConfig],
    anchors: Option<Arc<TrustAnchors>>,
    limits: &Limits,
) -> Result<TokioResolver, SetupError> {
    let mut options = ResolverOpts::default();
    options.timeout = limits.timeout;
    options.attempts = limits.attempts;
    options.cache_size = limits.cached_answers;
    options.positive_max_ttl = Some(LONGEST_POSITIVE);
    options.negative_max_ttl = Some(LONGEST_NEGATIVE);
    options.validate = anchors.is_some();
    options.case_randomization = false;
    options.try_tcp_on_error = true;
    // What mail is routed by comes from DNS alone; the hosts file has no MX and no proofs.
    options.use_hosts_file = ResolveHosts::Never;

    // No search list either: every name is looked up as it stands.
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.to_vec());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .with_tls_config(unused_tls()?);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors);
    }
    builder.build().map_err(|error| SetupError::Build(error.to_string()))
}

/// The library wants a TLS configuration even where only UDP and TCP are used. Its own would load the system's
/// certificates, which takes time and fails where there are none.
fn unused_tls() -> Result<rustls::ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Build(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}
