//! The control socket: a request and its answer, one line of JSON each, over a Unix
//! socket that only its owner may open (0600). Lines that tell how far it has come may stand before the answer.
//!
//! A connection carries one request. The socket's file is the server's sign of being
//! ready, and it is removed at shutdown.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::WriteHalf;
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use crate::{Admin, Progress, Reporter, Request, Response};

/// The socket's name under `data_dir`.
pub const SOCKET: &str = "control.sock";

/// Longest request or answer line, in bytes.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(100);

/// A local client that says nothing is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds the socket. An old file is replaced: whoever calls this holds the lock on the
/// data directory, so no other server can be behind it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // The data directory is 0700 itself, so nobody gets in between.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests until the future is dropped.
pub async fn serve(listener: UnixListener, admin: Arc<Admin>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &admin).await {
                        tracing::debug!(%error, "control connection");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, admin: &Admin) -> io::Result<()> {
    // Passwords may stand in both lines.
    let mut line = Zeroizing::new(String::new());
    let (read, mut write) = stream.split();
    tokio::time::timeout(PATIENCE, BufReader::new(read.take(MAX_LINE)).read_line(&mut line))
        .await??;
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let text =
                format!("the request is not understood, is the server of another version? {error}");
            send(&mut write, &Answer::Err(text)).await?;
            return write.shutdown().await;
        }
    };
    let (reporter, mut heard) = Reporter::new();
    let work = admin.run_with(request, &reporter);
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            Ok(()) = heard.changed() => {
                let progress = heard.borrow_and_update().clone();
                send(&mut write, &Answer::Progress(progress)).await?;
                // What comes faster than people read is left out.
                tokio::select! {
                    outcome = &mut work => break outcome,
                    () = tokio::time::sleep(PROGRESS) => {}
                }
            }
        }
    };
    let answer = match outcome {
        Ok(response) => Answer::Ok(Box::new(response)),
        Err(error) => Answer::Err(error.to_string()),
    };
    send(&mut write, &answer).await?;
    write.shutdown().await
}

/// A line from the server.
#[derive(Serialize, Deserialize)]
enum Answer {
    Progress(Progress),
    Ok(Box<Response>),
    Err(String),
}

async fn send(write: &mut WriteHalf<'_>, answer: &Answer) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(answer)?);
    line.push(b'\n');
    write.write_all(&line).await
}

/// Sends a request to the server behind the socket.
///
/// The outer error means that no server answers there; the inner one is the server's.
pub async fn call(path: &Path, request: &Request) -> io::Result<Result<Response, String>> {
    call_with(path, request, |_| {}).await
}

/// As [`call`]; `progress` hears how far it has come.
pub async fn call_with(
    path: &Path,
    request: &Request,
    mut progress: impl FnMut(Progress),
) -> io::Result<Result<Response, String>> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = Zeroizing::new(serde_json::to_vec(request)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = BufReader::new(stream.take(MAX_LINE));
    loop {
        let mut line = Zeroizing::new(String::new());
        lines.read_line(&mut line).await?;
        if line.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection without an answer",
            ));
        }
        match serde_json::from_str(&line)? {
            Answer::Progress(heard) => progress(heard),
            Answer::Ok(response) => return Ok(Ok(*response)),
            Answer::Err(text) => return Ok(Err(text)),
        }
    }
}
