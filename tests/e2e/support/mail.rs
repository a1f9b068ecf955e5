//! Mail from a stranger, and what of it is in a mailbox.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use letterlock_testkit::imap;
use letterlock_testkit::server::Letterlock;

/// Who writes to the accounts. Nobody knows the domain, so that no policy applies.
pub(crate) const BOB: &str = "bob@elsewhere.test";

/// A small message of Bob's.
pub(crate) fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: Bob <{BOB}>\r\nTo: you\r\nSubject: {subject}\r\nMessage-ID: <{subject}@elsewhere.test>\r\n\
         Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n\r\nThe text of {subject}.\r\n"
    )
    .into_bytes()
}

/// Delivers [`message`] as another server would, on a connection of its own.
pub(crate) async fn deliver(server: &Letterlock, to: &str, subject: &str) -> Result<()> {
    let mut client = server.smtp_client().await?;
    let reply = client.deliver(BOB, &[to], &message(subject)).await?;
    ensure!(reply.code == 250, "{subject}: {reply}");
    client.quit().await
}

/// Selects a folder and waits until it holds at least `count` messages: UIDs and subjects of all.
pub(crate) async fn wait_for_mail(
    client: &mut imap::Client,
    folder: &str,
    count: usize,
) -> Result<Vec<(u32, String)>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    client.select(folder).await?;
    loop {
        client.command("NOOP").await?;
        let held = client.uids().await?.len();
        if held >= count {
            return subjects(client, held).await;
        }
        if Instant::now() > deadline {
            bail!("{folder} holds {held} messages, not {count}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// UIDs and subjects of the selected folder, which holds `count` messages.
async fn subjects(client: &mut imap::Client, count: usize) -> Result<Vec<(u32, String)>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let lines = client.command("UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
    let fetched = lines.iter().filter(|line| line.starts_with("* ") && line.contains(" FETCH "));
    fetched.map(|line| subject(line)).collect()
}

fn subject(line: &str) -> Result<(u32, String)> {
    let (_, after) = line.split_once("UID ").with_context(|| format!("no UID in {line:?}"))?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    let subject = line.split("Subject: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    Ok((digits.parse()?, subject.unwrap_or_default().to_owned()))
}
