//! What an unlock finds: files of older and newer versions, damage, troubles of the system, and what a crash left.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use letterlock_vault::{
    AccountId, AccountKey, AccountSecrets, DeliveryId, Disk, OpenMode, Pool, ServerKey, Storage,
    StorageFile,
};

use crate::{
    Delivery, Event, Filed, Flags, Handle, InternalDate, MailboxError, Mailboxes, ModSeq,
    NewMessage, Options, SelectMode, all_uids,
};

const PAGE: usize = 4_096;

/// The disk, until it is told to refuse to read, or that it is full.
#[derive(Default)]
struct Moody {
    refuses: AtomicBool,
    full: AtomicBool,
}

struct MoodyFile {
    disk: Arc<Moody>,
    file: Arc<dyn StorageFile>,
}

/// The storage of a [`Moody`] disk.
struct Layer(Arc<Moody>);

impl Storage for Layer {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(MoodyFile { disk: Arc::clone(&self.0), file: Disk.open(path, mode)? }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Disk.exists(path)
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        Disk.delete(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }
}

impl StorageFile for MoodyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // The first pages are read, and some of the others are not.
        if self.disk.refuses.load(Ordering::Relaxed) && offset > 20 * PAGE as u64 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if self.disk.full.load(Ordering::Relaxed) && offset > 20 * PAGE as u64 {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.file.write_at(buf, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

struct World {
    dir: tempfile::TempDir,
    disk: Arc<Moody>,
    secrets: AccountSecrets,
    mailboxes: Arc<Mailboxes>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let (secrets, _) =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
        let disk = Arc::<Moody>::default();
        let options = Options { index: false, idle_close: None, ..Options::default() };
        let pool = Pool::with_storage("test", 2, Arc::new(Layer(Arc::clone(&disk))));
        let mailboxes = Mailboxes::new(dir.path(), pool, options);
        mailboxes.create(&secrets).await.unwrap();
        Self { dir, disk, secrets, mailboxes }
    }

    async fn unlock(&self) -> Handle {
        self.mailboxes.unlock(self.secrets.clone(), false).await.unwrap()
    }

    async fn lock(&self) {
        self.mailboxes.lock(self.secrets.account()).await.unwrap();
    }

    fn path(&self) -> PathBuf {
        let accounts = self.dir.path().join("accounts");
        accounts.join(self.secrets.account().to_string()).join("mailbox.db")
    }

    /// Damages a page of the file; answers what the file then holds.
    fn damage(&self, page: usize) -> Vec<u8> {
        let mut octets = std::fs::read(self.path()).unwrap();
        octets[(page - 1) * PAGE + 99] ^= 1;
        std::fs::write(self.path(), &octets).unwrap();
        octets
    }

    /// Whether a damaged file was put aside, or a new one is left.
    fn has_others(&self) -> bool {
        let all = std::fs::read_dir(self.path().parent().unwrap()).unwrap();
        let mut names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| name.contains("damaged") || name.contains("new"))
    }
}

fn mail(number: usize) -> NewMessage {
    NewMessage {
        bytes: format!("Subject: number {number}\r\n\r\n{}", "text\r\n".repeat(50)).into(),
        flags: Flags::default(),
        internal_date: InternalDate::utc(Timestamp::UNIX_EPOCH),
    }
}

async fn fill(handle: &Handle, count: usize) {
    handle.append("INBOX", (0..count).map(mail).collect()).await.unwrap();
}

async fn count(handle: &Handle) -> usize {
    handle.select("INBOX", SelectMode::ReadOnly).await.unwrap().uids.len()
}

async fn harm(handle: &Handle, sql: &'static str) {
    let live = handle.live().unwrap();
    live.durable(move |work| Ok(work.tx.execute_batch(sql)?)).await.unwrap();
}

#[tokio::test]
async fn a_file_of_an_older_version_is_brought_up_to_date() {
    let world = World::new().await;
    let handle = world.unlock().await;
    fill(&handle, 30).await;
    // As the steps before the last two left it.
    harm(&handle, "DROP INDEX messages_flagged; DROP TABLE released; PRAGMA user_version = 3")
        .await;
    world.lock().await;
    let handle = world.unlock().await;
    assert_eq!(count(&handle).await, 30);
    let folder = handle.status("INBOX").await.unwrap().folder;
    assert_eq!(handle.remove(folder, &all_uids()).await.unwrap().len(), 30);
    handle.sweep().await.unwrap();
    let live = handle.live().unwrap();
    let sql = "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM bodies), \
               (SELECT count(*) FROM sqlite_schema WHERE name IN ('released', 'messages_flagged'))";
    let found: (i64, i64, i64) = live
        .read(move |conn, _| {
            Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
        })
        .await
        .unwrap();
    assert_eq!(found, (crate::schema::SCHEMA.len() as i64, 0, 2));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let world = World::new().await;
    harm(&world.unlock().await, "PRAGMA user_version = 99").await;
    world.lock().await;
    let before = std::fs::read(world.path()).unwrap();
    let refused = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap_err();
    assert!(matches!(refused, MailboxError::Storage(_)), "{refused:?}");
    assert!(refused.to_string().contains("schema version 99"), "{refused}");
    assert!(std::fs::read(world.path()).unwrap() == before);
    assert!(!world.has_others());
}

#[tokio::test]
async fn a_disk_that_does_not_read_costs_no_mail() {
    let world = World::new().await;
    let handle = world.unlock().await;
    fill(&handle, 600).await;
    world.lock().await;
    let before = world.damage(1);
    assert!(before.len() > 40 * PAGE);
    world.disk.refuses.store(true, Ordering::Relaxed);
    let refused = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap_err();
    assert!(!matches!(refused, MailboxError::Damaged(_)), "{refused:?}");
    assert!(std::fs::read(world.path()).unwrap() == before);
    assert!(!world.has_others(), "what was begun is gone");
    world.disk.refuses.store(false, Ordering::Relaxed);
    let mut events = world.mailboxes.events();
    assert_eq!(count(&world.unlock().await).await, 600);
    assert_eq!(events.try_recv().unwrap(), Event::WrittenAnew(world.secrets.account()));
}

#[tokio::test]
async fn a_disk_without_room_for_a_new_file_keeps_the_damaged_one_and_no_more() {
    let world = World::new().await;
    fill(&world.unlock().await, 600).await;
    world.lock().await;
    let before = world.damage(1);
    world.disk.full.store(true, Ordering::Relaxed);
    let refused = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap_err();
    assert!(matches!(refused, MailboxError::Full), "{refused:?}");
    assert!(std::fs::read(world.path()).unwrap() == before);
    assert!(!world.has_others());
    world.disk.full.store(false, Ordering::Relaxed);
    assert_eq!(count(&world.unlock().await).await, 600);
}

#[tokio::test]
async fn whichever_page_is_damaged_the_owner_gets_in() {
    let world = World::new().await;
    fill(&world.unlock().await, 60).await;
    world.lock().await;
    let sound = std::fs::read(world.path()).unwrap();
    for page in 1..=sound.len() / PAGE {
        world.damage(page);
        let handle = world.mailboxes.unlock(world.secrets.clone(), false).await;
        assert!(handle.is_ok(), "page {page}: {handle:?}");
        world.mailboxes.kill(world.secrets.account()).await;
        for end in ["db-wal", "db.damaged", "db.damaged-wal"] {
            drop(std::fs::remove_file(world.path().with_extension(end)));
        }
        std::fs::write(world.path(), &sound).unwrap();
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_end_what_takes_long() {
    let world = World::new().await;
    fill(&world.unlock().await, 100).await;
    world.lock().await;
    world.damage(1);
    let mut events = world.mailboxes.events();
    {
        let mut unlocking = Box::pin(world.mailboxes.unlock(world.secrets.clone(), false));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(unlocking.as_mut().poll(&mut context).is_pending());
    }
    let account = world.secrets.account();
    assert_eq!(events.recv().await.unwrap(), Event::WrittenAnew(account));
    assert_eq!(events.recv().await.unwrap(), Event::Open(account));
    assert_eq!(count(&world.mailboxes.handle(account).unwrap()).await, 100);
}

#[tokio::test]
async fn a_crash_while_files_change_places_loses_neither_of_them() {
    let world = World::new().await;
    fill(&world.unlock().await, 100).await;
    world.mailboxes.kill(world.secrets.account()).await;
    let (main, log) = (world.path(), world.path().with_extension("db-wal"));
    let (aside, log_aside) =
        (main.with_extension("db.damaged"), main.with_extension("db.damaged-wal"));
    let octets = [std::fs::read(&main).unwrap(), std::fs::read(&log).unwrap()];
    assert!(octets[1].len() > 10 * PAGE, "the log has the mail");
    for renamed in 1..=2 {
        std::fs::rename(&main, &aside).unwrap();
        if renamed == 2 {
            std::fs::rename(&log, &log_aside).unwrap();
        }
        assert_eq!(count(&world.unlock().await).await, 100);
        world.mailboxes.kill(world.secrets.account()).await;
        assert!(!aside.exists() && !log_aside.exists());
        std::fs::write(&main, &octets[0]).unwrap();
        std::fs::write(&log, &octets[1]).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_does_not_take_the_place_of_an_earlier_one() {
    let world = World::new().await;
    fill(&world.unlock().await, 20).await;
    world.lock().await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(world.damage(1));
        world.unlock().await;
        world.lock().await;
    }
    let first = world.path().with_extension("db.damaged");
    assert!(std::fs::read(&first).unwrap() == kept[0]);
    assert!(std::fs::read(world.path().with_extension("db.damaged9")).unwrap() == kept[9]);
    let last = world.damage(1);
    let refused = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap_err();
    assert!(refused.to_string().contains("too often"), "{refused}");
    assert!(std::fs::read(world.path()).unwrap() == last);
}

#[tokio::test]
async fn an_older_copy_does_not_pass_for_the_newest_by_being_damaged() {
    let world = World::new().await;
    fill(&world.unlock().await, 20).await;
    world.lock().await;
    let older = std::fs::read(world.path()).unwrap();
    let handle = world.unlock().await;
    for _ in 0..3 {
        fill(&handle, 1).await;
    }
    let mark = handle.durable_points().unwrap();
    world.lock().await;
    std::fs::write(world.path(), older).unwrap();
    world.damage(1);
    let handle = world.unlock().await;
    assert!(matches!(handle.check_mark(mark), Err(MailboxError::RolledBack)));
    assert_eq!(count(&handle).await, 20);
    assert!(matches!(handle.append("INBOX", vec![mail(1)]).await, Err(MailboxError::RolledBack)));
}

#[tokio::test]
async fn a_client_is_told_of_all_after_a_file_was_written_anew() {
    let world = World::new().await;
    let handle = world.unlock().await;
    fill(&handle, 20).await;
    let selected = handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
    let mark = handle.durable_points().unwrap();
    world.lock().await;
    world.damage(1);
    let handle = world.unlock().await;
    handle.check_mark(mark).unwrap();
    let again = handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
    assert_eq!((again.uid_validity, &again.uids), (selected.uid_validity, &selected.uids));
    assert!(again.uid_next >= selected.uid_next && again.highest_modseq > selected.highest_modseq);
    // What it knows, and what it may have seen of changes that are lost.
    for since in [selected.highest_modseq, ModSeq(selected.highest_modseq.0 + 5)] {
        let changes = handle.changes(again.folder, since).await.unwrap();
        assert!(changes.full, "{since:?}");
        assert_eq!(changes.changed.len() + changes.arrived.len(), 20);
    }
}

#[tokio::test]
async fn what_was_filed_is_not_filed_twice_after_a_file_was_written_anew() {
    let world = World::new().await;
    let handle = world.unlock().await;
    let id = DeliveryId::generate();
    let delivery = || Delivery {
        id,
        recipient: "a@example.org".to_owned(),
        folder: "INBOX".to_owned(),
        flags: Flags::default(),
        internal_date: InternalDate::utc(Timestamp::UNIX_EPOCH),
        bytes: mail(1).bytes,
    };
    assert!(matches!(handle.deliver(delivery()).await.unwrap(), Filed::New { .. }));
    world.lock().await;
    world.damage(1);
    let handle = world.unlock().await;
    assert!(matches!(handle.deliver(delivery()).await.unwrap(), Filed::Already));
    assert_eq!(count(&handle).await, 1);
}

#[tokio::test]
async fn deleted_mail_does_not_come_back_when_a_file_is_written_anew() {
    let world = World::new().await;
    let handle = world.unlock().await;
    fill(&handle, 10).await;
    // As an expunge leaves a large body until it is cleared away.
    harm(
        &handle,
        "UPDATE bodies SET refs = 0 WHERE id = (SELECT body FROM messages WHERE uid = 3);
         UPDATE folders SET messages = messages - 1, unseen = unseen - 1,
            bytes = bytes - (SELECT size FROM messages WHERE uid = 3) WHERE name = 'INBOX';
         DELETE FROM messages WHERE uid = 3;",
    )
    .await;
    world.lock().await;
    world.damage(1);
    let handle = world.unlock().await;
    assert_eq!(count(&handle).await, 9);
    let folders = handle.folders().await.unwrap();
    assert!(folders.iter().all(|folder| folder.name != "Recovered"), "{folders:?}");
    handle.sweep().await.unwrap();
    let live = handle.live().unwrap();
    let sql = "SELECT count(*) FROM bodies";
    let bodies = live.read(move |conn, _| Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?));
    assert_eq!(bodies.await.unwrap(), 9);
}
