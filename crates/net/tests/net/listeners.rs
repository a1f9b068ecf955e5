//! Binding, admission, the accept loop and shutdown.

use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use letterlock_net::{
    Admission, NetError, Permit, Refused, Shutdown, Stream, TrustedProxies, accept_loop,
    accept_loop_behind, bind, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(10);

/// Admits up to a number of connections at once.
#[derive(Default)]
struct Door {
    places: usize,
    open: Arc<AtomicUsize>,
    seen: std::sync::Mutex<Vec<(IpAddr, &'static str)>>,
}

struct Place(Arc<AtomicUsize>);
impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Admission for Door {
    fn admit(&self, peer: IpAddr, listener: &'static str) -> Result<Permit, Refused> {
        self.seen.lock().unwrap().push((peer, listener));
        if self.open.load(Ordering::SeqCst) >= self.places {
            return Err(Refused {
                farewell: Some("421 4.7.0 mx.example.org Try again later\r\n".into()),
            });
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Place(Arc::clone(&self.open))))
    }
}

fn any(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn has_ipv6() -> bool {
    StdListener::bind("[::1]:0").is_ok()
}

/// Echoes one line, or panics if told so.
async fn echo(mut stream: Stream, _peer: SocketAddr) {
    let mut line = [0; 5];
    if stream.read_exact(&mut line).await.is_ok() {
        assert_ne!(&line, b"PANIC");
        stream.write_all(&line).await.unwrap();
        stream.close().await;
    }
}

fn serve(
    listener: TcpListener,
    door: &Arc<Door>,
    shutdown: &Shutdown,
) -> tokio::task::JoinHandle<()> {
    let admission: Arc<dyn Admission> = Arc::clone(door) as _;
    tokio::spawn(accept_loop(listener, "smtp", admission, shutdown.clone(), echo))
}

async fn all(stream: &mut Stream) -> String {
    let mut text = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

/// Waits until a condition holds that another task brings about.
async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came about");
}

#[tokio::test]
async fn a_failed_bind_names_the_address() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(&[any("127.0.0.1:0"), address]).unwrap_err();
    assert!(matches!(error, NetError::Bind { .. }));
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[tokio::test]
async fn the_unspecified_address_takes_ipv4_and_shows_it_as_such() {
    let listener = bind(&[any("[::]:0")]).unwrap().remove(0);
    let port = listener.local_addr().unwrap().port();
    let door = Arc::new(Door { places: 10, ..Door::default() });
    let shutdown = Shutdown::new();
    serve(listener, &door, &shutdown);
    let mut addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    if has_ipv6() {
        addresses.push(any(&format!("[::1]:{port}")));
    }
    for address in &addresses {
        let mut client = connect(*address, LIMIT).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), *address);
        client.write_all(b"hello").await.unwrap();
        assert_eq!(all(&mut client).await, "hello");
    }
    let expected: Vec<_> = addresses.iter().map(|address| (address.ip(), "smtp")).collect();
    assert_eq!(*door.seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn both_families_may_be_named() {
    if !has_ipv6() {
        return;
    }
    let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listeners = bind(&[any(&format!("[::]:{port}")), any(&format!("0.0.0.0:{port}"))]).unwrap();
    assert_eq!(listeners.len(), 2);
}

#[tokio::test]
async fn refused_connections_get_a_farewell() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let door = Arc::new(Door { places: 1, ..Door::default() });
    let shutdown = Shutdown::new();
    serve(listener, &door, &shutdown);
    let mut first = connect(address, LIMIT).await.unwrap();
    eventually(|| door.open.load(Ordering::SeqCst) == 1).await;
    let mut second = connect(address, LIMIT).await.unwrap();
    assert_eq!(all(&mut second).await, "421 4.7.0 mx.example.org Try again later\r\n");
    // The permit comes back when the first connection has ended.
    first.write_all(b"first").await.unwrap();
    assert_eq!(all(&mut first).await, "first");
    drop(first);
    eventually(|| door.open.load(Ordering::SeqCst) == 0).await;
    let mut third = connect(address, LIMIT).await.unwrap();
    third.write_all(b"third").await.unwrap();
    assert_eq!(all(&mut third).await, "third");
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let door = Arc::new(Door { places: 1, ..Door::default() });
    let shutdown = Shutdown::new();
    serve(listener, &door, &shutdown);
    let mut client = connect(address, LIMIT).await.unwrap();
    client.write_all(b"PANIC").await.unwrap();
    assert_eq!(all(&mut client).await, "");
    eventually(|| door.open.load(Ordering::SeqCst) == 0 && shutdown.tasks() == 1).await;
    let mut client = connect(address, LIMIT).await.unwrap();
    client.write_all(b"again").await.unwrap();
    assert_eq!(all(&mut client).await, "again");
}

#[tokio::test]
async fn shutdown_closes_the_port_and_waits_for_the_rest() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let door = Arc::new(Door { places: 10, ..Door::default() });
    let shutdown = Shutdown::new();
    let served = serve(listener, &door, &shutdown);
    let mut client = connect(address, LIMIT).await.unwrap();
    eventually(|| shutdown.tasks() == 2).await;
    shutdown.begin();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap();
    assert!(connect(address, LIMIT).await.is_err(), "the port is closed");
    assert_eq!(
        shutdown.wait_idle(Duration::from_millis(10)).await,
        1,
        "the open connection is waited for"
    );
    client.write_all(b"hello").await.unwrap();
    assert_eq!(all(&mut client).await, "hello");
    drop(client);
    assert_eq!(shutdown.wait_idle(LIMIT).await, 0);
}

