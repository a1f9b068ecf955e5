//! The C side of the VFS: the tables of functions that SQLite calls, and nothing else.
//!
//! Each function turns pointers into slices, calls the safe code of its neighbours, and
//! answers a result code. None lets a panic out: it would have to unwind through SQLite.

// SQLite's interface is C: it cannot be implemented without raw pointers. Beside `wipe`,
// which is an allocator, this is the only module of the workspace that may use them.
#![allow(unsafe_code)]

mod backup;
mod memory;
mod methods;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_vfs};

use crate::key::random_fill;
use crate::pool::lock;
use crate::storage::OpenMode;

use super::log_file::LogFile;
use super::main_file::MainFile;
use super::memory_file::MemoryFile;
use super::{Entry, NAME, Stage, entry, fault};

pub(crate) use self::backup::{Backup, Extent};
pub use self::memory::wipe_freed_sqlite_memory;

/// What SQLite allocates for an open file. `base` comes first, as its C code expects.
#[repr(C)]
struct Handle {
    base: sqlite3_file,
    /// From `Box::into_raw` in `x_open`, until `x_close`.
    file: *mut File,
}

enum File {
    Main(MainFile),
    Log(LogFile),
    Memory(MemoryFile),
}

/// A connection, and with it its files, moves between the threads of a pool.
const fn assert_send<T: Send>() {}
const _: () = assert_send::<File>();

/// Which of a database's files a name means.
enum Name {
    Main(u64),
    Log(u64),
    Journal(u64),
}

/// Makes the VFS known to SQLite, once a process; not as the default.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if cfg!(feature = "bench-plain") {
            tracing::error!("NOTHING IS ENCRYPTED: this build is for benchmarks alone");
        }
        let vfs = Box::leak(Box::new(sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<Handle>() as c_int,
            mxPathname: 64,
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: Some(x_dl_open),
            xDlError: Some(x_dl_error),
            xDlSym: Some(x_dl_sym),
            xDlClose: Some(x_dl_close),
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: Some(x_get_last_error),
            xCurrentTimeInt64: Some(x_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure lives for ever, is written by SQLite alone from here on
        // (`pNext`, under its own mutex), and its functions fulfil the VFS contract.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        if code != ffi::SQLITE_OK {
            tracing::error!(code, "SQLite did not take the VFS");
        }
    });
}

/// Takes the connection's lookaside memory away: 120 KiB that an idle mailbox needs not.
pub(crate) fn without_lookaside(conn: &Connection) {
    // SAFETY: the handle is valid while `conn` is borrowed; for this verb, SQLite reads a
    // pointer (null: it allocates, here nothing) and two ints after it.
    let code = unsafe {
        ffi::sqlite3_db_config(
            conn.handle(),
            ffi::SQLITE_DBCONFIG_LOOKASIDE,
            std::ptr::null_mut::<c_void>(),
            0 as c_int,
            0 as c_int,
        )
    };
    if code != ffi::SQLITE_OK {
        tracing::debug!(code, "lookaside stays on");
    }
}

/// Runs `work`; a panic in it becomes `failed`.
fn guarded(failed: c_int, work: impl FnOnce() -> Result<(), c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(code)) => code,
        Err(_) => failed,
    }
}

/// # Safety
/// `name` is null or a C string that outlives the call.
unsafe fn parse(name: *const c_char) -> Option<Name> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    if let Some(token) = name.strip_suffix("-wal") {
        Some(Name::Log(token.parse().ok()?))
    } else if let Some(token) = name.strip_suffix("-journal") {
        Some(Name::Journal(token.parse().ok()?))
    } else {
        Some(Name::Main(name.parse().ok()?))
    }
}

