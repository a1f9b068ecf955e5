//! Load balancers that speak the PROXY protocol, in front of the real binary.

use anyhow::{Context as _, Result, ensure};
use letterlock_net::{ClientTls, Stream};
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

/// A connection from the load balancer for a client of this address, held open after the first line of the answer.
async fn client_of(listener: std::net::SocketAddr, client: &str) -> Result<(TcpStream, String)> {
    let mut socket = TcpStream::connect(listener).await?;
    socket.write_all(format!("PROXY TCP4 {client} 198.51.100.1 4711 25\r\n").as_bytes()).await?;
    let mut line = Vec::new();
    let first = async {
        while !line.ends_with(b"\n") {
            line.push(socket.read_u8().await?);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), first)
        .await
        .context("no answer")??;
    Ok((socket, String::from_utf8(line)?))
}

#[tokio::test]
async fn caps_and_exemptions_go_by_the_client_and_not_by_the_load_balancer() -> Result<()> {
    // The load balancer's own network is exempt: its clients are not.
    let place = place(|setup| {
        ["smtp", "imap", "pop3"]
            .iter()
            .fold(setup, |setup, listener| setup.set("proxy", listener, "[\"127.0.0.1\"]"))
            .set("limits", "connections_per_ip", "1")
    })
    .await?;
    let server = &place.server;
    let listeners = [
        (server.smtp(), "220 ", "421 4.7.0", ["192.0.2.1", "192.0.2.2"]),
        (server.imap(), "* OK", "* BYE", ["192.0.2.3", "192.0.2.4"]),
        (server.pop3(), "+OK", "-ERR", ["192.0.2.5", "192.0.2.6"]),
    ];
    for (listener, welcome, refusal, [one, other]) in listeners {
        let (held, said) = client_of(listener, one).await?;
        ensure!(said.starts_with(welcome), "{said}");
        let (_, said) = client_of(listener, one).await?;
        ensure!(said.starts_with(refusal), "the second of one client: {said}");
        let (_other, said) = client_of(listener, other).await?;
        ensure!(said.starts_with(welcome), "another client: {said}");
        drop(held);
        // Of the same client, once the first connection is over.
        let mut welcomed = false;
        for _ in 0..200 {
            welcomed = client_of(listener, one).await?.1.starts_with(welcome);
            if welcomed {
                break;
            }
        }
        ensure!(welcomed, "the place of a connection that ended stays taken");
    }
    Ok(())
}

#[tokio::test]
async fn behind_a_load_balancer_tls_begins_after_the_header() -> Result<()> {
    let place = behind_proxies(&["submissions", "imaps", "pop3s"]).await?;
    let server = &place.server;
    for (listener, welcome) in
        [(server.submissions(), "220 "), (server.imaps(), "* OK"), (server.pop3s(), "+OK")]
    {
        ensure!(talk(listener, b"").await?.is_empty(), "{listener} speaks without a header");
        for header in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"[..],
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        ] {
            let mut socket = TcpStream::connect(listener).await?;
            socket.write_all(header).await?;
            let (config, _) = ClientTls::load(None)?.opportunistic();
            let limit = std::time::Duration::from_secs(30);
            let stream = Stream::plain(socket);
            let mut secured = stream.start_tls_client(config, "mx.example.test", limit).await?;
            let mut said = vec![0; welcome.len()];
            tokio::time::timeout(limit, secured.read_exact(&mut said))
                .await
                .context("silence")??;
            ensure!(said == welcome.as_bytes(), "{}", String::from_utf8_lossy(&said));
        }
    }
    Ok(())
}

#[tokio::test]
async fn who_is_no_load_balancer_is_taken_as_who_it_is_and_cannot_pose_as_another() -> Result<()> {
    // The networks of load balancers are named for each listener, and this client is in none of them.
    let all = ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"];
    let place = place(|setup| {
        all.iter().fold(setup, |setup, listener| setup.set("proxy", listener, "[\"192.0.2.1\"]"))
    })
    .await?;
    let server = &place.server;
    let heard = talk(server.smtp(), LETTER.as_bytes()).await?;
    ensure!(heard.contains("\r\n250 2.0.0 Accepted as "), "{heard}");
    let message = String::from_utf8(only_message(&place).await?)?;
    ensure!(message.contains("Received: from mail.far.test ([127.0.0.1])"), "{message}");
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n";
    for listener in [server.smtp(), server.submission()] {
        let heard = talk(listener, format!("{header}EHLO x.test\r\nQUIT\r\n").as_bytes()).await?;
        ensure!(heard.lines().count() == 2 && heard.contains("\r\n521 5.7.1 "), "{heard}");
    }
    // To the others it is a command that does not exist, or no TLS.
    let heard = talk(server.imap(), format!("{header}a LOGOUT\r\n").as_bytes()).await?;
    ensure!(heard.starts_with("* OK ") && heard.contains("\r\nPROXY BAD "), "{heard}");
    let heard = talk(server.pop3(), format!("{header}QUIT\r\n").as_bytes()).await?;
    ensure!(heard.starts_with("+OK ") && heard.contains("\r\n-ERR "), "{heard}");
    let limit = std::time::Duration::from_secs(30);
    for listener in [server.submissions(), server.imaps(), server.pop3s()] {
        for (said, is_served) in [("", true), (header, false)] {
            let mut socket = TcpStream::connect(listener).await?;
            socket.write_all(said.as_bytes()).await?;
            let (config, _) = ClientTls::load(None)?.opportunistic();
            let secured =
                Stream::plain(socket).start_tls_client(config, "mx.example.test", limit).await;
            ensure!(secured.is_ok() == is_served, "{listener} after {said:?}");
        }
    }
    Ok(())
}
