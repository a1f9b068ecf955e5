//! The server's certificate, and TLS as the server speaks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets};
use rustls::{CertificateError, RootCertStore, ServerConfig};

use crate::binding::end_point;
use crate::error::NetError;
use crate::provider::crypto_provider;

/// How long before its end a certificate is warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// For whom a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Other mail servers, on port 25. They get no session tickets: Exchange Online aborts a TLS 1.3 handshake that brings
    /// some.
    Servers,
    /// People's programs, which come back often: sessions resume by tickets.
    Clients,
}

/// The server's side of TLS. The certificate can be changed while connections go on.
#[derive(Debug)]
pub struct Tls {
    source: Source,
    hostname: String,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
enum Source {
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Made at the start and kept until the process ends.
    SelfSigned,
}

/// A chain of certificates, the server's own first, and the key of that one.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

#[derive(Debug)]
struct Current {
    servers: Arc<ServerConfig>,
    clients: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    end_point: Option<Arc<[u8]>>,
    warnings: Vec<String>,
}

impl Tls {
    /// Loads the certificate and key that are configured; without any, makes a self-signed certificate for `hostname`,
    /// `localhost`, `127.0.0.1` and `::1`. What is unwise about it is logged as a warning.
    ///
    /// # Errors
    /// A file cannot be read, has no certificate or key in PEM, or the two do not belong together.
    pub fn load(settings: &letterlock_config::Tls, hostname: &str) -> Result<Tls, NetError> {
        let tickets = Ticketer::new().map_err(|error| NetError::Certificate(error.to_string()))?;
        let (source, identity) = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let identity = read(certificate, key)?;
                (Source::Files { certificate: certificate.clone(), key: key.clone() }, identity)
            }
            (None, None) => (Source::SelfSigned, self_signed(hostname)?),
            _ => {
                return Err(NetError::Certificate(
                    "certificate and key must be set together".to_owned(),
                ));
            }
        };
        let current = Current::new(&source, identity, hostname, &tickets)?;
        Ok(Tls {
            source,
            hostname: hostname.to_owned(),
            tickets,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Reads the files again; new connections get the new certificate, open ones go on. A self-signed certificate stays.
    ///
    /// # Errors
    /// As [`Tls::load`]; the certificate in use then stays in use.
    pub fn reload(&self) -> Result<(), NetError> {
        if let Source::Files { certificate, key } = &self.source {
            let identity = read(certificate, key)?;
            self.current.store(Arc::new(Current::new(
                &self.source,
                identity,
                &self.hostname,
                &self.tickets,
            )?));
        }
        Ok(())
    }

    /// The configuration for a new connection.
    pub fn config(&self, audience: Audience) -> Arc<ServerConfig> {
        self.current.load().config(audience)
    }

    /// The configuration for a new connection, and the hash that a login over it may be bound to.
    pub(crate) fn config_and_end_point(
        &self,
        audience: Audience,
    ) -> (Arc<ServerConfig>, Option<Arc<[u8]>>) {
        let current = self.current.load();
        (current.config(audience), current.end_point.clone())
    }

    /// The server's own certificate in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.current.load().certificate.to_vec()
    }

    /// Whether the certificate is self-signed by this process.
    pub fn is_self_signed(&self) -> bool {
        matches!(self.source, Source::SelfSigned)
    }

    /// What is unwise about the certificate in use, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.current.load().warnings.clone()
    }
}

impl Current {
    fn config(&self, audience: Audience) -> Arc<ServerConfig> {
        Arc::clone(match audience {
            Audience::Servers => &self.servers,
            Audience::Clients => &self.clients,
        })
    }

