//! The guard as listeners and the login meet it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letterlock_config::Limits;
use letterlock_guard::{ConnectionPermit, Guard, Reason, Refusal};

fn limits() -> Limits {
    Limits {
        connections: 6,
        connections_per_ip: 3,
        connections_per_ip_rate: 10,
        logins_failed_per_ip: 5,
        logins_failed_per_account: 3,
        exempt: vec!["198.51.100.0/24".parse().unwrap()],
        ..Limits::default()
    }
}

fn guard(now: Instant) -> Arc<Guard> {
    Guard::new(&limits(), now)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn reason<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn open_connections_are_capped_by_source_and_in_all() {
    let now = Instant::now();
    let guard = guard(now);
    let admit = |from: &str| guard.admit(ip(from), "smtp", now);
    let mut first: Vec<ConnectionPermit> = (0..3).map(|_| admit("192.0.2.1").unwrap()).collect();
    assert_eq!(reason(admit("192.0.2.1")), Some(Reason::Connections));
    assert_eq!(reason(admit("::ffff:192.0.2.1")), Some(Reason::Connections));
    let _second: Vec<ConnectionPermit> =
        (0..3).map(|at| admit(&format!("2001:db8::{at}")).unwrap()).collect();
    assert_eq!(reason(admit("192.0.2.9")), Some(Reason::Full));
    assert_eq!(guard.counts().connections, 6);
    assert_eq!(guard.counts().sources, 2);
    first.pop();
    assert!(admit("192.0.2.9").is_ok());
    drop(first);
    assert_eq!(guard.counts().connections, 3);
    assert_eq!(guard.counts().sources, 1);
}

#[test]
fn one_64_counts_as_one_source() {
    let now = Instant::now();
    let guard = guard(now);
    let open: Vec<_> =
        (1..=4).map(|at| guard.admit(ip(&format!("2001:db8:0:1::{at}")), "imap", now)).collect();
    assert!(open[2].is_ok());
    assert!(open[3].is_err());
    assert!(guard.admit(ip("2001:db8:0:2::1"), "imap", now).is_ok());
}

#[test]
fn fast_sources_wait() {
    let now = Instant::now();
    let guard = guard(now);
    for _ in 0..10 {
        assert!(guard.admit(ip("192.0.2.1"), "smtp", now).is_ok());
    }
    let refusal = guard.admit(ip("192.0.2.1"), "smtp", now).unwrap_err();
    assert_eq!(refusal.reason, Reason::Rate);
    assert!(refusal.retry_after <= Duration::from_secs(6) && refusal.retry_after > Duration::ZERO);
    assert!(guard.admit(ip("192.0.2.2"), "smtp", now).is_ok());
    assert!(guard.admit(ip("192.0.2.1"), "smtp", now + refusal.retry_after).is_ok());
}

#[test]
fn failed_logins_ban_a_source_for_a_time() {
    let now = Instant::now();
    let guard = guard(now);
    let attacker = ip("192.0.2.1");
    for at in 0..5 {
        assert_eq!(guard.check_login(attacker, &format!("a{at}@example.org"), now), Ok(()));
        guard.login_failed(attacker, &format!("a{at}@example.org"), now);
    }
    let refusal = guard.check_login(attacker, "other@example.org", now).unwrap_err();
    assert_eq!(refusal, Refusal { reason: Reason::Banned, retry_after: 15 * MINUTE });
    assert_eq!(reason(guard.admit(attacker, "imaps", now)), Some(Reason::Banned));
    assert_eq!(guard.bans(now), [("192.0.2.1/32".parse().unwrap(), 15 * MINUTE)]);
    assert!(guard.admit(ip("192.0.2.2"), "imaps", now).is_ok(), "the neighbour may come in");
    let later = now + 15 * MINUTE;
    assert!(guard.admit(attacker, "imaps", later).is_ok());
    assert!(guard.bans(later).is_empty());
    for at in 0..5 {
        guard.login_failed(attacker, &format!("b{at}@example.org"), later);
    }
    assert_eq!(guard.check_login(attacker, "x", later).unwrap_err().retry_after, 30 * MINUTE);
    assert!(guard.lift(attacker));
    assert!(!guard.lift(attacker));
    assert_eq!(guard.check_login(attacker, "x", later), Ok(()));
}

#[test]
fn a_stranger_cannot_lock_an_owner_out() {
    let now = Instant::now();
    let guard = guard(now);
    // One try from each of many addresses of a network, so that no single one is banned.
    for host in 1..=20 {
        guard.login_failed(ip(&format!("192.0.2.{host}")), "owner@example.org", now);
    }
    assert_eq!(
        reason(guard.check_login(ip("192.0.2.99"), "owner@example.org", now)),
        Some(Reason::Account)
    );
    assert_eq!(guard.check_login(ip("192.0.2.99"), "other@example.org", now), Ok(()));
    assert_eq!(guard.check_login(ip("203.0.113.5"), "owner@example.org", now), Ok(()));
}

#[test]
fn success_forgets_the_account_but_not_the_source() {
    let now = Instant::now();
    let guard = guard(now);
    let client = ip("2001:db8::1");
    for round in 0..2 {
        for _ in 0..2 {
            guard.login_failed(client, "a@example.org", now);
        }
        assert_eq!(guard.check_login(client, "a@example.org", now), Ok(()), "round {round}");
        guard.login_succeeded(client, "a@example.org");
    }
    guard.login_failed(client, "victim@example.org", now);
    assert_eq!(reason(guard.check_login(client, "a@example.org", now)), Some(Reason::Banned));
}

#[test]
fn slow_failures_do_not_ban() {
    let start = Instant::now();
    let guard = guard(start);
    for step in 0..100 {
        let now = start + 9 * MINUTE * step;
        assert_eq!(guard.check_login(ip("192.0.2.1"), "a@example.org", now), Ok(()));
        guard.login_failed(ip("192.0.2.1"), "a@example.org", now);
    }
}

#[test]
fn exempt_networks_are_never_touched() {
    let now = Instant::now();
    let guard = guard(now);
    let friend = ip("198.51.100.7");
    let open: Vec<_> = (0..100).map(|_| guard.admit(friend, "smtp", now)).collect();
    assert!(open.iter().all(Result::is_ok));
    for _ in 0..100 {
        guard.login_failed(friend, "a@example.org", now);
    }
    assert_eq!(guard.check_login(friend, "a@example.org", now), Ok(()));
    assert_eq!(guard.counts(), letterlock_guard::Counts::default());
    assert!(guard.is_exempt(ip("::ffff:198.51.100.7")));
    assert!(!guard.is_exempt(ip("198.51.101.7")));
}

#[test]
fn everything_is_forgotten_in_the_end() {
    let now = Instant::now();
    let guard = guard(now);
    for host in 0..200 {
        let from = ip(&format!("192.0.{host}.1"));
        drop(guard.admit(from, "smtp", now));
        for _ in 0..5 {
            guard.login_failed(from, "a@example.org", now);
        }
    }
    let counts = guard.counts();
    assert!(counts.rates == 200 && counts.bans == 400 && counts.failures > 0, "{counts:?}");
    guard.evict(now + 72 * 60 * MINUTE);
    assert_eq!(guard.counts(), letterlock_guard::Counts::default());
}

#[test]
fn a_flood_of_names_and_addresses_stays_in_bounds() {
    let now = Instant::now();
    let guard = guard(now);
    for at in 0u32..200_000 {
        guard.login_failed(
            IpAddr::V4((0x0b00_0000 + at).into()),
            &format!("user{at}@example.org"),
            now,
        );
    }
    assert!(guard.counts().failures <= 2 * 65_536, "{:?}", guard.counts());
}

#[test]
fn strangers_learn_nothing_from_a_refusal() {
    let texts: Vec<String> =
        [Reason::Full, Reason::Connections, Reason::Rate, Reason::Banned, Reason::Account]
            .into_iter()
            .map(|reason| Refusal { reason, retry_after: MINUTE }.to_string())
            .collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn threads_share_one_guard() {
    let now = Instant::now();
    let guard = Guard::new(
        &Limits {
            connections_per_ip: 1000,
            connections: 1000,
            connections_per_ip_rate: 100_000,
            ..limits()
        },
        now,
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    drop(guard.admit(ip("192.0.2.1"), "smtp", now).unwrap());
                }
            });
        }
    });
    assert_eq!(guard.counts().connections, 0);
}

