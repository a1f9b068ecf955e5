//! What a 250 and an OK promise when the process is killed in the middle of everything.

#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;
#[path = "support/wait.rs"]
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use letter::{BOB, message};
use letterlock_testkit::{imap, smtp};
use mail::wait_for_mail;
use place::{ANN, Place, place};
use tokio::task::JoinSet;
use wait::wait_for_json;

const ROUNDS: usize = 6;
const CONNECTIONS: usize = 8;
/// The server is killed when so many messages of a round were accepted, a few more or less.
const BEFORE_THE_KILL: usize = 40;

/// What is known of the mailbox so far.
#[derive(Default)]
struct Known {
    /// Subjects that were answered with 250 or OK.
    promised: BTreeSet<String>,
    /// Subjects that were sent, whatever became of them.
    sent: BTreeSet<String>,
    /// Whom each UID named when it was seen.
    uids: BTreeMap<u32, String>,
}

impl Known {
    /// Holds what is in the mailbox now against all that is known.
    fn check(&mut self, mail: &[(u32, String)]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (uid, subject) in mail {
            ensure!(seen.insert(subject.clone()), "{subject} is there twice");
            ensure!(self.sent.contains(subject), "{subject} was never sent");
            let before = self.uids.entry(*uid).or_insert_with(|| subject.clone());
            ensure!(before == subject, "UID {uid} named {before} and names {subject} now");
        }
        let lost: Vec<_> = self.promised.difference(&seen).collect();
        ensure!(lost.is_empty(), "promised and lost: {lost:?}");
        Ok(())
    }
}

/// Logs in, waits until nothing waits to be filed any more, and checks the mailbox.
async fn check(place: &Place, known: &mut Known) -> Result<imap::Client> {
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_json(&place.server, &["queue", "list"], |queue| *queue == serde_json::json!([]))
        .await?;
    let mail = wait_for_mail(&mut client, "INBOX", 0).await?;
    known.check(&mail)?;
    // What a crash leaves is nothing that an operator would have to look at.
    let log = place.server.log();
    let alarm = log.lines().find(|line| line.contains(" ERROR ") || line.contains("panicked"));
    ensure!(alarm.is_none(), "{alarm:?}");
    Ok(client)
}

/// What one client sent, and what of it was promised.
#[derive(Default)]
struct Outcome {
    sent: Vec<String>,
    promised: Vec<String>,
}

