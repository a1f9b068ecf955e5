//! Submission: who may send as whom, and what is made of the message.

use anyhow::{Result, ensure};
use letterlock_testkit::mx::{FakeMx, Script};
use letterlock_testkit::smtp;

use crate::mail::wait_for_mail;
use crate::only_message;
use crate::place::{ANN, Place, place};

/// A place whose mail to other domains goes to a scripted exchanger.
async fn with_smarthost() -> Result<(Place, FakeMx)> {
    let mx = FakeMx::start(Script::new("smart.test"))?;
    let routes = format!("{{ \"*\" = \"{}\" }}", mx.address());
    Ok((place(|setup| setup.set("outbound", "routes", &routes)).await?, mx))
}

#[tokio::test]
async fn passwords_are_taken_over_tls_only() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = smtp::Client::connect(place.server.submission()).await?;
    client.ehlo("client.test").await?;
    let reply = client.auth_plain(ANN, &place.password).await?;
    ensure!(reply.to_string().starts_with("538 5.7.11"), "{reply}");
    client.ask(&format!("MAIL FROM:<{ANN}>"), "530").await?;
    client.starttls(place.server.client_tls()?, "mx.example.test").await?;
    client.ehlo("client.test").await?;
    client.ask(&format!("MAIL FROM:<{ANN}>"), "530 5.7.0").await?;
    client.ask("AUTH CRAM-MD5", "504").await?;
    client.ask("AUTH PLAIN", "334").await?;
    client.ask("*", "501").await?;
    client.ask("AUTH PLAIN =nonsense=", "501").await?;
    ensure!(client.auth_plain(ANN, "wrong password").await?.code == 535);
    ensure!(client.auth_plain("nobody@example.test", "wrong password").await?.code == 535);
    let reply = client.auth_login(ANN, &place.password).await?;
    ensure!(reply.code == 235, "{reply}");
    client.ask("AUTH PLAIN", "503").await?;
    Ok(())
}

#[tokio::test]
async fn nobody_sends_in_somebody_elses_name() -> Result<()> {
    let place = place(|setup| setup).await?;
    place.server.add_account("eve@example.test").await?;
    place.server.run(&["alias", "add", "sales@example.test", ANN]).await?;
    let mut client = place.server.submit_client(ANN, &place.password).await?;
    for other in ["eve@example.test", "x@far.test", "nobody@example.test"] {
        client.ask(&format!("MAIL FROM:<{other}>"), "553 5.7.1").await?;
    }
    let forged = b"From: eve@example.test\r\nSubject: forged\r\n\r\nx\r\n";
    let reply = client.deliver(ANN, &[ANN], forged).await?;
    ensure!(reply.to_string().starts_with("553 5.7.1"), "{reply}");
    for several in [
        "From: ann@example.test\r\nFrom: eve@example.test\r\n\r\nx\r\n",
        "From: ann@example.test, eve@example.test\r\n\r\nx\r\n",
        "Subject: nobody\r\n\r\nx\r\n",
    ] {
        let reply = client.deliver(ANN, &[ANN], several.as_bytes()).await?;
        ensure!(reply.to_string().starts_with("550 5.6.0"), "{reply}");
    }
    for own in [ANN, "ann+news@example.test", "sales@example.test"] {
        let text = format!("From: {own}\r\nSubject: own\r\n\r\nx\r\n");
        let reply = client.deliver(own, &[ANN], text.as_bytes()).await?;
        ensure!(reply.code == 250, "{own}: {reply}");
    }
    let mut reader = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut reader, "INBOX", 3).await?.len() == 3);
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_added_bcc_goes_and_the_message_is_signed() -> Result<()> {
    let (place, mx) = with_smarthost().await?;
    let mut client = place.server.submit_client(ANN, &place.password).await?;
    let text = format!(
        "From: Ann <{ANN}>\r\nTo: x@far.test\r\nBcc: y@far.test,\r\n secret@far.test\r\nSubject: s\r\n\r\nbody\r\n"
    );
    let reply = client.deliver(ANN, &["x@far.test", "y@far.test", ANN], text.as_bytes()).await?;
    ensure!(reply.code == 250, "{reply}");
    let sent = mx.wait_for(1, std::time::Duration::from_secs(30)).await?.remove(0);
    let own = String::from_utf8(only_message(&place).await?)?;
    for message in [sent.text(), own] {
        ensure!(message.ends_with("\r\n\r\nbody\r\n"), "{message}");
        for field in
            ["\r\nDate: ", "\r\nMessage-ID: <", "DKIM-Signature: v=1;", "\r\nSubject: s\r\n"]
        {
            ensure!(message.contains(field), "{field:?} is missing: {message}");
        }
        ensure!(!message.contains("Bcc") && !message.contains("secret@"), "{message}");
        ensure!(message.contains(" with ESMTPSA "), "{message}");
        ensure!(
            !message.contains("127.0.0.1") && !message.contains("client.test"),
            "where Ann is: {message}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_complete_message_keeps_its_date_and_message_id() -> Result<()> {
    let place = place(|setup| setup).await?;
    let text = format!(
        "Date: Fri, 20 Nov 2026 10:00:00 +0100\r\nMessage-ID: <mine@laptop>\r\nFrom: {ANN}\r\n\r\n.\r\n.x\r\n"
    );
    let mut client = place.server.submit_client(ANN, &place.password).await?;
    ensure!(client.deliver(ANN, &[ANN], text.as_bytes()).await?.code == 250);
    let own = only_message(&place).await?;
    ensure!(own.ends_with(text.as_bytes()), "{}", String::from_utf8_lossy(&own));
    Ok(())
}

#[tokio::test]
async fn recipients_of_ours_are_checked_at_submission() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.submit_client(ANN, &place.password).await?;
    client.ask(&format!("MAIL FROM:<{ANN}>"), "250").await?;
    client.ask("RCPT TO:<nobody@example.test>", "550 5.1.1").await?;
    client.ask("RCPT TO:<x@far.test>", "250").await?;
    client.ask("RCPT TO:<Postmaster>", "250").await?;
    client.quit().await
}
