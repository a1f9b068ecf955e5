//! Mail for mailboxes that only their owners can open, and what opens and locks them.

#[path = "support/deliver.rs"]
mod deliver;
#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "locked/parked.rs"]
mod parked;
#[path = "support/place.rs"]
mod place;
#[path = "support/refused.rs"]
mod refused;
#[path = "support/wait.rs"]
mod wait;

use anyhow::{Context as _, Result, ensure};
use deliver::deliver;
use json::json;
use letter::{BOB, message};
use letterlock_testkit::imap;
use mail::wait_for_mail;
use place::{ANN, Place, place};
use refused::refused;
use wait::wait_for_json;

const QUEUE: &[&str] = &["queue", "list"];
const SHOW: &[&str] = &["account", "show", ANN];

async fn login_fails(place: &Place, password: &str) -> Result<()> {
    let tls = place.server.client_tls()?;
    let mut client =
        imap::Client::connect_tls(place.server.imaps(), tls, place.server.hostname()).await?;
    let answer = client.authenticate_plain(ANN, password).await?;
    let last = answer.last().context("an answer")?;
    ensure!(last.starts_with("NO [AUTHENTICATIONFAILED]"), "{last}");
    Ok(())
}

fn names(mail: &[(u32, String)]) -> Vec<&str> {
    mail.iter().map(|(_, subject)| subject.as_str()).collect()
}

#[tokio::test]
async fn mail_for_a_locked_account_is_parked_and_comes_at_login_in_its_order() -> Result<()> {
    let Place { server, password, .. } = &place(|setup| setup).await?;
    let mut client = server.smtp_client().await?;
    let expected: Vec<String> = (0..30).map(|number| format!("number-{number:02}")).collect();
    for subject in &expected[..20] {
        ensure!(client.deliver(BOB, &[ANN], &message(subject)).await?.code == 250);
    }
    let queue = json(server, QUEUE).await?;
    let rows = queue.as_array().context("a list")?;
    ensure!(rows.len() == 20, "{queue:#}");
    for row in rows {
        ensure!(row["states"] == serde_json::json!(["parked"]), "{row:#}");
        ensure!(row["from"].is_null(), "the server knows who wrote: {row:#}");
    }
    let shown = json(server, SHOW).await?;
    ensure!(shown["mailbox"] == "locked" && shown["parked"] == 20, "{shown:#}");

    // More mail comes while the owner logs in and the parked mail is being filed.
    let racing = async {
        for subject in &expected[20..] {
            ensure!(client.deliver(BOB, &[ANN], &message(subject)).await?.code == 250);
        }
        Ok(())
    };
    let reading = async {
        let mut client = server.imap_client(ANN, password).await?;
        wait_for_mail(&mut client, "INBOX", 30).await
    };
    let (mail, raced) = tokio::join!(reading, racing);
    raced?;
    ensure!(names(&mail?) == expected);
    wait_for_json(server, QUEUE, |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn account_lock_ends_sessions_and_parks_what_comes_then() -> Result<()> {
    let Place { server, password, .. } = &place(|setup| setup).await?;
    let mut idle = server.imap_client(ANN, password).await?;
    idle.select("INBOX").await?;
    idle.idle().await?;
    let mut waiting = server.imap_client(ANN, password).await?;
    let mut pop = server.pop3_client(ANN, password).await?;
    let mut submission = server.submit_client(ANN, password).await?;
    ensure!(json(server, SHOW).await?["mailbox"] == "open");
    ensure!(json(server, &["account", "sessions", ANN]).await?.as_array().map(Vec::len) == Some(4));

    server.run(&["account", "lock", ANN]).await?;
    ensure!(idle.until_closed().await?.contains("* BYE"));
    ensure!(waiting.until_closed().await?.contains("* BYE"));
    pop.until_closed().await?;
    let shown = json(server, SHOW).await?;
    ensure!(shown["mailbox"] == "locked", "{shown:#}");
    wait_for_json(server, &["account", "sessions", ANN], |s| *s == serde_json::json!([])).await?;
    deliver(server, ANN, "parked").await?;
    ensure!(json(server, SHOW).await?["parked"] == 1);

    // Who was logged in to send does so no more.
    let mine = format!("From: {ANN}\r\n\r\nx\r\n");
    let sent = async {
        submission.ask(&format!("MAIL FROM:<{ANN}>"), "250").await?;
        submission.ask("RCPT TO:<x@far.test>", "250").await?;
        submission.data(mine.as_bytes()).await
    };
    ensure!(!sent.await.is_ok_and(|reply| reply.is_positive()), "a locked session still sends");

    let mut client = server.imap_client(ANN, password).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["parked"]);
    Ok(())
}

#[tokio::test]
async fn the_keys_go_when_the_grace_time_after_the_last_session_is_over() -> Result<()> {
    let place = place(|setup| setup.set("auth", "grace", "\"1s\"")).await?;
    let (server, password) = (&place.server, &place.password);
    let first = server.imap_client(ANN, password).await?;
    let second = server.imap_client(ANN, password).await?;
    first.logout().await?;
    deliver(server, ANN, "direct").await?;
    second.logout().await?;
    wait_for_json(server, SHOW, |shown| shown["mailbox"] == "locked").await?;
    deliver(server, ANN, "parked").await?;
    ensure!(json(server, SHOW).await?["parked"] == 1);
    let mut client = server.imap_client(ANN, password).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 2).await?) == ["direct", "parked"]);
    Ok(())
}