/// Delivers on one connection until the server is gone.
async fn deliver_until_killed(
    address: SocketAddr,
    prefix: String,
    accepted: Arc<AtomicUsize>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(mut client) = smtp::Client::connect(address).await else { return outcome };
    if client.ehlo("client.test").await.is_err() {
        return outcome;
    }
    for number in 0.. {
        let subject = format!("{prefix}-{number}");
        outcome.sent.push(subject.clone());
        match client.deliver(BOB, &[ANN], &message(&subject)).await {
            Ok(reply) if reply.code == 250 => {
                outcome.promised.push(subject);
                accepted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(_) => return outcome,
        }
    }
    outcome
}

/// APPENDs until the server is gone.
async fn append_until_killed(mut client: imap::Client, prefix: String) -> Outcome {
    let mut outcome = Outcome::default();
    for number in 0.. {
        let subject = format!("{prefix}-{number}");
        outcome.sent.push(subject.clone());
        match client.append("INBOX", "", &message(&subject)).await {
            Ok(_) => outcome.promised.push(subject),
            Err(_) => return outcome,
        }
    }
    outcome
}

/// One round: eight connections deliver, one may append, and in the middle of it the process is killed.
async fn round(
    place: &mut Place,
    known: &mut Known,
    name: &str,
    appending: Option<imap::Client>,
) -> Result<()> {
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let prefix = format!("{name}-{number}");
        clients.spawn(deliver_until_killed(place.server.smtp(), prefix, Arc::clone(&accepted)));
    }
    if let Some(client) = appending {
        clients.spawn(append_until_killed(client, format!("{name}-append")));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while accepted.load(Ordering::SeqCst) < BEFORE_THE_KILL {
        ensure!(Instant::now() < deadline, "only {accepted:?} messages were accepted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    place.server.kill9()?;
    for Outcome { sent, promised } in clients.join_all().await {
        known.sent.extend(sent);
        known.promised.extend(promised);
    }
    place.server.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_to_an_open_mailbox_is_there_once_after_kill_9() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut known = Known::default();
    for number in 0..ROUNDS {
        // Open before the kill, so that mail is filed directly, and a session has seen UIDs.
        let appending = check(&place, &mut known).await?;
        let name = format!("open-{number}");
        round(&mut place, &mut known, &name, Some(appending)).await?;
    }
    check(&place, &mut known).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_to_a_locked_mailbox_is_there_once_after_kill_9() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut known = Known::default();
    for number in 0..ROUNDS {
        round(&mut place, &mut known, &format!("locked-{number}"), None).await?;
    }
    check(&place, &mut known).await?;
    // Once more killed while the rest of the parked mail may still be filed: nothing doubles, no UID changes.
    place.server.kill9()?;
    place.server.start().await?;
    check(&place, &mut known).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_while_it_files_parked_mail_loses_and_doubles_nothing() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut known = Known::default();
    let mut client = place.server.smtp_client().await?;
    for number in 0..150 {
        let subject = format!("parked-{number}");
        let reply = client.deliver(BOB, &[ANN], &message(&subject)).await?;
        ensure!(reply.code == 250, "{reply}");
        known.sent.insert(subject.clone());
        known.promised.insert(subject);
    }
    for part in [1, 40, 90] {
        let mut client = place.server.imap_client(ANN, &place.password).await?;
        // Some are there, and most likely not all.
        for (uid, subject) in wait_for_mail(&mut client, "INBOX", part).await? {
            let before = known.uids.entry(uid).or_insert_with(|| subject.clone());
            ensure!(*before == subject, "UID {uid} named {before} and names {subject} now");
        }
        place.server.kill9()?;
        place.server.start().await?;
    }
    check(&place, &mut known).await.map(drop)
}

#[tokio::test]
async fn what_imap_answered_with_ok_is_there_after_kill_9() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    for number in 1..=6 {
        client.append("INBOX", "", &message(&format!("m{number}"))).await?;
    }
    client.select("INBOX").await?;
    client.command("CREATE Kept/Deep").await?;
    client.command("UNSUBSCRIBE Trash").await?;
    client.command("UID COPY 1 Kept/Deep").await?;
    client.command("UID MOVE 2 Kept/Deep").await?;
    client.command("UID STORE 3 +FLAGS (\\Answered $Todo)").await?;
    client.command("UID STORE 6 +FLAGS (\\Deleted)").await?;
    client.command("EXPUNGE").await?;
    let before = client.select("INBOX").await?;
    place.server.kill9()?;
    place.server.start().await?;

    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let names = |mail: Vec<(u32, String)>| {
        mail.into_iter().map(|(uid, subject)| format!("{uid} {subject}")).collect::<Vec<_>>()
    };
    let inbox = names(wait_for_mail(&mut client, "INBOX", 0).await?);
    ensure!(inbox == ["1 m1", "3 m3", "4 m4", "5 m5"], "{inbox:?}");
    ensure!(client.uid_search("ANSWERED KEYWORD $Todo").await? == [3]);
    let kept = names(wait_for_mail(&mut client, "Kept/Deep", 0).await?);
    ensure!(kept == ["1 m1", "2 m2"], "{kept:?}");
    let subscribed = client.command("LIST (SUBSCRIBED) \"\" Trash").await?;
    ensure!(subscribed.len() == 1, "{subscribed:?}");

    // What was expunged had the highest UID: it never names another message.
    client.append("INBOX", "", &message("m7")).await?;
    let after = client.select("INBOX").await?;
    let validity =
        |lines: &[String]| lines.iter().find(|line| line.contains("UIDVALIDITY")).cloned();
    ensure!(validity(&before) == validity(&after) && validity(&after).is_some());
    let newest = client.uid_search("SUBJECT m7").await?;
    ensure!(newest.len() == 1 && newest[0] > 6, "{newest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_are_whole_or_not_there_after_kill_9() -> Result<()> {
    let mut place = place(|setup| setup.set("limits", "memory_per_message", "\"64KiB\"")).await?;
    // Longer than what goes into one transaction.
    let text = |subject: &str| {
        [&message(subject)[..], format!("{subject} ").repeat(100_000).as_bytes(), b"\r\n"].concat()
    };
    let mut promised = BTreeSet::new();
    for round in 0..3 {
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for number in 0..4 {
            let (address, accepted) = (place.server.smtp(), Arc::clone(&accepted));
            clients.spawn(async move {
                let mut taken = Vec::new();
                let Ok(mut client) = smtp::Client::connect(address).await else { return taken };
                if client.ehlo("client.test").await.is_err() {
                    return taken;
                }
                for message in 0.. {
                    let subject = format!("large-{round}-{number}-{message}");
                    match client.deliver(BOB, &[ANN], &text(&subject)).await {
                        Ok(reply) if reply.code == 250 => taken.push(subject),
                        _ => break,
                    }
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
                taken
            });
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while accepted.load(Ordering::SeqCst) < 4 {
            ensure!(Instant::now() < deadline, "only {accepted:?} messages were accepted");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        place.server.kill9()?;
        promised.extend(clients.join_all().await.into_iter().flatten());
        place.server.start().await?;
    }
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_json(&place.server, &["queue", "list"], |queue| *queue == serde_json::json!([]))
        .await?;
    let mut seen = BTreeSet::new();
    for (uid, subject) in wait_for_mail(&mut client, "INBOX", 0).await? {
        let body = client.fetch_body(uid).await?;
        ensure!(body.ends_with(&text(&subject)), "{subject} is not whole");
        ensure!(seen.insert(subject.clone()), "{subject} is there twice");
    }
    let lost: Vec<_> = promised.difference(&seen).collect();
    ensure!(lost.is_empty(), "promised and lost: {lost:?}");
    Ok(())
}

#[test]
fn the_check_notices_loss_doubling_reuse_and_strangers() {
    let known = || Known {
        promised: ["a", "b"].map(str::to_owned).into(),
        sent: ["a", "b", "c"].map(str::to_owned).into(),
        uids: [(1, "a".to_owned())].into(),
    };
    let check = |mail: &[(u32, &str)]| {
        let mail: Vec<_> =
            mail.iter().map(|(uid, subject)| (*uid, (*subject).to_owned())).collect();
        known().check(&mail).is_ok()
    };
    assert!(check(&[(1, "a"), (2, "b")]) && check(&[(1, "a"), (2, "b"), (3, "c")]));
    assert!(!check(&[(1, "a")]), "b is lost");
    assert!(!check(&[(1, "a"), (2, "b"), (3, "a")]), "a is there twice");
    assert!(!check(&[(1, "b"), (2, "a")]), "UID 1 named a");
    assert!(!check(&[(1, "a"), (2, "b"), (3, "d")]), "d was never sent");
}
