//! Random histories with power cuts, over a disk that loses, tears and reorders what was not synced.
//!
//! What a history leaves must be the state after one of its operations: at least the last whose answer promised
//! durability before the cut. And whatever any session saw, up to the cut, stays true or is known to be lost:
//! no UID names two messages, MODSEQs go on behind all that were seen, and who asks since one that is lost ends
//! with the server's flags. `LETTERLOCK_ROUNDS` asks for more histories, `LETTERLOCK_SEED` for one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use letterlock_mailbox::{
    Expected, Filed, FlagOperation, Flags, Handle, Mailboxes, ModSeq, NewMessage, Options,
    SelectMode, SystemFlags, UidRanges,
};
use letterlock_vault::{
    AccountId, AccountKey, AccountSecrets, DeliveryId, OpenMode, Pool, ServerKey, Storage,
};

use crate::disk::{Dice, World};
use crate::world::{change, delivery, message, options, set};

type Mail = BTreeMap<u32, (String, Flags)>;
/// Names, UIDVALIDITYs and messages.
type State = BTreeMap<String, (u32, Mail)>;

/// What a client knows of a folder.
#[derive(Clone, Debug)]
struct Client {
    name: String,
    uid_validity: u32,
    modseq: ModSeq,
    flags: BTreeMap<u32, Flags>,
}

/// One operation that was answered.
#[derive(Clone)]
struct Event {
    state: State,
    durable: bool,
    epoch: usize,
    mark: u64,
    deliveries: BTreeSet<DeliveryId>,
    clients: Vec<Client>,
    modseq: ModSeq,
    /// The highest UID that was seen of each UIDVALIDITY.
    highest: BTreeMap<u32, u32>,
}

struct History {
    dice: Dice,
    dir: tempfile::TempDir,
    account: AccountId,
    secrets: Vec<AccountSecrets>,
    disk: World,
    pool: Pool,
    mailboxes: Arc<Mailboxes>,
    handle: Handle,
    events: Vec<Event>,
    sent: Vec<DeliveryId>,
    made: usize,
}

fn by_hand() -> Options {
    Options { index: false, ..options() }
}

