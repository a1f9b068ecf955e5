//! The write-ahead log: frames, each sealed with its header as one.
//!
//! SQLite (wal.c) writes a frame as 24 octets of header and then 4096 of page. It also
//! writes a page alone, over a frame of the transaction under way (after a cache spill),
//! and then, before the commit, headers alone with new checksums, each after reading
//! its whole frame. On disk there are only whole frames.

use std::sync::Arc;

use rusqlite::ffi;
use zeroize::Zeroizing;

use crate::pool::lock;
use crate::storage::StorageFile;

use super::batch::{Batch, Outcome};
use super::cipher::{Place, Unauthentic};
use super::main_file::{Scratch, is_zero, read_all, with_scratch};
use super::{
    Entry, FRAME, FRAME_HEADER, LOG_HEADER, LogPosition, PAGE_SIZE, Stage, USABLE, fault,
    frame_offset,
};

/// Octets of a frame in the clear.
const PLAIN: usize = FRAME_HEADER + USABLE;

pub(super) struct LogFile {
    entry: Arc<Entry>,
    file: Arc<dyn StorageFile>,
    /// Those of the log's header, once it was read or written.
    salts: Option<[u8; 8]>,
    phase: Phase,
    /// A header whose page has not come yet.
    pending: Option<(u32, [u8; FRAME_HEADER])>,
    /// Frames that are not written yet.
    batch: Batch,
    /// From this frame on, frames of the transaction under way were not written, and SQLite
    /// was told of it when it did something else, so that it may not know which.
    lost_from: Option<u32>,
    /// The frame just read whole, while writing: a header alone is about to be put on it.
    whole: Option<(u32, Box<Zeroizing<[u8; PLAIN]>>)>,
}

/// What an unauthentic frame means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The log is being recovered: it is where the log ends.
    Reading,
    /// We wrote to the log: it is damage.
    Writing,
}

/// What part of a log SQLite reads or writes.
enum Part {
    Header(std::ops::Range<usize>),
    Frame(u32, std::ops::Range<usize>),
}

