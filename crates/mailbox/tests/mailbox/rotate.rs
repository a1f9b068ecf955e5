//! New keys for a mailbox in use, and what crashes make of it.

use std::sync::Arc;

use letterlock_mailbox::{MailboxError, Mailboxes, RotateError, SelectMode};
use letterlock_vault::{AccountKey, AccountSecrets, DeliveryId, Pool, SealTo, ServerKey};

use crate::world::{World, delivery, fill, inbox, message, options};

fn next(world: &World) -> AccountSecrets {
    let server = ServerKey::load_or_create(world.dir(), None).unwrap();
    world.secrets.rotate(&AccountKey::random(), &server).0
}

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world
        .files()
        .into_iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.ends_with("-wal"))
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_under_new_keys() {
    let (world, handle) = World::open().await;
    fill(&handle, 3_000).await;
    let lease = handle.session().unwrap();
    let parked = {
        let content = letterlock_vault::Key::random();
        let id = DeliveryId::generate();
        (id, world.secrets.seal_to().wrap(&content, id).unwrap())
    };
    let next = next(&world);
    let folder = inbox(&handle).await.folder;
    let mut watch = handle.watch(folder);
    watch.borrow_and_update();
    let working = tokio::spawn({
        let handle = handle.clone();
        async move {
            let mut uids = Vec::new();
            for round in 0..60 {
                uids.extend(handle.append("INBOX", vec![message("while")]).await.unwrap().uids);
                if round % 3 == 0 {
                    let id = DeliveryId::generate();
                    handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
                    assert_eq!(
                        handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap(),
                        letterlock_mailbox::Filed::Already
                    );
                }
            }
            uids
        }
    });
    let (sender, pages) = std::sync::mpsc::channel();
    let progress = move |done, total| sender.send((done, total)).unwrap();
    let commit = || async { Ok::<_, ()>(()) };
    world.mailboxes.rotate(world.account(), next.clone(), progress, commit).await.unwrap();
    assert!(pages.iter().all(|(done, total)| done <= total));
    let uids = working.await.unwrap();
    assert!(uids.is_sorted_by(|one, other| one < other));
    assert!(watch.has_changed().unwrap());
    assert_eq!(names(&world), ["mailbox.1.db"]);
    assert_eq!(inbox(&handle).await.uids.len(), 3_080);
    assert_eq!(handle.secrets().unwrap().epoch(), 1);
    assert!(matches!(handle.seal_to().unwrap(), SealTo::Door { .. }));
    handle.open_envelope(&parked.1, parked.0).unwrap().unwrap();
    drop(lease);
    let modseq = inbox(&handle).await.highest_modseq;

    world.mailboxes.lock(world.account()).await.unwrap();
    // Who read the directory before the flip has to read it again.
    let stale = world.mailboxes.unlock(world.secrets.clone(), false).await;
    assert!(matches!(stale, Err(MailboxError::Locked)));
    let mut events = world.mailboxes.events();
    let handle = world.mailboxes.unlock(next.clone(), false).await.unwrap();
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, letterlock_mailbox::Event::SealingKeyDiffers(_)));
    }
    assert_eq!(inbox(&handle).await.highest_modseq, modseq);
    assert_eq!(inbox(&handle).await.uids.len(), 3_080);
    assert!(matches!(
        world.mailboxes.rotate(world.account(), next, |_, _| (), commit).await,
        Err(RotateError::Mailbox(MailboxError::Forbidden))
    ));
}

#[tokio::test]
async fn a_directory_that_refuses_leaves_everything_as_it_was() {
    let (world, handle) = World::open().await;
    fill(&handle, 10).await;
    let next = next(&world);
    let commit = || async { Err("full") };
    let refused = world.mailboxes.rotate(world.account(), next.clone(), |_, _| (), commit).await;
    assert!(matches!(refused, Err(RotateError::Commit("full"))));
    assert_eq!(names(&world), ["mailbox.db"]);
    handle.append("INBOX", vec![message("later")]).await.unwrap();
    assert_eq!(handle.secrets().unwrap().epoch(), 0);
    let handle = world.crash().await;
    assert_eq!(inbox(&handle).await.uids.len(), 11);
    // And the next attempt goes well.
    let commit = || async { Ok::<_, ()>(()) };
    world.mailboxes.rotate(world.account(), next, |_, _| (), commit).await.unwrap();
    assert_eq!(inbox(&handle).await.uids.len(), 11);
}

#[tokio::test]
async fn a_lock_during_a_rotation_wins() {
    let (world, handle) = World::open().await;
    fill(&handle, 2_000).await;
    let (next, account) = (next(&world), world.account());
    let mailboxes = Arc::clone(&world.mailboxes);
    let (began, begun) = tokio::sync::oneshot::channel();
    let mut began = Some(began);
    let progress = move |_, _| {
        if let Some(began) = began.take() {
            began.send(()).unwrap();
        }
    };
    let rotating = tokio::spawn(async move {
        mailboxes.rotate(account, next, progress, || async { Ok::<_, ()>(()) }).await
    });
    begun.await.unwrap();
    world.mailboxes.lock(account).await.unwrap();
    // Whichever came first: the file that counts is whole.
    let epoch = u32::from(rotating.await.unwrap().is_ok());
    if epoch == 0 {
        assert_eq!(inbox(&world.unlock().await).await.uids.len(), 2_000);
        assert_eq!(names(&world), ["mailbox.db"]);
    }
    assert!(handle.is_closed());
}

/// The process ends, as by `kill -9`, at the flip: before the directory has the new epoch, or after.
#[tokio::test]
async fn killed_at_the_flip() {
    for flipped in [false, true] {
        let (world, handle) = World::open().await;
        fill(&handle, 50).await;
        let (next, account) = (next(&world), world.account());
        let mailboxes = Arc::clone(&world.mailboxes);
        let (reached, flip) = tokio::sync::oneshot::channel();
        let commit = move || async move {
            reached.send(()).unwrap();
            std::future::pending::<Result<(), ()>>().await
        };
        let rotated = next.clone();
        let rotating =
            tokio::spawn(
                async move { mailboxes.rotate(account, rotated, |_, _| (), commit).await },
            );
        flip.await.unwrap();
        assert_eq!(names(&world), ["mailbox.1.db", "mailbox.db"]);
        // Another process, which finds the files as they are at this moment.
        let other = world.elsewhere();
        rotating.abort();
        let mailboxes = Mailboxes::new(other.path(), Pool::new("other", 1), options());
        let mut events = mailboxes.events();
        let secrets = if flipped { next } else { world.secrets.clone() };
        let handle = mailboxes.unlock(secrets, false).await.unwrap();
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, letterlock_mailbox::Event::SealingKeyDiffers(_)));
        }
        assert_eq!(handle.select("INBOX", SelectMode::ReadOnly).await.unwrap().uids.len(), 50);
        handle.append("INBOX", vec![message("after")]).await.unwrap();
        let dir = other.path().join("accounts").join(account.to_string());
        let left: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-wal"))
            .collect();
        assert_eq!(left, [if flipped { "mailbox.1.db" } else { "mailbox.db" }]);
        mailboxes.close_all().await;
    }
}
