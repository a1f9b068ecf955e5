//! A host of MTA-STS policies: HTTPS on an address of one's own, with an answer that the test chooses.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::background::Background;
use crate::ca::Issued;

/// What the host answers, whatever it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with this text as `text/plain`.
    Text(String),
    /// These octets, head and all.
    Raw(Vec<u8>),
    /// Nothing; the connection stays open.
    Silence,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    requests: Vec<String>,
}

/// The running host. Dropping it frees the port.
#[derive(Debug)]
pub struct PolicyHost {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _background: Background,
}

impl PolicyHost {
    /// Starts on an address; port 0 takes a free one.
    pub fn start_on(
        address: SocketAddr,
        certificate: &Issued,
        answer: Answer,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("{address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { answer, requests: Vec::new() }));
        let (shared, acceptor) =
            (Arc::clone(&state), TlsAcceptor::from(certificate.server_config()?));
        let background =
            Background::spawn("policy host", move || serve(listener, acceptor, shared))?;
        Ok(Self { state, address, _background: background })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the answer.
    pub fn answer(&self, answer: Answer) {
        lock(&self.state).answer = answer;
    }

    /// The heads of the requests so far, oldest first.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener in a runtime");
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // A client that leaves early, or does not like the certificate, is the test's affair.
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let _ = exchange(&mut stream, &state).await;
            }
        });
    }
}

async fn exchange(
    stream: &mut tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = {
        let mut state = lock(state);
        state.requests.push(String::from_utf8_lossy(&head).into_owned());
        state.answer.clone()
    };
    let octets = match answer {
        Answer::Text(text) => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
        .into_bytes(),
        Answer::Raw(octets) => octets,
        Answer::Silence => std::future::pending().await,
    };
    stream.write_all(&octets).await?;
    stream.shutdown().await
}
