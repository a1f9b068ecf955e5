//! The directory over a real encrypted database.

mod accounts;
mod resolve;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use letterlock_directory::{DirectoryError, DkimAlgorithm, DkimKey, DkimPrivate, DkimState};
use world::{World, at, domain, mailbox};
use zeroize::Zeroizing;

fn dkim(selector: &str) -> DkimKey {
    DkimKey {
        selector: selector.to_owned(),
        algorithm: DkimAlgorithm::Ed25519,
        private: DkimPrivate::new(Zeroizing::new(vec![7; 48])),
        public_dns: "v=DKIM1; k=ed25519; p=x".to_owned(),
        state: DkimState::Active,
        created_at: at(5),
    }
}

#[tokio::test]
async fn domains_are_added_once_and_kept() {
    let world = World::new().await;
    let directory = &world.directory;
    directory.add_domain(domain("example.org"), None, vec![dkim("one")], at(1)).await.unwrap();
    let again = directory.add_domain(domain("EXAMPLE.org"), None, vec![], at(2)).await.unwrap_err();
    assert!(matches!(&again, DirectoryError::DomainExists(_)), "{again}");
    assert_eq!(again.to_string(), "domain example.org exists already");
    let literal = directory.add_domain(domain("[192.0.2.1]"), None, vec![], at(2)).await;
    assert!(matches!(literal, Err(DirectoryError::Literal(_))));
    let twice =
        directory.add_domain(domain("b.example"), None, vec![dkim("s"), dkim("s")], at(2)).await;
    assert!(matches!(twice, Err(DirectoryError::SelectorExists { .. })));
    assert!(
        !directory.snapshot().is_local(&domain("b.example")),
        "a refused change changes nothing"
    );

    let world = world.crash().await;
    let snapshot = world.directory.snapshot();
    assert_eq!(snapshot.domains().len(), 1);
    let found = snapshot.domain(&domain("example.org")).unwrap();
    assert_eq!(found.created_at, at(1));
    let [key] = found.dkim.as_slice() else { panic!("one key") };
    assert_eq!(
        (key.private.pkcs8(), key.public_dns.as_str()),
        (&[7; 48][..], "v=DKIM1; k=ed25519; p=x")
    );
    assert_eq!(
        (key.algorithm, key.state, key.created_at),
        (DkimAlgorithm::Ed25519, DkimState::Active, at(5))
    );
    assert_eq!(format!("{:?}", key.private), "DkimPrivate(..)");
}

#[tokio::test]
async fn dkim_keys_take_turns() {
    let world = World::with_domain("example.org").await;
    let (directory, name) = (&world.directory, domain("example.org"));
    directory.add_dkim_key(&name, dkim("one")).await.unwrap();
    directory
        .add_dkim_key(&name, DkimKey { state: DkimState::Published, ..dkim("two") })
        .await
        .unwrap();
    let taken = directory.add_dkim_key(&name, dkim("two")).await;
    assert!(matches!(taken, Err(DirectoryError::SelectorExists { .. })));
    directory.set_dkim_state(&name, "one", DkimState::Retired).await.unwrap();
    directory.set_dkim_state(&name, "two", DkimState::Active).await.unwrap();
    let world = world.crash().await;
    let found = world.directory.snapshot().domain(&name).unwrap();
    assert_eq!(found.signing_keys().map(|key| key.selector.as_str()).collect::<Vec<_>>(), ["two"]);
    world.directory.remove_dkim_key(&name, "one").await.unwrap();
    let gone = world.directory.remove_dkim_key(&name, "one").await;
    assert!(matches!(gone, Err(DirectoryError::NoSuchSelector { .. })));
    let world = world.crash().await;
    assert_eq!(world.directory.snapshot().domain(&name).unwrap().dkim.len(), 1);
}

#[tokio::test]
async fn a_domain_goes_when_it_is_empty() {
    let world = World::with_domain("example.org").await;
    let (directory, name) = (&world.directory, domain("example.org"));
    let id = world.account("a@example.org").await;
    directory
        .add_alias(mailbox("b@example.org"), vec![mailbox("a@example.org")], at(1))
        .await
        .unwrap();
    let refused = directory.remove_domain(&name).await.unwrap_err();
    assert_eq!(refused.to_string(), "domain example.org is not empty: 1 accounts, 1 aliases");
    directory.remove_account(id).await.unwrap();
    assert!(matches!(
        directory.remove_domain(&name).await,
        Err(DirectoryError::NotEmpty { accounts: 0, .. })
    ));
    directory.remove_alias(&mailbox("b@example.org"), None).await.unwrap();
    directory.remove_domain(&name).await.unwrap();
    assert!(matches!(directory.remove_domain(&name).await, Err(DirectoryError::NoSuchDomain(_))));
    let world = world.crash().await;
    assert_eq!(world.directory.snapshot().domains().len(), 0);
    world
        .directory
        .add_domain(name, None, vec![dkim("one")], at(9))
        .await
        .expect("nothing of it is left");
}

