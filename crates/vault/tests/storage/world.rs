//! A disk in memory that records what is done to it, refuses what it is told to refuse,
//! and can say what might be left of it after a power cut at any moment.

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use letterlock_vault::{OpenMode, Storage, StorageFile};

/// Small and seeded, so that a failing round can be run again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(PathBuf, u64),
    Delete(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDir,
    Write(u64, u64, Vec<u8>),
    Truncate(u64, u64),
    Sync(u64),
    /// The test was told that this is durable.
    Promise(u64),
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Vec<u8>>,
    last: u64,
    ops: Vec<Op>,
    recording: bool,
    syncs: BTreeMap<PathBuf, u64>,
    /// Octets that all files may hold together.
    capacity: Option<usize>,
    /// Syncs to refuse, from the next on.
    failing_syncs: u32,
    /// Changes of any kind until one is refused.
    until_failure: Option<u64>,
    /// Whether everything can be synced at once, and how often that was done.
    whole_syncs: Option<u64>,
    /// Reads and looks until one goes wrong, and how.
    until_bad_read: Option<(u64, BadRead)>,
}

/// What becomes of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRead {
    /// The disk says that it cannot.
    Refused,
    /// Fewer octets come than there are.
    Short,
}

#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

struct WorldFile {
    world: World,
    id: u64,
    path: PathBuf,
}

impl World {
    pub(crate) fn recording() -> Self {
        let world = Self::default();
        world.state().recording = true;
        world
    }

