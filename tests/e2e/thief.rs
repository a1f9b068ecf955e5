//! Whoever steals the disk, and even the server's own key, reads no user-held mail.
//!
//! The thief here looks at every octet of every file, and with the server's key at every page of the server's own
//! databases (free pages and logs included) and at every message that this key can open. To show that such a look
//! finds things, each test also hides a canary where the thief does see it.

#[path = "support/json.rs"]
mod json;
#[path = "thief/loot.rs"]
mod loot;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;
#[path = "support/wait.rs"]
mod wait;

use anyhow::{Context as _, Result, ensure};
use json::json;
use letterlock_directory::Directory;
use letterlock_queue::{Filter, Queue};
use letterlock_testkit::server::Letterlock;
use letterlock_vault::{AccountSecrets, FileKeys, Key, Pool, ServerKey, slot};
use loot::{Loot, canary_in, forms};
use mail::wait_for_mail;
use place::{ANN, Place, place};
use wait::wait_for_json;

/// In body, subject, sender's address and a folder's name.
const BODY: &str = "kestrel-nine-harbour";
const SUBJECT: &str = "walnut-seven-lantern";
const SENDER: &str = "osprey-four-meadow";
const FOLDER: &str = "juniper-three-anchor";
const ALL: [&str; 4] = [BODY, SUBJECT, SENDER, FOLDER];
/// In a message that the server itself has to be able to send.
const OUTBOUND: &str = "pelican-two-thicket";

