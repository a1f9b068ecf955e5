//! What others hear of a delivery: traces, and senders who asked.

use letterlock_sender_auth::Spf;

use crate::world::*;

fn asking(subject: &str, to: &str) -> Incoming {
    let mut message = incoming(subject, &[to]);
    message.recipients[0].notify = Notify::On { success: true, failure: false, delay: false };
    message.recipients[0].orcpt = Some(format!("rfc822;{to}"));
    message.asked.envid = Some("E1".into());
    message
}

#[tokio::test]
async fn senders_who_ask_are_told_once_it_is_filed() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    let parked = asking("parked", "ann@a.test");
    let id = parked.id;
    world.intake.accept(parked).await.unwrap();
    assert!(world.told.0.lock().unwrap().is_empty(), "it is not filed yet");
    assert_eq!(
        world.trace(id).await,
        [Event::Accepted { recipients: 1 }, Event::Parked { address: "ann@a.test".into() },]
    );
    world.unlock(&ann).await;
    world.settled(&ann).await;
    assert_eq!(
        world.trace(id).await.last(),
        Some(&Event::Unlocked { address: "ann@a.test".into() })
    );
    let direct = asking("direct", "ann+x@a.test");
    let second = direct.id;
    world.intake.accept(direct).await.unwrap();
    world.accept("nobody asks", &["ann@a.test"]).await;
    let forged = Incoming { folder: Folder::Junk, ..asking("forged", "ann@a.test") };
    world.intake.accept(forged).await.unwrap();
    let silent = Incoming { reverse_path: ReversePath::Null, ..asking("no sender", "ann@a.test") };
    world.intake.accept(silent).await.unwrap();
    world.settled(&ann).await;
    let told = world.told.0.lock().unwrap().clone();
    let ids: Vec<_> = told.iter().map(|copy| copy.id).collect();
    assert_eq!(ids, [id, second]);
    for copy in &told {
        assert_eq!(
            (copy.envid.as_deref(), copy.reverse_path.to_string().as_str()),
            (Some("E1"), "bob@far.test")
        );
        assert!(copy.orcpt.is_some() && copy.message.starts_with(b"Subject: "));
    }
    assert!(world.trace(second).await.contains(&Event::Filed { address: "ann+x@a.test".into() }));
}

/// The thief has the server's key and every file: who wrote to a locked account is not in what is remembered.
#[tokio::test]
async fn traces_do_not_tell_who_wrote_to_a_locked_account() {
    let world = World::new().await;
    let ann = world.add("ann@a.test", KeyMode::UserHeld).await;
    world.add("bot@a.test", KeyMode::ServerHeld).await;
    let settings = letterlock_config::Dns {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        dnssec: letterlock_config::Dnssec::Off,
        trust_anchors: None,
    };
    let resolver = letterlock_dns::Resolver::new(&settings).unwrap();
    let verifier = letterlock_sender_auth::Verifier::new(Arc::new(resolver));
    let report = verifier.verify(b"From: x@canary.test\r\n\r\n", Spf::default()).await;
    let snapshot = world.directory.snapshot();
    let told = async |to: &[&str]| {
        let to: Vec<Mailbox> = to.iter().map(|to| mailbox(to)).collect();
        let path: ReversePath = "x@canary.test".parse().unwrap();
        let message = Incoming {
            reverse_path: path.clone(),
            recipients: to.iter().cloned().map(Into::into).collect(),
            ..incoming("canary", &[])
        };
        let id = message.id;
        let (verdict, client) = (report.verdict(), "192.0.2.1".parse().unwrap());
        let judged = letterlock_delivery::Judged {
            id,
            client,
            reverse_path: &path,
            report: &report,
            verdict: &verdict,
        };
        world.intake.judged(world.intake.privacy(&snapshot, &to), &judged);
        world.intake.accept(message).await.unwrap();
        format!("{:?}", world.trace(id).await)
    };
    assert!(
        told(&["bot@a.test"]).await.contains("canary"),
        "who sent is told where the server may know"
    );
    assert!(!told(&["ann@a.test"]).await.contains("canary"));
    assert!(!told(&["bot@a.test", "ann@a.test"]).await.contains("canary"));
    assert_eq!(world.parked(&ann).await, 2);
}
