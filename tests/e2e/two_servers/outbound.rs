//! What becomes of mail that is to go elsewhere: sent, tried again, given up, held by an operator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::dns::{Fault, RecordType, Zone};
use letterlock_testkit::mx::{Behaviour, Script, Stage};
use letterlock_testkit::server::Setup;
use letterlock_testkit::world::World;

use crate::json::json;
use crate::mail::wait_for_mail;
use crate::refused::refused;
use crate::wait::wait_for_json;
use crate::{A, BINARY, letter, only_message, submit};

const SOON: Duration = Duration::from_secs(30);

/// A server of one.test with the account A, and its password.
pub(crate) async fn sender(change: impl Fn(Setup) -> Setup) -> Result<(World, String)> {
    let world = World::start_with(BINARY, &["one.test"], |_, setup| change(setup)).await?;
    let password = world.server("one.test").add_account(A).await?;
    Ok((world, password))
}

#[tokio::test]
async fn mail_waits_while_the_exchangers_cannot_be_looked_up() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let mx = world.fake("far.test", Script::new("mx.far.test"))?;
    let one = world.server("one.test");
    for (number, fault) in (1..).zip([Fault::ServFail, Fault::Bogus]) {
        world.dns.fail_type("far.test", RecordType::MX, fault);
        submit(one, A, &password, "x@far.test", &letter(A, "x", "hello")).await?;
        let waits = |queue: &serde_json::Value| queue[0]["states"] == serde_json::json!(["due"]);
        let queue = wait_for_json(one, &["queue", "list"], waits).await?;
        let id = queue[0]["id"].as_str().context("an id")?.to_owned();
        let tried = |entry: &serde_json::Value| entry["details"][0]["last_reply"].is_string();
        wait_for_json(one, &["queue", "show", &id], tried).await?;
        ensure!(mx.messages().len() == number - 1, "{fault:?}: sent all the same");
        world.dns.heal("far.test");
        mx.wait_for(number, SOON).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_an_exchanger_cannot_take_comes_back_or_is_made_fit_for_it() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let script = Script::new("mx.old.test").without("SMTPUTF8").without("8BITMIME");
    let mx = world.fake("old.test", script)?;
    let one = world.server("one.test");
    let mut client = one.submit_client(A, &password).await?;
    client.ask(&format!("MAIL FROM:<{A}> SMTPUTF8 BODY=8BITMIME"), "250").await?;
    client.ask("RCPT TO:<grüße@old.test>", "250").await?;
    ensure!(client.data(&letter(A, "grüße@old.test", "hello")).await?.code == 250);
    assert_bounce(&world, &password, "grüße@old.test", "5.6.7").await?;
    ensure!(mx.messages().is_empty(), "{:?}", mx.messages());

    client.ask(&format!("MAIL FROM:<{A}> BODY=8BITMIME"), "250").await?;
    client.ask("RCPT TO:<x@old.test>", "250").await?;
    let text = [&letter(A, "x@old.test", "eight")[..], "größer\r\n".as_bytes()].concat();
    ensure!(client.data(&text).await?.code == 250);
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    let sent = mx.messages();
    ensure!(
        sent.iter().all(|message| message.bytes.is_ascii()),
        "8-bit went to who cannot take it"
    );
    if sent.is_empty() {
        let mut reader = one.imap_client(A, &password).await?;
        let held = wait_for_mail(&mut reader, "INBOX", 2).await?;
        let bounce = String::from_utf8(reader.fetch_body(held[1].0).await?)?;
        ensure!(bounce.contains("\r\nStatus: 5.6.3"), "{bounce}");
    }
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
        let signed = message.text().lines().any(|line| line.starts_with("DKIM-Signature: "));
        ensure!(signed, "{}", message.text());
        ensure!(
            !message.text().contains("127."),
            "the client's address is told: {}",
            message.text()
        );
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
    // RFC 6533 §3 has a type of its own for addresses that are not ASCII.
    let kind = if recipient.is_ascii() { "rfc822" } else { "utf-8" };
    ensure!(text.contains(&format!("\r\nFinal-Recipient: {kind}; {recipient}\r\n")), "{text}");
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
async fn an_exchanger_that_always_defers_is_tried_again_and_then_the_mail_comes_back() -> Result<()>
{
    let (mut world, password) = sender(|setup| setup.set("outbound", "expire", "\"2s\"")).await?;
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
    let (mut world, password) = sender(|setup| setup.set("outbound", "expire", "\"2s\"")).await?;
    let nobody = world.take_address()?;
    world.dns.put(Zone::signed("dead.test").mx("@", 10, "mx.dead.test").a("mx", nobody));
    let one = world.server("one.test");
    submit(one, A, &password, "x@dead.test", &letter(A, "x@dead.test", "hello")).await?;
    let waiting = json(one, &["queue", "list"]).await?;
    ensure!(waiting[0]["from"] == A, "{waiting:#}");
    assert_bounce(&world, &password, "x@dead.test", "").await
}

#[tokio::test]
async fn the_next_exchanger_is_tried_when_the_first_is_away_or_defers() -> Result<()> {
    let (mut world, password) = sender(|setup| setup.set("outbound", "retry", "[\"1h\"]")).await?;
    let nobody = world.take_address()?;
    let busy = world.fake("busy.test", Script::new("mx.busy.test"))?;
    busy.always(Stage::Greeting, Behaviour::ReplyThenClose("421 4.3.2 too busy".to_owned()));
    let good = world.fake("good.test", Script::new("mx.good.test"))?;
    let zone = Zone::signed("many.test")
        .mx("@", 10, "away.many.test")
        .mx("@", 20, "mx.busy.test")
        .mx("@", 30, "mx.good.test")
        .a("away", nobody);
    world.dns.put(zone);
    submit(world.server("one.test"), A, &password, "x@many.test", &letter(A, "x", "hello")).await?;
    ensure!(good.wait_for(1, SOON).await?[0].addresses() == ["x@many.test"]);
    ensure!(busy.connections() == 1);
    Ok(())
}

#[tokio::test]
async fn a_message_for_several_domains_and_ourselves_reaches_all() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let (near, far) = (
        world.fake("near.test", Script::new("mx.near.test"))?,
        world.fake("far.test", Script::new("mx.far.test"))?,
    );
    let one = world.server("one.test");
    let other = one.add_account("other@one.test").await?;
    let mut client = one.submit_client(A, &password).await?;
    let all = ["x@near.test", "y@far.test", "z@far.test", "other@one.test", A];
    ensure!(client.deliver(A, &all, &letter(A, "all", "hello")).await?.code == 250);
    ensure!(near.wait_for(1, SOON).await?[0].addresses() == ["x@near.test"]);
    let sent: Vec<_> =
        far.wait_for(1, SOON).await?.iter().flat_map(|m| m.recipients.clone()).collect();
    ensure!(sent.len() == 2, "recipients of one host are sent together: {sent:?}");
    only_message(one, A, &password, "INBOX").await?;
    only_message(one, "other@one.test", &other, "INBOX").await?;
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_without_mail_or_without_existence_bounces_at_once() -> Result<()> {
    let (world, password) = sender(|setup| setup).await?;
    world.dns.put(Zone::signed("null.test").mx("@", 0, "."));
    submit(world.server("one.test"), A, &password, "x@null.test", &letter(A, "x", "hello")).await?;
    assert_bounce(&world, &password, "x@null.test", "5.1.10").await?;
    let (world, password) = sender(|setup| setup).await?;
    submit(world.server("one.test"), A, &password, "x@nowhere.test", &letter(A, "x", "hello"))
        .await?;
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
    let (mut world, password) = sender(|setup| setup.set("outbound", "retry", "[\"1h\"]")).await?;
    let mx = world.fake("slow.test", Script::new("mx.slow.test"))?;
    mx.always(Stage::Rcpt, Behaviour::Reply("451 4.3.0 not today".to_owned()));
    let one = world.server("one.test");
    submit(one, A, &password, "x@slow.test", &letter(A, "x@slow.test", "first")).await?;
    let list: &[&str] = &["queue", "list"];
    let queue =
        wait_for_json(one, list, |queue| queue[0]["states"] == serde_json::json!(["due"])).await?;
    let id = queue[0]["id"].as_str().context("an id")?.to_owned();
    let show = ["queue", "show", &id];
    let shown = wait_for_json(one, &show, |entry| entry["details"][0]["attempts"] == 1).await?;
    let shown = match shown["details"][0]["last_reply"].is_string() {
        true => shown,
        // The count is written before the try.
        false => {
            wait_for_json(one, &show, |entry| entry["details"][0]["last_reply"].is_string()).await?
        }
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
    let trace = one.run(&["trace", &id]).await?;
    let told = [
        "not today",
        "until an operator releases it: an operator said so",
        "released by an operator",
    ];
    ensure!(told.iter().all(|words| trace.contains(words)), "{trace}");

    mx.always(Stage::Rcpt, Behaviour::Reply("451 4.3.0 not today".to_owned()));
    submit(one, A, &password, "x@slow.test", &letter(A, "x@slow.test", "second")).await?;
    let queue =
        wait_for_json(one, list, |queue| queue[0]["states"] == serde_json::json!(["due"])).await?;
    let id = queue[0]["id"].as_str().context("an id")?.to_owned();
    let why = refused(one, &["queue", "cancel", &id], "", 2).await?;
    ensure!(why.contains("--yes"), "{why}");
    one.run(&["queue", "cancel", &id, "--yes"]).await?;
    let trace = one.run(&["trace", &id]).await?;
    ensure!(trace.contains("taken out of the queue by an operator"), "{trace}");
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
    wait_for_json(world.server("one.test"), &["queue", "list"], |q| *q == serde_json::json!([]))
        .await?;
    ensure!(mx.messages().len() == 1, "sent twice");
    Ok(())
}
