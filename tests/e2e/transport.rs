//! Transport security between two servers of ours: MTA-STS served by one and obeyed by the other, DANE, REQUIRETLS, and
//! what operators are told of the decisions.

#[path = "transport/balancer.rs"]
mod balancer;
#[path = "support/deliver.rs"]
mod deliver;
#[path = "support/json.rs"]
mod json;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/refused.rs"]
mod refused;
#[path = "support/wait.rs"]
mod wait;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use balancer::Balancer;
use deliver::deliver;
use json::json;
use letterlock_testkit::ca::{Issued, TestCa};
use letterlock_testkit::dns::Zone;
use letterlock_testkit::mx::Script;
use letterlock_testkit::server::Letterlock;
use letterlock_testkit::world::World;
use mail::wait_for_mail;
use refused::refused;
use serde_json::Value;
use wait::wait_for_json;

const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");
const A: &str = "a@one.test";
const B: &str = "b@two.test";
const SOON: Duration = Duration::from_secs(30);

/// Two servers with an account each, and the passwords.
struct Pair {
    world: World,
    at_one: String,
    at_two: String,
}

impl Pair {
    async fn start() -> Result<Self> {
        let world = World::start(BINARY, &["one.test", "two.test"]).await?;
        let at_one = world.server("one.test").add_account(A).await?;
        let at_two = world.server("two.test").add_account(B).await?;
        Ok(Self { world, at_one, at_two })
    }

    fn one(&self) -> &Letterlock {
        self.world.server("one.test")
    }

    fn two(&self) -> &Letterlock {
        self.world.server("two.test")
    }

    fn ip_of_two(&self) -> Result<Ipv4Addr> {
        match self.two().smtp().ip() {
            IpAddr::V4(ip) => Ok(ip),
            IpAddr::V6(ip) => anyhow::bail!("{ip} in a world of IPv4"),
        }
    }

    /// From now on the second server shows this certificate.
    async fn show(&mut self, certificate: &Issued) -> Result<()> {
        let two = self.world.server_mut("two.test");
        two.configure(|setup| setup.certificate(certificate))?;
        two.restart().await
    }

    /// A submits a message for B, with these parameters of MAIL; its id.
    async fn submit(&self, parameters: &str, subject: &str) -> Result<String> {
        let mut client = self.one().submit_client(A, &self.at_one).await?;
        client.ask(&format!("MAIL FROM:<{A}>{parameters}"), "250").await?;
        client.ask(&format!("RCPT TO:<{B}>"), "250").await?;
        let text = format!("From: <{A}>\r\nTo: <{B}>\r\nSubject: {subject}\r\n\r\nthe-body\r\n");
        let reply = client.data(text.as_bytes()).await?;
        ensure!(reply.code == 250, "{reply}");
        client.quit().await?;
        accepted_as(&reply.to_string()).context("no id in the reply")
    }

    /// Waits until B has as many messages; the last.
    async fn arrived(&self, count: usize) -> Result<String> {
        newest(self.two(), B, &self.at_two, count).await
    }

    /// Waits until nothing is under way at the first server: by then it knows what became of everything.
    async fn is_done(&self) -> Result<()> {
        let empty = |queue: &Value| *queue == serde_json::json!([]);
        wait_for_json(self.one(), &["queue", "list"], empty).await.map(drop)
    }

    /// Waits until the first server has put a message off because of its policy, and looks at what operators see.
    async fn is_deferred(&self, id: &str, policy: &str, words: &[&str]) -> Result<()> {
        let put_off = |entry: &Value| entry["details"][0]["last_reply"].is_string();
        let entry = wait_for_json(self.one(), &["queue", "show", id], put_off).await?;
        let recipient = &entry["details"][0];
        let security = recipient["security"].as_str().unwrap_or_default();
        ensure!(security.starts_with(&format!("{policy}: refused: ")), "{entry:#}");
        ensure!(recipient["next_attempt"].is_string(), "{entry:#}");
        ensure!(
            recipient["last_reply"].as_str().unwrap_or_default().contains("4.7.5"),
            "{entry:#}"
        );
        let shown = self.one().run(&["queue", "show", id]).await?;
        ensure!(shown.contains(security), "the table says less than JSON: {shown}");
        let trace = self.one().run(&["trace", id]).await?;
        for words in words.iter().chain(&["not yet delivered to b@two.test", "; next try at "]) {
            ensure!(trace.contains(words), "{words:?} is missing: {trace}");
        }
        Ok(())
    }
}

/// The newest of a user's `count` messages.
async fn newest(server: &Letterlock, user: &str, password: &str, count: usize) -> Result<String> {
    let mut client = server.imap_client(user, password).await?;
    let held = wait_for_mail(&mut client, "INBOX", count).await?;
    ensure!(held.len() == count, "{held:?}");
    let body = client.fetch_body(held[count - 1].0).await?;
    client.logout().await?;
    Ok(String::from_utf8(body)?)
}

