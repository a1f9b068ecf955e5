//! What operators do: commands with and without a server, configuration, start, reload and stop.

#[path = "operate/damage.rs"]
mod damage;
#[path = "support/deliver.rs"]
mod deliver;
#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "operate/local.rs"]
mod local;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;
#[path = "operate/process.rs"]
mod process;
#[path = "support/refused.rs"]
mod refused;

use anyhow::{Result, ensure};
use deliver::deliver;
use json::json;
use letterlock_testkit::server::Letterlock;
use mail::wait_for_mail;
use place::{ANN, Place, place, setup};
use refused::refused;

/// A folder and a configuration without a server.
fn at_rest() -> Result<Letterlock> {
    setup().prepare()
}

#[tokio::test]
async fn config_check_names_key_line_and_remedy_of_every_mistake() -> Result<()> {
    let mut server = at_rest()?;
    ensure!(server.run(&["config", "check"]).await?.contains("good"));
    server.configure(|setup| {
        setup
            .set("limits", "message_size", "\"lots\"")
            .set("limits", "recpients", "5")
            .set("nonsense", "x", "1")
    })?;
    let text = std::fs::read_to_string(server.config_file())?;
    let line = |part: &str| 1 + text.lines().take_while(|line| !line.contains(part)).count();
    let file = server.config_file().display().to_string();
    let errors = refused(&server, &["config", "check"], "", 2).await?;
    let about =
        |part: &str| errors.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
    let size = about("limits.message_size");
    ensure!(size.contains(&format!("{file}:{}:", line("message_size"))), "{errors}");
    ensure!(size.contains("MiB"), "no remedy: {size}");
    let unknown = about("recpients");
    ensure!(unknown.contains(&format!("{file}:{}:", line("recpients"))), "{errors}");
    ensure!(unknown.contains("recipients"), "the nearest name is missing: {unknown}");
    ensure!(!about("nonsense").is_empty(), "{errors}");
    // Every command refuses it alike, and the server does not start.
    refused(&server, &["domain", "list"], "", 2).await?;
    refused(&server, &["serve"], "", 2).await.map(drop)
}