unsafe extern "C" fn x_open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    handle: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let handle = handle.cast::<Handle>();
    // SAFETY: SQLite hands `szOsFile` octets of its own, suitably aligned, for us to fill.
    // Without methods, it does not close what was not opened.
    unsafe { (*handle).base.pMethods = std::ptr::null() };
    guarded(ffi::SQLITE_CANTOPEN, || {
        // SAFETY: SQLite passes null or a string that lives as long as the file.
        let name = unsafe { parse(name) };
        let opened = Box::into_raw(Box::new(open(name, flags)?));
        // SAFETY: as above; `out_flags` is null or valid for a write.
        unsafe {
            (*handle).file = opened;
            (*handle).base.pMethods = &raw const methods::METHODS;
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(())
    })
}

fn open(name: Option<Name>, flags: c_int) -> Result<File, c_int> {
    let kind = flags & 0x000f_ff00;
    match (name, kind) {
        (Some(Name::Main(token)), ffi::SQLITE_OPEN_MAIN_DB) => {
            open_main(entry(token).ok_or(ffi::SQLITE_CANTOPEN)?).map(File::Main)
        }
        (Some(Name::Log(token)), ffi::SQLITE_OPEN_WAL) => {
            open_log(entry(token).ok_or(ffi::SQLITE_CANTOPEN)?)
        }
        (Some(Name::Journal(token)), ffi::SQLITE_OPEN_MAIN_JOURNAL) => match entry(token) {
            Some(entry) if entry.stage == Stage::New => Ok(File::Memory(MemoryFile::default())),
            _ => Err(ffi::SQLITE_CANTOPEN),
        },
        (
            None,
            ffi::SQLITE_OPEN_TEMP_DB
            | ffi::SQLITE_OPEN_TEMP_JOURNAL
            | ffi::SQLITE_OPEN_TRANSIENT_DB
            | ffi::SQLITE_OPEN_SUBJOURNAL,
        ) => Ok(File::Memory(MemoryFile::default())),
        _ => Err(ffi::SQLITE_CANTOPEN),
    }
}

fn open_main(entry: Arc<Entry>) -> Result<MainFile, c_int> {
    let mode = match entry.stage {
        Stage::New => OpenMode::Create,
        Stage::Settled | Stage::ReadOnly => OpenMode::Existing,
    };
    if std::mem::replace(&mut lock(&entry.shared).main_open, true) {
        // One connection a file: there are no locks between them.
        return Err(ffi::SQLITE_CANTOPEN);
    }
    match entry.storage.open(&entry.path, mode) {
        Ok(file) => Ok(MainFile::open(entry, file)),
        Err(error) => {
            lock(&entry.shared).main_open = false;
            Err(fault::io(&entry.path, &error, ffi::SQLITE_CANTOPEN))
        }
    }
}

fn open_log(entry: Arc<Entry>) -> Result<File, c_int> {
    let mode = match entry.stage {
        Stage::New | Stage::Settled => OpenMode::Create,
        Stage::ReadOnly => OpenMode::Existing,
    };
    match entry.storage.open(&entry.log_path, mode) {
        Ok(file) => {
            let mut shared = lock(&entry.shared);
            shared.log = Some(Arc::clone(&file));
            // Even one that was there may have been made just before a crash, by a process
            // that never got to sync the folder.
            shared.log_is_new = true;
            drop(shared);
            Ok(File::Log(LogFile::open(entry, file)))
        }
        // SQLite wants a log to read, and an empty one will do.
        Err(error)
            if entry.stage == Stage::ReadOnly && error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(File::Memory(MemoryFile::default()))
        }
        Err(error) => Err(fault::io(&entry.log_path, &error, ffi::SQLITE_CANTOPEN)),
    }
}