impl History {
    async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let account = AccountId::generate();
        let (mut secrets, _) = AccountSecrets::generate(account, &AccountKey::random(), &server);
        let mut all = vec![secrets.clone()];
        for _ in 0..12 {
            secrets = secrets.rotate(&AccountKey::random(), &server).0;
            all.push(secrets.clone());
        }
        let disk = World::recording();
        let pool = Pool::with_storage("random", 1, disk.storage());
        let mailboxes = Mailboxes::new(dir.path(), pool.clone(), by_hand());
        mailboxes.create(&all[0]).await.unwrap();
        let handle = mailboxes.unlock(all[0].clone(), false).await.unwrap();
        let mut history = Self {
            dice: Dice::new(seed),
            dir,
            account,
            secrets: all,
            disk,
            pool,
            mailboxes,
            handle,
            events: Vec::new(),
            sent: Vec::new(),
            made: 0,
        };
        let first = Event {
            state: history.look().await,
            durable: true,
            epoch: 0,
            mark: 0,
            deliveries: BTreeSet::new(),
            clients: Vec::new(),
            modseq: ModSeq(0),
            highest: BTreeMap::new(),
        };
        history.events.push(first);
        history.disk.promise(1);
        history
    }

    fn last(&self) -> &Event {
        self.events.last().unwrap()
    }

    /// All that is there.
    async fn look(&self) -> State {
        look(&self.handle).await
    }

    fn pick(&mut self) -> String {
        let names: Vec<String> = self.last().state.keys().cloned().collect();
        names[self.dice.below(names.len())].clone()
    }

    fn some_of(&mut self, mail: &Mail) -> UidRanges {
        let mut some = Vec::new();
        for uid in mail.keys() {
            if self.dice.below(3) == 0 {
                some.push(*uid);
            }
        }
        some.into_iter().collect()
    }

    /// Notes an operation's answer: the model's state is what the session sees now.
    async fn answered(&mut self, durable: bool) {
        let state = self.look().await;
        let mut event = Event { state, durable, ..self.last().clone() };
        for (uid_validity, mail) in event.state.values() {
            let highest = event.highest.entry(*uid_validity).or_insert(0);
            *highest = mail.keys().last().copied().unwrap_or(0).max(*highest);
        }
        event.deliveries.extend(self.sent.iter().copied());
        let names: Vec<&String> = event.state.keys().collect();
        let name = names[self.dice.below(names.len())].clone();
        let selected = self.handle.select(&name, SelectMode::ReadOnly).await.unwrap();
        if let Some((uid_validity, mail)) = event.state.get(&name) {
            let flags = mail.iter().map(|(uid, (_, flags))| (*uid, flags.clone())).collect();
            event.clients.push(Client {
                name,
                uid_validity: *uid_validity,
                modseq: selected.highest_modseq,
                flags,
            });
        }
        event.modseq = event.modseq.max(selected.highest_modseq);
        // What the directory would store now. Only what was told before the cut counts then.
        event.mark = self.handle.durable_points().unwrap();
        self.events.push(event);
        self.disk.promise(self.events.len() as u64);
    }

    async fn step(&mut self) {
        let name = self.pick();
        let (uid_validity, mail) = self.last().state[&name].clone();
        let folder = self.handle.status(&name).await.unwrap().folder;
        let picked = self.some_of(&mail);
        match self.dice.below(17) {
            0..=2 => {
                // Sometimes so many that their bodies go in the background when they are expunged.
                let count = if self.dice.below(5) == 0 { 40 } else { 1 + self.dice.below(3) };
                let new: Vec<NewMessage> =
                    (0..count).map(|n| message(&format!("m{}", self.made + n))).collect();
                self.made += count;
                let answer = self.handle.append(&name, new).await.unwrap();
                let highest = self.last().highest.get(&uid_validity).copied().unwrap_or(0);
                assert!(answer.uids.iter().all(|uid| *uid > highest), "a UID was seen before");
                self.answered(true).await;
            }
            3..=5 => {
                let id = DeliveryId::generate();
                self.sent.push(id);
                let filed = self.handle.deliver(delivery(id, "a@b", &name)).await.unwrap();
                assert!(matches!(filed, Filed::New { .. }));
                self.answered(false).await;
            }
            6..=8 => {
                let system = SystemFlags::from_bits(self.dice.below(32) as u8);
                let operation = [FlagOperation::Set, FlagOperation::Add, FlagOperation::Remove]
                    [self.dice.below(3)];
                let words: &[&str] = [&["Work"][..], &[]][self.dice.below(2)];
                let stored = self
                    .handle
                    .store(folder, &picked, change(operation, system, words), None)
                    .await
                    .unwrap();
                let seen = self.last().modseq;
                let mut moved = stored
                    .changed
                    .iter()
                    .zip(&stored.before)
                    .filter(|(row, before)| row.modseq != **before);
                assert!(moved.all(|(row, _)| row.modseq > seen), "MODSEQ went back");
                self.answered(false).await;
            }
            9 => {
                self.handle.remove(folder, &picked).await.unwrap();
                self.answered(!picked.is_empty()).await;
            }
            10 => {
                let to = self.pick();
                self.handle.copy(folder, &picked, &to).await.unwrap();
                self.answered(true).await;
            }
            11 => {
                let to = self.pick();
                self.handle.move_(folder, &picked, &to).await.unwrap();
                self.answered(true).await;
            }
            12 => self.folders(&name).await,
            13 => {
                self.handle.sync().await.unwrap();
                self.answered(true).await;
            }
            14 => {
                self.handle.index_now().await.unwrap();
                self.answered(false).await;
            }
            15 => {
                self.mailboxes.lock(self.account).await.unwrap();
                let epoch = self.last().epoch;
                self.handle =
                    self.mailboxes.unlock(self.secrets[epoch].clone(), false).await.unwrap();
                self.answered(true).await;
            }
            _ => self.rotate().await,
        }
    }

    async fn folders(&mut self, name: &str) {
        match self.dice.below(3) {
            0 => {
                self.made += 1;
                self.handle.create(&format!("new {}", self.made), None).await.unwrap();
            }
            1 if name != "INBOX" => {
                self.made += 1;
                self.handle.rename(name, &format!("moved {}", self.made)).await.unwrap();
            }
            2 if name.starts_with("moved") => self.handle.delete(name).await.unwrap(),
            _ => self.handle.sync().await.unwrap(),
        }
        self.answered(true).await;
    }

    /// The directory is as durable as a promise: from it on the next epoch counts.
    async fn rotate(&mut self) {
        let epoch = self.last().epoch + 1;
        let Some(next) = self.secrets.get(epoch).cloned() else { return };
        let number = self.events.len() as u64 + 1;
        let disk = self.disk.clone();
        let commit = move || async move {
            disk.promise(number);
            Ok::<_, ()>(())
        };
        self.mailboxes.rotate(self.account, next, |_, _| (), commit).await.unwrap();
        let event = Event { epoch, durable: true, ..self.last().clone() };
        self.events.push(event);
        self.answered(false).await;
    }

    /// The power fails at some moment of the history; another process finds what is left.
    async fn power_cut(&mut self) {
        self.mailboxes.kill(self.account).await;
        let ops = self.disk.ops();
        // From the last third more often: there is more to lose.
        let moment = if self.dice.below(3) == 0 {
            self.dice.below(ops.len() + 1)
        } else {
            ops.len() - self.dice.below(ops.len() / 3 + 1)
        };
        let (left, answered) = World::after_power_cut(&ops, moment, &mut self.dice);
        // Before the account was made there is nothing to ask for.
        let Some(last) = (answered as usize).checked_sub(1) else {
            return self.begin_again().await;
        };
        let seen = self.events[last].clone();
        let least = (0..=last).rev().find(|at| self.events[*at].durable).unwrap();
        self.reopen(&left, seen.epoch).await;

        let state = self.look().await;
        let found = (least..self.events.len()).find(|at| self.events[*at].state == state);
        let at = found.unwrap_or_else(|| {
            panic!("not a state of the history after {least}: {state:#?}\nseen {:#?}", seen.state)
        });
        self.handle.check_mark(seen.mark).unwrap();
        self.check_clients(&seen).await;
        self.check_numbers(&seen, &state).await;
        // What was accepted and is not there is delivered again; what is there is not.
        let delivered = self.events[at].deliveries.clone();
        for id in self.sent.clone() {
            let filed = self.handle.deliver(delivery(id, "a@b", "INBOX")).await.unwrap();
            assert!(!delivered.contains(&id) || filed == Filed::Already, "filed twice");
        }
        self.handle.sync().await.unwrap();
        let expected = Expected {
            sealing: Some(self.secrets[seen.epoch].sealing_public()),
            mark: Some(seen.mark),
        };
        let report =
            self.mailboxes.verify(self.account, &expected, Box::new(|_, _| ())).await.unwrap();
        assert_eq!(report.findings, []);
        let event = Event {
            state: self.look().await,
            durable: true,
            deliveries: self.sent.iter().copied().collect(),
            ..seen
        };
        self.events = vec![event];
        self.disk.promise(1);
    }

    /// A disk of the same files, all of them synced.
    async fn reopen(&mut self, left: &World, epoch: usize) {
        let disk = World::recording();
        let dir = self.dir.path().join("accounts").join(self.account.to_string());
        let mut names = vec!["mailbox.db".to_owned(), "mailbox.new".to_owned()];
        names.extend((1..self.secrets.len()).map(|epoch| format!("mailbox.{epoch}.db")));
        for name in names {
            for end in ["", "-wal", ".new", ".new-wal"] {
                let path = dir.join(format!("{name}{end}"));
                if let Some(octets) = left.octets(&path) {
                    let file = Storage::open(&disk, &path, OpenMode::Create).unwrap();
                    file.write_at(&octets, 0).unwrap();
                    file.sync().unwrap();
                    disk.sync_dir(&path).unwrap();
                }
            }
        }
        self.disk = disk;
        self.pool = Pool::with_storage("random", 1, self.disk.storage());
        self.mailboxes = Mailboxes::new(self.dir.path(), self.pool.clone(), by_hand());
        let mut events = self.mailboxes.events();
        self.handle = self.mailboxes.unlock(self.secrets[epoch].clone(), false).await.unwrap();
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, letterlock_mailbox::Event::SealingKeyDiffers(_)));
        }
        for other in (0..self.secrets.len()).filter(|other| *other != epoch) {
            let name =
                if other == 0 { "mailbox.db".to_owned() } else { format!("mailbox.{other}.db") };
            assert!(
                self.disk.octets(&dir.join(name)).is_none(),
                "the file of epoch {other} is left"
            );
        }
    }

    async fn begin_again(&mut self) {
        let seed = self.dice.next();
        *self = Self::new(seed).await;
    }

    /// Whoever knows an old state, lost or not, catches up.
    async fn check_clients(&mut self, seen: &Event) {
        for client in &seen.clients {
            let Ok(status) = self.handle.status(&client.name).await else { continue };
            if status.uid_validity != client.uid_validity {
                continue;
            }
            let changes = self.handle.changes(status.folder, client.modseq).await.unwrap();
            let mut flags = client.flags.clone();
            flags.retain(|uid, _| !changes.vanished.contains(*uid));
            for row in changes.changed.into_iter().chain(changes.arrived) {
                flags.insert(row.uid, row.flags);
            }
            let real = look(&self.handle).await[&client.name].1.clone();
            let real: BTreeMap<u32, Flags> =
                real.into_iter().map(|(uid, (_, flags))| (uid, flags)).collect();
            assert_eq!(flags, real, "since {}", client.modseq);
        }
    }

    async fn check_numbers(&mut self, seen: &Event, state: &State) {
        for (name, (uid_validity, mail)) in state {
            let status = self.handle.status(name).await.unwrap();
            let before = seen.state.values().find(|(validity, _)| validity == uid_validity);
            let here = before.and_then(|(_, mail)| mail.keys().last()).copied().unwrap_or(0);
            let known = seen.highest.get(uid_validity).copied().unwrap_or(0).max(here);
            assert!(status.uid_next > known, "UID {known} would be given again");
            let Some(uid) = mail.keys().next() else { continue };
            let (word, one) = (format!("w{}", self.made), set(&uid.to_string()));
            self.made += 1;
            for operation in [FlagOperation::Add, FlagOperation::Remove] {
                let stored = self
                    .handle
                    .store(
                        status.folder,
                        &one,
                        change(operation, SystemFlags::NONE, &[&word]),
                        None,
                    )
                    .await
                    .unwrap();
                assert!(stored.changed[0].modseq > seen.modseq, "MODSEQ went back");
            }
        }
    }
}

async fn look(handle: &Handle) -> State {
    let mut state = State::new();
    for folder in handle.folders().await.unwrap() {
        let Some(id) = folder.id else { continue };
        let columns = letterlock_mailbox::Columns { envelope: true, ..Default::default() };
        let rows =
            handle.rows(id, &letterlock_mailbox::all_uids(), columns, 0, 1_000).await.unwrap();
        let mail = rows
            .into_iter()
            .map(|row| {
                let subject = String::from_utf8(row.envelope.unwrap().to_vec()).unwrap();
                (row.uid, (subject, row.flags))
            })
            .collect();
        state.insert(folder.name, (folder.uid_validity, mail));
    }
    state
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn run(seed: u64) {
    let mut history = History::new(seed).await;
    for _ in 0..3 {
        let steps = 5 + history.dice.below(30);
        for _ in 0..steps {
            history.step().await;
        }
        history.power_cut().await;
    }
    history.mailboxes.close_all().await;
}

#[test]
fn what_was_promised_outlives_any_power_cut() {
    let seeds: Vec<u64> = match number("LETTERLOCK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("LETTERLOCK_ROUNDS").unwrap_or(12)).collect(),
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
