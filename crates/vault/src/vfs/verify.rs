//! Looks for damage without being able to read: by the outer hashes alone.

use std::io;
use std::path::Path;

use crate::key::{FileKeys, Key};
use crate::storage::{OpenMode, Storage};

use super::cipher::{Cipher, Place};
use super::{FRAME, LOG_HEADER, PAGE_SIZE, beside, frame_offset};

/// What a check of a file by its outer hashes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whole pages in the main file.
    pub pages: u32,
    /// Whole frames at the start of its log. What follows is either older or was never
    /// synced; the two cannot be told from damage.
    pub frames: u32,
    /// Pages of the main file that are damaged, from 1.
    pub damaged: Vec<u32>,
}

/// Checks every page of the main file at `path` with its integrity key, and counts the
/// whole frames of its log.
///
/// It may run beside an open [`Database`](crate::Database): a page that fails is read once
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
    let mut page_octets = vec![0; PAGE_SIZE];
    for page in 1..=u32::try_from(pages).unwrap_or(u32::MAX) {
        let offset = u64::from(page - 1) * PAGE_SIZE as u64;
        let mut whole = || -> io::Result<bool> {
            let read = main.read_at(&mut page_octets, offset)?;
            Ok(read == PAGE_SIZE && cipher.is_whole(Place::Main { page }, &page_octets))
        };
        if whole()? || whole()? {
            found.pages += 1;
        } else if page != LOCK_PAGE {
            found.damaged.push(page);
        }
    }
    found.frames = whole_frames(storage, &beside(path, "-wal"), &cipher)?;
    Ok(found)
}

/// SQLite never writes the page that holds the octet at 1 GiB, where its lock would be.
const LOCK_PAGE: u32 = (0x4000_0000 / PAGE_SIZE) as u32 + 1;

fn whole_frames(storage: &dyn Storage, log: &Path, cipher: &Cipher) -> io::Result<u32> {
    if !storage.exists(log)? {
        return Ok(0);
    }
    let log = storage.open(log, OpenMode::Existing)?;
    let mut header = [0; LOG_HEADER];
    if log.read_at(&mut header, 0)? < LOG_HEADER {
        return Ok(0);
    }
    let mut salts = [0; 8];
    salts.copy_from_slice(&header[16..24]);
    let mut octets = vec![0; FRAME];
    let mut frame = 1;
    while log.read_at(&mut octets, frame_offset(frame))? == FRAME
        && cipher.is_whole(Place::Log { salts, frame }, &octets)
    {
        frame += 1;
    }
    Ok(frame - 1)
}
