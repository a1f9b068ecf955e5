//! People and their credentials, from the command line to the protocols: SCRAM, quotas, keys, verification.

#[path = "support/deliver.rs"]
mod deliver;
#[path = "people/files.rs"]
mod files;
#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;
#[path = "support/refused.rs"]
mod refused;

use anyhow::{Context as _, Result, ensure};
use deliver::deliver;
use json::json;
use letter::{BOB, message};
use letterlock_testkit::scram::Scram;
use letterlock_testkit::{imap, smtp};
use mail::wait_for_mail;
use place::{ANN, Place, place, setup};
use refused::refused;

/// An app password of Ann's.
async fn app_password(place: &Place) -> Result<String> {
    let add = ["account", "app-password", ANN, "add", "--name", "phone", "--unlock-stdin"];
    let input = format!("{}\n", place.password);
    Ok(place.server.run_with_input(&add, &input).await?.trim().to_owned())
}

#[tokio::test]
async fn scram_logs_in_to_imap_and_submission() -> Result<()> {
    let place = place(|setup| setup.set("auth", "scram", "true")).await?;
    let server = &place.server;
    let app = app_password(&place).await?;
    for plus in [false, true] {
        let name = if plus { "SCRAM-SHA-256-PLUS" } else { "SCRAM-SHA-256" };
        let mut client =
            imap::Client::connect_tls(server.imaps(), server.client_tls()?, server.hostname())
                .await?;
        let capabilities = client.command("CAPABILITY").await?.join(" ");
        ensure!(capabilities.contains(&format!("AUTH={name}")), "{capabilities}");
        let mut scram = of(&app, plus, client.tls_exporter())?;
        let tag = client.send_command(&format!("AUTHENTICATE {name} {}", scram.first())).await?;
        let challenge = client.expect("+ ").await?.text();
        client.send(&scram.last(challenge[2..].trim())?).await?;
        let challenge = client.expect("+ ").await?.text();
        scram.verify(challenge[2..].trim())?;
        client.send("").await?;
        let answers = client.until_tagged(&tag).await?;
        let last = answers.last().context("an answer")?.text();
        ensure!(last.starts_with(&format!("{tag} OK")), "{last}");
        client.select("INBOX").await?;
        client.logout().await?;

        let mut client = smtp::Client::connect_tls(
            server.submissions(),
            server.client_tls()?,
            server.hostname(),
        )
        .await?;
        let offers = client.ehlo("laptop.test").await?.join(" ");
        ensure!(offers.contains(name), "{offers}");
        let mut scram = of(&app, plus, client.tls_exporter())?;
        let reply = client.ask(&format!("AUTH {name} {}", scram.first()), "334").await?;
        let reply = client.ask(&scram.last(reply.lines[0].trim())?, "334").await?;
        scram.verify(reply.lines[0].trim())?;
        client.ask("", "235").await?;
        client.ask(&format!("MAIL FROM:<{ANN}>"), "250").await?;
        client.quit().await?;
    }
    Ok(())
}

fn of(password: &str, plus: bool, exporter: Option<[u8; 32]>) -> Result<Scram> {
    Ok(match plus {
        false => Scram::new(ANN, password, "n", b""),
        true => Scram::new(ANN, password, "p=tls-exporter", &exporter.context("TLS 1.3")?),
    })
}

#[tokio::test]
async fn without_tls_and_with_the_main_password_there_is_no_scram() -> Result<()> {
    let place = place(|setup| setup.set("auth", "scram", "true")).await?;
    let server = &place.server;
    let mut plain = imap::Client::connect(server.imap()).await?;
    let capabilities = plain.command("CAPABILITY").await?.join(" ");
    ensure!(!capabilities.contains("AUTH="), "{capabilities}");
    let mut client =
        imap::Client::connect_tls(server.imaps(), server.client_tls()?, server.hostname()).await?;
    let mut scram = Scram::new(ANN, &place.password, "n", b"");
    let tag = client.send_command(&format!("AUTHENTICATE SCRAM-SHA-256 {}", scram.first())).await?;
    let challenge = client.expect("+ ").await?.text();
    client.send(&scram.last(challenge[2..].trim())?).await?;
    let answers = client.until_tagged(&tag).await?;
    let last = answers.last().context("an answer")?.text();
    ensure!(last.starts_with(&format!("{tag} NO")), "{last}");
    Ok(())
}

