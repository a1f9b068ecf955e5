//! The server's memory on disk: what is remembered, for how long, and what a restart leaves.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use letterlock_address::Mailbox;
use letterlock_state::{
    Check, Decision, DkimAuth, DmarcResult, DsnKind, Event, Policy, PolicyType, Privacy,
    PublishedPolicy, Retention, SpfAuth, State, StoredPolicy, TlsFailure, TlsLevel, TlsResult,
};
use letterlock_vault::{DeliveryId, Pool, ServerKey};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    key: ServerKey,
    pool: Pool,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let key = ServerKey::load_or_create(dir.path(), None).unwrap();
        Self { dir, key, pool: Pool::new("state", 1) }
    }

    async fn open_with(&self, retention: Retention) -> Arc<State> {
        State::open(self.dir.path(), &self.key, &self.pool, retention).await.unwrap()
    }

    async fn open(&self) -> Arc<State> {
        self.open_with(Retention::default()).await
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// One of each kind.
fn every_event(privacy: Privacy) -> Vec<Event> {
    let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let check = |result: &'static str| {
        let domain = privacy.show("sender.example");
        Some(Check { result: result.into(), domain, reason: "aligned".into() })
    };
    let ann = || "ann@example.org".into();
    let recipient = |decision| Event::Recipient { address: "ann@example.org".into(), decision };
    vec![
        Event::Received {
            listener: "smtp".into(),
            client: Some(ip),
            hello: Some("mx.sender.example".into()),
            tls: Some("TLS1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768".into()),
            account: Some("ann@example.org".into()),
            reverse_path: privacy.show("canary@sender.example"),
            size: 4096,
        },
        Event::Verified {
            spf: check("pass"),
            dkim: check("fail"),
            dmarc: check("pass"),
            arc: None,
            outcome: "accepted".into(),
        },
        recipient(Decision::Local),
        recipient(Decision::Alias { addresses: 2 }),
        recipient(Decision::Forward { to: "b@example.net".into() }),
        recipient(Decision::CatchAll),
        recipient(Decision::Role),
        recipient(Decision::Remote),
        recipient(Decision::Discarded { reason: "the account asks for it".into() }),
        recipient(Decision::OverQuota),
        recipient(Decision::Disabled),
        recipient(Decision::Unknown),
        recipient(Decision::RelayDenied),
        Event::Refused { code: 550, status: "5.7.1".into(), reason: "DMARC".into() },
        Event::Duplicate,
        Event::Accepted { recipients: 1 },
        Event::Filed { address: ann() },
        Event::Parked { address: ann() },
        Event::Unlocked { address: ann() },
        Event::Forwarded { address: ann(), to: "b@example.net".into(), srs: true, arc: true },
        Event::Attempt { hop: "example.net".into(), number: 1, recipients: 2 },
        Event::Host {
            host: "mx.example.net".into(),
            address: Some(ip),
            policy: Policy::Dane,
            tls: None,
            reason: "TLS is required and was not offered".into(),
        },
        Event::Reply { host: "mx.example.net".into(), recipient: None, text: "421 busy".into() },
        Event::Reply { host: "m".into(), recipient: Some(ann()), text: "250 2.1.5 ok".into() },
        Event::Deferred {
            recipient: ann(),
            status: "4.4.1".into(),
            reason: "no answer".into(),
            next: Some(at(300)),
        },
        Event::Delivered { recipient: ann(), host: "mx.example.net".into() },
        Event::Failed { recipient: ann(), status: "5.1.1".into(), reason: "nobody".into() },
        Event::DsnSent { kind: DsnKind::Delayed, id: DeliveryId::from_bytes([7; 16]) },
        Event::Held { reason: "an operator".into() },
        Event::Released,
        Event::Cancelled,
        Event::Suppressed { recipient: ann(), reason: "550 5.1.1 gone".into() },
        Event::HadBefore { address: ann() },
        Event::Bounced {
            recipient: ann(),
            reporter: "mx.far.test".into(),
            status: "5.1.1".into(),
            reason: "550 5.1.1 gone".into(),
        },
    ]
}

