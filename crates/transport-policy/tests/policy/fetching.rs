//! Policies over HTTPS: when they are fetched, and what happens when that fails.

use std::net::Ipv4Addr;

use jiff::SignedDuration;
use letterlock_state::{PolicyType, TlsFailure};
use letterlock_testkit::ca::TestCa;
use letterlock_testkit::dns::{Fault, Zone};
use letterlock_testkit::https::{Answer, PolicyHost};
use letterlock_transport_policy::Wish;
use letterlock_transport_policy::sts::Mode;

use crate::world::{World, at, policy_hosts};

fn zone(id: &str) -> Zone {
    Zone::signed("example.test")
        .mx("@", 10, "mx.example.test")
        .a("mx", Ipv4Addr::LOCALHOST)
        .a("mta-sts", Ipv4Addr::new(127, 77, 0, 1))
        .txt("_mta-sts", &format!("v=STSv1; id={id}"))
}

fn policy(mode: &str) -> Answer {
    Answer::Text(format!("version: STSv1\nmode: {mode}\nmx: mx.example.test\nmax_age: 604800\n"))
}

async fn start(answer: Answer) -> (World, PolicyHost) {
    let mut world = World::new(1).await;
    let issued = world.ca.issue(&["mta-sts.example.test"]).unwrap();
    let (port, mut hosts) = policy_hosts(&issued, &[answer]);
    world.move_policies_to(port);
    world.dns.put(zone("1"));
    (world, hosts.remove(0))
}

