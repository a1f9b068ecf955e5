//! Certificates that somebody else decides about: DANE, MTA-STS in testing, opportunistic TLS.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// What a judge found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The certificate is the peer's: it must prove that it has the key.
    Proven,
    /// Nobody knows whose certificate it is, and the connection goes on all the same: who has the key tells nothing,
    /// and a failure would only lead to plain text.
    Unproven,
}

/// Decides about a server's certificates, within the handshake.
pub trait CertificateJudge: fmt::Debug + Send + Sync {
    /// Decides.
    ///
    /// # Errors
    /// Ends the handshake.
    fn judge(&self, presented: &Presented<'_>) -> Result<Trust, rustls::Error>;
}

/// What a server showed.
#[derive(Debug)]
pub struct Presented<'a> {
    /// The server's own certificate.
    pub end_entity: &'a CertificateDer<'a>,
    /// The others, as they came.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that was asked for.
    pub name: &'a ServerName<'a>,
    /// The time of the handshake.
    pub now: UnixTime,
    verifier: &'a WebPkiServerVerifier,
}

impl Presented<'_> {
    /// Whether the certificate is valid for the name and comes from an authority that is trusted (RFC 5280, 9525).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_public(&self) -> Result<(), rustls::Error> {
        self.verifier
            .verify_server_cert(self.end_entity, self.intermediates, self.name, &[], self.now)
            .map(|_| ())
    }
}

/// Asks the judge; checks the signatures of the handshake by the public verifier.
#[derive(Debug)]
pub(crate) struct Judged {
    verifier: Arc<WebPkiServerVerifier>,
    judge: Arc<dyn CertificateJudge>,
    trust: OnceLock<Trust>,
}

impl Judged {
    pub(crate) fn new(
        verifier: Arc<WebPkiServerVerifier>,
        judge: Arc<dyn CertificateJudge>,
    ) -> Judged {
        Judged { verifier, judge, trust: OnceLock::new() }
    }

    fn is_unproven(&self) -> bool {
        self.trust.get() == Some(&Trust::Unproven)
    }
}

impl ServerCertVerifier for Judged {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = &self.verifier;
        let trust = self.judge.judge(&Presented {
            end_entity,
            intermediates,
            name: server_name,
            now,
            verifier,
        })?;
        // A configuration is for one connection; were it used twice, the stricter finding would have to hold.
        if self.trust.set(trust).is_err() && self.trust.get() != Some(&trust) {
            return Err(rustls::Error::General(
                "a judged configuration serves one connection".into(),
            ));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.is_unproven() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.is_unproven() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
