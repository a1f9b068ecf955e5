//! What happens at the same moment: logins beside changes, guesses beside each other.

use super::*;

/// A login that hashes while the password is changed must not make the old one known again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_overlaps_a_change_of_password_does_not_outlive_it() {
    let world = World::new().await;
    let mut old = PASSWORD.to_owned();
    for round in 0..8 {
        let new = format!("password {round}");
        let slot = slot::password(world.ann, PASSWORD_SLOT, &new, &world.key, Argon2Cost::FLOOR);
        let (login, stale) = (world.login.clone(), credential("ann@a.test", &old));
        let overlapping =
            tokio::spawn(async move { login.authenticate(&stale, peer([192, 0, 2, 1])).await });
        tokio::time::sleep(Duration::from_millis(round * 4)).await;
        world.directory.replace_slot(world.ann, named(slot)).await.unwrap();
        world.mailboxes.lock(world.ann).await.unwrap();
        if let Ok(session) = overlapping.await.unwrap() {
            assert!(session.mailbox.is_closed(), "a session of before the change was ended");
        }
        assert!(matches!(world.try_login("ann@a.test", &old).await, Err(LoginError::Rejected)));
        world.try_login("ann@a.test", &new).await.unwrap();
        old = new;
    }
}

/// As above, for an account that is disabled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_overlaps_disabling_leaves_nothing_unlocked() {
    let world = World::new().await;
    for round in 0..8 {
        let login = world.login.clone();
        let overlapping = tokio::spawn(async move {
            login.authenticate(&credential("ann@a.test", PASSWORD), peer([192, 0, 2, 1])).await
        });
        tokio::time::sleep(Duration::from_millis(round * 4)).await;
        let state = AccountState::Disabled(Disabled::Refuse);
        world.directory.set_account_state(world.ann, state).await.unwrap();
        world.mailboxes.lock(world.ann).await.unwrap();
        if let Ok(session) = overlapping.await.unwrap() {
            assert!(session.mailbox.is_closed());
        }
        assert!(world.mailboxes.handle(world.ann).is_none());
        assert!(world.login.unlocked_key(world.ann).is_none());
        world.directory.set_account_state(world.ann, AccountState::Enabled).await.unwrap();
    }
}

/// However many guesses are sent side by side, no more of them are tried than one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guesses_side_by_side_gain_nothing() {
    let limits = Limits { logins_failed_per_account: 3, ..Limits::default() };
    let world = World::with(9, limits).await;
    let guesses: Vec<_> = (0..24)
        .map(|number| {
            let login = world.login.clone();
            tokio::spawn(async move {
                let guess = credential("ann@a.test", &format!("guess {number}"));
                login.authenticate(&guess, peer([192, 0, 2, 1])).await.map(drop).unwrap_err()
            })
        })
        .collect();
    let (mut tried, mut refused) = (0, 0);
    for guess in guesses {
        match guess.await.unwrap() {
            LoginError::Rejected => tried += 1,
            LoginError::Throttled { .. } => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((tried, refused), (3, 21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_owner_with_many_connections_is_not_refused() {
    let limits = Limits { logins_failed_per_account: 3, ..Limits::default() };
    let world = World::with(99, limits).await;
    let logins: Vec<_> = (0..24)
        .map(|_| {
            let login = world.login.clone();
            tokio::spawn(async move {
                login.authenticate(&credential("ann@a.test", PASSWORD), peer([192, 0, 2, 1])).await
            })
        })
        .collect();
    for login in logins {
        login.await.unwrap().unwrap();
    }
}
