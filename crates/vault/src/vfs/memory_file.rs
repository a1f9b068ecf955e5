//! Temporary files, in memory: statement journals, sorters, the journal of a new file.

use rusqlite::ffi;

/// Octets that one temporary file may hold.
const CAP: usize = 64 << 20;

#[derive(Default)]
pub(super) struct MemoryFile(Vec<u8>);

impl MemoryFile {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), i32> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let found = &self.0[start..self.0.len().min(start.saturating_add(buf.len()))];
        buf[..found.len()].copy_from_slice(found);
        buf[found.len()..].fill(0);
        if found.len() < buf.len() { Err(ffi::SQLITE_IOERR_SHORT_READ) } else { Ok(()) }
    }

    pub(super) fn write(&mut self, buf: &[u8], offset: u64) -> Result<(), i32> {
        let end = usize::try_from(offset)
            .ok()
            .and_then(|start| start.checked_add(buf.len()))
            .filter(|end| *end <= CAP)
            .ok_or(ffi::SQLITE_FULL)?;
        if self.0.len() < end {
            self.0.try_reserve(end - self.0.len()).map_err(|_| ffi::SQLITE_NOMEM)?;
            self.0.resize(end, 0);
        }
        self.0[end - buf.len()..end].copy_from_slice(buf);
        Ok(())
    }

    pub(super) fn truncate(&mut self, len: u64) {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_zeros_behind() {
        let mut file = MemoryFile::default();
        file.write(b"abc", 2).unwrap();
        let mut buf = [9; 6];
        assert_eq!(file.read(&mut buf, 0), Err(ffi::SQLITE_IOERR_SHORT_READ));
        assert_eq!(&buf, b"\0\0abc\0");
        assert_eq!(file.read(&mut buf[..3], 2), Ok(()));
        assert_eq!(file.read(&mut buf[..3], u64::MAX), Err(ffi::SQLITE_IOERR_SHORT_READ));
        file.truncate(3);
        assert_eq!(file.len(), 3);
    }

    #[test]
    fn is_full_at_its_cap() {
        let mut file = MemoryFile::default();
        assert_eq!(file.write(b"ab", CAP as u64 - 1), Err(ffi::SQLITE_FULL));
        assert_eq!(file.write(b"ab", u64::MAX), Err(ffi::SQLITE_FULL));
        assert_eq!(file.write(b"ab", CAP as u64 - 2), Ok(()));
    }
}