#[tokio::test]
async fn the_final_reply_arrives_though_nobody_read_what_the_client_sent() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let (client, server) =
        tokio::join!(connect(listener.local_addr().unwrap(), LIMIT), listener.accept());
    let (mut client, mut server) = (client.unwrap(), Stream::plain(server.unwrap().0));
    client.write_all(&vec![b'x'; 10_000]).await.unwrap();
    server.write_all(b"500 5.5.1 Goodbye\r\n").await.unwrap();
    let closing = tokio::spawn(server.close());
    // Time enough for a reset to arrive: it would fail the write (and make some systems drop the reply).
    tokio::time::sleep(Duration::from_millis(30)).await;
    client.write_all(b"more").await.unwrap();
    assert_eq!(all(&mut client).await, "500 5.5.1 Goodbye\r\n");
    drop(client);
    tokio::time::timeout(LIMIT, closing).await.unwrap().unwrap();
}

/// With no descriptor left the loop waits, and goes on when there are some again. The limit holds for a whole process,
/// so that this runs in one of its own.
#[test]
fn the_loop_survives_a_lack_of_descriptors() {
    const MARK: &str = "LETTERLOCK_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(MARK).is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "listeners::the_loop_survives_a_lack_of_descriptors";
        let child = std::process::Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(MARK, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "the test ran");
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let door = Arc::new(Door { places: 10, ..Door::default() });
        let shutdown = Shutdown::new();
        // The client's socket is made before the descriptors run out.
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        let few = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let served = serve(listener, &door, &shutdown);
        let mut client = client.connect(address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(door.seen.lock().unwrap().is_empty(), "no descriptor, no connection");
        assert!(!served.is_finished());
        drop(hoard);
        let mut text = String::new();
        tokio::time::timeout(LIMIT, client.read_to_string(&mut text)).await.unwrap().unwrap();
        assert_eq!(text, "hello");
    });
}

/// Serves `listener` behind a load balancer on this machine.
fn serve_behind_proxy(
    listener: TcpListener,
    door: &Arc<Door>,
    shutdown: &Shutdown,
    patience: Duration,
) {
    let admission: Arc<dyn Admission> = Arc::clone(door) as _;
    let networks = vec!["127.0.0.1/32".parse().unwrap()];
    let proxies = Arc::new(TrustedProxies { networks, patience });
    tokio::spawn(accept_loop_behind(proxies, listener, "smtp", admission, shutdown.clone(), tell));
}

