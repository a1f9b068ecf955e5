//! SCRAM: proofs instead of passwords.

use super::*;

#[tokio::test]
async fn an_app_password_logs_in_by_scram() {
    let world = World::new().await;
    let app = world.scram_password().await;
    let (proof, client) = world.proof("Ann@A.test", &app);
    let proven = world.login.prove(&proof, peer([192, 0, 2, 1])).await.unwrap();
    client.verify(&proven.challenge).unwrap();
    assert_eq!(proven.session.account.id, world.ann);
    assert_eq!(world.login.sessions(world.ann).len(), 1);
    // A second one, with the mailbox unlocked; and PLAIN with the same text.
    let other = world.scram_password().await;
    let (proof, _) = world.proof("ann@a.test", &other);
    world.login.prove(&proof, peer([192, 0, 2, 1])).await.unwrap();
    world.try_login("ann@a.test", &app).await.unwrap();

    let slots = world.account().slots.clone();
    let slot = slots
        .iter()
        .map(|named| &named.slot)
        .find(|slot| slot::AppPassword::recognise(&other) == Some(slot.id));
    world.directory.remove_slot(world.ann, slot.unwrap().id).await.unwrap();
    let refused = world.login.prove(&proof, peer([192, 0, 2, 1])).await;
    assert!(matches!(refused, Err(LoginError::Rejected)), "removed");
}

#[tokio::test]
async fn scram_tells_nothing_of_who_exists_and_takes_no_main_password() {
    let world = World::new().await;
    // Ann's app password is of before SCRAM, and her main password has no verifier for it.
    for (user, password) in [
        ("ann@a.test", world.app.as_str()),
        ("ann@a.test", PASSWORD),
        ("nobody@a.test", PASSWORD),
        ("nobody", PASSWORD),
    ] {
        let (proof, _) = world.proof(user, password);
        let refused = world.login.prove(&proof, peer([192, 0, 2, 1])).await;
        assert!(matches!(refused, Err(LoginError::Rejected)), "{user}");
    }
    let salts = world.login.salts();
    let before = salts.of("ann@a.test");
    assert_eq!(salts.of("Nobody@A.test"), salts.of("nobody@a.test"), "asked twice, the same");
    assert_ne!(salts.of("nobody@a.test").0, salts.of("nemo@a.test").0);
    assert_ne!(before.0, salts.of("nobody@a.test").0);
    world.scram_password().await;
    assert_eq!(salts.of("ann@a.test"), before, "an app password changes nothing to be seen");
    let (proof, _) = world.proof("ann@a.test", PASSWORD);
    let refused = world.login.prove(&proof, peer([192, 0, 2, 1])).await;
    assert!(matches!(refused, Err(LoginError::Rejected)));
    assert!(world.mailboxes.handle(world.ann).is_none(), "nothing was unlocked");
}

#[tokio::test]
async fn a_proof_obeys_the_same_rules_as_a_password() {
    let limits = Limits { logins_failed_per_account: 3, ..Limits::default() };
    let world = World::with(1, limits).await;
    let app = world.scram_password().await;
    let ip = peer([192, 0, 2, 1]);
    let (mut proof, _) = world.proof("ann@a.test", &app);
    proof.authzid = Some("bob@a.test".into());
    assert!(matches!(world.login.prove(&proof, ip).await, Err(LoginError::Rejected)));
    proof.authzid = Some("ANN@a.test".into());
    let session = world.login.prove(&proof, ip).await.unwrap();
    assert!(matches!(world.login.prove(&proof, ip).await, Err(LoginError::TooManySessions)));
    drop(session);
    let disabled = AccountState::Disabled(Disabled::Refuse);
    world.directory.set_account_state(world.ann, disabled).await.unwrap();
    assert!(matches!(world.login.prove(&proof, ip).await, Err(LoginError::Disabled)));
    proof.proof[0] ^= 1;
    for _ in 0..3 {
        assert!(matches!(world.login.prove(&proof, ip).await, Err(LoginError::Rejected)));
    }
    assert!(matches!(world.login.prove(&proof, ip).await, Err(LoginError::Throttled { .. })));
}
