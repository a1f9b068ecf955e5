//! Locked, draining, open: leases, grace, and no mail that becomes invisible.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use letterlock_mailbox::{AccountState, Drained, Event, MailboxError, Way};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, DeliveryId, SealTo, ServerKey};

use crate::world::{World, delivery, fill, inbox};

#[tokio::test]
async fn an_account_is_made_once_and_destroyed() {
    let world = World::new().await;
    assert!(matches!(
        world.mailboxes.create(&world.secrets).await,
        Err(MailboxError::AlreadyExists)
    ));
    assert_eq!(world.files().len(), 1, "{:?}", world.files());
    let handle = world.unlock().await;
    fill(&handle, 1).await;
    assert!(world.mailboxes.usage(world.account()).await.unwrap().unwrap().octets > 0);
    world.mailboxes.remove(world.account()).await.unwrap();
    assert!(handle.is_closed());
    let again = world.mailboxes.unlock(world.secrets.clone(), false).await;
    assert!(matches!(again, Err(MailboxError::Damaged(_))));
    world.mailboxes.create(&world.secrets).await.unwrap();
    assert!(inbox(&world.unlock().await).await.uids.is_empty());
}

#[tokio::test]
async fn another_key_does_not_open_it() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let server = ServerKey::load_or_create(dir.path(), None).unwrap();
    let (other, _) = AccountSecrets::generate(world.account(), &AccountKey::random(), &server);
    assert!(world.mailboxes.unlock(other, false).await.is_err());
    assert_eq!(world.mailboxes.state(world.account()), AccountState::Locked);
    world.unlock().await;
}

#[tokio::test]
async fn nothing_readable_is_on_the_disk() {
    let (world, handle) = World::open().await;
    let canary = crate::world::message("Kanarienvogel");
    handle.append("INBOX", vec![canary]).await.unwrap();
    handle.create("Geheimfach", None).await.unwrap();
    let find = |needle: &[u8]| {
        world
            .snapshot()
            .iter()
            .any(|(_, content)| content.windows(needle.len()).any(|at| at == needle))
    };
    assert!(
        !find(b"Kanarienvogel") && !find(b"Geheimfach") && !find(b"INBOX") && !find(b"example.org")
    );
    world.mailboxes.lock(world.account()).await.unwrap();
    assert!(!find(b"Kanarienvogel") && !find(b"Geheimfach") && !find(b"SQLite format"));
}

#[tokio::test]
async fn two_logins_at_once_are_one_unlock() {
    let world = World::new().await;
    let mut events = world.mailboxes.events();
    let unlock = || world.mailboxes.unlock(world.secrets.clone(), true);
    let (one, two, three) = tokio::join!(unlock(), unlock(), unlock());
    let (one, _two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    fill(&one, 1).await;
    assert_eq!(inbox(&three).await.uids.len(), 1);
    assert_eq!(events.try_recv().unwrap(), Event::Draining(world.account()));
    assert!(events.try_recv().is_err());
    assert_eq!(world.mailboxes.draining(), [world.account()]);
}

#[tokio::test]
async fn lock_ends_sessions_and_takes_the_keys() {
    let (world, handle) = World::open().await;
    let lease = handle.session().unwrap();
    handle.remember(b"secret");
    assert!(handle.recognises(b"secret") && !handle.recognises(b"Secret"));
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.closed().await }
    });
    let mut watch = handle.watch(inbox(&handle).await.folder);
    world.mailboxes.lock(world.account()).await.unwrap();
    waiting.await.unwrap();
    assert!(watch.changed().await.is_err());
    assert!(matches!(handle.secrets(), Err(MailboxError::Locked)));
    assert!(matches!(handle.session(), Err(MailboxError::Locked)));
    assert!(matches!(handle.sync().await, Err(MailboxError::Locked)));
    assert!(world.mailboxes.handle(world.account()).is_none());
    assert!(world.mailboxes.seal_to(world.account()).is_none());
    let new = world.unlock().await;
    assert!(!new.recognises(b"secret") && !handle.recognises(b"secret"));
    drop(lease);
    assert_eq!(new.sessions(), 0);
    assert!(matches!(handle.session(), Err(MailboxError::Locked)), "an old handle stays closed");
    assert_eq!(new.sessions(), 0);
}

