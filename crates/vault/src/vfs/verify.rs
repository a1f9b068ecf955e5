//! Looks for damage without being able to read: by the outer hashes alone.

use std::io;
use std::path::Path;

use crate::key::{FileKeys, Key};
use crate::storage::{OpenMode, Storage, StorageFile};

use super::cipher::{Cipher, Place};
use super::log_file::is_log_header;
use super::{FRAME, LOG_HEADER, PAGE_SIZE, beside, frame_offset};

/// What a check of a file by its outer hashes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whole pages in the main file.
    pub pages: u32,
    /// Whole frames at the start of its log. What follows is either older or was never
    /// synced, unless it stands in `damaged_frames`.
    pub frames: u32,
    /// Pages of the main file that are damaged, from 1.
    pub damaged: Vec<u32>,
    /// Frames of the log (`-wal`), from 1, that are not whole although later ones of the
    /// same log are; 0 stands for the log's header, without which no frame can be told.
    ///
    /// A log exists only where the last closing was not clean. There, frames that a power
    /// cut kept from the disk look the same; they belong to nothing that was promised. A
    /// damaged frame that is the last one cannot be told from the log's end.
    pub damaged_frames: Vec<u32>,
}

impl Verified {
    /// Whether no damage was found.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.damaged_frames.is_empty()
    }
}

/// Checks every page of the main file at `path`, and every frame of its log, with its
/// integrity key.
///
/// An older version of a page, put back in its place, is whole: the hash knows no time.
/// It may run beside an open [`Database`](crate::Database): what fails is read once
/// more, in case it was being written. It blocks, and reads the whole file.
///
/// # Errors
/// What the operating system says.
pub fn verify_file(storage: &dyn Storage, path: &Path, integrity: &Key) -> io::Result<Verified> {
    // Only the outer hash is asked for here: the page key plays no part.
    let keys = FileKeys { page: integrity.clone(), integrity: integrity.clone() };
    let cipher = Cipher::new(&keys);
    let mut found = Verified::default();
    let main = storage.open(path, OpenMode::Existing)?;
    let pages = main.len()?.div_ceil(PAGE_SIZE as u64);
    let mut octets = vec![0; PAGE_SIZE];
    for page in 1..=u32::try_from(pages).unwrap_or(u32::MAX) {
        let offset = u64::from(page - 1) * PAGE_SIZE as u64;
        if is_whole(main.as_ref(), &cipher, Place::Main { page }, offset, &mut octets)? {
            found.pages += 1;
        } else if page != LOCK_PAGE && main.len()? > offset {
            // What was cut off meanwhile is no page any more.
            found.damaged.push(page);
        }
    }
    let log = beside(path, "-wal");
    if storage.exists(&log)? {
        check_log_at_rest(storage.open(&log, OpenMode::Existing)?.as_ref(), &cipher, &mut found)?;
    }
    Ok(found)
}

/// How often a log is looked at that is started anew meanwhile.
const LOOKS: usize = 3;

/// [`check_log`] of one generation: a log that was started anew under the eyes has frames of
/// two, and those of the other look damaged.
fn check_log_at_rest(
    log: &dyn StorageFile,
    cipher: &Cipher,
    found: &mut Verified,
) -> io::Result<()> {
    for _ in 0..LOOKS {
        let before = header_of(log)?;
        (found.frames, found.damaged_frames) = (0, Vec::new());
        check_log(log, cipher, found)?;
        if found.damaged_frames.is_empty() || header_of(log)? == before {
            return Ok(());
        }
    }
    // It is being written all the time, and says nothing of damage.
    found.damaged_frames.clear();
    Ok(())
}

/// The header, with zeros for what is not there.
fn header_of(log: &dyn StorageFile) -> io::Result<[u8; LOG_HEADER]> {
    let mut header = [0; LOG_HEADER];
    log.read_at(&mut header, 0)?;
    Ok(header)
}

/// SQLite never writes the page that holds the octet at 1 GiB, where its lock would be.
const LOCK_PAGE: u32 = (0x4000_0000 / PAGE_SIZE) as u32 + 1;

fn is_whole(
    file: &dyn StorageFile,
    cipher: &Cipher,
    place: Place,
    offset: u64,
    octets: &mut [u8],
) -> io::Result<bool> {
    for _ in 0..2 {
        if file.read_at(octets, offset)? == octets.len() && cipher.is_whole(place, octets) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_log(log: &dyn StorageFile, cipher: &Cipher, found: &mut Verified) -> io::Result<()> {
    let mut header = [0; LOG_HEADER];
    let read = log.read_at(&mut header, 0)?;
    let length = log.len()?;
    if read < LOG_HEADER || !is_log_header(&header) {
        // As in reading it: a header is synced before any frame follows it.
        if length >= (LOG_HEADER + FRAME) as u64 {
            found.damaged_frames.push(0);
        }
        return Ok(());
    }
    let mut salts = [0; 8];
    salts.copy_from_slice(&header[16..24]);
    let frames = length.saturating_sub(LOG_HEADER as u64) / FRAME as u64;
    let mut octets = vec![0; FRAME];
    let mut broken = Vec::new();
    for frame in 1..=u32::try_from(frames).unwrap_or(u32::MAX) {
        let place = Place::Log { salts, frame };
        if !is_whole(log, cipher, place, frame_offset(frame), &mut octets)? {
            broken.push(frame);
        } else if broken.is_empty() && found.damaged_frames.is_empty() {
            found.frames = frame;
        } else {
            found.damaged_frames.append(&mut broken);
        }
    }
    Ok(())
}
