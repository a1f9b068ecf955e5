//! The handshake on both sides, certificates and their change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use letterlock_config::Tls as Settings;
use letterlock_net::{Audience, ChannelBindings, ClientTls, NetError, Stream, Tls, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::authority::Authority;

const LIMIT: Duration = Duration::from_secs(10);
const HOST: &str = "mx.example.org";

/// A pair of connected streams: client, server.
async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) =
        tokio::join!(connect(listener.local_addr().unwrap(), LIMIT), listener.accept());
    (client.unwrap(), Stream::plain(server.unwrap().0))
}

fn tls(settings: &Settings) -> Arc<Tls> {
    Arc::new(Tls::load(settings, HOST).unwrap())
}

/// A handshake with a strict client; gives its stream, or its error.
async fn verified(
    tls: &Arc<Tls>,
    roots: &ClientTls,
    name: &str,
) -> Result<(Stream, Stream), NetError> {
    let (client, server) = pair().await;
    let (client, server) = tokio::join!(
        client.start_tls_client(roots.verified(), name, LIMIT),
        server.start_tls(tls, Audience::Clients, LIMIT)
    );
    Ok((client?, server?))
}

#[tokio::test]
async fn starttls_keeps_the_type_and_brings_the_post_quantum_hybrid() {
    let authority = Authority::new();
    let tls = tls(&authority.issue(HOST, 2020, 2099));
    assert_eq!(tls.warnings(), Vec::<String>::new());
    let roots = ClientTls::load(Some(&authority.root())).unwrap();
    let (mut client, mut server) = pair().await;
    assert!(!client.is_tls() && server.tls_description().is_none());
    client.write_all(b"STARTTLS\r\n").await.unwrap();
    let mut line = [0; 10];
    server.read_exact(&mut line).await.unwrap();
    let (client, server) = tokio::join!(
        client.start_tls_client(roots.verified(), HOST, LIMIT),
        server.start_tls(&tls, Audience::Clients, LIMIT)
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert!(client.is_tls() && server.is_tls());
    let description = "TLS1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768";
    assert_eq!(server.tls_description().as_deref(), Some(description));
    assert_eq!(client.tls_description().as_deref(), Some(description));
    assert_eq!(client.peer_certificate(), Some(&tls.certificate()[..]));
    server.write_all(b"250 hello\r\n").await.unwrap();
    server.flush().await.unwrap();
    let mut text = [0; 11];
    client.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"250 hello\r\n");
    assert!(matches!(
        server.start_tls(&tls, Audience::Clients, LIMIT).await,
        Err(NetError::AlreadyTls)
    ));
}

#[tokio::test]
async fn closing_tells_the_peer() {
    let authority = Authority::new();
    let tls = tls(&authority.issue(HOST, 2020, 2099));
    let roots = ClientTls::load(Some(&authority.root())).unwrap();
    let (mut client, mut server) = verified(&tls, &roots, HOST).await.unwrap();
    server.write_all(b"bye").await.unwrap();
    let (_, text) = tokio::join!(server.close(), async move {
        // Without close_notify this would be an unexpected end, and an error.
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    });
    assert_eq!(text, "bye");
}

#[tokio::test]
async fn commands_sent_ahead_of_the_handshake_end_it() {
    let tls = tls(&Settings::default());
    let (mut client, mut server) = pair().await;
    client.write_all(b"STARTTLS\r\nMAIL FROM:<mallory@example.net>\r\n").await.unwrap();
    let mut line = [0; 10];
    server.read_exact(&mut line).await.unwrap();
    let error = server.start_tls(&tls, Audience::Servers, LIMIT).await.unwrap_err();
    assert!(matches!(error, NetError::Handshake(_)), "{error:?}");
}

#[tokio::test]
async fn a_silent_client_does_not_hold_the_handshake() {
    let tls = tls(&Settings::default());
    let (_client, server) = pair().await;
    let error =
        server.start_tls(&tls, Audience::Clients, Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, NetError::Timeout("TLS handshake")));
}

#[tokio::test]
async fn a_self_signed_certificate_serves_and_is_warned_of() {
    let tls = tls(&Settings::default());
    assert!(tls.is_self_signed());
    assert!(tls.warnings()[0].contains("self-signed"), "{:?}", tls.warnings());
    let before = tls.certificate();
    tls.reload().unwrap();
    assert_eq!(tls.certificate(), before, "kept for the process");
    // It is valid for the names it is meant for, if somebody trusts it.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("self.pem");
    fs::write(&path, pem(&before)).unwrap();
    let roots = ClientTls::load(Some(&path)).unwrap();
    for name in [HOST, "localhost", "127.0.0.1", "::1"] {
        verified(&tls, &roots, name).await.unwrap();
    }
    assert!(verified(&tls, &roots, "other.example.org").await.is_err());
}

