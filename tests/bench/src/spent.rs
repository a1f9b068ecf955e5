//! What a load cost: CPU, flushes of the disk, octets written.

use std::path::Path;
use std::time::Duration;

use crate::gauge::{Process, flushes};

/// What the gauges said when the clock started.
pub(crate) struct Start {
    process: Process,
    cpu: Duration,
    own: Duration,
    written: f64,
    flushes: Option<f64>,
}

/// What was spent since, for each message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spent {
    /// The server's user and system time, in milliseconds.
    pub(crate) cpu: f64,
    /// The load program's.
    pub(crate) own: f64,
    /// Flushes of the disk's cache, if the kernel counts them.
    pub(crate) flushes: Option<f64>,
    /// KiB that the server had written.
    pub(crate) written: f64,
}

impl Start {
    pub(crate) fn take(process: Process, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            process,
            cpu: process.cpu()?,
            own: Process::own().cpu()?,
            written: process.written()?,
            flushes: flushes(folder),
        })
    }

    /// What so many messages cost.
    pub(crate) fn spent(&self, folder: &Path, messages: f64) -> anyhow::Result<Spent> {
        // Where a process ends in between, its time may be missed for a moment.
        let each =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e3 / messages;
        let flushed = self.flushes.zip(flushes(folder));
        Ok(Spent {
            cpu: each(self.process.cpu()?, self.cpu),
            own: each(Process::own().cpu()?, self.own),
            flushes: flushed.map(|(then, now)| (now - then) / messages),
            written: (self.process.written()? - self.written) / 1024.0 / messages,
        })
    }
}
