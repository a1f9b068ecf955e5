//! Queue and mailbox agree after any power cut: random histories over a disk that loses, tears and reorders what was
//! not synced.
//!
//! Messages are accepted, filed directly or parked, drained and settled, while owners come and go, flag, expunge and
//! get new keys. The power fails at some moment; what is left is opened by another process, its owners come, and when
//! the queue is empty every message whose acceptance was told until then is there once, none is there twice, none
//! whose EXPUNGE was told has come back, and nobody raises an alarm. `LETTERLOCK_ROUNDS` asks for more histories,
//! `LETTERLOCK_SEED` for one of them.

/// The disk of the vault's own tests, which loses power.
#[allow(dead_code, reason = "other parts of it are of use there")]
#[path = "../../../vault/tests/storage/world.rs"]
mod disk;
#[allow(dead_code, unused_imports, reason = "other parts of it are of use there")]
#[path = "../delivery/world.rs"]
mod world;

use std::collections::BTreeMap;

use disk::{Dice, World as Disk};
use letterlock_mailbox::{Expected, FlagChange, FlagOperation, Flags, SystemFlags, UidRanges};
use letterlock_vault::{OpenMode, Storage};
use world::*;

/// What is known of one copy of a message, by the numbers of the promises.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Its acceptance was told.
    accepted: u64,
    /// EXPUNGE was asked for.
    asked: bool,
    /// Its end was told.
    gone: Option<u64>,
}

/// Whose, and the subject.
type Copies = BTreeMap<(usize, String), Fate>;

struct History {
    dice: Dice,
    disk: Disk,
    pool: Pool,
    world: World,
    owners: Vec<Owner>,
    copies: Copies,
    made: usize,
    promises: u64,
    epochs: u32,
    /// From here on the disk holds both accounts.
    base: usize,
}

const ADDRESSES: [&str; 2] = ["ann@a.test", "zoe@a.test"];

/// As [`World::open`], on that disk.
async fn open(dir: TempDir, pool: &Pool) -> World {
    let server = Arc::new(ServerKey::load_or_create(dir.path(), None).unwrap());
    let directory = Directory::open(dir.path(), &server, pool).await.unwrap();
    let queue = Queue::open(dir.path(), &server, pool).await.unwrap();
    let retention = letterlock_config::Retention::default();
    let state = State::open(dir.path(), &server, pool, retention).await.unwrap();
    let options = Options { idle_close: None, index: false, ..Options::default() };
    let mailboxes = Mailboxes::new(dir.path(), pool.clone(), options);
    let guard = Guard::new(&letterlock_config::Limits::default(), Instant::now());
    let settings =
        Settings { argon2: Argon2Cost::FLOOR, argon2_parallel: 1, sessions_per_account: 9 };
    let login = Login::new(directory.clone(), mailboxes.clone(), guard, server.clone(), settings);
    let login = Arc::new(login);
    let (sender, _) = settler(queue.clone(), mailboxes.clone());
    let intake = Intake::new(
        directory.clone(),
        mailboxes.clone(),
        queue.clone(),
        login.clone(),
        sender,
        Forwarding::new(&server, None),
    );
    let (intake, told) = (Arc::new(intake), Arc::new(Told::default()));
    World { dir, server, directory, mailboxes, queue, login, intake, state, told, drainer: None }
}

impl History {
    async fn new(seed: u64) -> Self {
        let disk = Disk::recording();
        let pool = Pool::with_storage("agree", 2, disk.storage());
        let mut world = open(tempfile::tempdir().unwrap(), &pool).await;
        world.add_domain("a.test").await;
        let mut owners = Vec::new();
        for address in ADDRESSES {
            owners.push(world.add(address, KeyMode::UserHeld).await);
        }
        world.start();
        let base = disk.ops().len();
        Self {
            dice: Dice::new(seed),
            disk,
            pool,
            world,
            owners,
            copies: Copies::new(),
            made: 0,
            promises: 0,
            epochs: 0,
            base,
        }
    }

    /// The test was told something.
    fn promise(&mut self) -> u64 {
        self.promises += 1;
        self.disk.promise(self.promises);
        self.promises
    }