#[tokio::test]
async fn the_grace_begins_with_the_last_session() {
    let (world, handle) = World::open().await;
    let (one, two) = (handle.session().unwrap(), handle.session().unwrap());
    let start = Instant::now();
    let later = |seconds| start + Duration::from_secs(seconds);
    world.mailboxes.tick(later(1_000)).await;
    assert_eq!(handle.sessions(), 2);
    one.end(later(1_000));
    two.end(later(2_000));
    world.mailboxes.tick(later(2_059)).await;
    assert!(!handle.is_closed());
    let three = handle.session().unwrap();
    world.mailboxes.tick(later(9_000)).await;
    assert!(!handle.is_closed());
    three.end(later(9_000));
    world.mailboxes.tick(later(9_060)).await;
    assert!(handle.is_closed());
    assert_eq!(world.mailboxes.state(world.account()), AccountState::Locked);
}

#[tokio::test]
async fn a_draining_account_has_an_hour_more_on_the_clock() {
    let world = World::new().await;
    let handle = world.mailboxes.unlock(world.secrets.clone(), true).await.unwrap();
    world.mailboxes.tick(Instant::now() + Duration::from_secs(3_600)).await;
    assert!(!handle.is_closed());
    let done = world.mailboxes.finish_draining(world.account(), async || Ok::<_, ()>(true)).await;
    assert_eq!(done, Ok(Drained::Open));
    world.mailboxes.tick(Instant::now() + Duration::from_secs(3_600)).await;
    assert!(handle.is_closed());
}

#[tokio::test]
async fn draining_that_never_ends_does_not_keep_the_keys_for_ever() {
    let world = World::new().await;
    let handle = world.mailboxes.unlock(world.secrets.clone(), true).await.unwrap();
    let lease = handle.session().unwrap();
    let later = Instant::now() + Duration::from_secs(9_000);
    world.mailboxes.tick(later).await;
    assert!(!handle.is_closed(), "somebody is logged in");
    lease.end(Instant::now());
    world.mailboxes.tick(later).await;
    assert!(handle.is_closed());
    assert_eq!(world.mailboxes.state(world.account()), AccountState::Locked);
}

#[tokio::test]
async fn a_login_during_removal_does_not_open_what_is_being_destroyed() {
    let (world, old) = World::open().await;
    let (removed, login) = tokio::join!(
        world.mailboxes.remove(world.account()),
        world.mailboxes.unlock(world.secrets.clone(), false)
    );
    removed.unwrap();
    assert!(old.is_closed());
    assert!(login.is_err());
}

#[tokio::test]
async fn the_way_of_mail_follows_the_state() {
    let world = World::new().await;
    let (boxes, account) = (&world.mailboxes, world.account());
    assert!(matches!(boxes.filing(account).await.way, Way::Park(None)));
    boxes.unlock(world.secrets.clone(), true).await.unwrap();
    assert!(matches!(boxes.filing(account).await.way, Way::Park(Some(SealTo::Door { .. }))));
    assert_eq!(
        boxes.finish_draining(account, async || Ok::<_, ()>(false)).await,
        Ok(Drained::More)
    );
    assert_eq!(boxes.finish_draining(account, async || Err::<bool, _>("no")).await, Err("no"));
    assert_eq!(boxes.state(account), AccountState::Draining);
    assert_eq!(boxes.finish_draining(account, async || Ok::<_, ()>(true)).await, Ok(Drained::Open));
    assert!(matches!(boxes.filing(account).await.way, Way::Direct(_, SealTo::Door { .. })));
    assert_eq!(
        boxes.finish_draining(account, async || Ok::<_, ()>(true)).await,
        Ok(Drained::NotDraining)
    );
    assert!(boxes.drain_again(account));
    assert_eq!(boxes.state(account), AccountState::Draining);
    boxes.lock(account).await.unwrap();
    assert!(!boxes.drain_again(account) && !boxes.drain_again(AccountId::generate()));
    assert_eq!(
        boxes.finish_draining(account, async || Ok::<_, ()>(true)).await,
        Ok(Drained::NotDraining)
    );
}

