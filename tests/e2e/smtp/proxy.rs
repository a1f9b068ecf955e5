//! Load balancers that speak the PROXY protocol, in front of the real binary.

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::only_message;
use crate::place::{Place, place};

/// Says everything at once, as a load balancer may, and reads until the server closes.
async fn talk(address: std::net::SocketAddr, said: &[u8]) -> Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(said).await?;
    let mut heard = Vec::new();
    let read = socket.read_to_end(&mut heard);
    tokio::time::timeout(std::time::Duration::from_secs(30), read).await.context("no end")??;
    Ok(String::from_utf8(heard)?)
}

async fn behind_proxies(listeners: &[&str]) -> Result<Place> {
    place(|setup| {
        listeners
            .iter()
            .fold(setup, |setup, listener| setup.set("proxy", listener, "[\"127.0.0.1\"]"))
            .set("limits", "proxy_header", "\"500ms\"")
    })
    .await
}

const LETTER: &str = "EHLO mail.far.test\r\nMAIL FROM:<bob@far.test>\r\n\
                      RCPT TO:<ann@example.test>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\nQUIT\r\n";

#[tokio::test]
async fn the_client_behind_a_load_balancer_is_the_one_that_counts() -> Result<()> {
    let place = behind_proxies(&["smtp"]).await?;
    let said = format!("PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n{LETTER}");
    let heard = talk(place.server.smtp(), said.as_bytes()).await?;
    ensure!(heard.contains("\r\n250 2.0.0 Accepted as "), "{heard}");
    let message = String::from_utf8(only_message(&place).await?)?;
    ensure!(message.contains("Received: from mail.far.test ([192.0.2.7])"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_load_balancer_must_send_the_header_and_nobody_else_may() -> Result<()> {
    let place = behind_proxies(&["smtp", "imap", "imaps", "pop3"]).await?;
    let server = &place.server;
    for silent in [server.smtp(), server.imap(), server.imaps(), server.pop3()] {
        let heard = talk(silent, b"").await?;
        ensure!(heard.is_empty(), "{silent}: {heard}");
    }
    let header = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 143\r\n";
    let heard = talk(server.imap(), format!("{header}a LOGOUT\r\n").as_bytes()).await?;
    ensure!(heard.starts_with("* OK "), "{heard}");
    let heard = talk(server.pop3(), format!("{header}QUIT\r\n").as_bytes()).await?;
    ensure!(heard.starts_with("+OK "), "{heard}");
    // No load balancer stands in front of submission.
    let heard = talk(server.submission(), format!("{header}QUIT\r\n").as_bytes()).await?;
    ensure!(heard.lines().last().is_some_and(|line| line.starts_with("521 5.7.1")), "{heard}");
    Ok(())
}
