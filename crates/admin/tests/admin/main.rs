//! Every request, carried out on a real directory, mailboxes and queue in a folder.

mod keys;
mod people;
mod verify;
mod world;

use world::*;

#[tokio::test]
async fn domains_come_with_a_key_and_go_when_empty() {
    let world = World::new().await;
    assert!(matches!(world.admin.run(Request::Health).await, Ok(Response::Done(_))));
    world.add_domain("A.test").await;
    let again = DomainRequest::Add { domain: "a.test".into(), contact: None };
    assert!(world.refused(again).await.contains("exists already"));
    let bad = DomainRequest::Add { domain: "-".into(), contact: None };
    assert!(matches!(world.run(bad).await, Err(AdminError::Invalid(_))));
    let contact = Some("boss@far.test".to_owned());
    world.ok(DomainRequest::Add { domain: "bücher.test".into(), contact }).await;
    let Response::Domains(rows) = world.ok(DomainRequest::List).await else { panic!() };
    let rows: Vec<_> =
        rows.iter().map(|row| (row.domain.as_str(), row.contact.as_deref())).collect();
    assert_eq!(rows, [("a.test", None), ("xn--bcher-kva.test", Some("boss@far.test"))]);
    let show = DomainRequest::Show { domain: "bücher.test".into() };
    let Response::Domain(details) = world.ok(show).await else { panic!() };
    assert_eq!(details.unicode, "bücher.test");
    assert!(details.dkim[0].ends_with("rsa-sha256 active"));

    world.ok(add("ann@a.test", Some(PASSWORD), true)).await;
    let remove = |domain: &str| DomainRequest::Remove { domain: domain.into() };
    assert!(world.refused(remove("a.test")).await.contains("not empty: 1 accounts"));
    world.ok(remove("bücher.test")).await;
    assert!(world.refused(remove("bücher.test")).await.contains("not a domain"));
}

#[tokio::test]
async fn the_records_of_a_domain_are_printed_and_checked() {
    let world = World::new().await;
    world.add_domain("a.test").await;
    let dns = DomainRequest::Dns { domain: "a.test".into() };
    let Response::Records(records) = world.ok(dns).await else { panic!() };
    let kinds: Vec<_> = records.iter().map(|r| (r.name.as_str(), r.kind.as_str())).collect();
    assert_eq!(kinds[..3], [("a.test.", "MX"), ("a.test.", "TXT"), ("_dmarc.a.test.", "TXT")]);
    let dkim = &records[3];
    assert!(dkim.name.ends_with("._domainkey.a.test.") && dkim.value.starts_with("( \"v=DKIM1"));

    let check = || DomainRequest::Check { domain: "a.test".into() };
    let Response::Checks(checks) = world.ok(check()).await else { panic!() };
    assert_eq!(checks.iter().filter(|check| check.ok).count(), 0, "nothing is published");
    let [sts, policy_host] = &records[4..] else { panic!("{records:?}") };
    assert_eq!((sts.name.as_str(), sts.kind.as_str()), ("_mta-sts.a.test.", "TXT"));
    assert_eq!(
        (policy_host.name.as_str(), policy_host.kind.as_str()),
        ("mta-sts.a.test.", "CNAME")
    );
    assert_eq!(policy_host.value, "mx.a.test.");
    let selector = dkim.name.trim_end_matches(".a.test.").to_owned();
    let zone = Zone::unsigned("a.test")
        .mx("@", 10, "mx.a.test")
        .txt("@", "v=spf1 mx -all")
        .txt("_dmarc", "v=DMARC1; p=none")
        .txt(&selector, dkim.text.as_deref().unwrap())
        .a("mx", std::net::Ipv4Addr::LOCALHOST)
        .cname("mta-sts", "mx.a.test");
    world.dns.put(zone.clone().txt("_mta-sts", sts.text.as_deref().unwrap()));
    let Response::Checks(checks) = world.ok(check()).await else { panic!() };
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    world.dns.put(zone.txt("_mta-sts", "v=STSv1; id=old;"));
    let Response::Checks(checks) = world.ok(check()).await else { panic!() };
    let wrong: Vec<_> = checks.iter().filter(|check| !check.ok).map(|check| &check.name).collect();
    assert_eq!(wrong, ["_mta-sts.a.test."]);
}

