//! Parked mail in numbers: filed while its owner already works, and never out of a session's sight.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::imap;

use crate::deliver::deliver;
use crate::json::json;
use crate::letter::{BOB, message};
use crate::mail::wait_for_mail;
use crate::place::{ANN, Place, place};
use crate::wait::wait_for_json;

/// Letters that come while their owner is away; `LETTERLOCK_PARKED` asks for more.
fn letters() -> Result<usize> {
    Ok(std::env::var("LETTERLOCK_PARKED").map_or(Ok(1200), |text| text.parse())?)
}

/// Brings letters `from..to` over some connections.
async fn park(place: &Place, from: usize, to: usize) -> Result<()> {
    const CONNECTIONS: usize = 4;
    let connection = async |first: usize| {
        let mut client = place.server.smtp_client().await?;
        for (sent, number) in (first..to).step_by(CONNECTIONS).enumerate() {
            // The server takes only so many messages in one session.
            if sent % 500 == 499 {
                client = place.server.smtp_client().await?;
            }
            let reply = client.deliver(BOB, &[ANN], &message(&format!("letter-{number}"))).await?;
            ensure!(reply.code == 250, "{reply}");
        }
        anyhow::Ok(())
    };
    tokio::try_join!(
        connection(from),
        connection(from + 1),
        connection(from + 2),
        connection(from + 3)
    )?;
    Ok(())
}

/// Works in INBOX until it holds this many: every step down the list of what the session was told.
async fn work(client: &mut imap::Client, wanted: usize) -> Result<Vec<usize>> {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut told = exists(&client.command("SELECT INBOX").await?);
    while told.last().is_none_or(|last| *last < wanted) {
        ensure!(Instant::now() < deadline, "the last that came was {:?}", told.last());
        if told.last().is_some_and(|last| *last > 0) {
            let lines = client.command("STORE 1 +FLAGS (\\Flagged)").await?;
            told.extend(exists(&lines));
            let lines = client.command("FETCH * (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
            ensure!(lines.iter().any(|line| line.contains("Subject: letter-")), "{lines:?}");
            told.extend(exists(&lines));
        }
        told.extend(exists(&client.command("NOOP").await?));
    }
    Ok(told)
}

/// The numbers of `* n EXISTS`.
fn exists(lines: &[String]) -> Vec<usize> {
    let numbers = lines.iter().filter_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS"));
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[tokio::test]
async fn thousands_of_parked_letters_are_filed_while_their_owner_works() -> Result<()> {
    let place = place(|setup| setup).await?;
    let (before, all) = (letters()?, letters()? + 40);
    park(&place, 0, before).await?;
    let parked = json(&place.server, &["account", "show", ANN]).await?;
    ensure!(parked["parked"] == before, "{parked:#}");

    let working = async {
        let mut client = place.server.imap_client(ANN, &place.password).await?;
        let told = work(&mut client, all).await?;
        anyhow::Ok((client, told))
    };
    let ((mut client, told), ()) = tokio::try_join!(working, park(&place, before, all))?;
    ensure!(told.is_sorted(), "EXISTS went back: {told:?}");
    ensure!(told.len() > 2, "all came at once: nobody could work meanwhile: {told:?}");

    let mail = wait_for_mail(&mut client, "INBOX", all).await?;
    let subjects: BTreeSet<&str> = mail.iter().map(|(_, subject)| subject.as_str()).collect();
    ensure!(mail.len() == all && subjects.len() == all, "{} of {all} letters", subjects.len());
    ensure!(mail.iter().map(|(uid, _)| uid).is_sorted());
    wait_for_json(&place.server, &["queue", "list"], |queue| *queue == serde_json::json!([]))
        .await?;
    Ok(())
}

/// Whether a letter is parked or filed at once is decided in the moment it comes; a lock or a login may fall anywhere
/// into it. The session that is there in the end hears of all of them without selecting the folder anew.
#[tokio::test]
async fn no_letter_is_out_of_sight_however_delivery_and_unlocking_meet() -> Result<()> {
    const ROUNDS: usize = 14;
    const LETTERS: usize = 6;
    let place = place(|setup| setup).await?;
    for round in 0..ROUNDS {
        let bring = async {
            for number in 0..LETTERS {
                deliver(&place.server, ANN, &format!("letter-{round}-{number}")).await?;
            }
            anyhow::Ok(())
        };
        let read = async {
            if round % 2 == 1 {
                // The lock falls among the deliveries, and the login comes after it.
                place.server.run(&["account", "lock", ANN]).await?;
            }
            let mut client = place.server.imap_client(ANN, &place.password).await?;
            let wanted = (round + 1) * LETTERS;
            let mail = wait_for_mail(&mut client, "INBOX", wanted).await;
            mail.with_context(|| format!("round {round}"))
        };
        let (mail, ()) = tokio::try_join!(read, bring)?;
        let subjects: BTreeSet<&str> = mail.iter().map(|(_, subject)| subject.as_str()).collect();
        ensure!(subjects.len() == mail.len() && mail.len() == (round + 1) * LETTERS, "{mail:?}");
        place.server.run(&["account", "lock", ANN]).await?;
    }
    Ok(())
}
