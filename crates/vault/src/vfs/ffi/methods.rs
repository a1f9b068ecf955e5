//! What SQLite calls on an open file.

use std::ffi::{CStr, c_char, c_int, c_void};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::{File, Handle, guarded};
use crate::vfs::{PAGE_SIZE, Stage};

pub(super) static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Version 1: no shared memory, no memory mapping.
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `handle` is a file that `x_open` opened and `x_close` has not closed; SQLite uses it
/// from one thread at a time and makes no call while another on it runs.
unsafe fn file<'a>(handle: *mut sqlite3_file) -> &'a mut File {
    // SAFETY: `x_open` made it a `Handle` whose `file` came from `Box::into_raw`, and by
    // the caller's promise nobody else uses it now.
    unsafe { &mut *(*handle.cast::<Handle>()).file }
}

unsafe extern "C" fn x_close(handle: *mut sqlite3_file) -> c_int {
    let handle = handle.cast::<Handle>();
    guarded(ffi::SQLITE_IOERR_CLOSE, || {
        // SAFETY: SQLite closes each file that `x_open` opened once and does not use it
        // again; `file` came from `Box::into_raw` there.
        let file = unsafe {
            (*handle).base.pMethods = std::ptr::null();
            Box::from_raw((*handle).file)
        };
        drop(file);
        Ok(())
    })
}

unsafe extern "C" fn x_read(
    handle: *mut sqlite3_file,
    buf: *mut c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    guarded(ffi::SQLITE_IOERR_READ, || {
        let length = usize::try_from(amount).map_err(|_| ffi::SQLITE_IOERR_READ)?;
        let offset = u64::try_from(offset).map_err(|_| ffi::SQLITE_IOERR_READ)?;
        // SAFETY: SQLite passes an open file.
        let file = unsafe { file(handle) };
        // SAFETY: and a buffer of `amount` octets for us alone. It may not have been
        // written before, so it is made zero through the raw pointer first.
        let buf = unsafe {
            buf.cast::<u8>().write_bytes(0, length);
            std::slice::from_raw_parts_mut(buf.cast::<u8>(), length)
        };
        match file {
            File::Main(file) => file.read(buf, offset),
            File::Log(file) => file.read(buf, offset),
            File::Memory(file) => file.read(buf, offset),
        }
    })
}

unsafe extern "C" fn x_write(
    handle: *mut sqlite3_file,
    buf: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    guarded(ffi::SQLITE_IOERR_WRITE, || {
        let length = usize::try_from(amount).map_err(|_| ffi::SQLITE_IOERR_WRITE)?;
        let offset = u64::try_from(offset).map_err(|_| ffi::SQLITE_IOERR_WRITE)?;
        // SAFETY: SQLite passes an open file.
        let file = unsafe { file(handle) };
        // SAFETY: and `amount` octets that it does not change meanwhile.
        let buf = unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), length) };
        match file {
            File::Main(file) => file.write(buf, offset),
            File::Log(file) => file.write(buf, offset),
            File::Memory(file) => file.write(buf, offset),
        }
    })
}

unsafe extern "C" fn x_truncate(handle: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    guarded(ffi::SQLITE_IOERR_TRUNCATE, || {
        let size = u64::try_from(size).map_err(|_| ffi::SQLITE_IOERR_TRUNCATE)?;
        // SAFETY: SQLite passes an open file.
        match unsafe { file(handle) } {
            File::Main(file) => file.truncate(size),
            File::Log(file) => file.truncate(size),
            File::Memory(file) => {
                file.truncate(size);
                Ok(())
            }
        }
    })
}

unsafe extern "C" fn x_sync(handle: *mut sqlite3_file, _flags: c_int) -> c_int {
    guarded(ffi::SQLITE_IOERR_FSYNC, || {
        // SAFETY: SQLite passes an open file.
        match unsafe { file(handle) } {
            File::Main(file) => file.sync(),
            File::Log(file) => file.sync(),
            File::Memory(_) => Ok(()),
        }
    })
}

unsafe extern "C" fn x_file_size(handle: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    guarded(ffi::SQLITE_IOERR_FSTAT, || {
        // SAFETY: SQLite passes an open file.
        let length = match unsafe { file(handle) } {
            File::Main(file) => file.len()?,
            File::Log(file) => file.len()?,
            File::Memory(file) => file.len(),
        };
        let length = sqlite3_int64::try_from(length).map_err(|_| ffi::SQLITE_IOERR_FSTAT)?;
        // SAFETY: `size` is valid for a write.
        unsafe { *size = length };
        Ok(())
    })
}

// One process owns the folder, and one connection the file: nobody to lock out.
unsafe extern "C" fn x_lock(_handle: *mut sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_unlock(_handle: *mut sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(_handle: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: `out` is valid for a write.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control(
    handle: *mut sqlite3_file,
    op: c_int,
    arg: *mut c_void,
) -> c_int {
    guarded(ffi::SQLITE_NOTFOUND, || {
        // SAFETY: SQLite passes an open file.
        let File::Main(file) = (unsafe { file(handle) }) else { return Err(ffi::SQLITE_NOTFOUND) };
        if op != ffi::SQLITE_FCNTL_PRAGMA || file.entry.stage == Stage::New {
            return Err(ffi::SQLITE_NOTFOUND);
        }
        // SAFETY: for this verb, `arg` is an array of pointers: an error text to set, the
        // pragma's name, and its value or null, both C strings.
        let (name, value) = unsafe {
            let args = arg.cast::<*mut c_char>();
            (CStr::from_ptr(*args.add(1)), *args.add(2))
        };
        if value.is_null() || !name.to_bytes().eq_ignore_ascii_case(b"journal_mode") {
            return Err(ffi::SQLITE_NOTFOUND);
        }
        // SAFETY: not null, so a C string.
        let value = unsafe { CStr::from_ptr(value) };
        if value.to_bytes().eq_ignore_ascii_case(b"wal") {
            return Err(ffi::SQLITE_NOTFOUND);
        }
        // SAFETY: SQLite frees the text by `sqlite3_free`, and so it comes from its own
        // allocator; the format has no directive.
        unsafe {
            *arg.cast::<*mut c_char>() = ffi::sqlite3_mprintf(c"only WAL mode".as_ptr());
        }
        Err(ffi::SQLITE_ERROR)
    })
}

unsafe extern "C" fn x_sector_size(_handle: *mut sqlite3_file) -> c_int {
    PAGE_SIZE as c_int
}

unsafe extern "C" fn x_device_characteristics(_handle: *mut sqlite3_file) -> c_int {
    // A write does no harm to octets beside it, so the log needs no padding; and a part
    // of a page can be asked for, so large values need not pass through the cache.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ
}
