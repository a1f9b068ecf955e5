//! Mail between servers: two of ours that find each other by DNS, and exchangers that misbehave.

#[path = "support/json.rs"]
mod json;
#[path = "two_servers/killed.rs"]
mod killed;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "two_servers/outbound.rs"]
mod outbound;
#[path = "support/refused.rs"]
mod refused;
#[path = "two_servers/smarthost.rs"]
mod smarthost;
#[path = "support/wait.rs"]
mod wait;

use anyhow::{Context as _, Result, ensure};
use json::json;
use letter::{BOB, message};
use letterlock_testkit::dns::{Fault, RecordType};
use letterlock_testkit::server::Letterlock;
use letterlock_testkit::smtp;
use letterlock_testkit::world::World;
use mail::wait_for_mail;

const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");
const A: &str = "a@one.test";
const B: &str = "b@two.test";

/// Publishes what `domain dns` prints, except SPF: `mx` is not where loopback connections come from, so that the
/// world's own record stays.
async fn publish_records(world: &World, domain: &str) -> Result<()> {
    let records = json(world.server(domain), &["domain", "dns", domain]).await?;
    for record in records.as_array().context("a list of records")? {
        let (Some(name), Some(text)) = (record["name"].as_str(), record["text"].as_str()) else {
            continue;
        };
        let name = name.strip_suffix(&format!("{domain}.")).unwrap_or(name).trim_end_matches('.');
        match name {
            "" => ensure!(text.starts_with("v=spf1 "), "{text}"),
            "_dmarc" => world.publish_dmarc(domain, text)?,
            name => world.publish(domain, name, text)?,
        }
    }
    Ok(())
}

/// A message of this author.
fn letter(from: &str, to: &str, subject: &str) -> Vec<u8> {
    format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nHello.\r\n").into_bytes()
}

/// Submits a message the way mail programs do on port 587.
async fn submit(
    server: &Letterlock,
    user: &str,
    password: &str,
    to: &str,
    text: &[u8],
) -> Result<()> {
    let mut client = smtp::Client::connect(server.submission()).await?;
    client.ehlo("laptop.test").await?;
    client.starttls(server.client_tls()?, server.hostname()).await?;
    client.ehlo("laptop.test").await?;
    let reply = client.auth_plain(user, password).await?;
    ensure!(reply.code == 235, "{reply}");
    let reply = client.deliver(user, &[to], text).await?;
    ensure!(reply.code == 250, "{reply}");
    client.quit().await
}

/// The only message of a folder, unfolded.
async fn only_message(
    server: &Letterlock,
    user: &str,
    password: &str,
    folder: &str,
) -> Result<String> {
    let mut client = server.imap_client(user, password).await?;
    let held = wait_for_mail(&mut client, folder, 1).await?;
    ensure!(held.len() == 1, "{held:?}");
    let body = client.fetch_body(held[0].0).await?;
    client.logout().await?;
    Ok(String::from_utf8(body)?.replace("\r\n\t", " ").replace("\r\n ", " "))
}

/// The first field of this name.
fn field<'a>(message: &'a str, name: &str) -> Result<&'a str> {
    let start = format!("{name}:");
    let found = message.lines().take_while(|line| !line.is_empty());
    found
        .into_iter()
        .find(|line| line.starts_with(&start))
        .with_context(|| format!("no {name} in {message}"))
}

#[tokio::test]
async fn mail_and_its_answer_pass_between_two_servers_authenticated() -> Result<()> {
    let world = World::start(BINARY, &["one.test", "two.test"]).await?;
    publish_records(&world, "one.test").await?;
    publish_records(&world, "two.test").await?;
    let (one, two) = (world.server("one.test"), world.server("two.test"));
    let (at_one, at_two) = (one.add_account(A).await?, two.add_account(B).await?);

    submit(one, A, &at_one, B, &letter(A, B, "there")).await?;
    let there = only_message(two, B, &at_two, "INBOX").await?;
    let results = field(&there, "Authentication-Results")?;
    ensure!(results.starts_with("Authentication-Results: mx.two.test;"), "{results}");
    for result in ["spf=pass", "dkim=pass", "dmarc=pass"] {
        ensure!(results.contains(result), "{result} is missing: {results}");
    }
    let received = field(&there, "Received")?;
    ensure!(received.contains(" with ESMTPS "), "{received}");
    // The post-quantum hybrid, offered by one server and taken by the other (RFC 8314 §4.3 has the clauses).
    ensure!(
        received.contains(" tls TLS_") && received.contains(" group X25519MLKEM768 (TLS1.3);"),
        "{received}"
    );
    ensure!(received.contains("from mx.one.test "), "{received}");
    ensure!(
        there.starts_with("Return-Path: <a@one.test>\r\nDelivered-To: b@two.test\r\n"),
        "{there}"
    );
    ensure!(there.contains("\r\nDKIM-Signature: "), "{there}");

    submit(two, B, &at_two, A, &letter(B, A, "back")).await?;
    let back = only_message(one, A, &at_one, "INBOX").await?;
    ensure!(field(&back, "Authentication-Results")?.contains("dmarc=pass"), "{back}");
    Ok(())
}