    async fn step(&mut self) {
        let who = self.dice.below(2);
        let id = self.owners[who].id;
        match self.dice.below(16) {
            0..=6 => self.accept(who).await,
            7 | 8 => drop(self.world.unlock(&self.owners[who]).await),
            9 => self.world.mailboxes.lock(id).await.unwrap(),
            10 => self.settled().await,
            11 => {
                let marks = self.world.mailboxes.marks();
                self.world.directory.set_marks(marks).await.unwrap();
            }
            12 | 13 => self.flag(who).await,
            14 => self.expunge(who).await,
            _ => self.rotate(who).await,
        }
    }

    /// Some messages at once, to one or both.
    async fn accept(&mut self, who: usize) {
        let to: Vec<usize> = if self.dice.below(3) == 0 { vec![0, 1] } else { vec![who] };
        let addresses: Vec<&str> = to.iter().map(|at| ADDRESSES[*at]).collect();
        let first = self.made;
        self.made += 1 + self.dice.below(4);
        let accepting: Vec<_> = (first..self.made)
            .map(|number| {
                let incoming = incoming(&format!("m{number}"), &addresses);
                let intake = self.world.intake.clone();
                tokio::spawn(async move { intake.accept(incoming).await.unwrap() })
            })
            .collect();
        for one in accepting {
            one.await.unwrap();
        }
        let accepted = self.promise();
        for number in first..self.made {
            for at in &to {
                let fate = Fate { accepted, asked: false, gone: None };
                self.copies.insert((*at, format!("m{number}")), fate);
            }
        }
    }

    /// Waits until the queue is empty of what those get who are there.
    async fn settled(&mut self) {
        for owner in &self.owners {
            if self.world.mailboxes.state(owner.id) != MailboxState::Locked {
                self.world.settled(owner).await;
            }
        }
    }

    async fn flag(&mut self, who: usize) {
        let Some(handle) = self.world.mailboxes.handle(self.owners[who].id) else { return };
        let folder = handle.select("INBOX", SelectMode::ReadOnly).await.unwrap().folder;
        let flags = Flags { system: SystemFlags::SEEN, ..Flags::default() };
        let change = FlagChange { operation: FlagOperation::Add, flags };
        handle.store(folder, &all_uids(), change, None).await.unwrap();
    }

    async fn expunge(&mut self, who: usize) {
        let Some(handle) = self.world.mailboxes.handle(self.owners[who].id) else { return };
        let selected = handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
        let mut going = Vec::new();
        for uid in selected.uids.iter().copied() {
            if self.dice.below(3) > 0 {
                continue;
            }
            let body = handle.body(selected.folder, uid).await.unwrap().unwrap();
            let subject = subject(&body);
            // One whose acceptance was told, as nothing is under way now.
            self.copies.get_mut(&(who, subject.clone())).unwrap().asked = true;
            going.push((uid, subject));
        }
        let uids: UidRanges = going.iter().map(|(uid, _)| *uid).collect();
        handle.remove(selected.folder, &uids).await.unwrap();
        let gone = self.promise();
        for (_, subject) in going {
            self.copies.get_mut(&(who, subject)).unwrap().gone = Some(gone);
        }
    }

    async fn rotate(&mut self, who: usize) {
        let owner = &self.owners[who];
        let Some(handle) = self.world.mailboxes.handle(owner.id) else { return };
        let (next, wrapped) = handle.secrets().unwrap().rotate(&owner.key, &self.world.server);
        self.epochs = self.epochs.max(next.epoch());
        let (directory, id) = (self.world.directory.clone(), owner.id);
        let commit = move || async move { directory.set_secrets(id, wrapped).await };
        self.world.mailboxes.rotate(id, next, |_, _| (), commit).await.unwrap();
    }

    /// The power fails at some moment; another process finds what is left.
    async fn power_cut(&mut self) {
        let ops = self.disk.ops();
        let since = ops.len() - self.base;
        // Near the end more often: there is more to lose.
        let back = match self.dice.below(3) {
            0 => self.dice.below(since + 1),
            _ => self.dice.below(since / 5 + 1),
        };
        let (left, told) = Disk::after_power_cut(&ops, ops.len() - back, &mut self.dice);
        self.reopen(&left).await;
        let mut there = Copies::new();
        for who in 0..ADDRESSES.len() {
            let handle = self.world.unlock(&self.owners[who]).await;
            self.world.settled(&self.owners[who]).await;
            for (subject, count) in self.check(who, &handle, told).await {
                assert_eq!(count, 1, "{subject} is there {count} times");
                there.insert((who, subject), Fate { accepted: 0, asked: false, gone: None });
            }
        }
        let world = &self.world;
        until("the queue is empty", async || world.queue.counts().await.unwrap().entries == 0)
            .await;
        self.copies = there;
    }