#[tokio::test]
async fn accounts_are_made_with_what_opens_them() {
    let world = World::new().await;
    assert!(world.refused(add("ann@a.test", None, false)).await.contains("not a domain"));
    world.add_domain("a.test").await;
    let made = world.made(add("Ann@a.test", None, false)).await;
    assert_eq!(kinds(&made), ["password", "recovery-key"]);
    assert!(!format!("{made:?}").contains(&secret(&made, 0)), "secrets have no Debug");
    world.log_in("ann@a.test", &secret(&made, 0)).await.unwrap();

    assert!(world.refused(add("ann@A.test", None, false)).await.contains("taken"));
    assert!(matches!(
        world.run(add("b@a.test", Some("short"), false)).await,
        Err(AdminError::Invalid(_))
    ));
    assert!(matches!(world.run(add("nonsense", None, false)).await, Err(AdminError::Invalid(_))));
    let alias =
        AliasRequest::Add { address: "c@a.test".into(), targets: vec!["ann@a.test".into()] };
    world.ok(alias).await;
    assert!(world.refused(add("c@a.test", None, false)).await.contains("taken"));
    assert_eq!(world.folders_of_accounts(), 1, "what failed left no file");

    let made = world.run(add("bot@a.test", Some(PASSWORD), true)).await;
    assert!(matches!(made, Ok(Response::Done(_))), "nothing to show");
    let details = world.show("bot@a.test").await;
    assert_eq!(
        (details.row.keys.as_str(), details.row.mailbox.as_str()),
        ("server-held", "locked")
    );
    assert_eq!(details.credentials, ["password", "server 1 (server)"]);

    let Response::Accounts(rows) = world.ok(AccountRequest::List { domain: None }).await else {
        panic!()
    };
    let rows: Vec<_> =
        rows.iter().map(|row| (row.address.as_str(), row.mailbox.as_str())).collect();
    assert_eq!(rows[1], ("bot@a.test", "locked"));
    assert_eq!(rows[0].0, "Ann@a.test");
    let other = AccountRequest::List { domain: Some("b.test".into()) };
    assert!(matches!(world.ok(other).await, Response::Accounts(rows) if rows.is_empty()));
    assert!(
        world
            .refused(AccountRequest::Show { address: "x@a.test".into() })
            .await
            .contains("no account")
    );
}

#[tokio::test]
async fn a_password_is_changed_with_the_key_only() {
    let (world, recovery) = World::with_ann().await;
    // Locked: by a secret, or not at all.
    assert!(matches!(world.run(new_password(None, None, false)).await, Err(AdminError::Locked(_))));
    let wrong = new_password(None, Some("wrong"), false);
    assert!(matches!(world.run(wrong).await, Err(AdminError::WrongSecret(_))));
    world.ok(new_password(Some("second password"), Some(PASSWORD), false)).await;
    assert!(matches!(world.log_in("ann@a.test", PASSWORD).await, Err(LoginError::Rejected)));

    // Unlocked: the owner's session gives the key, and is ended.
    let session = world.log_in("ann@a.test", "second password").await.unwrap();
    let made = world.made(new_password(None, None, false)).await;
    assert_eq!(kinds(&made), ["password"]);
    assert!(session.mailbox.is_closed());
    assert!(matches!(
        world.log_in("ann@a.test", "second password").await,
        Err(LoginError::Rejected)
    ));
    world.log_in("ann@a.test", &secret(&made, 0)).await.unwrap();

    // Forgotten: by the recovery key, which stays good.
    world.admin.mailboxes.lock(session.account.id).await.unwrap();
    for password in ["third password", "fourth password"] {
        world.ok(new_password(Some(password), Some(&recovery), false)).await;
        world.log_in("ann@a.test", password).await.unwrap();
    }
    assert_eq!(
        world.show("ann@a.test").await.credentials,
        ["password", "recovery-key 1 (recovery)"]
    );
}