#[tokio::test]
async fn aliases_are_checked() {
    let world = World::with_domain("example.org").await;
    let directory = &world.directory;
    world.account("a@example.org").await;
    let add = |source: &str, targets: &[&str]| {
        let targets = targets.iter().map(|target| mailbox(target)).collect();
        directory.add_alias(mailbox(source), targets, at(1))
    };
    assert!(matches!(
        add("A@example.org", &["x@else.example"]).await,
        Err(DirectoryError::AddressTaken(_))
    ));
    assert!(matches!(
        add("x@else.example", &["a@example.org"]).await,
        Err(DirectoryError::NoSuchDomain(_))
    ));
    assert!(matches!(add("l@example.org", &[]).await, Err(DirectoryError::AliasUnchanged(_))));
    assert!(matches!(
        add("l@example.org", &["L@example.org"]).await,
        Err(DirectoryError::AliasLoop(_))
    ));
    add("one@example.org", &["two@example.org"]).await.unwrap();
    add("two@example.org", &["three+tag@example.org"]).await.unwrap();
    assert!(matches!(
        add("three@example.org", &["one@example.org"]).await,
        Err(DirectoryError::AliasLoop(_))
    ));
    add("two@example.org", &["A@example.org", "Out@else.example"]).await.unwrap();
    assert!(matches!(
        add("two@example.org", &["a@example.org"]).await,
        Err(DirectoryError::AliasUnchanged(_))
    ));
    let no_account = world.try_account("ONE@example.org").await.unwrap_err();
    assert!(matches!(no_account, DirectoryError::AddressTaken(_)), "{no_account}");

    let world = world.crash().await;
    let directory = &world.directory;
    let alias = directory.snapshot().alias(&mailbox("Two@example.org")).unwrap();
    assert_eq!(
        alias.targets,
        [mailbox("three+tag@example.org"), mailbox("A@example.org"), mailbox("Out@else.example")]
    );
    let two = mailbox("two@example.org");
    let other_case = mailbox("out@else.example");
    assert!(matches!(
        directory.remove_alias(&two, Some(&other_case)).await,
        Err(DirectoryError::NoSuchTarget { .. })
    ));
    for target in ["a@example.org", "Three+tag@example.org", "Out@else.example"] {
        directory.remove_alias(&two, Some(&mailbox(target))).await.unwrap();
    }
    assert!(matches!(
        directory.remove_alias(&two, None).await,
        Err(DirectoryError::NoSuchAlias(_))
    ));
    let world = world.crash().await;
    assert_eq!(world.directory.snapshot().aliases().len(), 1);
}

#[tokio::test]
async fn chains_of_aliases_end() {
    let world = World::with_domain("example.org").await;
    let directory = &world.directory;
    world.account("end@example.org").await;
    let name = |number: usize| mailbox(&format!("n{number}@example.org"));
    directory.add_alias(name(0), vec![mailbox("end@example.org")], at(1)).await.unwrap();
    for number in 1..16 {
        directory.add_alias(name(number), vec![name(number - 1)], at(1)).await.unwrap();
    }
    let long = directory.add_alias(name(16), vec![name(15)], at(1)).await;
    assert!(matches!(long, Err(DirectoryError::AliasTooDeep(_))));
    // A new end makes the chain before it too long.
    let longer = directory.add_alias(name(17), vec![mailbox("end@example.org")], at(1)).await;
    longer.unwrap();
    let below = directory.add_alias(name(0), vec![name(17)], at(1)).await;
    assert!(matches!(below, Err(DirectoryError::AliasTooDeep(_))));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_difference() {
    let world = World::with_domain("example.org").await;
    let directory = Arc::clone(&world.directory);
    for number in 0..20 {
        let name = domain(&format!("d{number}.example"));
        let change = directory.add_domain(name, None, vec![], at(1));
        let _ = tokio::time::timeout(Duration::from_micros(number * 50), change).await;
    }
    // Changes are made one after the other, so this one is behind them all.
    directory.add_domain(domain("last.example"), None, vec![], at(1)).await.unwrap();
    let before: Vec<_> = directory.snapshot().domains().map(|found| found.name.clone()).collect();
    let world = world.crash().await;
    let after: Vec<_> =
        world.directory.snapshot().domains().map(|found| found.name.clone()).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_change_shares_what_it_does_not_touch() {
    let world = World::with_domain("example.org").await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(world.account(&format!("u{number}@example.org")).await);
    }
    let before = world.directory.snapshot();
    let started = Instant::now();
    world.directory.set_quota(ids[0], Some(1)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    let after = world.directory.snapshot();
    let shared = ids.iter().filter(|id| {
        let (one, two) = (before.account(**id).unwrap(), after.account(**id).unwrap());
        Arc::ptr_eq(&one, &two)
    });
    assert_eq!(shared.count(), 39);
    assert_eq!(before.account(ids[0]).unwrap().quota, None, "an old snapshot stays as it was");
    assert_eq!(after.account(ids[0]).unwrap().quota, Some(1));
}
