//! What is left in memory of a mailbox that was locked, with the system's allocator: no key.

#[path = "memory/scan.rs"]
mod scan;

#[test]
fn no_key_is_left_after_locking() {
    let left = scan::after_locking();
    println!("text left in {} places", left.text.len());
    println!("{:?} {:?}", left.page_key, left.integrity_key);
    assert_eq!(left.page_key, Vec::<String>::new());
    assert_eq!(left.integrity_key, Vec::<String>::new());
}