#[test]
fn guesses_side_by_side_are_as_few_as_one_after_the_other() {
    let now = Instant::now();
    let guard = guard(now);
    let from = ip("192.0.2.1");
    let mut under_way = Vec::new();
    while let Some(attempt) = guard.try_login(from, "ann", now).unwrap() {
        under_way.push(attempt);
        assert!(under_way.len() < 100);
    }
    assert_eq!(under_way.len(), 3, "as many as may fail");
    assert!(guard.try_login(from, "bob", now).unwrap().is_some(), "another account");
    let neighbour = ip("192.0.2.2");
    assert!(guard.try_login(neighbour, "ann", now).unwrap().is_none(), "the same network");
    assert!(guard.try_login(ip("203.0.113.1"), "ann", now).unwrap().is_some(), "elsewhere");
    guard.login_failed(from, "ann", now);
    under_way.pop();
    assert!(guard.try_login(from, "ann", now).unwrap().is_none(), "two left, two under way");
    guard.login_succeeded(from, "ann");
    under_way.pop();
    let again = guard.try_login(from, "ann", now).unwrap();
    assert!(again.is_some());
    drop((again, under_way));
    for _ in 0..3 {
        guard.login_failed(from, "ann", now);
    }
    assert_eq!(reason(guard.try_login(from, "ann", now)), Some(Reason::Account));
    for _ in 0..1000 {
        assert!(guard.try_login(ip("198.51.100.7"), "ann", now).unwrap().is_some(), "exempt");
    }
}

