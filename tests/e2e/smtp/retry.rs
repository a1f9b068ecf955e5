//! A client that lost our 250 brings the message again, to a server that was restarted meanwhile.

use anyhow::{Result, ensure};
use letterlock_testkit::smtp;

use crate::begin;
use crate::mail::wait_for_mail;
use crate::place::{ANN, place};

const LETTER: &[u8] = b"Message-ID: <once@far.test>\r\nSubject: once\r\n\r\ntext\r\n";

#[tokio::test]
async fn a_retry_after_a_lost_reply_is_filed_once_even_after_a_restart() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    begin(&mut client).await?;
    ensure!(client.data(LETTER).await?.code == 250);
    drop(client);
    place.server.terminate().await?;
    place.server.start().await?;
    let mut retry = place.server.smtp_client().await?;
    begin(&mut retry).await?;
    let reply = retry.data(LETTER).await?;
    ensure!(reply.to_string() == "250 2.0.0 Accepted before", "{reply}");
    retry.quit().await?;

    // Who has read the reply and sends the same again means a second message.
    let mut client: smtp::Client = place.server.smtp_client().await?;
    for _ in 0..2 {
        begin(&mut client).await?;
        let reply = client.data(LETTER).await?;
        ensure!(reply.to_string().starts_with("250 2.0.0 Accepted as"), "{reply}");
    }
    client.quit().await?;
    let mut reader = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut reader, "INBOX", 3).await?.len() == 3);
    Ok(())
}