#[tokio::test]
async fn a_trace_is_whole_at_once_and_after_a_restart() {
    let place = Place::new();
    let (one, other) = (DeliveryId::generate(), DeliveryId::generate());
    let events = every_event(Privacy::of_recipients(false));
    let state = place.open().await;
    for (second, event) in (0..).zip(events.clone()) {
        state.record(one, at(second), event);
        state.record(other, at(second), Event::Released);
    }
    let expected: Vec<_> = (0..).map(at).zip(events).collect();
    assert_eq!(state.trace(one).await.unwrap(), expected);
    state.record_all(one, at(1000), [Event::Duplicate, Event::Cancelled]);
    state.close().await.unwrap();
    let state = place.open().await;
    let all = state.trace(one).await.unwrap();
    assert_eq!(all[..expected.len()], expected[..]);
    assert_eq!(all[expected.len()..], [(at(1000), Event::Duplicate), (at(1000), Event::Cancelled)]);
    assert_eq!(state.trace(other).await.unwrap().len(), expected.len());
    assert_eq!(state.trace(DeliveryId::generate()).await.unwrap(), []);

    let text = one.to_string();
    assert_eq!(state.find(&text[..25], 10).await.unwrap(), [one]);
    assert_eq!(state.find("", 1).await.unwrap(), [one.max(other)]);
    assert_eq!(state.find("not an id", 10).await.unwrap(), []);
    state.close().await.unwrap();
}

#[test]
fn every_event_says_what_happened() {
    let clear = every_event(Privacy::of_recipients(false));
    let sealed = every_event(Privacy::of_recipients(true));
    let words: Vec<String> = clear.iter().map(Event::explain).collect();
    let expected = [
        "received on smtp from 192.0.2.1 (mx.sender.example), logged in as ann@example.org, TLS1.3 \
         TLS_AES_256_GCM_SHA384 X25519MLKEM768; sender canary@sender.example; 4096 octets",
        "SPF pass for sender.example (aligned); DKIM fail for sender.example (aligned); DMARC pass for sender.example \
         (aligned): accepted",
        "ann@example.org: an account here",
        "ann@example.org: an alias for 2 addresses",
    ];
    assert_eq!(words[..4], expected);
    assert!(words.iter().all(|text| text.len() > 10), "{words:#?}");
    let distinct: std::collections::HashSet<&String> = words.iter().collect();
    assert_eq!(distinct.len(), words.len());
    for event in &sealed {
        let text = event.explain();
        assert!(!text.contains("canary") && !text.contains("for sender.example"), "{text}");
    }
    assert!(sealed[0].explain().contains("sender (sealed to the owner)"));
    let null = match clear[0].clone() {
        Event::Received { listener, client, hello, tls, account, size, .. } => {
            let reverse_path = Privacy::of_recipients(false).show("");
            Event::Received { listener, client, hello, tls, account, reverse_path, size }
        }
        other => other,
    };
    assert!(null.explain().contains("sender <> (a report)"));
}

