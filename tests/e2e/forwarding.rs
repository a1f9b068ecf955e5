//! Mail that is passed on to another server, and what its sender hears of it and of mail that is filed.

#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/wait.rs"]
mod wait;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use json::json;
use letter::{BOB, message};
use letterlock_testkit::mx::{FakeMx, Script};
use letterlock_testkit::server::Letterlock;
use letterlock_testkit::smtp;
use letterlock_testkit::world::World;
use mail::wait_for_mail;
use wait::wait_for_json;

const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");
const A: &str = "a@one.test";
const B: &str = "b@two.test";
const FAR: &str = "x@far.test";
const SOON: Duration = Duration::from_secs(30);

/// Two servers, of which the second believes what the first seals, and an exchanger of the domain `far.test`, whose
/// policy is to reject what does not come from it.
async fn world(srs_domain: Option<&str>) -> Result<(World, FakeMx)> {
    let mut world = World::start_with(BINARY, &["one.test", "two.test"], |name, setup| {
        match (name, srs_domain) {
            ("two.test", _) => setup.set("inbound", "trusted_sealers", "[\"one.test\"]"),
            (_, Some(domain)) => setup.set("outbound", "srs_domain", &format!("{domain:?}")),
            (_, None) => setup,
        }
    })
    .await?;
    for domain in ["one.test", "two.test"] {
        publish_keys(&world, domain).await?;
    }
    let far = world.fake("far.test", Script::new("mx.far.test"))?;
    Ok((world, far))
}

/// Publishes the DKIM keys that `domain dns` prints.
async fn publish_keys(world: &World, domain: &str) -> Result<()> {
    let records = json(world.server(domain), &["domain", "dns", domain]).await?;
    for record in records.as_array().context("a list of records")? {
        let (Some(name), Some(text)) = (record["name"].as_str(), record["text"].as_str()) else {
            continue;
        };
        if let Some((selector, _)) = name.split_once("._domainkey") {
            world.publish(domain, &format!("{selector}._domainkey"), text)?;
        }
    }
    Ok(())
}

fn letter(from: &str, subject: &str) -> Vec<u8> {
    format!("From: <{from}>\r\nTo: you\r\nSubject: {subject}\r\n\r\nHello.\r\n").into_bytes()
}

/// All messages of INBOX, unfolded, once there are so many.
async fn inbox(
    server: &Letterlock,
    user: &str,
    password: &str,
    count: usize,
) -> Result<Vec<String>> {
    let mut client = server.imap_client(user, password).await?;
    let held = wait_for_mail(&mut client, "INBOX", count).await?;
    ensure!(held.len() == count, "{held:?}");
    let mut all = Vec::new();
    for (uid, _) in held {
        let text = String::from_utf8(client.fetch_body(uid).await?)?;
        all.push(text.replace("\r\n\t", " ").replace("\r\n ", " "));
    }
    client.logout().await?;
    Ok(all)
}

/// A transaction whose sender wants to hear that the message arrived.
async fn ask(client: &mut smtp::Client, from: &str, to: &str, text: &[u8]) -> Result<()> {
    client.ask(&format!("MAIL FROM:<{from}> RET=FULL ENVID=E+2B1"), "250").await?;
    client.ask(&format!("RCPT TO:<{to}> NOTIFY=SUCCESS ORCPT=rfc822;{to}"), "250").await?;
    let reply = client.data(text).await?;
    ensure!(reply.code == 250, "{reply}");
    Ok(())
}

fn assert_delivered(report: &str, recipient: &str) -> Result<()> {
    ensure!(report.starts_with("Return-Path: <>\r\n"), "{report}");
    for line in [
        "Original-Envelope-Id: E+1".to_owned(),
        format!("Original-Recipient: rfc822; {recipient}"),
        format!("Final-Recipient: rfc822; {recipient}"),
        "Action: delivered".to_owned(),
    ] {
        ensure!(report.contains(&format!("\r\n{line}\r\n")), "{line}: {report}");
    }
    ensure!(!report.contains("Hello."), "more than the header: {report}");
    Ok(())
}

