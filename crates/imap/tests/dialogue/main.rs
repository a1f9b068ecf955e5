//! Dialogues with the IMAP frontend over loopback, against real mailboxes in a temporary folder.

mod around;
mod compressed;
mod crowd;
mod folders;
mod large;
mod messages;
mod model;
mod multi;
mod naming;
mod order;
mod replace;
mod resync;
mod sessions;
mod sharing;
mod support;
