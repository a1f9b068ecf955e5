//! Random histories against a model that is plain maps, with clients that follow by asking for changes.

use std::collections::{BTreeMap, BTreeSet};

use letterlock_mailbox::{
    Columns, FlagOperation, FlagRow, Flags, FolderId, Handle, ModSeq, NewMessage, SelectMode,
    SystemFlags, UidRanges, all_uids,
};
use proptest::prelude::*;

use crate::world::{World, change, message};

const FOLDERS: [&str; 3] = ["INBOX", "Sent", "Trash"];
const WORDS: [&str; 3] = ["Work", "$Label1", "later"];

#[derive(Debug, Clone)]
enum Step {
    Append {
        folder: usize,
        count: usize,
        system: u8,
    },
    Store {
        folder: usize,
        pick: u64,
        operation: u8,
        system: u8,
        word: usize,
    },
    Expunge {
        folder: usize,
        pick: Option<u64>,
    },
    Remove {
        folder: usize,
        pick: u64,
    },
    Copy {
        folder: usize,
        pick: u64,
        to: usize,
    },
    Move {
        folder: usize,
        pick: u64,
        to: usize,
    },
    /// A client catches up.
    Follow {
        folder: usize,
    },
    Crash,
    Relock,
}

fn step() -> impl Strategy<Value = Step> {
    let folder = 0..FOLDERS.len();
    prop_oneof![
        4 => (folder.clone(), 1..4usize, 0..32u8).prop_map(|(folder, count, system)| Step::Append { folder, count, system }),
        6 => (folder.clone(), any::<u64>(), 0..3u8, 0..32u8, 0..4usize)
            .prop_map(|(folder, pick, operation, system, word)| Step::Store { folder, pick, operation, system, word }),
        2 => (folder.clone(), any::<Option<u64>>()).prop_map(|(folder, pick)| Step::Expunge { folder, pick }),
        1 => (folder.clone(), any::<u64>()).prop_map(|(folder, pick)| Step::Remove { folder, pick }),
        2 => (folder.clone(), any::<u64>(), folder.clone()).prop_map(|(folder, pick, to)| Step::Copy { folder, pick, to }),
        2 => (folder.clone(), any::<u64>(), folder.clone()).prop_map(|(folder, pick, to)| Step::Move { folder, pick, to }),
        4 => folder.prop_map(|folder| Step::Follow { folder }),
        1 => Just(Step::Crash),
        1 => Just(Step::Relock),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Mail {
    flags: Flags,
    subject: String,
}

/// A folder as it should be, and a client's idea of it.
#[derive(Debug, Default)]
struct Folder {
    id: Option<FolderId>,
    mail: BTreeMap<u32, Mail>,
    /// No UID up to this one may come again.
    highest: u32,
    client: BTreeMap<u32, Flags>,
    since: ModSeq,
}

struct Model {
    folders: Vec<Folder>,
    made: usize,
}

/// Some of the messages, by the bits of a number.
fn picked(folder: &Folder, pick: u64) -> UidRanges {
    folder
        .mail
        .keys()
        .enumerate()
        .filter(|(at, _)| pick >> (at % 64) & 1 == 1)
        .map(|(_, uid)| *uid)
        .collect()
}

impl Model {
    async fn new(handle: &Handle) -> Self {
        let mut folders = Vec::new();
        for name in FOLDERS {
            folders.push(Folder {
                id: Some(handle.status(name).await.unwrap().folder),
                ..Folder::default()
            });
        }
        Self { folders, made: 0 }
    }

    fn arrive(&mut self, to: usize, uid: u32, mail: Mail) {
        let folder = &mut self.folders[to];
        assert!(uid > folder.highest, "UID {uid} came again");
        folder.highest = uid;
        folder.mail.insert(uid, mail);
    }

    async fn run(&mut self, world: &World, handle: &mut Handle, step: Step) {
        match step {
            Step::Append { folder, count, system } => {
                self.append(handle, folder, count, system).await
            }
            Step::Store { folder, pick, operation, system, word } => {
                self.store(handle, folder, pick, operation, SystemFlags::from_bits(system), word)
                    .await;
            }
            Step::Expunge { folder, pick } => {
                let ranges = pick.map(|pick| picked(&self.folders[folder], pick));
                let gone = handle.expunge(self.id(folder), ranges.as_ref()).await.unwrap();
                let ranges = ranges.unwrap_or_else(all_uids);
                let mail = &self.folders[folder].mail;
                let deleted = mail
                    .iter()
                    .filter(|(_, mail)| mail.flags.system.contains(SystemFlags::DELETED));
                let expected: Vec<u32> =
                    deleted.map(|(uid, _)| *uid).filter(|uid| ranges.contains(*uid)).collect();
                assert_eq!(gone, expected);
                self.folders[folder].mail.retain(|uid, _| !gone.contains(uid));
            }
            Step::Remove { folder, pick } => {
                let ranges = picked(&self.folders[folder], pick);
                let gone = handle.remove(self.id(folder), &ranges).await.unwrap();
                assert_eq!(gone, ranges.iter().collect::<Vec<_>>());
                self.folders[folder].mail.retain(|uid, _| !ranges.contains(*uid));
            }
            Step::Copy { folder, pick, to } => self.carry(handle, folder, pick, to, false).await,
            Step::Move { folder, pick, to } => self.carry(handle, folder, pick, to, true).await,
            Step::Follow { folder } => self.follow(handle, folder).await,
            Step::Crash => *handle = world.crash().await,
            Step::Relock => {
                world.mailboxes.lock(world.account()).await.unwrap();
                *handle = world.unlock().await;
            }
        }
    }

    fn id(&self, folder: usize) -> FolderId {
        self.folders[folder].id.unwrap()
    }

    async fn append(&mut self, handle: &Handle, folder: usize, count: usize, system: u8) {
        let flags = Flags::from(SystemFlags::from_bits(system));
        let subjects: Vec<String> =
            (0..count).map(|n| format!("number {}", self.made + n)).collect();
        self.made += count;
        let new = subjects
            .iter()
            .map(|subject| NewMessage { flags: flags.clone(), ..message(subject) })
            .collect();
        let uids = handle.append(FOLDERS[folder], new).await.unwrap().uids;
        for (uid, subject) in uids.into_iter().zip(subjects) {
            self.arrive(folder, uid, Mail { flags: flags.clone(), subject });
        }
    }

    async fn store(
        &mut self,
        handle: &Handle,
        folder: usize,
        pick: u64,
        operation: u8,
        system: SystemFlags,
        word: usize,
    ) {
        let ranges = picked(&self.folders[folder], pick);
        let words: Vec<&str> = WORDS.get(word).copied().into_iter().collect();
        let operation =
            [FlagOperation::Set, FlagOperation::Add, FlagOperation::Remove][usize::from(operation)];
        let outcome = handle
            .store(self.id(folder), &ranges, change(operation, system, &words), None)
            .await
            .unwrap();
        for (uid, mail) in
            self.folders[folder].mail.iter_mut().filter(|(uid, _)| ranges.contains(**uid))
        {
            let named: BTreeSet<String> = words.iter().map(|word| (*word).to_owned()).collect();
            match operation {
                FlagOperation::Set => mail.flags = Flags { system, keywords: named },
                FlagOperation::Add => {
                    mail.flags.system |= system;
                    mail.flags.keywords.extend(named);
                }
                FlagOperation::Remove => {
                    mail.flags.system = mail.flags.system.without(system);
                    mail.flags.keywords.retain(|word| !named.contains(word));
                }
            }
            let row = outcome.changed.iter().find(|row| row.uid == *uid).unwrap();
            assert_eq!(row.flags, mail.flags);
        }
        assert_eq!(outcome.changed.len() as u64, ranges.len());
    }

    async fn carry(&mut self, handle: &Handle, from: usize, pick: u64, to: usize, moving: bool) {
        let ranges = picked(&self.folders[from], pick);
        let copied = if moving {
            handle.move_(self.id(from), &ranges, FOLDERS[to]).await.unwrap()
        } else {
            handle.copy(self.id(from), &ranges, FOLDERS[to]).await.unwrap()
        };
        assert_eq!(copied.pairs.iter().map(|pair| pair.0).collect::<UidRanges>(), ranges);
        for (old, new) in copied.pairs {
            let mail = self.folders[from].mail[&old].clone();
            if moving {
                self.folders[from].mail.remove(&old);
            }
            self.arrive(to, new, mail);
        }
    }

    /// The client asks what changed, and then knows the folder as it is.
    async fn follow(&mut self, handle: &Handle, at: usize) {
        let id = self.id(at);
        let folder = &mut self.folders[at];
        let changes = handle.changes(id, folder.since).await.unwrap();
        assert!(!changes.full, "nothing was lost");
        assert!(changes.to >= folder.since);
        folder.client.retain(|uid, _| !changes.vanished.contains(*uid));
        for FlagRow { uid, modseq, flags } in changes.changed {
            assert!(modseq > folder.since && modseq <= changes.to);
            assert!(
                folder.client.insert(uid, flags).is_some(),
                "{uid} changed, but was never there"
            );
        }
        for FlagRow { uid, flags, .. } in changes.arrived {
            assert!(folder.client.insert(uid, flags).is_none(), "{uid} arrived twice");
        }
        folder.since = changes.to;
        let real: BTreeMap<u32, Flags> =
            folder.mail.iter().map(|(uid, mail)| (*uid, mail.flags.clone())).collect();
        assert_eq!(folder.client, real);
    }

    /// Everything is as it should be, counters too.
    async fn check(&mut self, handle: &Handle) {
        let mut usage = 0;
        for (at, name) in FOLDERS.iter().enumerate() {
            self.follow(handle, at).await;
            let folder = &self.folders[at];
            let status = handle.status(name).await.unwrap();
            let lacking = |flag| {
                folder.mail.values().filter(|mail| !mail.flags.system.contains(flag)).count()
            };
            assert_eq!(status.messages as usize, folder.mail.len());
            assert_eq!(status.unseen as usize, lacking(SystemFlags::SEEN));
            assert_eq!(status.deleted as usize, folder.mail.len() - lacking(SystemFlags::DELETED));
            assert_eq!(status.highest_modseq, folder.since);
            assert!(status.uid_next > folder.highest);
            let selected = handle.select(name, SelectMode::ReadWrite).await.unwrap();
            assert!(selected.uids.iter().eq(folder.mail.keys()));
            let unseen =
                folder.mail.iter().find(|(_, mail)| !mail.flags.system.contains(SystemFlags::SEEN));
            assert_eq!(selected.unseen, unseen.map(|(uid, _)| *uid));
            let columns = Columns { header: true, ..Columns::default() };
            let rows = handle.rows(selected.folder, &all_uids(), columns, 0, 1_000).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.size).sum::<u64>(), status.size);
            usage += status.size;
            for row in rows {
                let header = String::from_utf8(row.header.unwrap().to_vec()).unwrap();
                let subject = format!("Subject: {}\r\n", folder.mail[&row.uid].subject);
                assert!(header.contains(&subject), "{header:?}");
                let body = handle.body(selected.folder, row.uid).await.unwrap().unwrap();
                assert!(body.starts_with(header.as_bytes()));
            }
        }
        assert_eq!(handle.usage().await.unwrap().octets, usage);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_that_of_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, mut handle) = World::open().await;
            let mut model = Model::new(&handle).await;
            for step in steps {
                model.run(&world, &mut handle, step).await;
            }
            model.check(&handle).await;
            let handle = world.crash().await;
            model.check(&handle).await;
        });
    }
}
