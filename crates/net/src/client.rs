//! TLS as the server speaks it to others: opportunistic, or with a verified certificate.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::NetError;
use crate::judge::{CertificateJudge, Judged, Presented, Trust};
use crate::provider::crypto_provider;

/// The client's side of TLS, with the authorities that it trusts.
#[derive(Debug, Clone)]
pub struct ClientTls {
    verified: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ClientTls {
    /// Trusts the authorities in a PEM file, or the public ones.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate of an authority.
    pub fn load(trusted_roots: Option<&Path>) -> Result<ClientTls, NetError> {
        let roots = Arc::new(match trusted_roots {
            Some(path) => read(path)?,
            None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        });
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, crypto_provider())
            .build()
            .map_err(|error| NetError::Certificate(error.to_string()))?;
        let mut config = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| NetError::Certificate(error.to_string()))?
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        // A resumed session would skip the certificate, whose verdict is wanted each time.
        config.resumption = Resumption::disabled();
        Ok(ClientTls { verified: Arc::new(config), verifier })
    }

    /// For a peer whose certificate must be valid for its name.
    pub fn verified(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.verified)
    }

    /// For opportunistic TLS (RFC 7435), one connection: any certificate does, since the alternative is no TLS at all.
    /// The [`Verification`] tells after the handshake whether the certificate would have passed.
    pub fn opportunistic(&self) -> (Arc<ClientConfig>, Verification) {
        let verification = Verification::default();
        (self.judged(Arc::new(Recorder(verification.clone()))), verification)
    }

    /// For a peer whose certificate `judge` decides about.
    pub fn judged(&self, judge: Arc<dyn CertificateJudge>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.verified);
        let verifier = Judged::new(Arc::clone(&self.verifier), judge);
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

fn read(path: &Path) -> Result<RootCertStore, NetError> {
    let bad = |reason: String| NetError::File { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| bad(format!("is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| bad(format!("has a certificate that cannot be used: {error}")))?;
    }
    if roots.is_empty() { Err(bad("has no certificate in PEM".to_owned())) } else { Ok(roots) }
}

/// Whether a certificate that was accepted anyway is valid for the peer's name.
#[derive(Debug, Clone, Default)]
pub struct Verification(Arc<OnceLock<Result<(), String>>>);

impl Verification {
    /// The verdict: `None` before the handshake, else success or what is wrong.
    pub fn verdict(&self) -> Option<Result<(), &str>> {
        self.0.get().map(|verdict| verdict.as_ref().copied().map_err(String::as_str))
    }

    /// Whether the certificate is valid.
    pub fn passed(&self) -> bool {
        matches!(self.verdict(), Some(Ok(())))
    }
}

/// Accepts everything, and notes what a strict verifier would have said.
#[derive(Debug)]
struct Recorder(Verification);

impl CertificateJudge for Recorder {
    fn judge(&self, presented: &Presented<'_>) -> Result<Trust, rustls::Error> {
        let verdict = presented.verify_public();
        let trust = if verdict.is_ok() { Trust::Proven } else { Trust::Unproven };
        // Each connection has a recorder of its own, so that nothing is noted twice.
        let _ = self.0.0.set(verdict.map_err(|error| error.to_string()));
        Ok(trust)
    }
}