async fn mode(world: &World, second: i64) -> Option<Mode> {
    let policy = world.domain("example.test", Wish::None, at(second)).await.unwrap();
    policy.sts().map(|policy| policy.mode)
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_policy_is_fetched_once_for_each_id_and_day() {
    let (world, host) = start(policy("enforce")).await;
    for second in [0, 1, 60] {
        assert_eq!(mode(&world, second).await, Some(Mode::Enforce));
    }
    let requests = host.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let head = requests[0].to_ascii_lowercase();
    assert!(head.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{head}");
    assert!(head.contains("host: mta-sts.example.test:"), "{head}");
    host.answer(policy("testing"));
    assert_eq!(mode(&world, 100).await, Some(Mode::Enforce), "the id is the same");
    world.dns.put(zone("2"));
    assert_eq!(mode(&world, 101).await, Some(Mode::Testing));
    assert_eq!(host.requests().len(), 2);
    assert_eq!(mode(&world, 101 + DAY).await, Some(Mode::Testing));
    assert_eq!(host.requests().len(), 3, "kept fresh");
    // Many at once make one request.
    world.dns.put(zone("3"));
    let all = (0..8).map(|_| mode(&world, 102 + DAY));
    for found in futures_join(all).await {
        assert_eq!(found, Some(Mode::Testing));
    }
    assert_eq!(host.requests().len(), 4);
    world.state.close().await.unwrap();
}

/// Runs futures side by side.
async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut all {
            if output.is_none()
                && let std::task::Poll::Ready(found) = future.as_mut().poll(cx)
            {
                *output = Some(found);
            }
        }
        match all.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    all.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn a_policy_outlives_its_record_and_its_host_until_it_expires() {
    let (world, host) = start(policy("enforce")).await;
    assert_eq!(mode(&world, 0).await, Some(Mode::Enforce));
    world.dns.change("example.test", |zone| zone.without("_mta-sts", None)).unwrap();
    assert_eq!(mode(&world, 1).await, Some(Mode::Enforce));
    world.dns.fail("_mta-sts.example.test", Fault::ServFail);
    assert_eq!(mode(&world, 2).await, Some(Mode::Enforce));
    world.dns.heal("_mta-sts.example.test");
    world.dns.put(zone("2"));
    drop(host);
    assert_eq!(
        mode(&world, 3 * DAY).await,
        Some(Mode::Enforce),
        "the old one, while the new cannot be had"
    );
    assert_eq!(mode(&world, 7 * DAY - 1).await, Some(Mode::Enforce));
    assert_eq!(mode(&world, 7 * DAY).await, None);
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_policy_is_none() {
    let (world, host) = start(policy("enforce")).await;
    assert_eq!(mode(&world, 0).await, Some(Mode::Enforce));
    host.answer(Answer::Text("version: STSv1\nmode: none\nmax_age: 60\n".into()));
    world.dns.put(zone("2"));
    assert_eq!(mode(&world, 1).await, None);
    assert_eq!(mode(&world, 2).await, None);
    assert_eq!(host.requests().len(), 2);
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_policy_is_told_and_not_asked_for_again_at_once() {
    let head = |status: &str, kind: &str, body: &str| {
        let length = body.len();
        Answer::Raw(
            format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    };
    let text = "version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 604800\n";
    let moved = "HTTP/1.1 301 Moved\r\nlocation: https://mta-sts.example.test/x\r\ncontent-length: 0\r\n\r\n";
    let long = format!("{text}{}", "x: y\n".repeat(20_000));
    let (fetch, invalid) = (TlsFailure::StsPolicyFetchError, TlsFailure::StsPolicyInvalid);
    for (answer, failure, words) in [
        (head("404 Not Found", "text/plain", ""), fetch, "HTTP status 404 Not Found"),
        (Answer::Raw(moved.into()), fetch, "HTTP status 301 Moved Permanently"),
        (head("200 OK", "text/html", text), fetch, "the content type is not text/plain"),
        (head("200 OK", "text/plain", &long), fetch, "it is longer than 64 KiB"),
        (Answer::Raw(b"220 mx ESMTP\r\n".to_vec()), fetch, "HTTP: invalid HTTP version parsed"),
        (
            head("200 OK", "text/plain; charset=utf-8", "hello"),
            invalid,
            "the policy: line 1 is not of the form \"name: value\"",
        ),
    ] {
        let (world, host) = start(answer).await;
        assert_eq!(mode(&world, 0).await, None, "{words}");
        assert_eq!(mode(&world, 1).await, None);
        assert_eq!(host.requests().len(), 1, "{words}");
        let found = world.state.tls_results(at(0)).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let result = &found[0].result;
        assert_eq!(
            (result.policy_type, result.failure),
            (PolicyType::Sts, Some(failure)),
            "{words}"
        );
        assert_eq!(result.reason.as_deref(), Some(words));
        // Mended, it is found after the pause.
        host.answer(policy("testing"));
        let later = SignedDuration::from_mins(5).as_secs();
        assert_eq!(mode(&world, later).await, Some(Mode::Testing), "{words}");
        world.state.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_hosts_certificate_must_be_valid() {
    let mut world = World::new(1).await;
    let stranger = TestCa::new().unwrap();
    let name = ["mta-sts.example.test"];
    for issued in [
        world.ca.issue(&["example.test"]).unwrap(),
        world.ca.issue_expired(&name).unwrap(),
        stranger.issue(&name).unwrap(),
    ] {
        let (port, _hosts) = policy_hosts(&issued, &[policy("enforce")]);
        world.move_policies_to(port);
        world.dns.put(zone("1"));
        assert_eq!(mode(&world, 0).await, None);
    }
    let found = world.state.tls_results(at(0)).await.unwrap();
    assert!(
        found.iter().all(|count| count.result.failure == Some(TlsFailure::StsWebpkiInvalid)),
        "{found:?}"
    );
    assert_eq!(found.iter().map(|count| count.sessions).sum::<u64>(), 3);
    world.state.close().await.unwrap();
}

#[tokio::test]
async fn another_address_is_tried_where_one_does_not_answer() {
    let mut world = World::new(1).await;
    let names = ["mta-sts.example.test", "mta-sts.other.test"];
    let issued = world.ca.issue(&names).unwrap();
    let (port, hosts) = policy_hosts(&issued, &[policy("enforce"), policy("enforce")]);
    // It takes connections and ends them, as a broken front does.
    let broken = tokio::net::TcpListener::bind((Ipv4Addr::new(127, 77, 0, 9), port)).await.unwrap();
    let hung_up = tokio::spawn(async move { broken.accept().await.map(drop) });
    world.move_policies_to(port);
    let good = Ipv4Addr::new(127, 77, 0, 1);
    let others = [Ipv4Addr::new(127, 77, 0, 9), Ipv4Addr::new(127, 77, 0, 8)];
    // In both orders, so that the broken ones are met first in one of them.
    for (domain, addresses) in [
        ("example.test", [others[0], others[1], good]),
        ("other.test", [good, others[1], others[0]]),
    ] {
        let zone = Zone::signed(domain).txt("_mta-sts", "v=STSv1; id=1");
        world.dns.put(addresses.into_iter().fold(zone, |zone, at| zone.a("mta-sts", at)));
        let policy = world
            .policies
            .domain(domain, letterlock_dns::Security::Insecure, Wish::None, at(0))
            .await
            .unwrap();
        assert_eq!(policy.sts().map(|policy| policy.mode), Some(Mode::Enforce), "{domain}");
    }
    hung_up.await.unwrap().unwrap();
    assert_eq!(hosts[0].requests().len(), 2);
    world.state.close().await.unwrap();
}
