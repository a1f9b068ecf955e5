//! SQLite's heap, zeroed as it is given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_void};

use rusqlite::ffi;

use crate::wipe::wipe;

/// Octets before each block, which hold its size; as many as its alignment asks for.
const HEAD: usize = 16;

const METHODS: ffi::sqlite3_mem_methods = ffi::sqlite3_mem_methods {
    xMalloc: Some(x_malloc),
    xFree: Some(x_free),
    xRealloc: Some(x_realloc),
    xSize: Some(x_size),
    xRoundup: Some(x_roundup),
    xInit: Some(x_init),
    xShutdown: Some(x_shutdown),
    pAppData: std::ptr::null_mut(),
};

/// Lets SQLite zero all memory that it gives back, and not count it, for which it takes a
/// lock at each block. To be called before any database of the process is opened; whether
/// SQLite took it.
pub fn wipe_freed_sqlite_memory() -> bool {
    let methods = METHODS;
    // SAFETY: for this verb SQLite reads a number, and refuses as below. Nobody asks it how
    // much memory it has, or sets it a limit.
    let uncounted = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
    if uncounted != ffi::SQLITE_OK {
        return false;
    }
    // SAFETY: for this verb SQLite reads a pointer to the table, which it copies. It refuses
    // where it is initialised already, so no block changes its allocator.
    let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    code == ffi::SQLITE_OK
}

/// The layout of a block of `size` octets with its head.
fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEAD)?, HEAD).ok()
}

unsafe extern "C" fn x_malloc(size: c_int) -> *mut c_void {
    let Some((size, layout)) =
        usize::try_from(size).ok().and_then(|size| Some((size, layout(size)?)))
    else {
        return std::ptr::null_mut();
    };
    // SAFETY: the layout is not empty, and the head is within it and aligned.
    unsafe {
        let head = System.alloc(layout);
        if head.is_null() {
            return std::ptr::null_mut();
        }
        head.cast::<usize>().write(size);
        head.add(HEAD).cast()
    }
}

/// # Safety
/// `block` came from `x_malloc` or `x_realloc` and was not freed.
unsafe fn size_of_block(block: *mut c_void) -> usize {
    // SAFETY: as the caller promises, a head stands before it.
    unsafe { block.cast::<u8>().sub(HEAD).cast::<usize>().read() }
}

unsafe extern "C" fn x_free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: SQLite frees each block of ours once; the layout is the one it was made with.
    unsafe {
        let size = size_of_block(block);
        wipe(block.cast(), size);
        if let Some(layout) = layout(size) {
            System.dealloc(block.cast::<u8>().sub(HEAD), layout);
        }
    }
}

unsafe extern "C" fn x_realloc(block: *mut c_void, size: c_int) -> *mut c_void {
    // SAFETY: SQLite passes a block of ours, and a size that is not zero.
    unsafe {
        let moved = x_malloc(size);
        if !moved.is_null() {
            let kept = size_of_block(block).min(usize::try_from(size).unwrap_or(0));
            std::ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), kept);
            x_free(block);
        }
        moved
    }
}

unsafe extern "C" fn x_size(block: *mut c_void) -> c_int {
    if block.is_null() {
        return 0;
    }
    // SAFETY: SQLite passes a block of ours.
    c_int::try_from(unsafe { size_of_block(block) }).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn x_roundup(size: c_int) -> c_int {
    size.saturating_add(7) & !7
}

unsafe extern "C" fn x_init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shutdown(_: *mut c_void) {}
