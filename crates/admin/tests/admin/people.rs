//! Quotas, states and catch-alls, as operators set and see them.

use crate::world::*;

#[tokio::test]
async fn a_quota_is_set_shown_and_enforced() {
    let (world, _) = World::with_ann().await;
    let set = |quota| AccountRequest::Set {
        address: "ann@a.test".into(),
        change: AccountChange { quota: Some(quota), ..AccountChange::default() },
    };
    assert_eq!(world.show("ann@a.test").await.row.quota, None);
    world.ok(set(Quota::Most(20))).await;
    assert_eq!(world.show("ann@a.test").await.row.quota, Some(20));
    let account = world.admin.directory.snapshot().accounts().next().unwrap().id;
    let verdict = || {
        let patience = Duration::from_secs(3600);
        world.admin.directory.judge_quota(account, 0, Timestamp::now(), patience)
    };
    assert_eq!(verdict(), QuotaVerdict::Room);
    // Sealed mail counts, and the owner need not have looked.
    world.send("ann@a.test", Origin::Inbound).await;
    world.send("ann@a.test", Origin::Inbound).await;
    until("counted", async || verdict() == QuotaVerdict::Full).await;
    assert_eq!(world.show("ann@a.test").await.used, Some(28));
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    until("filed", async || world.inbox(&session).await == 2).await;
    let append = letterlock_mailbox::NewMessage {
        bytes: "Subject: y\r\n\r\n".into(),
        flags: Default::default(),
        internal_date: letterlock_mailbox::InternalDate::utc(Timestamp::UNIX_EPOCH),
    };
    let refused = session.mailbox.append("INBOX", vec![append.clone()]).await;
    assert!(matches!(refused, Err(letterlock_mailbox::MailboxError::OverQuota)), "{refused:?}");
    world.ok(set(Quota::Unlimited)).await;
    session.mailbox.append("INBOX", vec![append]).await.unwrap();
    assert_eq!(verdict(), QuotaVerdict::Room);

    let new = AccountRequest::Add {
        address: "bob@a.test".into(),
        password: None,
        server_held: false,
        name: None,
        quota: Quota::Most(5 << 30),
        quota_messages: Quota::Most(70_000),
    };
    world.made(new).await;
    let row = world.show("bob@a.test").await.row;
    assert_eq!((row.quota, row.quota_messages), (Some(5 << 30), Some(70_000)));
}

/// What a mailbox holds is counted anew when it changes, so that deleting makes room.
#[tokio::test]
async fn deleting_makes_room() {
    let (world, _) = World::with_ann().await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    let admin = &world.admin;
    let (directory, mailboxes) = (admin.directory.clone(), admin.mailboxes.clone());
    let rooms = Rooms::new(directory, mailboxes, admin.queue.clone(), Duration::from_secs(3600));
    let account = session.account.id;
    admin.directory.set_quota(account, Some(14)).await.unwrap();
    world.send("ann@a.test", Origin::Inbound).await;
    until("filed", async || world.inbox(&session).await == 1).await;
    assert_eq!(rooms.verdict(account, 0, Timestamp::now()), QuotaVerdict::Full);
    let inbox =
        session.mailbox.select("INBOX", letterlock_mailbox::SelectMode::ReadOnly).await.unwrap();
    session.mailbox.remove(inbox.folder, &letterlock_mailbox::all_uids()).await.unwrap();
    until("counted", async || {
        rooms.recount().await;
        rooms.verdict(account, 0, Timestamp::now()) == QuotaVerdict::Room
    })
    .await;
}

#[tokio::test]
async fn who_starts_over_has_room_for_mail_at_once() {
    let (world, _) = World::with_ann().await;
    let directory = &world.admin.directory;
    let account = directory.snapshot().accounts().next().unwrap().id;
    directory.set_quota(account, Some(14)).await.unwrap();
    world.send("ann@a.test", Origin::Inbound).await;
    let verdict = || directory.judge_quota(account, 0, Timestamp::now(), Duration::from_secs(9));
    assert_eq!(verdict(), QuotaVerdict::Full);
    world.made(new_password(Some("all is new"), None, true)).await;
    assert_eq!(verdict(), QuotaVerdict::Room);
}

#[tokio::test]
async fn a_disabled_account_does_with_mail_what_was_asked() {
    let (world, _) = World::with_ann().await;
    let ann = || "ann@a.test".parse().unwrap();
    for (mail, name) in [
        (Disabled::Defer, "deferred"),
        (Disabled::Refuse, "refused"),
        (Disabled::Discard, "discarded"),
    ] {
        let done = world.ok(AccountRequest::Disable { address: "ann@a.test".into(), mail }).await;
        assert!(matches!(&done, Response::Done(text) if text.ends_with(name)), "{done:?}");
        let row = world.show("ann@a.test").await.row;
        assert_eq!((row.state.as_str(), row.mail.as_str()), ("disabled", name));
        let resolution = world.admin.directory.snapshot().resolve(&ann());
        assert_eq!(resolution, Resolution::Disabled(mail));
    }
    let change = AccountChange { enabled: Some(true), ..AccountChange::default() };
    world.ok(AccountRequest::Set { address: "ann@a.test".into(), change }).await;
    assert_eq!(world.show("ann@a.test").await.row.mail, "accepted");
}

#[tokio::test]
async fn a_catch_all_is_an_alias_of_a_whole_domain() {
    let (world, _) = World::with_ann().await;
    let add = |address: &str, targets: &[&str]| AliasRequest::Add {
        address: address.into(),
        targets: targets.iter().map(ToString::to_string).collect(),
    };
    world.ok(add("@a.test", &["ann@a.test", "out@far.test"])).await;
    assert!(world.refused(add("@far.test", &["ann@a.test"])).await.contains("not a domain"));
    assert!(
        world.refused(add("@", &["ann@a.test"])).await.contains("neither an address nor @domain")
    );
    let list = AliasRequest::List { domain: Some("a.test".into()) };
    let Response::Aliases(rows) = world.ok(list).await else { panic!() };
    assert_eq!(rows[0].address, "@a.test");
    assert_eq!(rows[0].targets, ["ann@a.test", "out@far.test"]);
    world.ok(AliasRequest::Remove { address: "@a.test".into() }).await;
    assert!(
        world
            .refused(AliasRequest::Remove { address: "@a.test".into() })
            .await
            .contains("no alias @a.test")
    );
}
