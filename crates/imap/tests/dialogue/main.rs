//! Dialogues with the IMAP frontend over loopback, against real mailboxes in a temporary folder.

mod crowd;
mod folders;
mod messages;
mod sessions;
mod sharing;
mod support;