#[tokio::test]
async fn draining_waits_for_those_who_are_parking() {
    let world = World::new().await;
    let account = world.account();
    let filing = world.mailboxes.filing(account).await;
    world.mailboxes.unlock(world.secrets.clone(), true).await.unwrap();
    let asked = Arc::new(Mutex::new(false));
    let finish = tokio::spawn({
        let (boxes, asked) = (Arc::clone(&world.mailboxes), Arc::clone(&asked));
        async move {
            boxes
                .finish_draining(account, async || {
                    *asked.lock().unwrap() = true;
                    Ok::<_, ()>(true)
                })
                .await
        }
    });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!*asked.lock().unwrap(), "somebody may be about to park");
    drop(filing);
    assert_eq!(finish.await.unwrap(), Ok(Drained::Open));
}

/// A queue of parked rows, deliverers and a drainer, with unlocks and locks in between: in the end everything is
/// in the mailbox, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_mail_becomes_invisible() {
    let world = Arc::new(World::new().await);
    let account = world.account();
    let queue: Arc<Mutex<Vec<DeliveryId>>> = Arc::default();
    let mut deliverers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (world, queue) = (Arc::clone(&world), Arc::clone(&queue));
        deliverers.spawn(async move {
            for _ in 0..40 {
                let id = DeliveryId::generate();
                let filing = world.mailboxes.filing(account).await;
                tokio::task::yield_now().await;
                queue.lock().unwrap().push(id);
                if let Way::Direct(handle, _) = &filing.way
                    && handle.deliver(delivery(id, "a@x", "INBOX")).await.is_ok()
                {
                    queue.lock().unwrap().retain(|row| *row != id);
                }
            }
        });
    }
    let mut events = world.mailboxes.events();
    let drainer = tokio::spawn({
        let (world, queue) = (Arc::clone(&world), Arc::clone(&queue));
        async move {
            while let Ok(event) = events.recv().await {
                let Event::Draining(account) = event else { continue };
                loop {
                    let rows: Vec<DeliveryId> = queue.lock().unwrap().clone();
                    let Some(handle) = world.mailboxes.handle(account) else { break };
                    for id in rows {
                        if handle.deliver(delivery(id, "a@x", "INBOX")).await.is_ok() {
                            queue.lock().unwrap().retain(|row| *row != id);
                        }
                    }
                    let empty = async || Ok::<_, ()>(queue.lock().unwrap().is_empty());
                    if world.mailboxes.finish_draining(account, empty).await != Ok(Drained::More) {
                        break;
                    }
                }
            }
        }
    });
    for _ in 0..6 {
        let (one, two) = tokio::join!(
            world.mailboxes.unlock(world.secrets.clone(), true),
            world.mailboxes.unlock(world.secrets.clone(), true)
        );
        one.unwrap().sync().await.unwrap();
        two.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.mailboxes.lock(account).await.unwrap();
    }
    let handle = world.mailboxes.unlock(world.secrets.clone(), true).await.unwrap();
    deliverers.join_all().await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while world.mailboxes.state(account) != AccountState::Open {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(queue.lock().unwrap().is_empty(), "nothing is parked in an open account");
    assert_eq!(inbox(&handle).await.uids.len(), 160);
    drainer.abort();
}

#[tokio::test]
async fn the_end_closes_everything_cleanly() {
    let (world, handle) = World::open().await;
    fill(&handle, 1).await;
    let next = inbox(&handle).await.uid_next;
    world.mailboxes.close_all().await;
    assert_eq!(world.mailboxes.marks().len(), 1);
    assert!(world.mailboxes.unlocked().is_empty());
    assert_eq!(inbox(&world.unlock().await).await.uid_next, next);
}