#[tokio::test]
async fn config_errors_say_what_cannot_be() -> Result<()> {
    let mut server = at_rest()?;
    server.configure(|setup| setup.set("listen", "managesieve", "[\"127.0.0.1:4190\"]"))?;
    let errors = refused(&server, &["config", "check"], "", 2).await?;
    ensure!(errors.contains("listen.managesieve"), "{errors}");
    server.configure(|setup| {
        setup.set("listen", "managesieve", "[]").set("auth", "allow_cleartext", "true").set(
            "listen",
            "imap",
            "[\"0.0.0.0:1143\"]",
        )
    })?;
    let errors = refused(&server, &["config", "check"], "", 2).await?;
    ensure!(errors.contains("allow_cleartext"), "{errors}");
    std::fs::write(server.config_file(), "hostname = [")?;
    let errors = refused(&server, &["config", "check"], "", 2).await?;
    ensure!(errors.contains(":1:"), "{errors}");
    std::fs::remove_file(server.config_file())?;
    let errors = refused(&server, &["config", "check"], "", 2).await?;
    ensure!(errors.contains("--config"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn config_show_prints_what_is_in_force_and_can_be_read_again() -> Result<()> {
    let mut server = at_rest()?;
    server.configure(|setup| setup.environment("LETTERLOCK_LIMITS_RECIPIENTS", "7"))?;
    let shown = server.run(&["config", "show"]).await?;
    ensure!(shown.contains("recipients = 7"), "{shown}");
    let value = json(&server, &["config", "show"]).await?;
    ensure!(
        value["limits"]["recipients"] == 7 && value["hostname"] == "mx.example.test",
        "{value:#}"
    );
    std::fs::write(server.config_file(), &shown)?;
    ensure!(server.run(&["config", "show"]).await? == shown);
    let reference = server.run(&["config", "reference"]).await?;
    for key in ["message_size", "trusted_roots", "argon2_memory"] {
        ensure!(reference.contains(key), "{key} is not in the reference");
    }
    Ok(())
}

/// What both worlds have to do alike.
async fn administer(server: &Letterlock) -> Result<()> {
    server.run(&["domain", "add", "Bücher.example", "--contact", "eve@bücher.example"]).await?;
    refused(server, &["domain", "add", "xn--bcher-kva.example"], "", 1).await?;
    refused(server, &["domain", "add", "not a domain"], "", 1).await?;
    let domains = json(server, &["domain", "list"]).await?;
    ensure!(domains[0]["domain"] == "xn--bcher-kva.example", "{domains:#}");
    let shown = json(server, &["domain", "show", "bücher.example"]).await?;
    ensure!(shown["unicode"] == "bücher.example", "{shown:#}");
    let records = json(server, &["domain", "dns", "bücher.example"]).await?;
    let kinds: Vec<_> =
        records.as_array().into_iter().flatten().map(|record| &record["kind"]).collect();
    ensure!(kinds == ["MX", "TXT", "TXT", "TXT"], "{records:#}");
    let zone = server.run(&["domain", "dns", "bücher.example"]).await?;
    ensure!(zone.contains("_domainkey.xn--bcher-kva.example. IN TXT ("), "{zone}");

    let made = server.run(&["account", "add", "eve@bücher.example", "--name", "Eve"]).await?;
    let lines: Vec<&str> = made.lines().collect();
    ensure!(lines.len() == 2 && lines.iter().all(|line| !line.contains(' ')), "{made}");
    refused(server, &["account", "add", "eve@bücher.example"], "", 1).await?;
    refused(server, &["account", "add", "eve@other.example"], "", 1).await?;
    let short =
        refused(server, &["account", "add", "x@bücher.example", "--password-stdin"], "short\n", 1)
            .await?;
    ensure!(short.contains("8 characters"), "{short}");
    refused(server, &["account", "add", "x@bücher.example", "--password-stdin"], "", 2).await?;
    let accounts = json(server, &["account", "list"]).await?;
    ensure!(accounts.as_array().map(Vec::len) == Some(1), "{accounts:#}");
    ensure!(
        accounts[0]["keys"] == "user-held" && accounts[0]["mailbox"] == "locked",
        "{accounts:#}"
    );
    ensure!(json(server, &["account", "show", "eve@bücher.example"]).await?["name"] == "Eve");
    refused(server, &["account", "show", "nobody@bücher.example"], "", 1).await?;
    refused(server, &["account", "set", "eve@bücher.example"], "", 2).await?;

    server.run(&["alias", "add", "all@bücher.example", "eve@bücher.example", "x@far.test"]).await?;
    refused(server, &["alias", "add", "eve@bücher.example", "x@far.test"], "", 1).await?;
    let aliases = json(server, &["alias", "list", "--domain", "bücher.example"]).await?;
    ensure!(aliases[0]["targets"].as_array().map(Vec::len) == Some(2), "{aliases:#}");
    ensure!(json(server, &["queue", "list"]).await? == serde_json::json!([]));
    for table in
        [&["domain", "list"][..], &["account", "list"], &["alias", "list"], &["queue", "list"]]
    {
        ensure!(!server.run(table).await?.contains('{'), "{table:?} is no table");
    }

    refused(server, &["domain", "remove", "bücher.example", "--yes"], "", 1).await?;
    for destroys in
        [&["account", "remove", "eve@bücher.example"][..], &["domain", "remove", "bücher.example"]]
    {
        let why = refused(server, destroys, "", 2).await?;
        ensure!(why.contains("--yes"), "{why}");
    }
    server.run(&["alias", "remove", "all@bücher.example"]).await?;
    server.run(&["account", "remove", "eve@bücher.example", "--yes"]).await?;
    server.run(&["domain", "remove", "bücher.example", "--yes"]).await?;
    ensure!(json(server, &["domain", "list"]).await? == serde_json::json!([]));
    refused(server, &["domain", "frobnicate"], "", 2).await.map(drop)
}

#[tokio::test]
async fn commands_work_on_the_files_when_no_server_runs() -> Result<()> {
    let server = at_rest()?;
    administer(&server).await?;
    refused(&server, &["healthcheck"], "", 1).await?;
    process::assert_clean(&server)
}

#[tokio::test]
async fn commands_take_effect_in_a_running_server() -> Result<()> {
    let server = setup().start().await?;
    administer(&server).await?;
    server.run(&["healthcheck"]).await.map(drop)
}

#[tokio::test]
async fn what_is_made_without_a_server_is_there_when_it_starts() -> Result<()> {
    let mut server = at_rest()?;
    server.add_domain("example.test").await?;
    let password = server.add_account(ANN).await?;
    server.start().await?;
    server.imap_client(ANN, &password).await?.logout().await
}

#[tokio::test]
async fn only_the_owner_may_open_key_socket_and_folder() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = place(|setup| setup).await?;
    let mode = |name: &str| -> Result<u32> {
        Ok(std::fs::metadata(place.server.data_dir().join(name))?.permissions().mode() & 0o777)
    };
    for name in ["server.key", "control.sock", "directory.db", "queue.db"] {
        ensure!(mode(name)? == 0o600, "{name}: {:o}", mode(name)?);
    }
    ensure!(mode("accounts")? == 0o700, "{:o}", mode("accounts")?);
    Ok(())
}

#[tokio::test]
async fn no_secret_is_ever_in_the_log() -> Result<()> {
    use base64::Engine as _;
    let place = place(|setup| setup.set("log", "level", "\"trace\"")).await?;
    let Place { server, password, .. } = &place;
    let made = server.run(&["account", "add", "eve@example.test"]).await?;
    let add = ["account", "app-password", ANN, "add", "--name", "phone", "--unlock-stdin"];
    let token = server.run_with_input(&add, &format!("{password}\n")).await?;
    server.imap_client(ANN, token.trim_end()).await?.logout().await?;
    server.pop3_client(ANN, password).await?.quit().await?;
    server.submit_client(ANN, password).await?.quit().await?;
    let wrong = "a password mistyped by its owner";
    ensure!(server.imap_client(ANN, wrong).await.is_err());
    ensure!(server.submit_client(ANN, wrong).await.is_err());
    deliver(server, ANN, "canary-subject").await?;
    let mut client = server.imap_client(ANN, password).await?;
    wait_for_mail(&mut client, "INBOX", 1).await?;

    let log = server.log();
    ensure!(log.contains("logged in"), "the log is empty");
    let encoded =
        |text: &str| base64::engine::general_purpose::STANDARD.encode(format!("\0{ANN}\0{text}"));
    let secrets = [password.as_str(), token.trim_end(), wrong].into_iter().chain(made.lines());
    for secret in secrets {
        ensure!(!log.contains(secret), "{secret:?} is in the log");
        ensure!(!log.contains(&encoded(secret)), "{secret:?} is in the log, as base64");
    }
    ensure!(!log.contains("canary-subject"), "what people write is in the log");
    Ok(())
}