#[test]
fn an_exempt_network_may_be_written_in_ipv6() {
    let now = Instant::now();
    let exempt = vec!["::ffff:198.51.100.0/120".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let guard = Guard::new(&Limits { exempt, ..limits() }, now);
    for inside in ["198.51.100.7", "::ffff:198.51.100.7", "2001:db8::7"] {
        assert!(guard.is_exempt(ip(inside)), "{inside}");
    }
    for outside in ["198.51.101.7", "::ffff:198.51.101.7", "2001:db9::7"] {
        assert!(!guard.is_exempt(ip(outside)), "{outside}");
    }
}

#[test]
fn an_account_submits_so_much_in_an_hour_and_in_a_day() {
    let now = Instant::now();
    let limits = Limits {
        messages_per_account_hour: 3,
        messages_per_account_day: 5,
        recipients_per_account_hour: 10,
        recipients_per_account_day: 100,
        ..limits()
    };
    let guard = Guard::new(&limits, now);
    let from = ip("192.0.2.1");
    let submit = |who: &str, recipients, at| guard.submit(from, who, recipients, at);
    for _ in 0..3 {
        assert!(guard.may_submit(from, "ann", 1, now).is_ok(), "asking counts nothing");
        assert!(submit("ann", 1, now).is_ok());
    }
    assert_eq!(reason(guard.may_submit(from, "ann", 1, now)), Some(Reason::Submissions));
    assert_eq!(reason(submit("ann", 1, now)), Some(Reason::Submissions));
    assert!(submit("bob", 8, now).is_ok());
    assert_eq!(reason(submit("bob", 3, now)), Some(Reason::Submissions), "recipients count too");
    assert!(submit("bob", 2, now).is_ok());
    assert!(guard.submit(ip("198.51.100.7"), "ann", 99, now).is_ok(), "an exempt network");
    let later = now + 120 * MINUTE;
    assert!(submit("ann", 1, later).is_ok() && submit("ann", 1, later).is_ok());
    assert_eq!(reason(submit("ann", 1, later)), Some(Reason::Submissions), "the day's limit");
    assert!(submit("ann", 1, now + 48 * 60 * MINUTE).is_ok());
}

#[test]
fn who_guesses_recipients_is_put_off_for_a_while() {
    let now = Instant::now();
    let limits = Limits { unknown_recipients_per_ip: 4, ban: MINUTE, ..limits() };
    let guard = Guard::new(&limits, now);
    for _ in 0..3 {
        guard.unknown_recipient(ip("192.0.2.1"), now);
        guard.unknown_recipient(ip("198.51.100.7"), now);
    }
    assert_eq!(guard.recipients_put_off(ip("192.0.2.1"), now), None);
    guard.unknown_recipient(ip("192.0.2.1"), now);
    guard.unknown_recipient(ip("198.51.100.7"), now);
    assert_eq!(guard.recipients_put_off(ip("192.0.2.1"), now), Some(MINUTE));
    assert_eq!(guard.recipients_put_off(ip("192.0.2.2"), now), None);
    assert_eq!(guard.recipients_put_off(ip("198.51.100.7"), now), None);
    assert_eq!(guard.recipients_put_off(ip("192.0.2.1"), now + MINUTE), None);
    assert!(guard.admit(ip("192.0.2.1"), "smtp", now).is_ok(), "it is not banned");
}
