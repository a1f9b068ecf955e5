//! The control socket: a request and its answer, one line of JSON each, over a Unix
//! socket that only its owner may open (0600).
//!
//! A connection carries one request. The socket's file is the server's sign of being
//! ready, and it is removed at shutdown.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use crate::{Admin, Request, Response};

/// The socket's name under `data_dir`.
pub const SOCKET: &str = "control.sock";

/// Longest request or answer line, in bytes.
const MAX_LINE: u64 = 64 * 1024 * 1024;

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
    let outcome = match serde_json::from_str::<Request>(&line) {
        Ok(request) => admin.run(request).await.map_err(|error| error.to_string()),
        Err(error) => {
            Err(format!("the request is not understood, is the server of another version? {error}"))
        }
    };
    let mut answer = Zeroizing::new(serde_json::to_vec(&outcome)?);
    answer.push(b'\n');
    write.write_all(&answer).await?;
    write.shutdown().await
}

/// Sends a request to the server behind the socket.
///
/// The outer error means that no server answers there; the inner one is the server's.
pub async fn call(path: &Path, request: &Request) -> io::Result<Result<Response, String>> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = Zeroizing::new(serde_json::to_vec(request)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Zeroizing::new(String::new());
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection without an answer",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}
