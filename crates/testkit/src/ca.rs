//! A certificate authority for tests: server certificates on demand, good ones and expired ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// An authority whose root and issued certificates lie in a temporary folder that goes with it.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl std::fmt::Debug for TestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").finish_non_exhaustive()
    }
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM file: the certificate, then the root.
    pub certificate: PathBuf,
    /// PEM file: the private key (PKCS #8).
    pub key: PathBuf,
    certificate_der: CertificateDer<'static>,
    root_der: CertificateDer<'static>,
    key_der: Vec<u8>,
    public_key_info: Vec<u8>,
    root_key_info: Vec<u8>,
    with_root: bool,
}

impl Issued {
    /// The data of a `3 1 1` TLSA record (RFC 7672 §3.1.1): SHA-256 of the public key info.
    pub fn tlsa_3_1_1(&self) -> Vec<u8> {
        sha256(&self.public_key_info)
    }

    /// The data of a `3 0 1` TLSA record: SHA-256 of the certificate.
    pub fn tlsa_3_0_1(&self) -> Vec<u8> {
        sha256(&self.certificate_der)
    }

    /// The data of a `2 0 1` TLSA record: SHA-256 of the root certificate, which is in the chain.
    pub fn tlsa_2_0_1(&self) -> Vec<u8> {
        sha256(&self.root_der)
    }

    /// The data of a TLSA record (RFC 6698 §2.1): `usage` 2 or 0 takes the root, another the certificate; `selector` 1
    /// its public key info, another all of it; `matching` 1 the SHA-256, 2 the SHA-512, another the thing itself.
    pub fn tlsa(&self, usage: u8, selector: u8, matching: u8) -> Vec<u8> {
        let thing: &[u8] = match (usage, selector) {
            (0 | 2, 1) => &self.root_key_info,
            (0 | 2, _) => &self.root_der,
            (_, 1) => &self.public_key_info,
            _ => &self.certificate_der,
        };
        match matching {
            1 => sha256(thing),
            2 => digest::digest(&digest::SHA512, thing).as_ref().to_vec(),
            _ => thing.to_vec(),
        }
    }

    /// The same certificate, sent without the root behind it. The file stays as it is.
    pub fn alone(&self) -> Self {
        Self { with_root: false, ..self.clone() }
    }

    /// A TLS server configuration with this certificate.
    pub fn server_config(&self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let mut chain = vec![self.certificate_der.clone()];
        if self.with_root {
            chain.push(self.root_der.clone());
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

impl TestCa {
    /// Makes a root that is valid from 2000 to 2100.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = params(&[], "Letterlock test root")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("root.pem"), issuer.pem())?;
        Ok(Self { issuer, directory })
    }

    /// The PEM file of the root, for `[outbound] trusted_roots` and clients.
    pub fn root_file(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// A certificate for DNS names and IP addresses, valid now.
    pub fn issue(&self, names: &[&str]) -> anyhow::Result<Issued> {
        self.sign(params(names, names.first().unwrap_or(&"nobody"))?)
    }

    /// A certificate that expired in 2001.
    pub fn issue_expired(&self, names: &[&str]) -> anyhow::Result<Issued> {
        let mut params = params(names, names.first().unwrap_or(&"nobody"))?;
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    /// A TLS client configuration that trusts this root and nothing else.
    pub fn client_config(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn sign(&self, mut params: CertificateParams) -> anyhow::Result<Issued> {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let folder =
            tempfile::Builder::new().prefix("issued-").tempdir_in(self.directory.path())?.keep();
        let chain = format!("{}{}", certificate.pem(), self.issuer.pem());
        Ok(Issued {
            certificate: write(&folder, "fullchain.pem", &chain)?,
            key: write(&folder, "privkey.pem", &key.serialize_pem())?,
            certificate_der: certificate.der().clone(),
            root_der: self.issuer.der().clone(),
            key_der: key.serialize_der(),
            public_key_info: key.subject_public_key_info(),
            root_key_info: self.issuer.key().subject_public_key_info(),
            with_root: true,
        })
    }
}

/// A TLS client configuration that accepts every certificate, for servers that sign their own.
pub fn trusting_client_config() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnything(provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn params(names: &[&str], common_name: &str) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    Ok(params)
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Checks signatures of the handshake but not whom they are from.
#[derive(Debug)]
struct AcceptAnything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
