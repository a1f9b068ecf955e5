//! The pages of a damaged file, one by one, without SQLite.
//!
//! Where the pages that say which tables there are do not open, SQLite finds nothing any more. What stands on the
//! others can still be read: here they are opened, each in its newest committed form.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::key::FileKeys;
use crate::storage::{OpenMode, Storage, StorageFile};

use super::cipher::{Cipher, Place};
use super::log_file::{is_commit, is_log_header};
use super::main_file::read_all;
use super::{FRAME, FRAME_HEADER, LOG_HEADER, PAGE_SIZE, USABLE, beside, frame_offset};

/// The pages of a file that nobody has open.
pub struct Pages {
    cipher: Cipher,
    main: Arc<dyn StorageFile>,
    log: Option<Arc<dyn StorageFile>>,
    salts: [u8; 8],
    /// The frame of the log that has the newest committed form of a page.
    newest: HashMap<u32, u32>,
    count: u32,
}

impl Pages {
    /// How many octets of a page hold content: what SQLite's file format calls the usable size.
    pub const USABLE: usize = USABLE;

    /// The pages of the file at `path`, with what its log has committed. A log whose header is damaged is left out,
    /// and so is what follows a damaged frame.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(storage: &dyn Storage, path: &Path, keys: &FileKeys) -> io::Result<Self> {
        let main = storage.open(path, OpenMode::Existing)?;
        let log = beside(path, "-wal");
        let log = match storage.exists(&log)? {
            true => Some(storage.open(&log, OpenMode::Existing)?),
            false => None,
        };
        let count = u32::try_from(main.len()? / PAGE_SIZE as u64).unwrap_or(u32::MAX);
        let cipher = Cipher::new(keys);
        let mut pages = Self { cipher, main, log, salts: [0; 8], newest: HashMap::new(), count };
        pages.read_log()?;
        Ok(pages)
    }

    /// The number of the last page.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The content of a page, from 1; `None` if it does not open.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(&self, page: u32) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        if page == 0 {
            return Ok(None);
        }
        if let Some((log, frame)) = self.log.as_ref().zip(self.newest.get(&page)) {
            let plain = self.open_frame(log.as_ref(), *frame)?;
            return Ok(plain.map(|plain| Zeroizing::new(plain[FRAME_HEADER..].to_vec())));
        }
        let mut sealed = vec![0; PAGE_SIZE];
        let offset = u64::from(page - 1) * PAGE_SIZE as u64;
        let mut plain = Zeroizing::new(vec![0; USABLE]);
        let whole = read_all(self.main.as_ref(), &mut sealed, offset)? == PAGE_SIZE;
        let opens = whole && self.cipher.open(Place::Main { page }, &sealed, &mut plain).is_ok();
        Ok(opens.then_some(plain))
    }

    /// Goes through the log as SQLite does at recovery (wal.c, `walIndexRecover`): every frame's checksum goes on from
    /// the one before, and only what a commit follows counts.
    fn read_log(&mut self) -> io::Result<()> {
        let Some(log) = self.log.clone() else { return Ok(()) };
        let mut header = [0; LOG_HEADER];
        if read_all(log.as_ref(), &mut header, 0)? < LOG_HEADER || !is_log_header(&header) {
            return Ok(());
        }
        self.salts.copy_from_slice(&header[16..24]);
        let mut sums = Sums::of_log(&header);
        let (mut frame, mut open) = (1, Vec::new());
        while let Some(plain) = self.open_frame(log.as_ref(), frame)? {
            let (header, page) = plain.split_at(FRAME_HEADER);
            sums.add(&header[..8]);
            sums.add(page);
            sums.add(&[0; PAGE_SIZE - USABLE]);
            if !sums.stand_in(&header[16..24]) {
                break;
            }
            open.push((word(&header[..4]), frame));
            if is_commit(header) {
                self.newest.extend(open.drain(..));
                self.count = word(&header[4..8]);
            }
            frame += 1;
        }
        Ok(())
    }

    fn open_frame(
        &self,
        log: &dyn StorageFile,
        frame: u32,
    ) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let mut sealed = vec![0; FRAME];
        if read_all(log, &mut sealed, frame_offset(frame))? < FRAME {
            return Ok(None);
        }
        let mut plain = Zeroizing::new(vec![0; FRAME_HEADER + USABLE]);
        let place = Place::Log { salts: self.salts, frame };
        let opens = self.cipher.open(place, &sealed, &mut plain).is_ok();
        Ok(opens.then_some(plain))
    }
}

/// Four octets as SQLite writes numbers; fewer count as zeros before them.
fn word(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

/// The running checksum of a log (SQLite's file format, §4.2).
struct Sums {
    one: u32,
    two: u32,
    big_endian: bool,
}

impl Sums {
    /// Where it begins: behind the log's header, whose own checksum was found right.
    fn of_log(header: &[u8; LOG_HEADER]) -> Self {
        let big_endian = header[3] & 1 == 1;
        Self { one: word(&header[24..28]), two: word(&header[28..32]), big_endian }
    }

    fn add(&mut self, octets: &[u8]) {
        let number = |four: &[u8]| match self.big_endian {
            true => word(four),
            false => word(four).swap_bytes(),
        };
        for eight in octets.chunks_exact(8) {
            let (first, second) = eight.split_at(4);
            self.one = self.one.wrapping_add(number(first)).wrapping_add(self.two);
            self.two = self.two.wrapping_add(number(second)).wrapping_add(self.one);
        }
    }

    /// Whether these are the octets of the checksum.
    fn stand_in(&self, octets: &[u8]) -> bool {
        word(&octets[..4]) == self.one && word(&octets[4..]) == self.two
    }
}
