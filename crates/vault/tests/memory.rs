//! What is left in memory of a mailbox that was locked, with the system's allocator: no key.
//! The integrity key is none of the account's: the server holds it all the time.

#[path = "memory/scan.rs"]
mod scan;

#[test]
fn no_key_is_left_after_locking() {
    let left = scan::after_locking();
    println!("left of the mailbox's text: {} places", left.text.len());
    assert_eq!(left.key, Vec::<String>::new());
}
