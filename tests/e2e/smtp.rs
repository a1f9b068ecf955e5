//! SMTP dialogues: port 25 and submission, as clients of all kinds lead them.

#[path = "support/deliver.rs"]
mod deliver;
#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;
#[path = "smtp/proxy.rs"]
mod proxy;
#[path = "smtp/relaying.rs"]
mod relaying;
#[path = "smtp/retry.rs"]
mod retry;
#[path = "smtp/submission.rs"]
mod submission;
#[path = "support/wait.rs"]
mod wait;

use anyhow::{Context as _, Result, ensure};
use letter::{BOB, message};
use letterlock_testkit::smtp::{self, stuffed};
use letterlock_testkit::{imap, pop3};
use mail::wait_for_mail;
use place::{ANN, Place, place};

/// The octets of the only message in Ann's INBOX.
async fn only_message(place: &Place) -> Result<Vec<u8>> {
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let held = wait_for_mail(&mut client, "INBOX", 1).await?;
    ensure!(held.len() == 1, "{held:?}");
    client.fetch_body(held[0].0).await
}

/// MAIL and RCPT for a message to Ann.
async fn begin(client: &mut smtp::Client) -> Result<()> {
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250 2.1.0").await?;
    client.ask(&format!("RCPT TO:<{ANN}>"), "250 2.1.5").await.map(drop)
}

fn sorted(mut keywords: Vec<String>) -> Vec<String> {
    keywords.sort();
    keywords
}