/// The id in a text with a reply of ours.
fn accepted_as(text: &str) -> Option<String> {
    let (_, id) = text.split_once("Accepted as ")?;
    Some(id.chars().take_while(char::is_ascii_alphanumeric).collect())
}

/// What a trace tells, line by line, as JSON has it.
async fn lines(server: &Letterlock, id: &str) -> Result<Vec<String>> {
    let trace = json(server, &["trace", id]).await?;
    let lines = trace["lines"].as_array().with_context(|| format!("no lines: {trace:#}"))?;
    let text = |line: &Value| line.as_object().map(|line| format!("{line:?}"));
    lines.iter().map(|line| text(line).context("a line is no object")).collect()
}

/// The second server publishes a policy over HTTPS, and DNS tells of it. Its certificate, and where it listens.
async fn publish_policy(pair: &mut Pair) -> Result<(Issued, SocketAddr)> {
    let ip = pair.ip_of_two()?;
    let port = TcpListener::bind((ip, 0))?.local_addr()?.port();
    let good = pair.world.ca.issue(&["mx.two.test", "mta-sts.two.test"])?;
    let one = pair.world.server_mut("one.test");
    one.configure(|setup| setup.set("outbound", "policy_port", &port.to_string()))?;
    one.restart().await?;
    pair.world.server_mut("two.test").configure(|setup| {
        setup.set("listen", "https", &format!("[\"{ip}:{port}\"]")).set(
            "mta_sts",
            "mode",
            "\"enforce\"",
        )
    })?;
    pair.show(&good).await?;
    let records = json(pair.two(), &["domain", "dns", "two.test"]).await?;
    let records = records.as_array().context("a list of records")?;
    let record = records.iter().find(|record| record["name"] == "_mta-sts.two.test.");
    let text = record.and_then(|record| record["text"].as_str()).context("no MTA-STS record")?;
    pair.world.publish("two.test", "_mta-sts", text)?;
    pair.world.dns.change("two.test", |zone| zone.a("mta-sts", ip))?;
    Ok((good, (ip, port).into()))
}

#[tokio::test]
async fn a_policy_that_one_server_publishes_is_obeyed_by_the_other() -> Result<()> {
    let mut pair = Pair::start().await?;
    let (good, _) = publish_policy(&mut pair).await?;
    let id = pair.submit("", "verified").await?;
    pair.arrived(1).await?;
    pair.is_done().await?;
    let sent = lines(pair.one(), &id).await?.join("\n");
    for words in [
        "accepted for 1 recipient, durably stored",
        "try 1 to two.test",
        "decided by MTA-STS: the policy names mx.two.test, and the certificate is valid for mx.two.test",
        "TLS1.3 ",
        " X25519MLKEM768",
        "delivered to b@two.test: mx.two.test has it",
    ] {
        ensure!(sent.contains(words), "{words:?} is missing: {sent}");
    }
    let there = accepted_as(&sent).context("the other server's reply is missing")?;
    let received = lines(pair.two(), &there).await?.join("\n");
    for words in ["SPF pass for ", "accepted for 1 recipient", B] {
        ensure!(received.contains(words), "{words:?} is missing: {received}");
    }

    // HTTPS is as it should be, and the exchanger shows a certificate for another name.
    pair.show(&pair.world.ca.issue(&["mta-sts.two.test"])?).await?;
    let id = pair.submit("", "deferred").await?;
    let words = ["decided by MTA-STS: refused: ", "certificate"];
    pair.is_deferred(&id, "MTA-STS", &words).await?;
    pair.show(&good).await?;
    ensure!(pair.arrived(2).await?.contains("Subject: deferred"));
    Ok(())
}

#[tokio::test]
async fn a_tlsa_record_that_does_not_fit_defers_and_one_that_fits_delivers() -> Result<()> {
    let mut pair = Pair::start().await?;
    // Nobody's certificate: only DANE makes it a good one.
    let stranger = TestCa::new()?;
    let certificate = stranger.issue(&["other.test"])?;
    pair.show(&certificate).await?;
    let owner = format!("_{}._tcp.mx", pair.world.port());
    pair.world.dns.change("two.test", |zone| zone.tlsa(&owner, 3, 1, 1, &[7; 32]))?;
    let id = pair.submit("", "by-dane").await?;
    pair.is_deferred(&id, "DANE", &["decided by DANE: refused: "]).await?;
    let fits = certificate.tlsa_3_1_1();
    pair.world
        .dns
        .change("two.test", |zone| zone.without(&owner, None).tlsa(&owner, 3, 1, 1, &fits))?;
    ensure!(pair.arrived(1).await?.contains("Subject: by-dane"));
    pair.is_done().await?;
    let trace = pair.one().run(&["trace", &id]).await?;
    for words in [
        "received on submission from ",
        ", logged in as ",
        "decided by DANE: the certificate fits the TLSA record 3 1 1",
    ] {
        ensure!(trace.contains(words), "{words:?} is missing: {trace}");
    }
    Ok(())
}

