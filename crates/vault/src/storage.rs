//! What lies beneath the encrypting VFS: plain files, read and written at offsets.
//!
//! [`Disk`] is the real thing. The trait is the seam at which a test puts a layer that
//! loses power, tears writes, or runs out of space: everything that the vault does to a
//! database file or its log goes through it. It knows nothing of keys, pages or SQLite.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// How [`Storage::open`] treats a file that is not there, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file is made (mode 0600) if it does not exist. The caller syncs the folder.
    Create,
}

/// A folder tree in which database files live.
pub trait Storage: Send + Sync + 'static {
    /// Opens `path` for reading and writing.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` with [`OpenMode::Existing`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// Whether there is a file at `path`.
    ///
    /// # Errors
    /// What the operating system says, except that the file is absent.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Removes the file at `path`. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the operating system says; `NotFound` if it was not there.
    fn delete(&self, path: &Path) -> io::Result<()>;

    /// Renames `from` to `to`, replacing it. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in the folder that holds `path` durable.
    ///
    /// # Errors
    /// What the operating system says; then nothing is known about those changes.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// A number for the file system that holds `path`, if
    /// [`Storage::sync_filesystem`] can sync it as a whole; `None` by default.
    fn filesystem(&self, path: &Path) -> Option<u64> {
        let _ = path;
        None
    }

    /// Makes everything durable that was written to the file system that holds `path`:
    /// files, their lengths and their names.
    ///
    /// # Errors
    /// What the operating system says: *some* file could not be written, which syncing the
    /// files one by one will tell.
    fn sync_filesystem(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One open file.
pub trait StorageFile: Send + Sync {
    /// Reads at `offset` until `buf` is full or the file ends; the number of bytes read.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, growing the file if need be.
    ///
    /// # Errors
    /// What the operating system says; part of `buf` may then have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts (or extends with zeros) the file to `len` bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns when every byte written before is on stable storage, and the length too.
    ///
    /// # Errors
    /// What the operating system says; then the state of everything written since the
    /// last good sync is unknown, and a later good sync does not prove otherwise.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(mode == OpenMode::Create)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }

    fn filesystem(&self, path: &Path) -> Option<u64> {
        std::fs::metadata(path).ok().map(|about| about.dev())
    }

    fn sync_filesystem(&self, path: &Path) -> io::Result<()> {
        static OPEN: LazyLock<Mutex<HashMap<u64, Arc<Whole>>>> = LazyLock::new(Mutex::default);
        let device = std::fs::metadata(path)?.dev();
        let whole = match OPEN.lock().unwrap_or_else(PoisonError::into_inner).entry(device) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => Arc::clone(new.insert(Arc::new(Whole::new(File::open(path)?)))),
        };
        whole.sync(|place| Ok(rustix::fs::syncfs(place)?))
    }
}

/// A file system that is synced as a whole, until that fails for the first time.
///
/// The kernel reports a failed write once to each descriptor that was open when it failed
/// (syncfs(2), Linux 5.8): so one is kept open for each file system. But whoever asks next
/// hears nothing of it any more, although it may have been his write that was lost. So after
/// a failure the whole counts no longer, and each file is synced by its own descriptor, which
/// has its own report; and two never ask at the same time.
struct Whole(Mutex<Option<File>>);

impl Whole {
    fn new(place: File) -> Self {
        Self(Mutex::new(Some(place)))
    }

    fn sync(&self, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = place.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let outcome = sync(open);
        if outcome.is_err() {
            *place = None;
        }
        outcome
    }
}

struct DiskFile(File);

impl StorageFile for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync writes the length too whenever it changed; times do not matter here.
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_sync_of_a_whole_file_system_none_is_called_good() {
        let whole = Whole::new(tempfile::tempfile().unwrap());
        whole.sync(|_| Ok(())).unwrap();
        assert!(whole.sync(|_| Err(io::Error::other("lost"))).is_err());
        // The kernel would say that all is well: it told of the loss already.
        assert!(whole.sync(|_| Ok(())).is_err());
    }
}