unsafe extern "C" fn x_delete(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    guarded(ffi::SQLITE_IOERR_DELETE, || {
        // SAFETY: SQLite passes a C string.
        let entry = match unsafe { parse(name) } {
            Some(Name::Log(token)) => entry(token).ok_or(ffi::SQLITE_IOERR_DELETE)?,
            Some(Name::Journal(_)) => return Ok(()),
            _ => return Err(ffi::SQLITE_IOERR_DELETE),
        };
        // SQLite deletes the log of a main file that is empty, which here is a damaged one.
        entry.may_write()?;
        match entry.storage.delete(&entry.log_path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
            }
            Err(error) => {
                return Err(fault::io(&entry.log_path, &error, ffi::SQLITE_IOERR_DELETE));
            }
        }
        if sync_dir != 0 {
            entry
                .storage
                .sync_dir(&entry.log_path)
                .map_err(|error| fault::io(&entry.log_path, &error, ffi::SQLITE_IOERR_DIR_FSYNC))?;
        }
        Ok(())
    })
}

unsafe extern "C" fn x_access(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    guarded(ffi::SQLITE_IOERR_ACCESS, || {
        // SAFETY: SQLite passes a C string.
        let there = match unsafe { parse(name) } {
            Some(Name::Main(token)) => entry(token).map(|entry| (entry.path.clone(), entry)),
            Some(Name::Log(token)) => entry(token).map(|entry| (entry.log_path.clone(), entry)),
            // Journals live in memory, and never longer than their transaction.
            Some(Name::Journal(_)) | None => None,
        };
        let there = match there {
            Some((path, entry)) => entry
                .storage
                .exists(&path)
                .map_err(|error| fault::io(&path, &error, ffi::SQLITE_IOERR_ACCESS))?,
            None => false,
        };
        // SAFETY: `out` is valid for a write.
        unsafe { *out = c_int::from(there) };
        Ok(())
    })
}

unsafe extern "C" fn x_full_pathname(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    guarded(ffi::SQLITE_CANTOPEN, || {
        // SAFETY: SQLite passes a C string. Names are numbers, the same everywhere.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
        if name.len() > usize::try_from(room).unwrap_or(0) {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        // SAFETY: `out` has room for `room` octets and does not overlap `name`.
        unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast::<c_char>(), out, name.len()) };
        Ok(())
    })
}

// Extensions are not loaded.
unsafe extern "C" fn x_dl_open(_vfs: *mut sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

unsafe extern "C" fn x_dl_error(_vfs: *mut sqlite3_vfs, room: c_int, out: *mut c_char) {
    if room > 0 {
        // SAFETY: `out` has room for `room` octets.
        unsafe { *out = 0 };
    }
}

unsafe extern "C" fn x_dl_sym(
    _vfs: *mut sqlite3_vfs,
    _library: *mut c_void,
    _symbol: *const c_char,
) -> Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn x_dl_close(_vfs: *mut sqlite3_vfs, _library: *mut c_void) {}

unsafe extern "C" fn x_randomness(_vfs: *mut sqlite3_vfs, room: c_int, out: *mut c_char) -> c_int {
    let mut given = 0;
    guarded(ffi::SQLITE_OK, || {
        let length = usize::try_from(room).unwrap_or(0);
        // SAFETY: `out` has room for `room` octets; made zero first, as in `x_read`.
        let out = unsafe {
            out.cast::<u8>().write_bytes(0, length);
            std::slice::from_raw_parts_mut(out.cast::<u8>(), length)
        };
        random_fill(out);
        given = room;
        Ok(())
    });
    given
}

unsafe extern "C" fn x_sleep(_vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)));
    microseconds
}

/// The Julian day number of the Unix epoch, in milliseconds.
const EPOCH: i64 = 210_866_760_000_000;

fn julian_milliseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EPOCH.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

unsafe extern "C" fn x_current_time(_vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: `out` is valid for a write.
    unsafe { *out = julian_milliseconds() as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_current_time_int64(
    _vfs: *mut sqlite3_vfs,
    out: *mut sqlite3_int64,
) -> c_int {
    // SAFETY: `out` is valid for a write.
    unsafe { *out = julian_milliseconds() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_get_last_error(
    _vfs: *mut sqlite3_vfs,
    _room: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}
