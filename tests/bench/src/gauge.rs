//! What the kernel knows about a process and a disk: CPU, memory, octets written, flushes.

use std::io::Write as _;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::{major, minor};

/// A process by its number, of this user.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// User and system time of all its threads so far, in steps of the kernel's clock tick (10 ms as a rule).
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        let stat = self.file("stat")?;
        // The name in brackets may hold anything; utime and stime are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok());
        let ticks = next().zip(next()).map(|(user, system)| user + system);
        let ticks = ticks.context("/proc/PID/stat has no times")?;
        let nanos = ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
        Ok(Duration::from_nanos(nanos))
    }

    /// Files, sockets and the like that it has open.
    pub(crate) fn open_files(self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/fd", self.0);
        Ok(std::fs::read_dir(&path).with_context(|| path)?.count() as f64)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(self) -> anyhow::Result<f64> {
        number(&self.file("status")?, "VmRSS:")
    }

    /// The most resident memory since the start or since [`Process::reset_peak`], in KiB.
    pub(crate) fn peak(self) -> anyhow::Result<f64> {
        number(&self.file("status")?, "VmHWM:")
    }

    pub(crate) fn reset_peak(self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.0);
        std::fs::write(&path, "5").with_context(|| path)
    }

    /// Octets that it had written to the disk, or that wait to be.
    pub(crate) fn written(self) -> anyhow::Result<f64> {
        number(&self.file("io")?, "write_bytes:")
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

fn number(text: &str, key: &str) -> anyhow::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_ascii_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no {key} in /proc"))
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
