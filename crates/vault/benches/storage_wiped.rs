//! The same as `storage`, where all memory is zeroed as it is given back, Rust's and SQLite's.

use std::alloc::System;

use letterlock_vault::{ZeroOnFree, wipe_freed_sqlite_memory};

#[path = "storage.rs"]
mod storage;

#[global_allocator]
static ALLOCATOR: ZeroOnFree<System> = ZeroOnFree(System);

fn main() {
    assert!(wipe_freed_sqlite_memory(), "nothing has used SQLite yet");
    storage::main();
}
