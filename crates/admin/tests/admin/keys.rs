//! Ways back in, and new keys.

use letterlock_login::sasl::{Exchange, Ground, Step};
use letterlock_testkit::scram::Scram;

use crate::world::*;

fn rotate(password: Option<&str>, unlock: Option<&str>, new_account_key: bool) -> AccountRequest {
    let secret = |text: &str| Secret::new(text.into());
    let (password, unlock) = (password.map(secret), unlock.map(secret));
    AccountRequest::Rotate { address: "ann@a.test".into(), password, unlock, new_account_key }
}

async fn app_password(world: &World, unlock: &str) -> String {
    let add = AccountRequest::AppPasswordAdd {
        address: "ann@a.test".into(),
        name: "phone".into(),
        unlock: Some(Secret::new(unlock.into())),
    };
    secret(&world.made(add).await, 0)
}

#[tokio::test]
async fn the_recovery_key_sets_a_new_password_and_the_mail_is_there() {
    let (world, recovery) = World::with_ann().await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world.send("ann@a.test", Origin::Inbound).await;
    until("filed", async || world.inbox(&session).await == 1).await;
    drop(session);
    world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
    world.send("ann@a.test", Origin::Inbound).await;
    world.ok(new_password(Some("another horse"), Some(&recovery), false)).await;
    assert!(world.log_in("ann@a.test", PASSWORD).await.is_err());
    let session = world.log_in("ann@a.test", "another horse").await.unwrap();
    until("what was parked is there too", async || world.inbox(&session).await == 2).await;
}

#[tokio::test]
async fn the_organisation_opens_every_new_account() {
    let (private, public) = OrganisationKey::generate();
    let world = World::with_organisation(Some(public)).await;
    world.add_domain("a.test").await;
    world.made(add("ann@a.test", Some(PASSWORD), false)).await;
    world.ok(add("bot@a.test", Some(PASSWORD), true)).await;
    let credentials = world.show("ann@a.test").await.credentials;
    assert_eq!(
        credentials,
        ["password", "recovery-key 1 (recovery)", "organisation-key 2 (organisation)"]
    );
    assert!(!world.show("bot@a.test").await.credentials.join(" ").contains("organisation"));
    world.send("ann@a.test", Origin::Inbound).await;
    world.ok(new_password(Some("another horse"), Some(&private), false)).await;
    let session = world.log_in("ann@a.test", "another horse").await.unwrap();
    until("the mail is there", async || world.inbox(&session).await == 1).await;
    drop(session);
    // It survives new keys, and starting over.
    world.made(rotate(None, Some("another horse"), true)).await;
    world.ok(new_password(Some("a third horse"), Some(&private), false)).await;
    world.made(new_password(Some("a fourth horse"), None, true)).await;
    world.ok(new_password(Some("a fifth horse"), Some(&private), false)).await;
    let as_password = new_password(Some(&private), Some(&private), false);
    assert!(world.refused(as_password).await.contains("choose another"));
}

#[tokio::test]
async fn new_app_passwords_log_in_by_scram() {
    let (world, _) = World::with_ann().await;
    let app = app_password(&world, PASSWORD).await;
    let list = AccountRequest::AppPasswordList { address: "ann@a.test".into() };
    let Response::AppPasswords(rows) = world.ok(list).await else { panic!() };
    assert!(rows[0].scram);
    let ground = Ground::new(Default::default(), world.admin.login.salts());
    let mut client = Scram::new("ann@a.test", &app, "n", b"");
    let mechanism = ground.mechanism("SCRAM-SHA-256").unwrap();
    let step = Exchange::start(mechanism, Some(&client.first()), &ground);
    let Step::Challenge(exchange, challenge) = step else { panic!("{step:?}") };
    let Step::Prove(proof) = exchange.respond(&client.last(&challenge).unwrap()) else { panic!() };
    let peer = Peer { ip: IpAddr::from([192, 0, 2, 1]), protocol: Protocol::Imap };
    let proven = world.admin.login.prove(&proof, peer).await.unwrap();
    client.verify(&proven.challenge).unwrap();
    world.log_in("ann@a.test", &app).await.unwrap();
}

#[tokio::test]
async fn new_data_keys_leave_credentials_and_sessions_as_they_are() {
    let (world, recovery) = World::with_ann().await;
    let app = app_password(&world, PASSWORD).await;
    assert!(world.refused(rotate(None, None, false)).await.contains("is locked"));
    world.send("ann@a.test", Origin::Inbound).await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    until("filed", async || world.inbox(&session).await == 1).await;
    let before = world.admin.directory.snapshot().account(session.account.id).unwrap();
    world.ok(rotate(None, None, false)).await;
    let after = world.admin.directory.snapshot().account(session.account.id).unwrap();
    assert_eq!(after.secrets.epoch, before.secrets.epoch + 1);
    assert_ne!(after.secrets.sealing_public, before.secrets.sealing_public);
    assert_eq!(world.inbox(&session).await, 1, "the session goes on");
    drop(session);
    for opens in [PASSWORD, &app] {
        world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
        world.log_in("ann@a.test", opens).await.unwrap();
    }
    world.ok(new_password(Some("another horse"), Some(&recovery), false)).await;
}

