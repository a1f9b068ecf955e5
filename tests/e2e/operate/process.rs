//! The process: start, reload, stop.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::ca::TestCa;
use letterlock_testkit::server::Letterlock;
use letterlock_testkit::{imap, smtp};

use crate::deliver::deliver;
use crate::letter::{BOB, message};
use crate::mail::wait_for_mail;
use crate::place::{ANN, place, setup};
use crate::refused::refused;

/// After a clean stop there is no log beside a database, no socket, and nothing half done.
pub(crate) fn assert_clean(server: &Letterlock) -> Result<()> {
    fn visit(folder: &Path, found: &mut Vec<String>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                visit(&entry.path(), found)?;
            } else {
                found.push(entry.path().display().to_string());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    visit(server.data_dir(), &mut found)?;
    for suffix in ["-wal", "-shm", "-journal", ".new", "control.sock"] {
        ensure!(!found.iter().any(|path| path.ends_with(suffix)), "{suffix} is left: {found:#?}");
    }
    ensure!(!found.iter().any(|path| path.contains("/spool/")), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn a_clean_stop_leaves_clean_files_and_a_restart_keeps_the_mail() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    deliver(&place.server, ANN, "parked").await?;
    place.server.terminate().await?;
    assert_clean(&place.server)?;
    place.server.start().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut client, "INBOX", 1).await?;
    deliver(&place.server, ANN, "direct").await?;
    wait_for_mail(&mut client, "INBOX", 2).await?;
    client.command("STORE 1 +FLAGS (\\Flagged)").await?;
    client.idle().await?;
    // Sessions that only wait are told and closed, so that the stop is quick.
    let started = std::time::Instant::now();
    place.server.terminate().await?;
    ensure!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    ensure!(client.until_closed().await?.contains("* BYE"));
    assert_clean(&place.server)?;
    place.server.start().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 2).await?.len() == 2);
    ensure!(client.uid_search("FLAGGED").await?.len() == 1);
    client.logout().await?;
    place.server.terminate().await?;
    let log = place.server.log();
    let alarm = log.lines().find(|line| {
        let missing = line.contains("certificate") || line.contains("swapped");
        line.contains(" ERROR ") || line.contains("panicked") || line.contains(" WARN ") && !missing
    });
    ensure!(alarm.is_none(), "{alarm:?}");
    Ok(())
}

#[tokio::test]
async fn a_transaction_under_way_ends_before_the_server_does_and_others_get_421() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let address = place.server.smtp();
    let mut idle = place.server.smtp_client().await?;
    let mut busy = place.server.smtp_client().await?;
    busy.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    busy.ask(&format!("RCPT TO:<{ANN}>"), "250").await?;
    let dialogue = async {
        idle.expect("421 4.3.2").await?;
        idle.until_closed().await?;
        ensure!(smtp::Client::connect(address).await.is_err(), "new connections are let in");
        let reply = busy.data(&message("last")).await?;
        ensure!(reply.code == 250, "{reply}");
        busy.expect("421 4.3.2").await?;
        busy.until_closed().await.map(drop)
    };
    let (stopped, dialogue) = tokio::join!(place.server.terminate(), dialogue);
    dialogue?;
    stopped?;
    assert_clean(&place.server)?;
    place.server.start().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut client, "INBOX", 1).await.map(drop)
}

#[tokio::test]
async fn who_does_not_end_in_time_is_cut_off_at_a_stop() -> Result<()> {
    let mut place = place(|setup| setup.set("limits", "drain", "\"500ms\"")).await?;
    let mut busy = place.server.smtp_client().await?;
    busy.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    busy.ask(&format!("RCPT TO:<{ANN}>"), "250").await?;
    busy.ask("DATA", "354").await?;
    busy.send_raw(b"Subject: half\r\n\r\nand").await?;
    let started = std::time::Instant::now();
    place.server.terminate().await?;
    ensure!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    busy.until_closed().await?;
    assert_clean(&place.server)
}

#[tokio::test]
async fn sighup_shows_the_new_certificate_to_new_connections_and_lets_sessions_go_on() -> Result<()>
{
    let ca = TestCa::new()?;
    let (first, second) = (ca.issue(&["mx.example.test"])?, ca.issue(&["mx.example.test"])?);
    let place = place(|setup| setup.certificate(&first)).await?;
    let server = &place.server;
    let mut running =
        imap::Client::connect_tls(server.imaps(), ca.client_config()?, "mx.example.test").await?;
    running.login(ANN, &place.password).await?;
    let shown = async || -> Result<Vec<u8>> {
        let client =
            smtp::Client::connect_tls(server.submissions(), ca.client_config()?, "mx.example.test")
                .await?;
        client.peer_certificate().context("no certificate")
    };
    let before = shown().await?;

    // A broken file changes nothing.
    std::fs::write(&first.certificate, "nonsense")?;
    server.reload()?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !server.log().contains("the certificate stays as it was") {
        ensure!(std::time::Instant::now() < deadline, "nobody says that the file is broken");
        ensure!(shown().await? == before, "a certificate that cannot be read took effect");
    }
    std::fs::copy(&second.certificate, &first.certificate)?;
    std::fs::copy(&second.key, &first.key)?;
    server.reload()?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while shown().await? == before {
        ensure!(std::time::Instant::now() < deadline, "the old certificate is shown still");
    }
    running.command("NOOP").await.map(drop)
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() -> Result<()> {
    let place = place(|setup| setup).await?;
    let why = refused(&place.server, &["serve"], "", 1).await?;
    ensure!(why.contains(&place.server.data_dir().display().to_string()), "{why}");
    // The first one goes on.
    place.server.run(&["healthcheck"]).await?;
    place.server.imap_client(ANN, &place.password).await?.logout().await
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_and_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let server = setup().set("listen", "imaps", &format!("[\"{address}\"]")).prepare()?;
    let why = refused(&server, &["serve"], "", 1).await?;
    ensure!(why.contains(&address) && why.contains("imaps"), "{why}");
    drop(taken);
    // Nothing is left behind that would stop the next try.
    server.run(&["domain", "list"]).await.map(drop)
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_stops_the_start_and_is_named() -> Result<()> {
    let missing = "\"/nonexistent/fullchain.pem\"";
    let server = setup().set("tls", "certificate", missing).set("tls", "key", missing).prepare()?;
    let output = server.cli(&["serve"]).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && errors.contains("/nonexistent/fullchain.pem"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_socket_and_no_open_files() -> Result<()> {
    let mut server = setup().prepare()?;
    let no_certificate = format!("{:?}", server.config_file());
    server.configure(|setup| setup.set("outbound", "trusted_roots", &no_certificate))?;
    let errors = refused(&server, &["serve"], "", 1).await?;
    ensure!(errors.contains("trusted_roots"), "{errors}");
    assert_clean(&server)
}

#[tokio::test]
async fn what_a_killed_server_left_is_no_obstacle_for_commands_or_a_start() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    deliver(&place.server, ANN, "parked").await?;
    place.server.kill9()?;
    ensure!(place.server.data_dir().join("control.sock").exists());
    refused(&place.server, &["healthcheck"], "", 1).await?;
    ensure!(place.server.run(&["account", "list"]).await?.contains(ANN));
    place.server.start().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut client, "INBOX", 1).await.map(drop)
}
