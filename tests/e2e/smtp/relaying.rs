//! Who a message is for: roles, aliases, details, loops.

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::dns::DnsServer;

use crate::deliver::deliver;
use crate::json::json;
use crate::letter::{BOB, message};
use crate::mail::wait_for_mail;
use crate::only_message;
use crate::place::{ANN, place, setup};
use crate::wait::wait_for_json;

#[tokio::test]
async fn role_addresses_and_the_bare_postmaster_reach_the_first_account() -> Result<()> {
    let place = place(|setup| setup).await?;
    let roles = [
        "Postmaster",
        "postmaster@example.test",
        "abuse@example.test",
        "tls-reports@example.test",
        "dmarc-reports@example.test",
    ];
    for role in roles {
        deliver(&place.server, role, role).await?;
    }
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let held = wait_for_mail(&mut client, "INBOX", roles.len()).await?;
    ensure!(held.iter().map(|(_, subject)| subject.as_str()).eq(roles), "{held:?}");
    Ok(())
}

#[tokio::test]
async fn mail_for_a_role_waits_until_the_domain_has_its_first_account() -> Result<()> {
    let dns = DnsServer::start([])?;
    let server = &setup().dns(&dns).start().await?;
    server.add_domain("example.test").await?;
    deliver(server, "postmaster@example.test", "first").await?;
    deliver(server, "Postmaster", "second").await?;
    let queue = json(server, &["queue", "list"]).await?;
    let states: Vec<_> =
        queue.as_array().context("a list")?.iter().map(|row| &row["states"][0]).collect();
    ensure!(states == ["waiting", "waiting"], "{queue:#}");
    let password = server.add_account(ANN).await?;
    let mut client = server.imap_client(ANN, &password).await?;
    let held = wait_for_mail(&mut client, "INBOX", 2).await?;
    ensure!(held.iter().map(|(_, subject)| subject.as_str()).eq(["first", "second"]), "{held:?}");
    wait_for_json(server, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn an_alias_leads_to_all_its_accounts_and_a_detail_to_its_base() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    let eve = server.add_account("eve@example.test").await?;
    server.run(&["alias", "add", "staff@example.test", ANN, "eve@example.test"]).await?;
    let listed = json(server, &["alias", "list"]).await?;
    ensure!(listed[0]["targets"] == serde_json::json!([ANN, "eve@example.test"]), "{listed:#}");
    deliver(server, "Staff@Example.TEST", "to-all").await?;
    deliver(server, "ann+lists@example.test", "detail").await?;
    for (user, password, expected) in [
        (ANN, &place.password, &["to-all", "detail"][..]),
        ("eve@example.test", &eve, &["to-all"][..]),
    ] {
        let mut client = server.imap_client(user, password).await?;
        let held = wait_for_mail(&mut client, "INBOX", expected.len()).await?;
        ensure!(
            held.iter().map(|(_, subject)| subject.as_str()).eq(expected.iter().copied()),
            "{held:?}"
        );
    }
    server.run(&["alias", "remove", "staff@example.test"]).await?;
    let mut client = server.smtp_client().await?;
    client.ask(&format!("MAIL FROM:<{BOB}>"), "250").await?;
    client.ask("RCPT TO:<staff@example.test>", "550 5.1.1").await?;
    Ok(())
}

#[tokio::test]
async fn mail_that_goes_in_circles_is_refused() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.smtp_client().await?;
    let seen = [format!("Delivered-To: {ANN}\r\n").as_bytes(), &message("seen")].concat();
    let reply = client.deliver(BOB, &[ANN], &seen).await?;
    ensure!(reply.to_string().starts_with("554 5.4.6"), "{reply}");
    let hops = "Received: from a by b; Fri, 20 Nov 2026 10:00:00 +0000\r\n".repeat(101);
    let reply = client.deliver(BOB, &[ANN], &[hops.as_bytes(), &message("hops")].concat()).await?;
    ensure!(reply.to_string().starts_with("554 5.4.6"), "{reply}");
    // Somebody else's delivery is no loop, and one hop less is fine.
    let other = [&b"Delivered-To: x@elsewhere.test\r\n"[..], &message("other")].concat();
    ensure!(client.deliver(BOB, &[ANN], &other).await?.code == 250);
    ensure!(only_message(&place).await?.ends_with(&other));

    // Where others are to have it too, their copies are taken, and the trace says what became of this one.
    place.server.add_account("eve@example.test").await?;
    let reply = client.deliver(BOB, &[ANN, "eve@example.test"], &seen).await?;
    ensure!(reply.code == 250, "{reply}");
    let id = reply.text().rsplit(' ').next().context("an id")?.to_owned();
    let trace = place.server.run(&["trace", &id]).await?;
    let dropped = format!("{ANN} had it already (Delivered-To): this copy is dropped");
    ensure!(trace.contains(&dropped) && trace.contains("accepted for 1 recipient"), "{trace}");
    Ok(())
}

#[tokio::test]
async fn the_same_message_twice_is_two_messages() -> Result<()> {
    let place = place(|setup| setup).await?;
    for _ in 0..2 {
        deliver(&place.server, ANN, "twin").await?;
    }
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let held = wait_for_mail(&mut client, "INBOX", 2).await?;
    ensure!(held.len() == 2, "{held:?}");
    Ok(())
}

#[tokio::test]
async fn an_alias_to_another_server_is_carried_there_with_the_local_copy_filed() -> Result<()> {
    let place = place(|setup| {
        setup
            .set("outbound", "routes", "{ \"*\" = \"127.0.0.1:9\" }")
            .set("outbound", "retry", "[\"1h\"]")
    })
    .await?;
    let server = &place.server;
    server.run(&["alias", "add", "both@example.test", ANN, "x@far.test"]).await?;
    deliver(server, "both@example.test", "both").await?;
    ensure!(only_message(&place).await?.ends_with(&message("both")));
    let due = |queue: &serde_json::Value| queue[0]["from"] == BOB;
    wait_for_json(server, &["queue", "list"], due).await?;
    Ok(())
}

#[tokio::test]
async fn mail_that_waits_for_a_role_goes_to_the_alias_that_takes_it_up() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    server.add_domain("other.test").await?;
    deliver(server, "postmaster@other.test", "waiting").await?;
    ensure!(json(server, &["queue", "list"]).await?[0]["states"][0] == "waiting");
    server.run(&["alias", "add", "postmaster@other.test", ANN]).await?;
    ensure!(only_message(&place).await?.ends_with(&message("waiting")));
    Ok(())
}