#[tokio::test]
async fn the_recovery_key_is_replaced() {
    let (world, old) = World::with_ann().await;
    let ask = |unlock: Option<&str>| AccountRequest::Recovery {
        address: "ann@a.test".into(),
        unlock: unlock.map(|text| Secret::new(text.into())),
    };
    assert!(matches!(world.run(ask(None)).await, Err(AdminError::Locked(_))));
    let new = secret(&world.made(ask(Some(&old))).await, 0);
    assert!(matches!(world.run(ask(Some(&old))).await, Err(AdminError::WrongSecret(_))));
    world.made(ask(Some(&new))).await;
    let credentials = world.show("ann@a.test").await.credentials;
    assert_eq!(credentials.iter().filter(|c| c.starts_with("recovery-key")).count(), 1);
}

#[tokio::test]
async fn app_passwords_are_made_listed_and_removed() {
    let (world, _) = World::with_ann().await;
    let ask = |unlock: Option<&str>| AccountRequest::AppPasswordAdd {
        address: "ann@a.test".into(),
        name: "phone".into(),
        unlock: unlock.map(|text| Secret::new(text.into())),
    };
    assert!(matches!(world.run(ask(None)).await, Err(AdminError::Locked(_))));
    let token = secret(&world.made(ask(Some(PASSWORD))).await, 0);
    let session = world.log_in("ann@a.test", &token).await.unwrap();
    world.made(ask(None)).await;
    let list = || AccountRequest::AppPasswordList { address: "ann@a.test".into() };
    let Response::AppPasswords(rows) = world.ok(list()).await else { panic!() };
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["phone", "phone"]);

    let remove = |id| AccountRequest::AppPasswordRemove { address: "ann@a.test".into(), id };
    assert!(world.refused(remove(0)).await.contains("no app password 0"), "that is the password");
    world.ok(remove(rows[0].id)).await;
    assert!(session.mailbox.is_closed());
    assert!(matches!(world.log_in("ann@a.test", &token).await, Err(LoginError::Rejected)));
    let Response::AppPasswords(rows) = world.ok(list()).await else { panic!() };
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn starting_over_gives_a_new_mailbox_that_works() {
    let (world, recovery) = World::with_ann().await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world.send("ann@a.test", Origin::Inbound).await;
    until("it is filed", async || world.inbox(&session).await == 1).await;
    until("it is settled", async || world.show("ann@a.test").await.parked == 0).await;
    // Many durable points, and the directory knows of them.
    for _ in 0..5 {
        session.mailbox.sync().await.unwrap();
    }
    let account = session.account.id;
    world.admin.directory.set_marks(world.admin.mailboxes.marks()).await.unwrap();
    assert!(world.admin.directory.snapshot().mark(account) > 5);
    world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
    assert!(session.mailbox.is_closed());
    world.send("ann@a.test", Origin::Inbound).await;
    assert_eq!(world.show("ann@a.test").await.parked, 1);

    let made = world.made(new_password(Some("all is new"), None, true)).await;
    assert_eq!(kinds(&made), ["recovery-key"]);
    assert_eq!(world.show("ann@a.test").await.parked, 0);
    // What is reported afterwards is not about the old file any more.
    world.admin.directory.set_marks(world.admin.mailboxes.marks()).await.unwrap();
    assert_eq!(world.admin.directory.snapshot().mark(account), 0);
    assert!(matches!(world.log_in("ann@a.test", PASSWORD).await, Err(LoginError::Rejected)));
    let old = new_password(None, Some(&recovery), false);
    assert!(matches!(world.run(old).await, Err(AdminError::WrongSecret(_))));
    let session = world.log_in("ann@a.test", "all is new").await.unwrap();
    assert_eq!(world.inbox(&session).await, 0);
    // It takes mail, also after it was reported and opened again.
    world.admin.directory.set_marks(world.admin.mailboxes.marks()).await.unwrap();
    world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
    let session = world.log_in("ann@a.test", "all is new").await.unwrap();
    world.send("ann@a.test", Origin::Inbound).await;
    until("it is filed", async || world.inbox(&session).await == 1).await;
}