/// A certificate in PEM, without a line break in the middle (which no reader minds).
fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let symbol = if at <= chunk.len() {
                char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63])
            } else {
                '='
            };
            text.push(symbol);
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn opportunistic_tls_takes_any_certificate_and_knows_its_worth() {
    let authority = Authority::new();
    let roots = ClientTls::load(Some(&authority.root())).unwrap();
    let good = tls(&authority.issue(HOST, 2020, 2099));
    let poor = tls(&Settings::default());
    for (tls, name, passes) in
        [(&good, HOST, true), (&good, "other.example.org", false), (&poor, HOST, false)]
    {
        let (client, server) = pair().await;
        let (config, verification) = roots.opportunistic();
        assert_eq!(verification.verdict(), None);
        let (client, server) = tokio::join!(
            client.start_tls_client(config, name, LIMIT),
            server.start_tls(tls, Audience::Servers, LIMIT)
        );
        assert!(client.unwrap().is_tls() && server.unwrap().is_tls());
        assert_eq!(verification.passed(), passes, "{name}");
        assert!(passes || !verification.verdict().unwrap().unwrap_err().is_empty());
    }
    let refused = verified(&poor, &roots, HOST).await.unwrap_err();
    assert!(
        matches!(refused, NetError::Handshake(rustls::Error::InvalidCertificate(_))),
        "{refused:?}"
    );
    let (client, _server) = pair().await;
    let error = client.start_tls_client(roots.verified(), "no host name", LIMIT).await.unwrap_err();
    assert!(matches!(error, NetError::Name(_)));
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_and_a_bad_one_changes_nothing() {
    let authority = Authority::new();
    let settings = authority.issue(HOST, 2020, 2099);
    let tls = tls(&settings);
    let roots = ClientTls::load(Some(&authority.root())).unwrap();
    let (mut open, mut server) = verified(&tls, &roots, HOST).await.unwrap();
    let first = tls.certificate();
    authority.issue(HOST, 2021, 2099);
    assert_eq!(tls.certificate(), first, "nothing changes before the reload");
    tls.reload().unwrap();
    let second = tls.certificate();
    assert_ne!(second, first);
    let (client, _) = verified(&tls, &roots, HOST).await.unwrap();
    assert_eq!(client.peer_certificate(), Some(&second[..]));
    // The open session goes on.
    server.write_all(b"still here").await.unwrap();
    server.flush().await.unwrap();
    open.read_exact(&mut [0; 10]).await.unwrap();

    let key = settings.key.clone().unwrap();
    let certificate = settings.certificate.clone().unwrap();
    let good_key = fs::read(&key).unwrap();
    fs::write(&key, "not a key").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(
        error.contains("key.pem")
            && error.contains("no private key")
            && !error.contains("not a key"),
        "{error}"
    );
    fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("cannot be used with the certificate"), "{error}");
    fs::write(&key, good_key).unwrap();
    fs::write(&certificate, "").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("no certificate"), "{error}");
    fs::remove_file(&certificate).unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("cannot be read"));
    assert_eq!(tls.certificate(), second);
    let (client, _) = verified(&tls, &roots, HOST).await.unwrap();
    assert_eq!(client.peer_certificate(), Some(&second[..]));
}

/// Tickets that a client gets in a session, and whether its next session resumes this one.
async fn tickets(
    tls: &Arc<Tls>,
    authority: &Authority,
    audience: Audience,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (u32, bool) {
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(authority.root()).unwrap();
    let certificate =
        <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(
            &pem,
        )
        .unwrap();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(letterlock_net::crypto_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut seen = (0, false);
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (client, server) = tokio::join!(
            connector.connect(HOST.try_into().unwrap(), client.unwrap()),
            Stream::accept_tls(server.unwrap().0, tls, audience, LIMIT)
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.write_all(b"hello").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();
        let connection = client.get_ref().1;
        seen.0 = connection.tls13_tickets_received();
        seen.1 = connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    }
    seen
}

#[tokio::test]
async fn port_25_gives_no_tickets_and_the_others_do() {
    let authority = Authority::new();
    let tls = tls(&authority.issue(HOST, 2020, 2099));
    let (new, old) = (&[&rustls::version::TLS13], &[&rustls::version::TLS12]);
    assert_eq!(tickets(&tls, &authority, Audience::Servers, new).await, (0, false));
    assert_eq!(tickets(&tls, &authority, Audience::Servers, old).await, (0, false));
    assert_eq!(tickets(&tls, &authority, Audience::Clients, new).await, (1, true));
    assert_eq!(tickets(&tls, &authority, Audience::Clients, old).await, (0, true));
}

#[test]
fn unwise_certificates_are_warned_of() {
    let authority = Authority::new();
    let warnings = |settings: &Settings| Tls::load(settings, HOST).unwrap().warnings().join("\n");
    assert!(warnings(&authority.issue(HOST, 2019, 2020)).contains("has expired"));
    assert!(warnings(&authority.issue(HOST, 2098, 2099)).contains("not valid yet"));
    assert!(
        warnings(&authority.issue("other.example.org", 2020, 2099))
            .contains("is not for mx.example.org")
    );
    assert_eq!(warnings(&authority.issue("*.example.org", 2020, 2099)), "");
    let settings = authority.issue(HOST, 2020, 2099);
    fs::set_permissions(settings.key.as_ref().unwrap(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warnings(&settings).contains("every user of this machine can read the key"));
}

#[test]
fn roots_must_be_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    fs::write(&path, "nothing").unwrap();
    let error = ClientTls::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("roots.pem") && error.contains("no certificate"), "{error}");
    assert!(
        ClientTls::load(Some(&dir.path().join("none.pem")))
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    assert!(ClientTls::load(None).is_ok());
}

#[tokio::test]
async fn both_ends_have_the_same_bindings_and_each_connection_its_own() {
    let authority = Authority::new();
    let tls = tls(&authority.issue(HOST, 2020, 2099));
    let roots = ClientTls::load(Some(&authority.root())).unwrap();
    let (plain, _other) = pair().await;
    assert_eq!(plain.channel_bindings(), ChannelBindings::default());
    let (client, server) = verified(&tls, &roots, HOST).await.unwrap();
    let bindings = server.channel_bindings();
    assert!(bindings.exporter.is_some() && bindings.end_point.is_some());
    assert_eq!(client.channel_bindings(), bindings);
    let (_client, server) = verified(&tls, &roots, HOST).await.unwrap();
    assert_eq!(server.channel_bindings().end_point, bindings.end_point);
    assert_ne!(server.channel_bindings().exporter, bindings.exporter);
}
