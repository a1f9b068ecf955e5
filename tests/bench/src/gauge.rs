//! What the kernel knows about a process and a disk: CPU, memory, octets written, flushes.

use std::io::Write as _;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::{major, minor};

/// A process by its number, and whom else it stands for.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32, Kin);

/// Who is measured with a process.
#[derive(Clone, Copy)]
enum Kin {
    /// Nobody.
    Alone,
    /// All that it started.
    Children,
    /// And another process with all that that one started.
    Other(u32),
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pid, Kin::Children)
    }

    /// A server of two programs.
    pub(crate) fn several(pid: u32, others: &[u32]) -> Self {
        Self(pid, others.first().map_or(Kin::Children, |other| Kin::Other(*other)))
    }

    /// It and its children, their children and so on. A server of many processes is measured as a whole.
    fn family(self) -> Vec<Self> {
        let mut family = vec![Self::new(self.0)];
        match self.1 {
            Kin::Alone => return family,
            Kin::Children => {}
            Kin::Other(other) => family.push(Self::new(other)),
        }
        let mut next = 0;
        while let Some(member) = family.get(next) {
            let path = format!("/proc/{0}/task/{0}/children", member.0);
            let children = std::fs::read_to_string(path).unwrap_or_default();
            let numbers =
                children.split_ascii_whitespace().filter_map(|number| number.parse().ok());
            family.extend(numbers.map(Self::new));
            next += 1;
        }
        family
    }

    /// This process, without the server that it started.
    pub(crate) fn own() -> Self {
        Self(std::process::id(), Kin::Alone)
    }

    /// User and system time of all its threads so far, and of the children that it waited for, in steps of the
    /// kernel's clock tick (10 ms as a rule).
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        let mut ticks = own_ticks(&self.file("stat")?)?;
        // A child may end while it is looked at; its parent then has its time.
        let children = self.family().into_iter().skip(1);
        ticks +=
            children.filter_map(|child| own_ticks(&child.file("stat").ok()?).ok()).sum::<u64>();
        let nanos = ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
        Ok(Duration::from_nanos(nanos))
    }

    /// Files, sockets and the like that it has open.
    pub(crate) fn open_files(self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/fd", self.0);
        Ok(std::fs::read_dir(&path).with_context(|| path)?.count() as f64)
    }

    /// Resident memory in KiB; pages that several processes share count for each of them.
    pub(crate) fn resident(self) -> anyhow::Result<f64> {
        self.sum("status", "VmRSS:")
    }

    /// Memory in KiB, where a page that several processes share counts once in all.
    pub(crate) fn proportional(self) -> anyhow::Result<f64> {
        self.sum("smaps_rollup", "Pss:")
    }

    /// How many processes it is.
    pub(crate) fn count(self) -> f64 {
        self.family().len() as f64
    }

    /// The most resident memory since the start or since [`Process::reset_peak`], in KiB.
    pub(crate) fn peak(self) -> anyhow::Result<f64> {
        self.sum("status", "VmHWM:")
    }

    pub(crate) fn reset_peak(self) -> anyhow::Result<()> {
        for member in self.family() {
            // Whoever ended meanwhile has no peak.
            let _ = std::fs::write(format!("/proc/{}/clear_refs", member.0), "5");
        }
        Ok(())
    }

    /// Octets that it had written to the disk, or that wait to be.
    pub(crate) fn written(self) -> anyhow::Result<f64> {
        self.sum("io", "write_bytes:")
    }

    fn sum(self, file: &str, key: &str) -> anyhow::Result<f64> {
        let own = number(&self.file(file)?, key)?;
        let children = self.family().into_iter().skip(1);
        let theirs = children.filter_map(|child| number(&child.file(file).ok()?, key).ok());
        Ok(own + theirs.sum::<f64>())
    }

    fn file(self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.0);
        std::fs::read_to_string(&path).with_context(|| path)
    }

    /// Waits until the process does nothing: less than 20 ms of CPU in half a second. At most ten seconds.
    pub(crate) async fn quiet(self) -> anyhow::Result<()> {
        let mut before = self.cpu()?;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) < Duration::from_millis(20) {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

/// utime, stime, cutime and cstime of `/proc/PID/stat`.
fn own_ticks(stat: &str) -> anyhow::Result<u64> {
    // The name in brackets may hold anything; the four times begin with the 12th field after it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let times = fields.split_ascii_whitespace().skip(11).take(4);
    let times: Vec<u64> = times.filter_map(|field| field.parse().ok()).collect();
    match times.len() {
        4 => Ok(times.iter().sum()),
        _ => Err(anyhow::anyhow!("/proc/PID/stat has no times")),
    }
}

fn number(text: &str, key: &str) -> anyhow::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_ascii_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no {key} in /proc"))
}

/// KiB of memory that the machine can still give.
pub(crate) fn memory_available() -> anyhow::Result<f64> {
    number(&std::fs::read_to_string("/proc/meminfo")?, "MemAvailable:")
}

/// Flushes of the disk's cache that were done so far on the disk that holds `path`, by anybody. `None` where the
/// kernel does not count them, as for partitions and for disks without such a cache.
pub(crate) fn flushes(path: &Path) -> Option<f64> {
    let device = std::fs::metadata(path).ok()?.st_dev();
    let file = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let cache = std::fs::read_to_string(format!("{file}/queue/write_cache")).ok()?;
    if cache.trim() != "write back" {
        return None;
    }
    let stat = std::fs::read_to_string(format!("{file}/stat")).ok()?;
    stat.split_ascii_whitespace().nth(15)?.parse().ok()
}

/// How long it takes here to append 4 KiB to a file and sync them: the median of some tries, in milliseconds.
pub(crate) fn sync_cost(folder: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..32 {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::report::median(&times))
}