#[tokio::test]
async fn ehlo_offers_what_works_on_each_port() -> Result<()> {
    let place = place(|setup| setup.set("limits", "message_size", "\"1MiB\"")).await?;
    let server = &place.server;
    let always = [
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=100 MAILMAX=1000",
        "PIPELINING",
        "SIZE 1048576",
        "SMTPUTF8",
    ];
    let with = |more: &[&str]| sorted(always.iter().chain(more).map(ToString::to_string).collect());
    // What changes from connection to connection is cut off.
    let offered = |keywords: Vec<String>| {
        let cut = keywords.into_iter().map(|keyword| match keyword.split_once(' ') {
            Some(("FUTURERELEASE", bounds)) if bounds.starts_with("2592000 2") => {
                "FUTURERELEASE".to_owned()
            }
            Some(("AUTH", "PLAIN LOGIN")) => "AUTH".to_owned(),
            _ => keyword,
        });
        sorted(cut.collect())
    };

    let mut client = smtp::Client::connect(server.smtp()).await?;
    ensure!(
        client.greeting.to_string().starts_with("220 mx.example.test ESMTP"),
        "{}",
        client.greeting
    );
    let keywords = offered(client.ehlo("client.test").await?);
    ensure!(keywords == with(&["STARTTLS"]), "{keywords:?}");
    client.starttls(server.client_tls()?, "mx.example.test").await?;
    let keywords = offered(client.ehlo("client.test").await?);
    ensure!(keywords == with(&["REQUIRETLS"]), "{keywords:?}");

    let mut client = smtp::Client::connect(server.submission()).await?;
    let keywords = offered(client.ehlo("client.test").await?);
    ensure!(keywords == with(&["FUTURERELEASE", "STARTTLS"]), "{keywords:?}");
    client.starttls(server.client_tls()?, "mx.example.test").await?;
    let keywords = offered(client.ehlo("client.test").await?);
    ensure!(keywords == with(&["AUTH", "FUTURERELEASE", "REQUIRETLS"]), "{keywords:?}");

    let tls = server.client_tls()?;
    let mut client =
        smtp::Client::connect_tls(server.submissions(), tls, "mx.example.test").await?;
    let keywords = offered(client.ehlo("client.test").await?);
    ensure!(keywords == with(&["AUTH", "FUTURERELEASE", "REQUIRETLS"]), "{keywords:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_pipelined_behind_starttls_and_what_was_said_before_it_is_forgotten() -> Result<()>
{
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.send_raw(b"STARTTLS\r\nRSET\r\nNOOP\r\n").await?;
    client.expect("220").await?;
    // A client that reads more than the 220 in clear text was lied to; the kit fails if there is more.
    let mut client = smtp::Client::connect(place.server.smtp()).await?;
    client.ehlo("client.test").await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.starttls(place.server.client_tls()?, "mx.example.test").await?;
    client.ask("MAIL FROM:<x@elsewhere.test>", "503").await?;
    client.ehlo("client.test").await?;
    client.ask("STARTTLS", "50").await?;
    client.ask("RCPT TO:<ann@example.test>", "503").await?;
    Ok(())
}

#[tokio::test]
async fn a_message_smuggled_by_bare_line_ends_is_refused_and_the_connection_closed() -> Result<()> {
    let place = place(|setup| setup).await?;
    let smuggled = |dot: &str| {
        format!(
            "Subject: one\r\n\r\ntext{dot}MAIL FROM:<{BOB}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n\
             Subject: two\r\n\r\nsmuggled\r\n.\r\n"
        )
    };
    for dot in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\r\n.\r\n", "\r\n\r.\r\n"] {
        let mut client = place.server.smtp_client().await?;
        begin(&mut client).await?;
        client.ask("DATA", "354").await?;
        client.send_raw(smuggled(dot).as_bytes()).await?;
        client.expect("521 5.5.2").await.with_context(|| format!("{dot:?}"))?;
        let rest = client.until_closed().await?;
        ensure!(rest.is_empty(), "after {dot:?} came {rest:?}");
    }
    for command in ["NOOP\nNOOP\r\n", "NOOP\rNOOP\r\n", "\n"] {
        let mut client = place.server.smtp_client().await?;
        client.send_raw(command.as_bytes()).await?;
        client.expect("521 5.5.2").await?;
        ensure!(client.until_closed().await?.is_empty(), "{command:?}");
    }
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 0).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn who_speaks_http_is_sent_away() -> Result<()> {
    let place = place(|setup| setup).await?;
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\n\r\nMAIL FROM:<>\r\n"]
    {
        let mut client = smtp::Client::connect(place.server.smtp()).await?;
        client.send_raw(request.as_bytes()).await?;
        client.expect("521").await?;
        ensure!(client.until_closed().await?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn port_25_neither_authenticates_nor_relays() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    let reply = client.auth_plain(ANN, &place.password).await?;
    ensure!(reply.code == 502 || reply.code == 503, "{reply}");
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask("RCPT TO:<x@far.test>", "550 5.7.1").await?;
    for odd in
        ["<x%far.test@example.test>", "<\"x@far.test\"@example.test>", "<nobody@example.test>"]
    {
        client.ask(&format!("RCPT TO:{odd}"), "550 5.1.1").await?;
    }
    client.ask("RCPT TO:<x@[127.0.0.1]>", "550").await?;
    client.ask("DATA", "554").await?;
    Ok(())
}

#[tokio::test]
async fn vrfy_tells_nothing_and_other_commands_have_their_replies() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask("VRFY ann", "252").await?;
    client.ask("VRFY nobody", "252").await?;
    client.ask("EXPN staff", "502").await?;
    client.ask("HELP", "214").await?;
    client.ask("NOOP x", "250").await?;
    client.ask("RSET", "250").await?;
    client.ask("NONSENSE", "500").await?;
    client.ask("RCPT TO:<ann@example.test>", "503").await?;
    client.ask("MAIL FROM:<unclosed", "501").await?;
    client.ask("MAIL FROM:<a@x.test> FOO=bar", "555").await?;
    client.ask("HELO client.test", "250").await?;
    client.quit().await
}

#[tokio::test]
async fn a_message_above_the_size_limit_is_refused_at_mail_and_at_its_end() -> Result<()> {
    let place = place(|setup| setup.set("limits", "message_size", "\"16KiB\"")).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}> SIZE=16385"), "552 5.3.4").await?;
    let large = [&message("large")[..], "x\r\n".repeat(6_000).as_bytes()].concat();
    let reply = client.deliver(BOB, &[ANN], &large).await?;
    ensure!(reply.to_string().starts_with("552 5.3.4"), "{reply}");
    // Both sides agree on what follows.
    begin(&mut client).await?;
    let halves = large.split_at(9_000);
    client.send(&format!("BDAT {}", halves.0.len())).await?;
    client.send_raw(halves.0).await?;
    client.expect("250").await?;
    client.send(&format!("BDAT {} LAST", halves.1.len())).await?;
    client.send_raw(halves.1).await?;
    client.expect("552 5.3.4").await?;
    let reply = client.deliver(BOB, &[ANN], &message("small")).await?;
    ensure!(reply.code == 250, "{reply}");
    ensure!(only_message(&place).await?.ends_with(&message("small")));
    Ok(())
}

#[tokio::test]
async fn a_client_that_makes_too_many_errors_is_sent_away() -> Result<()> {
    let place = place(|setup| setup.set("limits", "smtp_errors", "3")).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    for number in 0..3 {
        client.ask(&format!("RCPT TO:<guess{number}@example.test>"), "550").await?;
    }
    client.ask("RCPT TO:<guess@example.test>", "421 4.7.0").await?;
    ensure!(client.until_closed().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_message_in_chunks_of_any_size_is_the_same_as_by_data() -> Result<()> {
    let place = place(|setup| setup).await?;
    let text = [&message("chunks")[..], b".\r\n..\r\n.dot\r\n\r\n.\r\nend\r\n"].concat();
    let mut client = place.server.smtp_client().await?;
    let reply = client.deliver(BOB, &[ANN], &text).await?;
    ensure!(reply.code == 250, "{reply}");
    for size in [1, 2, 7, 64, text.len()] {
        begin(&mut client).await?;
        let mut wire = Vec::new();
        for chunk in text.chunks(size) {
            wire.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
        }
        // RFC 3030 §2: the last one may be empty.
        wire.extend_from_slice(b"BDAT 0 LAST\r\n");
        client.send_raw(&wire).await?;
        for _ in 0..=text.chunks(size).count() {
            client.expect("250").await?;
        }
    }
    // Within a series nothing else may come (§2), and a series without a recipient is read and refused.
    begin(&mut client).await?;
    client.send_raw(b"BDAT 3\r\nabc").await?;
    client.expect("250").await?;
    client.ask("DATA", "503").await?;
    client.ask("RSET", "250").await?;
    client.send_raw(b"BDAT 6 LAST\r\nQUIT\r\n").await?;
    client.expect("503").await?;
    client.ask("NOOP", "250").await?;

    let mut reader = place.server.imap_client(ANN, &place.password).await?;
    let held = wait_for_mail(&mut reader, "INBOX", 6).await?;
    ensure!(held.len() == 6, "{held:?}");
    for (uid, _) in held {
        let body = reader.fetch_body(uid).await?;
        ensure!(body.ends_with(&text), "{}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

#[tokio::test]
async fn a_pipelined_group_is_answered_in_order() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    let group = format!(
        "MAIL FROM:<{BOB}>\r\nRCPT TO:<no@example.test>\r\nRCPT TO:<{ANN}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n"
    );
    client.send_raw(group.as_bytes()).await?;
    for expected in ["250 2.1.0", "550 5.1.1", "250 2.1.5", "250 2.1.5", "354"] {
        client.expect(expected).await?;
    }
    let rest = [&stuffed(&message("piped"))[..], b"RSET\r\nNOOP\r\nQUIT\r\n"].concat();
    client.send_raw(&rest).await?;
    for expected in ["250 2.0.0", "250", "250", "221"] {
        client.expect(expected).await?;
    }
    client.until_closed().await?;
    ensure!(only_message(&place).await?.ends_with(&message("piped")));
    Ok(())
}

#[tokio::test]
async fn eight_bit_text_and_utf8_addresses_pass_unchanged() -> Result<()> {
    let place = place(|setup| setup).await?;
    place.server.add_account("jürgen@example.test").await?;
    place.server.run(&["alias", "add", "grüße@example.test", ANN]).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask("MAIL FROM:<bob@elsewhere.test>", "250").await?;
    client.ask("RCPT TO:<grüße@example.test>", "553 5.6.7").await?;
    client.ask("RSET", "250").await?;
    client.ask("MAIL FROM:<böb@elsewhere.test>", "553 5.6.7").await?;
    client.ask("MAIL FROM:<böb@elsewhere.test> SMTPUTF8 BODY=8BITMIME", "250").await?;
    client.ask("RCPT TO:<grüße@example.test>", "250").await?;
    let text = "From: <böb@elsewhere.test>\r\nSubject: Grüße\r\n\r\näöü \u{1F512}\r\n".as_bytes();
    let text = [text, b"latin \xe4\xff\xfe\r\n"].concat();
    let reply = client.data(&text).await?;
    ensure!(reply.code == 250, "{reply}");
    let body = only_message(&place).await?;
    ensure!(body.ends_with(&text), "{}", String::from_utf8_lossy(&body));
    let head = String::from_utf8_lossy(&body).into_owned();
    ensure!(head.starts_with("Return-Path: <böb@elsewhere.test>\r\n"), "{head}");
    ensure!(head.contains("with UTF8SMTP "), "{head}");
    Ok(())
}

#[tokio::test]
async fn nul_is_refused_in_commands_and_messages() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask("NOOP \0", "500 5.5.2").await?;
    let text = [&message("nul")[..], b"a\0b\r\n"].concat();
    let reply = client.deliver(BOB, &[ANN], &text).await?;
    ensure!(reply.to_string().starts_with("554 5.6.0"), "{reply}");
    client.ask("NOOP", "250").await?;
    Ok(())
}

#[tokio::test]
async fn too_many_recipients_are_told_apart_from_refused_ones() -> Result<()> {
    let place = place(|setup| setup.set("limits", "recipients", "2")).await?;
    let mut client = place.server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask(&format!("RCPT TO:<{ANN}>"), "250").await?;
    client.ask("RCPT TO:<ann+two@example.test>", "250").await?;
    client.ask("RCPT TO:<ann+three@example.test>", "452 4.5.3").await?;
    let reply = client.data(&message("two")).await?;
    ensure!(reply.code == 250, "{reply}");
    // Both lead to one mailbox, which gets one copy.
    only_message(&place).await.map(drop)
}

#[tokio::test]
async fn above_the_cap_of_connections_the_server_says_so_and_closes() -> Result<()> {
    let place =
        place(|setup| setup.set("limits", "exempt", "[]").set("limits", "connections_per_ip", "8"))
            .await?;
    let mut held = Vec::new();
    let refused = loop {
        let mut client = smtp::Client::connect(place.server.smtp()).await?;
        if client.greeting.code == 421 {
            ensure!(client.until_closed().await?.is_empty());
            break client.greeting;
        }
        held.push(client);
        ensure!(held.len() <= 8, "more than eight connections are open");
    };
    ensure!(refused.to_string().starts_with("421 4.7.0"), "{refused}");
    let imap = imap::Client::connect(place.server.imap()).await?;
    ensure!(imap.greeting.starts_with("* BYE"), "{}", imap.greeting);
    drop(held.pop());
    let mut again = smtp::Client::connect(place.server.smtp()).await?;
    for _ in 0..200 {
        if again.greeting.code == 220 {
            return Ok(());
        }
        again = smtp::Client::connect(place.server.smtp()).await?;
    }
    anyhow::bail!("no connection is let in after one was closed")
}

#[tokio::test]
async fn a_client_that_says_nothing_for_too_long_is_told_and_closed() -> Result<()> {
    let place = place(|setup| {
        setup
            .set("limits", "smtp_command", "\"300ms\"")
            .set("limits", "smtp_data", "\"300ms\"")
            .set("limits", "login_timeout", "\"300ms\"")
            .set("limits", "tls_handshake", "\"300ms\"")
    })
    .await?;
    let mut silent = place.server.smtp_client().await?;
    let mut half = place.server.smtp_client().await?;
    begin(&mut half).await?;
    half.ask("DATA", "354").await?;
    half.send_raw(b"Subject: half\r\n").await?;
    silent.expect("421 4.4.2").await?;
    half.expect("421 4.4.2").await?;
    ensure!(silent.until_closed().await?.is_empty() && half.until_closed().await?.is_empty());

    let mut imap = imap::Client::connect(place.server.imap()).await?;
    ensure!(imap.until_closed().await?.starts_with("* BYE"));
    pop3::Client::connect(place.server.pop3()).await?.until_closed().await?;
    // A port that begins with TLS says nothing to who does not begin.
    let mut mute = tokio::net::TcpStream::connect(place.server.imaps()).await?;
    let mut octets = [0; 16];
    let read = tokio::io::AsyncReadExt::read(&mut mute, &mut octets);
    let count = tokio::time::timeout(std::time::Duration::from_secs(20), read).await??;
    ensure!(count == 0, "{count} octets");
    Ok(())
}