#[tokio::test]
async fn a_full_mailbox_is_told_at_rcpt_and_empties_again() -> Result<()> {
    let place = place(|setup| setup.set("limits", "quota_patience", "\"1h\"")).await?;
    let server = &place.server;
    server.run(&["account", "set", ANN, "--quota", "100B"]).await?;
    let shown = json(server, &["account", "show", ANN]).await?;
    ensure!(shown["quota"] == 100, "{shown}");
    deliver(server, ANN, "one-fits").await?;
    let mut client = server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    let full = client.command(&format!("RCPT TO:<{ANN}>")).await?;
    ensure!(full.code == 452 && full.text().contains("4.2.2"), "{full}");
    client.ask("RSET", "250").await?;
    client.ask(&format!("MAIL FROM:<{BOB}> SIZE=100000"), "250").await?;
    let never = client.command(&format!("RCPT TO:<{ANN}>")).await?;
    ensure!(never.code == 552 && never.text().contains("5.2.2"), "{never}");
    client.quit().await?;

    let mut owner = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut owner, "INBOX", 1).await?;
    owner.command("STORE 1:* +FLAGS (\\Deleted)").await?;
    owner.command("EXPUNGE").await?;
    loop {
        let mut client = server.smtp_client().await?;
        if client.deliver(BOB, &[ANN], &message("again")).await.is_ok_and(|reply| reply.code == 250)
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    wait_for_mail(&mut owner, "INBOX", 1).await.map(drop)
}

#[tokio::test]
async fn an_account_with_too_many_messages_is_full_as_well() -> Result<()> {
    let place = place(|setup| setup.set("limits", "quota_patience", "\"0s\"")).await?;
    let server = &place.server;
    refused(server, &["account", "set", ANN, "--quota-messages", "5MiB"], "", 2).await?;
    server.run(&["account", "set", ANN, "--quota-messages", "1"]).await?;
    let listed = json(server, &["account", "list"]).await?;
    ensure!(listed[0]["quota_messages"] == 1 && listed[0]["quota"].is_null(), "{listed}");
    deliver(server, ANN, "one-fits").await?;
    let mut client = server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    // No patience: this will not do later either.
    let full = client.command(&format!("RCPT TO:<{ANN}>")).await?;
    ensure!(full.code == 552 && full.text().contains("5.2.2"), "{full}");
    client.quit().await?;

    let mut owner = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut owner, "INBOX", 1).await?;
    let quota = owner.command("GETQUOTAROOT INBOX").await?.join("\n");
    ensure!(quota.contains("(MESSAGE 1 1)"), "{quota}");
    let copied = owner.try_command("COPY 1 Archive").await?.join("\n");
    ensure!(copied.contains("NO [OVERQUOTA]"), "{copied}");
    let shown = json(server, &["account", "show", ANN]).await?;
    ensure!(shown["messages"] == 1, "{shown}");
    server.run(&["account", "set", ANN, "--quota-messages", "none"]).await?;
    owner.command("COPY 1 Archive").await?;
    deliver(server, ANN, "room-again").await
}