#[tokio::test]
async fn parked_mail_survives_a_restart_and_kill_9() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    deliver(&place.server, ANN, "first").await?;
    place.server.restart().await?;
    ensure!(json(&place.server, SHOW).await?["parked"] == 1);
    deliver(&place.server, ANN, "second").await?;
    place.server.kill9()?;
    place.server.start().await?;
    deliver(&place.server, ANN, "third").await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let mail = wait_for_mail(&mut client, "INBOX", 3).await?;
    ensure!(names(&mail) == ["first", "second", "third"], "{mail:?}");
    // Filed once and for all: a restart files nothing again.
    client.logout().await?;
    place.server.restart().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 3).await? == mail);
    Ok(())
}

#[tokio::test]
async fn a_password_changes_only_with_a_secret_or_while_the_mailbox_is_open() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    deliver(server, ANN, "kept").await?;
    let change = ["account", "password", ANN, "--password-stdin"];
    let why = refused(server, &change, "new password one\n", 1).await?;
    ensure!(why.contains("locked") && why.contains("--unlock-stdin"), "{why}");

    let unlock = ["account", "password", ANN, "--unlock-stdin", "--password-stdin"];
    let why = refused(server, &unlock, "not the password\nnew password one\n", 1).await?;
    ensure!(why.contains("does not open"), "{why}");
    server.run_with_input(&unlock, &format!("{}\nnew password one\n", place.password)).await?;
    login_fails(&place, &place.password).await?;
    let mut client = server.imap_client(ANN, "new password one").await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["kept"]);

    // Open now: no secret is needed, and the session of the old password ends.
    server.run_with_input(&change, "new password two\n").await?;
    ensure!(client.until_closed().await?.contains("* BYE"));
    login_fails(&place, "new password one").await?;
    let mut client = server.imap_client(ANN, "new password two").await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["kept"]);
    Ok(())
}

#[tokio::test]
async fn the_recovery_key_opens_the_mailbox_when_the_password_is_forgotten() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    let made = server.run(&["account", "add", "eve@example.test"]).await?;
    let lines: Vec<&str> = made.lines().collect();
    let [password, recovery] = lines[..] else { anyhow::bail!("two lines were expected: {made}") };
    deliver(server, "eve@example.test", "kept").await?;
    let input = format!("{recovery}\na new password\n");
    let unlock = ["account", "password", "eve@example.test", "--unlock-stdin", "--password-stdin"];
    server.run_with_input(&unlock, &input).await?;
    let mut client = server.imap_client("eve@example.test", "a new password").await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["kept"]);
    client.logout().await?;

    // A new recovery key makes the old one void; neither is a password for mail programs.
    let renew = ["account", "recovery", "eve@example.test", "--unlock-stdin"];
    let newer = server.run_with_input(&renew, "a new password\n").await?;
    refused(server, &unlock, &input, 1).await?;
    server.run_with_input(&unlock, &format!("{}\nthird password\n", newer.trim_end())).await?;
    for wrong in [password, recovery, newer.trim_end(), "a new password"] {
        ensure!(server.imap_client("eve@example.test", wrong).await.is_err(), "{wrong} logs in");
    }
    Ok(())
}

#[tokio::test]
async fn app_passwords_are_made_listed_and_taken_back() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    deliver(server, ANN, "kept").await?;
    let add = ["account", "app-password", ANN, "add", "--name", "phone"];
    let why = refused(server, &add, "", 1).await?;
    ensure!(why.contains("--unlock-stdin"), "{why}");
    let add: Vec<&str> = add.into_iter().chain(["--unlock-stdin"]).collect();
    let made = server.run_with_input(&add, &format!("{}\n", place.password)).await?;
    let token =
        made.strip_suffix('\n').filter(|token| !token.contains('\n')).context("one line")?;

    let list = ["account", "app-password", ANN, "list"];
    let listed = json(server, &list).await?;
    ensure!(
        listed.as_array().map(Vec::len) == Some(1) && listed[0]["name"] == "phone",
        "{listed:#}"
    );
    ensure!(!server.run(&list).await?.contains(token), "the list shows the secret");
    let mut client = server.imap_client(ANN, token).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["kept"]);
    server.submit_client(ANN, token).await?.quit().await?;

    let id = listed[0]["id"].to_string();
    server.run(&["account", "app-password", ANN, "remove", &id]).await?;
    ensure!(client.until_closed().await?.contains("* BYE"), "a session outlives its credential");
    login_fails(&place, token).await?;
    ensure!(json(server, &list).await? == serde_json::json!([]));
    refused(server, &["account", "app-password", ANN, "remove", &id], "", 1).await?;
    server.imap_client(ANN, &place.password).await?.logout().await
}

