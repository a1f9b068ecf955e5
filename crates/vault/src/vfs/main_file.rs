//! The main file of a database: pages, sealed one by one.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use rusqlite::ffi;
use zeroize::Zeroize;

use crate::pool::lock;
use crate::storage::StorageFile;

use super::cipher::Place;
use super::{Entry, FRAME, PAGE_SIZE, RESERVED, Stage, USABLE, fault};

/// Room for one page or frame as it is on disk, and one as it is in the clear. One of
/// each a thread, as thousands of databases may be open.
pub(super) struct Scratch {
    pub(super) sealed: [u8; FRAME],
    pub(super) plain: [u8; FRAME],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        const { RefCell::new(Scratch { sealed: [0; FRAME], plain: [0; FRAME] }) };
}

/// Lends the thread's scratch room, and wipes the plain half afterwards.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let result = work(scratch);
        scratch.plain.zeroize();
        result
    })
}

pub(super) struct MainFile {
    pub(super) entry: Arc<Entry>,
    file: Arc<dyn StorageFile>,
}

impl MainFile {
    pub(super) fn open(entry: Arc<Entry>, file: Arc<dyn StorageFile>) -> Self {
        Self { entry, file }
    }

    /// Reads a page or a part of one.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), i32> {
        let within = (offset % PAGE_SIZE as u64) as usize;
        let start = offset - within as u64;
        let page =
            u32::try_from(start / PAGE_SIZE as u64 + 1).map_err(|_| ffi::SQLITE_IOERR_READ)?;
        let part = within..within + buf.len();
        if part.end > PAGE_SIZE {
            return Err(ffi::SQLITE_IOERR_READ);
        }
        with_scratch(|Scratch { sealed, plain }| {
            let sealed = &mut sealed[..PAGE_SIZE];
            let read = read_all(self.file.as_ref(), sealed, start).map_err(|error| {
                buf.fill(0);
                fault::io(&self.entry.path, &error, ffi::SQLITE_IOERR_READ)
            })?;
            if read == 0 && self.entry.stage == Stage::New {
                buf.fill(0);
                return Err(ffi::SQLITE_IOERR_SHORT_READ);
            }
            let place = Place::Main { page };
            let plain = &mut plain[..PAGE_SIZE];
            plain[USABLE..].fill(0);
            let opened = self.entry.cipher.open(place, sealed, &mut plain[..USABLE]);
            if read < PAGE_SIZE || opened.is_err() {
                buf.fill(0);
                if page == 1 && buf.len() < PAGE_SIZE {
                    pretend_header(&part, buf);
                    return Ok(());
                }
                return Err(fault::damaged(&self.entry.path, page));
            }
            buf.copy_from_slice(&plain[part.clone()]);
            Ok(())
        })
    }

    /// Writes a whole page; SQLite never writes less to a main file.
    pub(super) fn write(&self, buf: &[u8], offset: u64) -> Result<(), i32> {
        self.entry.may_write()?;
        let page = page_to_write(buf, offset).ok_or_else(|| {
            tracing::error!(offset, length = buf.len(), "refused to write what is no page");
            ffi::SQLITE_IOERR_WRITE
        })?;
        with_scratch(|Scratch { sealed, .. }| {
            let sealed = &mut sealed[..PAGE_SIZE];
            sealed.copy_from_slice(buf);
            if self.entry.cipher.seal(Place::Main { page }, sealed).is_err() {
                sealed.zeroize();
                return Err(ffi::SQLITE_IOERR_WRITE);
            }
            self.file
                .write_at(sealed, offset)
                .map_err(|error| fault::io(&self.entry.path, &error, ffi::SQLITE_IOERR_WRITE))
        })
    }

    pub(super) fn truncate(&self, len: u64) -> Result<(), i32> {
        self.entry.may_write()?;
        self.file
            .truncate(len)
            .map_err(|error| fault::io(&self.entry.path, &error, ffi::SQLITE_IOERR_TRUNCATE))
    }

    pub(super) fn sync(&self) -> Result<(), i32> {
        self.file.sync().map_err(|error| {
            lock(&self.entry.shared).sync_failures += 1;
            fault::io(&self.entry.path, &error, ffi::SQLITE_IOERR_FSYNC)
        })
    }

    pub(super) fn len(&self) -> Result<u64, i32> {
        self.file
            .len()
            .map_err(|error| fault::io(&self.entry.path, &error, ffi::SQLITE_IOERR_FSTAT))
    }
}

impl Drop for MainFile {
    fn drop(&mut self) {
        lock(&self.entry.shared).main_open = false;
    }
}

/// Reads until `buf` is full or the file ends; the number of octets. Where fewer come
/// although the file goes on, that is a failure and not the end.
pub(super) fn read_all(file: &dyn StorageFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let read = file.read_at(buf, offset)?;
    if read < buf.len() && file.len()? > offset.saturating_add(read as u64) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(read)
}

/// The number of the page that SQLite writes, if it is one.
fn page_to_write(buf: &[u8], offset: u64) -> Option<u32> {
    let whole = buf.len() == PAGE_SIZE && offset.is_multiple_of(PAGE_SIZE as u64);
    if !whole || !is_zero(&buf[USABLE..]) {
        return None;
    }
    u32::try_from(offset / PAGE_SIZE as u64 + 1).ok()
}

/// Whether the reserved octets of a page are zero, as those that are read back will be.
pub(super) fn is_zero(reserved: &[u8]) -> bool {
    reserved.iter().all(|octet| *octet == 0)
}

/// SQLite looks at page 1's header before it opens the log, and again to see whether
/// another process changed the file. A power cut may have torn that page while the log
/// still holds it whole; so for these looks alone, an unreadable header is answered with
/// what every file of ours has in common. If the log has no page 1, the next read is of
/// the whole page and fails.
fn pretend_header(part: &std::ops::Range<usize>, buf: &mut [u8]) {
    let mut header = [0; 100];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..18].copy_from_slice(&(PAGE_SIZE as u16).to_be_bytes());
    // Format versions 2 (WAL), reserved octets, and the payload fractions, all fixed.
    header[18..24].copy_from_slice(&[2, 2, RESERVED as u8, 64, 32, 32]);
    if let Some(known) = header.get(part.clone()) {
        buf.copy_from_slice(known);
    }
}
