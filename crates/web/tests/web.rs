//! The policy over real TLS, as other servers fetch it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use letterlock_address::Domain;
use letterlock_config::{MtaSts, StsMode};
use letterlock_directory::Directory;
use letterlock_net::{Admission, Audience, Permit, Refused, Shutdown, Tls, accept_loop, bind};
use letterlock_testkit::ca::TestCa;
use letterlock_transport_policy::OwnPolicy;
use letterlock_transport_policy::sts::{Mode, Policy};
use letterlock_vault::{Pool, ServerKey};
use letterlock_web::Web;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LIMIT: Duration = Duration::from_secs(10);
const HOST: &str = "mta-sts.example.org";

struct Everybody;

impl Admission for Everybody {
    fn admit(&self, _: std::net::IpAddr, _: &'static str) -> Result<Permit, Refused> {
        Ok(Box::new(()))
    }
}

struct Server {
    address: SocketAddr,
    ca: TestCa,
    shutdown: Shutdown,
    _dir: TempDir,
}

async fn start() -> Server {
    let dir = TempDir::new().unwrap();
    let key = ServerKey::load_or_create(dir.path(), None).unwrap();
    let pool = Pool::new("core", 1);
    let directory = Directory::open(dir.path(), &key, &pool).await.unwrap();
    let domain = Domain::parse("example.org").unwrap();
    directory.add_domain(domain, None, Vec::new(), Timestamp::now()).await.unwrap();
    let ca = TestCa::new().unwrap();
    let issued = ca.issue(&[HOST, "mx.example.org"]).unwrap();
    let settings =
        letterlock_config::Tls { certificate: Some(issued.certificate), key: Some(issued.key) };
    let tls = Arc::new(Tls::load(&settings, "mx.example.org").unwrap());
    let settings = MtaSts { mode: StsMode::Testing, ..MtaSts::default() };
    let web = Arc::new(Web { directory, policy: OwnPolicy::new(&settings, "mx.example.org") });
    let shutdown = Shutdown::new();
    let listener = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let stop = shutdown.clone();
    let handler = move |stream: letterlock_net::Stream, peer| {
        let (web, tls, stop) = (web.clone(), tls.clone(), stop.clone());
        async move {
            if let Ok(stream) = stream.start_tls(&tls, Audience::Clients, LIMIT).await {
                web.serve(stream, peer, stop).await;
            }
        }
    };
    tokio::spawn(accept_loop(listener, "https", Arc::new(Everybody), shutdown.clone(), handler));
    Server { address, ca, shutdown, _dir: dir }
}

impl Server {
    async fn ask(&self, request: &str) -> String {
        let connector = TlsConnector::from(self.ca.client_config().unwrap());
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Some servers end without close_notify; what counts is what came.
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn the_policy_and_nothing_else() {
    let server = start().await;
    let answer = server.ask(&get(HOST, "/.well-known/mta-sts.txt")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ncontent-type: text/plain\r\n"), "{head}");
    let policy = Policy::parse(body.as_bytes()).unwrap();
    assert_eq!((policy.mode, policy.mx), (Mode::Testing, vec!["mx.example.org".to_owned()]));

    let head = server.ask(&get(HOST, "/.well-known/mta-sts.txt").replacen("GET", "HEAD", 1)).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for (request, status) in [
        (get(HOST, "/"), "404"),
        (get("mta-sts.example.net", "/.well-known/mta-sts.txt"), "404"),
        (get("mx.example.org", "/.well-known/mta-sts.txt"), "404"),
        (get(HOST, "/.well-known/mta-sts.txt").replacen("GET", "POST", 1), "405"),
        (
            format!("GET https://{HOST}/.well-known/mta-sts.txt HTTP/1.1\r\nHost: other\r\n\r\n"),
            "200",
        ),
        ("EHLO x\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = server.ask(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    server.shutdown.begin();
    assert_eq!(server.shutdown.wait_idle(LIMIT).await, 0);
}

#[tokio::test]
async fn a_head_without_end_is_cut_short() {
    let server = start().await;
    let answer = server.ask(&format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