#[tokio::test]
async fn removing_an_account_destroys_its_file_and_its_parked_mail() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    deliver(server, ANN, "parked").await?;
    let id = json(server, SHOW).await?["id"].as_str().context("an id")?.to_owned();
    let folder = server.data_dir().join("accounts").join(&id);
    ensure!(folder.join("mailbox.db").is_file());
    let why = refused(server, &["account", "remove", ANN], "", 2).await?;
    ensure!(why.contains("--yes"), "{why}");
    server.run(&["account", "remove", ANN, "--yes"]).await?;
    ensure!(!folder.join("mailbox.db").exists(), "the mailbox is still there");
    ensure!(json(server, QUEUE).await? == serde_json::json!([]));
    login_fails(&place, &place.password).await?;
    let mut client = server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask(&format!("RCPT TO:<{ANN}>"), "550 5.1.1").await?;
    // The same address again is another account, which gets nothing of the old one.
    let password = server.add_account(ANN).await?;
    let mut client = server.imap_client(ANN, &password).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 0).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_disabled_account_takes_neither_logins_nor_mail_until_it_is_enabled() -> Result<()> {
    let place = place(|setup| setup).await?;
    let (server, password) = (&place.server, &place.password);
    deliver(server, ANN, "before").await?;
    let mut session = server.imap_client(ANN, password).await?;
    wait_for_mail(&mut session, "INBOX", 1).await?;
    server.run(&["account", "disable", ANN]).await?;
    ensure!(session.until_closed().await?.contains("* BYE"));
    ensure!(server.imap_client(ANN, password).await.is_err(), "a disabled account logs in");
    let mut client = server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask(&format!("RCPT TO:<{ANN}>"), "550 5.2.1").await?;
    server.run(&["account", "set", ANN, "--enabled", "true"]).await?;
    deliver(server, ANN, "after").await?;
    let mut session = server.imap_client(ANN, password).await?;
    ensure!(names(&wait_for_mail(&mut session, "INBOX", 2).await?) == ["before", "after"]);
    Ok(())
}

#[tokio::test]
async fn discarding_the_mail_gives_a_new_empty_mailbox_when_no_secret_is_left() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    deliver(server, ANN, "lost").await?;
    let discard = ["account", "password", ANN, "--discard-mail", "--password-stdin"];
    refused(server, &discard, "a new password\n", 2).await?;
    let discard: Vec<&str> = discard.into_iter().chain(["--yes"]).collect();
    server.run_with_input(&discard, "a new password\n").await?;
    login_fails(&place, &place.password).await?;
    deliver(server, ANN, "new").await?;
    let mut client = server.imap_client(ANN, "a new password").await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["new"]);
    Ok(())
}

#[tokio::test]
async fn a_server_held_mailbox_is_filed_without_its_owner() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let address = "robot@example.test";
    let made = place.server.run(&["account", "add", address, "--server-held"]).await?;
    deliver(&place.server, address, "first").await?;
    wait_for_json(&place.server, QUEUE, |queue| *queue == serde_json::json!([])).await?;
    place.server.restart().await?;
    deliver(&place.server, address, "second").await?;
    wait_for_json(&place.server, QUEUE, |queue| *queue == serde_json::json!([])).await?;
    let mut client = place.server.imap_client(address, made.trim_end()).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 2).await?) == ["first", "second"]);
    Ok(())
}

#[tokio::test]
async fn parked_mail_that_is_held_is_filed_when_it_is_released_and_not_before() -> Result<()> {
    let place = place(|setup| setup).await?;
    let (server, password) = (&place.server, &place.password);
    for subject in ["held", "free"] {
        deliver(server, ANN, subject).await?;
    }
    let id = json(server, QUEUE).await?[0]["id"].as_str().context("an id")?.to_owned();
    server.run(&["queue", "hold", &id]).await?;
    let mut client = server.imap_client(ANN, password).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 1).await?) == ["free"]);
    deliver(server, ANN, "later").await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 2).await?) == ["free", "later"]);
    ensure!(json(server, QUEUE).await?[0]["states"] == serde_json::json!(["held"]));
    server.run(&["queue", "release", &id]).await?;
    ensure!(names(&wait_for_mail(&mut client, "INBOX", 3).await?) == ["free", "later", "held"]);
    wait_for_json(server, QUEUE, |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}
