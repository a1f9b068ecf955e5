//! Dialogues with the IMAP frontend over loopback, against real mailboxes in a temporary folder.

mod around;
mod compressed;
mod crowd;
mod folders;
mod messages;
mod model;
mod order;
mod resync;
mod sessions;
mod sharing;
mod support;
