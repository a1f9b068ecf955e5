//! What is in a mailbox.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use letterlock_testkit::imap;

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