    fn new(
        source: &Source,
        identity: Identity,
        hostname: &str,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Current, NetError> {
        let certificate = identity.chain.first().cloned();
        let certificate =
            certificate.ok_or_else(|| NetError::Certificate("the chain is empty".to_owned()))?;
        let warnings = warnings(source, &identity, hostname);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let mut servers = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(identity.chain, identity.key)
            })
            .map_err(|error| mismatch(source, &error))?;
        servers.send_tls13_tickets = 0;
        // Tickets carry a session's state; what the server would remember of each is memory for nothing.
        servers.session_storage = Arc::new(NoServerSessionStorage {});
        let mut clients = servers.clone();
        clients.send_tls13_tickets = 1;
        clients.ticketer = Arc::clone(tickets);
        Ok(Current {
            servers: Arc::new(servers),
            clients: Arc::new(clients),
            end_point: end_point(&certificate),
            certificate,
            warnings,
        })
    }
}

fn mismatch(source: &Source, error: &rustls::Error) -> NetError {
    match source {
        Source::Files { certificate, key } => NetError::File {
            path: key.clone(),
            reason: format!(
                "cannot be used with the certificate {}: {error}",
                certificate.display()
            ),
        },
        Source::SelfSigned => NetError::Certificate(error.to_string()),
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Identity, NetError> {
    let bad = |path: &Path, reason: String| NetError::File { path: path.to_owned(), reason };
    let text = fs::read(certificate)
        .map_err(|error| bad(certificate, format!("cannot be read: {error}")))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(certificate, format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(bad(certificate, "has no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::Io(error) => bad(key, format!("cannot be read: {error}")),
        // The library's words would quote nothing secret, but they help nobody either.
        _ => bad(
            key,
            "has no private key in PEM (PKCS #8, SEC 1 or PKCS #1, without a passphrase)"
                .to_owned(),
        ),
    })?;
    Ok(Identity { chain, key })
}

/// A certificate that nobody vouches for. Valid for two years: some programs refuse more than 825 days.
fn self_signed(hostname: &str) -> Result<Identity, NetError> {
    let failed = |error: rcgen::Error| {
        NetError::Certificate(format!("a self-signed one cannot be made: {error}"))
    };
    let mut names =
        vec![hostname.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, hostname);
    params.distinguished_name = subject;
    let day = |from_now: i64| {
        let date = Timestamp::now().to_zoned(TimeZone::UTC).date().saturating_add(from_now.days());
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    (params.not_before, params.not_after) = (day(-1), day(730));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Identity {
        chain: vec![certificate.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

fn warnings(source: &Source, identity: &Identity, hostname: &str) -> Vec<String> {
    let Source::Files { certificate, key } = source else {
        return vec![format!(
            "no certificate is configured: using a self-signed one for {hostname}, which mail programs refuse"
        )];
    };
    let mut warnings = Vec::new();
    let shown = certificate.display();
    if let Some(parsed) =
        identity.chain.first().and_then(|first| ParsedCertificate::try_from(first).ok())
    {
        let now = UnixTime::now();
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + EXPIRES_SOON);
        match (validity(&parsed, now), validity(&parsed, soon)) {
            (Validity::Expired, _) => warnings.push(format!("the certificate {shown} has expired")),
            (Validity::Future, _) => {
                warnings.push(format!("the certificate {shown} is not valid yet"))
            }
            (_, Validity::Expired) => {
                warnings.push(format!("the certificate {shown} expires in less than 14 days"))
            }
            _ => {}
        }
        let named = ServerName::try_from(hostname)
            .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
        if !named {
            warnings.push(format!("the certificate {shown} is not for {hostname}"));
        }
    }
    if open_to_all(key) {
        warnings.push(format!("every user of this machine can read the key {}", key.display()));
    }
    warnings
}

enum Validity {
    Good,
    Expired,
    Future,
}

/// Whether the certificate is valid at this time. The verifier looks at the dates before it looks for an issuer, and with
/// no roots it ends there or at the missing issuer.
fn validity(certificate: &ParsedCertificate<'_>, at: UnixTime) -> Validity {
    let algorithms = crypto_provider().signature_verification_algorithms.all;
    let verdict = verify_server_cert_signed_by_trust_anchor(
        certificate,
        &RootCertStore::empty(),
        &[],
        at,
        algorithms,
    );
    match verdict {
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Validity::Expired,
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Validity::Future,
        _ => Validity::Good,
    }
}

#[cfg(unix)]
fn open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn open_to_all(_: &Path) -> bool {
    false
}