#[tokio::test]
async fn domain_check_finds_the_published_records_good_and_missing_ones_not() -> Result<()> {
    let world = World::start(BINARY, &["one.test"]).await?;
    let one = world.server("one.test");
    let output = one.cli(&["domain", "check", "one.test", "--json"]).await?;
    ensure!(output.status.code() == Some(1), "the DKIM record is missing");
    publish_records(&world, "one.test").await?;
    let checks = json(one, &["domain", "check", "one.test"]).await?;
    let checks = checks.as_array().context("a list")?;
    ensure!(checks.len() >= 4 && checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
    Ok(())
}

#[tokio::test]
async fn forged_mail_is_refused_where_the_policy_says_reject_and_junk_where_it_says_quarantine()
-> Result<()> {
    let world = World::start(BINARY, &["one.test", "two.test"]).await?;
    world.dns.change("one.test", |zone| {
        zone.without("@", Some(RecordType::TXT)).txt("@", "v=spf1 ip4:192.0.2.1 -all")
    })?;
    let two = world.server("two.test");
    let password = two.add_account(B).await?;
    let forged = letter(A, B, "forged");

    let mut client = two.smtp_client().await?;
    let reply = client.deliver(A, &[B], &forged).await?;
    ensure!(reply.to_string().starts_with("550 5.7.26 "), "{reply}");

    world.publish_dmarc("one.test", "v=DMARC1; p=quarantine")?;
    let reply = client.deliver(A, &[B], &forged).await?;
    ensure!(reply.code == 250, "{reply}");
    let junk = only_message(two, B, &password, "Junk").await?;
    ensure!(field(&junk, "Authentication-Results")?.contains("dmarc=fail"), "{junk}");
    let why = field(&junk, "X-Letterlock-Quarantine")?;
    ensure!(why.ends_with(": DMARC policy of one.test is quarantine"), "{why}");
    ensure!(
        field(&junk, "Received-SPF")?.starts_with("Received-SPF: fail receiver=mx.two.test;"),
        "{junk}"
    );

    // Who wrote a result in our name before is not believed.
    let lie = b"Authentication-Results: mx.two.test; dmarc=pass header.from=one.test\r\n";
    let reply = client.deliver(BOB, &[B], &[&lie[..], &message("lie")].concat()).await?;
    ensure!(reply.code == 250, "{reply}");
    let honest = only_message(two, B, &password, "INBOX").await?;
    ensure!(honest.matches("Authentication-Results: mx.two.test").count() == 1, "{honest}");
    ensure!(!honest.contains("header.from=one.test"), "{honest}");
    Ok(())
}

#[tokio::test]
async fn mail_is_deferred_while_dns_hides_what_decides_about_it() -> Result<()> {
    let world = World::start(BINARY, &["one.test", "two.test"]).await?;
    let two = world.server("two.test");
    let password = two.add_account(B).await?;
    world.dns.change("one.test", |zone| {
        zone.without("@", Some(RecordType::TXT)).txt("@", "v=spf1 ip4:192.0.2.1 -all")
    })?;
    let mut client = two.smtp_client().await?;
    for fault in [Fault::ServFail, Fault::Bogus] {
        world.dns.fail("_dmarc.one.test", fault);
        let reply = client.deliver(A, &[B], &letter(A, B, "unknown")).await?;
        ensure!(reply.to_string().starts_with("451 4.4.3"), "{fault:?}: {reply}");
    }
    // What passes is aligned under any policy.
    world.dns.change("one.test", |zone| {
        zone.without("@", Some(RecordType::TXT)).txt("@", "v=spf1 ip4:127.0.0.0/8 -all")
    })?;
    ensure!(client.deliver(A, &[B], &letter(A, B, "passed")).await?.code == 250);
    ensure!(only_message(two, B, &password, "INBOX").await?.contains("Subject: passed"));
    Ok(())
}