/// Says whom it takes the client for, then echoes what the header was followed by.
async fn tell(mut stream: Stream, peer: SocketAddr) {
    stream.write_all(format!("{peer} ").as_bytes()).await.unwrap();
    echo(stream, peer).await;
}

#[tokio::test]
async fn a_load_balancers_clients_are_seen_as_themselves() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (door, shutdown) = (Arc::new(Door { places: 10, ..Door::default() }), Shutdown::new());
    serve_behind_proxy(listener, &door, &shutdown, LIMIT);

    // Octet by octet, and the client's own words in the same packet.
    let mut client = connect(address, LIMIT).await.unwrap();
    for octet in b"PROXY TCP4 192.0.2.7 192.0.2.9 4711 25\r\n" {
        client.write_all(&[*octet]).await.unwrap();
    }
    client.write_all(b"hello").await.unwrap();
    assert_eq!(all(&mut client).await, "192.0.2.7:4711 hello");

    let mut client = connect(address, LIMIT).await.unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    header.extend([0; 16]);
    header.extend([0, 9, 0, 25]);
    header.extend(b"hello");
    client.write_all(&header).await.unwrap();
    assert_eq!(all(&mut client).await, "[2001:db8::1]:9 hello");

    // A health check of the load balancer itself.
    let mut client = connect(address, LIMIT).await.unwrap();
    let own = client.local_addr().unwrap();
    client.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0hello").await.unwrap();
    assert_eq!(all(&mut client).await, format!("{own} hello"));

    let seen: Vec<String> =
        door.seen.lock().unwrap().iter().map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(
        seen,
        ["192.0.2.7", "2001:db8::1", "127.0.0.1"],
        "nobody is asked about the load balancer"
    );
}

#[tokio::test]
async fn a_load_balancer_must_send_the_header_in_time() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (door, shutdown) = (Arc::new(Door { places: 10, ..Door::default() }), Shutdown::new());
    serve_behind_proxy(listener, &door, &shutdown, Duration::from_millis(50));
    for begin in [&b"EHLO mail.example.org\r\n"[..], b"PROXY TCP4 192.0", b""] {
        let mut client = connect(address, LIMIT).await.unwrap();
        client.write_all(begin).await.unwrap();
        let mut said = Vec::new();
        // Closed with unread octets, the connection may end in a reset.
        let _ = tokio::time::timeout(LIMIT, client.read_to_end(&mut said)).await.unwrap();
        assert!(said.is_empty(), "{said:?}");
    }
    assert!(door.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stranger_s_header_is_only_octets() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (door, shutdown) = (Arc::new(Door { places: 10, ..Door::default() }), Shutdown::new());
    let elsewhere = vec!["192.0.2.0/24".parse().unwrap()];
    let proxies = Arc::new(TrustedProxies { networks: elsewhere, patience: LIMIT });
    let admission: Arc<dyn Admission> = Arc::clone(&door) as _;
    tokio::spawn(accept_loop_behind(proxies, listener, "smtp", admission, shutdown, tell));
    let mut client = connect(address, LIMIT).await.unwrap();
    let own = client.local_addr().unwrap();
    client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.9 4711 25\r\n").await.unwrap();
    let mut said = vec![0; format!("{own} PROXY").len()];
    tokio::time::timeout(LIMIT, client.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(said).unwrap(), format!("{own} PROXY"));
}

#[tokio::test]
async fn waiting_for_a_header_does_not_hold_up_the_end() {
    let listener = bind(&[any("127.0.0.1:0")]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (door, shutdown) = (Arc::new(Door { places: 10, ..Door::default() }), Shutdown::new());
    serve_behind_proxy(listener, &door, &shutdown, LIMIT);
    let client = connect(address, LIMIT).await.unwrap();
    eventually(|| shutdown.tasks() == 2).await;
    shutdown.begin();
    assert_eq!(shutdown.wait_idle(LIMIT).await, 0);
    drop(client);
}
