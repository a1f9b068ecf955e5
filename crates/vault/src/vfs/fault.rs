//! What exactly went wrong with a file, kept for the thread on which it did.
//!
//! SQLite passes one number upwards. The VFS leaves the rest here, and `VaultError` picks
//! it up when it is made from SQLite's error, on the same thread.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// Why a file could not be read or written.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Page or frame `page` of `file` does not authenticate, or is missing; 0 for the
    /// file as a whole.
    Damaged { file: PathBuf, page: u32 },
    /// No room.
    Full,
    /// What the operating system said.
    Io(io::Error),
}

#[derive(Default)]
struct Record {
    file: Option<PathBuf>,
    last: Option<Fault>,
}

thread_local! {
    static RECORD: RefCell<Record> = const { RefCell::new(Record { file: None, last: None }) };
}

/// A job on `file` begins: what was before does not concern it.
pub(crate) fn begin(file: &Path) {
    RECORD.with_borrow_mut(|record| {
        record.last = None;
        if record.file.as_deref() != Some(file) {
            record.file = Some(file.to_owned());
        }
    });
}

/// The file on which this thread works.
pub(crate) fn file() -> Option<PathBuf> {
    RECORD.with_borrow(|record| record.file.clone())
}

/// The last fault since [`begin`].
pub(crate) fn last() -> Option<Fault> {
    RECORD.with_borrow(|record| record.last.as_ref().map(Fault::copy))
}

/// Notes damage; the code for SQLite.
pub(super) fn damaged(file: &Path, page: u32) -> i32 {
    tracing::error!(file = %file.display(), page, "damaged or tampered with");
    set(Fault::Damaged { file: file.to_owned(), page });
    ffi::SQLITE_IOERR_DATA
}

/// Notes a failure of the operating system; the code for SQLite, which is `code` unless
/// the disk is full.
pub(super) fn io(file: &Path, error: &io::Error, code: i32) -> i32 {
    if is_full(error) {
        tracing::warn!(file = %file.display(), "disk full");
        set(Fault::Full);
        return ffi::SQLITE_FULL;
    }
    tracing::error!(file = %file.display(), %error, "input or output failed");
    set(Fault::Io(copy_of(error)));
    code
}

/// Notes a failure of the operating system.
pub(super) fn set_io(error: &io::Error) {
    set(Fault::Io(copy_of(error)));
}

/// Whether there is no room, for whatever reason.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// An error like `error`, which cannot be cloned.
pub(crate) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn set(fault: Fault) {
    RECORD.with_borrow_mut(|record| record.last = Some(fault));
}

impl Fault {
    fn copy(&self) -> Self {
        match self {
            Self::Damaged { file, page } => Self::Damaged { file: file.clone(), page: *page },
            Self::Full => Self::Full,
            Self::Io(error) => Self::Io(copy_of(error)),
        }
    }
}
