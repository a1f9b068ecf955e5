//! What is left in memory of a mailbox that was locked where freed memory is zeroed: neither
//! key nor text on the heap.

use std::alloc::System;

use letterlock_vault::{ZeroOnFree, wipe_freed_sqlite_memory};

#[path = "memory/scan.rs"]
mod scan;

#[global_allocator]
static ALLOCATOR: ZeroOnFree<System> = ZeroOnFree(System);

#[test]
fn no_key_and_no_text_is_left_after_locking() {
    assert!(wipe_freed_sqlite_memory());
    let left = scan::after_locking();
    assert_eq!(left.key, Vec::<String>::new());
    assert_eq!(left.text, Vec::<String>::new());
    assert!(!wipe_freed_sqlite_memory(), "too late once SQLite runs");
}
