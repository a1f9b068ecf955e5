//! Memory that is zeroed when it is given back.
//!
//! [`ZeroOnFree`] does it for Rust's heap, [`wipe_freed_sqlite_memory`] for SQLite's, whose
//! page caches hold mail. Keys are zeroised by their own types; this is for what nobody
//! thinks of: buffers that grew, parsed messages, rows. Stacks and registers are not reached.
//! [`give_freed_memory_back`] keeps little of what was freed.

// An allocator cannot be written without `unsafe`; beside `vfs::ffi`, this is the only module
// of the workspace that may use it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::arch::asm;

pub use crate::vfs::wipe_freed_sqlite_memory;

/// An allocator that zeroes what is given back to it, and leaves the rest to `A`.
///
/// ```
/// use std::alloc::System;
/// use letterlock_vault::ZeroOnFree;
///
/// #[global_allocator]
/// static ALLOCATOR: ZeroOnFree<System> = ZeroOnFree(System);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroOnFree<A>(pub A);

// SAFETY: every call goes on to `A` with the layout that it came with; what is written before
// is within a block that the caller has given up, by the contract of `dealloc`.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroOnFree<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this layout.
        unsafe {
            wipe(block, layout.size());
            self.0.dealloc(block, layout);
        }
    }

    /// Never in place: `A` would leave the old block as it is where it moves it.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, is no overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not zero, as the caller promises; the new block is no part of
        // the old one, and both hold what is copied.
        unsafe {
            let moved = self.0.alloc(wanted);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Lets the system's allocator give freed memory back early: two arenas in place of one for each thread, and blocks
/// from 256 KiB on are the system's own. Otherwise glibc keeps several MiB for each thread that ever held a large block
/// (a message, a transaction), and locked memory makes all of that resident. Call it before threads start; elsewhere
/// than with glibc it does nothing. Answers whether it took.
pub fn give_freed_memory_back() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        // SAFETY: the C library's own declaration (malloc.h). It takes any numbers, refuses those that mean nothing to
        // it, and locks what it changes.
        unsafe extern "C" {
            safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        [(M_ARENA_MAX, 2), (M_MMAP_THRESHOLD, 256 * 1024), (M_TRIM_THRESHOLD, 512 * 1024)]
            .into_iter()
            .all(|(parameter, value)| mallopt(parameter, value) == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

/// Zeroes `length` octets from `block` on, so that the compiler does not leave it out
/// although nobody reads them.
///
/// # Safety
/// They are valid for writing.
pub(crate) unsafe fn wipe(block: *mut u8, length: usize) {
    // SAFETY: as the caller promises. The empty instruction may read them, for all that the
    // compiler knows.
    unsafe {
        block.write_bytes(0, length);
        asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}