impl LogFile {
    pub(super) fn open(entry: Arc<Entry>, file: Arc<dyn StorageFile>) -> Self {
        Self {
            entry,
            file,
            salts: None,
            phase: Phase::Reading,
            pending: None,
            batch: Batch::default(),
            lost_from: None,
            whole: None,
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<(), i32> {
        self.flush()?;
        match part(offset, buf.len()).ok_or(ffi::SQLITE_IOERR_READ)? {
            Part::Header(range) => self.read_header(buf, range),
            Part::Frame(frame, range) if range == (0..FRAME) => self.read_whole(buf, frame),
            Part::Frame(frame, range) => self.read_part(buf, frame, range),
        }
    }

    pub(super) fn write(&mut self, buf: &[u8], offset: u64) -> Result<(), i32> {
        self.entry.may_write()?;
        let part = part(offset, buf.len());
        match part {
            Some(Part::Header(range)) if range == (0..LOG_HEADER) => {
                self.flush()?;
                self.write_log_header(buf)
            }
            Some(Part::Frame(frame, range)) if range == (0..FRAME_HEADER) => {
                self.flush()?;
                let mut header = [0; FRAME_HEADER];
                header.copy_from_slice(buf);
                self.write_frame_header(frame, header)
            }
            Some(Part::Frame(frame, range)) if range == (FRAME_HEADER..FRAME) => {
                self.write_page(frame, buf)
            }
            _ => {
                tracing::error!(offset, length = buf.len(), "refused to write what is no frame");
                Err(ffi::SQLITE_IOERR_WRITE)
            }
        }
    }

    pub(super) fn truncate(&mut self, len: u64) -> Result<(), i32> {
        self.entry.may_write()?;
        self.flush()?;
        self.write_batch()?;
        self.whole = None;
        self.file
            .truncate(len)
            .map_err(|error| fault::io(&self.entry.log_path, &error, ffi::SQLITE_IOERR_TRUNCATE))?;
        if len < LOG_HEADER as u64 {
            self.salts = None;
            lock(&self.entry.shared).position = LogPosition::default();
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), i32> {
        self.flush()?;
        self.write_batch()?;
        self.entry
            .sync_log(self.file.as_ref())
            .map_err(|error| fault::io(&self.entry.log_path, &error, ffi::SQLITE_IOERR_FSYNC))
    }

    pub(super) fn len(&mut self) -> Result<u64, i32> {
        self.write_batch()?;
        self.file
            .len()
            .map_err(|error| fault::io(&self.entry.log_path, &error, ffi::SQLITE_IOERR_FSTAT))
    }

    fn read_header(&mut self, buf: &mut [u8], range: std::ops::Range<usize>) -> Result<(), i32> {
        let read = self.read_at(buf, range.start as u64)?;
        if read < buf.len() {
            buf[read..].fill(0);
            return Err(ffi::SQLITE_IOERR_SHORT_READ);
        }
        if range != (0..LOG_HEADER) {
            return Ok(());
        }
        if !is_log_header(buf) && self.len()? >= (LOG_HEADER + FRAME) as u64 {
            // SQLite would take it for an empty log and drop what is committed there. A
            // header is synced before any frame follows it: no power cut does this.
            let damaged = fault::damaged(&self.entry.log_path, 0);
            if self.entry.stage == Stage::Settled {
                buf.fill(0);
                return Err(damaged);
            }
            if !self.mend(buf)? {
                tracing::error!(file = %self.entry.log_path.display(), "read without its log");
                // Zeros are no header: SQLite takes the log for an empty one.
                buf.fill(0);
                return Ok(());
            }
        }
        self.know_salts(buf);
        Ok(())
    }

    /// Finds the header that this one was before one octet of it was changed: its checksum
    /// is right, and the first frame opens with its salts.
    fn mend(&mut self, header: &mut [u8]) -> Result<bool, i32> {
        let mut plain = Zeroizing::new([0; PLAIN]);
        for at in 0..header.len() {
            let found = header[at];
            for octet in 0..=u8::MAX {
                header[at] = octet;
                if is_log_header(header) {
                    self.know_salts(header);
                    if self.open_frame(1, plain.as_mut_slice())? == Opened::Authentic {
                        return Ok(true);
                    }
                }
            }
            header[at] = found;
        }
        self.salts = None;
        Ok(false)
    }

    fn know_salts(&mut self, header: &[u8]) {
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        self.salts = Some(salts);
        lock(&self.entry.shared).position = LogPosition { salts, frames: 0 };
    }

    /// A whole frame: recovery reads them so, and the renewal of checksums.
    fn read_whole(&mut self, buf: &mut [u8], frame: u32) -> Result<(), i32> {
        self.whole = None;
        buf.fill(0);
        let mut plain = Box::new(Zeroizing::new([0; PLAIN]));
        match self.open_frame(frame, plain.as_mut_slice())? {
            Opened::Authentic => {}
            Opened::Missing if self.phase == Phase::Reading => {
                return Err(ffi::SQLITE_IOERR_SHORT_READ);
            }
            // Zeros have no valid checksum: so ends the log.
            Opened::Unauthentic if self.phase == Phase::Reading => return Ok(()),
            Opened::Missing | Opened::Unauthentic => {
                return Err(fault::damaged(&self.entry.log_path, frame));
            }
        }
        buf[..PLAIN].copy_from_slice(plain.as_slice());
        match self.phase {
            Phase::Reading => self.note_commit(frame, &plain[..FRAME_HEADER]),
            Phase::Writing => self.whole = Some((frame, plain)),
        }
        Ok(())
    }

    /// A page, or the checksums in a frame's header.
    fn read_part(
        &mut self,
        buf: &mut [u8],
        frame: u32,
        range: std::ops::Range<usize>,
    ) -> Result<(), i32> {
        self.whole = None;
        with_scratch(|Scratch { sealed, plain }| {
            let opened = self.open_with(frame, sealed, &mut plain[..PLAIN])?;
            if opened != Opened::Authentic {
                buf.fill(0);
                return Err(fault::damaged(&self.entry.log_path, frame));
            }
            plain[PLAIN..].fill(0);
            buf.copy_from_slice(&plain[range.clone()]);
            Ok(())
        })
    }

    fn write_log_header(&mut self, header: &[u8]) -> Result<(), i32> {
        self.write_batch()?;
        self.whole = None;
        self.lost_from = None;
        self.phase = Phase::Writing;
        self.file.write_at(header, 0).map_err(|error| self.write_error(&error))?;
        self.know_salts(header);
        Ok(())
    }

    fn write_frame_header(&mut self, frame: u32, header: [u8; FRAME_HEADER]) -> Result<(), i32> {
        match self.whole.take() {
            // The frame was just read: so this header is for the page that is there.
            Some((whole, plain)) if whole == frame => {
                self.put_again(frame, &header, plain.as_slice())
            }
            _ => {
                self.pending = Some((frame, header));
                Ok(())
            }
        }
    }

    fn write_page(&mut self, frame: u32, page: &[u8]) -> Result<(), i32> {
        if !is_zero(&page[USABLE..]) {
            tracing::error!(frame, "refused to write a page with content in its reserved octets");
            return Err(ffi::SQLITE_IOERR_WRITE);
        }
        self.whole = None;
        let header = match self.pending.take() {
            Some((pending, header)) if pending == frame => {
                // SQLite went back to a frame before the lost ones: none of them counts.
                self.lost_from = self.lost_from.filter(|lost| *lost < frame);
                Ok(header)
            }
            other => {
                self.pending = other;
                self.flush().and_then(|()| self.header_on_disk(frame))
            }
        }?;
        self.put(frame, &header, page)?;
        self.note_commit(frame, &header);
        Ok(())
    }

    /// Puts a pending header, whose page never came, on the frame that is there.
    fn flush(&mut self) -> Result<(), i32> {
        let Some((frame, header)) = self.pending.take() else { return Ok(()) };
        let mut plain = Zeroizing::new([0; PLAIN]);
        if self.open_frame(frame, plain.as_mut_slice())? != Opened::Authentic {
            return Err(fault::damaged(&self.entry.log_path, frame));
        }
        self.put_again(frame, &header, plain.as_slice())
    }

    fn header_on_disk(&mut self, frame: u32) -> Result<[u8; FRAME_HEADER], i32> {
        let mut header = [0; FRAME_HEADER];
        self.read_part(&mut header, frame, 0..FRAME_HEADER)?;
        Ok(header)
    }

    /// Puts a frame into the batch.
    fn put(&mut self, frame: u32, header: &[u8; FRAME_HEADER], page: &[u8]) -> Result<(), i32> {
        self.phase = Phase::Writing;
        if !self.batch.takes(frame) {
            self.write_batch()?;
        }
        self.is_there(frame)?;
        self.batch.add(frame, header, page);
        // Also when its header comes again, with the last of the new checksums.
        if is_commit(header) { self.write_batch() } else { Ok(()) }
    }

    /// [`LogFile::put`] with a new header on the frame that was read.
    fn put_again(
        &mut self,
        frame: u32,
        header: &[u8; FRAME_HEADER],
        plain: &[u8],
    ) -> Result<(), i32> {
        let mut page = Zeroizing::new([0; PAGE_SIZE]);
        page[..USABLE].copy_from_slice(&plain[FRAME_HEADER..]);
        self.put(frame, header, page.as_slice())
    }

    /// Seals the frames that wait, and writes them.
    fn write_batch(&mut self) -> Result<(), i32> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let salts = self.salts.ok_or(Unauthentic);
        let (outcome, written) =
            match salts.and_then(|salts| self.batch.seal(&self.entry.cipher, salts)) {
                Ok((first, octets)) => {
                    let written = self.file.write_at(octets, frame_offset(first));
                    (Outcome::Sealed, written.map_err(|error| self.write_error(&error)))
                }
                Err(Unauthentic) => (Outcome::GivenUp, Err(ffi::SQLITE_IOERR_WRITE)),
            };
        if written.is_err() {
            self.lost_from = Some(self.batch.first());
        }
        self.batch.clear(outcome);
        written
    }

    /// An error if `frame` or one before it was lost: a transaction with a hole in it must
    /// not be committed, nor the hole be taken for damage.
    fn is_there(&self, frame: u32) -> Result<(), i32> {
        match self.lost_from {
            Some(lost) if lost <= frame => Err(ffi::SQLITE_IOERR_WRITE),
            _ => Ok(()),
        }
    }

    fn open_frame(&mut self, frame: u32, plain: &mut [u8]) -> Result<Opened, i32> {
        with_scratch(|Scratch { sealed, .. }| self.open_with(frame, sealed, plain))
    }

    fn open_with(
        &mut self,
        frame: u32,
        sealed: &mut [u8; FRAME],
        plain: &mut [u8],
    ) -> Result<Opened, i32> {
        let read = self.read_at(sealed, frame_offset(frame))?;
        self.is_there(frame)?;
        if read < FRAME {
            return Ok(Opened::Missing);
        }
        let Some(salts) = self.salts else { return Ok(Opened::Unauthentic) };
        Ok(match self.entry.cipher.open(Place::Log { salts, frame }, sealed, plain) {
            Ok(()) => Opened::Authentic,
            Err(_) => Opened::Unauthentic,
        })
    }

    fn note_commit(&self, frame: u32, header: &[u8]) {
        if is_commit(header) {
            let mut shared = lock(&self.entry.shared);
            shared.position.frames = frame;
            shared.commits += 1;
        }
    }

    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, i32> {
        self.write_batch()?;
        read_all(self.file.as_ref(), buf, offset).map_err(|error| {
            buf.fill(0);
            fault::io(&self.entry.log_path, &error, ffi::SQLITE_IOERR_READ)
        })
    }

    fn write_error(&self, error: &std::io::Error) -> i32 {
        fault::io(&self.entry.log_path, error, ffi::SQLITE_IOERR_WRITE)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if self.flush().and_then(|()| self.write_batch()).is_err() {
            tracing::error!(file = %self.entry.log_path.display(), "a frame was lost at closing");
            self.batch.clear(Outcome::GivenUp);
        }
        lock(&self.entry.shared).log = None;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Authentic,
    Unauthentic,
    /// The file ends before the frame does.
    Missing,
}

/// A header with the database's size in pages ends a transaction.
pub(super) fn is_commit(header: &[u8]) -> bool {
    header[4..8] != [0; 4]
}

fn part(offset: u64, len: usize) -> Option<Part> {
    if offset < LOG_HEADER as u64 {
        let start = offset as usize;
        let range = start..start + len;
        return (range.end <= LOG_HEADER).then_some(Part::Header(range));
    }
    let behind = offset - LOG_HEADER as u64;
    let start = (behind % FRAME as u64) as usize;
    let frame = u32::try_from(behind / FRAME as u64 + 1).ok()?;
    let range = start..start + len;
    (range.end <= FRAME).then_some(Part::Frame(frame, range))
}

/// Whether SQLite would take these 32 octets for the header of a log of ours: magic
/// number, format version, page size, and the checksum (wal.c, `walIndexRecover`).
pub(super) fn is_log_header(header: &[u8]) -> bool {
    let word =
        |at: usize| -> [u8; 4] { [header[at], header[at + 1], header[at + 2], header[at + 3]] };
    let magic = u32::from_be_bytes(word(0));
    if magic & !1 != 0x377f_0682
        || u32::from_be_bytes(word(4)) != 3_007_000
        || u32::from_be_bytes(word(8)) as usize != PAGE_SIZE
    {
        return false;
    }
    let number = if magic & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes };
    let (mut one, mut two) = (0_u32, 0_u32);
    for at in [0, 8, 16] {
        one = one.wrapping_add(number(word(at))).wrapping_add(two);
        two = two.wrapping_add(number(word(at + 4))).wrapping_add(one);
    }
    word(24) == one.to_be_bytes() && word(28) == two.to_be_bytes()
}

const _: () = assert!(PLAIN + super::RESERVED == FRAME);
