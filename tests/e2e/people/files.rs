//! What verification says of files in use and of damaged ones, and rotations that are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::imap;
use rustix::process::Signal;

use crate::json::json;
use crate::letter::{BOB, message};
use crate::mail::wait_for_mail;
use crate::place::{ANN, Place, place};

/// Messages that one session may bring, and a few less.
const A_SESSION: usize = 900;

/// Bodies that do not get smaller when they are compressed.
const TEXT: usize = 60_000;

/// A message with a text that no other has.
fn large(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let text = (0..TEXT).map(|at| match at % 70 {
        68 => '\r',
        69 => '\n',
        _ => {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (state >> 58) as u8)
        }
    });
    let mut bytes = message(&format!("large-{number}"));
    bytes.extend(text.map(|character| character as u8));
    bytes.extend_from_slice(b"\r\n");
    bytes
}

async fn fill(client: &mut imap::Client, count: usize) -> Result<()> {
    for number in 0..count {
        client.append("INBOX", "", &large(number)).await?;
    }
    Ok(())
}

/// How many of the messages are there, octet by octet.
async fn whole(client: &mut imap::Client) -> Result<usize> {
    let mut whole = 0;
    for (uid, subject) in wait_for_mail(client, "INBOX", 0).await? {
        let number = subject.strip_prefix("large-").and_then(|number| number.parse().ok());
        let expected = number.map(large);
        whole += usize::from(client.fetch_body(uid).await.ok() == expected);
    }
    Ok(whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_raises_no_false_alarm_beside_deliveries_and_other_commands() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    let mut owner = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut owner, "INBOX", 0).await?;
    let done = Arc::new(AtomicBool::new(false));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..3 {
        let (mut client, done) = (server.smtp_client().await?, Arc::clone(&done));
        senders.spawn(async move {
            let mut sent = 0;
            while !done.load(Ordering::SeqCst) && sent < A_SESSION {
                let subject = format!("busy-{sender}-{sent}");
                let reply = client.deliver(BOB, &[ANN], &message(&subject)).await?;
                ensure!(reply.code == 250, "{reply}");
                sent += 1;
            }
            Ok(sent)
        });
    }
    let others = async {
        let mut round = 0;
        while !done.load(Ordering::SeqCst) {
            let address = format!("guest-{round}@example.test");
            server.run(&["account", "add", &address]).await?;
            server.run(&["account", "rotate", ANN]).await?;
            server.run(&["account", "remove", &address, "--yes"]).await?;
            round += 1;
        }
        anyhow::Ok(())
    };
    let verifying = async {
        let outcome = async {
            for _ in 0..3 {
                let rows = json(server, &["verify"]).await?;
                for row in rows.as_array().context("rows")? {
                    ensure!(row["found"] == serde_json::json!([]), "{row:#}");
                }
            }
            Ok(())
        };
        let outcome = outcome.await;
        done.store(true, Ordering::SeqCst);
        outcome
    };
    let (others, verified) = tokio::join!(others, verifying);
    verified?;
    others?;
    let sent = senders.join_all().await.into_iter().sum::<Result<usize>>()?;
    wait_for_mail(&mut owner, "INBOX", sent).await.map(drop)
}

#[tokio::test]
async fn a_damaged_mailbox_is_written_anew_with_all_that_can_be_read() -> Result<()> {
    const MESSAGES: usize = 20;
    let mut place = place(|setup| setup).await?;
    let mut owner = place.server.imap_client(ANN, &place.password).await?;
    fill(&mut owner, MESSAGES).await?;
    owner.logout().await?;
    place.server.terminate().await?;
    let accounts = place.server.data_dir().join("accounts");
    let file =
        std::fs::read_dir(accounts)?.next().context("an account")??.path().join("mailbox.db");
    let mut octets = std::fs::read(&file)?;
    let page = octets.len() / 4096 * 3 / 4;
    octets[page * 4096 + 99] ^= 1;
    std::fs::write(&file, octets)?;

    place.server.start().await?;
    let server = &place.server;
    let _owner = server.imap_client(ANN, &place.password).await?;
    let output = server.cli(&["verify", ANN]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let named = format!("page {} of the file is damaged", page + 1);
    ensure!(output.status.code() == Some(1) && text.contains(&named), "{text}");
    let output = server.cli(&["verify", ANN, "--repair"]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("the file was written anew"), "{text}");

    let mut owner = server.imap_client(ANN, &place.password).await?;
    let readable = whole(&mut owner).await?;
    ensure!(readable >= MESSAGES - 1, "only {readable} of {MESSAGES} messages are left");
    ensure!(file.with_extension("db.damaged").is_file(), "the damaged file is gone");
    let output = server.cli(&["verify", ANN]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(())
}

/// A moment within a rotation of some megabytes, or a little before or after it.
fn moment() -> Result<Duration> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(Duration::from_millis(u64::from(now.subsec_micros() % 400)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_rotation_loses_no_mail() -> Result<()> {
    const MESSAGES: usize = 40;
    let mut place = place(|setup| setup).await?;
    let mut owner = place.server.imap_client(ANN, &place.password).await?;
    fill(&mut owner, MESSAGES).await?;
    for _ in 0..8 {
        let Place { server, password, .. } = &mut place;
        let moment = moment()?;
        let killed = async {
            tokio::time::sleep(moment).await;
            server.signal(Signal::KILL)
        };
        let (rotated, killed) = tokio::join!(server.cli(&["account", "rotate", ANN]), killed);
        killed?;
        // Whether it was done before the kill or not at all is for the directory to say.
        rotated?;
        server.kill9()?;
        server.start().await?;
        owner = server.imap_client(ANN, password).await?;
        let mail = wait_for_mail(&mut owner, "INBOX", MESSAGES).await?;
        ensure!(mail.len() == MESSAGES, "killed after {moment:?}: {} messages", mail.len());
        let rows = json(server, &["verify", ANN]).await?;
        ensure!(rows[0]["found"] == serde_json::json!([]), "killed after {moment:?}: {rows:#}");
    }
    ensure!(whole(&mut owner).await? == MESSAGES);
    place.server.run(&["account", "rotate", ANN]).await.map(drop)
}