#[tokio::test]
async fn who_asks_hears_of_delivery_when_the_mail_is_in_the_mailbox() -> Result<()> {
    let (world, _far) = world(None).await?;
    let (one, two) = (world.server("one.test"), world.server("two.test"));
    let (at_one, at_two) = (one.add_account(A).await?, two.add_account(B).await?);
    let mut client = one.submit_client(A, &at_one).await?;
    ask(&mut client, A, B, &letter(A, "parked")).await?;
    wait_for_json(two, &["queue", "list"], |queue| queue[0]["states"][0] == "parked").await?;
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    let queue = json(two, &["queue", "list"]).await?;
    ensure!(queue.as_array().is_some_and(|all| all.len() == 1), "told too early: {queue:#}");
    let mut reader = two.imap_client(B, &at_two).await?;
    wait_for_mail(&mut reader, "INBOX", 1).await?;
    assert_delivered(&inbox(one, A, &at_one, 1).await?[0], B)?;
    // Who wrote sealed mail is not in its trace, nor what would lead there.
    let id = queue[0]["id"].as_str().context("an id")?;
    let trace = two.run(&["trace", id]).await?;
    ensure!(trace.contains(B) && !trace.contains(A) && !trace.contains("report"), "{trace}");

    // The mailbox is open now. A report is itself not reported.
    ask(&mut client, A, B, &letter(A, "direct")).await?;
    assert_delivered(&inbox(one, A, &at_one, 2).await?[1], B)?;
    let mut stranger = two.smtp_client().await?;
    ask(&mut stranger, "", B, &message("report")).await?;
    wait_for_mail(&mut reader, "INBOX", 3).await?;
    wait_for_json(two, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    inbox(one, A, &at_one, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_report_to_one_of_our_own_people_is_filed_while_they_are_there() -> Result<()> {
    let (world, _far) = world(None).await?;
    let one = world.server("one.test");
    let password = one.add_account(A).await?;
    let mut reader = one.imap_client(A, &password).await?;
    let mut client = one.submit_client(A, &password).await?;
    ask(&mut client, A, A, &letter(A, "to myself")).await?;
    wait_for_mail(&mut reader, "INBOX", 2).await?;
    let held = inbox(one, A, &password, 2).await?;
    assert_delivered(&held[1], A)
}

#[tokio::test]
async fn a_forwarded_message_is_sealed_and_bounces_back_to_its_sender() -> Result<()> {
    let (world, far) = world(None).await?;
    let (one, two) = (world.server("one.test"), world.server("two.test"));
    let at_two = two.add_account(B).await?;
    one.run(&["alias", "add", "fwd@one.test", B]).await?;
    let mut client = one.smtp_client().await?;
    let reply = client.deliver(FAR, &["fwd@one.test"], &letter(FAR, "onwards")).await?;
    ensure!(reply.code == 250, "{reply}");
    let there = inbox(two, B, &at_two, 1).await?.remove(0);
    let path = there.lines().next().context("a line")?;
    let path = path.strip_prefix("Return-Path: <").and_then(|path| path.strip_suffix('>'));
    let path = path.context("a return path")?;
    ensure!(path.starts_with("SRS0=") && path.ends_with("=far.test=x@one.test"), "{path}");
    for part in [
        "Delivered-To: fwd@one.test\r\n",
        "ARC-Seal: i=1;",
        "spf=pass smtp.mailfrom=one.test",
        "arc=pass",
        "reason=\"overridden by the ARC chain of one.test\"",
    ] {
        ensure!(there.contains(part), "{part} is missing: {there}");
    }

    let reply = client.deliver("", &[path], &message("bounce")).await?;
    ensure!(reply.code == 250, "{reply}");
    let bounce = far.wait_for(1, SOON).await?.remove(0);
    ensure!(bounce.from.is_empty() && bounce.addresses() == [FAR], "{bounce:?}");
    ensure!(bounce.text().contains("Subject: bounce"), "{}", bounce.text());
    client.ask("MAIL FROM:<>", "250").await?;
    client.ask(&format!("RCPT TO:<{}>", path.replace("=x@", "=y@")), "550 5.1.1").await?;
    Ok(())
}

#[tokio::test]
async fn aliases_of_two_servers_that_lead_to_each_other_end_in_a_bounce_to_the_sender() -> Result<()>
{
    let (world, far) = world(None).await?;
    let (one, two) = (world.server("one.test"), world.server("two.test"));
    one.run(&["alias", "add", "loop@one.test", "loop@two.test"]).await?;
    two.run(&["alias", "add", "loop@two.test", "loop@one.test"]).await?;
    let mut client = one.smtp_client().await?;
    let reply = client.deliver(FAR, &["loop@one.test"], &letter(FAR, "round")).await?;
    ensure!(reply.code == 250, "{reply}");
    // From the second server to the return address at the first one, and from there on.
    let bounce = far.wait_for(1, SOON).await?.remove(0);
    ensure!(bounce.from.is_empty() && bounce.addresses() == [FAR], "{bounce:?}");
    let text = bounce.text();
    ensure!(text.contains("\r\nStatus: 5.4.6\r\n") && text.contains("Subject: round"), "{text}");
    for server in [one, two] {
        wait_for_json(server, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_nobodys_goes_to_the_catch_all_and_forged_return_addresses_too() -> Result<()> {
    let (world, _far) = world(None).await?;
    let one = world.server("one.test");
    let password = one.add_account(A).await?;
    let mut client = one.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask("RCPT TO:<whoever@one.test>", "550 5.1.1").await?;
    client.ask("RSET", "250").await?;
    one.run(&["alias", "add", "@one.test", A]).await?;
    let forged = "SRS0=AAAAAA=AA=far.test=x@one.test";
    for to in ["whoever@one.test", forged] {
        let reply = client.deliver(BOB, &[to], &message("caught")).await?;
        ensure!(reply.code == 250, "{to}: {reply}");
    }
    let held = inbox(one, A, &password, 2).await?;
    ensure!(held[0].contains("Delivered-To: whoever@one.test\r\n"), "{}", held[0]);
    Ok(())
}

#[tokio::test]
async fn return_addresses_are_never_in_a_domain_of_others() -> Result<()> {
    let (world, far) = world(Some("elsewhere.test")).await?;
    let one = world.server("one.test");
    one.run(&["alias", "add", "fwd@one.test", "y@far.test"]).await?;
    let reply =
        one.smtp_client().await?.deliver(FAR, &["fwd@one.test"], &letter(FAR, "onwards")).await?;
    ensure!(reply.code == 250, "{reply}");
    let passed = far.wait_for(1, SOON).await?.remove(0);
    ensure!(passed.from.ends_with("=far.test=x@one.test"), "{}", passed.from);
    let warning = "[outbound] srs_domain: elsewhere.test is no domain of this server";
    ensure!(one.log().contains(warning), "{}", one.log());
    Ok(())
}

/// A report of another server about one recipient, with the header of the message as that server has it.
fn report(recipient: &str, message: &str) -> Vec<u8> {
    let header = message.split("\r\n\r\n").next().unwrap_or_default();
    format!(
        "From: <{BOB}>\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; \
         report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: \
         message/delivery-status\r\n\r\nReporting-MTA: dns; mx.far.test\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 moved away\r\n--b\r\nContent-Type: \
         text/rfc822-headers\r\n\r\n{header}\r\n--b--\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_server_that_takes_a_copy_and_reports_later_is_believed_if_it_has_the_message()
-> Result<()> {
    let (world, far) = world(None).await?;
    let one = world.server("one.test");
    one.add_account(A).await?;
    one.run(&["alias", "add", "list@one.test", "gone@far.test", "here@far.test"]).await?;
    let mut client = one.smtp_client().await?;
    let reply = client.deliver(FAR, &["list@one.test"], &letter(FAR, "onwards")).await?;
    ensure!(reply.code == 250, "{reply}");
    let copy = far.wait_for(1, SOON).await?.remove(0);
    let list: &[&str] = &["queue", "suppressed", "list"];
    let empty = |queue: &serde_json::Value| *queue == serde_json::json!([]);
    wait_for_json(one, &["queue", "list"], empty).await?;

    // Whoever has not seen the copy, or its return address, or names somebody else, is not believed.
    let forged = letter(FAR, "onwards");
    let forged = String::from_utf8_lossy(&forged).into_owned();
    for (to, lie) in [
        (copy.from.as_str(), report("gone@far.test", &forged)),
        (copy.from.as_str(), report("x@far.test", &copy.text())),
        (A, report("gone@far.test", &copy.text())),
    ] {
        ensure!(client.deliver("", &[to], &lie).await?.code == 250);
    }
    ensure!(json(one, list).await? == serde_json::json!([]));
    let reply = client.deliver("", &[&copy.from], &report("gone@far.test", &copy.text())).await?;
    ensure!(reply.code == 250, "{reply}");
    let held = json(one, list).await?;
    ensure!(held[0]["address"] == "gone@far.test" && held[1].is_null(), "{held:#}");
    ensure!(held[0]["reason"].as_str().unwrap_or_default().contains("moved away"), "{held:#}");
    // The sender has all that came to the return address. Of the next message, whoever is left has a copy, and the
    // sender hears of the other.
    for returned in &far.wait_for(4, SOON).await?[1..] {
        ensure!(
            returned.addresses() == [FAR] && returned.text().contains("moved away"),
            "{returned:?}"
        );
    }
    ensure!(client.deliver(FAR, &["list@one.test"], &letter(FAR, "again")).await?.code == 250);
    for message in &far.wait_for(6, SOON).await?[4..] {
        let to = if message.from.is_empty() { FAR } else { "here@far.test" };
        ensure!(
            message.addresses() == [to] && message.text().contains("Subject: again"),
            "{message:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_sender_whose_address_leads_elsewhere_hears_of_failures_there() -> Result<()> {
    let (world, far) = world(None).await?;
    let one = world.server("one.test");
    let password = one.add_account(A).await?;
    one.run(&["alias", "add", "team@one.test", A, FAR]).await?;
    let mut client = one.submit_client(A, &password).await?;
    let text = letter("team@one.test", "lost");
    let reply = client.deliver("team@one.test", &["x@nowhere.test"], &text).await?;
    ensure!(reply.code == 250, "{reply}");
    let report = far.wait_for(1, SOON).await?.remove(0);
    ensure!(report.from.is_empty() && report.addresses() == [FAR], "{report:?}");
    let text = report.text();
    ensure!(text.starts_with("Delivered-To: team@one.test\r\n"), "{text}");
    ensure!(text.contains("DKIM-Signature: ") && text.contains("\r\nStatus: 5.1.2\r\n"), "{text}");
    ensure!(inbox(one, A, &password, 1).await?[0].contains("Status: 5.1.2"));
    Ok(())
}
