//! Dialogues with the IMAP frontend over loopback, against real mailboxes in a temporary folder.

mod around;
mod catenate;
mod compressed;
mod contexts;
mod crowd;
mod folders;
mod large;
mod messages;
mod model;
mod multi;
mod naming;
mod notify;
mod order;
mod orders;
mod replace;
mod replay;
mod resync;
mod revisions;
mod sessions;
mod sharing;
mod streamed;
mod support;