/// The octets of stored events: were they to change, the traces on disk could not be read any more.
#[test]
fn the_form_of_stored_events_never_changes() {
    let events = every_event(Privacy::of_recipients(false));
    let stored: Vec<u8> =
        events.iter().flat_map(|event| postcard::to_stdvec(event).unwrap()).collect();
    let hash = |stored: &[u8]| {
        stored.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    assert_eq!((stored.len(), hash(&stored)), (940, 5_456_255_067_535_650_608));
    // Those of before the last two came.
    assert_eq!(hash(&stored[..873]), 14_264_366_316_080_116_504);
}

/// With the server's key and the file, a thief reads the whole database.
#[tokio::test]
async fn what_is_sealed_to_the_owner_is_not_in_the_file() {
    let place = Place::new();
    let state = place.open().await;
    let id = DeliveryId::generate();
    state.record_all(id, at(0), every_event(Privacy::of_recipients(true)));
    let events = state.trace(id).await.unwrap();
    let stored: Vec<u8> =
        events.iter().flat_map(|event| postcard::to_stdvec(&event.1).unwrap()).collect();
    assert!(!String::from_utf8_lossy(&stored).contains("canary"));
    state.close().await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_drops_and_counts() {
    let place = Place::new();
    let state = place.open().await;
    let id = DeliveryId::generate();
    // Nothing awaits in between, so that the writer, which shares this thread, cannot run.
    for _ in 0..20_003 {
        state.record(id, at(0), Event::Released);
    }
    assert_eq!(state.dropped(), 3);
    assert_eq!(state.trace(id).await.unwrap().len(), 20_000);
    state.record(id, at(0), Event::Cancelled);
    assert_eq!(state.trace(id).await.unwrap().len(), 20_001);
    state.close().await.unwrap();
}

#[tokio::test]
async fn each_kind_is_kept_for_its_own_time() {
    let place = Place::new();
    let day = Duration::from_secs(86_400);
    let retention = Retention {
        trace: day,
        tls_results: 2 * day,
        dmarc_results: 3 * day,
        suppressions: 4 * day,
    };
    let state = place.open_with(retention).await;
    let now = Timestamp::now();
    let later = |days: i64| now + hours(24 * days + 1);
    let id = DeliveryId::generate();
    for _ in 0..1200 {
        state.record(id, now, Event::Released);
        state.flush().await.unwrap();
    }
    state.count_tls("example.net", &tls_result(None), now);
    state.count_dmarc(&dmarc_result(), now);
    let gone = Mailbox::parse("gone@example.net").unwrap();
    state.suppress(&gone, "550 5.1.1", now).await.unwrap();
    state.remember_tls("example.net", TlsLevel::Dane, now);
    state.flush().await.unwrap();

    let left = async |days: i64| {
        state.prune(later(days)).await.unwrap();
        [
            state.trace(id).await.unwrap().len() / 1200,
            state.tls_results(now).await.unwrap().len(),
            state.dmarc_results(now).await.unwrap().len(),
            state.suppressions(now).len(),
            usize::from(state.tls_memory("example.net", now).await.unwrap().is_some()),
        ]
    };
    assert_eq!(left(0).await, [1, 1, 1, 1, 1]);
    assert_eq!(left(1).await, [0, 1, 1, 1, 1]);
    // A day's counts go with the end of the day.
    assert_eq!(left(3).await, [0, 0, 1, 1, 1]);
    assert_eq!(left(4).await, [0, 0, 0, 0, 1]);
    assert_eq!(left(30).await, [0, 0, 0, 0, 0]);
    state.close().await.unwrap();
}

#[tokio::test]
async fn suppressed_addresses_are_known_by_any_writing() {
    let place = Place::new();
    let state = place.open().await;
    let gone = Mailbox::parse("gone@example.net").unwrap();
    assert!(state.suppressed(&gone, at(0)).is_none());
    state.suppress(&gone, "550 5.1.1 nobody", at(0)).await.unwrap();
    state.close().await.unwrap();
    let state = place.open().await;
    let written = Mailbox::parse("gone@EXAMPLE.net").unwrap();
    let found = state.suppressed(&written, at(1)).unwrap();
    assert_eq!((found.reason.as_str(), found.since), ("550 5.1.1 nobody", at(0)));
    assert_eq!(found.until, at(0) + hours(30 * 24));
    assert!(state.suppressed(&written, found.until).is_none(), "its time is over");
    assert!(state.unsuppress(&written).await.unwrap());
    assert!(!state.unsuppress(&written).await.unwrap());
    assert!(state.suppressed(&gone, at(1)).is_none());
    state.close().await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_is_made_good_once_and_within_six_hours() {
    let place = Place::new();
    let state = place.open().await;
    for hash in [[1; 32], [2; 32], [3; 32]] {
        state.remember_unconfirmed(hash, at(0));
    }
    assert!(!state.take_unconfirmed(&[9; 32], at(1)));
    assert!(state.take_unconfirmed(&[1; 32], at(1)));
    assert!(!state.take_unconfirmed(&[1; 32], at(1)), "once");
    state.close().await.unwrap();
    let state = place.open().await;
    assert!(!state.take_unconfirmed(&[1; 32], at(1)), "also after a restart");
    assert!(!state.take_unconfirmed(&[2; 32], at(0) + hours(6)));
    assert!(state.take_unconfirmed(&[3; 32], at(0) + hours(5)));
    state.remember_unconfirmed([3; 32], at(0) + hours(5));
    state.close().await.unwrap();
    let state = place.open().await;
    assert!(state.take_unconfirmed(&[3; 32], at(0) + hours(10)));
    state.close().await.unwrap();
}

#[tokio::test]
async fn tls_is_remembered_for_thirty_days() {
    let place = Place::new();
    let state = place.open().await;
    let memory = async |domain: &str, now| {
        let memory = state.tls_memory(domain, now).await.unwrap();
        memory.map(|memory| (memory.level, memory.dane))
    };
    assert_eq!(memory("example.net", at(0)).await, None);
    state.remember_tls("Example.NET", TlsLevel::Dane, at(0));
    assert_eq!(
        memory("example.net", at(0)).await,
        Some((TlsLevel::Dane, true)),
        "before it is written"
    );
    state.flush().await.unwrap();
    assert_eq!(memory("example.net", at(0)).await, Some((TlsLevel::Dane, true)));
    state.remember_tls("example.net", TlsLevel::Encrypted, at(0) + hours(48));
    state.flush().await.unwrap();
    let later = at(0) + hours(29 * 24);
    assert_eq!(memory("example.net", later).await, Some((TlsLevel::Encrypted, true)));
    let later = at(0) + hours(31 * 24);
    assert_eq!(memory("example.net", later).await, Some((TlsLevel::Encrypted, false)));
    let later = at(0) + hours(32 * 24);
    assert_eq!(memory("example.net", later).await, None);
    assert!(state.forget_tls("example.net").await.unwrap());
    assert_eq!(memory("example.net", at(1)).await, None);
    state.close().await.unwrap();
}

#[tokio::test]
async fn policies_are_kept_until_they_expire() {
    let place = Place::new();
    let state = place.open().await;
    let policy = |id: &str| StoredPolicy {
        domain: "example.net".into(),
        id: id.into(),
        policy: "version: STSv1\nmode: none\nmax_age: 60\n".into(),
        fetched_at: at(0),
        expires_at: at(60),
    };
    state.put_policy(policy("1")).await.unwrap();
    state.put_policy(policy("2")).await.unwrap();
    assert_eq!(state.policy("EXAMPLE.net", at(59)).await.unwrap(), Some(policy("2")));
    assert_eq!(state.policy("example.net", at(60)).await.unwrap(), None);
    assert_eq!(state.policy("example.org", at(0)).await.unwrap(), None);
    state.prune(at(61)).await.unwrap();
    assert_eq!(state.policy("example.net", at(0)).await.unwrap(), None);
    state.close().await.unwrap();
}

fn tls_result(failure: Option<TlsFailure>) -> TlsResult {
    TlsResult {
        policy_type: PolicyType::Sts,
        policy: vec!["version: STSv1".into(), "mode: testing".into()],
        mx_hosts: vec!["*.example.net".into()],
        failure,
        sending_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        receiving_mx: Some("mx.example.net".into()),
        receiving_ip: None,
        reason: None,
    }
}

fn dmarc_result() -> DmarcResult {
    DmarcResult {
        published: PublishedPolicy {
            domain: "Example.net".into(),
            policy: "reject".into(),
            subdomains: None,
            nonexistent: None,
            strict_dkim: false,
            strict_spf: true,
            testing: false,
            report_to: vec!["mailto:dmarc@example.net".into()],
        },
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        disposition: "none".into(),
        dkim_aligned: true,
        spf_aligned: false,
        overridden: None,
        header_from: "example.net".into(),
        envelope_from: Some("bounce.example.net".into()),
        dkim: vec![DkimAuth {
            domain: "example.net".into(),
            selector: "s".into(),
            result: "pass".into(),
        }],
        spf: vec![SpfAuth {
            domain: "bounce.example.net".into(),
            helo: false,
            result: "fail".into(),
        }],
    }
}

#[tokio::test]
async fn results_are_counted_by_day() {
    let place = Place::new();
    let state = place.open().await;
    let failed = tls_result(Some(TlsFailure::CertificateExpired));
    for _ in 0..3 {
        state.count_tls("Example.net", &tls_result(None), at(0));
        state.flush().await.unwrap();
    }
    state.count_tls("example.net", &failed, at(0));
    state.count_tls("example.net", &failed, at(86_400));
    state.count_dmarc(&dmarc_result(), at(0));
    state.count_dmarc(&dmarc_result(), at(1));
    let mut found: Vec<_> = state.tls_results(at(0)).await.unwrap();
    found.sort_by_key(|count| count.sessions);
    let found: Vec<_> =
        found.into_iter().map(|count| (count.domain, count.result, count.sessions)).collect();
    let domain = || "example.net".to_owned();
    assert_eq!(found, [(domain(), failed, 1), (domain(), tls_result(None), 3)]);
    assert_eq!(state.tls_results(at(86_400)).await.unwrap().len(), 1);
    let found = state.dmarc_results(at(0)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].domain, &found[0].result, found[0].messages),
        (&domain(), &dmarc_result(), 2)
    );
    state.close().await.unwrap();
}

#[tokio::test]
async fn the_file_is_where_the_design_says() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    assert!(Path::new(&place.dir.path().join("state.db")).exists());
}