fn letter() -> Vec<u8> {
    // Longer than what a message may take in memory, and not easily compressed.
    let noise = |number: u64| format!("{:x}\r\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let filler: String = (0..3_000).map(noise).collect();
    format!(
        "From: <{SENDER}@elsewhere.test>\r\nTo: <{ANN}>\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n{filler}{BODY}\r\n"
    )
    .into_bytes()
}

/// Short, so that a whole message fits where only short things stand.
fn note() -> Vec<u8> {
    format!("From: <{SENDER}@elsewhere.test>\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n").into_bytes()
}

async fn deliver(server: &Letterlock, to: &str) -> Result<()> {
    let mut client = server.smtp_client().await?;
    for text in [letter(), note()] {
        let reply = client.deliver(&format!("{SENDER}@elsewhere.test"), &[to], &text).await?;
        ensure!(reply.code == 250, "{reply}");
    }
    client.quit().await
}

async fn small_memory() -> Result<Place> {
    // Nothing answers for other domains, so that what is to be sent stays in the queue.
    place(|setup| {
        setup
            .set("limits", "memory_per_message", "\"4KiB\"")
            .set("outbound", "routes", "{ \"*\" = \"127.0.0.1:9\" }")
            .set("outbound", "retry", "[\"1h\"]")
    })
    .await
}

/// Looks for the canaries in everything that the disk and the server's key give away.
async fn rob(place: &Place, hidden: &[&str], visible: &[&str]) -> Result<()> {
    let loot = Loot::take(place.server.data_dir())?;
    ensure!(loot.files.iter().any(|(path, _)| path.ends_with("queue.db")), "no queue in the loot");
    for (path, octets) in &loot.files {
        for canary in hidden.iter().chain(visible) {
            ensure!(!canary_in(octets, canary), "{canary} stands in {}", path.display());
        }
    }

    let server_key = ServerKey::load_or_create(loot.folder(), None)?;
    let mut seen = Vec::new();
    for name in ["directory", "queue"] {
        let pages = loot.pages(&format!("{name}.db"), &server_key.file_keys(name).page)?;
        ensure!(!pages.is_empty(), "{name}.db has no page that opens");
        seen.extend(pages.concat());
    }
    seen.extend(sendable(&loot, &server_key).await?);
    for canary in hidden {
        ensure!(!canary_in(&seen, canary), "with the server's key the thief reads {canary}");
    }
    for canary in visible {
        ensure!(canary_in(&seen, canary), "the thief's eyes are bad: {canary} should be visible");
    }
    for (path, _) in loot.files.iter().filter(|(path, _)| path.ends_with("mailbox.db")) {
        for keys in [server_key.file_keys("mailbox"), server_key.file_keys("directory")] {
            let name = path.strip_prefix(loot.folder())?.to_string_lossy();
            ensure!(
                loot.pages(&name, &keys.page)?.is_empty(),
                "{name} opens with the server's key"
            );
        }
    }
    Ok(())
}

/// Every message that the server's key opens, with all else that the queue tells of it.
async fn sendable(loot: &Loot, server_key: &ServerKey) -> Result<Vec<u8>> {
    let pool = Pool::new("thief", 1);
    let queue = Queue::open(loot.folder(), server_key, &pool).await?;
    let mut seen = Vec::new();
    for summary in queue.list(Filter::default(), None, 1_000).await? {
        seen.extend(format!("{summary:?}").into_bytes());
        seen.extend(format!("{:?}", queue.show(summary.id).await?).into_bytes());
        if let Ok(body) = queue.server_body(summary.entry).await {
            seen.extend(&body[..]);
        }
    }
    queue.close().await?;
    tokio::task::spawn_blocking(move || pool.shutdown()).await?;
    Ok(seen)
}

/// With the server's key and the owner's password: every page of the mailbox.
async fn opened_by_owner(place: &Place) -> Result<Vec<u8>> {
    let loot = Loot::take(place.server.data_dir())?;
    let server_key = ServerKey::load_or_create(loot.folder(), None)?;
    let pool = Pool::new("owner", 1);
    let directory = Directory::open(loot.folder(), &server_key, &pool).await?;
    let account = directory.snapshot().account_by_address(&ANN.parse()?).context("no account")?;
    let open = |text: &str| {
        account
            .slots
            .iter()
            .find_map(|named| slot::open_password(account.id, &named.slot, text).ok())
    };
    ensure!(open("not the password").is_none());
    let key = open(&place.password).context("the password opens no slot")?;
    let secrets: AccountSecrets = account.secrets.open(account.id, &key, &server_key)?;
    let FileKeys { page, .. } = secrets.file_keys();
    let name = format!("accounts/{}/mailbox.db", account.id);
    ensure!(loot.pages(&name, &Key::random())?.is_empty());
    let pages = loot.pages(&name, &page)?;
    directory.close().await?;
    tokio::task::spawn_blocking(move || pool.shutdown()).await?;
    Ok(pages.concat())
}

#[tokio::test]
async fn mail_parked_for_a_locked_mailbox_cannot_be_read_with_the_servers_key() -> Result<()> {
    let mut place = small_memory().await?;
    deliver(&place.server, ANN).await?;
    let shown = json(&place.server, &["account", "show", ANN]).await?;
    ensure!(shown["parked"] == 2 && shown["mailbox"] == "locked", "{shown:#}");
    // As it lies after a crash, with logs; and as a clean stop leaves it.
    place.server.kill9()?;
    rob(&place, &ALL, &[]).await?;
    place.server.start().await?;
    place.server.terminate().await?;
    rob(&place, &ALL, &[]).await?;
    // The owner gets it all the same.
    place.server.start().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let mail = wait_for_mail(&mut client, "INBOX", 2).await?;
    ensure!(mail.iter().all(|(_, subject)| subject == SUBJECT), "{mail:?}");
    let body = client.fetch_body(mail[0].0).await?;
    ensure!(body.ends_with(&letter()) && canary_in(&body, SENDER));
    Ok(())
}

#[tokio::test]
async fn mail_of_an_unlocked_mailbox_cannot_be_read_when_it_is_locked_again() -> Result<()> {
    let mut place = small_memory().await?;
    let server = &place.server;
    deliver(server, ANN).await?;
    let mut client = server.imap_client(ANN, &place.password).await?;
    client.command(&format!("CREATE {FOLDER}")).await?;
    client.append(FOLDER, "", &letter()).await?;
    deliver(server, ANN).await?;
    wait_for_mail(&mut client, "INBOX", 4).await?;
    client.command("UID MOVE 1:2 Archive").await?;
    wait_for_json(server, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    client.logout().await?;
    server.run(&["account", "lock", ANN]).await?;
    deliver(server, ANN).await?;

    place.server.kill9()?;
    rob(&place, &ALL, &[]).await?;
    place.server.start().await?;
    place.server.terminate().await?;
    rob(&place, &ALL, &[]).await?;

    let seen = opened_by_owner(&place).await?;
    for canary in [SUBJECT, SENDER, FOLDER] {
        ensure!(canary_in(&seen, canary), "the owner does not find {canary}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_has_to_send_is_readable_with_its_key_and_gone_when_it_is_done()
-> Result<()> {
    let mut place = small_memory().await?;
    let mut client = place.server.submit_client(ANN, &place.password).await?;
    let text = format!("From: <{ANN}>\r\nSubject: {OUTBOUND}\r\n\r\n{OUTBOUND}\r\n");
    // The local copy of the same message is sealed as ever.
    let reply = client.deliver(ANN, &["x@far.test", ANN], text.as_bytes()).await?;
    ensure!(reply.code == 250, "{reply}");
    client.quit().await?;
    deliver(&place.server, "postmaster@example.test").await?;
    place.server.run(&["account", "lock", ANN]).await?;
    deliver(&place.server, ANN).await?;
    place.server.kill9()?;
    rob(&place, &ALL, &[OUTBOUND]).await?;

    place.server.start().await?;
    let queue = json(&place.server, &["queue", "list"]).await?;
    let rows = queue.as_array().context("a list")?;
    let sent = rows.iter().find(|row| row["from"] == ANN).context("the outbound message")?;
    let id = sent["id"].as_str().context("an id")?;
    place.server.run(&["queue", "cancel", id, "--yes"]).await?;
    place.server.terminate().await?;
    rob(&place, &[&ALL[..], &[OUTBOUND]].concat(), &[]).await
}

#[tokio::test]
async fn a_wrong_or_missing_server_key_opens_nothing_and_is_not_replaced() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    place.server.terminate().await?;
    let file = place.server.data_dir().join("server.key");
    let key = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    let error = place.server.start().await.expect_err("a start without the key");
    ensure!(format!("{error:#}").contains("server.key"), "{error:#}");
    ensure!(!file.exists(), "a new key was made");
    std::fs::write(&file, [7; 32])?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    ensure!(place.server.start().await.is_err(), "a start with another key");
    std::fs::write(&file, key)?;
    place.server.start().await
}

#[test]
fn a_canary_is_found_in_every_form() {
    for form in forms(BODY) {
        let hidden = [&b"xx"[..], &form, b"yy"].concat();
        assert!(canary_in(&hidden, BODY), "{}", String::from_utf8_lossy(&form));
    }
    assert!(!canary_in(b"nothing here", BODY));
}
