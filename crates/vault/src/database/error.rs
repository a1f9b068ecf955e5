//! What can go wrong with a database, in the terms of those who use it.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::vfs::fault::{self, Fault};

/// Why a job on a database was not done.
///
/// Callers' own errors implement `From<VaultError>`. Where they also take
/// [`rusqlite::Error`], they do it by way of [`VaultError::from`]: only so is a page that
/// does not authenticate named, and a full disk told from other troubles.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The operating system refused to read, write, or sync.
    #[error("input or output failed: {0}")]
    Io(#[source] io::Error),
    /// A page (of the main file) or a frame (of its log) is damaged or was tampered with,
    /// or the key is the wrong one. Pages and frames count from 1; 0 means the file as a
    /// whole.
    #[error("{}: page {page} is damaged or was tampered with", file.display())]
    Damaged {
        /// The main file, or its log (`-wal`).
        file: PathBuf,
        /// The page or frame.
        page: u32,
    },
    /// No room on the disk, or in a temporary table. What is stored stays readable.
    #[error("the disk is full")]
    Full,
    /// The database was closed, or its pool shut down, before the job ran.
    #[error("the database is closed")]
    Closed,
    /// The same file is open already in this process.
    #[error("{}: is open already", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// Syncing failed twice in a row. The database takes no more writes until it is
    /// opened anew, because nothing can be promised about them.
    #[error("writing is stopped: the disk failed to sync twice in a row")]
    SyncFailed,
    /// The database was opened for reading only, because of damage.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The file was written by a newer version of this program.
    #[error("{}: has schema version {found}, this program knows up to {known}", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// `user_version` in the file.
        found: u32,
        /// How many migrations this program has.
        known: u32,
    },
    /// The job itself panicked. Its writes were rolled back.
    #[error("the job panicked")]
    Panicked,
    /// Another job of the same group failed in a way that undid the whole transaction.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// Anything else that SQLite says.
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

impl VaultError {
    /// The same error once more, for each member of a group that failed together.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(fault::copy_of(error)),
            Self::Damaged { file, page } => Self::Damaged { file: file.clone(), page: *page },
            Self::Full => Self::Full,
            Self::Closed => Self::Closed,
            Self::InUse { file } => Self::InUse { file: file.clone() },
            Self::SyncFailed => Self::SyncFailed,
            Self::ReadOnly => Self::ReadOnly,
            Self::Newer { file, found, known } => {
                Self::Newer { file: file.clone(), found: *found, known: *known }
            }
            Self::Panicked => Self::Panicked,
            Self::RolledBack => Self::RolledBack,
            Self::Sqlite(rusqlite::Error::SqliteFailure(code, text)) => {
                Self::Sqlite(rusqlite::Error::SqliteFailure(*code, text.clone()))
            }
            Self::Sqlite(error) => Self::Io(io::Error::other(error.to_string())),
        }
    }

    /// What the last failure of a file on this thread was, if there was one.
    pub(super) fn from_fault() -> Option<Self> {
        fault::last().map(Self::from)
    }
}

impl From<Fault> for VaultError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { file, page } => Self::Damaged { file, page },
            Fault::Full => Self::Full,
            Fault::Io(error) => Self::Io(error),
        }
    }
}

impl From<io::Error> for VaultError {
    fn from(error: io::Error) -> Self {
        if fault::is_full(&error) { Self::Full } else { Self::Io(error) }
    }
}

impl From<rusqlite::Error> for VaultError {
    /// To be called on the thread on which the error arose: the details of a failed read
    /// or write are kept there, because SQLite's codes have no room for them.
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(code, _) = &error else {
            return Self::Sqlite(error);
        };
        match (code.code, fault::last()) {
            (ErrorCode::DiskFull, _) => Self::Full,
            (ErrorCode::ReadOnly, _) => Self::ReadOnly,
            (ErrorCode::SystemIoFailure, Some(Fault::Damaged { file, page })) => {
                Self::Damaged { file, page }
            }
            (ErrorCode::SystemIoFailure | ErrorCode::CannotOpen, Some(Fault::Io(error)))
                if code.extended_code != ffi::SQLITE_IOERR_DATA =>
            {
                Self::Io(error)
            }
            // Every page that SQLite sees is authentic, so these mean that pages of
            // different times stand beside each other: one was put back, or is missing.
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => match fault::file() {
                Some(file) => Self::Damaged { file, page: 0 },
                None => Self::Sqlite(error),
            },
            _ => Self::Sqlite(error),
        }
    }
}