    /// What is in the mailbox, which has all that it must have and nothing that it must not.
    async fn check(&self, who: usize, handle: &Handle, told: u64) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for subject in subjects(handle).await {
            *found.entry(subject).or_insert(0) += 1;
        }
        for ((_, subject), fate) in self.copies.iter().filter(|((at, _), _)| *at == who) {
            let is_there = found.contains_key(subject);
            if fate.gone.is_some_and(|gone| gone <= told) {
                assert!(!is_there, "{subject} came back: {fate:?}, told {told}");
            } else if fate.accepted <= told && !fate.asked {
                assert!(is_there, "{subject} is lost: {fate:?}, told {told}");
            }
        }
        let known = |subject: &&String| !self.copies.contains_key(&(who, (*subject).clone()));
        assert_eq!(found.keys().find(known), None, "an earlier cut had taken it for good");
        let id = self.owners[who].id;
        let mark = self.world.directory.snapshot().mark(id);
        handle.check_mark(mark).unwrap();
        let sealing = Some(handle.secrets().unwrap().sealing_public());
        let expected = Expected { sealing, mark: Some(mark) };
        let report = self.world.mailboxes.verify(id, &expected, Box::new(|_, _| ())).await.unwrap();
        assert_eq!(report.findings, []);
        found
    }

    /// Ends this process, and starts another one on a disk that holds what is left, all of it synced.
    async fn reopen(&mut self, left: &Disk) {
        for owner in &self.owners {
            self.world.mailboxes.kill(owner.id).await;
        }
        let spare = tempfile::tempdir().unwrap();
        let dir = std::mem::replace(&mut self.world.dir, spare);
        let disk = Disk::recording();
        for path in self.paths(dir.path()) {
            if let Some(octets) = left.octets(&path) {
                let file = Storage::open(&disk, &path, OpenMode::Create).unwrap();
                file.write_at(&octets, 0).unwrap();
                file.sync().unwrap();
                disk.sync_dir(&path).unwrap();
            }
        }
        if let Some(drainer) = self.world.drainer.take() {
            drainer.abort();
        }
        let old = std::mem::replace(&mut self.pool, Pool::with_storage("agree", 2, disk.storage()));
        tokio::task::spawn_blocking(move || old.shutdown()).await.unwrap();
        self.base = disk.ops().len();
        self.disk = disk;
        self.promises = 0;
        self.world = open(dir, &self.pool).await;
        self.world.start();
    }

    fn paths(&self, dir: &Path) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> =
            ["directory.db", "queue.db", "state.db"].map(|name| dir.join(name)).into();
        for owner in &self.owners {
            let folder = dir.join("accounts").join(owner.id.to_string());
            files.push(folder.join("mailbox.db"));
            files.extend((1..=self.epochs).map(|n| folder.join(format!("mailbox.{n}.db"))));
        }
        let ends = ["", "-wal", ".new", ".new-wal"];
        let beside = |file: &std::path::PathBuf| {
            let name = file.to_string_lossy().into_owned();
            ends.map(|end| std::path::PathBuf::from(format!("{name}{end}")))
        };
        files.iter().flat_map(beside).collect()
    }
}

fn subject(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn run(seed: u64) {
    let mut history = History::new(seed).await;
    for _ in 0..3 {
        let steps = 5 + history.dice.below(25);
        for _ in 0..steps {
            history.step().await;
        }
        history.power_cut().await;
    }
}

#[test]
fn queue_and_mailbox_agree_after_any_power_cut() {
    let seeds: Vec<u64> = match number("LETTERLOCK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("LETTERLOCK_ROUNDS").unwrap_or(4)).collect(),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        if let Err(panic) = outcome {
            eprintln!("the history of LETTERLOCK_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
