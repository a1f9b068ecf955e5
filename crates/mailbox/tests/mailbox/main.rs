//! Whole mailboxes: files on disk, several sessions, crashes.

mod changes;
mod crash;
mod deliver;
mod folders;
mod messages;
mod model;
mod registry;
mod search;
mod world;