#[tokio::test]
async fn requiretls_comes_back_where_nobody_vouches_for_the_exchanger() -> Result<()> {
    let pair = Pair::start().await?;
    let ip = pair.ip_of_two()?;
    let zone = |zone: Zone| {
        zone.mx("@", 10, "mx.two.test").a("mx", ip).txt("@", "v=spf1 ip4:127.0.0.0/8 -all")
    };
    pair.world.dns.put(zone(Zone::unsigned("two.test")));
    let id = pair.submit(" RET=FULL REQUIRETLS", "secret").await?;
    let bounce = newest(pair.one(), A, &pair.at_one, 1).await?;
    ensure!(bounce.contains("\r\nStatus: 5.7.30\r\n"), "{bounce}");
    ensure!(!bounce.contains("the-body"), "RFC 8689 §5: only the header goes back: {bounce}");
    let trace = pair.one().run(&["trace", &id]).await?;
    ensure!(trace.contains("REQUIRETLS") && trace.contains("given up for b@two.test"), "{trace}");

    pair.world.dns.put(zone(Zone::signed("two.test")));
    let id = pair.submit(" REQUIRETLS", "safe").await?;
    ensure!(pair.arrived(1).await?.contains("Subject: safe"));
    pair.is_done().await?;
    let trace = pair.one().run(&["trace", &id]).await?;
    ensure!(trace.contains("REQUIRETLS is met"), "{trace}");
    Ok(())
}

#[tokio::test]
async fn operators_see_addresses_that_are_gone_and_take_them_off_the_list() -> Result<()> {
    const GONE: &str = "gone@far.test";
    let mut world = World::start(BINARY, &["one.test"]).await?;
    let script = Script::new("mx.far.test").recipient(GONE, "550 5.1.1 moved away");
    let mx = world.fake("far.test", script)?;
    let one = world.server("one.test");
    let password = one.add_account(A).await?;
    one.run(&["alias", "add", "list@one.test", GONE]).await?;
    let list: &[&str] = &["queue", "suppressed", "list"];
    ensure!(json(one, list).await? == serde_json::json!([]));
    deliver(one, "list@one.test", "first").await?;
    let held = wait_for_json(one, list, |held| held[0]["address"] == GONE).await?;
    ensure!(held[0]["reason"].as_str().unwrap_or_default().contains("moved away"), "{held:#}");
    ensure!(one.run(list).await?.contains(GONE));

    let empty = |queue: &Value| *queue == serde_json::json!([]);
    wait_for_json(one, &["queue", "list"], empty).await?;
    let asked = mx.connections();
    deliver(one, "list@one.test", "second").await?;
    wait_for_json(one, &["queue", "list"], empty).await?;
    ensure!(mx.connections() == asked, "it was tried again");
    // What people write themselves is tried all the same.
    let mut client = one.submit_client(A, &password).await?;
    let letter = format!("From: <{A}>\r\nTo: <{GONE}>\r\nSubject: third\r\n\r\nHello.\r\n");
    ensure!(client.deliver(A, &[GONE], letter.as_bytes()).await?.code == 250);
    mx.wait_for_connections(asked + 1, SOON).await?;
    ensure!(newest(one, A, &password, 1).await?.contains("moved away"));

    one.run(&["queue", "suppressed", "remove", GONE]).await?;
    ensure!(json(one, list).await? == serde_json::json!([]));
    let why = refused(one, &["queue", "suppressed", "remove", GONE], "", 1).await?;
    ensure!(why.contains("not suppressed"), "{why}");
    Ok(())
}

#[tokio::test]
async fn the_policy_is_served_behind_a_load_balancer() -> Result<()> {
    let mut pair = Pair::start().await?;
    let (_, listener) = publish_policy(&mut pair).await?;
    // From here on HTTPS speaks to the load balancer alone, at whose address the world finds it.
    let two = pair.world.server_mut("two.test");
    two.configure(|setup| setup.set("proxy", "https", "[\"127.0.0.1\"]"))?;
    two.restart().await?;
    let ip = pair.world.take_address()?;
    let balancer = Balancer::start((ip, listener.port()).into(), listener).await?;
    pair.world.dns.change("two.test", |zone| zone.without("mta-sts", None).a("mta-sts", ip))?;
    let id = pair.submit("", "balanced").await?;
    ensure!(pair.arrived(1).await?.contains("Subject: balanced"));
    pair.is_done().await?;
    let trace = pair.one().run(&["trace", &id]).await?;
    ensure!(trace.contains("decided by MTA-STS: the policy names mx.two.test"), "{trace}");
    ensure!(balancer.connections() > 0);
    // Who comes past the load balancer, without its header, is not served.
    balancer.says_who(false);
    ensure!(balancer.fetch(&pair.world.ca).await.is_err());
    balancer.says_who(true);
    let policy = balancer.fetch(&pair.world.ca).await?;
    ensure!(policy.contains("mode: enforce") && policy.contains("mx: mx.two.test"), "{policy}");
    Ok(())
}
