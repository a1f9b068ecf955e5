//! Whole mailboxes: files on disk, several sessions, crashes.

mod changes;
mod clearing;
mod crash;
mod deliver;
/// The disk of the vault's own tests, which loses power.
#[allow(dead_code, reason = "other parts of it are of use there")]
#[path = "../../../vault/tests/storage/world.rs"]
mod disk;
mod folders;
mod index;
mod intake;
mod many;
mod messages;
mod model;
mod random;
mod registry;
mod rotate;
mod search;
mod world;
