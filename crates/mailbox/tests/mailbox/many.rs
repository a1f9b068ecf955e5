//! Many accounts at once: a bound on open files, and durable points that are taken together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use letterlock_mailbox::{
    FlagOperation, Handle, MailboxError, Mailboxes, NewMessage, Options, SystemFlags, all_uids,
};
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, DeliveryId, Pool, ServerKey};

use crate::disk::World as Disk;
use crate::world::{change, delivery, inbox, message, options};

struct Many {
    dir: tempfile::TempDir,
    mailboxes: Arc<Mailboxes>,
    handles: Vec<Handle>,
}

async fn many(count: usize, options: Options, pool: &Pool) -> Many {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerKey::load_or_create(dir.path(), None).unwrap();
    let mailboxes = Mailboxes::new(dir.path(), pool.clone(), options);
    let mut handles = Vec::new();
    for _ in 0..count {
        let (secrets, _) =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
        mailboxes.create(&secrets).await.unwrap();
        handles.push(mailboxes.unlock(secrets, false).await.unwrap());
    }
    Many { dir, mailboxes, handles }
}

/// The mailbox files that this process has open now, logs left out.
fn open_mailboxes(dir: &Path) -> usize {
    let mut open = BTreeSet::<PathBuf>::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(path) = std::fs::read_link(entry.path()) else { continue };
        if path.starts_with(dir) && path.extension().is_some_and(|end| end == "db") {
            open.insert(path);
        }
    }
    open.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_busy_accounts_have_no_more_than_eight_files_open_and_lose_nothing() {
    let bound = Options { open_files: 8, idle_close: Some(Duration::from_secs(60)), ..options() };
    let pool = Pool::new("few", 2);
    let Many { dir, mailboxes, handles } = many(20, bound, &pool).await;
    let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let watcher = std::thread::spawn({
        let (stop, most, dir) = (Arc::clone(&stop), Arc::clone(&most), dir.path().to_owned());
        move || {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(open_mailboxes(&dir), Ordering::Relaxed);
            }
        }
    });
    let sessions: Vec<_> = handles
        .iter()
        .cloned()
        .map(|handle| {
            tokio::spawn(async move {
                let _session = handle.session().unwrap();
                let folder = inbox(&handle).await.folder;
                let mut news = handle.watch(folder);
                for round in 0..10 {
                    handle.append("INBOX", vec![message(&format!("a{round}"))]).await.unwrap();
                    let id = DeliveryId::generate();
                    handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
                    news.changed().await.unwrap();
                    let seen = change(FlagOperation::Add, SystemFlags::SEEN, &[]);
                    handle.store(folder, &all_uids(), seen, None).await.unwrap();
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.unwrap();
    }
    for handle in &handles {
        let selected = inbox(handle).await;
        assert_eq!((selected.uids.len(), selected.unseen_count), (20, 0));
        assert_eq!(*selected.uids, (1..=20).collect::<Vec<_>>(), "closed cleanly each time");
    }
    stop.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    let most = most.load(Ordering::Relaxed);
    // A list of descriptors is not of one moment: each of the two threads may close one and open another meanwhile.
    assert!((1..=12).contains(&most), "{most} files were open");
    assert!(open_mailboxes(dir.path()) <= 8 && pool.open_files() <= 8);
    mailboxes.close_all().await;
    assert_eq!((open_mailboxes(dir.path()), pool.open_files()), (0, 0));
}

#[tokio::test]
async fn a_body_is_read_on_after_its_file_was_closed_for_others() {
    let bound = Options { open_files: 1, idle_close: Some(Duration::from_secs(60)), ..options() };
    let pool = Pool::new("one", 1);
    let Many { handles, dir: _dir, .. } = many(3, bound, &pool).await;
    let text: String = (0..300_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let new = NewMessage { bytes: format!("Subject: x\r\n\r\n{text}").into(), ..message("") };
    let appended = handles[0].append("INBOX", vec![new.clone()]).await.unwrap();
    let (folder, uid) = (appended.folder, appended.uids[0]);
    let reader = handles[0].reader(folder, uid).await.unwrap().unwrap();
    let mut read = Vec::new();
    handles[0].remove(folder, &all_uids()).await.unwrap();
    for at in (0..reader.size()).step_by(50_000) {
        handles[1 + (at as usize / 50_000) % 2].usage().await.unwrap();
        assert_eq!(pool.open_files(), 1);
        let end = reader.size().min(at + 50_000);
        read.extend_from_slice(&reader.read(at..end).await.unwrap());
    }
    assert_eq!(read, new.bytes);
}

#[tokio::test]
async fn many_mailboxes_become_durable_with_one_sync() {
    let disk = Disk::recording();
    disk.as_one_filesystem();
    let pool = Pool::with_storage("many", 2, disk.storage());
    let Many { handles, dir: _dir, .. } = many(40, options(), &pool).await;
    let mut filed = Vec::new();
    for handle in &handles {
        let id = DeliveryId::generate();
        handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
        filed.push((handle.clone(), vec![(id, "a@b".to_owned())]));
    }
    let before: Vec<u64> = handles.iter().map(|one| one.durable_points().unwrap()).collect();
    let answers = Mailboxes::sync_delivered(filed).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(disk.whole_syncs(), 1);
    for (handle, before) in handles.iter().zip(before) {
        assert_eq!(handle.durable_points().unwrap(), before + 1);
    }
}

#[tokio::test]
async fn a_row_may_not_go_for_a_delivery_that_is_not_in_its_mailbox() {
    let disk = Disk::recording();
    let pool = Pool::with_storage("many", 1, disk.storage());
    let Many { handles, mailboxes, dir: _dir } = many(3, options(), &pool).await;
    let id = DeliveryId::generate();
    for handle in &handles {
        handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
    }
    let named = |recipient: &str| vec![(id, recipient.to_owned())];
    mailboxes.lock(handles[2].account()).await.unwrap();
    let answers = Mailboxes::sync_delivered(vec![
        (handles[0].clone(), named("a@b")),
        (handles[1].clone(), named("other@b")),
        (handles[2].clone(), named("a@b")),
    ])
    .await;
    assert!(answers[0].is_ok());
    assert!(matches!(answers[1], Err(MailboxError::Storage(_))));
    assert!(matches!(answers[2], Err(MailboxError::Locked)));

    // The sync itself fails: nothing is promised. The file is recovered, and the next one counts.
    handles[0].deliver(delivery(DeliveryId::generate(), "a@b", "INBOX")).await.unwrap();
    let points = handles[0].durable_points().unwrap();
    disk.fail_syncs(1);
    assert!(handles[0].sync_delivered(&named("a@b")).await.is_err());
    assert_eq!(handles[0].durable_points().unwrap(), points);
    handles[0].sync_delivered(&named("a@b")).await.unwrap();
    assert!(handles[0].durable_points().unwrap() > points);
}

#[tokio::test]
async fn many_messages_of_some_size_in_one_append_are_all_there() {
    let pool = Pool::new("bulk", 1);
    let Many { handles, dir: _dir, .. } = many(1, options(), &pool).await;
    let new: Vec<NewMessage> = (0..60)
        .map(|n| {
            let text: String =
                (0..30_000).map(|at| format!("{:05}", (at * 7919 + n) % 99_991)).collect();
            NewMessage { bytes: format!("Subject: {n}\r\n\r\n{text}").into(), ..message("") }
        })
        .collect();
    let appended = handles[0].append("INBOX", new.clone()).await.unwrap();
    handles[0].copy(appended.folder, &all_uids(), "Archive").await.unwrap();
    for (uid, new) in appended.uids.iter().zip(&new) {
        let body = handles[0].body(appended.folder, *uid).await.unwrap().unwrap();
        assert!(body == new.bytes);
    }
    assert_eq!(handles[0].status("Archive").await.unwrap().messages, 60);
}