#[tokio::test]
async fn an_account_is_changed_disabled_and_enabled() {
    let (world, _) = World::with_ann().await;
    let set = |change| AccountRequest::Set { address: "ann@a.test".into(), change };
    world.ok(set(AccountChange { name: Some("Ann".into()), ..AccountChange::default() })).await;
    assert_eq!(world.show("ann@a.test").await.name.as_deref(), Some("Ann"));
    world.ok(set(AccountChange { name: Some(String::new()), ..AccountChange::default() })).await;
    assert_eq!(world.show("ann@a.test").await.name, None);

    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world
        .ok(AccountRequest::Disable { address: "ann@a.test".into(), mail: Disabled::Refuse })
        .await;
    assert!(session.mailbox.is_closed());
    assert_eq!(world.show("ann@a.test").await.row.state, "disabled");
    assert!(matches!(world.log_in("ann@a.test", PASSWORD).await, Err(LoginError::Disabled)));
    // While nobody is there, mail for the role waits; it finds the account when that is back.
    world.send("postmaster@a.test", Origin::Inbound).await;
    world.ok(set(AccountChange { enabled: Some(true), ..AccountChange::default() })).await;
    assert_eq!(world.show("ann@a.test").await.parked, 1);
    world.log_in("ann@a.test", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn sessions_are_listed() {
    let (world, _) = World::with_ann().await;
    let list = || AccountRequest::Sessions { address: "ann@a.test".into() };
    assert!(matches!(world.ok(list()).await, Response::Sessions(rows) if rows.is_empty()));
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    let Response::Sessions(rows) = world.ok(list()).await else { panic!() };
    assert_eq!((rows[0].protocol.as_str(), rows[0].ip.as_str()), ("imap", "192.0.2.1"));
    assert_eq!(world.show("ann@a.test").await.sessions, 1);
    drop(session);
    assert!(matches!(world.ok(list()).await, Response::Sessions(rows) if rows.is_empty()));
}

#[tokio::test]
async fn offboarding_ends_all_access() {
    let (world, recovery) = World::with_ann().await;
    let token = AccountRequest::AppPasswordAdd {
        address: "ann@a.test".into(),
        name: "phone".into(),
        unlock: Some(Secret::new(PASSWORD.into())),
    };
    let token = secret(&world.made(token).await, 0);
    let session = world.log_in("ann@a.test", &token).await.unwrap();
    world.ok(AccountRequest::Offboard { address: "ann@a.test".into() }).await;
    assert!(session.mailbox.is_closed());
    assert!(matches!(world.log_in("ann@a.test", &token).await, Err(LoginError::Rejected)));
    assert!(matches!(world.log_in("ann@a.test", PASSWORD).await, Err(LoginError::Disabled)));
    // Brought back, with a new password by the recovery key.
    let change = AccountChange { enabled: Some(true), ..AccountChange::default() };
    world.ok(AccountRequest::Set { address: "ann@a.test".into(), change }).await;
    world.ok(new_password(Some("back again"), Some(&recovery), false)).await;
    world.log_in("ann@a.test", "back again").await.unwrap();
}

#[tokio::test]
async fn removing_an_account_leaves_nothing() {
    let (world, _) = World::with_ann().await;
    world.send("ann@a.test", Origin::Inbound).await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world.ok(AccountRequest::Remove { address: "ann@a.test".into() }).await;
    assert!(session.mailbox.is_closed());
    assert_eq!(world.folders_of_accounts(), 0);
    assert_eq!(world.admin.queue.counts().await.unwrap().entries, 0);
    assert!(matches!(world.log_in("ann@a.test", PASSWORD).await, Err(LoginError::Rejected)));
    assert!(matches!(
        world.run(AccountRequest::Remove { address: "ann@a.test".into() }).await,
        Err(AdminError::NotFound(_))
    ));
    world.made(add("ann@a.test", None, false)).await;
}

#[tokio::test]
async fn aliases_are_added_listed_and_removed() {
    let (world, _) = World::with_ann().await;
    let add = |address: &str, targets: &[&str]| AliasRequest::Add {
        address: address.into(),
        targets: targets.iter().map(ToString::to_string).collect(),
    };
    world.ok(add("team@a.test", &["ann@a.test"])).await;
    world.ok(add("team@a.test", &["far@b.test"])).await;
    world.ok(add("info@a.test", &["team@a.test"])).await;
    assert!(world.refused(add("team@a.test", &["info@a.test"])).await.contains("back to itself"));
    assert!(world.refused(add("ann@a.test", &["x@b.test"])).await.contains("taken"));
    assert!(world.refused(add("x@b.test", &["ann@a.test"])).await.contains("not a domain"));
    assert!(world.refused(add("x@a.test", &["nonsense"])).await.contains("not an address"));
    let list = || AliasRequest::List { domain: Some("a.test".into()) };
    let Response::Aliases(rows) = world.ok(list()).await else { panic!() };
    assert_eq!(rows[1].address, "team@a.test");
    assert_eq!(rows[1].targets, ["ann@a.test", "far@b.test"]);
    world.ok(AliasRequest::Remove { address: "info@a.test".into() }).await;
    assert!(
        world
            .refused(AliasRequest::Remove { address: "info@a.test".into() })
            .await
            .contains("no alias")
    );
}

#[tokio::test]
async fn mail_for_a_role_is_adopted_by_an_alias_too() {
    let world = World::new().await;
    world.add_domain("a.test").await;
    world.send("abuse@a.test", Origin::Inbound).await;
    world.send("postmaster@a.test", Origin::Inbound).await;
    let targets = vec!["boss@far.test".to_owned()];
    world.ok(AliasRequest::Add { address: "abuse@a.test".into(), targets }).await;
    let counts = world.admin.queue.counts().await.unwrap();
    assert_eq!((counts.due, counts.waiting), (1, 1), "the postmaster's mail goes on waiting");
}

#[tokio::test]
async fn messages_under_way_are_shown_and_steered() {
    let (world, _) = World::with_ann().await;
    let account = world.log_in("ann@a.test", PASSWORD).await.unwrap().account.id;
    let parked = world.send("postmaster@a.test", Origin::Inbound).await;
    let id = world.send("far@b.test", Origin::Submission { account }).await.to_string();
    until("the other one is filed", async || {
        world.admin.queue.show(parked).await.unwrap().is_none()
    })
    .await;
    let list = QueueRequest::List { limit: 10, after: None };
    let Response::Queue(QueuePage { rows, next: None }) = world.ok(list).await else { panic!() };
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].id.as_str(), rows[0].from.as_deref(), rows[0].recipients),
        (id.as_str(), Some(""), 1)
    );
    let show = || QueueRequest::Show { id: id.clone() };
    let Response::Entry(entry) = world.ok(show()).await else { panic!() };
    assert_eq!(
        (entry.details[0].address.as_str(), entry.details[0].state.as_str()),
        ("far@b.test", "due")
    );

    let done = async |request| match world.ok(request).await {
        Response::Done(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(done(QueueRequest::Hold { id: id.clone() }).await, "1 recipient held");
    assert_eq!(done(QueueRequest::Hold { id: id.clone() }).await, "0 recipients held");
    assert_eq!(done(QueueRequest::Retry { id: id.clone() }).await, "0 recipients tried now");
    assert_eq!(done(QueueRequest::Release { id: id.clone() }).await, "1 recipient released");
    assert_eq!(done(QueueRequest::Retry { id: id.clone() }).await, "1 recipient tried now");
    assert_eq!(done(QueueRequest::Cancel { id: id.clone() }).await, "1 recipient cancelled");
    assert!(world.refused(show()).await.contains("not in the queue"));
    assert!(world.refused(QueueRequest::Show { id: "x".into() }).await.contains("queue list"));
}

#[tokio::test]
async fn the_control_socket_carries_requests_and_errors() {
    let (world, _) = World::with_ann().await;
    let path = world.dir.path().join(control::SOCKET);
    let listener = control::bind(&path).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let serving = tokio::spawn(control::serve(listener, world.admin.clone()));
    let Ask(list) = AccountRequest::List { domain: None }.into();
    let answer = control::call(&path, &list).await.unwrap().unwrap();
    assert!(matches!(answer, Response::Accounts(rows) if rows.len() == 1));
    let Ask(made) = add("bob@a.test", None, false).into();
    let answer = control::call(&path, &made).await.unwrap().unwrap();
    let Response::Made(made) = answer else { panic!() };
    world.log_in("bob@a.test", &secret(&made, 0)).await.unwrap();
    let Ask(wrong) = AccountRequest::Show { address: "x@a.test".into() }.into();
    assert!(control::call(&path, &wrong).await.unwrap().unwrap_err().contains("no account"));
    serving.abort();
    let _ = serving.await;
    assert!(control::call(&path, &list).await.is_err(), "nobody answers any more");
    control::bind(&path).unwrap();
}