#[tokio::test]
async fn a_new_account_key_makes_what_leaked_worthless() {
    let (world, recovery) = World::with_ann().await;
    let app = app_password(&world, PASSWORD).await;
    world.send("ann@a.test", Origin::Inbound).await;
    let session = world.log_in("ann@a.test", &app).await.unwrap();
    let made = world.made(rotate(None, Some(PASSWORD), true)).await;
    assert_eq!(kinds(&made), ["recovery-key"], "the password that was given stays");
    assert!(session.mailbox.is_closed(), "whoever came with the app password is out");
    assert!(world.log_in("ann@a.test", &app).await.is_err());
    let by_old = new_password(Some("another horse"), Some(&recovery), false);
    assert!(world.refused(by_old).await.contains("does not open"));
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    until("the mail is there", async || world.inbox(&session).await == 1).await;
    drop(session);
    // By the new recovery key, with a password that is made.
    let made = world.made(rotate(None, Some(&secret(&made, 0)), true)).await;
    assert_eq!(kinds(&made), ["password", "recovery-key"]);
    assert!(world.log_in("ann@a.test", PASSWORD).await.is_err());
    let session = world.log_in("ann@a.test", &secret(&made, 0)).await.unwrap();
    assert_eq!(world.inbox(&session).await, 1);
}

/// Who is gone cannot be told the new secrets: the old ones must go on to count.
#[tokio::test]
async fn a_rotation_whose_caller_went_away_leaves_the_old_credentials() {
    let (world, recovery) = World::with_ann().await;
    let app = app_password(&world, PASSWORD).await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    let (reporter, mut heard) = Reporter::new();
    {
        let work =
            world.admin.run_with(Ask::from(rotate(None, Some(&recovery), true)).0, &reporter);
        tokio::select! {
            biased;
            told = heard.changed() => told.unwrap(),
            done = work => panic!("nothing was told: {done:?}"),
        }
    }
    until("it is over", async || world.run(rotate(None, None, false)).await.is_ok()).await;
    let account = world.admin.directory.snapshot().account(session.account.id).unwrap();
    assert_eq!(account.secrets.epoch, 1, "only the second one counts");
    drop(session);
    for opens in [PASSWORD, &app] {
        world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
        world.log_in("ann@a.test", opens).await.unwrap();
    }
    world.ok(new_password(Some("another horse"), Some(&recovery), false)).await;
}

#[tokio::test]
async fn keys_of_earlier_epochs_are_let_go_when_no_mail_waits() {
    let (world, _) = World::with_ann().await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    let account = session.account.id;
    until("open", async || world.show("ann@a.test").await.row.mailbox == "open").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        world.ok(rotate(None, None, false)).await;
        let snapshot = world.admin.directory.snapshot();
        held.push(snapshot.account(account).unwrap().secrets.sealing_secret.len());
    }
    assert_eq!(held[0], held[1], "one epoch is kept, for what is on its way");
    assert_eq!(held[1], held[2]);
    drop(session);

    // Mail that waits locked, through two rotations of a mailbox that it is not filed into yet.
    world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
    let id = world.send("ann@a.test", Origin::Inbound).await;
    world.ok(QueueRequest::Hold { id: id.to_string() }).await;
    for _ in 0..2 {
        world.ok(rotate(None, Some(PASSWORD), false)).await;
    }
    world.ok(QueueRequest::Release { id: id.to_string() }).await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    until("what was sealed two epochs ago is filed", async || world.inbox(&session).await == 1)
        .await;
}

#[tokio::test]
async fn two_commands_at_once_make_two_credentials() {
    let (world, _) = World::with_ann().await;
    let (one, two) = tokio::join!(app_password(&world, PASSWORD), app_password(&world, PASSWORD));
    for token in [one, two] {
        world.ok(AccountRequest::Lock { address: "ann@a.test".into() }).await;
        world.log_in("ann@a.test", &token).await.unwrap();
    }
}

#[tokio::test]
async fn the_list_tells_when_an_app_password_was_last_used() {
    let (world, _) = World::with_ann().await;
    let (used, _unused) =
        (app_password(&world, PASSWORD).await, app_password(&world, PASSWORD).await);
    let list = async || {
        let list = AccountRequest::AppPasswordList { address: "ann@a.test".into() };
        let Response::AppPasswords(rows) = world.ok(list).await else { panic!() };
        rows.into_iter().map(|row| row.last_used).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [None, None]);
    // By the main password it is not used.
    world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world.log_in("ann@a.test", &used).await.unwrap();
    until("it is noted", async || list().await[0].is_some()).await;
    let noted = list().await;
    let time: Timestamp = noted[0].as_deref().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(time).as_secs() < 3600);
    assert_eq!(noted[1], None);
}
