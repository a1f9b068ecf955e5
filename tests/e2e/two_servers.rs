//! Mail between servers: two of ours that find each other by DNS, and exchangers that misbehave.

#[path = "support/command.rs"]
mod command;
#[path = "support/mail.rs"]
mod mail;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use command::{json, refused, wait_for_json};
use letterlock_testkit::dns::{RecordType, Zone};
use letterlock_testkit::mx::{Behaviour, Script, Stage};
use letterlock_testkit::server::{Letterlock, Setup};
use letterlock_testkit::smtp;
use letterlock_testkit::world::World;
use mail::{BOB, message, wait_for_mail};

const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");
const SOON: Duration = Duration::from_secs(30);
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
async fn submit(server: &Letterlock, user: &str, password: &str, to: &str, text: &[u8]) -> Result<()> {
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
async fn only_message(server: &Letterlock, user: &str, password: &str, folder: &str) -> Result<String> {
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
    found.into_iter().find(|line| line.starts_with(&start)).with_context(|| format!("no {name} in {message}"))
}

/// A server of one.test with the account A, and its password.
async fn sender(change: impl Fn(Setup) -> Setup) -> Result<(World, String)> {
    let world = World::start_with(BINARY, &["one.test"], |_, setup| change(setup)).await?;
    let password = world.server("one.test").add_account(A).await?;
    Ok((world, password))
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
    ensure!(received.contains("from mx.one.test "), "{received}");
    ensure!(there.starts_with("Return-Path: <a@one.test>\r\nDelivered-To: b@two.test\r\n"), "{there}");
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
    ensure!(reply.to_string().starts_with("550 5.7.1 "), "{reply}");

    world.publish_dmarc("one.test", "v=DMARC1; p=quarantine")?;
    let reply = client.deliver(A, &[B], &forged).await?;
    ensure!(reply.code == 250, "{reply}");
    let junk = only_message(two, B, &password, "Junk").await?;
    ensure!(field(&junk, "Authentication-Results")?.contains("dmarc=fail"), "{junk}");

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
async fn tls_is_used_where_it_is_offered_and_plain_text_where_not() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let plain = world.fake("plain.test", Script::new("mx.plain.test"))?;
    let (secure, _) = world.fake_with_tls("secure.test")?;
    let one = world.server("one.test");
    for to in ["x@plain.test", "x@secure.test"] {
        submit(one, A, &password, to, &letter(A, to, "hello")).await?;
    }
    let plain = plain.wait_for(1, SOON).await?.remove(0);
    let secure = secure.wait_for(1, SOON).await?.remove(0);
    ensure!(!plain.tls && secure.tls);
    for message in [&plain, &secure] {
        ensure!(message.from == A && message.helo == "mx.one.test", "{message:?}");
        ensure!(message.text().starts_with("DKIM-Signature: "), "{}", message.text());
        ensure!(!message.text().contains("127."), "the client's address is told: {}", message.text());
    }
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_nobody_is_good_enough_where_no_policy_asks_for_more() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let issued = world.ca.issue_expired(&["other.test"])?;
    let mx = world.fake("odd.test", Script::new("mx.odd.test").with_tls(issued))?;
    submit(world.server("one.test"), A, &password, "x@odd.test", &letter(A, "x", "hello")).await?;
    ensure!(mx.wait_for(1, SOON).await?[0].tls);
    Ok(())
}

/// The bounce in the sender's INBOX: a report about `recipient` whose status begins so.
async fn assert_bounce(world: &World, password: &str, recipient: &str, status: &str) -> Result<()> {
    let mut client = world.server("one.test").imap_client(A, password).await?;
    let held = wait_for_mail(&mut client, "INBOX", 1).await?;
    let text = String::from_utf8(client.fetch_body(held[0].0).await?)?;
    ensure!(text.starts_with("Return-Path: <>\r\n"), "{text}");
    ensure!(text.contains("multipart/report"), "{text}");
    ensure!(text.contains(&format!("Final-Recipient: rfc822;{recipient}")) ||
            text.contains(&format!("Final-Recipient: rfc822; {recipient}")), "{text}");
    ensure!(text.contains("\r\nAction: failed\r\n"), "{text}");
    ensure!(text.contains(&format!("\r\nStatus: {status}")), "{text}");
    ensure!(text.contains("Subject: hello"), "the original's header is missing: {text}");
    Ok(())
}

#[tokio::test]
async fn a_recipient_that_is_refused_comes_back_at_once() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let script = Script::new("mx.far.test").recipient("no@far.test", "550 5.1.1 never heard of");
    let mx = world.fake("far.test", script)?;
    let one = world.server("one.test");
    let mut client = one.submit_client(A, &password).await?;
    let both = ["no@far.test", "yes@far.test"];
    let reply = client.deliver(A, &both, &letter(A, "no@far.test", "hello")).await?;
    ensure!(reply.code == 250, "{reply}");
    assert_bounce(&world, &password, "no@far.test", "5.1.1").await?;
    ensure!(mx.wait_for(1, SOON).await?[0].addresses() == ["yes@far.test"]);
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn an_exchanger_that_always_defers_is_tried_again_and_then_the_mail_comes_back() -> Result<()> {
    let (mut world, password) =
        sender(|setup| setup.set("outbound", "expire", "\"2s\"")).await?;
    let mx = world.fake("slow.test", Script::new("mx.slow.test"))?;
    mx.always(Stage::Mail, Behaviour::Reply("451 4.3.0 later".to_owned()));
    let one = world.server("one.test");
    submit(one, A, &password, "x@slow.test", &letter(A, "x@slow.test", "hello")).await?;
    assert_bounce(&world, &password, "x@slow.test", "").await?;
    ensure!(mx.connections() >= 2, "{} tries", mx.connections());
    ensure!(mx.messages().is_empty());
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn an_exchanger_that_is_away_is_tried_again_until_the_mail_expires() -> Result<()> {
    let (mut world, password) =
        sender(|setup| setup.set("outbound", "expire", "\"2s\"")).await?;
    let nobody = world.take_address()?;
    world.dns.put(Zone::signed("dead.test").mx("@", 10, "mx.dead.test").a("mx", nobody));
    let one = world.server("one.test");
    submit(one, A, &password, "x@dead.test", &letter(A, "x@dead.test", "hello")).await?;
    let waiting = json(one, &["queue", "list"]).await?;
    ensure!(waiting[0]["from"] == A, "{waiting:#}");
    assert_bounce(&world, &password, "x@dead.test", "").await
}

#[tokio::test]
async fn a_domain_without_mail_or_without_existence_bounces_at_once() -> Result<()> {
    let (world, password) = sender(|setup| setup).await?;
    world.dns.put(Zone::signed("null.test").mx("@", 0, "."));
    submit(world.server("one.test"), A, &password, "x@null.test", &letter(A, "x", "hello")).await?;
    assert_bounce(&world, &password, "x@null.test", "5.1.10").await?;
    let (world, password) = sender(|setup| setup).await?;
    submit(world.server("one.test"), A, &password, "x@nowhere.test", &letter(A, "x", "hello")).await?;
    assert_bounce(&world, &password, "x@nowhere.test", "5.1.2").await
}

#[tokio::test]
async fn a_bounce_that_cannot_be_delivered_is_not_bounced() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let script = Script::new("mx.far.test").recipient("no@far.test", "550 5.1.1 never heard of");
    let _mx = world.fake("far.test", script)?;
    let one = world.server("one.test");
    let mut client = one.submit_client(A, &password).await?;
    let reply = client.deliver("", &["no@far.test"], &letter(A, "no@far.test", "hello")).await?;
    ensure!(reply.code == 250, "{reply}");
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    let mut client = one.imap_client(A, &password).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 0).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn operators_show_hold_release_retry_and_cancel_what_waits() -> Result<()> {
    let (mut world, password) =
        sender(|setup| setup.set("outbound", "retry", "[\"1h\"]")).await?;
    let mx = world.fake("slow.test", Script::new("mx.slow.test"))?;
    mx.always(Stage::Rcpt, Behaviour::Reply("451 4.3.0 not today".to_owned()));
    let one = world.server("one.test");
    submit(one, A, &password, "x@slow.test", &letter(A, "x@slow.test", "first")).await?;
    let list: &[&str] = &["queue", "list"];
    let queue = wait_for_json(one, list, |queue| queue[0]["states"] == serde_json::json!(["due"])).await?;
    let id = queue[0]["id"].as_str().context("an id")?.to_owned();
    let show = ["queue", "show", &id];
    let shown = wait_for_json(one, &show, |entry| entry["details"][0]["attempts"] == 1).await?;
    let shown = match shown["details"][0]["last_reply"].is_string() {
        true => shown,
        // The count is written before the try.
        false => wait_for_json(one, &show, |entry| entry["details"][0]["last_reply"].is_string()).await?,
    };
    ensure!(shown["details"][0]["address"] == "x@slow.test", "{shown:#}");
    let reply = shown["details"][0]["last_reply"].as_str().unwrap_or_default();
    ensure!(reply.contains("451") && reply.contains("not today"), "{shown:#}");
    ensure!(shown["details"][0]["next_attempt"].is_string(), "{shown:#}");
    ensure!(one.run(&show).await?.contains("not today"), "the table says less than JSON");

    one.run(&["queue", "hold", &id]).await?;
    ensure!(json(one, list).await?[0]["states"] == serde_json::json!(["held"]));
    mx.behave();
    one.run(&["queue", "release", &id]).await?;
    one.run(&["queue", "retry", &id]).await?;
    ensure!(mx.wait_for(1, SOON).await?[0].text().contains("Subject: first"));
    wait_for_json(one, list, |queue| *queue == serde_json::json!([])).await?;

    mx.always(Stage::Rcpt, Behaviour::Reply("451 4.3.0 not today".to_owned()));
    submit(one, A, &password, "x@slow.test", &letter(A, "x@slow.test", "second")).await?;
    let queue = wait_for_json(one, list, |queue| queue[0]["states"] == serde_json::json!(["due"])).await?;
    let id = queue[0]["id"].as_str().context("an id")?.to_owned();
    let why = refused(one, &["queue", "cancel", &id], "", 2).await?;
    ensure!(why.contains("--yes"), "{why}");
    one.run(&["queue", "cancel", &id, "--yes"]).await?;
    wait_for_json(one, list, |queue| *queue == serde_json::json!([])).await?;
    refused(one, &["queue", "show", &id], "", 1).await?;
    refused(one, &["queue", "show", "nonsense"], "", 1).await?;
    Ok(())
}

#[tokio::test]
async fn mail_under_way_survives_kill_9() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let mx = world.fake("slow.test", Script::new("mx.slow.test"))?;
    mx.always(Stage::Greeting, Behaviour::ReplyThenClose("421 4.3.2 closed today".to_owned()));
    submit(world.server("one.test"), A, &password, "x@slow.test", &letter(A, "x", "hello")).await?;
    mx.wait_for_connections(1, SOON).await?;
    world.server_mut("one.test").kill9()?;
    mx.behave();
    world.server_mut("one.test").start().await?;
    ensure!(mx.wait_for(1, SOON).await?.len() == 1);
    wait_for_json(world.server("one.test"), &["queue", "list"], |q| *q == serde_json::json!([])).await?;
    ensure!(mx.messages().len() == 1, "sent twice");
    Ok(())
}
