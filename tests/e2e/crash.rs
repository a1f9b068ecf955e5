//! What a 250 and an OK promise when the process is killed in the middle of everything.

#[path = "support/command.rs"]
mod command;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use command::wait_for_json;
use letterlock_testkit::{imap, smtp};
use mail::{BOB, message, wait_for_mail};
use place::{ANN, Place, place};

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
    wait_for_json(&place.server, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    let mail = wait_for_mail(&mut client, "INBOX", 0).await?;
    known.check(&mail)?;
    Ok(client)
}

/// Delivers on one connection until the server is gone: what was sent, and what was promised.
async fn deliver_until_killed(
    address: std::net::SocketAddr,
    prefix: String,
    accepted: &AtomicUsize,
) -> (Vec<String>, Vec<String>) {
    let (mut sent, mut promised) = (Vec::new(), Vec::new());
    let Ok(mut client) = smtp::Client::connect(address).await else { return (sent, promised) };
    if client.ehlo("client.test").await.is_err() {
        return (sent, promised);
    }
    for number in 0.. {
        let subject = format!("{prefix}-{number}");
        sent.push(subject.clone());
        match client.deliver(BOB, &[ANN], &message(&subject)).await {
            Ok(reply) if reply.code == 250 => {
                promised.push(subject);
                accepted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(_) => return (sent, promised),
        }
    }
    (sent, promised)
}

/// APPENDs until the server is gone.
async fn append_until_killed(mut client: imap::Client, prefix: String) -> (Vec<String>, Vec<String>) {
    let (mut sent, mut promised) = (Vec::new(), Vec::new());
    for number in 0.. {
        let subject = format!("{prefix}-{number}");
        sent.push(subject.clone());
        match client.append("INBOX", "", &message(&subject)).await {
            Ok(_) => promised.push(subject),
            Err(_) => return (sent, promised),
        }
    }
    (sent, promised)
}

/// One round: eight connections deliver, and in the middle of it the process is killed.
async fn round(place: &mut Place, known: &mut Known, name: &str, appending: Option<imap::Client>) -> Result<()> {
    let address = place.server.smtp();
    let accepted = AtomicUsize::new(0);
    let mut outcomes = Vec::new();
    let deliveries = async {
        let connection = |number| deliver_until_killed(address, format!("{name}-{number}"), &accepted);
        let [a, b, c, d, e, f, g, h] = std::array::from_fn::<_, CONNECTIONS, _>(connection);
        let both = tokio::join!(a, b, c, d, e, f, g, h);
        [both.0, both.1, both.2, both.3, both.4, both.5, both.6, both.7]
    };
    let appends = async {
        match appending {
            Some(client) => append_until_killed(client, format!("{name}-append")).await,
            None => Default::default(),
        }
    };
    let server = &mut place.server;
    let kill = async {
        while accepted.load(Ordering::SeqCst) < BEFORE_THE_KILL {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        server.kill9()
    };
    let limit = std::time::Duration::from_secs(60);
    let (delivered, appended, killed) =
        tokio::time::timeout(limit, async { tokio::join!(deliveries, appends, kill) }).await?;
    killed?;
    outcomes.extend(delivered);
    outcomes.push(appended);
    for (sent, promised) in outcomes {
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