#[tokio::test]
async fn a_capability_is_switched_off_for_one_account() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    let set = |option, name| ["account", "set", ANN, option, name];
    let mut before = server.imap_client(ANN, &place.password).await?;
    server.run(&set("--disable-capability", "qresync")).await?;
    let wrong = refused(server, &set("--disable-capability", "THREAD=REFERENCE"), "", 1).await?;
    ensure!(wrong.contains("did you mean THREAD=REFERENCES?"), "{wrong}");
    let listed = json(server, &["account", "list"]).await?;
    ensure!(listed[0]["disabled_capabilities"] == serde_json::json!(["QRESYNC"]), "{listed}");

    // A session that is there keeps what it was offered; the next one is offered less.
    let names = before.command("CAPABILITY").await?.join(" ");
    ensure!(names.contains(" QRESYNC"), "{names}");
    let mut owner = server.imap_client(ANN, &place.password).await?;
    let names = owner.command("CAPABILITY").await?.join(" ");
    ensure!(!names.contains(" QRESYNC") && names.contains(" CONDSTORE"), "{names}");
    let enabled = owner.command("ENABLE QRESYNC").await?.join(" ");
    ensure!(!enabled.contains("QRESYNC"), "{enabled}");
    let selected = owner.try_command("SELECT INBOX (QRESYNC (1 1))").await?;
    ensure!(selected.last().is_some_and(|line| line.starts_with("BAD")), "{selected:?}");

    server.run(&set("--enable-capability", "QRESYNC")).await?;
    let mut owner = server.imap_client(ANN, &place.password).await?;
    let names = owner.command("CAPABILITY").await?.join(" ");
    ensure!(names.contains(" QRESYNC"), "{names}");
    Ok(())
}

#[tokio::test]
async fn keys_are_rotated_and_files_verified_beside_a_running_server() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    deliver(server, ANN, "before").await?;
    refused(server, &["account", "rotate", ANN], "", 1).await?;
    let mut owner = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut owner, "INBOX", 1).await?;
    server.run(&["account", "rotate", ANN]).await?;
    deliver(server, ANN, "after").await?;
    wait_for_mail(&mut owner, "INBOX", 2).await?;
    let rows = json(server, &["verify"]).await?;
    let rows = rows.as_array().context("rows")?;
    ensure!(
        rows.len() == 4 && rows.iter().all(|row| row["found"] == serde_json::json!([])),
        "{rows:?}"
    );

    let rotate = ["account", "rotate", ANN, "--new-account-key", "--unlock-stdin"];
    let made = server.run_with_input(&rotate, &format!("{}\n", place.password)).await?;
    ensure!(made.starts_with("llrk-"), "the new recovery key");
    let mut owner = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut owner, "INBOX", 2).await?;
    server.run(&["account", "lock", ANN]).await?;
    let text = server.run(&["verify", ANN]).await?;
    ensure!(
        text.starts_with("ok     ann@example.test") && text.contains("not checked: locked"),
        "{text}"
    );
    // Forgotten, and brought back by the recovery key with all mail.
    let password = ["account", "password", ANN, "--unlock-stdin", "--password-stdin"];
    server.run_with_input(&password, &format!("{made}another correct horse\n")).await?;
    let mut owner = server.imap_client(ANN, "another correct horse").await?;
    wait_for_mail(&mut owner, "INBOX", 2).await.map(drop)
}

#[tokio::test]
async fn verify_finds_damage_without_a_server() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    deliver(&place.server, ANN, "one").await?;
    place.server.terminate().await?;
    let server = &place.server;
    ensure!(server.run(&["verify"]).await?.lines().count() == 4);
    let accounts = server.data_dir().join("accounts");
    let account = std::fs::read_dir(accounts)?.next().context("an account")??.path();
    let file = account.join("mailbox.db");
    let mut octets = std::fs::read(&file)?;
    octets[4096 + 7] ^= 1;
    std::fs::write(&file, octets)?;
    let output = server.cli(&["verify"]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(
        text.contains("WRONG  ann@example.test") && text.contains("page 2 of the file is damaged"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn the_organisations_key_is_made_once_and_opens_accounts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("organisation.key");
    let name = file.display().to_string();
    let at_rest = setup().prepare()?;
    let private = at_rest.run(&["organisation-key", &name]).await?;
    ensure!(private.starts_with("llok-") && private.lines().count() == 1);
    refused(&at_rest, &["organisation-key", &name], "", 1).await?;
    let place = place(|setup| setup.set("auth", "organisation_key", &format!("{name:?}"))).await?;
    deliver(&place.server, ANN, "one").await?;
    let password = ["account", "password", ANN, "--unlock-stdin", "--password-stdin"];
    let input = format!("{private}another correct horse\n");
    place.server.run_with_input(&password, &input).await?;
    let mut owner = place.server.imap_client(ANN, "another correct horse").await?;
    wait_for_mail(&mut owner, "INBOX", 1).await.map(drop)
}