    /// A path that no other test uses: the vault refuses to open one twice.
    pub(crate) fn path() -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        PathBuf::from(format!("/world/{}.db", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub(crate) fn promise(&self, number: u64) {
        self.state().note(Op::Promise(number));
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    pub(crate) fn limit(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    pub(crate) fn used(&self) -> usize {
        self.state().used()
    }

    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Refuses the change after the next `changes`; a write is then done by half.
    pub(crate) fn fail_after(&self, changes: u64) {
        self.state().until_failure = Some(changes);
    }

    /// Lets everything be synced at once.
    pub(crate) fn as_one_filesystem(&self) {
        self.state().whole_syncs = Some(0);
    }

    /// How often everything was synced at once.
    pub(crate) fn whole_syncs(&self) -> u64 {
        self.state().whole_syncs.unwrap_or(0)
    }

    /// Lets the read after the next `reads` go wrong; opening, looking for a file and for
    /// its length count as reads.
    pub(crate) fn bad_read_after(&self, reads: u64, kind: BadRead) {
        self.state().until_bad_read = Some((reads, kind));
    }

    /// Whether the bad read asked for is still to come; it does not come any more.
    pub(crate) fn call_off_bad_read(&self) -> bool {
        self.state().until_bad_read.take().is_some()
    }

    /// Whether the failure asked for is still to come.
    pub(crate) fn failure_pending(&self) -> bool {
        self.state().until_failure.is_some()
    }

    pub(crate) fn syncs(&self, path: &Path) -> u64 {
        self.state().syncs.get(path).copied().unwrap_or(0)
    }

    pub(crate) fn octets(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).and_then(|id| state.files.get(id)).cloned()
    }

    pub(crate) fn set_octets(&self, path: &Path, octets: Vec<u8>) {
        let mut state = self.state();
        let id = state.id_for(path);
        state.files.insert(id, octets);
    }

    /// The same files, on a disk of their own.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            names: state.names.clone(),
            files: state.files.clone(),
            last: state.last,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// What a power cut after the first `moment` operations may leave: of what was not
    /// synced, any sectors of any writes, and a beginning of the changes to the folder.
    /// Also the greatest number that was promised until then.
    pub(crate) fn after_power_cut(ops: &[Op], moment: usize, dice: &mut Dice) -> (Self, u64) {
        let mut left = State::default();
        let mut pending: Vec<&Op> = Vec::new();
        let mut folder: Vec<&Op> = Vec::new();
        let mut promised = 0;
        for op in &ops[..moment] {
            match op {
                Op::Promise(number) => promised = promised.max(*number),
                Op::SyncDir => folder.drain(..).for_each(|op| left.apply(op)),
                Op::Create(_, id) => {
                    left.files.entry(*id).or_default();
                    folder.push(op);
                }
                Op::Delete(_) | Op::Rename(..) => folder.push(op),
                Op::Write(..) | Op::Truncate(..) => pending.push(op),
                Op::Sync(id) => {
                    let (now, later) = pending.into_iter().partition(|op| op.file() == Some(*id));
                    let now: Vec<&Op> = now;
                    now.into_iter().for_each(|op| left.apply(op));
                    pending = later;
                }
            }
        }
        let mood = dice.below(4);
        for op in pending {
            match op {
                Op::Write(id, offset, octets) => {
                    for (at, part) in sectors(*offset, octets) {
                        let survives = match mood {
                            0 => true,
                            1 => dice.below(8) > 0,
                            2 => dice.below(2) > 0,
                            _ => dice.below(8) == 0,
                        };
                        if survives {
                            left.apply(&Op::Write(*id, at, part.to_vec()));
                        }
                    }
                }
                _ if dice.below(2) > 0 => left.apply(op),
                _ => {}
            }
        }
        let kept = dice.below(folder.len() + 1);
        folder[..kept].iter().for_each(|op| left.apply(op));
        (Self(Arc::new(Mutex::new(left))), promised)
    }
}

/// The parts of a write that a disk writes as one.
fn sectors(offset: u64, octets: &[u8]) -> Vec<(u64, &[u8])> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < octets.len() {
        let at = offset + start as u64;
        let end = octets.len().min(start + 512 - (at % 512) as usize);
        parts.push((at, &octets[start..end]));
        start = end;
    }
    parts
}

impl Op {
    fn file(&self) -> Option<u64> {
        match self {
            Op::Write(id, ..) | Op::Truncate(id, _) => Some(*id),
            _ => None,
        }
    }
}

impl State {
    fn note(&mut self, op: Op) {
        if self.recording {
            self.ops.push(op);
        }
    }

    fn used(&self) -> usize {
        self.names.values().filter_map(|id| self.files.get(id)).map(Vec::len).sum()
    }

    fn id_for(&mut self, path: &Path) -> u64 {
        if let Some(id) = self.names.get(path) {
            return *id;
        }
        self.last += 1;
        let (path, id) = (path.to_owned(), self.last);
        self.note(Op::Create(path.clone(), id));
        self.names.insert(path, id);
        self.files.insert(id, Vec::new());
        id
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path, id) => {
                self.names.insert(path.clone(), *id);
                self.last = self.last.max(*id);
            }
            Op::Delete(path) => {
                self.names.remove(path);
            }
            Op::Rename(from, to) => {
                if let Some(id) = self.names.remove(from) {
                    self.names.insert(to.clone(), id);
                }
            }
            Op::Write(id, offset, octets) => {
                let file = self.files.entry(*id).or_default();
                let end = *offset as usize + octets.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[end - octets.len()..end].copy_from_slice(octets);
            }
            Op::Truncate(id, len) => {
                self.files.entry(*id).or_default().resize(*len as usize, 0);
            }
            Op::Sync(_) | Op::SyncDir | Op::Promise(_) => {}
        }
    }

    fn act(&mut self, op: Op) {
        self.apply(&op);
        self.note(op);
    }

    fn may_change(&mut self) -> io::Result<()> {
        match self.until_failure {
            Some(0) => {
                self.until_failure = None;
                Err(io::Error::from_raw_os_error(5))
            }
            Some(more) => {
                self.until_failure = Some(more - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether this read is the bad one.
    fn is_bad_read(&mut self) -> Option<BadRead> {
        let (reads, kind) = self.until_bad_read.take()?;
        if reads == 0 {
            return Some(kind);
        }
        self.until_bad_read = Some((reads - 1, kind));
        None
    }

    fn may_look(&mut self) -> io::Result<()> {
        match self.is_bad_read() {
            Some(BadRead::Refused) => Err(io::Error::from_raw_os_error(5)),
            Some(BadRead::Short) | None => Ok(()),
        }
    }

    fn may_sync(&mut self) -> io::Result<()> {
        self.may_change()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}
