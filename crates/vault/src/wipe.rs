//! Memory that is zeroed when it is given back.
//!
//! [`ZeroOnFree`] does it for Rust's heap, [`wipe_freed_sqlite_memory`] for SQLite's, whose
//! page caches hold mail. Keys are zeroised by their own types; this is for what nobody
//! thinks of: buffers that grew, parsed messages, rows. Stacks and registers are not reached.

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
